"""A text as runs: outlines of the bundled fonts, and between them what a reader's own fonts draw in a known width.

Every back end and the player draw these runs. Outlines look the same everywhere. A run of characters that the two bundled
families lack is text in SVG and HTML, so that the reader's fonts join Arabic letters, stack marks and colour emoji; its width
is fixed by `length`, an estimate from tables below. Where there are no reader's fonts (PNG, GIF, WebP, MP4), Chinese is drawn
from Noto Sans SC and everything else as one byte box as wide as the run. Control characters and other invisible ones are byte
boxes everywhere.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple
from unicodedata import bidirectional, category, east_asian_width, normalize

from pellucid.draw.film.glyphs import advance, box_advance, chinese_face, is_blank, outlined
from pellucid.text.graphemes import ZWJ, ZWNJ, graphemes, is_emoji, is_mark


MOST_MARKS = 4  # on one character: more would be drawn over the lines around
LONGEST = 4000  # the length of a character
WIDE, EMOJI, OTHER, MARK = 1000, 1300, 640, 300
LENGTHS = ((0x0590, 0x05FF, 600), (0x0600, 0x06FF, 550), (0x0750, 0x077F, 550), (0x08A0, 0x08FF, 550), (0xFB50, 0xFEFF, 550))
UNSEEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")  # categories of what a font draws nothing for, or nothing that is agreed


class TextRun(NamedTuple):
    """A part of a text.

    Attributes:
        text: what is drawn. advance: its width in thousandths of the size.
        length: as how wide a text of the reader's fonts it is drawn, in the middle of its advance; 0 where it is one outline
            (`glyphs.glyph` of the text). right_to_left: its direction. chinese: whether Noto Sans SC holds it.
    """

    text: str
    advance: int
    length: int = 0
    right_to_left: bool = False
    chinese: bool = False


class _Cluster(NamedTuple):
    """A grapheme cluster that the bundled families lack."""

    text: str
    length: int
    right_to_left: bool
    chinese: bool


def is_plain(string: str) -> bool:
    """Whether every character of a text is an outline of its own: then its width is the sum of their advances."""
    return outlined().issuperset(string)


def text_runs(string: str, family: str = "sans", weight: int = 400) -> Sequence[TextRun]:
    """The runs of a text, in the order in which they stand from left to right."""
    if is_plain(string):
        return [_outline(character, family, weight) for character in string]
    return _runs(string, family, weight)


@cache
def _outline(key: str, family: str, weight: int) -> TextRun:
    return TextRun(key, advance(key, family, weight))


@lru_cache(maxsize=4096)
def _runs(string: str, family: str, weight: int) -> tuple[TextRun, ...]:
    items = [item for cluster in graphemes(string) for item in _items(cluster)]
    done: list[TextRun] = []
    at = 0
    while at < len(items):
        item = items[at]
        if isinstance(item, str):
            done.append(TextRun(item, advance(item, family, weight)))
            at += 1
            continue
        end = _end(items, at)
        length = sum(_length(part, family, weight) for part in items[at:end])
        text = "".join(part if isinstance(part, str) else part.text for part in items[at:end])
        wide = length if item.chinese else max(length, box_advance(text))
        done.append(TextRun(text, wide, length, item.right_to_left, item.chinese))
        at = end
    return tuple(done)


def _length(item: str | _Cluster, family: str, weight: int) -> int:
    return advance(item, family, weight) if isinstance(item, str) else item.length


def _end(items: Sequence[str | _Cluster], start: int) -> int:
    """Where a run ends: at another kind; spaces and punctuation between two right-to-left parts belong to their run."""
    first = items[start]
    assert isinstance(first, _Cluster)
    end = at = start + 1
    while at < len(items):
        item = items[at]
        if isinstance(item, str):
            if not first.right_to_left or len(item) > 1 or item not in outlined() or item.isalnum():
                break
        elif item[2:] != first[2:]:
            break
        else:
            end = at + 1
        at += 1
    return end


@lru_cache(maxsize=8192)
def _items(cluster: str) -> tuple[str | _Cluster, ...]:
    """A grapheme cluster as keys of outlines, or as a part of a run."""
    if len(cluster) > 1:
        composed = normalize("NFC", cluster)
        if is_plain(composed):
            return tuple(composed)
        if len(composed) > 1 and (sum(map(is_mark, composed)) > MOST_MARKS or _unseen(composed[0])):
            return tuple(composed) if len(composed) == 2 else (composed,)  # byte boxes
        cluster = composed
    if cluster in outlined() or _unseen(cluster[0]) or (is_blank(cluster[0]) and not _is_chinese(cluster)):
        return (cluster,)
    if _is_chinese(cluster):
        return (_Cluster(cluster, WIDE, right_to_left=False, chinese=True),)  # as every glyph of Noto Sans SC
    length = _cluster_length(cluster)
    if length > LONGEST:
        return (cluster,)
    right = bidirectional(cluster[0]) in ("R", "AL", "AN") or 0x0590 <= ord(cluster[0]) <= 0x08FF  # with their punctuation
    return (_Cluster(cluster, length, right, chinese=False),)


def _is_chinese(cluster: str) -> bool:
    return cluster >= "\u2000" and len(cluster) == 1 and cluster in chinese_face().characters


def _unseen(character: str) -> bool:
    """Whether a font draws nothing for a character, or what is drawn is not agreed on; also a mark without its letter."""
    code = ord(character)
    return category(character) in UNSEEN or is_mark(character) or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF


def _cluster_length(cluster: str) -> int:
    """As how wide a text a reader's font is expected to draw a cluster."""
    if is_emoji(cluster):
        return EMOJI
    if east_asian_width(cluster[0]) in "WF":
        return WIDE
    return max(MARK, sum(map(_character_length, cluster)))


def _character_length(character: str) -> int:
    kind = category(character)
    if kind in ("Mn", "Me") or character in (ZWJ, ZWNJ):
        return 0
    if kind == "Mc":
        return MARK
    code = ord(character)
    return next((length for first, last, length in LENGTHS if first <= code <= last), OTHER)
