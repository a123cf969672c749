"""Attention patterns of whole models, and the heads of one block, as the papers arrange them. No torch here."""

from pellucid.gpt.pattern import Banded, Dense, Fixed, Heads, Pattern, Strided


# Choice. The GPT-3 paper says only "alternating dense and locally banded sparse attention patterns". The width and
# the parity are read from gpt-oss (arXiv 2508.10925: "Following GPT-3, attention blocks alternate between banded window
# and fully dense patterns, where the bandwidth is 128 tokens"; in its code block 0 is banded).
GPT3_BAND = 128


def alternating(n_layers: int, *, band: int = GPT3_BAND) -> tuple[Pattern, ...]:
    """Banded and dense in turn, block 0 banded: the gpt-oss reading of GPT-3."""
    return tuple(Banded(band) if block % 2 == 0 else Dense() for block in range(n_layers))


def all_dense(n_layers: int) -> tuple[Pattern, ...]:
    """GPT-2's pattern."""
    return (Dense(),) * n_layers


def interleaved(n_layers: int, merged: Strided | Fixed) -> tuple[Pattern, ...]:
    """Block r takes factor r mod 2 (arXiv 1904.10509, the first of its three ways)."""
    return tuple(merged.factors[block % 2] for block in range(n_layers))


def multi_head(merged: Strided | Fixed) -> Heads:
    """The heads of one block take the factors in turn (the same paper, the third way)."""
    return Heads(merged.factors)
