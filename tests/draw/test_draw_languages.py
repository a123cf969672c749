"""draw: every figure in every language is legible, and holds no English words that did not come from the language's table."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import pytest
from generation_records import generation
from pictures import assert_described, assert_legible

from pellucid.draw import Film, Keyframes, Text
from pellucid.draw.backends import html, svg
from pellucid.draw.figures import figure, figures_of
from pellucid.draw.film.film import walk
from pellucid.languages import LANGUAGES, language, tr, translate
from pellucid.record import Record


# Without pieces: tokens are written as their numbers, so that no text of a model stands among the words.
CASES: dict[str, dict[str, Any]] = {
    "usual": {"top_k": 3, "temperature": 0.7},
    "greedy": {"temperature": 0.0, "steps": 2},
    "one token, one step": {"prompt": (5,), "steps": 1, "blocks": 1, "leave_out": ("generation/attention",)},
    "40 steps, 12 blocks, banded": {"prompt": range(1, 13), "steps": 40, "blocks": 12, "heads": 1, "band": 4},
    "long prompt, many blocks": {"prompt": [i % 18 for i in range(150)], "steps": 2, "blocks": 33, "heads": 1, "band": 128},
}
NAMES = figures_of("generation")
WIDTHS = (360, 960)
SAME = {"made", "up", "top", "kB", "MB"}  # the model's name, an option's, units
WORD = re.compile(r"[A-Za-z]{2,}")


@cache
def record_of(case: str) -> Record:
    """The record of a case."""
    return generation(pieces=False, **CASES[case])


def words_of(film: Film) -> Iterator[str]:
    """Every text of a film: what is drawn, shown on hover, said and described."""
    yield from (film.title, film.alt, *film.notes, svg.description(film))
    yield from (segment.name for segment in film.segments)
    yield from (caption.text for caption in film.captions)
    for node in walk(film.nodes):
        yield from _values(node.label)
        if isinstance(node, Text):
            yield from _values(node.string)


def _values(value: str | Keyframes) -> list[str]:
    return [point[1] for point in value.points] if isinstance(value, Keyframes) else [value]


def english(texts: Iterable[str], known: set[str]) -> list[str]:
    """The texts in which there are words in Latin letters that are not known."""
    return [text for text in texts if not set(WORD.findall(text)) <= known]


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("code", LANGUAGES)
def test_every_figure_is_legible_in_every_language(name: str, code: str) -> None:
    """And in another language no text is English but the Latin words of its own table, such as MLP."""
    known = SAME | set(WORD.findall(" ".join(translate._table(code).values())))
    for case in CASES:
        for width in WIDTHS:
            with language(code):
                film = figure(record_of(case), name, width=width)
                assert_legible(film, least=11 if width < 720 else 12, moving=False)
                assert code == "en" or english(words_of(film), known) == []
    assert_described(film)


@pytest.mark.parametrize("name", NAMES)
def test_every_word_of_a_figure_comes_from_the_table(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a table that has no Latin letter in it, a film has none."""
    table = {text: "".join(_without_words(text)) for text in translate._table("zh")}
    monkeypatch.setattr(translate, "_table", lambda code: table if code == "zh" else {})
    for case in CASES:
        for width in WIDTHS:
            with language("zh"):
                assert english(words_of(figure(record_of(case), name, width=width)), SAME) == [], case


def _without_words(text: str) -> Iterator[str]:
    for part in re.split(r"(\{[^{}]*\})", text):
        yield part if part.startswith("{") else re.sub(r"[^\W\d_]+", "字", part)


def test_a_page_says_its_language_and_speaks_it() -> None:
    with language("zh"):
        page = html.page(figure(record_of("usual"), "stack"))
        simplified, transcript = tr("Simplified: {note}", note="").rstrip(), tr("Transcript")
    head, body = page.split("<main>")[0], page.split("<main>")[1].split("<script")[0]
    assert '<html lang="zh">' in head and simplified in body and transcript in body
    assert "Simplified" not in body and "Transcript" not in body
    assert '<html lang="en">' in html.page(figure(record_of("usual"), "stack"))
