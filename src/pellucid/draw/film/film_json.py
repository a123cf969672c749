"""A film as JSON and back: the file that the player in the browser reads. `docs/film.md` describes it."""

import base64
import json
from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any

from pellucid.arguments import shown
from pellucid.draw.film.film import Caption, Film, FilmSegment, walk
from pellucid.draw.film.font import EM, advance, path
from pellucid.draw.film.keyframes import Keyframes
from pellucid.draw.film.nodes import Clip, Gradient, Group, Image, Matrix, Node, Path, Rect, Shows, Text
from pellucid.draw.film.palette import table_bytes
from pellucid.errors import PellucidError
from pellucid.strict_json import Fields, parse_json


LONGEST_TITLE = 1000
MAX_FILM_BYTES = 1 << 28  # every mark of a long film, in text
FORMAT, VERSION = "pellucid-film", 1
KINDS: dict[str, Any] = {"rect": Rect, "text": Text, "path": Path, "image": Image, "group": Group, "clip": Clip}
NAMES = {kind: name for name, kind in KINDS.items()}


def to_json(film: Film, *, glyphs: bool = False) -> str:
    """The film as one line of JSON in ASCII, the same bytes for the same film.

    Args:
        glyphs: also the advances and outlines of every character that the film can show.
    """
    numbers = {matrix: number for number, matrix in enumerate(film.matrices)}
    palettes = sorted({node.palette for node in walk(film.nodes) if isinstance(node, Image)})
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "title": film.title,
        "width": film.width,
        "height": film.height,
        "background": film.background,
        "alt": film.alt,
        "notes": list(film.notes),
        "segments": [
            {"name": s.name, "start": s.start, "end": s.end, "rests": [list(rest) for rest in s.rests]} for s in film.segments
        ],
        "captions": [{"start": c.start, "end": c.end, "text": c.text} for c in film.captions],
        "matrices": [
            {"rows": m.rows, "columns": m.columns, "data": base64.b64encode(m.data).decode("ascii")} for m in film.matrices
        ],
        "palettes": {name: table_bytes(name).hex() for name in palettes},
        "nodes": [_node_json(node, numbers) for node in film.nodes],
    }
    if glyphs:
        document["em"] = EM
        document["glyphs"] = glyphs_of([film])
    return json.dumps(document, allow_nan=False, separators=(",", ":"))


def _node_json(node: Node, numbers: dict[Matrix, int]) -> dict[str, Any]:
    """A node without the attributes that have their default; matrices by their numbers."""
    found: dict[str, Any] = {"kind": NAMES[type(node)]}
    for field in fields(node):
        value = getattr(node, field.name)
        if field.name == "children":
            found["children"] = [_node_json(child, numbers) for child in value]
        elif field.default is MISSING or value != field.default:
            found[field.name] = _value(value, numbers)
    return found


def _value(value: Any, numbers: dict[Matrix, int]) -> Any:
    match value:
        case Keyframes():
            return {"keys": [[t, _value(point, numbers), ease] for t, point, ease in value.points]}
        case Matrix():
            return numbers[value]
        case Gradient():
            return {"gradient": list(value.colours), "angle": value.angle}
        case Shows():
            return {"chunk": value.chunk, "index": list(value.index), "step": value.step, "truth": value.truth}
        case tuple():
            return [_value(part, numbers) for part in value]
    return value


def glyphs_of(films: Iterable[Film]) -> dict[str, dict[str, list[Any]]]:
    """The glyphs of some films: "family-weight" -> character -> [advance, outline as SVG path data in 1/em, y upwards]."""
    used: dict[str, set[str]] = {}
    for node in (node for film in films for node in walk(film.nodes)):
        if isinstance(node, Text):
            strings = [point[1] for point in node.string.points] if isinstance(node.string, Keyframes) else [node.string]
            used.setdefault(f"{node.family}-{node.weight}", set()).update(*strings)
    return {
        name: {
            c: [advance(c, family, int(weight)), path(c, family, int(weight))] for c in sorted(used[name])
        }
        for name in sorted(used)
        for family, weight in [name.split("-")]
    }  # fmt: skip


def from_json(text: str) -> Film:
    """The film of a JSON text.

    Raises:
        PellucidError: no JSON, not a film, a newer version, an unknown attribute, and everything that `Film` itself refuses.
    """
    try:
        document = parse_json(text.encode("utf-8"), max_bytes=MAX_FILM_BYTES)
    except ValueError as problem:
        raise PellucidError(f"this is no film: not JSON ({problem})") from problem
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise PellucidError(f'this is no film: its JSON must say "format": "{FORMAT}"')
    if document.get("version") != VERSION:
        version = document.get("version")
        raise PellucidError(f"this film has version {shown(version)}: this Pellucid reads version {VERSION}; update it")
    try:
        matrices = [Matrix(m["rows"], m["columns"], base64.b64decode(m["data"], validate=True)) for m in document["matrices"]]
        return Film(
            title=Fields(document, "film").text("title", max_length=LONGEST_TITLE),
            width=document["width"],
            height=document["height"],
            background=document["background"],
            alt=document["alt"],
            notes=tuple(document["notes"]),
            segments=tuple(
                FilmSegment(s["name"], s["start"], s["end"], tuple(map(tuple, s["rests"]))) for s in document["segments"]
            ),
            captions=tuple(Caption(c["start"], c["end"], c["text"]) for c in document["captions"]),
            nodes=tuple(_node(node, matrices) for node in document["nodes"]),
        )
    except PellucidError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as problem:
        raise PellucidError(f"this film is damaged: {shown(problem)}; write it again") from problem


def _node(found: dict[str, Any], matrices: list[Matrix]) -> Node:
    rest = dict(found)
    name = rest.pop("kind")
    if not isinstance(name, str) or name not in KINDS:
        raise PellucidError(f"no node of the kind {shown(name)}: there are {', '.join(KINDS)}")
    kind: type[Node] = KINDS[name]
    attributes: dict[str, Any] = {}
    for key, value in rest.items():
        if key not in {field.name for field in fields(kind)}:
            raise PellucidError(f"a {name} has no attribute {shown(key)}")
        attributes[key] = _attribute(key, value, matrices)
    return kind(**attributes)


def _attribute(key: str, value: Any, matrices: list[Matrix]) -> Any:
    if key == "children":
        return tuple(_node(child, matrices) for child in value)
    if key == "d":
        return tuple(map(tuple, value))
    if key == "shows":
        return Shows(value["chunk"], tuple(value["index"]), value["step"], value["truth"])
    if isinstance(value, dict) and "keys" in value:
        points = ((t, _attribute(key, point, matrices), ease) for t, point, ease in value["keys"])
        return Keyframes(*points)
    if isinstance(value, dict):
        return Gradient(tuple(value["gradient"]), value["angle"])
    if key == "matrix":
        return matrices[value]
    return tuple(value) if key == "dash" else value
