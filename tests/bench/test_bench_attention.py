"""The attention benchmark measures what it says; no speed is tested."""

import pytest

from pellucid.bench import attention as bench
from pellucid.bench.compare import Comparison


def test_every_pattern_gets_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "CONTEXTS", (300,))
    monkeypatch.setattr(bench, "peak_memory", lambda text, positions: 4_000_000 if text == "dense" else 2_000_000)
    found = bench.comparisons(1)
    names = [one.name for one in found]
    assert len(names) == 2 * len(bench.PATTERNS)
    assert names[2:4] == ["attention/banded-256/300/forward+backward", "attention/banded-256/300/peak_memory"]
    assert found[3] == Comparison(names[3], 2.0, "MB", bench.PEER, 4.0, 2.0)
    assert "attention/fixed-128-32/300/forward+backward" in names


@pytest.mark.long
def test_the_peak_of_a_process_is_that_of_the_pass() -> None:
    """A dense pass over 2,048 positions holds its inputs, answer and gradients: 8 x 6.3 MB, some of it in memory had before."""
    result = bench.peak_memory("dense", 2048)
    if result is None:
        pytest.skip("this system tells no process its peak")
    assert 2e7 < result < 1e9
