"""tests/golden/: what Python computes of some films and texts; TypeScript is tested against it.

film_at.json holds display lists of films at some times, text_layout.json where the outlines and runs of some texts stand.

    python tools/golden_films.py            recomputes every list, and adds the cases that are not there yet
    python tools/golden_films.py --check    exit 1 if a file would change

Read the lists before committing them: what changes here changes in every player.
"""

import argparse
import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from pellucid.draw import Caption, Clip, Film, FilmSegment, Gradient, Group, Image, Keyframes, Matrix, Node, Rect, Shows, Text
from pellucid.draw import Path as Line
from pellucid.draw.backends.svg import FONTS, reader_place, text_left
from pellucid.draw.film.glyphs import path
from pellucid.draw.film.keyframes import rounded
from pellucid.draw.film.text_runs import text_runs
from pellucid.draw.film.truetype import EM


GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"
FILMS, TEXTS = "film_at.json", "text_layout.json"
WHOLE = (FilmSegment("all", 0.0, 10.0, ((9.0, 10.0),)),)


def case(name: str, times: tuple[float, ...], *nodes: Node, **rest: Any) -> dict[str, Any]:
    """A case without its lists."""
    film = Film(**{"title": name, "width": 200, "height": 100, "segments": WHOLE, "nodes": nodes, **rest})
    return {"name": name, "film": json.loads(film.to_json()), "at": [{"t": t} for t in times], "max_frames": 48}


def cases() -> list[dict[str, Any]]:
    """Rules that the first cases of the file leave open."""
    box = Rect(0, 0, 10, 10, fill="#000000")
    loop = (("M", 0, 0), ("L", 8, 0), ("L", 8, 6), ("Z",), ("L", 3, 4), ("M", 5, 5), ("M", 20, 0), ("L", 20, 10))
    given, derived = Shows("prompt", (), None, "given"), Shows("lens", (0, 11, 4), 7)
    measured, replayed = Shows("timings", (3,), 0, "measured"), Shows("weights", (), 100, "replayed")
    weights = [Matrix.of([[row * 3 + column + step for column in range(3)] for row in range(2)]) for step in (0, 100, 200)]
    return [
        case(
            "moves one after the other", (0, 0.5, 1, 1.1, 2.2, 2.999, 3, 3.3, 7 / 3, 8.7, 10),
            Rect(
                Keyframes((0.5, 0.1), (1.1, 7.3, "move"), (3, 200.7, "move"), (3.5, -3, "linear")),
                Keyframes((1, 1 / 3, "move"), (1 + 1e-9, 5, "move"), (9, 5.005, "linear")),
                Keyframes((0, 0), (9, 100, "move")), 4, Keyframes((0, 0), (3, 4, "linear")), "#abcdef", "#fedcba",
                Keyframes((0, 0), (3, 3, "move")), opacity=Keyframes((0, 1), (3, 0, "move"), (6, 0.3), (9, 0.8, "linear")),
            ),
        ),
        case(
            "clips in groups in clips", (0, 0.4, 1, 1.7, 2, 5),
            Group((
                Clip((
                    Group((
                        Clip((box, Text(2, 9, "a", 3.3)), Keyframes((0, 0), (2, 30, "linear")), 0.3, 7.7, 20),
                        Image(weights[0], "grey", 1, 1, 3, 2),
                    ), x=1.05, y=0.15, scale=0.7),
                ), 0.1, 0.2, 20, Keyframes((0, 9.99), (1, 0.001, "linear"), (2, 30, "linear")), shows=derived, label="outer"),
            ), x=3.3, y=4.4, scale=Keyframes((0, 1.3), (5, 2.9, "linear"))),
            Clip((box,), 50, 50, 10, 10),
            Clip((Clip((box,), 0, 0, 10, 10),), 10.004, 0, 10, 10),
            Clip((box,), 0, 0, 0.0049, 10),
        ),
        case(
            "groups that fade and shrink to nothing", (0, 1, 1.999, 2, 3),
            Group(
                (box, Group((box,), scale=0)), scale=Keyframes((0, 1), (2, 0, "linear"), (3, 1)),
                label=Keyframes((0, ""), (1, "grown")),
            ),
            Group((box, box), opacity=Keyframes((0, 1), (2, 0, "move"), (3, 0.004))),
            Group((Rect(1, 1, 1, 1, label="own", shows=given), Group((box,), label="inner")), label="outer", shows=measured),
        ),
        case(
            "lines that grow over gaps, corners and closings", (0, 0.5, 1, 2, 3, 4, 4.4, 5, 7.7, 8),
            Line(loop, stroke="#000000", stroke_width=0.7, dash=(0.35, 4), draw=Keyframes((0, 0), (8, 1, "linear"))),
            Line(
                (("M", 0, 0), ("Q", 10, 0, 10, 10), ("C", 10, 20, 30, 0, 30, 30), ("Z",)), Gradient(("#000000", "#ffffff"), 90),
                draw=Keyframes((0, 1), (1, 0.001), (2, 0.3), (3, 0.7, "move"), (5, 1, "linear")),
            ),
            Line((("M", 3, 3), ("L", 3, 3)), stroke="#000000", draw=0.5),
            Group(
                (Line((("M", 0.1, 0.2), ("L", 0.3, 0.7)), stroke=Keyframes((0, "#000000"), (8, "#ffffff", "move")), draw=0.3),),
                x=1 / 3, y=2 / 3, scale=1.1,
            ),
        ),
        case(
            "pictures that change, gradients and truths", (0, 1, 1.5, 2, 9.5),
            Image(
                Keyframes((0, weights[0]), (1, weights[1]), (2, weights[2])), "sequential",
                Keyframes((0, 0), (2, 9, "move")), 0, 30, 20, 0.5,
                label=Keyframes((0, "step 0"), (1, "step 100\nsecond line")), shows=measured,
            ),
            Image(weights[1], "diverging", 50, 0, Keyframes((0, 0), (2, 30, "linear")), 20, shows=replayed),
            Rect(
                0, 0, 9, 9, fill=Gradient(("#000000", "#ffffff"), 0),
                stroke=Keyframes((0, "#000000"), (2, "#ff0000", "linear")),
            ),
            Rect(0, 0, 9, 9, id="hover", label="<img src=x onerror=alert(1)>", shows=given),
        ),
        case(
            "said and shown", (0, 6.5),
            Text(0, 20, Keyframes((0, "{0}"), (6, "&amp; <i>")), 20, anchor="end", family="mono"),
            segments=(FilmSegment("<one>", 0, 6.5, ((1, 2), (6, 6.5))), FilmSegment("two", 6.5, 12, ((7, 8), (8.5, 12)))),
            captions=(Caption(0.5, 2, "First."), Caption(2, 6.5, "<b>Second.</b>"), Caption(7, 12, "Third.")),
        ),
    ]  # fmt: skip


def text() -> str:
    """The file, recomputed."""
    golden = json.loads((GOLDEN / FILMS).read_text(encoding="utf-8"))
    new = {made["name"]: made for made in cases()}
    listed = [new.pop(known["name"], known) for known in golden["cases"]]
    for made in listed + list(new.values()):
        film = Film.from_json(json.dumps(made["film"]))
        made["at"] = [{"t": moment["t"], "list": film.at(moment["t"])} for moment in made["at"]]
        made["frames"] = [[frame.time, frame.duration] for frame in film.frames(made["max_frames"])]
        made["stills"] = film.stills()
        moments = sorted({t for part in (*film.segments, *film.captions) for t in (part.start, part.end)})
        between = [(a + b) / 2 for a, b in pairwise(moments)]
        made["said"] = [[t, film.caption_at(t), film.segment_at(t).name] for t in sorted(moments + between)]
    golden["cases"] = listed + list(new.values())
    lines = ["{", f'"what": {json.dumps(golden["what"])},', '"cases": [']
    rows = [json.dumps(made, separators=(",", ":"), allow_nan=False) for made in golden["cases"]]
    return "\n".join([*lines, ",\n".join(rows), "]}"]) + "\n"


STRINGS = (  # every script and kind of run, alone and among others
    "plain", "你好，世界", "GPT 读了 3 本书。", "مرحبا بالعالم", "a مرحبا، بك b", "שלום", "नमस्ते क्षत्रिय",
    "😀👨‍👩‍👧🇩🇪1️⃣", "한국어", "ひらがな", "cafe\u0301 x\u0301", "\ufffd\x07\u2028\u202e\ud800", "a" + 9 * "\u0301",
    "constructor", "ไทย ế", "\u3000\u2003.",
)  # fmt: skip


def layouts() -> str:
    """The file of text layouts."""
    nodes = tuple(
        Text(10.3 + i, 20 + i, string, 9.7 + i, weight, family, anchor)
        for i, string in enumerate(STRINGS)
        for family, weight, anchor in (("sans", 400, "start"), ("mono", 600, "middle"), ("mono", 400, "end"))
    )
    film = Film("texts", 200, 100, WHOLE, nodes)
    placed = [[primitive, text_layout(primitive)] for primitive in film.at(0)]
    rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in placed)
    what = "texts of a film, each with its outline in font units, and what the reader's fonts draw; tools/golden_films.py"
    parts = {"what": json.dumps(what), "fonts": json.dumps(FONTS), "film": film.to_json(glyphs=True), "texts": f"[\n{rows}]"}
    return "{" + ",\n".join(f'"{name}": {part}' for name, part in parts.items()) + "}\n"


def shifted(d: str, by: int) -> str:
    """Path data whose contours begin with absolute moves, moved to the right."""
    return re.sub(r"M(-?\d+)", lambda move: f"M{int(move[1]) + by}", d)


def text_layout(primitive: dict[str, Any]) -> dict[str, Any]:
    """Where the outlines and runs of a text stand."""
    face = (primitive["family"], primitive["weight"])
    runs = text_runs(primitive["string"], *face)
    left, at, d, texts = text_left(primitive, runs), 0, "", []
    for run in runs:
        if run.length:
            x, length = reader_place(primitive, run, left, at)
            texts.append({"text": run.text, "x": x, "length": length, "rightToLeft": run.right_to_left})
        else:
            d += shifted(path(run.text, *face), at)
        at += run.advance
    return {"left": rounded(left), "width": at * primitive["size"] / EM, "d": d, "texts": texts}


def main() -> int:
    """Writes or checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file would change")
    check = parser.parse_args().check
    for name, new in ((FILMS, text()), (TEXTS, layouts())):
        if check and (GOLDEN / name).read_text(encoding="utf-8") != new:
            print(f"tests/golden/{name} is out of date: python tools/golden_films.py", file=sys.stderr)
            return 1
        if not check:
            (GOLDEN / name).write_text(new, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
