"""Widths of texts, and texts cut or broken to a width: the same on every machine.

A text's width is the sum of the advances of its runs (`text_runs`): no kerning, no ligatures (`tools/fonts.py` took those
tables out of the bundled files). No text is cut inside what a reader sees as one character (`text.graphemes`).
"""

from bisect import bisect_right
from itertools import accumulate

from pellucid.draw.film.glyphs import advance
from pellucid.draw.film.text_runs import is_plain, text_runs
from pellucid.draw.film.truetype import EM
from pellucid.errors import PellucidError
from pellucid.text.graphemes import graphemes, is_wide


ELLIPSIS = "…"
CAP_HEIGHT = 0.73  # of the size: what a line of text takes above its baseline, for centring it in a box
NARROWEST = 200  # of a character, in thousandths of the size: less than any has
NOT_FIRST = frozenset("、。，．：；！？）】》」』〉］｝”’…·,.:;!?)]}%")  # does not begin a line after a wide character
NOT_LAST = frozenset("（【《「『〈［｛“‘([{")  # does not end a line before a wide character


def text_width(string: str, size: float, family: str = "sans", weight: int = 400) -> float:
    """The width of a text, in the unit of `size`."""
    if is_plain(string):
        return sum(advance(character, family, weight) for character in string) * size / EM
    return sum(run.advance for run in text_runs(string, family, weight)) * size / EM


def _fitting(clusters: list[str], width: float, size: float, family: str, weight: int) -> int:
    """How many clusters of the start of a text fit."""
    string = "".join(clusters)
    if is_plain(string):
        used = accumulate(advance(character, family, weight) for character in string)
        return bisect_right(list(used), width, key=lambda so_far: so_far * size / EM)
    ends = list(accumulate(map(len, clusters)))
    low = bisect_right(ends, width, key=lambda end: text_width(string[:end], size, family, weight))
    while low and text_width(string[: ends[low - 1]], size, family, weight) > width:
        low -= 1
    return low


def _start(string: str, width: float, size: float) -> list[str]:
    """The clusters of a text's start: more than fit, unless they are all."""
    if string.isascii() and "\r" not in string:
        return list(string[: int(width * EM / size / NARROWEST) + 2])
    most = int(width * EM / size / NARROWEST) + 2
    return graphemes(string[: 32 * most])[:most]


def fit(string: str, width: float, size: float, family: str = "sans", weight: int = 400) -> str:
    """The text, or as much of its start as fits `width` with an ellipsis; "" where not even the ellipsis fits."""
    clusters = _start(string, width, size)
    if sum(map(len, clusters)) == len(string) and text_width(string, size, family, weight) <= width:
        return string
    for count in range(_fitting(clusters, width, size, family, weight), -1, -1):
        shorter = "".join(clusters[:count]).rstrip() + ELLIPSIS
        if text_width(shorter, size, family, weight) <= width:
            return shorter
    return ""


def wrap(
    string: str, width: float, size: float, family: str = "sans", weight: int = 400, *, lines: int | None = None
) -> list[str]:
    """The text in lines no wider than `width`, broken at spaces and beside wide characters, or inside a word that is too wide.

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
        clusters = _start(rest, width, size)
        count = _fitting(clusters, width, size, family, weight)
        if count == 0:
            raise PellucidError(f"a width of {width} holds no character of size {size}: ask for more width or a smaller size")
        end = sum(map(len, clusters[: _break(clusters, count)]))
        done.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return done


def _break(clusters: list[str], most: int) -> int:
    """After how many clusters a line ends that holds at most so many: the last place where it may, else `most`."""
    if most == len(clusters):
        return most
    for count in range(most, 0, -1):
        before, after = clusters[count - 1], clusters[count]
        wide = is_wide(before) or is_wide(after)
        if " " in (before, after) or (wide and after not in NOT_FIRST and before not in NOT_LAST):
            return count
    return most
