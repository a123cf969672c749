"""Sampling: penalties, biases, temperature, top-k, top-p, min-p and the draw of a token from logits, in NumPy. V vocabulary.

A draw is a pure function of (logits, options, u), and u is a pure function of (seed, sample, position). No generator's
state is carried along, so a completion does not depend on what else is drawn, or in which order.

What is done to the logits l, in this order; c[j] is how often this completion has drawn token j so far (the prompt is not
counted):

    1. repetition_penalty r, where c[j] > 0: l[j] / r if l[j] > 0, else l[j] * r (CTRL: Keskar et al. 2019, arXiv 1909.05858,
       section 4.1, in the form that also lowers negative logits)
    2. frequency and presence: l[j] - c[j] * frequency_penalty - (c[j] > 0) * presence_penalty (as GPT-3's API stated it)
    3. logit_bias: l[j] + bias[j]
    4. temperature 0: the largest is taken. Otherwise l / temperature, then the cuts: top_k, then top_p, then min_p

What is drawn from is defined in float64, by the arithmetic of `runtime.draw_arithmetic`, to the bit:

    weights     exp(x - the largest), x = l / temperature; the quotient of the difference, not the difference of quotients
    top_p       the fewest likeliest (largest l first, of equals the lower id) whose weights, added one after the other, reach
                top_p times `total` of all weights that top_k left
    draw        `inverse_cdf` of the weights that are left, in the order of their ids
    log p[j]    l[j] - the largest - log(`total` of exp(l - the largest)), rounded to float32 at the end
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.completion import TopLogprobs
from pellucid.engine.options import BiasPairs, SamplingOptions
from pellucid.errors import PellucidError
from pellucid.hashing import mix
from pellucid.runtime import draw_arithmetic


_FIRST_SORTED = 256  # tokens sorted for top_p; more, and at last all, only if these do not reach it

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]
Ids = NDArray[np.int64]


def uniform(seed: int, sample: int, position: int) -> float:
    """The pseudo-random number in [0, 1) of one draw: the top 53 bits of `hashing.mix(seed, sample, position)`.

    Args:
        seed: of the request.
        sample: index of the completion among those of its prompt, from 0.
        position: of the drawn token, counted from 0 at the prompt's first token.
    """
    return (mix(seed, sample, position) >> 11) * 2.0**-53


@dataclass(frozen=True, slots=True)
class Draw:
    """A drawn token and its log-probability in the model's own distribution (temperature 1, nothing cut off)."""

    id: int
    logprob: float
    top_logprobs: TopLogprobs | None


def draw(logits: NDArray[np.float32], options: SamplingOptions, u: float, counts: Mapping[int, int] | None = None) -> Draw:
    """Draws one token: penalties and biases, temperature, the cuts, then the inverse distribution function at u.

    Tokens are laid side by side in the order of their ids, each as wide as its probability; u points at one of them.
    So options that cut nothing off (`top_k` = V, `top_p` = 1) draw exactly what their absence does.

    Args:
        logits: (V,).
        u: in [0, 1); not used at temperature 0.
        counts: how often this completion has drawn each token already; None: the options do not ask.

    Raises:
        PellucidError: the logits are not finite.
    """
    best, weights, log_total = _softmax_terms(logits)
    scores = adjusted(logits, options, counts)
    if options.temperature == 0:
        chosen = int(scores.argmax())  # of equals the first
    else:
        kept: Ids | None = None
        if scores is not logits or options.temperature != 1 or options.truncates(len(logits)):
            kept, weights = candidates(scores, options)
        index = draw_arithmetic.inverse_cdf(weights, u)
        chosen = index if kept is None else int(kept[index])
    top: TopLogprobs | None = None
    if options.logprobs is not None:
        likeliest = largest(logits, options.logprobs)
        top = tuple(zip(likeliest.tolist(), _logprobs(logits[likeliest], best, log_total).tolist(), strict=True))
    return Draw(chosen, float(_logprobs(logits[chosen], best, log_total)), top)


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., V) logits -> (..., V) log-probabilities, natural: those that `draw` reports.

    Raises:
        PellucidError: the logits are not finite.
    """
    logprobs = np.empty(logits.shape, np.float32)
    for index in np.ndindex(logits.shape[:-1]):
        best, _, log_total = _softmax_terms(logits[index])
        logprobs[index] = _logprobs(logits[index], best, log_total)
    return logprobs


def _softmax_terms(logits: NDArray[np.float32]) -> tuple[np.float32, Doubles, float]:
    """The largest of (V,) logits, (V,) probabilities as multiples of its own, and the logarithm of their sum."""
    assert logits.dtype == np.float32
    weights, total = draw_arithmetic.weights(logits)
    if math.isnan(total):
        raise PellucidError("the model's output is not a number (NaN): its weights are damaged, or training diverged")
    return logits.max(), weights, draw_arithmetic.log(total)


def _logprobs(logits: Any, best: np.float32, log_total: float) -> Any:
    """Log-probabilities of some logits, each rounded to float32 once."""
    return np.float32(np.float64(logits) - np.float64(best) - log_total)


def adjusted(logits: Floats, options: SamplingOptions, counts: Mapping[int, int] | None) -> Floats:
    """The (V,) logits with penalties and biases, float64; themselves where there are none."""
    if not (counts or options.logit_bias):
        return logits
    scores = logits.astype(np.float64)
    if counts:
        ids, times = np.array(list(counts)), np.array(list(counts.values()))
        drawn = scores[ids]
        drawn = np.where(drawn > 0, drawn / options.repetition_penalty, drawn * options.repetition_penalty)
        scores[ids] = drawn - times * options.frequency_penalty - options.presence_penalty
    if options.logit_bias:
        assert isinstance(options.logit_bias, BiasPairs)
        ids, biases = options.logit_bias.arrays
        scores[ids] += biases
    return scores


def candidates(scores: Floats, options: SamplingOptions) -> tuple[Ids | None, Doubles]:
    """The ids that may be drawn, ascending (None: all), and their probabilities as multiples of the largest, float64.

    Args:
        scores: (V,) as `adjusted` gives them.
        options: of a temperature above 0.
    """
    best, temperature = scores.max(), options.temperature
    kept: Ids | None = None
    if options.top_k is not None and options.top_k < len(scores):
        kept = np.sort(largest(scores, options.top_k))
    if options.top_p is not None and options.top_p < 1:
        pool = scores if kept is None else scores[kept]
        nucleus = np.sort(_nucleus(pool, temperature, options.top_p))
        kept = nucleus if kept is None else kept[nucleus]
    weights = _weights(scores if kept is None else scores[kept], best, temperature)
    if options.min_p:
        likely = np.flatnonzero(weights >= options.min_p)  # the largest is 1
        kept = likely if kept is None else kept[likely]
        weights = weights[likely]
    return kept, weights


def _weights(scores: Floats, best: Any, temperature: float) -> Doubles:
    # The largest becomes 0 first: a tiny temperature then cannot overflow.
    with np.errstate(over="ignore"):
        return draw_arithmetic.exp((scores - np.float64(best)) / temperature)


def _nucleus(scores: Floats, temperature: float, share: float) -> Ids:
    """Indices of the fewest likeliest that have at least `share` of the probability together (Holtzman et al. 2019)."""
    weights, look = _weights(scores, scores.max(), temperature), _FIRST_SORTED
    wanted = share * draw_arithmetic.total(weights)
    while True:
        indices = largest(scores, min(look, len(scores)))
        reached = int(np.searchsorted(weights[indices].cumsum(), wanted))
        if reached < len(indices) or look >= len(scores):  # all of them may add up to less, by rounding
            return indices[: reached + 1]
        look *= 16


def largest(values: Floats, count: int) -> Ids:
    """Indices of the `count` largest of (N,) values, the largest first, of equals the lower index first."""
    if count == 0:
        return np.empty(0, np.int64)
    indices: Ids = np.arange(len(values))
    if count < len(values):
        edge = np.partition(values, len(values) - count)[len(values) - count]
        above, level = np.flatnonzero(values > edge), np.flatnonzero(values == edge)
        indices = np.concatenate((above, level[: count - len(above)]))
    # A stable sort keeps equals as they stand: `above` and `level` are ascending, and no value is in both.
    return indices[np.argsort(-values[indices], kind="stable")]
