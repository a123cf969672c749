"""draw/figures: a plan's layout, memory and timetable, hatched throughout, whatever the mesh."""

from typing import Any

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as some
from pictures import assert_described, assert_legible
from plan_records import plan_record

from pellucid.draw.components.hatch import hatched
from pellucid.draw.components.marks import Box
from pellucid.draw.film.nodes import Path
from pellucid.languages import language


NAMES = ("memory", "timetable")
WORLDS: dict[str, dict[str, Any]] = {
    "a pipeline": {}, "one device": {"devices": 1, "mesh": {}, "blocks": 3},
    "many places": {"blocks": 24, "devices": 24, "mesh": {"pp": 24}, "sequences": 48},
    "many devices": {"devices": 512, "mesh": {"dp": 256, "tp": 2}, "sequences": 256},
    "chunks": {"blocks": 8, "devices": 4, "mesh": {"pp": 4}, "sequences": 16},
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("world", WORLDS)
def test_a_plan_s_figures_are_legible_and_described(name: str, world: str) -> None:
    record = plan_record(**WORLDS[world])
    for code in ("en", "zh"):
        with language(code):
            for width in (960, 360):
                film = record.figure(name, width=width)
                assert_legible(film, moving=world == "a pipeline" and width == 960 and code == "en")
                assert_described(film)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_estimated_is_hatched(name: str) -> None:
    """Every area that shows an estimated number has lines over it, and no clock stands anywhere."""
    film = plan_record().figure(name)
    drawn = film.at(film.stills()[-1])
    shown = [p for p in drawn if p["shows"] and p["shows"]["truth"] == "estimated"]
    areas, lines = ({repr(p["shows"]) for p in shown if p["kind"] == kind} for kind in ("rect", "path"))
    assert areas and areas <= lines
    assert not [p for p in drawn if p["shows"] and p["shows"]["truth"] == "measured"]
    assert any("estimated" in p["string"] for p in drawn if p["kind"] == "text")


@cases(50)
@given(some.floats(0, 500), some.floats(0, 500), some.floats(0.5, 400), some.floats(0.5, 60), some.booleans())
def test_hatching_stays_in_its_box(x: float, y: float, w: float, h: float, rising: bool) -> None:
    box = Box(x, y, w, h)
    group = hatched(box, "#ffffff", "#000000", rising=rising)
    for path in (node for node in group.children if isinstance(node, Path)):
        for _, px, py in path.d:
            assert x - 1e-9 <= px <= box.right + 1e-9 and y - 1e-9 <= py <= box.bottom + 1e-9
        pairs = [(path.d[i], path.d[i + 1]) for i in range(0, len(path.d), 2)]
        for (_, x0, y0), (_, x1, y1) in pairs:  # at 45 degrees
            assert abs(abs(x1 - x0) - abs(y1 - y0)) < 1e-6
