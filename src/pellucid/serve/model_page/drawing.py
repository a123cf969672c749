"""What a page draws figures with: the outlines of its fonts, facts of other characters, palettes, and a document for films."""

from functools import cache
from unicodedata import east_asian_width

from pellucid.draw.backends.html import template
from pellucid.draw.film import palette
from pellucid.draw.film.glyphs import DIGITS, FAMILIES, WEIGHTS, advance, chinese_face, glyph, moved, outlined, path, path_data
from pellucid.draw.film.truetype import EM
from pellucid.serve.page_wire import PageDigits, PageDrawing


BYTE_DIGITS = "0123456789ABCDEF…"  # of which byte boxes are made
PALETTES = ("sequential", "diverging", "grey")  # of the figures that a page draws


@cache
def page_drawing() -> PageDrawing:
    """As `studio/src/draw/` reads it."""
    faces = [(family, weight) for family in FAMILIES for weight in WEIGHTS]
    characters = sorted(outlined())
    return PageDrawing(
        em=EM,
        glyphs={
            f"{family}-{weight}": {key: (advance(key, family, weight), path(key, family, weight)) for key in characters}
            for family, weight in faces
        },
        digits={f"mono-{weight}": _digits(weight) for weight in WEIGHTS},
        chinese="".join(sorted(key for key in chinese_face().characters if key >= "\u2000")),
        wide=[list(one) for one in _wide()],
        palettes={name: palette.table_bytes(name).hex() for name in PALETTES},
        film_page=template(),
    )


def _digits(weight: int) -> PageDigits:
    """The digits of byte boxes, in their size."""
    paths = {digit: path_data(tuple(moved(glyph(digit, "mono", weight)[1], 0, 0, DIGITS))) for digit in BYTE_DIGITS}
    return PageDigits(advance=advance("0", "mono", weight) * DIGITS, paths=paths)


def _wide() -> list[tuple[int, int]]:
    """The ranges of characters that are as wide as two letters (East_Asian_Width W and F)."""
    found: list[tuple[int, int]] = []
    for code in range(0x110000):
        if east_asian_width(chr(code)) not in "WF":
            continue
        if found and found[-1][1] == code - 1:
            found[-1] = (found[-1][0], code)
        else:
            found.append((code, code))
    return found
