"""Assertions about films: texts are legible, what is shown is described in words, every mark names its source."""

from collections.abc import Iterator
from typing import Any

from pellucid.draw import Film
from pellucid.draw.film.font import text_width
from pellucid.record import Record


Box = tuple[float, float, float, float]  # left, top, right, bottom
Placed = tuple[int, str, Box]  # place in the display list, string, box
SLACK = 0.06  # of rounding to two decimals, on either side


def box_of(primitive: dict[str, Any]) -> Box:
    """The box of a text, from its capitals' tops to a little below its baseline."""
    width = text_width(primitive["string"], primitive["size"], primitive["family"], primitive["weight"])
    left = primitive["x"] - {"start": 0, "middle": width / 2, "end": width}[primitive["anchor"]]
    return left, primitive["y"] - 0.75 * primitive["size"], left + width, primitive["y"] + 0.25 * primitive["size"]


def text_boxes(film: Film, t: float) -> list[Placed]:
    """(place in the display list, string, box) of each text."""
    return texts_of(film.at(t))


def texts_of(drawn: list[dict[str, Any]]) -> list[Placed]:
    """The same of a display list."""
    return [(i, p["string"], box_of(p)) for i, p in enumerate(drawn) if p["kind"] == "text"]


def common(a: Box, b: Box) -> Box | None:
    """The intersection of two boxes; None where there is none, or one so thin that rounding makes it."""
    left, top, right, bottom = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return (left, top, right, bottom) if right - left > SLACK and bottom - top > SLACK else None


def covered(film_at: list[dict[str, Any]], first: int, last: int, place: Box) -> bool:
    """Whether a filled, opaque rectangle between two primitives of a display list hides that place of the lower one."""
    for p in film_at[first + 1 : last]:
        if p["kind"] == "rect" and p["fill"] and p["opacity"] == 1 and p["clip"] is None:
            left, top, right, bottom = p["x"], p["y"], p["x"] + p["w"], p["y"] + p["h"]
            wide = left <= place[0] + SLACK and right >= place[2] - SLACK
            if wide and top <= place[1] + SLACK and bottom >= place[3] - SLACK:
                return True
    return False


def times_of(film: Film) -> list[float]:
    """Times to look at: the stills, the starts of the other rests, both ends, and 17 steps in between."""
    duration = film.duration
    rests = [start for segment in film.segments for start, _ in segment.rests]
    return sorted({0.0, duration, *film.stills(), *rests, *(i * duration / 17 for i in range(18))})


def assert_legible(film: Film, *, least: float = 10.99, moving: bool = True) -> None:
    """No text overlaps another, leaves the picture, is cut off by a clip, or is smaller than `least` at the film's own scale.

    While things move, a text may pass below or above another where something opaque lies between them.
    """
    rests = [rest for segment in film.segments for rest in segment.rests]
    for t in times_of(film) if moving else film.stills():
        drawn = film.at(t)
        placed = texts_of(drawn)
        still = any(start <= t <= end for start, end in rests)
        for i, string, (left, top, right, bottom) in placed:
            where = f"{film.title} at {t:g} s: {string!r} at {left:.1f} to {right:.1f}, {top:.1f} to {bottom:.1f}"
            inside = left >= -SLACK and top >= -SLACK and right <= film.width + SLACK and bottom <= film.height + SLACK
            assert inside, f"{where} leaves the picture"
            assert drawn[i]["size"] >= least * min(1.0, film.width / 360), f"{where} is too small"
            if drawn[i]["clip"] is not None and still:
                x, y, w, h = drawn[i]["clip"]
                cut = left < x - SLACK or top < y - SLACK or right > x + w + SLACK or bottom > y + h + SLACK
                assert not cut, f"{where} is cut off"
        for (i, one, a), (j, other, b) in neighbours(placed):
            place = common(a, b)
            apart = place is None or (not still and covered(drawn, min(i, j), max(i, j), place))
            assert apart, f"{film.title} at {t:g} s: {one!r} on {other!r}"


def neighbours(placed: list[Placed]) -> Iterator[tuple[Placed, Placed]]:
    """Every pair of texts whose heights overlap: only those can overlap at all."""
    ordered = sorted(placed, key=lambda text: text[2][1])
    for i, one in enumerate(ordered):
        for other in ordered[i + 1 :]:
            if other[2][1] >= one[2][3]:
                break
            yield one, other


def assert_described(film: Film) -> None:
    """A film has alt text and captions, names its sources, and has a clock beside each measured number."""
    assert film.alt and len(film.alt) > 40 and film.captions
    last = film.at(film.stills()[-1])
    assert any(p["shows"] for p in last)
    for t in film.stills():
        drawn = film.at(t)
        for i, p in enumerate(drawn):
            if p["kind"] == "text" and p["shows"] and p["shows"]["truth"] == "measured":
                assert drawn[i - 1]["kind"] == "path", f"{p['string']!r} was measured and has no clock"


def assert_true(film: Film, record: Record) -> None:
    """The source of every mark is a place in the record, and of the truth class that the record's table states for it."""
    for t in film.stills():
        for p in film.at(t):
            if p["shows"] and p["shows"]["chunk"] in record:
                chunk, index, truth = (p["shows"][key] for key in ("chunk", "index", "truth"))
                held = record[chunk]
                shape = (len(held),) if isinstance(held, list) else getattr(held, "shape", ())
                assert len(index) <= len(shape) and all(0 <= i < n for i, n in zip(index, shape, strict=False)), p["shows"]
                assert truth == record.entry(chunk).truth, p["shows"]
            elif p["shows"]:
                assert p["shows"]["chunk"] == "provenance" or p["shows"]["truth"] == "given", p["shows"]
