"""text/graphemes: clusters against another implementation of UAX #29, and cuts by columns."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pellucid.text import graphemes


SCRIPTS = (
    "a1 é\u0301\u0308\u200d\u200c\ufe0f👩💻👍🏽🇩🇪🇫नमस्तेक्षिবাংলা한ᄒ\u1161\u11abกำไทย\r\n\u2028\tمرحباשלום中文の゛\u3099❤★©\u202e"
    "\U000e0067\U000e007f🏴1\u20e3"
)
texts = some.text(
    alphabet=some.one_of(some.sampled_from(SCRIPTS), some.characters(exclude_categories=("Cs", "Cn"))), max_size=12
)


@given(texts)
def test_clusters_are_those_of_another_implementation(text: str) -> None:
    regex = pytest.importorskip("regex", reason="the package regex is not installed")
    text = text.lstrip("".join(c for c in text if unicodedata.category(c) in ("Mn", "Mc", "Me")))
    for before in "\r\n\t\u2028\u202e":  # a mark without its letter: regex joins consonants after a lone virama
        text = text.replace(before, f"{before}a")
    assert graphemes.graphemes(text) == regex.findall(r"\X", text)


@given(some.text(max_size=12), some.integers(0, 9))
def test_cuts_are_whole_clusters_in_their_columns(text: str, most: int) -> None:
    clusters = graphemes.graphemes(text)
    assert "".join(clusters) == text
    start, end = graphemes.first_columns(text, most), graphemes.last_columns(text, most)
    assert text.startswith(start) and text.endswith(end)
    for part, left in (
        (start, clusters[len(graphemes.graphemes(start)) :]),
        (end, clusters[: -len(graphemes.graphemes(end)) or None][::-1]),
    ):
        assert graphemes.columns(part) <= most
        assert not left or graphemes.columns(part) + graphemes.columns(left[0]) > most


def test_columns_count_wide_characters_as_two() -> None:
    assert [graphemes.columns(text) for text in ("abc", "中文", "e\u0301", "👩‍💻", "🇩🇪", "❤\ufe0f", "ｱ", "")] == [
        3,
        4,
        1,
        2,
        2,
        2,
        1,
        0,
    ]
