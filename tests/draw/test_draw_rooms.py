"""draw/: which of its modules may import which: rooms in order, no circle, records in views only, no torch."""

import ast
from collections.abc import Container, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest


SOURCES = Path(__file__).parents[2] / "src"
ROOMS = ("film", "backends", "views", "components", "figures")  # each may import those before it


def imported(path: Path, modules: Container[str]) -> Iterator[str]:
    """Every module that a file imports, in functions too: of ours by its full name, of others by its first."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name if name in modules else node.module for name in whole]
        else:
            continue
        yield from (name if name in modules else name.partition(".")[0] for name in found)


@cache
def graph() -> dict[str, set[str]]:
    """Module -> the modules that it imports, for all of the package."""
    paths = {
        ".".join(path.relative_to(SOURCES).with_suffix("").parts).removesuffix(".__init__"): path
        for path in SOURCES.rglob("*.py")
    }
    return {name: set(imported(path, paths)) for name, path in paths.items()}


def inside(room: str = "") -> dict[str, set[str]]:
    """The same for the modules of a room of draw/, or for all of draw/."""
    prefix = f"pellucid.draw.{room}".rstrip(".")
    return {name: found for name, found in graph().items() if name == prefix or name.startswith(f"{prefix}.")}


def reached(start: str) -> set[str]:
    """Every module that is imported when `start` is."""
    found, waiting = set[str](), [start]
    while waiting:
        for name in graph().get(waiting.pop(), set()) - found:
            found.add(name)
            waiting.append(name)
    return found


@pytest.mark.long
def test_the_graph_is_that_of_the_sources() -> None:
    """What is asserted below would hold for an empty graph."""
    assert "pellucid.draw.views.tokens" in inside("figures")["pellucid.draw.figures.tokens"]
    assert "torch" in reached("pellucid.training") | reached("pellucid.generation.load")
    assert all(len(inside(room)) > 3 for room in ROOMS)


def test_no_file_of_draw_imports_itself_by_a_detour() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()
    TopologicalSorter({name: found - {name} for name, found in inside().items()}).prepare()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_those_before_it(room: str) -> None:
    allowed = {*ROOMS[: ROOMS.index(room) + 1]}
    for name, found in inside(room).items():
        rooms = {one.split(".")[2] for one in found if one.startswith("pellucid.draw.")}
        assert rooms <= allowed, name


def test_only_views_and_the_registry_know_records() -> None:
    for room in ("film", "backends", "components", "figures"):
        for name, found in inside(room).items():
            knows = any(one == "pellucid.record" or one.startswith("pellucid.record.") for one in found)
            assert knows == (name == "pellucid.draw.figures"), name


def test_draw_reaches_no_torch() -> None:
    assert {name for name in inside() if "torch" in reached(name)} == set()
