"""A film's picture as SVG text: the same bytes on every machine.

Letters are outlines from the bundled fonts, and look the same in every viewer. What those fonts lack is text that the reader's
fonts draw in the width that the layout has for it (`film.text_runs`), or, for a renderer without fonts, outlines of Noto Sans
SC and byte boxes. Matrices are PNGs written by `png`, numbers have two decimals at most. `<title>` and `<desc>` describe the
picture; a mark that shows a number of a record names it in `data-shows` and in its tooltip.
"""

import base64
import re
from collections.abc import Sequence
from math import ceil
from typing import Any

from pellucid.draw.backends import png
from pellucid.draw.film.film import Film
from pellucid.draw.film.font import wrap
from pellucid.draw.film.glyphs import byte_box, chinese_path, path, path_data
from pellucid.draw.film.keyframes import rounded, text_of
from pellucid.draw.film.palette import INK, LINE, PANEL
from pellucid.draw.film.resolve import Primitive
from pellucid.draw.film.text_runs import TextRun, text_runs
from pellucid.draw.film.truetype import EM
from pellucid.languages import tr


UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 cannot hold
CORNERS = {0: (1, 0), 45: (1, 1), 90: (0, 1)}  # where a gradient of each angle ends, in its shape's box
LEADING = 1.35
EDGE = 36  # of a heavier Chinese character, in thousandths of the size
# The reader's fonts: the system's, then those for Chinese of macOS, Windows, Linux and Android, then emoji; as in the player.
FONTS = (
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'PingFang SC', 'Hiragino Sans GB', 'Microsoft YaHei', "
    "'Noto Sans SC', 'Noto Sans CJK SC', 'Source Han Sans SC', 'WenQuanYi Micro Hei', 'Droid Sans Fallback', "
    "'Apple Color Emoji', 'Segoe UI Emoji', 'Noto Color Emoji', sans-serif"
)


def escaped(text: str) -> str:
    """Text for XML: no markup, and no character that XML 1.0 cannot hold."""
    text = UNPRINTABLE.sub("\ufffd", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def fine(value: float) -> str:
    """A number that is not a length: five decimals at most."""
    return f"{value:.5f}".rstrip("0").rstrip(".")


class Drawing:
    """Turns primitives into SVG elements and keeps what they refer to: letters, matrices, gradients, clips.

    Args:
        prefix: begins every id, so that several drawings can stand in one page.
        reader_fonts: whether the SVG is shown where there are fonts; else every character is an outline.
    """

    def __init__(self, film: Film, prefix: str = "", *, reader_fonts: bool = True) -> None:
        self.film = film
        self.prefix = prefix
        self.reader_fonts = reader_fonts
        self._definitions: dict[str, tuple[str, str]] = {}  # what is defined -> (id, element)

    def definitions(self) -> str:
        """The `<defs>` of everything drawn so far."""
        inside = "".join(element for _, element in self._definitions.values())
        return f"<defs>{inside}</defs>" if inside else ""

    def _define(self, kind: str, what: str, element: str) -> str:
        """The id of a definition, which is made once. `element` has `ID` in the place of its id."""
        key = f"{kind} {what}"
        if key not in self._definitions:
            number = sum(known.startswith(f"{kind} ") for known in self._definitions)
            name = f"{self.prefix}{kind}{number}"
            self._definitions[key] = (name, element.replace("ID", name, 1))
        return self._definitions[key][0]

    def element(self, primitive: Primitive) -> str:
        """One primitive as an SVG element."""
        tag, attributes, inside = getattr(self, f"_{primitive['kind']}")(primitive)
        if primitive["opacity"] < 1:
            attributes += f' opacity="{text_of(primitive["opacity"])}"'
        about, title = "", list[str]()
        if primitive["id"]:
            about += f' data-id="{escaped(primitive["id"])}"'
        if primitive["label"]:
            title.append(primitive["label"])
        if shows := primitive["shows"]:
            index = f"[{','.join(map(str, shows['index']))}]" if shows["index"] else ""
            step = "" if shows["step"] is None else f" step {shows['step']}"
            title.append(f"{shows['chunk']}{index}{step}, {shows['truth']}")
            about += f' data-shows="{escaped(title[-1])}"'
        if primitive["clip"] is not None:  # what is clipped stands in a group, which then says what it is
            drawn = f"<{tag}{attributes}>{inside}</{tag}>" if inside else f"<{tag}{attributes}/>"
            x, y, w, h = map(text_of, primitive["clip"])
            shape = f'<clipPath id="ID"><rect x="{x}" y="{y}" width="{w}" height="{h}"/></clipPath>'
            tag, attributes, inside = "g", f' clip-path="url(#{self._define("c", shape, shape)})"', drawn
        if title:
            inside = f"<title>{escaped(chr(10).join(title))}</title>{inside}"
        return f"<{tag}{attributes}{about}>{inside}</{tag}>" if inside else f"<{tag}{attributes}{about}/>"

    def _paint(self, primitive: Primitive) -> str:
        fill, stroke = primitive["fill"], primitive["stroke"]
        if isinstance(fill, dict):
            x, y = CORNERS[fill["angle"]]
            last = len(fill["gradient"]) - 1
            stops = "".join(f'<stop offset="{fine(i / last)}" stop-color="{c}"/>' for i, c in enumerate(fill["gradient"]))
            shape = f'<linearGradient id="ID" x1="0" y1="0" x2="{x}" y2="{y}">{stops}</linearGradient>'
            fill = f"url(#{self._define('g', shape, shape)})"
        painted = f' fill="{fill or "none"}"'
        if stroke is None:
            return painted if fill else f'{painted} pointer-events="all"'
        painted += f' stroke="{stroke}"'
        if primitive["stroke_width"] != 1:
            painted += f' stroke-width="{text_of(primitive["stroke_width"])}"'
        if primitive["dash"]:
            painted += f' stroke-dasharray="{" ".join(map(text_of, primitive["dash"]))}"'
        return painted

    def _rect(self, primitive: Primitive) -> tuple[str, str, str]:
        x, y, w, h, rx = (text_of(primitive[name]) for name in ("x", "y", "w", "h", "rx"))
        corner = f' rx="{rx}"' if primitive["rx"] else ""
        return "rect", f' x="{x}" y="{y}" width="{w}" height="{h}"{corner}{self._paint(primitive)}', ""

    def _path(self, primitive: Primitive) -> tuple[str, str, str]:
        d, last = "", ""
        for name, *numbers in primitive["d"]:
            pairs = " ".join(map(text_of, numbers)).replace(" -", "-")
            # After a move or a line, further pairs are lines without their letter (SVG 2, 9.3.3 and 9.3.4).
            again = name == "L" and last in ("M", "L")
            d += ("" if pairs.startswith("-") else " ") + pairs if again else name + pairs
            last = name
        joins = ' stroke-linejoin="round" stroke-linecap="round"' if primitive["stroke"] and not primitive["dash"] else ""
        return "path", f' d="{d}"{self._paint(primitive)}{joins}', ""

    def _image(self, primitive: Primitive) -> tuple[str, str, str]:
        number, palette = primitive["matrix"], primitive["palette"]
        content = base64.b64encode(png.encode(self.film.matrices[number], palette)).decode("ascii")
        shape = (
            '<image id="ID" width="1" height="1" preserveAspectRatio="none" image-rendering="optimizeSpeed" '
            f'style="image-rendering:pixelated" href="data:image/png;base64,{content}"/>'
        )
        name = self._define("i", f"{number} {palette}", shape)
        x, y, w, h = (text_of(primitive[key]) for key in ("x", "y", "w", "h"))
        return "g", "", f'<use href="#{name}" transform="translate({x} {y})scale({w} {h})"/>'

    def _text(self, primitive: Primitive) -> tuple[str, str, str]:
        string, family, weight, size = (primitive[name] for name in ("string", "family", "weight", "size"))
        runs = text_runs(string, family, weight)
        left = text_left(primitive, runs)
        scale = fine(size / EM)
        letters, texts, at = "", "", 0
        for run in runs:
            if not run.length:
                letters += self._letter(f"{family} {weight} {run.text}", path(run.text, family, weight), at)
            elif self.reader_fonts:
                texts += _reader_text(primitive, run, left, at)
            elif run.chinese:
                drawn = (self._letter(f"chinese {c}", chinese_path(c), at + i * EM) for i, c in enumerate(run.text))
                letters += _bolder("".join(drawn), primitive)
            else:
                box = path_data(byte_box(run.text, run.advance, weight))
                letters += self._letter(f"bytes {weight} {run.text}", box, at)
            at += run.advance
        place = f'transform="translate({text_of(rounded(left))} {text_of(primitive["y"])})scale({scale} -{scale})"'
        outlines = f"<g {place}>{letters}</g>" if letters or not texts else ""
        return "g", f' fill="{primitive["fill"]}" data-text="{escaped(string)}"', outlines + texts

    def _letter(self, what: str, outline: str, at: int) -> str:
        """A reference to an outline, which is defined once; "" for a space."""
        if not outline:
            return ""
        name = self._define("t", what, f'<path id="ID" d="{outline}"/>')
        return f'<use href="#{name}" x="{at}"/>' if at else f'<use href="#{name}"/>'


def _bolder(letters: str, primitive: Primitive) -> str:
    """Outlines of the font that has one weight: for a heavier text their edges are drawn too."""
    if primitive["weight"] == 400:
        return letters
    return f'<g stroke="{primitive["fill"]}" stroke-width="{EDGE}">{letters}</g>'


def text_left(primitive: Primitive, runs: Sequence[TextRun]) -> float:
    """Where a text begins."""
    width = sum(run.advance for run in runs) * primitive["size"] / EM
    return float(primitive["x"] - {"start": 0.0, "middle": width / 2, "end": width}[primitive["anchor"]])


def reader_place(primitive: Primitive, run: TextRun, left: float, at: int) -> tuple[float, float]:
    """The middle and the width of a run that the reader's fonts draw. at: where it begins, in thousandths of the size."""
    size = primitive["size"]
    return rounded(left + (at + run.advance / 2) * size / EM), rounded(run.length * size / EM)


def _reader_text(primitive: Primitive, run: TextRun, left: float, at: int) -> str:
    middle, width = map(text_of, reader_place(primitive, run, left, at))
    # 700: where a font has no weight 600, browsers draw it bold from 700 on.
    weight = ' font-weight="700"' if primitive["weight"] != 400 else ""
    direction = "rtl" if run.right_to_left else "ltr"
    return (
        f'<text x="{middle}" y="{text_of(primitive["y"])}" font-size="{text_of(primitive["size"])}"{weight} '
        f'text-anchor="middle" textLength="{width}" lengthAdjust="spacingAndGlyphs" direction="{direction}" '
        f'unicode-bidi="isolate">{escaped(run.text)}</text>'
    )


def caption_band(film: Film) -> tuple[float, int, float]:
    """The band of captions below a picture: (its height, the most lines, size of the text); all 0 without captions."""
    if not film.captions:
        return 0.0, 0, 0.0
    size = max(14.0, film.width / 50)
    most = max(len(_lines(caption.text, film.width, size)) for caption in film.captions)
    return float(ceil((most * LEADING + 0.9) * size)), most, size


def _lines(text: str, width: float, size: float) -> list[str]:
    return wrap(text, width - 2 * size, size)


def caption_primitives(film: Film, t: float) -> list[Primitive]:
    """The band below the picture with the caption at t seconds."""
    height, _, size = caption_band(film)
    if not height:
        return []
    common: dict[str, Any] = {"opacity": 1.0, "clip": None, "node": -1, "id": "", "label": "", "shows": None}
    plain: dict[str, Any] = {"rx": 0.0, "stroke": None, "stroke_width": 1.0, "dash": []}
    band = {"kind": "rect", "x": 0.0, "y": film.height, "w": film.width, "h": height, "fill": PANEL, **plain, **common}
    rule = {"kind": "rect", "x": 0.0, "y": film.height, "w": film.width, "h": 1.0, "fill": LINE, **plain, **common}
    words = {"kind": "text", "size": rounded(size), "weight": 400, "family": "sans", "anchor": "middle", "fill": INK, **common}
    lines = _lines(film.caption_at(t), film.width, size)
    top = film.height + (height - len(lines) * LEADING * size) / 2
    return [
        band,
        rule,
        *(
            {**words, "x": rounded(film.width / 2), "y": rounded(top + (i * LEADING + 1.02) * size), "string": line}
            for i, line in enumerate(lines)
        ),
    ]


def description(film: Film) -> str:
    """What a picture of the film says in words: its alt text and what is simplified."""
    return "\n".join([film.alt or film.title, *simplified(film)])


def simplified(film: Film) -> list[str]:
    """The notes of a film, each said to be one."""
    return [tr("Simplified: {note}", note=note) for note in film.notes]


def root(film: Film, height: float, inside: str, prefix: str = "") -> str:
    """The `<svg>` element around what is drawn."""
    width, tall = text_of(film.width), text_of(height)
    fonts = f' font-family="{FONTS}"' if "<text " in inside else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg"{fonts} width="{width}" height="{tall}" viewBox="0 0 {width} {tall}" '
        f'role="img" aria-labelledby="{prefix}title {prefix}desc"><title id="{prefix}title">{escaped(film.title)}</title>'
        f'<desc id="{prefix}desc">{escaped(description(film))}</desc>{inside}</svg>'
    )


def background(film: Film, height: float) -> str:
    """The rectangle behind the picture."""
    return f'<rect width="{text_of(film.width)}" height="{text_of(height)}" fill="{film.background}"/>'


def still(film: Film, t: float | None = None, *, captions: bool = False, prefix: str = "", reader_fonts: bool = True) -> str:
    """The picture at t seconds (by default the film's last still) as an SVG document.

    Args:
        captions: whether the caption is drawn in a band below the picture. prefix: of every id.
        reader_fonts: whether the SVG is shown where there are fonts; else every character is an outline.
    """
    t = film.stills()[-1] if t is None else t
    drawing = Drawing(film, prefix, reader_fonts=reader_fonts)
    primitives: Sequence[Primitive] = film.at(t) + (caption_primitives(film, t) if captions else [])
    height = film.height + (caption_band(film)[0] if captions else 0)
    elements = "\n".join(map(drawing.element, primitives))
    return root(film, height, f"{drawing.definitions()}{background(film, height)}\n{elements}\n", prefix) + "\n"
