"""draw/figures: the pictures of a training record are legible, say where their numbers come from, and show what it holds."""

from functools import cache
from typing import Any

import pytest
from pictures import assert_legible, assert_told
from training_records import LONG, OTHER, training_record

from pellucid.draw import Film
from pellucid.draw.figures import figure
from pellucid.record import Record, check


RECORDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "few steps": {"steps": 3},
    "one step": {"steps": 1},
    "other scripts": {"text": OTHER},
    "long pieces": {"text": LONG, "steps": 1500, "layers": 7},
    "nothing held out": {"held_out": False, "without": ("training/samples", "training/window")},
    "little kept": {
        "without": ("training/stretch", "training/samples", "training/plan", "training/steps/tokens_per_s", "pieces",
                    "training/example")
    },
}  # fmt: skip
NAMES = ("loss", "pretraining", "step", "windows")
WIDTHS = (360, 960)


@cache
def record(name: str) -> Record:
    return training_record(**RECORDS[name])


@cache
def film(kind: str, name: str, width: float) -> Film:
    return figure(record(kind), name, width=width)


def texts(film: Film, t: float) -> list[str]:
    return [p["string"] for p in film.at(t) if p["kind"] == "text"]


def test_the_records_are_what_their_kind_promises() -> None:
    assert check(record("plain"))["N"] == 300
    for kind in RECORDS:
        check(record(kind), partial=True)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", RECORDS)
def test_no_text_overlaps_another_or_leaves_the_picture(kind: str, name: str, width: int) -> None:
    assert_legible(film(kind, name, width))


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_says_what_it_shows(name: str) -> None:
    for width in WIDTHS:
        drawn = film("plain", name, width)
        assert_told(drawn)
        assert len(drawn.frames()) <= 48
        for t in drawn.stills():
            for shows in (p["shows"] for p in drawn.at(t) if p["shows"]):
                assert shows["chunk"] in record("plain") or shows["truth"] == "given"
                if shows["chunk"] in record("plain"):
                    assert shows["truth"] == record("plain").entry(shows["chunk"]).truth
                    size = record("plain").entry(shows["chunk"]).logical_shape
                    assert all(i < n for i, n in zip(shows["index"], size, strict=False))
