"""Outlines of the characters that the bundled fonts hold, and the byte box that is drawn for what no font holds.

Two families, `sans` (Inter) and `mono` (JetBrains Mono), each in weight 400 and 600. A character that one family lacks is
taken from the other. The third font, Noto Sans SC, holds Chinese, Japanese kana and their punctuation in one weight; it is
read when the first such character is measured. Lengths are in thousandths of the size of the text (the em), y upwards.
"""

from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.resources import files
from math import floor
from unicodedata import category

from pellucid.draw.film.truetype import Contour, Face, path_of, read_face
from pellucid.errors import PellucidError


FILES = {
    ("sans", 400): "Inter-Regular.ttf",
    ("sans", 600): "Inter-SemiBold.ttf",
    ("mono", 400): "JetBrainsMono-Regular.ttf",
    ("mono", 600): "JetBrainsMono-SemiBold.ttf",
}
CHINESE_FILE = "NotoSansSC-Regular.ttf"
FAMILIES = ("sans", "mono")
WEIGHTS = (400, 600)
REPLACEMENT = "\ufffd"
BLANK_ADVANCE = 500  # of a space that no font holds
MARGIN, FRAME, PAD = 50, 40, 40  # of a byte box: around its frame, of the frame's line, between frame and digits
DIGITS, BYTE_GAP = 0.46, 130  # the size of its digits, of the text's; and the gap between two bytes
ROWS = (415, -45)  # the baselines of its two rows
NARROW_BOX, WIDE_BOX = 820, 1500  # room for two bytes, and for four

Glyph = tuple[int, tuple[Contour, ...]]  # advance, contours


@cache
def face(family: str, weight: int) -> Face:
    """A bundled font. Raises PellucidError for a family or weight that is not bundled."""
    if (family, weight) not in FILES:
        raise PellucidError(f"no font {family} {weight}: families are {', '.join(FAMILIES)}, weights 400 and 600")
    return _read(FILES[family, weight])


@cache
def chinese_face() -> Face:
    """The subset of Noto Sans SC."""
    return _read(CHINESE_FILE)


def _read(name: str) -> Face:
    return read_face(files("pellucid.draw").joinpath("fonts", name).read_bytes())


@cache
def outlined() -> frozenset[str]:
    """The characters that are drawn as outlines in every family and weight."""
    return frozenset({REPLACEMENT}.union(*(face(family, 400).characters for family in FAMILIES)))


def is_blank(character: str) -> bool:
    """Whether a character is a space of any width."""
    return category(character) == "Zs"


@cache
def advance(key: str, family: str = "sans", weight: int = 400) -> int:
    """The width of what `glyph` draws, in thousandths of the size."""
    for found in _faces(family, weight):
        if (number := found.characters.get(key)) is not None:
            return found.advances[number]
    return glyph(key, family, weight)[0]


@lru_cache(maxsize=8192)
def glyph(key: str, family: str = "sans", weight: int = 400) -> Glyph:
    """The advance and outlines of a character; where the two families lack it, of the byte box that stands for it.

    Args:
        key: a character, or several that one byte box stands for.
    """
    for found in _faces(family, weight):
        if (number := found.characters.get(key)) is not None:
            return found.advances[number], found.contours(number)
    if key == REPLACEMENT:
        return _replacement(weight)
    if len(key) == 1 and is_blank(key):
        return BLANK_ADVANCE, ()
    return box_advance(key), byte_box(key, box_advance(key), weight)


def _faces(family: str, weight: int) -> tuple[Face, Face]:
    return face(family, weight), face("mono" if family == "sans" else "sans", weight)


@lru_cache(maxsize=8192)
def path(key: str, family: str = "sans", weight: int = 400) -> str:
    """What `glyph` draws as SVG path data in whole units, y upwards; "" for a space."""
    return path_data(glyph(key, family, weight)[1])


@lru_cache(maxsize=8192)
def chinese_path(character: str) -> str:
    """The outlines of a character of Noto Sans SC as SVG path data."""
    found = chinese_face()
    return path_data(found.contours(found.characters[character]))


def path_data(contours: tuple[Contour, ...]) -> str:
    """Contours as SVG path data."""
    return "".join(map(path_of, contours))


def box_advance(text: str) -> int:
    """The least width of the byte box of a text: four bytes have room in it, or all where there are fewer."""
    return NARROW_BOX if len(_bytes(text)) <= 2 else WIDE_BOX


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def byte_box(text: str, width: int, weight: int = 400) -> tuple[Contour, ...]:
    """A frame as wide as `width` with the UTF-8 bytes of a text in two rows of hexadecimal digits.

    Bytes that have no room are cut, with an ellipsis in the place of the last.
    """
    data = _bytes(text)
    inside = width - 2 * (MARGIN + FRAME + PAD)
    digit = advance("0", "mono", weight) * DIGITS
    most = 2 * max(1, floor((inside + BYTE_GAP) / (2 * digit + BYTE_GAP)))
    words = [f"{byte:02X}" for byte in data[:most]]
    if len(data) > most:
        words[-1] = "…"
    half = (len(words) + 1) // 2
    return (*_frame(width), *_row(words[:half], width, ROWS[0], weight), *_row(words[half:], width, ROWS[1], weight))


def _frame(width: int) -> Iterator[Contour]:
    left, right, bottom, top = MARGIN, width - MARGIN, -140, 810
    yield [(left, bottom, True), (left, top, True), (right, top, True), (right, bottom, True)]
    yield [  # the hole runs the other way round
        (left + FRAME, bottom + FRAME, True), (right - FRAME, bottom + FRAME, True),
        (right - FRAME, top - FRAME, True), (left + FRAME, top - FRAME, True),
    ]  # fmt: skip


def _row(words: list[str], width: int, y: int, weight: int) -> Iterator[Contour]:
    """Bytes side by side in the middle of a byte box."""
    digit = advance("0", "mono", weight) * DIGITS
    x = (width - len(words) * (2 * digit + BYTE_GAP) + BYTE_GAP) / 2
    for word in words:
        start = x + (2 - len(word)) * digit / 2
        for i, character in enumerate(word):
            yield from moved(glyph(character, "mono", weight)[1], start + i * digit, y, DIGITS)
        x += 2 * digit + BYTE_GAP


def moved(contours: tuple[Contour, ...], x: float, y: float, scale: float) -> Iterator[Contour]:
    """Contours elsewhere and in another size, in whole units."""
    for contour in contours:
        yield [(floor(x + px * scale + 0.5), floor(y + py * scale + 0.5), on) for px, py, on in contour]


def _replacement(weight: int) -> Glyph:
    """U+FFFD, which stands for bytes that are no text: a diamond with a question mark cut out of it."""
    mark = glyph("?", "sans", weight)
    diamond: Contour = [(0, 350, True), (450, 800, True), (900, 350, True), (450, -100, True)]
    holes = (contour[::-1] for contour in moved(mark[1], 450 - mark[0] * 0.4, 350 - 0.4 * 730, 0.8))
    return 900, (diamond, *holes)
