"""Scaling rules: a model's shape, learning rate and batch size from its number of parameters. No torch here.

From 125M to 175B each value is interpolated between the rows of the GPT-3 paper's Table 2.1 (arXiv 2005.14165), both axes
logarithmic; within 2 % of one of its sizes it is that size. Below 125M, where the paper gives no shapes, the rules are choices
and say so. Its smallest models have "as few as 100,000 parameters" (section 3), the least that is accepted here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pellucid.errors import PellucidError
from pellucid.gpt.arrangements import alternating
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.presets import PRESETS
from pellucid.gpt.published import PUBLISHED


MIN_PARAMETERS, MAX_PARAMETERS = 100_000, 180_000_000_000
SAME_SIZE = 0.02  # relative distance within which a published size is taken
SMALL_D_HEAD, LARGE_D_HEAD = 64, 128  # a head's width: of Small and Medium; of most sizes from 1.3B on
LARGE_D_HEAD_FROM = 1_000_000_000
VOCABULARY, CONTEXT, BAND = 50257, 2048, 128  # GPT-3's; its band is a choice (`arrangements`)
SMALL = PUBLISHED["gpt3-125m"]
TOKEN_SHARE = VOCABULARY * SMALL.d_model / SMALL.parameters  # of Small's parameters, in its token matrix: 31 %
CPU_PRESETS = ("tiny", "cpu-2m", "cpu-6m", "cpu-12m", "cpu-30m")  # batch sizes chosen by experiment (docs/log.md)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaledShape:
    """A shape and its training settings, derived from a number of parameters.

    Attributes:
        config: the shape; `config.parameters()` is as near to the number as the rules come.
        learning_rate, batch_tokens: the peak rate, and tokens in a full batch.
        reasons: by name, where each number comes from: n_layers d_model n_heads n_ctx vocab_size learning_rate batch_tokens.
    """

    config: GPTConfig
    learning_rate: float
    batch_tokens: int
    reasons: dict[str, str]


def shape_for(parameters: float) -> ScaledShape:
    """The shape for so many parameters.

    Raises:
        PellucidError: fewer than 100,000 or more than 180 billion.
    """
    if not MIN_PARAMETERS <= parameters <= MAX_PARAMETERS:
        raise PellucidError(
            f"parameters go from {MIN_PARAMETERS:,} to {MAX_PARAMETERS:,} here, not {parameters:,.0f}: give a config for others"
        )
    for name, row in PUBLISHED.items():
        if abs(GPTConfig.preset(name).parameters() / parameters - 1) <= SAME_SIZE:
            chosen, why = PRESETS[name], f"{row.name}, Table 2.1"
            names = ("n_layers", "d_model", "n_heads", "n_ctx", "vocab_size", "learning_rate", "batch_tokens")
            return ScaledShape(
                config=GPTConfig.preset(name), learning_rate=chosen.learning_rate, batch_tokens=chosen.batch_tokens,
                reasons=dict.fromkeys(names, why),
            )  # fmt: skip
    return _small(parameters) if parameters < SMALL.parameters else _large(parameters)


def _large(parameters: float) -> ScaledShape:
    head = SMALL_D_HEAD if parameters < LARGE_D_HEAD_FROM else LARGE_D_HEAD
    layers = round(_interpolate(parameters, [(size, PRESETS[name].n_layers) for name, size in _sizes()]))
    config = _nearest(parameters, [_shape(layers, heads, head, VOCABULARY, CONTEXT) for heads in range(1, 129)])
    line = "on Table 2.1's lines"
    return ScaledShape(
        config=config,
        learning_rate=_interpolate(parameters, [(size, PRESETS[name].learning_rate) for name, size in _sizes()]),
        batch_tokens=_whole_windows(
            _interpolate(parameters, [(size, PRESETS[name].batch_tokens) for name, size in _sizes()]), CONTEXT
        ),
        reasons={
            "n_layers": line, "d_model": f"so many heads of {head} as come nearest", "n_heads": f"{head} wide each",
            "n_ctx": "GPT-3's", "vocab_size": "GPT-3's", "learning_rate": line, "batch_tokens": line,
        },
    )  # fmt: skip


def _small(parameters: float) -> ScaledShape:
    width = SMALL.d_model * (parameters / SMALL.parameters) ** (1 / 3)  # of a shape with Small's proportions
    vocabulary = min(VOCABULARY, max(512, _power_of_two(TOKEN_SHARE * parameters / width)))
    n_ctx = min(CONTEXT, _power_of_two(CONTEXT * math.sqrt(parameters / SMALL.parameters)))
    shapes = [
        _shape(layers, heads, SMALL_D_HEAD, vocabulary, n_ctx)
        for heads in range(1, SMALL.n_heads + 1)
        for layers in sorted(range(max(1, heads - 2), heads + 3), key=lambda layers, heads=heads: abs(layers - heads))  # type: ignore[misc]
    ]
    config = _nearest(parameters, shapes)
    first, last = PUBLISHED["gpt3-125m"], PUBLISHED["gpt3-175b"]
    slope = math.log(last.learning_rate / first.learning_rate) / math.log(last.parameters / first.parameters)
    batches = [(GPTConfig.preset(name).parameters(), PRESETS[name].batch_tokens) for name in (*CPU_PRESETS, "gpt3-125m")]
    return ScaledShape(
        config=config,
        learning_rate=first.learning_rate * (parameters / first.parameters) ** slope,
        batch_tokens=_whole_windows(_interpolate(max(parameters, batches[0][0]), batches), n_ctx),
        reasons={
            "n_layers": "about one a head, as GPT-3 Small has (a choice)",
            "d_model": f"so many heads of {SMALL_D_HEAD} as come nearest",
            "n_heads": f"{SMALL_D_HEAD} wide each, as GPT-3 Small's",
            "n_ctx": "2048 x the root of the share of 125M, as a power of two (a choice)",
            "vocab_size": "so that the token matrix is about 31 % of all, as GPT-3 Small's (a choice)",
            "learning_rate": "on the line through Table 2.1's first and last size (a choice)",
            "batch_tokens": "on the lines that join our CPU presets and GPT-3 Small (a choice)",
        },
    )


def _shape(layers: int, heads: int, head: int, vocabulary: int, n_ctx: int) -> GPTConfig:
    return GPTConfig(
        n_layers=layers, d_model=heads * head, n_heads=heads, n_ctx=n_ctx, vocab_size=vocabulary,
        pattern=alternating(layers, band=min(BAND, n_ctx // 4)),
    )  # fmt: skip


def _nearest(parameters: float, shapes: Sequence[GPTConfig]) -> GPTConfig:
    """The shape whose number of parameters differs by the smallest factor, the first of several."""
    return min(shapes, key=lambda shape: abs(math.log(shape.parameters() / parameters)))


def _sizes() -> list[tuple[str, int]]:
    return [(name, GPTConfig.preset(name).parameters()) for name in PUBLISHED]


def _interpolate(x: float, points: Sequence[tuple[float, float]]) -> float:
    """The value at x, interpolated between the points on logarithmic axes; extrapolated beyond the last one."""
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1 or (x1, y1) == points[-1]:
            return float(y0 * (y1 / y0) ** (math.log(x / x0) / math.log(x1 / x0)))
    raise AssertionError("two points at least")


def _power_of_two(value: float) -> int:
    """The nearest power of two, by ratio."""
    return int(2 ** round(math.log2(value)))


def _whole_windows(batch_tokens: float, n_ctx: int) -> int:
    """A whole number of windows, at least one, in tokens."""
    return max(1, round(batch_tokens / n_ctx)) * n_ctx
