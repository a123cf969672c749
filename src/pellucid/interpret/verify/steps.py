"""Verifying the steps of a generation: each distribution, its cut by top-k, top-p and min-p, and the draw.

S steps, K listed candidates of a step, V vocabulary.

A step's numbers are compared with values that follow from its recomputed logits, each of which may be off by e (`logit_error`).
With r = exp(2 e / temperature), the odds of any set of tokens change by a factor of at most r, so a probability F (a share, or
an end of a drawn token's span) by at most F (1 - F) (r - 1): that is the tolerance of shares and spans.

`contradictions` compares the record's numbers with each other, with no tolerance but float32's rounding: those of a step are
roundings of one distribution.
"""

import math
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.engine.options import SamplingOptions
from pellucid.engine.sampling import largest, uniform
from pellucid.interpret.capture import SAMPLE_INDEX
from pellucid.interpret.verify.difference import Array, Difference, compare_top_tokens, row_ranges, valid_ids
from pellucid.languages import mark
from pellucid.record import Record


STEPS = "generation/steps/"
_FLOAT32 = 2.0**-24  # relative rounding of a float32 number
_FLOAT64 = 2.0**-36  # of a sum of all shares of a vocabulary in float64, in any order


class StepVerifier:
    """Recomputes the chunks `generation/steps/` from logits.

    Args:
        logits: (S, V) recomputed, float64. error: (S,) by how much each may be off.
        upcast: the same computed in float32, where the recorded model computed in fewer bits; else None.
        options: those that the tokens were drawn with. prompt: its length.

    Raises:
        PellucidError: the record lacks one of these chunks; only `drawn_span` may be missing.
    """

    def __init__(
        self, record: Record, logits: Tensor, error: Array, upcast: Tensor | None, options: SamplingOptions, prompt: int
    ) -> None:
        self.record, self.options, self.prompt = record, options, prompt
        self.logits, self.nats, self.upcast_logits = logits, error, upcast
        self.steps, self.vocab_size = logits.shape
        self.chunks = {name: record[STEPS + name] for name in _NAMES if name != "drawn_span" or STEPS + name in record}
        self.drawn: list[int] = self.chunks["drawn_ids"].tolist()
        self.adjusted = options.uses_counts or bool(options.logit_bias)
        self.logit_error = error
        if self.adjusted:  # a penalty that multiplies a logit multiplies its error
            self.logit_error = error * max(options.repetition_penalty, 1 / options.repetition_penalty)
        self.scores = self._scores(logits)
        self.upcast = None if upcast is None else self._scores(upcast)
        self._kept: dict[int, Tensor | None] = {}

    def with_options(self, options: SamplingOptions) -> "StepVerifier":
        """The same steps, had they been drawn with other options."""
        return StepVerifier(self.record, self.logits, self.nats, self.upcast_logits, options, self.prompt)

    @cached_property
    def logprobs(self) -> Tensor:
        """(S, V) the model's own distribution."""
        return self.logits.log_softmax(-1)

    @cached_property
    def top(self) -> tuple[Difference, Difference]:
        """The differences of the listed tokens and of their log-probabilities."""
        return compare_top_tokens(self.logprobs, self.chunks["topk_ids"], self.chunks["topk_logprobs"], self.nats[:, None])

    def drawn_logprobs(self) -> Difference:
        """Against the model's own distribution."""
        expected = self.logprobs.gather(1, torch.tensor(self.drawn)[:, None])[:, 0].numpy()
        found = np.abs(self.chunks["drawn_logprobs"] - expected)
        return Difference(found, self.nats + _FLOAT32 * np.abs(expected), "nats", self._list_ranges(self.logprobs))

    def draws(self) -> Difference:
        """Against the hash of (seed, sample, position)."""
        draw = self.chunks["draw"]
        if self.options.temperature == 0:
            return Difference(np.where(np.isnan(draw), 0.0, np.inf), 0.0)
        return Difference(np.abs(draw - np.array([self._uniform(i) for i in range(self.steps)])), 0.0)

    def kept(self) -> Difference:
        """How many tokens each step kept: between the fewest and the most that the error allows."""
        least, most = np.array([self._kept_range(i) for i in range(self.steps)], np.float64).T
        middle = (least + most) / 2
        return Difference(np.abs(self.chunks["kept"] - middle), most - middle, "tokens", np.maximum(middle, 10))

    def shares(self) -> Difference:
        """The probabilities of the listed tokens in what was drawn from."""
        rows = [self._shares(i) for i in range(self.steps)]
        expected, tolerance = (np.stack([row[place] for row in rows]) for place in range(2))
        return Difference(np.abs(self.chunks["topk_shares"] - expected), tolerance, value_range=row_ranges(expected))

    def spans(self) -> Difference:
        """The part of [0, 1) that each drawn token has."""
        expected, tolerance = self._all_spans
        return Difference(np.abs(self.chunks["drawn_span"] - expected), tolerance, value_range=1.0)

    def drawn_ids(self) -> Difference:
        """That each draw falls into the drawn token's part, or at temperature 0, that the token is the likeliest."""
        if self.options.temperature == 0:
            chosen = self.scores.gather(1, torch.tensor(self.drawn)[:, None])[:, 0]
            below = (self.scores.amax(-1) - chosen).numpy()
            return Difference(below, 2 * self.logit_error, mark("nats below the likeliest"), self._list_ranges(self.scores))
        span, tolerance = self._all_spans
        u = np.array([self._uniform(i) for i in range(self.steps)])
        outside = np.maximum(0.0, np.maximum(span[:, 0] - u, u - span[:, 1]))  # NaN stays: the token was cut off
        return Difference(outside, tolerance.max(1), mark("of the draw outside its span"), 1.0)

    def agrees(self, i: int) -> bool:
        """Whether step i could have been drawn with these options."""
        least, most = self._kept_range(i)
        if not least <= self.chunks["kept"][i] <= most:
            return False
        expected, tolerance = self._shares(i)
        if not (np.abs(self.chunks["topk_shares"][i] - expected) <= tolerance).all():
            return False
        span, allowed = self._span(i)
        u = 0.5 if self.options.temperature == 0 else self._uniform(i)
        return bool(span[0] - allowed[0] <= u <= span[1] + allowed[1])

    def _list_ranges(self, numbers: Tensor) -> Array:
        """(S,) the range of each step's 20 largest: what one number of a step is judged by."""
        ranges: Array = row_ranges(numbers.topk(min(20, self.vocab_size)).values.numpy())[:, 0]
        return ranges

    def _uniform(self, i: int) -> float:
        return uniform(self.options.seed, SAMPLE_INDEX, self.prompt + i)

    # A step.

    def _scores(self, logits: Tensor) -> Tensor:
        """(S, V) the logits with penalties and biases added, as `engine.sampling` defines them."""
        if not self.adjusted:
            return logits
        options, scores = self.options, logits.clone()
        if options.uses_counts:
            before = F.one_hot(torch.tensor(self.drawn), self.vocab_size).cumsum(0).roll(1, 0)  # (S, V) times drawn before
            before[0] = 0
            factor = torch.where(scores > 0, 1 / options.repetition_penalty, options.repetition_penalty)
            scores = torch.where(before > 0, scores * factor - options.presence_penalty, scores)
            scores -= before * options.frequency_penalty
        for token, bias in options.logit_bias:
            scores[:, token] += bias
        return scores

    def _exponent(self, i: int) -> float:
        """log r of step i: by how much the logarithm of any odds may be off."""
        return min(2 * float(self.logit_error[i]) / self.options.temperature, 1e300)

    def _weights(self, i: int, scores: Tensor) -> Tensor:
        """(V,) unnormalized probabilities of step i at its temperature, before top-k, top-p and min-p."""
        return ((scores[i] - scores[i].max()) / self.options.temperature).exp()

    def _kept_range(self, i: int) -> tuple[int, int]:
        """The fewest and the most tokens that step i may have kept."""
        if self.options.temperature == 0:
            return 1, 1
        top_p, min_p = self.options.top_p, self.options.min_p
        least = most = min(self.options.top_k or self.vocab_size, self.vocab_size)
        if top_p is not None and top_p < 1:
            error = top_p * (1 - top_p) * math.expm1(min(self._exponent(i), 700.0))
            weights = self._weights(i, self.scores).sort(descending=True).values[:most]
            sums = (weights.cumsum(0) / weights.sum()).numpy()
            least, most = (min(int(np.searchsorted(sums, top_p + side * error)) + 1, len(sums)) for side in (-1, 1))
        if min_p:  # like the other cuts it keeps the likeliest tokens: the strictest cut decides
            below = self.options.temperature * math.log(min_p)  # where the cut is, relative to the likeliest
            under = (self.scores[i] - self.scores[i].max()).numpy()
            error = 2 * self.logit_error[i] + 1e-12
            least = min(least, max(1, int((under >= below + error).sum())))
            most = min(most, int((under >= below - error).sum()))
        return least, most

    def _count(self, i: int) -> int:
        """How many tokens the record says were kept at a step, limited to what is possible; `kept` verifies it."""
        return int(np.clip(self.chunks["kept"][i], 1, self.vocab_size))

    def _kept_ids(self, i: int) -> Tensor | None:
        """Ids, ascending, of the tokens kept at a step, None for all: the listed ones where the record lists them all."""
        if i not in self._kept:
            count, names = self._count(i), self.chunks["topk_ids"][i]
            distinct = len(set(names[:count].tolist())) == count <= len(names)
            ordered = not self.adjusted  # with penalties or biases the likeliest need not be those that are kept
            if count == self.vocab_size:
                self._kept[i] = None
            elif ordered and distinct and valid_ids(names, self.vocab_size).all():
                self._kept[i] = torch.from_numpy(names[:count].astype(np.int64)).sort().values
            else:
                self._kept[i] = torch.from_numpy(np.sort(largest(self.scores[i].numpy(), count)))
        return self._kept[i]

    def _kept_mask(self, i: int, ids: Array, stored: Array) -> Array:
        """Which of the listed tokens step i kept."""
        kept = self._kept_ids(i)
        if kept is None:
            return np.ones(len(ids), bool)
        if not self.adjusted:
            return np.arange(len(ids)) < self._count(i)  # the list is in order, and the cuts keep the likeliest
        scores, edge = self.scores[i].numpy()[ids], float(self.scores[i][kept].min())
        near = np.abs(scores - edge) <= 4 * self.logit_error[i]  # rounding may have put it on either side: the record decides
        return np.where(near, stored > 0, scores >= edge)

    def _shares(self, i: int) -> tuple[Array, Array]:
        """(K,) shares of the listed tokens of step i, and the tolerance of each."""
        ids, stored = self.chunks["topk_ids"][i], self.chunks["topk_shares"][i]
        if self.options.temperature == 0:
            return (ids == self.drawn[i]).astype(np.float64), np.zeros(len(ids))
        there = valid_ids(ids, self.vocab_size)
        listed = torch.from_numpy(np.where(there, ids, 0).astype(np.int64))
        kept, exponents = self._kept_ids(i), (self.scores[i] - self.scores[i].max()) / self.options.temperature
        total = (exponents if kept is None else exponents[kept]).logsumexp(0)
        log_share = (exponents[listed] - total).clamp_max(0).numpy()
        expected = np.where(self._kept_mask(i, listed.numpy(), stored), np.exp(log_share), 0.0)
        expected[~there] = np.inf
        with np.errstate(divide="ignore"):
            others = np.log(-np.expm1(log_share))  # logarithm of what all others have
        best = int(log_share.argmax())
        rest = exponents.clone() if kept is None else torch.full_like(exponents, -math.inf).index_copy(0, kept, exponents[kept])
        rest[listed[best]] = -math.inf
        others[best] = min(0.0, float(rest.logsumexp(0) - total))  # exact where the likeliest has nearly all
        log_error = log_share + others + _log_expm1(self._exponent(i))
        return expected, np.where(expected > 0, np.exp(np.minimum(log_error, 0.0)) + _FLOAT32 * expected + 2.0**-149, 0.0)

    def _span(self, i: int) -> tuple[Array, Array]:
        """(2,) the part of [0, 1) that the drawn token of step i has, NaN if it was cut off; and the tolerance of both ends."""
        if self.options.temperature == 0:
            return np.array([0.0, 1.0]), np.zeros(2)
        drawn, kept = self.drawn[i], self._kept_ids(i)
        if kept is not None:
            # At the edge of the cut, rounding decides: a token that the record kept there is kept here, too.
            at_edge = self.scores[i, drawn] >= self.scores[i, kept].min() - 4 * self.logit_error[i]
            kept = torch.unique(torch.cat((kept, torch.tensor([drawn])))) if at_edge else kept
        place = drawn if kept is None else int(torch.searchsorted(kept, drawn))
        if kept is not None and not (place < len(kept) and kept[place] == drawn):
            return np.full(2, math.nan), np.ones(2)
        ends = _ends(self._weights(i, self.scores), kept)
        span = np.array([float(ends[place - 1]) if place else 0.0, float(ends[place])])
        tolerance = np.minimum(1.0, span * (1 - span) * math.expm1(min(self._exponent(i), 700.0)))
        if self.upcast is not None:  # the measured effect of fewer bits is smaller than the worst case
            tolerance = np.minimum(tolerance, 12 * float((ends - _ends(self._weights(i, self.upcast), kept)).abs().max()))
        return span, tolerance + 1e-12

    @cached_property
    def _all_spans(self) -> tuple[Array, Array]:
        """(S, 2) each."""
        found = [self._span(i) for i in range(self.steps)]
        return np.stack([span for span, _ in found]), np.stack([tolerance for _, tolerance in found])

    # The record's numbers compared with each other.

    @np.errstate(all="ignore")  # the record's numbers may be infinite or NaN; NaN fulfils no condition
    def contradictions(self) -> dict[str, str]:
        """Chunks with a number that contradicts another one of the record, by name, and what is wrong."""
        found: dict[str, str] = {}
        chunks, kept = self.chunks, self.chunks["kept"].astype(np.int64)
        ids, drawn = chunks["topk_ids"], np.array(self.drawn)[:, None]
        logprobs, own = chunks["topk_logprobs"].astype(np.float64), chunks["drawn_logprobs"].astype(np.float64)
        shares, draw = chunks["topk_shares"].astype(np.float64), chunks["draw"]
        listed, place = (ids == drawn).any(1), (ids == drawn).argmax(1)
        rows = np.arange(self.steps)
        limit = 1 + _FLOAT32 * ids.shape[1]

        def require(holds: Array, name: str, note: str) -> None:
            if not np.all(holds):
                found.setdefault(STEPS + name, note)

        require((logprobs[:, 1:] <= logprobs[:, :-1]) & (logprobs[:, :1] <= 0), "topk_logprobs", "not the likeliest first")
        require(np.exp(logprobs).sum(1) <= limit * 1.0001, "topk_logprobs", "more than 1 in all")
        require(np.where(listed, own == logprobs[rows, place], own <= logprobs[:, -1]), "drawn_logprobs",
                "not what its place among the listed tokens says")  # fmt: skip
        require((shares >= 0) & (shares.sum(1, keepdims=True) <= limit), "topk_shares", "less than 0, or more than 1 in all")
        require((shares > 0).sum(1) <= kept, "topk_shares", "more tokens than were kept")
        require(np.where(listed, shares[rows, place] > 0, (shares > 0).sum(1) < kept), "drawn_ids", "a token that was cut off")
        if not self.adjusted:
            require((shares == 0) | (np.arange(ids.shape[1]) < kept[:, None]), "topk_shares", "not 0 where cut off")
            require(listed | (kept > ids.shape[1]), "drawn_ids", "a token that was cut off")
            full = (kept <= ids.shape[1]) | (ids.shape[1] == self.vocab_size)
            require(~full | (shares.sum(1) >= 2 - limit), "topk_shares", "less than 1 in all, with all that were kept")
            require(self._agree(shares, logprobs), "topk_shares", "not what log-probabilities and temperature give")
            require((self.options.temperature > 0) | (ids[:, 0] == drawn[:, 0]), "drawn_ids", "not the likeliest token")
        if self.options.temperature > 0 and "drawn_span" in chunks:
            low, high = chunks["drawn_span"].T
            require((low - _FLOAT64 <= draw) & (draw < high + _FLOAT64), "drawn_span", "the draw is not in it")
            width = np.where(listed, shares[rows, place], high - low)
            require(np.abs(high - low - width) <= _FLOAT32 * width + _FLOAT64, "drawn_span", "not as wide as the share")
            if not self.adjusted:
                pair = np.stack((shares[:, 0], high - low), 1), np.stack((logprobs[:, 0], own), 1)
                require(self._agree(*pair), "drawn_span", "not as wide as log-probability and temperature give")
        return found

    def _agree(self, shares: Array, logprobs: Array) -> Array:
        """Whether the ratio of each share to the first one's follows from the two log-probabilities, which are roundings."""
        if self.options.temperature == 0:
            return np.ones(1, bool)
        seen = (shares > 1e-30) & (shares[:, :1] > 1e-30)
        ratio = np.log(np.where(seen, shares, 1.0)) - np.log(np.where(seen, shares[:, :1], 1.0))
        nats = (logprobs - logprobs[:, :1]) / self.options.temperature
        rounding = _FLOAT32 * (np.abs(logprobs) + np.abs(logprobs[:, :1])) / self.options.temperature
        return ~seen | (np.abs(ratio - nats) <= rounding + 4 * _FLOAT32 + _FLOAT64 / np.maximum(shares, _FLOAT64))


_NAMES = ("drawn_ids", "drawn_logprobs", "topk_ids", "topk_logprobs", "topk_shares", "kept", "draw", "drawn_span")


def _ends(weights: Tensor, kept: Tensor | None) -> Tensor:
    """Where each kept token's part of [0, 1) ends."""
    ends = (weights if kept is None else weights[kept]).cumsum(0)
    return ends / ends[-1]


def _log_expm1(x: float) -> float:
    """log(exp(x) - 1), for any x > 0."""
    return x if x > 40 else math.log(math.expm1(x))
