"""draw/: what a film is at a time, against golden lists that TypeScript shares, and by properties."""

import json
from dataclasses import replace
from itertools import pairwise
from math import floor
from pathlib import Path as FilePath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pellucid.draw import (
    Caption,
    Clip,
    Film,
    FilmSegment,
    Gradient,
    Group,
    Image,
    Keyframes,
    Matrix,
    Node,
    Path,
    Rect,
    Shows,
    Text,
)
from pellucid.draw.film.keyframes import rounded, text_of
from pellucid.draw.film.resolve import CHORDS, cut, leaves
from pellucid.errors import PellucidError


GOLDEN = FilePath(__file__).parents[1] / "golden" / "film_at.json"
WHOLE = (FilmSegment("all", 0.0, 10.0, ((9.0, 10.0),)),)


def film(*nodes: Node, **rest: Any) -> Film:
    return Film(**{"title": "a film", "width": 200, "height": 100, "segments": WHOLE, "nodes": nodes, **rest})


def golden_cases() -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]]


@pytest.mark.parametrize("case", golden_cases())
def test_display_lists_are_the_golden_ones(case: dict[str, Any]) -> None:
    read = Film.from_json(json.dumps(case["film"]))
    assert len(case["at"]) >= 2
    for moment in case["at"]:
        assert read.at(moment["t"]) == moment["list"], moment["t"]
    assert [[frame.time, frame.duration] for frame in read.frames(case["max_frames"])] == case["frames"]
    assert read.stills() == case["stills"]
    for t, caption, segment in case["said"]:
        assert (read.caption_at(t), read.segment_at(t).name) == (caption, segment), t


def test_the_golden_cases_show_every_kind_of_node() -> None:
    text = GOLDEN.read_text(encoding="utf-8")
    for word in ("rect", "text", "path", "image", "group", "clip", "hold", "linear", "move", "gradient", "draw", "shows"):
        assert f'"{word}"' in text


# Properties.

times = some.floats(0, 10)
numbers = some.floats(-1000, 1000)


@some.composite
def numeric_keys(draw: some.DrawFn) -> Keyframes:
    moments = sorted(draw(some.sets(some.integers(0, 90), min_size=1, max_size=5)))
    return Keyframes(*((t / 10, draw(numbers), draw(some.sampled_from(("hold", "linear", "move")))) for t in moments))


@given(numeric_keys(), times)
def test_a_value_lies_between_its_neighbours(keys: Keyframes, t: float) -> None:
    before = [value for time, value, _ in keys.points if time <= t] or [keys.points[0][1]]
    after = [value for time, value, _ in keys.points if time > t] or [keys.points[-1][1]]
    low, high = sorted((before[-1], after[0]))
    assert low - 1e-9 <= keys.at(t) <= high + 1e-9


@given(numeric_keys())
def test_values_are_continuous_except_where_they_hold(keys: Keyframes) -> None:
    for (start, before, _), (end, value, ease) in pairwise(keys.points):
        assert keys.at(end) == value
        just_before = keys.at(end - (end - start) * 1e-9)
        assert just_before == before if ease == "hold" else abs(just_before - value) < 1e-4
        assert abs(keys.at(start + (end - start) * 1e-9) - before) < 1e-4


def test_a_move_is_fast_and_then_settles() -> None:
    keys = Keyframes((0, 0), (1, 1, "move"))
    assert keys.at(0.5) == 0.875
    speeds = [keys.at((i + 1) / 20) - keys.at(i / 20) for i in range(20)]
    assert speeds == sorted(speeds, reverse=True)


@pytest.mark.parametrize(
    ("value", "wanted", "text"),
    [(0.005, 0.01, "0.01"), (-0.005, 0.0, "0"), (-0.006, -0.01, "-0.01"), (1.004999, 1.0, "1"), (2.675, 2.68, "2.68"),
     (-1.25, -1.25, "-1.25"), (1e6, 1e6, "1000000"), (0.1 + 0.2, 0.3, "0.3"), (-0.0, 0.0, "0")],
)  # fmt: skip
def test_rounding_and_numbers_as_text(value: float, wanted: float, text: str) -> None:
    assert rounded(value) == wanted
    assert text_of(rounded(value)) == text


@given(some.floats(-1e6, 1e6))
def test_rounding_is_the_documented_rule(value: float) -> None:
    assert rounded(value) == floor(value * 100 + 0.5) / 100
    assert abs(rounded(value) - value) <= 0.005 + 1e-9
    assert float(text_of(rounded(value))) == rounded(value)
    assert text_of(rounded(value)).lstrip("-").replace(".", "").isdigit()


fills = some.one_of(some.none(), some.from_regex("#[0-9a-f]{6}", fullmatch=True), some.just(Gradient(("#000000", "#ffffff"))))
matrices = some.builds(
    lambda rows: Matrix.of(rows), some.lists(some.lists(some.integers(0, 255), min_size=3, max_size=3), min_size=1)
)
shapes = some.one_of(
    some.builds(Rect, numbers, numbers, some.floats(0, 100), some.floats(0, 100), fill=fills, label=some.text(max_size=9)),
    some.builds(Text, numeric_keys(), numbers, some.text(max_size=9), family=some.sampled_from(("sans", "mono"))),
    some.builds(Path, some.just((("M", 0, 0), ("Q", 1, 2, 3, 4), ("Z",))), draw=some.floats(0, 1), stroke=some.just("#123456")),
    some.builds(Image, matrices, some.just("grey"), numbers, numbers, some.just(9.0), numeric_keys().map(lambda _: 3.0)),
    some.builds(
        Rect, some.just(0), some.just(0), some.just(9), some.just(9), shows=some.just(Shows("chunk", (1, 2), 3, "measured"))
    ),
)
trees = some.recursive(
    shapes,
    lambda inner: some.one_of(
        some.builds(
            Group, some.lists(inner, max_size=3).map(tuple), numbers, numeric_keys(), some.floats(0, 3), some.floats(0, 1)
        ),
        some.builds(Clip, some.lists(inner, max_size=3).map(tuple), numbers, numbers, some.floats(0, 500), some.floats(0, 500)),
    ),
    max_leaves=6,
)


@given(some.lists(trees, max_size=3), times)
def test_a_film_is_the_same_after_json(nodes: list[Node], t: float) -> None:
    one = film(*nodes)
    written = one.to_json(glyphs=True)
    other = Film.from_json(written)
    assert other == one
    assert other.to_json(glyphs=True) == written
    assert other.at(t) == one.at(t)


@given(some.lists(trees, max_size=3), times)
def test_display_lists_are_plain_ordered_and_rounded(nodes: list[Node], t: float) -> None:
    one = film(*nodes)
    drawn = one.at(t)
    assert json.loads(json.dumps(drawn, allow_nan=False)) == drawn
    order = [primitive["node"] for primitive in drawn]
    assert order == sorted(set(order))
    assert all(0 <= number < leaves(one.nodes) for number in order)

    def check(value: Any) -> None:
        if isinstance(value, float):
            assert value == rounded(value)
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            check(part)

    check(drawn)


def test_a_growing_line_has_the_length_it_says() -> None:
    """Against an oracle: a circle of many short lines, and by its curves."""
    square = (("M", 0, 0), ("L", 10, 0), ("L", 10, 10), ("L", 0, 10), ("Z",))
    assert cut(square, 0.25) == [("M", 0, 0), ("L", 10, 0)]
    assert cut(square, 0.625) == [("M", 0, 0), ("L", 10, 0), ("L", 10, 10), ("L", 5, 10)]
    assert cut(square, 1.0)[-1] == ("L", 0, 0)
    two = (("M", 0, 0), ("L", 10, 0), ("M", 0, 50), ("L", 10, 50))
    assert cut(two, 0.75) == [("M", 0, 0), ("L", 10, 0), ("M", 0, 50), ("L", 5, 50)]
    curve = cut((("M", 0, 0), ("C", 0, 0, 10, 0, 10, 0)), 0.999999)
    assert len(curve) == 1 + CHORDS
    assert curve[-1][1] == pytest.approx(10, abs=1e-4)


def test_labels_and_truth_of_a_group_hold_for_what_is_in_it() -> None:
    outer = Shows("logits", (3,), None, "derived")
    own = Shows("prompt", (0,), None, "given")
    drawn = film(Group((Rect(0, 0, 1, 1), Rect(0, 0, 1, 1, label="mine", shows=own)), label="group", shows=outer)).at(0)
    assert [(p["label"], p["shows"]["chunk"]) for p in drawn] == [("group", "logits"), ("mine", "prompt")]


# Frames and stills.


def test_what_rests_is_one_long_frame() -> None:
    moving = film(Rect(Keyframes((0, 0), (1, 0), (2, 90, "move")), 0, 9, 9))
    frames = moving.frames()
    assert frames[0].time == 0
    assert frames[-1].duration == 8
    assert len(frames) == 16  # 15 a second of the one second that moves, and the rest
    assert sum(frame.duration for frame in frames) == pytest.approx(10)
    assert all(moving.at(a.time) != moving.at(b.time) for a, b in pairwise(frames))


@pytest.mark.parametrize("most", [2, 3, 5, 8, 48])
def test_frames_are_few_enough_and_keep_the_stills(most: int) -> None:
    jumps = Keyframes(*((i / 10, f"step {i}") for i in range(80)))
    jumping = film(Text(0, 20, jumps), Rect(Keyframes((0, 0), (8.5, 90, "linear")), 0, 9, 9))
    frames = jumping.frames(most)
    assert len(frames) <= most
    assert sum(frame.duration for frame in frames) == pytest.approx(10)
    assert all(a.time + a.duration == pytest.approx(b.time) for a, b in pairwise(frames))
    (still,) = jumping.stills()
    shown = next(frame for frame in frames if frame.time <= still < frame.time + frame.duration)
    assert jumping.at(shown.time) == jumping.at(still)


def test_captions_are_said_in_their_time() -> None:
    said = film(captions=(Caption(0, 2, "one"), Caption(2, 3, "two"), Caption(5, 10, "last")))
    assert [said.caption_at(t) for t in (0, 1.9, 2, 3, 4.9, 5, 10)] == ["one", "one", "two", "", "", "last", "last"]
    assert [frame.time for frame in said.frames()] == [0, 2, 3, 5]


# What is refused.

BAD_NODES = [
    (lambda: Rect(float("nan"), 0, 1, 1), "Rect.x is nan"),
    (lambda: Rect(0, 0, -1, 1, id="box"), "Rect 'box'.w is -1"),
    (lambda: Rect(0, 0, 1, 1, fill="red"), "colour #rrggbb"),
    (lambda: Rect(0, 0, 1, 1, fill="#FFFFFF"), "lower case"),
    (lambda: Rect(0, 0, 1, 1, stroke=Gradient(("#000000", "#ffffff"))), "only a fill"),  # type: ignore[arg-type]
    (lambda: Rect(0, 0, 1, 1, opacity=1.5), "from 0 to 1"),
    (lambda: Rect(0, 0, 1, 1, dash=(0.0,)), "dash"),
    (lambda: Rect(True, 0, 1, 1), "finite number"),
    (lambda: Rect(Keyframes(), 0, 1, 1), "without a key"),
    (lambda: Rect(Keyframes((1, 0), (1, 2)), 0, 1, 1), "in order of time"),
    (lambda: Rect(Keyframes((2, 0), (1, 2)), 0, 1, 1), "in order of time"),
    (lambda: Rect(Keyframes((0, 0), (1, 2, "bounce")), 0, 1, 1), "hold, linear, move"),
    (lambda: Rect(Keyframes((0, "a")), 0, 1, 1), "finite number"),
    (lambda: Text(0, 0, Keyframes((0, "a"), (1, "b", "linear"))), "must hold"),
    (lambda: Text(0, 0, "a", family="serif"), "family"),
    (lambda: Path((("L", 0, 0),)), "begin with a move"),
    (lambda: Path((("M", 0, 0), ("L", 0))), "one of M L Q C Z"),
    (lambda: Image(Matrix.of([[1]]), "rainbow", 0, 0, 1, 1), "sequential"),
    (lambda: Matrix(2, 2, b"abc"), "cannot hold"),
    (lambda: Matrix.of([[1], [1, 2]]), "equally long"),
    (lambda: Shows("x", (), None, "believed"), "truth"),
    (lambda: Gradient(("#000000",)), "two or more"),
    (lambda: Group(("rect",)), "tuple of nodes"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "said"), BAD_NODES)
def test_bad_nodes_are_refused_by_name(make: Any, said: str) -> None:
    with pytest.raises(PellucidError, match=said.replace("(", r"\(")):
        make()


MOVES = Rect(Keyframes((0, 0), (9.5, 5, "linear")), 0, 1, 1)
BAD_FILMS = [
    ({"title": ""}, "title"),
    ({"width": 0}, "size"),
    ({"background": "white"}, "background"),
    ({"segments": ()}, "needs a segment"),
    ({"segments": (FilmSegment("s", 1, 7, ((6, 7),)),)}, "must start at 0"),
    ({"segments": (FilmSegment("s", 0, 4, ((3, 4),)),)}, "5 to 10 s"),
    ({"segments": (FilmSegment("s", 0, 11, ((3, 4),)),)}, "5 to 10 s"),
    ({"segments": (FilmSegment("s", 0, 6, ()),)}, "never rests"),
    ({"segments": (FilmSegment("s", 0, 6, ((5, 7),)),)}, "must lie in it"),
    ({"nodes": (MOVES,)}, "while it rests"),
    ({"nodes": (MOVES,), "segments": (FilmSegment("s", 0, 9, ((2, 3),)),)}, "while it rests"),
    ({"nodes": (Rect(Keyframes((0, 0), (12, 5)), 0, 1, 1),)}, "still moves at 12"),
    ({"nodes": (Rect(0, 0, 1, 1, id="a"), Group((Rect(0, 0, 1, 1, id="a"),)))}, "two nodes have the id 'a'"),
    ({"nodes": [Rect(0, 0, 1, 1)]}, "nodes must be a tuple"),
    ({"captions": (Caption(0, 11, "long"),)}, "caption"),
    ({"captions": (Caption(0, 3, "one"), Caption(2, 4, "two"))}, "after the one before"),
]


@pytest.mark.parametrize(("changed", "said"), BAD_FILMS)
def test_bad_films_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(PellucidError, match=said):
        replace(film(), **changed)


def test_a_film_has_no_picture_outside_its_time() -> None:
    for t in (-0.1, 10.1, float("nan")):
        with pytest.raises(PellucidError, match="from 0 to 10 s"):
            film().at(t)
    with pytest.raises(PellucidError, match="at least 2 frames"):
        film().frames(1)


GOOD = json.loads(film(Rect(0, 0, 1, 1)).to_json())
BAD_FILES = [
    ("{", "not JSON"),
    ("[]", "no film"),
    ('{"format": "gif"}', "no film"),
    (json.dumps({**GOOD, "version": 2}), "version 2"),
    (json.dumps({key: value for key, value in GOOD.items() if key != "nodes"}), "damaged"),
    (json.dumps({**GOOD, "nodes": [{"kind": "circle"}]}), "no node of the kind 'circle'"),
    (json.dumps({**GOOD, "nodes": [{"kind": "rect", "x": 0, "y": 0, "w": 1, "h": 1, "z": 1}]}), "no attribute 'z'"),
    (json.dumps({**GOOD, "nodes": [{"kind": "rect", "x": 0}]}), "damaged"),
    (json.dumps({**GOOD, "nodes": [{"kind": "rect", "x": "1", "y": 0, "w": 1, "h": 1}]}), "Rect.x is '1'"),
    (
        json.dumps({**GOOD, "nodes": [{"kind": "image", "matrix": 3, "palette": "grey", "x": 0, "y": 0, "w": 1, "h": 1}]}),
        "damaged",
    ),
]


@pytest.mark.parametrize(("text", "said"), BAD_FILES)
def test_bad_files_are_refused(text: str, said: str) -> None:
    with pytest.raises(PellucidError, match=said):
        Film.from_json(text)
