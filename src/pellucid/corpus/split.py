"""Choosing the held-out text: whole documents if possible, so that none is partly trained on, and equal ones on one side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.corpus.document_index import DocumentIndex
from pellucid.errors import PellucidError
from pellucid.hashing import mix_array


TRAIN, HELD_OUT, BOTH, LEFT_OUT = range(4)
_SEARCHED = 1 << 20  # bytes of text in which the end of a paragraph, a line or a word is looked for


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Which side each document belongs to.

    Attributes:
        sides: (N,) TRAIN or HELD_OUT; BOTH where its beginning is trained on and its end held out; LEFT_OUT where a document
            that was named to train on equals one that was named to hold out.
        cut: where documents of BOTH are cut: (first, last) byte at which the end may begin. None: there are none.
    """

    sides: NDArray[np.uint8]
    cut: tuple[int, int] | None = None


def split_documents(index: DocumentIndex, fraction: float, seed: int) -> Split:
    """Chooses what is held out: the documents that were named for it, without those equal to one of them being trained on.

    Args:
        fraction, seed: as `choose_held_out`'s, where none was named. Where whole documents make no fair split, the end of the
            longest one is held out, and that of every document equal to it.

    Raises:
        PellucidError: there is too little text, or none to train on or to hold out.
    """
    sides = np.full(len(index), TRAIN, np.uint8)
    if (first_held_out := index.first_held_out) is not None:
        if first_held_out == len(index):
            raise PellucidError("there is no text to hold out in what was named for it")
        sides[first_held_out:] = HELD_OUT
        sides[:first_held_out][np.isin(index.digests[:first_held_out], index.digests[first_held_out:])] = LEFT_OUT
        if not (sides == TRAIN).any():
            raise PellucidError("there is no text to train on that is not held out: give more")
        return Split(sides)
    first = index.first_equal()
    if held := choose_held_out(index.sizes, fraction, seed, first_equal=first):
        sides[held] = HELD_OUT
        return Split(sides)
    longest = int(np.argmax(index.sizes)) if len(index) else 0
    if not len(index) or (size := int(index.sizes[longest])) < 2:
        raise PellucidError("there is too little text, not two tokens to train on and to hold out: give more")
    copies = first == first[longest]
    sides[copies] = BOTH
    tail = min(max(1, round(fraction * int(index.sizes.sum()) / int(copies.sum()))), size // 2)
    # The cut may be later than requested, at the end of a paragraph, line or word, but by at most half of the tail.
    return Split(sides, (size - tail, size - tail + min(tail // 2, _SEARCHED)))


def choose_held_out(
    sizes: Sequence[int] | NDArray[np.int64], fraction: float, seed: int, *, first_equal: NDArray[np.int64] | None = None
) -> list[int]:
    """The indices of the documents to hold out, ascending; empty if the end of one document is to be held out instead.

    Documents are taken in a pseudo-random order, each if it brings the sum closer to fraction * total; if none does,
    the smallest alone. The result is empty where whole documents make no fair split: there is only one, or they would
    hold out less than half of the requested part (a title page beside one long book), or more than half of everything.

    Args:
        sizes: bytes of each document, in order. fraction: of all bytes to hold out, in (0, 1).
        first_equal: for each document the index of the first with the same text: those are taken together, as one document
            with the size of all. None: each is another text.
    """
    assert 0 < fraction < 1
    each = np.asarray(sizes, np.int64)
    first = np.arange(len(each)) if first_equal is None else first_equal
    texts = np.unique(first)
    if len(texts) < 2:
        return []
    together = np.zeros(len(each), np.int64)
    np.add.at(together, first, each)
    total = int(each.sum())
    target = fraction * total
    order = texts[np.argsort(mix_array(seed, texts), kind="stable")]
    held: list[int] = []
    sum_held = 0
    for i, size in zip(order.tolist(), together[order].tolist(), strict=True):
        if abs(sum_held + size - target) < abs(sum_held - target):
            held.append(i)
            sum_held += size
    if not held:
        smallest = int(order[np.argmin(together[order])])
        held, sum_held = [smallest], int(together[smallest])
    fair = target / 2 <= sum_held <= total / 2
    found: list[int] = np.flatnonzero(np.isin(first, held)).tolist()
    return found if fair else []


def cut_at(text: bytes, first: int, last: int) -> int:
    """The byte of a text at which its end begins: after the first end of a paragraph between `first` and `last`; else of a
    line; else before a word; else at a character near `first`. 0 if the text is one character.
    """
    for wanted, after in ((b"\n\n", 2), (b"\n", 1), (b" ", 0)):
        if (found := text.find(wanted, max(0, first - after), last)) >= 0 and found + after > 0:
            return found + after
    cut = first
    while cut > 0 and text[cut] & 0xC0 == 0x80:
        cut -= 1
    if cut == 0:
        cut = next((i for i in range(first, len(text)) if text[i] & 0xC0 != 0x80), 0)
    return cut
