"""draw/figures: the figures of a generation: legible whatever the record holds, and every number that of the record."""

from hashlib import sha256
from math import exp
from typing import Any

import pytest
from generation_records import CHINESE, EMOJI, generation, piece_of
from models import lively
from pictures import assert_described, assert_legible, assert_true

import pellucid
from pellucid.draw.backends.svg import still
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.figures.xray_grid import XrayGrid, row_names
from pellucid.draw.film import palette
from pellucid.draw.film.nodes import Text
from pellucid.draw.views.labels import in_seconds, percent
from pellucid.draw.views.xray import xray_view
from pellucid.text.pieces import piece


NAMES = ("overview", "tokens", "xray", "context", "embedding", "stack")
CASES: dict[str, dict[str, Any]] = {
    "usual": {},
    "one token, one step, one block": {"prompt": (5,), "steps": 1, "blocks": 1},
    "bytes of characters": {"prompt": (0, *CHINESE, 7, *EMOJI, 11, 13, 16, 17), "steps": 2, "blocks": 2, "temperature": 0.7},
    "temperature 0, no pieces": {"temperature": 0.0, "pieces": False, "steps": 2},
    "40 steps, 12 blocks, banded": {"prompt": range(1, 13), "steps": 40, "blocks": 12, "heads": 1, "band": 4, "top_k": 3},
    "long prompt": {"prompt": [i % 18 for i in range(150)], "steps": 2, "blocks": 2, "heads": 1, "band": 128},
    "96 blocks": {"blocks": 96, "heads": 1, "steps": 2},
    "few candidates": {"candidates": 3, "top_k": 2, "temperature": 2.0},
}


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", CASES)
def test_every_record_gives_a_legible_film(name: str, case: str) -> None:
    record = generation(**CASES[case])
    for width, least in ((360, 11), (960, 12)):
        film = record.figure(name, width=width)
        assert_legible(film, least=least)
        assert_described(film)
        assert_true(film, record)


@pytest.mark.parametrize("name", NAMES)
def test_a_film_has_room_for_its_motion_in_48_pictures(name: str) -> None:
    """Every rest is one of them."""
    film = generation(top_k=5).figure(name)
    times = [frame.time for frame in film.frames(48)]
    assert len(times) <= 48
    for start in {start for segment in film.segments for start, _ in segment.rests}:
        assert film.at(max(time for time in times if time <= start)) == film.at(start), start


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_a_pure_function_and_grows_with_its_width(name: str) -> None:
    record = generation()
    one, other, large = record.figure(name), record.figure(name), record.figure(name, width=1920)
    assert one.to_json() == other.to_json()
    assert (large.width, large.height) == (1920, 1080)
    small_texts, large_texts = ([p for p in film.at(5) if p["kind"] == "text"] for film in (one, large))
    for a, b in zip(small_texts, large_texts, strict=True):
        assert a["string"] == b["string"] and b["size"] == pytest.approx(2 * a["size"], abs=0.02)


GOLDEN = {
    ("overview", 960): "af97f253bb74969f",
    ("overview", 360): "be384ad977ced38e",
    ("context", 960): "6742dc4892c1543f",
    ("context", 360): "dc7dbf0fd595e25f",
    ("embedding", 960): "6da03ee4551cf955",
    ("embedding", 360): "6e6d49617942f28d",
    ("stack", 960): "3475308b9e2ee48a",
    ("stack", 360): "1a7699985715d32a",
    ("tokens", 960): "e6dbae9918007ec8",
    ("tokens", 360): "da932485f027f43b",
    ("xray", 960): "f4239cfdad4e444c",
    ("xray", 360): "0dca115e456f118e",
}
IN_1_2 = ("embedding", "stack")  # need chunks that earlier records lack
GOLDEN_1_0 = {("xray", 960): "5b625ba994af9068", ("xray", 360): "d587094183356463"}  # of a record of schema 1.0


@pytest.mark.parametrize(("name", "width"), GOLDEN)
def test_the_pictures_are_the_golden_ones(name: str, width: int) -> None:
    """To the byte, at every still. A change that is meant to be seen is looked at, and its digest written here."""
    for golden, earlier in ((GOLDEN, False), (GOLDEN | GOLDEN_1_0, True)):
        if earlier and name in IN_1_2:
            continue
        film = generation(earlier=earlier).figure(name, width=width)
        drawn = "".join(still(film, t) for t in film.stills())
        assert sha256(drawn.encode("utf-8")).hexdigest()[:16] == golden[name, width]


def texts(film: Any, t: float) -> list[str]:
    return [p["string"] for p in film.at(t) if p["kind"] == "text"]


def test_the_runner_s_bytes_stand_beside_those_of_an_evicting_cache_if_the_record_has_them() -> None:
    for record, there in ((generation(), True), (generation(leave_out=("generation/cache_bytes",)), False)):
        film = record.figure("tokens")
        shown = texts(film, film.segments[-1].rests[-1][0])
        assert any(text.startswith("the runner's cache: ") for text in shown) == there
        assert "evicting cache would hold" in shown


def test_tokens_shows_the_numbers_of_the_record() -> None:
    record = generation(steps=2)
    film = record.figure("tokens")
    for i in range(2):
        shown = texts(film, film.segments[i].rests[-1][0])
        token = int(record["generation/steps/drawn_ids"][i])
        assert f"u = {record['generation/steps/draw'][i]:.4f}" in shown
        start, end = record["generation/steps/drawn_span"][i]
        assert f"{start:.4f}" in shown and f"{end:.4f}" in shown
        assert piece(piece_of(token)) in shown
        for logprob in record["generation/steps/topk_logprobs"][i][:10]:
            assert percent(exp(logprob)) in shown
        assert in_seconds(float(record["generation/timings/steps"][i])) in shown
        assert ("prefill" if i == 0 else "decode") in shown


def test_the_needle_stands_at_the_draw_within_the_drawn_tokens_part() -> None:
    record = generation(top_k=4, candidates=8)
    film = record.figure("tokens")
    t = film.segments[0].rests[-1][0]
    drawn = film.at(t)
    needle = next(p for p in drawn if p["kind"] == "path" and p["label"].startswith("u = "))
    line = next(p for p in drawn if p["kind"] == "rect" and p["label"] == "" and p["h"] == 24 and p["shows"] is None)
    u, (start, end) = record["generation/steps/draw"][0], record["generation/steps/drawn_span"][0]
    at = (needle["d"][0][1] - line["x"]) / line["w"]
    assert at == pytest.approx(u, abs=1e-3) and start <= at <= end
    parts = [p for p in drawn if p["kind"] == "rect" and "from" in p["label"] and p["h"] == 24]
    assert len(parts) == 4  # the cut left four, all of them listed: all their parts are known
    assert sum(p["w"] for p in parts) == pytest.approx(line["w"], abs=0.1)


def test_what_the_cut_took_away_is_seen() -> None:
    film = generation(top_k=2, temperature=0.5).figure("tokens")
    shown = texts(film, film.segments[0].rests[1][0])
    assert shown.count("cut") == 8 and "temperature 0.5, top-k 2: 2 of 64 left" in shown
    plain = generation().figure("tokens")
    assert not any("cut" in string for string in texts(plain, plain.stills()[0]))


def test_at_temperature_0_nothing_is_drawn_by_chance() -> None:
    film = generation(temperature=0.0).figure("tokens")
    for t in film.stills():
        assert not any(string.startswith("u =") for string in texts(film, t))
    assert any("likeliest token is taken" in string for string in texts(film, 3))
    assert "The draw" not in film.alt


def test_penalties_and_biases_are_named_and_stay_within_their_panel() -> None:
    shape = pellucid.GPTConfig(vocab_size=64, n_ctx=32, n_layers=2, d_model=24, n_heads=3)
    model = lively(pellucid.GPT(shape, seed=3))
    steer: dict[str, Any] = {"frequency_penalty": 0.25, "presence_penalty": 0.5, "repetition_penalty": 1.25}
    steer |= {"logit_bias": {3: -100}}
    for temperature, words in ((0.9, "temperature 0.9, min-p 0.05"), (0.0, "temperature 0: of 64 tokens only one is left")):
        record = pellucid.xray(model, [1, 2], max_tokens=4, seed=1, min_p=0.05, temperature=temperature, **steer)
        for width, least in ((360, 11), (960, 12)):
            film = record.figure("tokens", width=width)
            assert_legible(film, least=least)
            assert_described(film)
            assert_true(film, record)
        said = "Repetition penalty 1.25, frequency penalty 0.25, presence penalty 0.5, 1 token biased, " + words
        assert any(film.caption_at(tenth / 10).startswith(said) for tenth in range(100))
    assert any("largest logit after penalties" in string for string in texts(record.figure("tokens"), 3))


def test_a_span_that_is_not_in_the_record_is_said_to_be_missing() -> None:
    film = generation(leave_out=["generation/steps/drawn_span"]).figure("tokens")
    assert any("not in this record" in string for string in texts(film, film.stills()[0]))
    film = generation(leave_out=["generation/attention"]).figure("xray")
    assert any("not in this record" in string for string in texts(film, film.stills()[-1]))


def test_xray_shows_the_lens_cell_by_cell() -> None:
    record = generation()
    film = record.figure("xray")
    drawn = film.at(film.stills()[-1])
    ids, logprobs = record["generation/lens/ids"], record["generation/lens/logprobs"]
    cells = {tuple(p["shows"]["index"]): p for p in drawn
             if p["kind"] == "rect" and p["shows"] and p["shows"]["chunk"] == "generation/lens/logprobs"}  # fmt: skip
    assert len(cells) == ids.shape[0] * ids.shape[1]
    for (level, track, _), cell in cells.items():
        assert piece(piece_of(int(ids[level, track, 0]))) in cell["label"]
        assert percent(exp(logprobs[level, track, 0])) in cell["label"]
    assert {cell["fill"] for (level, *_), cell in cells.items() if not level} == {palette.UNTRAINED_FILL}  # no prediction yet
    likely = sorted((cell for cell in cells if cell[0]), key=lambda cell: logprobs[cell])
    dark = [sum(int(cells[cell]["fill"][i : i + 2], 16) for i in (1, 3, 5)) for cell in likely]
    assert dark == sorted(dark, reverse=True)  # the likelier, the darker


def test_xray_draws_as_kept_and_dropped_what_the_record_says() -> None:
    record = generation(prompt=(1, 2, 3, 4), steps=3, blocks=2, band=2)
    film = record.figure("xray")
    states = record["generation/cells"][2]
    drawn = film.at(film.stills()[2])
    assert film.segments[2].name == "The answer is fed back"
    cells = {tuple(p["shows"]["index"]): p for p in drawn
             if p["kind"] == "rect" and p["shows"] and p["shows"]["chunk"] == "generation/lens/logprobs"}  # fmt: skip
    dashed = {(p["x"], p["y"]) for p in drawn if p["kind"] == "rect" and p["dash"]}
    for (level, track, _), cell in cells.items():
        if level:
            state = states[level - 1][track]
            assert (cell["fill"] == "#ffffff") == (state != 1), (level, track)
            assert ((cell["x"], cell["y"]) in dashed) == (state == 3), (level, track)


def test_xray_calls_each_block_by_its_pattern() -> None:
    view = xray_view(generation(blocks=4))
    shape = view.model.config.replace(pattern=("dense", "banded(2)", "fixed(128,32)", "local(4)"))
    nodes = row_names(XrayGrid.of(view, Sheet.of(960)), shape.pattern)
    names = {node.string for node in nodes if isinstance(node, Text)}
    assert {"dense", "band 2", "local(4)"} <= names
    assert any(words.startswith("fixed(") for words in names)  # as much of it as there is room for


def test_xray_judges_the_outputs_that_are_not_used() -> None:
    record = generation(prompt=(1, 7, 9, 2, 0, 4), blocks=1)
    last, ids = record["generation/lens/ids"][-1, :, 0], record["generation/prompt_ids"]
    right = sum(int(last[track]) == int(ids[track + 1]) for track in range(5))
    film = record.figure("xray")
    drawn = film.at(film.stills()[0])
    assert len({p["label"] for p in drawn if p["label"].startswith(("right:", "wrong:"))} | {""}) > 1
    ticks = sum(p["label"].startswith("right:") for p in drawn if p["kind"] == "path") / 2
    assert ticks == right and f"{right} name the next token" in film.alt
