"""The sizes and content digests of all documents, in two arrays: what splitting needs to know of any number of them."""

import hashlib
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.corpus.documents import Part


@dataclass(frozen=True, slots=True, eq=False)
class DocumentIndex:
    """The documents of a corpus, in order, at 16 bytes each.

    Attributes:
        sizes: (N,) bytes of UTF-8 text. digests: (N,) 64 bits of the text's BLAKE2b; equal texts have equal ones, and that
            two others have is unlikely (once in 4,000 corpora of a hundred million documents).
        fingerprint: hex digest of all names, sizes and digests.
    """

    sizes: NDArray[np.int64]
    digests: NDArray[np.uint64]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.sizes)

    def first_equal(self) -> NDArray[np.int64]:
        """(N,) for each document the index of the first with the same text: its own if there is none before it."""
        _, first, inverse = np.unique(self.digests, return_index=True, return_inverse=True)
        found: NDArray[np.int64] = first[inverse].astype(np.int64)
        return found


def index_documents(parts: Iterable[Part], progress: Callable[[int], None] = lambda done: None) -> DocumentIndex:
    """Reads all documents once.

    Args:
        progress: called after each part, with the bytes of text read so far.
    """
    sizes, digests, names = array("q"), array("Q"), hashlib.blake2b()
    done = size = 0
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = utf8(part.text)
        size += len(data)
        done += len(data)
        digest.update(data)
        if part.last:
            sizes.append(size)
            digests.append(int.from_bytes(digest.digest(), "little"))
            names.update(utf8(part.name) + b"\0")
            size, digest = 0, hashlib.blake2b(digest_size=8)
        progress(done)
    names.update(sizes.tobytes() + digests.tobytes())
    return DocumentIndex(np.array(sizes, np.int64), np.array(digests, np.uint64), names.hexdigest())


def utf8(text: str) -> bytes:
    """The bytes of a text; half a surrogate pair has three, as the U+FFFD that it is encoded as."""
    return text.encode("utf-8", "surrogatepass")
