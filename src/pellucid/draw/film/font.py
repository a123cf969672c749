"""Text widths and glyph outlines from the bundled fonts: the same on every machine.

Two families, `sans` (Inter) and `mono` (JetBrains Mono), each in weight 400 and 600. A text's width is the sum of its
characters' advances: no kerning, no ligatures, no shaping (`tools/fonts.py` took those tables out of the files).
A character that the family lacks is taken from the other one; one that both lack (Chinese, emoji, control characters)
is a box as wide as the size of the text that holds its code point in hexadecimal, so that nothing is hidden and nothing
overlaps. Lengths in the font are in thousandths of the size of the text (the em), y upwards.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import floor

from pellucid.errors import PellucidError


EM = 1000  # units to the em in every bundled file
FILES = {
    ("sans", 400): "Inter-Regular.ttf",
    ("sans", 600): "Inter-SemiBold.ttf",
    ("mono", 400): "JetBrainsMono-Regular.ttf",
    ("mono", 600): "JetBrainsMono-SemiBold.ttf",
}
FAMILIES = ("sans", "mono")
WEIGHTS = (400, 600)
ELLIPSIS = "…"
CAP_HEIGHT = 0.73  # of the size: what a line of text takes above its baseline, for centring it in a box
BOX_ADVANCE = EM

# A contour is a list of (x, y, on the curve?) that closes on itself; a glyph is a list of contours.
Contour = list[tuple[int, int, bool]]
Glyph = tuple[int, tuple[Contour, ...]]  # advance, contours


@dataclass(frozen=True, slots=True)
class Face:
    """One font file, read: TrueType without composite glyphs, `cmap` format 4 (Microsoft's OpenType specification)."""

    advances: tuple[int, ...]
    offsets: tuple[int, ...]
    outlines: bytes
    characters: dict[str, int]

    def contours(self, glyph: int) -> tuple[Contour, ...]:
        """The outlines of a glyph (chapter `glyf`)."""
        data = self.outlines[self.offsets[glyph] : self.offsets[glyph + 1]]
        if not data:
            return ()
        (count,) = struct.unpack_from(">h", data)
        assert count >= 0, "composite glyph: tools/fonts.py leaves none"
        ends = struct.unpack_from(f">{count}H", data, 10)
        (instructions,) = struct.unpack_from(">H", data, 10 + 2 * count)
        at = 12 + 2 * count + instructions
        total = ends[-1] + 1 if ends else 0
        flags: list[int] = []
        while len(flags) < total:
            flag, at = data[at], at + 1
            repeats = data[at] if flag & 8 else 0
            at += bool(flag & 8)
            flags += [flag] * (repeats + 1)
        xs, at = _coordinates(data, at, flags, short=2, same=16)
        ys, at = _coordinates(data, at, flags, short=4, same=32)
        points = [(x, y, bool(flag & 1)) for x, y, flag in zip(xs, ys, flags, strict=True)]
        starts = [0, *(end + 1 for end in ends[:-1])]
        return tuple(points[start : end + 1] for start, end in zip(starts, ends, strict=True))


def _coordinates(data: bytes, at: int, flags: list[int], *, short: int, same: int) -> tuple[list[int], int]:
    values, value = [], 0
    for flag in flags:
        if flag & short:
            value, at = value + (data[at] if flag & same else -data[at]), at + 1
        elif not flag & same:
            value, at = value + int.from_bytes(data[at : at + 2], "big", signed=True), at + 2
        values.append(value)
    return values, at


@cache
def face(family: str, weight: int) -> Face:
    """A bundled font. Raises PellucidError for a family or weight that is not bundled."""
    if (family, weight) not in FILES:
        raise PellucidError(f"no font {family} {weight}: families are {', '.join(FAMILIES)}, weights 400 and 600")
    content = files("pellucid.draw").joinpath("fonts", FILES[family, weight]).read_bytes()
    tables = {}
    for number in range(struct.unpack_from(">H", content, 4)[0]):
        tag, _, offset, length = struct.unpack_from(">4sIII", content, 12 + 16 * number)
        tables[tag.decode("ascii")] = content[offset : offset + length]
    units, long_offsets = struct.unpack_from(">H", tables["head"], 18)[0], struct.unpack_from(">h", tables["head"], 50)[0]
    assert units == EM
    (glyphs,) = struct.unpack_from(">H", tables["maxp"], 4)
    (metrics,) = struct.unpack_from(">H", tables["hhea"], 34)
    own = [advance for advance, _ in struct.iter_unpack(">Hh", tables["hmtx"][: 4 * metrics])]
    offsets = struct.unpack_from(f">{glyphs + 1}{'I' if long_offsets else 'H'}", tables["loca"])
    return Face(
        advances=tuple(own + own[-1:] * (glyphs - metrics)),
        offsets=offsets if long_offsets else tuple(2 * offset for offset in offsets),
        outlines=tables["glyf"],
        characters=dict(_characters(tables["cmap"])),
    )


def _characters(table: bytes) -> Iterator[tuple[str, int]]:
    """Character -> glyph number, from the one format 4 subtable."""
    (offset,) = struct.unpack_from(">I", table, 8)
    data = table[offset:]
    kind, _, _, doubled = struct.unpack_from(">4H", data)
    assert kind == 4
    count = doubled // 2
    ends = struct.unpack_from(f">{count}H", data, 14)
    starts = struct.unpack_from(f">{count}H", data, 16 + 2 * count)
    deltas = struct.unpack_from(f">{count}H", data, 16 + 4 * count)
    ranges_at = 16 + 6 * count
    ranges = struct.unpack_from(f">{count}H", data, ranges_at)
    for i in range(count):
        for code in range(starts[i], min(ends[i], 0xFFFE) + 1):
            glyph = code
            if ranges[i]:
                (glyph,) = struct.unpack_from(">H", data, ranges_at + 2 * i + ranges[i] + 2 * (code - starts[i]))
            if not ranges[i] or glyph:
                yield chr(code), (glyph + deltas[i]) % 65536


def _families(family: str) -> tuple[str, str]:
    return (family, "mono" if family == "sans" else "sans")


@cache
def advance(character: str, family: str = "sans", weight: int = 400) -> int:
    """The width of one character in thousandths of the size."""
    for name in _families(family):
        found = face(name, weight)
        if (glyph := found.characters.get(character)) is not None:
            return found.advances[glyph]
    return BOX_ADVANCE


@cache
def glyph(character: str, family: str = "sans", weight: int = 400) -> Glyph:
    """The advance and outlines of one character, or of the box that stands for it."""
    for name in _families(family):
        found = face(name, weight)
        if (number := found.characters.get(character)) is not None:
            return found.advances[number], found.contours(number)
    return BOX_ADVANCE, tuple(_box(character, weight))


def _box(character: str, weight: int) -> Iterator[Contour]:
    """A frame with the code point in two rows of two or three hexadecimal digits."""
    left, right, bottom, top, line = 70, 930, -120, 800, 45
    yield [(left, bottom, True), (left, top, True), (right, top, True), (right, bottom, True)]
    yield [  # the hole runs the other way round
        (left + line, bottom + line, True), (right - line, bottom + line, True),
        (right - line, top - line, True), (left + line, top - line, True),
    ]  # fmt: skip
    code = f"{ord(character):04X}"
    code = code if len(code) == 4 else code.zfill(6)
    half, scale = len(code) // 2, 0.5 if len(code) == 4 else 0.42
    for row, digits in enumerate((code[:half], code[half:])):
        wide = sum(advance(digit, "mono", weight) for digit in digits) * scale
        x, y = (left + right - wide) / 2, (400, -30)[row]
        for digit in digits:
            width, contours = glyph(digit, "mono", weight)
            for contour in contours:
                yield [(floor(x + px * scale + 0.5), floor(y + py * scale + 0.5), on) for px, py, on in contour]
            x += width * scale


@cache
def path(character: str, family: str = "sans", weight: int = 400) -> str:
    """The outlines of one character as SVG path data in whole units, y upwards; "" for a space."""
    return "".join(_path_of(contour) for contour in glyph(character, family, weight)[1])


def _path_of(contour: Contour) -> str:
    """One contour as relative commands. Between two points off the curve lies one on it, half-way (TrueType's rule)."""
    first = next((i for i, point in enumerate(contour) if point[2]), None)
    if first is None:  # no point on the curve: it starts half-way between two that are not
        (ax, ay, _), (bx, by, _) = contour[-1], contour[0]
        contour, first = [((ax + bx) // 2, (ay + by) // 2, True), *contour], 0
    points = contour[first:] + contour[: first + 1]
    x, y = points[0][0], points[0][1]
    parts, control = [f"M{x} {y}"], None
    for px, py, on in points[1:]:
        if control is not None:
            ex, ey = (px, py) if on else ((control[0] + px) // 2, (control[1] + py) // 2)
            parts.append(f"q{_pair(control[0] - x, control[1] - y)}{_joined(ex - x)}{_joined(ey - y)}")
            x, y, control = ex, ey, None if on else (px, py)
        elif not on:
            control = (px, py)
        elif py == y:
            parts.append(f"h{px - x}")
            x = px
        elif px == x:
            parts.append(f"v{py - y}")
            y = py
        else:
            parts.append(f"l{_pair(px - x, py - y)}")
            x, y = px, py
    return "".join(parts) + "z"


def _joined(number: int) -> str:
    return str(number) if number < 0 else f" {number}"


def _pair(x: int, y: int) -> str:
    return f"{x}{_joined(y)}"


def text_width(string: str, size: float, family: str = "sans", weight: int = 400) -> float:
    """The width of a text, in the unit of `size`."""
    return sum(advance(character, family, weight) for character in string) * size / EM


def fit(string: str, width: float, size: float, family: str = "sans", weight: int = 400) -> str:
    """The text, or as much of its start as fits `width` with an ellipsis; "" where not even the ellipsis fits."""
    used = whole = 0  # characters that fit: a long text must not be measured again for each shorter one
    for character in string:
        used += advance(character, family, weight)
        if used * size / EM > width:
            break
        whole += 1
    else:
        return string
    for length in range(whole, -1, -1):
        shorter = string[:length].rstrip() + ELLIPSIS
        if text_width(shorter, size, family, weight) <= width:
            return shorter
    return ""


def wrap(
    string: str, width: float, size: float, family: str = "sans", weight: int = 400, *, lines: int | None = None
) -> list[str]:
    """The text in lines no wider than `width`, broken at spaces, or inside a word that alone is too wide.

    Args:
        lines: the most lines there may be; the last one then ends with an ellipsis where text is left over.

    Raises:
        PellucidError: a width that does not hold one character.
    """
    done: list[str] = []
    rest = " ".join(string.split())
    while rest:
        if lines is not None and len(done) == lines - 1:
            return [*done, fit(rest, width, size, family, weight)]
        end, used = 0, 0
        while end < len(rest) and (used := used + advance(rest[end], family, weight)) * size / EM <= width:
            end += 1
        if end == 0:
            raise PellucidError(f"a width of {width} holds no character of size {size}: ask for more width or a smaller size")
        if end < len(rest) and rest[end] != " " and " " in rest[:end]:
            end = rest.rindex(" ", 0, end)
        done.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return done
