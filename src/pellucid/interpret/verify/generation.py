"""Verifying a generation record: every derived number recomputed from the model in float32.

T positions, C width, H heads, L blocks, V vocabulary, S steps, K candidates of a step, J of the lens.

The generation is not repeated: the record's tokens go through the model in one forward pass without a cache (teacher forcing),
and each step is derived from the logits at its position. Recomputed and recorded values take different routes, so they differ
by rounding. Tolerances, by the cause of the error:

    compute   NOISE[dtype] x the largest logit, for log-probabilities and what follows from them; 4 x NOISE x (the root mean
              square + the number), for block inputs; 16 x NOISE x w (1 - w), for an attention weight w. The recorded model
              may have computed in fewer bits, and sums were taken in another order
    bfloat16  half a unit in the last place: 2^-8 of the number at most
    float16   of attention, half a step of the recomputed row (`record.triangle`); sums of a row's weights and of their errors
              by what that rounding allows
    uint8     of attention in schema 1.0, half a step, 1/510
    float32   2^-24 of the number
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
from pellucid.generation.model import GPT
from pellucid.interpret.capture import PIECES, SAMPLE_INDEX, piece_table
from pellucid.interpret.formulas import attention_weights, cache_cells, lens_logits
from pellucid.interpret.tap import ActivationTap
from pellucid.interpret.verify.difference import Array, Difference, compare_top_tokens, equal, joined, stack, valid_ids
from pellucid.interpret.verify.identity import NOISE
from pellucid.interpret.verify.report import ChunkResult
from pellucid.record import Record
from pellucid.record.triangle import SUM_ERROR, TOTAL_ERROR, rounding_error


_STEPS = "generation/steps/"


class GenerationVerifier:
    """Recomputes what a generation record holds, from its tokens and its model alone.

    Args:
        model: the recorded one in float32. ids: of prompt and drawn tokens. options: those that the tokens were drawn with.
    """

    def __init__(self, record: Record, model: GPT, ids: list[int], options: SamplingOptions) -> None:
        self.record = record
        self.model = model
        self.options = options
        self.noise = NOISE[record.provenance.dtype]
        self.prompt = len(record["generation/prompt_ids"])
        self.steps = len(ids) - self.prompt
        positions = record["generation/cells"].shape[2] if "generation/cells" in record else len(ids) - 1
        positions = max(positions, len(ids) - 1)
        self.tap = ActivationTap(model.config.n_layers, ("block_inputs", "attention"), clock=False)
        hidden = model.hidden(torch.tensor([ids[:positions]], device=model.wte.weight.device), tap=self.tap)
        self.logits = model.logits(hidden[0, self.prompt - 1 : len(ids) - 1]).double().cpu()  # (S, V)
        self.logprobs = self.logits.log_softmax(-1)
        self.nats = (self.noise * self.logits.abs().amax(-1).clamp_min(1)).numpy()  # (S,)
        self.scores = self._scores(ids[self.prompt :])  # (S, V) logits with penalties and biases
        self.logit_error = self.nats
        self.steered = options.uses_counts or bool(options.logit_bias)
        if self.steered:  # a penalty that multiplies a logit multiplies its error
            self.logit_error = self.nats * max(options.repetition_penalty, 1 / options.repetition_penalty)
        self.by_name: dict[str, Callable[[str], Difference]] = {
            "generation/prompt_ids": lambda name: Difference(0.0, 0.0),  # checked by `tokens_and_options`
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

    def result(self, name: str) -> ChunkResult:
        """The comparison of one chunk with its recomputed value."""
        truth = self.record.entry(name).truth
        if truth == "measured":
            sound = bool(np.all(np.isfinite(self.record[name])) and np.all(self.record[name] >= 0))
            note = "measured" if sound else "measured, but not a possible time"
            return ChunkResult(chunk=name, truth=truth, ok=sound, note=note)
        if name.startswith("pieces/"):
            return self._pieces(name)
        if name.startswith("generation/block_inputs/"):
            return self._block_input(name).result(self.record, name)
        if name.startswith("generation/attention/"):
            return self._attention(name).result(self.record, name)
        if name not in self.by_name:
            return ChunkResult(chunk=name, truth=truth, ok=False, note="this Pellucid cannot recompute it")
        return self.by_name[name](name).result(self.record, name)

    # Inside the model.

    def _block_input(self, name: str) -> Difference:
        right = self.tap.block_input(int(name.rsplit("/", 1)[1])).cpu().numpy().astype(np.float64)  # (T, C)
        rounding = 2.0**-8 if self.record.entry(name).dtype == "bfloat16" else 2.0**-24
        size = np.sqrt((right**2).mean(-1, keepdims=True))
        noise = 4 * self.noise * (size + np.abs(right))
        return Difference(np.abs(self.record[name] - right), noise + rounding * (np.abs(right) + noise))

    def _attention(self, name: str) -> Difference:
        block = int(name.rsplit("/", 1)[1])
        pattern, compressor = self.model.config.pattern[block], self.model.compressor(block)
        weights = attention_weights(*self.tap.queries_and_keys(block), pattern, compressor)
        right = weights.cpu().numpy().astype(np.float64)  # (H, T, T)
        noise = 16 * self.noise * right * (1 - right)  # an error e of a score moves its weight w by w (1 - w) e
        difference, dtype = self.record[name] - right, self.record.entry(name).dtype
        if dtype == "uint8":
            return Difference(np.abs(difference), noise + 1 / 510 + 2.0**-22)
        if dtype == "float32":
            return Difference(np.abs(difference), noise + 2.0**-24 * right + 2.0**-126)
        rows, noise_of_row = right.reshape(-1, right.shape[-1]), noise.sum(-1) + 2.0**-20
        half = rounding_error(rows, noise.reshape(rows.shape)).reshape(right.shape)
        return joined(
            Difference(np.abs(difference), noise + half),
            Difference(np.abs(difference.sum(-1)), noise_of_row + SUM_ERROR),
            Difference(np.abs(difference).sum(-1), noise_of_row + TOTAL_ERROR),
        )

    def _lens(self) -> tuple[Difference, Difference]:
        ids, stored = self.record["generation/lens/ids"], self.record["generation/lens/logprobs"]
        by_id, by_number = [], []
        for level in range(len(ids)):
            logits = torch.cat([part.cpu() for part in lens_logits(self.model, self.tap.block_input(level))]).double()
            nats = self.noise * logits.abs().amax(-1, keepdim=True).clamp_min(1).numpy()  # (T, 1)
            first, second = compare_top_tokens(logits.log_softmax(-1), ids[level], stored[level], nats)
            by_id.append(first)
            by_number.append(second)
        return stack(by_id), stack(by_number)

    def _cells(self, name: str) -> Difference:
        return equal(self.record[name], cache_cells(self.model.config.pattern, self.prompt, self.steps).numpy())

    # Each step's distribution, the cut by top-k, top-p and min-p, and the draw.

    def _topk_ids(self, name: str) -> Difference:
        return self._top()[0]

    def _topk_logprobs(self, name: str) -> Difference:
        return self._top()[1]

    def _top(self) -> tuple[Difference, Difference]:
        stored = self.record[_STEPS + "topk_ids"], self.record[_STEPS + "topk_logprobs"]
        return compare_top_tokens(self.logprobs, *stored, self.nats[:, None])

    def _drawn_logprobs(self, name: str) -> Difference:
        drawn = torch.from_numpy(self.record[_STEPS + "drawn_ids"].astype(np.int64))
        right = self.logprobs.gather(1, drawn[:, None])[:, 0].numpy()
        return Difference(np.abs(self.record[name] - right), self.nats + 2.0**-24 * np.abs(right), "nats")

    def _draw(self, name: str) -> Difference:
        if self.options.temperature == 0:
            return Difference(np.where(np.isnan(self.record[name]), 0.0, np.inf), 0.0)
        right = [uniform(self.options.seed, SAMPLE_INDEX, self.prompt + i) for i in range(self.steps)]
        return Difference(np.abs(self.record[name] - np.array(right)), 0.0)

    def _scores(self, drawn: list[int]) -> Tensor:
        """(S, V) the logits with penalties and biases added, as `engine.sampling` defines them."""
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
        """(V,) unnormalized probabilities of step i at its temperature, before top-k, top-p and min-p."""
        return ((self.scores[i] - self.scores[i].max()) / self.options.temperature).exp()

    @property
    def _share_error(self) -> Array:
        """(S,) relative error of a share: an error e of each logit changes it by a factor of at most exp(2 e / temperature)."""
        with np.errstate(over="ignore"):
            return np.expm1(np.minimum(2 * self.logit_error / self.options.temperature, 700.0))

    def _kept(self, name: str) -> Difference:
        stored = self.record[name].astype(np.float64)
        if self.options.temperature == 0:
            return equal(stored, np.ones(self.steps))
        vocab_size, top_p, min_p = self.model.config.vocab_size, self.options.top_p, self.options.min_p
        least = greatest = np.full(self.steps, min(self.options.top_k or vocab_size, vocab_size))
        if top_p is not None and top_p < 1:
            between = []
            for i, error in enumerate(top_p * (1 - top_p) * self._share_error):  # tokens above the cut against those below
                weights = self._weights(i).sort(descending=True).values[: greatest[i]]
                sums = (weights.cumsum(0) / weights.sum()).numpy()
                between.append([min(np.searchsorted(sums, top_p + side * error) + 1, len(sums)) for side in (-1, 1)])
            least, greatest = np.array(between).T
        if min_p:  # like the other cuts it keeps the likeliest tokens: the strictest cut decides
            below = self.options.temperature * math.log(min_p)  # where the cut is, relative to the likeliest
            under = (self.scores - self.scores.amax(-1, keepdim=True)).numpy()
            error = 2 * self.logit_error[:, None] + 1e-12
            least = np.minimum(least, (under >= below + error).sum(-1).clip(1))
            greatest = np.minimum(greatest, (under >= below - error).sum(-1))
        return Difference(np.maximum(0.0, np.maximum(least - stored, stored - greatest)), 0.0, "tokens")

    def _count(self, i: int) -> int:
        """How many tokens the record says were kept at a step, limited to what is possible; `_kept` verifies it."""
        return int(np.clip(self.record[_STEPS + "kept"][i], 1, self.model.config.vocab_size))

    def _kept_ids(self, i: int) -> Tensor:
        """Ids, ascending, of the tokens kept at a step: the listed ones where the record lists them all."""
        count, names = self._count(i), self.record[_STEPS + "topk_ids"][i]
        distinct = len(set(names[:count].tolist())) == count <= len(names)
        ordered = not self.steered  # with penalties or biases the likeliest need not be those that are kept
        if ordered and distinct and valid_ids(names, self.logits.shape[1]).all():
            return torch.from_numpy(names[:count].astype(np.int64)).sort().values
        return torch.from_numpy(np.sort(largest(self.scores[i].numpy(), count)))

    def _stay(self, i: int, ids: Array, stored: Array) -> Array:
        """Which of the listed tokens step i kept."""
        if not self.steered:
            return np.arange(len(ids)) < self._count(i)  # the list is in order, and the cuts keep the likeliest
        scores, edge = self.scores[i].numpy()[ids], float(self.scores[i][self._kept_ids(i)].min())
        near = np.abs(scores - edge) <= 4 * self.logit_error[i]  # rounding may have put it on either side: the record decides
        return np.where(near & (self._count(i) < self.scores.shape[1]), stored > 0, scores >= edge)

    def _topk_shares(self, name: str) -> Difference:
        stored, ids = self.record[name].astype(np.float64), self.record[_STEPS + "topk_ids"]
        right = np.zeros_like(stored)
        if self.options.temperature == 0:
            right = (ids == self.record[_STEPS + "drawn_ids"][:, None]).astype(np.float64)
            return equal(stored, right)
        there = valid_ids(ids, self.logits.shape[1])
        for i in range(self.steps):
            weights = self._weights(i)
            shares = (weights / weights[self._kept_ids(i)].sum()).numpy()
            listed_ids = np.where(there[i], ids[i], 0)
            right[i] = np.where(self._stay(i, listed_ids, stored[i]), shares[listed_ids], 0.0)
        right[~there] = np.inf
        return Difference(np.abs(stored - right), right * (self._share_error[:, None] + 2.0**-24))

    def _spans(self) -> tuple[Array, Array]:
        """(S, 2) the part of [0, 1) that each drawn token has, (NaN, NaN) for one that was cut off; and the tolerance, (S,)."""
        found = np.full((self.steps, 2), np.nan)
        for i, drawn in enumerate(self.record[_STEPS + "drawn_ids"].tolist()):
            kept = self._kept_ids(i)
            # A token at the edge of the cut, which the recorded rounding kept and ours does not, still has its part.
            at_edge = self.scores[i, drawn] >= self.scores[i, kept].min() - 4 * self.logit_error[i]
            kept = torch.unique(torch.cat((kept, torch.tensor([drawn])))) if at_edge else kept
            ends = self._weights(i)[kept].cumsum(0)
            place = int(torch.searchsorted(kept, drawn))
            if place < len(kept) and kept[place] == drawn:
                found[i] = [float(ends[place - 1] / ends[-1]) if place else 0.0, float(ends[place] / ends[-1])]
        return found, np.minimum(self._share_error, 1.0) + 1e-12

    def _drawn_span(self, name: str) -> Difference:
        if self.options.temperature == 0:
            return equal(self.record[name], np.tile([0.0, 1.0], (self.steps, 1)))
        right, tolerance = self._spans()
        return Difference(np.abs(self.record[name] - right), tolerance[:, None])

    def _drawn_ids(self, name: str) -> Difference:
        if self.options.temperature == 0:
            drawn = torch.from_numpy(self.record[name].astype(np.int64))
            below = self.scores.amax(-1) - self.scores.gather(1, drawn[:, None])[:, 0]
            return Difference(below.numpy(), 2 * self.logit_error, "nats below the likeliest")
        span, tolerance = self._spans()
        u = np.array([uniform(self.options.seed, SAMPLE_INDEX, self.prompt + i) for i in range(self.steps)])
        outside = np.maximum(0.0, np.maximum(span[:, 0] - u, u - span[:, 1]))  # NaN stays: the token was cut off
        return Difference(outside, tolerance, "of the draw outside its span")

    # Given.

    def _pieces(self, name: str) -> ChunkResult:
        if self.model.tokenizer is None:
            return ChunkResult(chunk=name, truth="given", ok=True, note="this model has no tokenizer to compare with")
        named = {"generation/prompt_ids", _STEPS + "drawn_ids", _STEPS + "topk_ids", "generation/lens/ids"}
        tokens = {int(token) for chunk in named if chunk in self.record for token in self.record[chunk].ravel()}
        tokens = {token for token in tokens if 0 <= token < self.model.config.vocab_size}
        table = piece_table(self.model.tokenizer, tokens)
        return equal(self.record[name], table[PIECES.index(name)]).result(self.record, name)
