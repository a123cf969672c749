"""Presets: model shapes by name, with learning rate and batch size, as data.

The eight sizes of GPT-3 are Table 2.1 of the paper (arXiv 2005.14165) with its two impossible rows mended, so that
every total agrees with Table D.1 of the same paper:

* 13B: the table prints d_model 5140, which 40 heads of 128 do not make; 5120 = 40 * 128 gives Table D.1's 12,850M.
* XL (1.3B): the table prints 24 heads of 128 at width 2048; 24 * 128 = 3072. 16 * 128 = 2048 gives Table D.1's 1,320M.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.gpt.arrangements import all_dense, alternating
from pellucid.gpt.pattern import Pattern


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """A shape and the two numbers of its training that grow with it.

    Attributes:
        learning_rate: the peak rate.
        batch_tokens: tokens in one step at full batch.
        pattern: blocks -> a pattern for each.
    """

    n_layers: int
    d_model: int
    n_heads: int
    n_ctx: int
    vocab_size: int
    learning_rate: float
    batch_tokens: int
    pattern: Callable[[int], tuple[Pattern, ...]] = alternating


_gpt3 = partial(Preset, n_ctx=2048, vocab_size=50257)
_gpt2 = partial(Preset, n_ctx=1024, vocab_size=50257, batch_tokens=524_288, pattern=all_dense)
# Ours, for a laptop: learning rates and batches found by trying (docs/log.md), a band that is a quarter of the context.
_cpu = partial(Preset, pattern=lambda n: alternating(n, band=64))

PRESETS: dict[str, Preset] = {
    # GPT-3, Table 2.1: batch in tokens and peak learning rate, as printed.
    "gpt3-125m": _gpt3(n_layers=12, d_model=768, n_heads=12, learning_rate=6.0e-4, batch_tokens=500_000),
    "gpt3-350m": _gpt3(n_layers=24, d_model=1024, n_heads=16, learning_rate=3.0e-4, batch_tokens=500_000),
    "gpt3-760m": _gpt3(n_layers=24, d_model=1536, n_heads=16, learning_rate=2.5e-4, batch_tokens=500_000),
    "gpt3-1.3b": _gpt3(n_layers=24, d_model=2048, n_heads=16, learning_rate=2.0e-4, batch_tokens=1_000_000),
    "gpt3-2.7b": _gpt3(n_layers=32, d_model=2560, n_heads=32, learning_rate=1.6e-4, batch_tokens=1_000_000),
    "gpt3-6.7b": _gpt3(n_layers=32, d_model=4096, n_heads=32, learning_rate=1.2e-4, batch_tokens=2_000_000),
    "gpt3-13b": _gpt3(n_layers=40, d_model=5120, n_heads=40, learning_rate=1.0e-4, batch_tokens=2_000_000),
    "gpt3-175b": _gpt3(n_layers=96, d_model=12288, n_heads=96, learning_rate=0.6e-4, batch_tokens=3_200_000),
    # GPT-2's four sizes (all dense). Its learning rates were never published: GPT-3's for the nearest size stand in.
    "gpt2": _gpt2(n_layers=12, d_model=768, n_heads=12, learning_rate=6.0e-4),
    "gpt2-medium": _gpt2(n_layers=24, d_model=1024, n_heads=16, learning_rate=3.0e-4),
    "gpt2-large": _gpt2(n_layers=36, d_model=1280, n_heads=20, learning_rate=2.5e-4),
    "gpt2-xl": _gpt2(n_layers=48, d_model=1600, n_heads=25, learning_rate=2.0e-4),
    # For a CPU.
    "tiny": _cpu(n_layers=2, d_model=128, n_heads=4, n_ctx=128, vocab_size=1024, learning_rate=4e-3, batch_tokens=2048,
                 pattern=partial(alternating, band=32)),
    "cpu-2m": _cpu(n_layers=4, d_model=192, n_heads=6, n_ctx=256, vocab_size=2048, learning_rate=3e-3, batch_tokens=4096),
    "cpu-6m": _cpu(n_layers=6, d_model=256, n_heads=4, n_ctx=512, vocab_size=4096, learning_rate=1e-3, batch_tokens=4096,
                   pattern=partial(alternating, band=128)),
    "cpu-12m": _cpu(n_layers=6, d_model=384, n_heads=6, n_ctx=256, vocab_size=4096, learning_rate=1.5e-3, batch_tokens=8192),
    "cpu-30m": _cpu(n_layers=8, d_model=512, n_heads=8, n_ctx=512, vocab_size=8192, learning_rate=1e-3, batch_tokens=16384,
                    pattern=partial(alternating, band=128)),
}  # fmt: skip


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        PellucidError: no such preset; the message lists them all.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise PellucidError(f"unknown preset {shown(name)}: choose from {', '.join(PRESETS)}")
    return PRESETS[name]
