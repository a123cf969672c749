"""The longest stretch in common with a text, against the plain search of every stretch."""

from collections.abc import Sequence

import numpy as np
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

from pellucid.corpus.tokens import Tokens
from pellucid.evaluation.overlap import SharedStretch, longest_shared


def plain(sample: Sequence[int], text: Sequence[int], least: int) -> SharedStretch:
    """Every stretch of the sample, the longest first, at every place of the text."""
    for length in range(len(sample), least - 1, -1):
        found = [
            (place, start)
            for start in range(len(sample) - length + 1) for place in range(len(text) - length + 1)
            if sample[start : start + length] == text[place : place + length]
        ]  # fmt: skip
        if found:
            place = min(place for place, _ in found)
            return SharedStretch(tokens=length, start=min(start for p, start in found if p == place), place=place)
    return SharedStretch()


@cases(80)
@given(
    st.lists(st.lists(st.integers(0, 2), max_size=12), max_size=4), st.lists(st.integers(0, 2), max_size=60),
    st.integers(1, 4), st.integers(1, 20), st.integers(0, 60),
)  # fmt: skip
def test_it_is_the_longest(samples: list[list[int]], text: list[int], least: int, block: int, cut: int) -> None:
    parts = [np.array(text[:cut], np.uint16), np.array(text[cut:], np.uint16)]
    found = longest_shared(samples, Tokens(parts, 0), least=least, block=block)
    assert found == [plain(sample, text, least) for sample in samples]


def test_a_planted_stretch_is_found_in_a_long_text() -> None:
    drawn = np.random.default_rng(1)
    text = drawn.integers(0, 4096, 200_000)
    samples = [drawn.integers(0, 4096, 300) for _ in range(3)]
    samples[1][40:140] = text[99_950:100_050]  # across the border of two blocks
    found = longest_shared([sample.tolist() for sample in samples], Tokens([text.astype(np.uint16)], 0), block=1 << 14)
    assert found == [SharedStretch(), SharedStretch(tokens=100, start=40, place=99_950), SharedStretch()]
