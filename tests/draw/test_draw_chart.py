"""draw/: the plain loss chart: nothing overlaps, nothing leaves the picture, and the numbers are those that were given."""

import math
from itertools import combinations, pairwise
from typing import Any

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as some

from pellucid.draw import Film, loss_chart
from pellucid.draw.components.axes import MOST_DOTS
from pellucid.draw.components.chart import MEANS
from pellucid.draw.components.scales import (
    BandScale,
    LengthScale,
    LinearScale,
    LogScale,
    nice_step,
    tick_label,
    ticks_with_room,
)
from pellucid.draw.film import palette
from pellucid.draw.film.font import text_width
from pellucid.errors import PellucidError


WIDTHS = (360, 960, 1920)


def curve(count: int) -> tuple[list[int], list[float]]:
    """A loss that falls and jitters, by arithmetic alone."""
    steps = list(range(1, count + 1))
    return steps, [3 + 5.3 / (1 + step / 40) + (step * 7919 % 101 - 50) / 400 for step in steps]


def chart(count: int = 2000, **rest: Any) -> Film:
    steps, losses = curve(count)
    held_out = [(step, losses[step - 1] + 0.1) for step in steps if step % (count // 8 or 1) == 0]
    return loss_chart(steps, losses, held_out, math.log(4096), **rest)


def boxes(film: Film) -> dict[str, tuple[float, float, float, float]]:
    """Each text with its box: left, top, right, bottom."""
    found = {}
    for i, p in enumerate(film.at(film.stills()[-1])):
        if p["kind"] == "text":
            width = text_width(p["string"], p["size"], p["family"], p["weight"])
            left = p["x"] - {"start": 0, "middle": width / 2, "end": width}[p["anchor"]]
            found[f"{i} {p['string']}"] = (left, p["y"] - 0.75 * p["size"], left + width, p["y"] + 0.25 * p["size"])
    return found


CASES = [
    {"count": 2000},
    {"count": 3},
    {"count": 1},
    {"count": 250_000},
    {"count": 2000, "log_steps": True},
    {"count": 1_500, "title": "A title that is so long that it must be broken into lines on a narrow picture, and cut " * 3},
]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("case", CASES)
def test_no_text_overlaps_another_or_leaves_the_picture(width: int, case: dict[str, Any]) -> None:
    film = chart(**case, width=width)
    placed = boxes(film)
    assert len(placed) >= 7
    for name, (left, top, right, bottom) in placed.items():
        assert left >= 0 and top >= 0 and right <= film.width and bottom <= film.height, name
    for (one, a), (other, b) in combinations(placed.items(), 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, (one, other)


@pytest.mark.parametrize("width", WIDTHS)
def test_every_line_stays_between_the_axes(width: int) -> None:
    film = chart(width=width)
    below = min(top for name, (_, top, _, _) in boxes(film).items() if name.split(" ", 1)[1] in ("0", "step"))
    above = max(bottom for name, (_, _, _, bottom) in boxes(film).items() if "nats" in name)
    lines = [p for p in film.at(5) if p["kind"] == "path" and p["clip"] is not None]
    assert len(lines) >= 3
    for line in lines:
        ys = [y for _, *numbers in line["d"] for y in numbers[1::2]]
        xs = [x for _, *numbers in line["d"] for x in numbers[::2]]
        assert above < min(ys) and max(ys) < below
        assert min(xs) >= 0 and max(xs) <= width


def test_each_loss_of_a_short_run_is_drawn_where_it_is() -> None:
    """Read back from the picture through the tick labels."""
    steps, losses = [1, 2, 3, 4, 5], [8.0, 6.5, 6.0, 5.25, 5.5]
    film = loss_chart(steps, losses)
    texts = {p["string"]: p for p in film.at(5) if p["kind"] == "text"}
    (line,) = [p for p in film.at(5) if p["kind"] == "path" and p["clip"] is not None]
    size = texts["8.0"]["size"] if "8.0" in texts else texts["8"]["size"]
    marks = sorted((float(s), p["y"] - 0.36 * size) for s, p in texts.items() if p["anchor"] == "end")
    (low, y_low), *_, (high, y_high) = marks
    read = [low + (y - y_low) / (y_high - y_low) * (high - low) for _, _, y in line["d"]]
    assert read == pytest.approx(losses, abs=0.02)
    x = {s: p["x"] for s, p in texts.items() if p["anchor"] == "middle"}
    assert [px for _, px, _ in line["d"]] == pytest.approx([x["0"] + (x["5"] - x["0"]) * s / 5 for s in steps], abs=0.02)


def test_long_runs_show_extremes_and_means() -> None:
    steps, losses = curve(20_000)
    spike = 12_345
    losses[spike] = 9.9
    film = loss_chart(steps, losses)
    raw, mean = [p for p in film.at(5) if p["kind"] == "path" and p["clip"] is not None]
    assert len(raw["d"]) < 2 * film.width  # two points a column at most
    assert raw["stroke"] == palette.SERIES_PALE and mean["id"] == "training-mean"
    heights = [y for _, _, y in raw["d"]]
    assert min(heights) < min(y for _, _, y in mean["d"]) - 10  # the spike is there; its mean is not it
    assert len(mean["d"]) in range(MEANS // 2, MEANS + 1)
    assert "lowest and highest" in film.notes[0]
    assert any("mean over 200 steps" in p["string"] for p in film.at(5) if p["kind"] == "text")


def test_the_lines_grow_with_the_steps_and_then_rest() -> None:
    film = chart()
    reach = [film.at(t)[-1]["clip"][2] for t in (0.5, 1, 2, 3)]
    assert [b > a for a, b in pairwise(reach)] == [True] * 3
    assert film.at(3.5) == film.at(6)
    assert not any(p["clip"] for p in film.at(0))
    assert len(film.frames()) <= 48


def test_gaps_and_missing_parts_are_said() -> None:
    steps, losses = curve(30)
    losses[9] = math.nan
    losses[10] = math.inf
    film = loss_chart(steps, losses, [(0, 8.4), (30, 5.0)], log_steps=True)
    raw = [p for p in film.at(5) if p["kind"] == "path" and p["clip"] and p["stroke"] == palette.SERIES[0]]
    assert [len(p["d"]) for p in raw] == [9, 19]
    assert film.notes == ("2 values are not finite numbers: they are gaps in the lines.",
                          "Step 0 has no place on a logarithmic axis and is left out.")  # fmt: skip
    assert "8.32" not in film.alt
    assert "Held-out loss 5.00 at the end" in film.alt
    assert "Loss 8.1" in film.caption_at(1)


def test_held_out_points_can_be_read_one_by_one() -> None:
    film = chart()
    dots = [p for p in film.at(5) if p["label"].startswith("held-out loss")]
    assert len(dots) == 8 and all(p["shows"]["truth"] == "derived" for p in dots)
    many = [(step, 5.0 - step / 1000) for step in range(MOST_DOTS + 1)]
    assert not any(p["label"] for p in loss_chart([], [], many).at(5))


@pytest.mark.parametrize(
    ("steps", "losses", "rest", "said"),
    [
        ([], [], {}, "no finite loss"),
        ([1], [math.nan], {}, "no finite loss"),
        ([1, 2], [1.0], {}, "2 steps and 1 losses"),
        ([2, 1], [1.0, 1.0], {}, "in order"),
        ([1], [1.0], {"width": 100}, "at least 240"),
        ([0], [1.0], {"log_steps": True}, "no finite loss"),
    ],
)
def test_what_cannot_be_drawn_is_refused(steps: list[int], losses: list[float], rest: dict[str, Any], said: str) -> None:
    with pytest.raises(PellucidError, match=said):
        loss_chart(steps, losses, **rest)


def test_equal_losses_still_have_an_axis() -> None:
    for value in (0.0, 1e-6, 5.0):
        assert loss_chart([1, 2], [value, value]).at(5)


# Axes.


@given(some.floats(1e-6, 1e9), some.integers(1, 12))
def test_a_nice_step_is_nice_and_the_smallest(span: float, most: int) -> None:
    step = nice_step(span, most)
    digit = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(digit - nice) for nice in (1, 2, 5)) < 1e-6
    assert span / step <= most * (1 + 1e-9)
    assert span / (step / 2.5) > most * (1 - 1e-9)


@cases(50)
@given(some.floats(-100, 100), some.floats(0.001, 1e7), some.floats(60, 2000), some.booleans())
def test_ticks_lie_on_their_axis_and_their_labels_do_not_touch(low: float, span: float, length: float, whole: bool) -> None:
    axis = LinearScale(low, low + span, 50, 50 + length)
    ticks = ticks_with_room(axis, 14, whole=whole)
    assert ticks
    places = [(axis.place(value), text_width(text, 14) / 2) for value, text in ticks]
    assert all(50 - 1e-6 * length <= place <= 50 + length * (1 + 1e-6) for place, _ in places)
    assert all(b - wide_b > a + wide_a for (a, wide_a), (b, wide_b) in pairwise(places))
    assert len({text for _, text in ticks}) == len(ticks)


@given(some.floats(-50, 50), some.floats(1, 900), some.integers(1, 60), some.floats(0.1, 1))
def test_bars_lie_side_by_side_in_the_middle_of_their_bands(start: float, room: float, count: int, share: float) -> None:
    step = room / count
    bands = BandScale(start, step, step * share)
    for i in range(count):
        before, after = bands.place(i) - (start + i * step), start + (i + 1) * step - bands.place(i) - bands.thickness
        assert before == pytest.approx(after, abs=1e-6) and before >= -1e-6


def test_a_bar_is_as_long_as_its_value_and_none_where_all_are_zero() -> None:
    scale = LengthScale(80, 4)
    assert [scale.length(value) for value in (0, 1, 4)] == [0, 20, 80]
    assert LengthScale(80, 0).length(0) == 0


def test_tick_labels_are_short_and_exact() -> None:
    assert LinearScale(0, 10, 0, 1).ticks(5) == [0, 2, 4, 6, 8, 10]
    fine = LinearScale(3, 5, 0, 1)
    assert fine.tick_labels(fine.ticks(5)) == ["3.0", "3.5", "4.0", "4.5", "5.0"]
    assert LogScale(1, 2000, 0, 1).ticks(12) == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000]
    assert LogScale(1, 1e6, 0, 1).ticks(7) == [1, 10, 100, 1000, 1e4, 1e5, 1e6]
    assert LogScale(1, 1e6, 0, 1).ticks(3) == [1, 100, 1e4, 1e6]
    assert LogScale(0.1, 100, 0, 1).tick_labels([0.1, 1, 10]) == ["0.1", "1", "10"]
    assert tick_label(1_234_000, 1000) == "1,234,000"
