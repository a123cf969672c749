"""draw/figures: the pictures of a training record are legible whatever it holds, and every number on them is the record's."""

import math
from dataclasses import replace
from functools import cache
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from pictures import assert_described, assert_legible, assert_true
from training_records import LONG, OTHER, training_record

from pellucid.draw import Film
from pellucid.draw.backends.svg import still
from pellucid.draw.figures import FIGURES, figure
from pellucid.draw.figures.parameters import parameters
from pellucid.draw.film import palette
from pellucid.draw.views.labels import percent, power, readable
from pellucid.draw.views.parameters import parameters_view
from pellucid.draw.views.pretraining import evenly_picked
from pellucid.draw.views.training import GPT3_FLOPS, read_training
from pellucid.errors import PellucidError
from pellucid.record import Record, check


RECORDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "few steps": {"steps": 3},
    "one step, one block": {"steps": 1, "layers": 1, "tracks": 4},
    "other scripts": {"text": OTHER, "layers": 7},
    "long pieces": {"text": LONG, "steps": 15_000, "tracks": 64},
    "96 blocks": {"layers": 96},
    "nothing held out": {"held_out": False, "without": ("training/samples", "training/window")},
    "little kept": {
        "without": ("training/stretch", "training/samples", "training/plan", "training/steps/tokens_per_s", "pieces",
                    "training/example", "training/moments/updates")
    },
}  # fmt: skip
NAMES = [name for name, one in FIGURES.items() if one.kind == "training" and name != "parameters"]


@cache
def record(name: str) -> Record:
    return training_record(**RECORDS[name])


@cache
def film(kind: str, name: str, width: float = 960) -> Film:
    return figure(record(kind), name, width=width)


def primitives(drawn: Film, still: int, kind: str = "text") -> list[Any]:
    return [p for p in drawn.at(drawn.stills()[still]) if p["kind"] == kind]


def texts(drawn: Film, still: int) -> list[str]:
    return [p["string"] for p in primitives(drawn, still)]


def test_the_records_are_what_their_kind_promises() -> None:
    assert check(record("plain"))["N"] == 300
    for kind in RECORDS:
        check(record(kind), partial=True)
    assert len(NAMES) == 4


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", RECORDS)
def test_every_record_gives_a_legible_film(kind: str, name: str) -> None:
    for width, least in ((360, 11), (960, 12)):
        assert_legible(film(kind, name, width), least=least, moving=kind in ("plain", "little kept"))
        assert_described(film(kind, name, width))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["plain", "other scripts", "little kept"])
def test_what_a_mark_shows_is_in_the_record_and_as_true_as_it_says(kind: str, name: str) -> None:
    assert_true(film(kind, name), record(kind))


@pytest.mark.parametrize("name", NAMES)
def test_a_film_is_a_pure_function(name: str) -> None:
    assert figure(record("plain"), name).to_json() == film("plain", name).to_json()


def test_the_longest_film_has_few_pictures() -> None:
    drawn = film("plain", "pretraining")
    times = [frame.time for frame in drawn.frames()]
    assert len(times) <= 48 and set(drawn.stills()) <= set(times)


GOLDEN = {
    ("loss", 960): "bc0ab15e01bc2ed0",
    ("pretraining", 360): "58d1e9a4abd16969",
    ("pretraining", 960): "61f5f5530a9e3dce",
    ("step", 360): "32ca337be1593077",
    ("step", 960): "fab76ab1288ee613",
    ("windows", 360): "b6d0b84bc57a4066",
    ("windows", 960): "53d8943b62a139a5",
}


@pytest.mark.parametrize(("name", "width"), GOLDEN)
def test_the_pictures_are_the_golden_ones(name: str, width: int) -> None:
    """To the byte, at every still. A change that is meant to be seen is looked at, and its digest written here."""
    drawn = film("plain", name, width)
    shown = "".join(still(drawn, t) for t in drawn.stills())
    assert sha256(shown.encode("utf-8")).hexdigest()[:16] == GOLDEN[name, width]


# pretraining


def test_the_models_colour_is_how_far_its_loss_has_come_from_ln_v() -> None:
    drawn, held = film("plain", "pretraining"), record("plain")
    steps = held["training/moments/steps"].tolist()
    losses = dict(zip(held["training/held_out/steps"].tolist(), held["training/held_out/loss"].tolist(), strict=True))
    assert drawn.segments[0].name == "Before training" and len(drawn.segments) == 7
    for place, segment in enumerate(drawn.segments):
        step = 0 if place == 0 else int(segment.name.split()[1])
        assert step in steps
        share = 1 - losses[step] / math.log(50257)
        opacity = [p["opacity"] for p in primitives(drawn, place, "rect") if p["id"] == "model"]
        assert opacity == ([] if share < 0.005 else [pytest.approx(share, abs=0.006)])
        assert f"{share:.2f}".removeprefix("-") in texts(drawn, place)
        assert f"{step} of 300" in texts(drawn, place)


def test_pretraining_counts_tokens_operations_and_writes_the_models_own_text() -> None:
    drawn, held = film("plain", "pretraining"), record("plain")
    run = read_training(held)
    last = texts(drawn, -1)
    assert "19,200 of 19,200" in last
    assert power(3 * run.shape.flops(19_200, 16)) in last and "GPT-3 175B: 3.14 × 10²³" in last
    assert f"{held['training/steps/tokens_per_s'][-1]:,.0f} tokens/s" in last
    sample = held["training/samples"][-1]
    mono = "".join(p["string"] for p in primitives(drawn, -1) if p["family"] == "mono")
    assert mono.replace(" ", "") == readable(sample["prompt"] + sample["text"]).replace(" ", "")
    colours = {p["fill"] for p in primitives(drawn, -1) if p["family"] == "mono"}
    assert colours == {palette.INPUT, palette.OUTPUT}


def test_without_a_held_out_loss_at_every_snapshot_one_kind_of_loss_serves_them_all() -> None:
    held = record("plain")
    run = read_training(held)
    losses, words = run.losses_after([0, 8, 300])
    assert words == "held-out loss" and losses[1].value == held["training/held_out/loss"][4]
    looks = {"training/held_out/steps": np.array([0, 150, 300], np.int64), "training/held_out/loss": np.ones(3, np.float32),
             "training/held_out/bits_per_byte": np.ones(3, np.float32)}  # fmt: skip
    seldom = read_training(training_record(change=looks))
    losses, words = seldom.losses_after([0, 8, 300])
    assert words == "loss on one held-out window"
    assert losses[1].value == pytest.approx(float(held["training/window/loss"][4].mean()))
    none = read_training(record("nothing held out"))
    losses, words = none.losses_after([0, 8, 300])
    assert words == "training loss" and [loss.step for loss in losses] == [1, 9, 300]


def test_what_is_missing_is_said() -> None:
    assert {"not in this record: no samples were taken", "speed: not in this record"} <= set(
        texts(film("little kept", "pretraining"), 0)
    )
    assert texts(film("little kept", "step"), -1).count("not in this record") == 3
    assert "Held-out text (training text is not in this record)" in texts(film("little kept", "windows"), 0)
    with pytest.raises(PellucidError, match=r"training/steps/loss is not in this record.*pellucid train"):
        figure(training_record(without=("training/steps",)), "pretraining")


# windows


@pytest.mark.parametrize("width", [360, 960])
def test_each_label_is_as_dark_as_its_loss(width: int) -> None:
    held, drawn = record("plain"), film("plain", "windows", width)
    losses = held["training/stretch/loss"]
    most = losses.max()
    for row, place in ((0, 2), (1, 3)):
        labels = [p for p in primitives(drawn, place, "rect") if p["label"].startswith("label ")]
        assert len(labels) >= 3
        for p in labels:
            chunk, index = p["shows"]["chunk"], p["shows"]["index"]
            assert chunk == "training/stretch/loss" and index[0] == row
            loss = losses[tuple(index)]
            assert p["fill"] == palette.table("sequential")[math.floor(loss / most * 255 + 0.5)]
            assert f"{loss:.2f}" in texts(drawn, place)
    strip = next(p for p in primitives(drawn, 2, "image") if p["id"] == "strip")
    codes = np.frombuffer(drawn.matrices[strip["matrix"]].data, np.uint8)
    assert np.allclose(codes / 255 * most, losses.ravel(), atol=most / 400)


def test_the_rows_of_a_window_are_its_beginnings() -> None:
    held, drawn = record("plain"), film("plain", "windows")
    ids = held["training/stretch/ids"].tolist()
    marks = [p["shows"]["index"][0] for p in primitives(drawn, 1, "rect") if p["shows"] and p["shows"]["truth"] == "given"
             and p["fill"] == palette.INPUT_FILL and p["shows"]["chunk"] == "training/stretch/ids"]  # fmt: skip
    rows = max(marks) + 1
    assert marks == [i for row in range(1, rows + 1) for i in range(row)]
    assert f"… and {16 - rows} more rows, the last with 16 tokens given" in texts(drawn, 1)
    assert "The run's training text: 54,321 tokens make 3,395 windows." in texts(drawn, 0)
    assert len(ids) == 2 * 16 + 1 and (54_321 - 1) // 16 == 3_395


def test_the_window_slides_by_its_length() -> None:
    drawn = film("plain", "windows")
    first, second = (next(p for p in primitives(drawn, place, "rect") if p["id"] == "window") for place in (2, 3))
    assert first["w"] == second["w"] == pytest.approx(17 / 33 * 912, abs=0.01)
    assert second["x"] - first["x"] == pytest.approx(16 / 33 * 912, abs=0.01)
    assert second["x"] + second["w"] == pytest.approx(936, abs=0.01)


# step


def test_the_bars_are_the_records_before_and_after() -> None:
    held, drawn = record("plain"), film("plain", "step")
    label = int(held["training/example/ids"][int(held["training/example/track"]) + 1])
    for row, place in ((0, 1), (1, 4)):
        ids, logs = held["training/example/topk_ids"][row].tolist(), held["training/example/topk_logprobs"][row].tolist()
        known = {token: math.exp(value) for token, value in zip(ids, logs, strict=True)}
        bars = [p for p in primitives(drawn, place, "rect") if " before, " in p["label"] and p["h"] < 40]
        assert len(bars) == 5
        lengths = {int(p["label"].split()[1]): p["w"] for p in bars}
        for token, length in lengths.items():
            assert length / lengths[label] == pytest.approx(known[token] / known[label], rel=0.01)
            assert percent(known[token]) in texts(drawn, place)
    assert {"8.2%", "2.50"} <= set(texts(drawn, 1)) and "→ 14%" not in texts(drawn, 1)
    assert {"→ 14%", "→ 2.00"} <= set(texts(drawn, 4))


def test_the_grids_are_the_gradients_and_changes_of_that_step() -> None:
    held, drawn = record("plain"), film("plain", "step")
    moment = held["training/moments/steps"].tolist().index(int(held["training/example/step"]) - 1)
    gradients = held["training/moments/gradients"][moment]
    changes = held["training/moments/updates"][moment] / held["training/moments/weights"][moment]
    for values, name in ((gradients, "gradients"), (changes, "updates")):
        cells = [p for p in primitives(drawn, -1, "rect") if p["shows"] and p["shows"]["chunk"] == f"training/moments/{name}"]
        assert sorted(p["shows"]["index"][1] for p in cells) == list(range(len(values)))
        for p in cells:
            assert p["shows"]["index"][0] == moment
            share = values[p["shows"]["index"][1]] / values.max()
            assert p["fill"] == palette.table("sequential")[int(share * 255 + 0.5)]
    order = [p["label"] for p in primitives(drawn, -1, "rect") if "gradient norm" in p["label"]]
    assert "(h.1.attn.c_attn)" in order[0] and "(wpe)" in order[-1]  # the last block on top
    assert not [p for p in drawn.at(drawn.segments[1].end) if "(h.1." in p["label"]]  # they come with the error


def test_a_label_that_is_not_among_the_likeliest_has_a_row_of_its_own() -> None:
    ids = [[107, 108, 109, 110, 111, 112], [107, 108, 109, 110, 112, 113]]
    logs = np.log(np.array([[0.3, 0.2, 0.1, 0.05, 0.04, 0.03], [0.3, 0.2, 0.1, 0.05, 0.03, 0.02]], np.float32))
    change = {"training/example/topk_ids": np.array(ids, np.int32), "training/example/topk_logprobs": logs}
    drawn = figure(training_record(change=change, corrected=None), "step")
    labels = [p["label"] for p in primitives(drawn, 1, "rect") if " before, " in p["label"]]
    assert len(labels) == 6 and "0.0821 before, 0.1353 after" in labels[-1]
    assert "0.0400 before, under 0.0200 after" in labels[4]  # token 111 left the likeliest
    assert "under 2.0%" in texts(drawn, 4)
    assert_legible(drawn)


@pytest.mark.parametrize(
    ("plan", "caption", "note"),
    [
        ({}, "Adam moves", "Adam's step"),  # records of runs before there was a choice name none
        ({"optimizer": "adamw"}, "Adam moves", "Adam's step"),
        ({"optimizer": "muon"}, "The optimizer, muon, moves", "Muon's step"),
        ({"optimizer": "sgd"}, "The optimizer, sgd, moves", "A step may follow more"),
    ],
)
@pytest.mark.parametrize("width", [960, 360])
def test_the_update_names_the_optimizer_of_the_run(plan: dict[str, str], caption: str, note: str, width: int) -> None:
    stated = training_record()["training/plan"]
    drawn = figure(training_record(change={"training/plan": {**stated, **plan}}), "step", width=width)
    assert any(one.text.startswith(caption) for one in drawn.captions)
    assert any(one.startswith(note) for one in drawn.notes)
    assert_legible(drawn)


# What they share.


def test_powers_are_written_with_three_digits() -> None:
    assert power(GPT3_FLOPS) == "3.14 × 10²³"
    assert [power(value) for value in (0, 9_999, 10_000, 9.999e9)] == ["0", "9,999", "1.00 × 10⁴", "1.00 × 10¹⁰"]


def test_snapshots_are_picked_evenly_with_both_ends() -> None:
    assert evenly_picked([0, 1, 2, 4, 8], 7) == [0, 1, 2, 4, 8]
    assert evenly_picked(list(range(11)), 7) == [0, 2, 3, 5, 7, 8, 10]


def test_nothing_in_a_sample_is_invisible_or_lost() -> None:
    assert readable("a\nb\tc \x00\u200b d") == r"a↵ b⇥c \x00\u200b d"


def test_a_record_that_ends_before_its_plan_shows_the_steps_that_were_taken() -> None:
    """No number of the plan stands beside one of the run: the plan is named once, in the last caption."""
    plan = training_record(steps=40)["training/plan"] | {"total_steps": 400}
    record = training_record(steps=40, change={"training/plan": plan})
    film = record.figure("pretraining")
    words = [node["string"] for t in film.stills() for node in film.at(t) if node["kind"] == "text"]
    seen = int(record["training/steps/tokens"][-1])
    assert f"{seen:,} of {seen:,}" in words and "40 of 40" in words
    assert not [text for text in words if f"{10 * seen:,}" in text or "400" in text]
    assert [caption.text for caption in film.captions if "The plan was 400 steps" in caption.text] == [film.captions[-1].text]
    assert "this record ends after 40 steps" in film.alt
    assert "The plan was" not in training_record(steps=40).figure("pretraining").alt


def test_parameters_counts_steps_of_the_run_where_its_last_snapshot_is_earlier() -> None:
    view = parameters_view(training_record(steps=40))
    assert (view.last_step, view.run_steps) == (40, 40)
    film = parameters(replace(view, run_steps=57))
    words = [node["string"] for t in film.stills() for node in film.at(t) if node["kind"] == "text"]
    assert any(text.startswith("step 40 of 57,") for text in words) and "step 0 of 57: random values" in words
    assert any("The run took 57 steps" in caption.text for caption in film.captions)
