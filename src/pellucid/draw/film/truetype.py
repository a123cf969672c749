"""TrueType files as a few lines can read them: advances, outlines, the character map.

The files are those that `tools/fonts.py` writes: no composite glyphs, `cmap` format 4 only (Microsoft's OpenType
specification). Lengths are in font units, y upwards.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass


EM = 1000  # units to the em in every bundled file

# A contour is a list of (x, y, on the curve?) that closes on itself.
Contour = list[tuple[int, int, bool]]


@dataclass(frozen=True, slots=True)
class Face:
    """One font file, read."""

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


def read_face(content: bytes) -> Face:
    """Reads a font file."""
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


def path_of(contour: Contour) -> str:
    """One contour as SVG path data, in relative commands; between two points off the curve lies one on it, half-way."""
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
