"""draw/figures: the figure of a question with and without examples: legible whatever the record holds, and every number its."""

from hashlib import sha256
from itertools import pairwise
from math import exp
from typing import Any

import numpy as np
import pytest
from cases import cases
from generation_records import CHINESE, EMOJI
from hypothesis import given
from hypothesis import strategies as st
from pictures import assert_described, assert_legible, assert_true
from priming_records import priming

from pellucid.draw.backends.svg import still
from pellucid.draw.figures.priming_panel import chance
from pellucid.draw.figures.priming_rows import GAP, left_out, row_cells
from pellucid.draw.views.priming import FORMAT, priming_view
from pellucid.serve.studio.sources import describe_record


CASES: dict[str, dict[str, Any]] = {
    "usual": {},
    "the question alone, one block": {"shots": (0,), "task": (), "blocks": 1, "answer": (9,)},
    "two numbers of examples, no task": {"shots": (0, 2), "task": (), "right": True},
    "64 examples": {"shots": (0, 1, 64), "heads": 1},
    "many numbers": {"shots": (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64), "heads": 1, "blocks": 2},
    "64 numbers": {"shots": range(64), "heads": 1, "blocks": 1, "given": (7,), "output": (9,)},
    "long texts and answer": {"given": range(18), "output": [i % 18 for i in range(90)], "answer": [i % 18 for i in range(40)]},
    "no pieces": {"given": (*CHINESE, 7, *EMOJI), "output": EMOJI, "pieces": False},
    "bytes of characters": {"given": (*CHINESE, 7, *EMOJI, 16, 17), "output": EMOJI, "answer": (*CHINESE, 13)},
    "96 blocks": {"blocks": 96, "heads": 1, "dtype": "float32"},
    "few candidates": {"candidates": 2},
}


QUICK = ("many numbers", "bytes of characters")


@pytest.mark.parametrize("case", [case if case in QUICK else pytest.param(case, marks=pytest.mark.long) for case in CASES])
def test_every_record_gives_a_legible_film(case: str) -> None:
    record = priming(**CASES[case])
    for width, least in ((360, 11), (960, 12)):
        film = record.figure("priming", width=width)
        assert_legible(film, least=least)
        assert_described(film)
        assert_true(film, record)
        assert len(film.frames(48)) <= 48


GOLDEN: dict[int, str] = {960: "c9b63f9fac03e8df", 360: "ff7e362d7b6ddc3d"}


@pytest.mark.parametrize("width", GOLDEN)
def test_the_pictures_are_the_golden_ones(width: int) -> None:
    """To the byte, at every still. A change that is meant to be seen is looked at, and its digest written here."""
    film = priming().figure("priming", width=width)
    drawn = "".join(still(film, t) for t in film.stills())
    assert sha256(drawn.encode("utf-8")).hexdigest()[:16] == GOLDEN[width]


def test_the_numbers_are_the_records() -> None:
    record = priming(shots=(0, 1, 4))
    film = record.figure("priming")
    shown = [p["string"] for p in film.at(film.duration - 0.1) if p["kind"] == "text"]
    for i, count in enumerate(record["priming/shots"].tolist()):
        assert chance(exp(record["priming/logprobs"][i].astype(float).sum())) in shown
        assert {0: "no example", 1: "1 example", 4: "4 examples"}[count] in shown
        start, end = record["priming/starts"][i : i + 2]
        assert f"{end - start} tokens" in shown
    for number, prompt in enumerate(priming_view(record).prompts):
        for block, shares in enumerate(prompt.shares):
            assert sum(shares) == pytest.approx(1, abs=2e-3)  # of float16
            start, end = record["priming/starts"][number : number + 2]
            for part in range(prompt.shots + 2):
                mine = record["priming/parts"][start:end] == part
                weights = record[f"priming/attention/{block}"][:, start:end].astype(float)
                assert shares[part] == pytest.approx(weights[:, mine].sum(1).mean())


def test_the_studio_lists_the_record_with_its_question_and_its_figure() -> None:
    found = describe_record(priming(), "record-1", "a.pellucid")
    assert (found["kind"], found["figures"], found["text"]) == ("priming", ["priming"], "q")


def test_the_verdict_says_whether_examples_helped() -> None:
    def last_words(record: Any) -> str:
        return record.figure("priming").captions[-1].text

    record = priming(shots=(0, 8))
    gain = float(np.diff(record["priming/logprobs"].astype(float).sum(1))[0])
    assert ("times as likely" in last_words(record)) == (gain > 0)
    other = next(shots for shots in range(1, 40) if _gain(shots) * gain < 0)
    assert ("did not help" in last_words(priming(shots=(0, other)))) == (_gain(other) <= 0)
    better = 8 if gain > 0 else other
    assert "which is right" in last_words(priming(shots=(0, better), right=True))
    assert "something else" in last_words(priming(shots=(0, better)))
    assert "nothing to compare" in last_words(priming(shots=(3,)))


def _gain(shots: int) -> float:
    return float(np.diff(priming(shots=(0, shots))["priming/logprobs"].astype(float).sum(1))[0])


WORDS = st.text(st.sampled_from("abc déW中"), min_size=1, max_size=12)


@cases(30)
@given(st.lists(st.tuples(WORDS, st.sampled_from([1, 1, 2, 2, 3])), min_size=1, max_size=60), st.floats(150, 320))
def test_a_long_part_is_cut_in_the_middle_of_its_texts(tokens: list[tuple[str, int]], room: float) -> None:
    words, roles = [word for word, _ in tokens], [role for _, role in tokens]
    cells = row_cells(words, roles, room, 12)
    assert cells[-1].x + cells[-1].w <= room + 0.01
    assert all(a.x + a.w + GAP == pytest.approx(b.x) for a, b in pairwise(cells))
    places = [cell.place for cell in cells if cell.place is not None]
    assert places == sorted(set(places))
    hidden = len(words) - len(places)
    told = [cell.text for cell in cells if cell.place is None]
    before = 0
    for cell, after in zip(cells, [*cells[1:], None], strict=True):  # what is left out is as many as the words say
        if cell.place is None:
            end = len(words) if after is None else after.place
            assert end is not None and cell.text == left_out(end - before)
        else:
            before = cell.place + 1
    assert bool(told) == bool(hidden)
    if roles.count(FORMAT) == 1 and len(words[roles.index(FORMAT)]) < 4:
        assert roles.index(FORMAT) in places, "what the format puts between stays"
