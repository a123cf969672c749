"""The sizes and content digests of all documents, in two arrays: what splitting needs to know of any number of them."""

import hashlib
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.corpus.documents import Part
from pellucid.corpus.utf8 import encode


@dataclass(frozen=True, slots=True, eq=False)
class DocumentIndex:
    """The documents of a corpus, in order, at 16 bytes each.

    Attributes:
        sizes: (N,) bytes of UTF-8 text. digests: (N,) 64 bits of the text's BLAKE2b; equal texts have equal ones, and that
            two others have is unlikely (once in 4,000 corpora of a hundred million documents).
        fingerprint: hex digest of all names, sizes and digests.
        first_held_out: the index of the first document that was named to be held out; None where none was named.
    """

    sizes: NDArray[np.int64]
    digests: NDArray[np.uint64]
    fingerprint: str
    first_held_out: int | None = None

    def __len__(self) -> int:
        return len(self.sizes)

    def first_equal(self) -> NDArray[np.int64]:
        """(N,) for each document the index of the first with the same text, which may be its own."""
        _, first, inverse = np.unique(self.digests, return_index=True, return_inverse=True)
        found: NDArray[np.int64] = first[inverse].astype(np.int64)
        return found


def index_documents(
    parts: Iterable[Part], held_out: Iterable[Part] | None = None, progress: Callable[[int], None] = lambda done: None
) -> DocumentIndex:
    """Reads all documents once.

    Args:
        held_out: the documents that are named to be held out, indexed after all others.
        progress: called after each part, with the bytes of text read so far.
    """
    sizes, digests, names = array("q"), array("Q"), hashlib.blake2b()
    done = size = 0
    digest = hashlib.blake2b(digest_size=8)
    first_held_out: int | None = None
    for group in (parts,) if held_out is None else (parts, held_out):
        first_held_out = len(sizes) if group is held_out else None
        for part in group:
            data = encode(part.text)
            size += len(data)
            done += len(data)
            digest.update(data)
            if part.last:
                sizes.append(size)
                digests.append(int.from_bytes(digest.digest(), "little"))
                names.update(encode(part.name) + b"\0")
                size, digest = 0, hashlib.blake2b(digest_size=8)
            progress(done)
    names.update(sizes.tobytes() + digests.tobytes())
    return DocumentIndex(np.array(sizes, np.int64), np.array(digests, np.uint64), names.hexdigest(), first_held_out)
