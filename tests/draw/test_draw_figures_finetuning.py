"""draw/figures: `finetuning`: legible for every record, and every number that of the record."""

from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from cases import cases
from finetuning_records import SCRIPTS, finetuning_record
from hypothesis import given
from hypothesis import strategies as some
from pictures import assert_described, assert_legible, assert_true

from pellucid.draw import Film
from pellucid.draw.backends.svg import still
from pellucid.draw.figures.finetuning_panels import shared_out
from pellucid.draw.views.finetuning import finetuning_view
from pellucid.draw.views.labels import percent
from pellucid.draw.views.model_parts import matrix_name
from pellucid.errors import PellucidError


CASES: dict[str, dict[str, Any]] = {
    "usual": {},
    "14 blocks, other scripts": {"blocks": 14, "answers": SCRIPTS},
    "less recorded": {"without": ("thumbnails", "held_out", "steps", "general")},
}
MORE: dict[str, dict[str, Any]] = {
    "one block, one step, one answer": {"blocks": 1, "steps": 1, "answers": [("a", "b", "c", "b")]},
    "13 blocks, plain text": {"blocks": 13, "answers": []},
    "nothing kept": {"unchanged": True, "forgets": 0.0, "steps": 5},
    "other matrices": {"blocks": 3, "pattern": ("compressed(3,3)", "dense", "dense"), "d_embed": 16, "forgets": -0.4},
    "96 blocks": {"blocks": 96, "steps": 3000},
}


@pytest.mark.parametrize("case", [*CASES, *(pytest.param(case, marks=pytest.mark.long) for case in MORE)])
def test_every_record_gives_a_legible_film(case: str) -> None:
    record = finetuning_record(**(CASES | MORE)[case])
    for width, least in ((360, 11), (960, 12)):
        film = record.figure("finetuning", width=width)
        assert_legible(film, least=least)
        assert_described(film)
        assert_true(film, record)
        assert len(film.frames(48)) <= 48


def marks(film: Film, chunk: str, t: float | None = None) -> list[dict[str, Any]]:
    drawn = film.at(film.duration if t is None else t)
    return [p for p in drawn if p["shows"] and p["shows"]["chunk"] == f"finetuning/{chunk}"]


def texts(film: Film, t: float) -> list[str]:
    return [p["string"] for p in film.at(t) if p["kind"] == "text"]


@pytest.mark.parametrize("blocks", [2, 40])
def test_bars_are_as_long_as_the_changes_of_their_matrices(blocks: int) -> None:
    record = finetuning_record(blocks=blocks)
    film = record.figure("finetuning")
    names = record["finetuning/matrices"]
    moved = record["finetuning/change"] / record["finetuning/weights"]
    bars = {p["shows"]["index"][0]: p for p in marks(film, "change") if p["kind"] == "rect" and p["shows"]["index"]}
    assert sorted(bars) == [place for place, name in enumerate(names) if name.startswith("h.")]
    unit = max(p["h"] for p in bars.values()) / max(moved[place] for place in bars)
    for place, bar in bars.items():
        assert bar["h"] == pytest.approx(moved[place] * unit, abs=0.02)
        assert bar["label"] == f"{matrix_name(names[place])} ({names[place]}): moved by {percent(moved[place])} of its length"
    assert all(p["h"] == 0 for p in marks(film, "change", 0.0) if p["kind"] == "rect")
    length = np.linalg.norm(record["finetuning/change"]) / np.linalg.norm(record["finetuning/weights"])
    assert f"its weights moved by {percent(length)}" in texts(film, film.duration)


@pytest.mark.parametrize(("blocks", "group"), [(2, 1), (12, 1), (40, 4)])
def test_maps_are_empty_before_and_then_the_tiles_of_their_blocks(blocks: int, group: int) -> None:
    record = finetuning_record(blocks=blocks)
    film = record.figure("finetuning")
    names = record["finetuning/matrices"]
    pictures = {p["shows"]["chunk"]: p for p in film.at(film.duration) if p["kind"] == "image" and p["shows"]}
    assert len(pictures) == 4 * -(-blocks // group) + 2
    most = finetuning_view(record).most
    for chunk, picture in pictures.items():
        first = chunk.removeprefix("finetuning/thumbnails/")
        _, _, kind = first.split(".", 2) if first.startswith("h.") else ("", "", "")
        block = int(first.split(".")[1]) if kind else 0
        of_map = [f"h.{i}.{kind}" for i in range(block, min(block + group, blocks))] if kind else [first]
        assert set(of_map) <= set(names)
        mean = np.mean([record[f"finetuning/thumbnails/{name}"] for name in of_map], axis=0)
        codes = np.frombuffer(film.matrices[picture["matrix"]].data, np.uint8).reshape(mean.shape)
        assert np.abs(codes / 255 * most - np.minimum(mean, most)).max() <= most / 500
    before = [p for p in film.at(0) if p["kind"] == "image" and p["shows"]]
    assert len(before) == len(pictures)
    assert not any(np.frombuffer(film.matrices[p["matrix"]].data, np.uint8).any() for p in before)


def test_answers_losses_and_counts_are_the_records() -> None:
    record = finetuning_record()
    film = record.figure("finetuning")
    first, last = texts(film, 0.0), texts(film, film.duration)
    row = record["finetuning/held_out/steps"].tolist().index(30)
    before, after = record["finetuning/held_out/right"][[0, row]].tolist()
    assert f"right: {before} of 100 before" in first and f", {after} after" in last and f", {after} after" not in first
    one = record["finetuning/answers"][2]
    for name in ("prompt", "expected", "before"):
        assert one[name].strip() in first
    assert one["after"].strip() in last and one["after"].strip() not in first
    verdicts = [p["label"] for p in film.at(film.duration) if p["kind"] == "path" and p["label"] in ("right", "wrong")]
    shown = record["finetuning/answers"][:5]
    wanted = [one[when] == one["expected"] for one in shown for when in ("before", "after")]
    assert [label == "right" for label in verdicts[::2]] == wanted
    whole = texts(record.figure("finetuning", width=360), film.duration)
    assert all(one[name].strip() in whole for one in shown[:4] for name in ("expected", "before", "after")), "none is cut"
    dots = [p["label"] for p in marks(film, "held_out/loss") if p["label"]]
    rows = zip(*(record[f"finetuning/held_out/{name}"].tolist() for name in ("steps", "loss", "right")), strict=True)
    words = "held-out loss {:.4f} after {:,} steps; {} of 100 answers right"
    assert dots == [words.format(loss, step, right) for step, loss, right in rows]
    means = record["finetuning/general/loss"].mean(axis=(1, 2))
    bars = [p for p in marks(film, "general/loss") if p["kind"] == "rect"]
    assert bars[1]["w"] / bars[0]["w"] == pytest.approx(means[1] / means[0], rel=1e-3)
    assert "made-up text" in bars[0]["label"] and "+0.20 nats a token" in last
    assert "made-up text" in " ".join(film.notes) and "3.20" in last


def test_what_a_record_lacks_is_said_to_be_missing() -> None:
    for without, words in (("thumbnails", "maps of the changes: not in this record"), ("general", "not in this record")):
        film = finetuning_record(without=(without,)).figure("finetuning")
        assert words in texts(film, film.duration)
    film = finetuning_record(without=("held_out/right",)).figure("finetuning")
    assert "right: 6 of these 24 before" in texts(film, 0.0) and ", 18 after" in texts(film, film.duration)
    losses = finetuning_record(without=("held_out", "steps")).figure("finetuning")
    assert "not in this record" in texts(losses, losses.duration)
    unchanged = finetuning_record(unchanged=True).figure("finetuning")
    assert "no number has changed" in texts(unchanged, 0.0) and "no number has changed" in unchanged.alt
    with pytest.raises(PellucidError, match=r"finetuning/change is not in this record.*pellucid finetune"):
        finetuning_record(without=("change",)).figure("finetuning")


@cases(40)
@given(some.lists(some.floats(0, 500), min_size=1, max_size=6), some.floats(1, 900))
def test_columns_share_their_room(wanted: list[float], room: float) -> None:
    found = shared_out(wanted, room)
    assert sum(found) <= room + 1e-6 and all(0 <= a <= b + 1e-9 for a, b in zip(found, wanted, strict=True))
    if sum(wanted) <= room:
        assert found == pytest.approx(wanted)
    else:
        assert sum(found) == pytest.approx(room)
        cut = [a for a, b in zip(found, wanted, strict=True) if a < b]
        assert max(cut) - min(cut) < 1e-6 and max(found) <= max(cut) + 1e-6


GOLDEN = {960: "dc27ea369c528b88", 360: "4d871f833220e113"}


@pytest.mark.parametrize("width", GOLDEN)
def test_the_pictures_are_the_golden_ones(width: int) -> None:
    film = finetuning_record().figure("finetuning", width=width)
    drawn = "".join(still(film, t) for t in film.stills())
    assert sha256(drawn.encode("utf-8")).hexdigest()[:16] == GOLDEN[width]
