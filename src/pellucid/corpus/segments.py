"""Segments to encode: parts of documents, each on one side of the split."""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pellucid.corpus.documents import Part
from pellucid.corpus.split import BOTH, HELD_OUT, LEFT_OUT, Split, cut_at
from pellucid.corpus.utf8 import encode
from pellucid.errors import PellucidError


Side = Literal["train", "held_out"]
_CHARACTER = 4  # bytes of a character at most


class Segment(NamedTuple):
    """A part of a document, of which all belongs to one side of the split.

    Attributes:
        document: its number. name: its name.
        ends: whether end-of-text follows: it is the last of its side. last: whether it is the last of its document.
        offset: bytes of the document's text up to its end.
    """

    document: int
    name: str
    side: Side
    text: str
    ends: bool
    last: bool
    offset: int


def segments(parts: Iterable[Part], sizes: NDArray[np.int64], split: Split, cut: int) -> Iterator[Segment]:
    """The segments of all documents but those that are left out, in order.

    Args:
        sizes: of the documents when they were split. cut: the byte at which documents that belong to both sides are cut.

    Raises:
        PellucidError: the documents are not those that were split.
    """
    document, offset = -1, 0
    for part in parts:
        if part.first:
            document, offset = document + 1, 0
        data = encode(part.text)
        begin, offset = offset, offset + len(data)
        if document >= len(sizes) or offset > sizes[document] or (part.last and offset < sizes[document]):
            raise PellucidError(f"{part.name} changed while it was read: start again when it no longer does")
        where = split.sides[document]
        if where == BOTH and begin < cut < offset:
            head, tail = (piece.decode() for piece in (data[: cut - begin], data[cut - begin :]))
            yield Segment(document, part.name, "train", head, True, False, cut)
            yield Segment(document, part.name, "held_out", tail, part.last, part.last, offset)
        elif where == BOTH and offset == cut:
            yield Segment(document, part.name, "train", part.text, True, False, offset)
        elif where != LEFT_OUT:
            side: Side = "held_out" if where == HELD_OUT or (where == BOTH and begin >= cut) else "train"
            yield Segment(document, part.name, side, part.text, part.last, part.last, offset)
    if document + 1 != len(sizes):
        raise PellucidError("documents vanished while they were read: start again when they no longer change")


def find_cut(parts: Iterable[Part], split: Split) -> int:
    """The byte at which documents of both sides are cut; 0 if there are none.

    Raises:
        PellucidError: the text is one character, which cannot be cut.
    """
    if split.cut is None:
        return 0
    wanted = int(np.argmax(split.sides == BOTH))
    first, last = split.cut
    base = max(0, first - _CHARACTER)
    document, offset, near = -1, 0, b""
    for part in parts:
        if part.first:
            document, offset = document + 1, 0
        if document == wanted:
            data = encode(part.text)
            near += data[max(0, base - offset) : max(0, last + _CHARACTER - offset)]
            offset += len(data)
        elif document > wanted:
            break
    cut = cut_at(near, first - base, last - base)
    if base + cut == 0:
        raise PellucidError("there is too little text, not two characters to train on and to hold out: give more")
    return base + cut


def training_texts(found: Iterable[Segment]) -> Iterator[str]:
    """The text that is trained on."""
    return (segment.text for segment in found if segment.side == "train")


def subsample(texts: Iterable[str], size: int, limit: int) -> Iterator[str]:
    """Texts evenly spaced among all, of about `limit` characters together; all of them if they have no more.

    Args:
        size: characters of all texts.
    """
    share, due = min(1.0, limit / max(1, size)), 0.0
    for text in texts:
        due += len(text) * share
        if share == 1.0 or due >= len(text):
            due -= len(text)
            yield text
