"""From logits to a token. V vocabulary.

A draw is a pure function of (logits, options, u), and u is a pure function of (seed, sample, position). No generator's
state is carried along, so an answer does not depend on what else is drawn, or in which order.

What is done to the logits l, in this order; c[j] is how often this answer has drawn token j so far (the prompt is not counted):

    1. repetition_penalty r, where c[j] > 0: l[j] / r if l[j] > 0, else l[j] * r (CTRL: Keskar et al. 2019, arXiv 1909.05858,
       section 4.1, in the form that also lowers negative logits)
    2. frequency and presence: l[j] - c[j] * frequency_penalty - (c[j] > 0) * presence_penalty (as GPT-3's API stated it)
    3. logit_bias: l[j] + bias[j]
    4. temperature 0: the largest is taken. Otherwise l / temperature, then the cuts: top_k, then top_p, then min_p
"""

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.generate.completion import TopLogprobs
from pellucid.hashing import mix


# As in GPT-3's API: its ranges for penalties and biases. The range of repetition_penalty is a choice.
MOST_PENALTY, MOST_BIAS, MOST_REPETITION = 2.0, 100.0, 100.0
_FIRST_LOOK = 256  # tokens sorted for top_p; all are sorted only if these do not reach it


def fresh_seed() -> int:
    """A new seed from the operating system's randomness, short enough to be typed again."""
    return secrets.randbits(32)


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingOptions:
    """How tokens are drawn, checked.

    Attributes:
        max_tokens: tokens to draw at most; 0 draws none.
        temperature: logits are divided by it. 0 takes the likeliest token (of equals the lowest id).
        top_k: only the k likeliest tokens stay (of equals the lower ids); None: all.
        top_p: then only the fewest, likeliest first, that together have at least this share of what is left; None: all.
        min_p: then only those at least this many times as likely as the likeliest; None: all.
        presence_penalty: taken off the logit of each token that this answer has drawn already, -2 to 2.
        frequency_penalty: taken off once for each time it was drawn, -2 to 2.
        repetition_penalty: those logits are divided by it if positive, else multiplied, 0.01 to 100; 1 does nothing.
        logit_bias: (token id, what is added to its logit) pairs, -100 (as good as never) to 100; a mapping becomes these.
        slide: go on past the context window, reading the text's last part only (`engine.window_start`).
        stop: the text ends before any of these.
        seed: of the draws, a signed 64-bit number.
        logprobs: how many of the likeliest tokens to report at each place; None: none.
        n: answers for each prompt; sample i is the same whatever n is.

    Raises:
        PellucidError: a value out of range.
    """

    max_tokens: int = 64
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int = field(default_factory=fresh_seed)
    logprobs: int | None = None
    n: int = 1
    min_p: float | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    slide: bool = False

    def __post_init__(self) -> None:
        _check_whole("max_tokens", self.max_tokens, 0)
        _check_whole("n", self.n, 1)
        if self.top_k is not None:
            _check_whole("top_k", self.top_k, 1)
        if self.logprobs is not None:
            _check_whole("logprobs", self.logprobs, 0)
        _check_whole("seed", self.seed, -(2**63))
        if self.seed >= 2**63:
            raise PellucidError(f"seed must be less than 2**63, not {self.seed}")
        if not (_is_number(self.temperature) and 0 <= self.temperature < math.inf):
            raise PellucidError(f"temperature must be 0 (the likeliest token) or more, not {self.temperature!r}")
        if self.top_p is not None and not (_is_number(self.top_p) and 0 < self.top_p <= 1):
            raise PellucidError(f"top_p must be more than 0 and at most 1, not {self.top_p!r}")
        for stop in self.stop:
            if not isinstance(stop, str) or not stop:
                raise PellucidError(f"a stop string must be text, and not empty; got {stop!r}")
        if self.min_p is not None:
            _check_between("min_p", self.min_p, 0, 1)
        _check_between("presence_penalty", self.presence_penalty, -MOST_PENALTY, MOST_PENALTY)
        _check_between("frequency_penalty", self.frequency_penalty, -MOST_PENALTY, MOST_PENALTY)
        _check_between("repetition_penalty", self.repetition_penalty, 1 / MOST_REPETITION, MOST_REPETITION)
        object.__setattr__(self, "logit_bias", bias_pairs(self.logit_bias))

    @property
    def counts(self) -> bool:
        """Whether a draw depends on what was drawn before."""
        return bool(self.presence_penalty or self.frequency_penalty) or self.repetition_penalty != 1


def bias_pairs(bias: object) -> tuple[tuple[int, float], ...]:
    """Biases by token id, a mapping or pairs, as `SamplingOptions` holds them. Raises PellucidError where they are none."""
    listed = bias.items() if isinstance(bias, Mapping) else bias
    try:
        pairs = [(token, value) for token, value in listed]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise PellucidError(f"logit_bias gives token ids their biases, as {{50256: -100}}; not {bias!r}") from None
    for token, value in pairs:
        _check_whole("a token id of logit_bias", token, 0)
        _check_between(f"the logit_bias of token {token}", value, -MOST_BIAS, MOST_BIAS)
    if len({token for token, _ in pairs}) < len(pairs):
        raise PellucidError("logit_bias names a token twice: give each one bias")
    return tuple(sorted((token, float(value)) for token, value in pairs))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_between(name: str, value: object, least: float, most: float) -> None:
    if not (isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most):
        raise PellucidError(f"{name} must be from {least:g} to {most:g}, not {value!r}")


def _check_whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise PellucidError(f"{name} must be a whole number, {least} or more, not {value!r}")


def uniform(seed: int, sample: int, position: int) -> float:
    """A number in [0, 1) that looks random and belongs to this draw alone.

    The top 53 bits of `hashing.mix(seed, sample, position)` are the fraction.

    Args:
        seed: the user's.
        sample: which of a prompt's n answers, from 0.
        position: the track that the drawn token will stand on.
    """
    return (mix(seed, sample, position) >> 11) * 2.0**-53


@dataclass(frozen=True, slots=True)
class Draw:
    """A drawn token and its log-probability in the model's own distribution (temperature 1, nothing cut off)."""

    id: int
    logprob: float
    top_logprobs: TopLogprobs | None


@torch.inference_mode()
def draw(logits: Tensor, options: SamplingOptions, u: float, counts: Mapping[int, int] | None = None) -> Draw:
    """Draws one token: penalties and biases, temperature, the cuts, then the inverse distribution function at u.

    Tokens are laid side by side in the order of their ids, each as wide as its probability; u points at one of them.
    So options that cut nothing off (`top_k` = V, `top_p` = 1) draw exactly what their absence does.

    Args:
        logits: (V,) floating point.
        u: in [0, 1); not used at temperature 0.
        counts: how often this answer has drawn each token already; None: the options do not ask.

    Raises:
        PellucidError: the logits are no numbers (NaN or infinite).
    """
    log_probs = logits.float().log_softmax(-1)  # the model's own distribution, in float32
    if log_probs.isnan().any():
        raise PellucidError("the model's output is not a number (NaN): its weights are damaged, or training diverged")
    scores = adjusted(logits, options, counts)
    if options.temperature == 0:
        chosen = int(scores.argmax())  # of equals the first
    else:
        kept, weights = candidates(scores, options)
        shares = weights.cumsum(0)
        # u < 1, so u * total < total even after rounding, and some share lies beyond it.
        place = int(torch.searchsorted(shares, u * shares[-1], right=True))
        chosen = place if kept is None else int(kept[place])
    top: TopLogprobs | None = None
    if options.logprobs is not None:
        best = largest(log_probs, options.logprobs)
        top = tuple(zip(best.tolist(), log_probs[best].tolist(), strict=True))
    return Draw(chosen, float(log_probs[chosen]), top)


def adjusted(logits: Tensor, options: SamplingOptions, counts: Mapping[int, int] | None) -> Tensor:
    """The logits with penalties and biases, float64; themselves where there are none."""
    if not (counts or options.logit_bias):
        return logits
    scores = logits.double()
    if scores is logits:
        scores = logits.clone()
    if counts:
        ids = torch.tensor(list(counts), device=logits.device)
        times = torch.tensor(list(counts.values()), device=logits.device)
        drawn = scores[ids]
        drawn = torch.where(drawn > 0, drawn / options.repetition_penalty, drawn * options.repetition_penalty)
        scores[ids] = drawn - times * options.frequency_penalty - options.presence_penalty
    if options.logit_bias:
        biased, biases = zip(*options.logit_bias, strict=True)
        scores[torch.tensor(biased, device=logits.device)] += torch.tensor(biases, dtype=scores.dtype, device=logits.device)
    return scores


def candidates(logits: Tensor, options: SamplingOptions) -> tuple[Tensor | None, Tensor]:
    """The ids that may be drawn, ascending (None: all), and their probabilities up to a factor, float64.

    Args:
        logits: (V,) as `adjusted` gives them.
    """
    scores = logits.double()
    # The largest becomes 0 first: a tiny temperature then cannot overflow.
    weights = ((scores - scores.max()) / options.temperature).exp()
    kept: Tensor | None = None
    if options.top_k is not None and options.top_k < len(weights):
        kept = largest(logits, options.top_k).sort().values
        weights = weights[kept]
    if options.top_p is not None and options.top_p < 1:
        nucleus = _nucleus(weights, options.top_p).sort().values
        kept = nucleus if kept is None else kept[nucleus]
        weights = weights[nucleus]
    if options.min_p is not None:
        likely = (weights >= options.min_p * weights.max()).nonzero()[:, 0]
        kept = likely if kept is None else kept[likely]
        weights = weights[likely]
    return kept, weights


def _nucleus(weights: Tensor, share: float) -> Tensor:
    """Indices of the fewest largest weights whose sum is at least `share` of the total (Holtzman et al. 2019)."""
    wanted = share * weights.sum()
    indices = largest(weights, min(_FIRST_LOOK, len(weights)))
    sums = weights[indices].cumsum(0)
    if sums[-1] < wanted:
        indices = largest(weights, len(weights))
        sums = weights[indices].cumsum(0)
    return indices[: int(torch.searchsorted(sums, wanted)) + 1]


def largest(values: Tensor, count: int) -> Tensor:
    """Indices of the `count` largest of (N,) values, the largest first, of equals the lower index first."""
    if count == 0:
        return torch.empty(0, dtype=torch.int64, device=values.device)
    indices = torch.arange(len(values), device=values.device)
    if count < len(values):
        edge = values.topk(count).values[-1]  # topk itself promises nothing about equals
        above, level = indices[values > edge], indices[values == edge]
        indices = torch.cat((above, level[: count - len(above)]))
    # A stable sort keeps equals as they stand: `above` and `level` are ascending, and no value is in both.
    return indices[values[indices].sort(descending=True, stable=True).indices]
