"""A generation record against its model: every derived number computed again, in float32.

T tracks, C width, H heads, L blocks, V vocabulary, S steps, K candidates of a step, J of the lens.

Nothing of the generation is repeated: the record's tokens go through the model in one pass, without a cache ("teacher
forcing"), and each step is derived from its track. So the way here is another than the recorded one, and differences are
those of rounding. Tolerances, by what was lost:

    compute   NOISE[dtype] x the largest logit, for log-probabilities and what follows from them; 4 x NOISE x (the root mean
              square + the number), for the stream; 16 x NOISE x w (1 - w), for an attention weight w. The recorded model
              may have computed in fewer bits, and sums were taken in another order
    bfloat16  half a unit in the last place: 2^-8 of the number at most
    uint8     half a step, 1/510
    float32   of log-probabilities and shares, 2^-24 of the number
    draws, cells, given numbers: none
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.engine.options import SamplingOptions
from pellucid.engine.sampling import largest, uniform
from pellucid.errors import PellucidError
from pellucid.generation.model import GPT
from pellucid.gpt.fingerprint import fingerprint
from pellucid.interpret.capture import SAMPLE, pieces
from pellucid.interpret.formulas import attention_weights, cells, lens_logits
from pellucid.interpret.tap import Watch
from pellucid.interpret.verify.difference import Array, Difference, equal, known, listed, stack
from pellucid.interpret.verify.report import Row
from pellucid.record import Record


# Relative, by the dtype in which the recorded model computed. Choices: measured on the embedded and on random models, float32
# stays below a tenth of what this allows, float16 and bfloat16 below a half. In bfloat16 the check is coarse, as it must be.
NOISE = {"float64": 2.0**-15, "float32": 2.0**-15, "float16": 2.0**-7, "bfloat16": 2.0**-4}
_STEPS = "generation/steps/"


def same_model(record: Record, model: GPT) -> GPT:
    """The recorded model in float32.

    Raises:
        PellucidError: it is another one.
    """
    named = record.provenance
    if named.dtype not in NOISE:
        raise PellucidError(f"the record was made in {named.dtype!r}: verify knows {', '.join(NOISE)}")
    dtype: torch.dtype = getattr(torch, named.dtype)
    recorded = model if model.wte.weight.dtype == dtype else model.copy().to(dtype)
    found = fingerprint(recorded)
    if found != named.model:
        raise PellucidError(
            f"the record was made with another model: it names {named.model[:12]}, and this one is {found[:12]} in "
            f"{named.dtype}; name the recorded one (-m)"
        )
    if dict(named.config) != model.config.to_dict() | {"name": named.config.get("name", "")}:
        raise PellucidError("the record states another shape than its model has: it was changed")
    if named.parameters != model.config.parameters():
        raise PellucidError(f"the record states {named.parameters:,} parameters, but its model has another number of them")
    if model.tokenizer is not None and named.tokenizer != model.tokenizer.fingerprint:
        raise PellucidError("the record was made with another tokenizer than this model's")
    return recorded if dtype == torch.float32 else recorded.copy().float()


def same_words(record: Record, model: GPT) -> tuple[list[int], SamplingOptions]:
    """All tokens, and how they were drawn.

    Raises:
        PellucidError: prompt or seed are not those that the record names, or there is no such token.
    """
    named = record.provenance
    prompt = record["generation/prompt_ids"].tolist()
    if named.prompt_ids is None or list(named.prompt_ids) != prompt:
        raise PellucidError("the record holds another prompt than its provenance names: one of the two was changed")
    if named.seed is None or named.sampling is None:
        raise PellucidError("the record names no seed or no sampling options: its draws cannot be computed again")
    try:
        options = SamplingOptions.from_record(named.sampling, named.seed)
    except KeyError as error:
        raise PellucidError(f"the record's sampling options lack {error}") from None
    except PellucidError as error:
        raise PellucidError(f"the record's sampling options are none: {error}") from None
    draws = record[_STEPS + "draw"]
    if len(draws) > options.max_tokens:
        raise PellucidError(f"the record drew {len(draws)} tokens, and says that it was to draw {options.max_tokens} at most")
    right = [uniform(named.seed, SAMPLE, len(prompt) + i) for i in range(len(draws))]
    if options.temperature > 0 and len(draws) and not np.any(draws == np.array(right)):
        raise PellucidError(f"the record was made with another seed: its draws are not those of seed {named.seed}")
    ids = [*prompt, *record[_STEPS + "drawn_ids"].tolist()]
    for token in [*ids, *(token for token, _ in options.logit_bias)]:
        if not 0 <= token < model.config.vocab_size:
            raise PellucidError(f"the record names the token {token}, which its model does not have: it was changed")
    if len(prompt) < 1 or len(ids) - 1 > model.config.n_ctx:
        raise PellucidError(f"the record's {len(ids)} tokens cannot have come of a context of {model.config.n_ctx}")
    return ids, options


class GenerationAgain:
    """Everything derived, from tokens and model alone."""

    def __init__(self, record: Record, model: GPT, ids: list[int], options: SamplingOptions) -> None:
        self.record = record
        self.model = model
        self.options = options
        self.noise = NOISE[record.provenance.dtype]
        self.prompt = len(record["generation/prompt_ids"])
        self.steps = len(ids) - self.prompt
        tracks = record["generation/cells"].shape[2] if "generation/cells" in record else len(ids) - 1
        tracks = max(tracks, len(ids) - 1)
        self.watch = Watch(model.config.n_layers, ("block_inputs", "attention"), clock=False)
        hidden = model.hidden(torch.tensor([ids[:tracks]], device=model.wte.weight.device), tap=self.watch)
        self.logits = model.logits(hidden[0, self.prompt - 1 : len(ids) - 1]).double().cpu()  # (S, V)
        self.logprobs = self.logits.log_softmax(-1)
        self.nats = (self.noise * self.logits.abs().amax(-1).clamp_min(1)).numpy()  # (S,)
        self.scores = self._scores(ids[self.prompt :])  # (S, V) what was drawn from, before temperature and cuts
        self.slack = self.nats
        self.steered = options.uses_counts or bool(options.logit_bias)
        if self.steered:  # a penalty that multiplies a logit multiplies its error
            self.slack = self.nats * max(options.repetition_penalty, 1 / options.repetition_penalty)
        self.by_name: dict[str, Callable[[str], Difference]] = {
            "generation/prompt_ids": lambda name: Difference(0.0, 0.0),  # compared before anything else
            "generation/lens/ids": lambda name: self._lens()[0],
            "generation/lens/logprobs": lambda name: self._lens()[1],
            "generation/cells": self._cells,
            _STEPS + "drawn_ids": self._drawn_ids,
            _STEPS + "drawn_logprobs": self._drawn_logprobs,
            _STEPS + "topk_ids": self._topk_ids,
            _STEPS + "topk_logprobs": self._topk_logprobs,
            _STEPS + "topk_shares": self._topk_shares,
            _STEPS + "kept": self._kept,
            _STEPS + "draw": self._draw,
            _STEPS + "drawn_span": self._drawn_span,
        }

    def row(self, name: str) -> Row:
        """What there is to say of one chunk."""
        truth = self.record.entry(name).truth
        if truth == "measured":
            sound = bool(np.all(np.isfinite(self.record[name])) and np.all(self.record[name] >= 0))
            return Row(chunk=name, truth=truth, ok=sound, note="measured" if sound else "measured, but no time can be that")
        if name.startswith("pieces/"):
            return self._pieces(name)
        if name.startswith("generation/block_inputs/"):
            return self._block_input(name).row(self.record, name)
        if name.startswith("generation/attention/"):
            return self._attention(name).row(self.record, name)
        if name not in self.by_name:
            return Row(chunk=name, truth=truth, ok=False, note="this Pellucid cannot compute it again")
        return self.by_name[name](name).row(self.record, name)

    # Inside the model.

    def _block_input(self, name: str) -> Difference:
        right = self.watch.level(int(name.rsplit("/", 1)[1])).cpu().numpy().astype(np.float64)  # (T, C)
        rounding = 2.0**-8 if self.record.entry(name).dtype == "bfloat16" else 2.0**-24
        size = np.sqrt((right**2).mean(-1, keepdims=True))
        noise = 4 * self.noise * (size + np.abs(right))
        return Difference(np.abs(self.record[name] - right), noise + rounding * (np.abs(right) + noise))

    def _attention(self, name: str) -> Difference:
        block = int(name.rsplit("/", 1)[1])
        pattern, compressor = self.model.config.pattern[block], self.model.compressor(block)
        weights = attention_weights(*self.watch.queries_and_keys(block), pattern, compressor)
        right = weights.cpu().numpy().astype(np.float64)  # (H, T, T)
        noise = 16 * self.noise * right * (1 - right)  # an error e of a score moves its weight w by w (1 - w) e
        return Difference(np.abs(self.record[name] - right), noise + 1 / 510 + 2.0**-22)

    def _lens(self) -> tuple[Difference, Difference]:
        ids, stored = self.record["generation/lens/ids"], self.record["generation/lens/logprobs"]
        by_id, by_number = [], []
        for level in range(len(ids)):
            logits = torch.cat([part.cpu() for part in lens_logits(self.model, self.watch.level(level))]).double()
            nats = self.noise * logits.abs().amax(-1, keepdim=True).clamp_min(1).numpy()  # (T, 1)
            first, second = listed(logits.log_softmax(-1), ids[level], stored[level], nats)
            by_id.append(first)
            by_number.append(second)
        return stack(by_id), stack(by_number)

    def _cells(self, name: str) -> Difference:
        return equal(self.record[name], cells(self.model.config.pattern, self.prompt, self.steps).numpy())

    # Each step's distribution, its cut, its draw.

    def _topk_ids(self, name: str) -> Difference:
        return self._top()[0]

    def _topk_logprobs(self, name: str) -> Difference:
        return self._top()[1]

    def _top(self) -> tuple[Difference, Difference]:
        stored = self.record[_STEPS + "topk_ids"], self.record[_STEPS + "topk_logprobs"]
        return listed(self.logprobs, *stored, self.nats[:, None])

    def _drawn_logprobs(self, name: str) -> Difference:
        drawn = torch.from_numpy(self.record[_STEPS + "drawn_ids"].astype(np.int64))
        right = self.logprobs.gather(1, drawn[:, None])[:, 0].numpy()
        return Difference(np.abs(self.record[name] - right), self.nats + 2.0**-24 * np.abs(right), "nats")

    def _draw(self, name: str) -> Difference:
        if self.options.temperature == 0:
            return Difference(np.where(np.isnan(self.record[name]), 0.0, np.inf), 0.0)
        right = [uniform(self.options.seed, SAMPLE, self.prompt + i) for i in range(self.steps)]
        return Difference(np.abs(self.record[name] - np.array(right)), 0.0)

    def _scores(self, drawn: list[int]) -> Tensor:
        """(S, V) the logits with penalties and biases, as `sampling` states them."""
        options, scores = self.options, self.logits.clone()
        if options.uses_counts:
            before = F.one_hot(torch.tensor(drawn), scores.shape[1]).cumsum(0).roll(1, 0)  # (S, V) times drawn before the step
            before[0] = 0
            factor = torch.where(scores > 0, 1 / options.repetition_penalty, options.repetition_penalty)
            scores = torch.where(before > 0, scores * factor - options.presence_penalty, scores)
            scores -= before * options.frequency_penalty
        for token, bias in options.logit_bias:
            scores[:, token] += bias
        return scores

    def _weights(self, i: int) -> Tensor:
        """(V,) what step i could draw from before any cut, up to a factor."""
        return ((self.scores[i] - self.scores[i].max()) / self.options.temperature).exp()

    @property
    def _loose(self) -> Array:
        """(S,) by how much shares can be off, as a factor: an error e of each logit moves a share by 2 e / temperature."""
        with np.errstate(over="ignore"):
            return np.expm1(np.minimum(2 * self.slack / self.options.temperature, 700.0))

    def _kept(self, name: str) -> Difference:
        stored = self.record[name].astype(np.float64)
        if self.options.temperature == 0:
            return equal(stored, np.ones(self.steps))
        vocab_size, top_p, min_p = self.model.config.vocab_size, self.options.top_p, self.options.min_p
        least = greatest = np.full(self.steps, min(self.options.top_k or vocab_size, vocab_size))
        if top_p is not None and top_p < 1:
            between = []
            for i, loose in enumerate(top_p * (1 - top_p) * self._loose):  # the tokens above the cut against those below
                weights = self._weights(i).sort(descending=True).values[: greatest[i]]
                sums = (weights.cumsum(0) / weights.sum()).numpy()
                between.append([min(np.searchsorted(sums, top_p + side * loose) + 1, len(sums)) for side in (-1, 1)])
            least, greatest = np.array(between).T
        if min_p:  # the cut leaves a beginning of the list by likelihood, as the others do: the shortest one counts
            below = self.options.temperature * math.log(min_p)  # of the likeliest: where the cut is
            under = (self.scores - self.scores.amax(-1, keepdim=True)).numpy()
            off = 2 * self.slack[:, None] + 1e-12
            least = np.minimum(least, (under >= below + off).sum(-1).clip(1))
            greatest = np.minimum(greatest, (under >= below - off).sum(-1))
        return Difference(np.maximum(0.0, np.maximum(least - stored, stored - greatest)), 0.0, "tokens")

    def _count(self, i: int) -> int:
        """How many tokens the record kept at a step, held within what is possible; `_kept` says whether it is right."""
        return int(np.clip(self.record[_STEPS + "kept"][i], 1, self.model.config.vocab_size))

    def _left(self, i: int) -> Tensor:
        """Ids, ascending, that the record's cut left at a step: those it lists if it lists them all."""
        count, names = self._count(i), self.record[_STEPS + "topk_ids"][i]
        distinct = len(set(names[:count].tolist())) == count <= len(names)
        ordered = not self.steered  # else the likeliest need not be those that are left
        if ordered and distinct and known(names, self.logits.shape[1]).all():
            return torch.from_numpy(names[:count].astype(np.int64)).sort().values
        return torch.from_numpy(np.sort(largest(self.scores[i].numpy(), count)))

    def _stay(self, i: int, ids: Array, stored: Array) -> Array:
        """Which listed tokens the cut of step i left."""
        if not self.steered:
            return np.arange(len(ids)) < self._count(i)  # the likeliest come first, and the cut leaves the likeliest
        scores, edge = self.scores[i].numpy()[ids], float(self.scores[i][self._left(i)].min())
        near = np.abs(scores - edge) <= 4 * self.slack[i]  # rounding may have put it on either side: what it says counts
        return np.where(near & (self._count(i) < self.scores.shape[1]), stored > 0, scores >= edge)

    def _topk_shares(self, name: str) -> Difference:
        stored, ids = self.record[name].astype(np.float64), self.record[_STEPS + "topk_ids"]
        right = np.zeros_like(stored)
        if self.options.temperature == 0:
            right = (ids == self.record[_STEPS + "drawn_ids"][:, None]).astype(np.float64)
            return equal(stored, right)
        there = known(ids, self.logits.shape[1])
        for i in range(self.steps):
            weights = self._weights(i)
            shares = (weights / weights[self._left(i)].sum()).numpy()
            listed_ids = np.where(there[i], ids[i], 0)
            right[i] = np.where(self._stay(i, listed_ids, stored[i]), shares[listed_ids], 0.0)
        right[~there] = np.inf
        return Difference(np.abs(stored - right), right * (self._loose[:, None] + 2.0**-24))

    def _spans(self) -> tuple[Array, Array]:
        """(S, 2) the part of [0, 1) that each drawn token has, (NaN, NaN) for one that was cut off; (S,) the tolerance."""
        found = np.full((self.steps, 2), np.nan)
        for i, drawn in enumerate(self.record[_STEPS + "drawn_ids"].tolist()):
            left = self._left(i)
            # A token that the cut just left, in rounding that is not ours, still has its place.
            just = self.scores[i, drawn] >= self.scores[i, left].min() - 4 * self.slack[i]
            left = torch.unique(torch.cat((left, torch.tensor([drawn])))) if just else left
            ends = self._weights(i)[left].cumsum(0)
            place = int(torch.searchsorted(left, drawn))
            if place < len(left) and left[place] == drawn:
                found[i] = [float(ends[place - 1] / ends[-1]) if place else 0.0, float(ends[place] / ends[-1])]
        return found, np.minimum(self._loose, 1.0) + 1e-12

    def _drawn_span(self, name: str) -> Difference:
        if self.options.temperature == 0:
            return equal(self.record[name], np.tile([0.0, 1.0], (self.steps, 1)))
        right, tolerance = self._spans()
        return Difference(np.abs(self.record[name] - right), tolerance[:, None])

    def _drawn_ids(self, name: str) -> Difference:
        if self.options.temperature == 0:
            drawn = torch.from_numpy(self.record[name].astype(np.int64))
            below = self.scores.amax(-1) - self.scores.gather(1, drawn[:, None])[:, 0]
            return Difference(below.numpy(), 2 * self.slack, "nats below the likeliest")
        span, tolerance = self._spans()
        u = np.array([uniform(self.options.seed, SAMPLE, self.prompt + i) for i in range(self.steps)])
        outside = np.maximum(0.0, np.maximum(span[:, 0] - u, u - span[:, 1]))  # NaN stays: it was cut off
        return Difference(outside, tolerance, "of the draw outside its span")

    # What went in.

    def _pieces(self, name: str) -> Row:
        if self.model.tokenizer is None:
            return Row(chunk=name, truth="given", ok=True, note="this model has no tokenizer to compare with")
        named = {"generation/prompt_ids", _STEPS + "drawn_ids", _STEPS + "topk_ids", "generation/lens/ids"}
        tokens = {int(token) for chunk in named if chunk in self.record for token in self.record[chunk].ravel()}
        tokens = {token for token in tokens if 0 <= token < self.model.config.vocab_size}
        right = dict(zip(("pieces/ids", "pieces/starts", "pieces/bytes"), pieces(self.model.tokenizer, tokens), strict=True))
        return equal(self.record[name], right[name]).row(self.record, name)
