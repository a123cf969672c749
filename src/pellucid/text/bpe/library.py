"""ctypes bindings of `learn.c`: training byte-pair encoding in compiled code, in about a twentieth of `learn`'s time."""

import ctypes
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from pellucid.errors import PellucidError
from pellucid.native.shared_library import Library
from pellucid.text.bpe.learn import MIN_FREQUENCY
from pellucid.text.bytes_to_characters import BYTE_ORDER


WORK = 1 << 20  # positions looked at in one call, some tenths of a second: Python handles an interrupt between two
BPE = Library("bpe", Path(__file__).parent, (), symbols=("pellucid_bpe_open", "pellucid_bpe_learn", "pellucid_bpe_close"))


@cache
def library() -> ctypes.CDLL:
    """The library, built if necessary.

    Raises:
        Unavailable: it cannot be built or loaded, or is switched off.
    """
    loaded = BPE.load()
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    loaded.pellucid_bpe_open.argtypes = [pointer, pointer, pointer, *[number] * 5]
    loaded.pellucid_bpe_open.restype = pointer
    loaded.pellucid_bpe_learn.argtypes = [pointer, number, pointer, pointer, ctypes.POINTER(ctypes.c_int32)]
    loaded.pellucid_bpe_learn.restype = number
    loaded.pellucid_bpe_close.argtypes = [pointer]
    loaded.pellucid_bpe_close.restype = None
    return loaded


def learn(counts: Mapping[bytes, int], vocab_size: int, max_token_length: int) -> list[bytes]:
    """The same as `learn.learn`, compiled.

    Raises:
        Unavailable: the library cannot be built or loaded.
        PellucidError: there is not enough memory.
    """
    compiled = library()
    ids = np.argsort(np.array(BYTE_ORDER)).astype(np.uint8)[np.frombuffer(b"".join(counts), np.uint8)]
    lengths = np.fromiter(map(len, counts), np.int64, len(counts))
    word_counts = np.fromiter(counts.values(), np.int64, len(counts))
    vocab_size = max(vocab_size, 256)
    pairs = np.zeros((2, vocab_size), np.int32)
    finished = ctypes.c_int32()
    state = compiled.pellucid_bpe_open(
        ids.ctypes.data, lengths.ctypes.data, word_counts.ctypes.data, len(counts), len(ids), vocab_size, max_token_length,
        MIN_FREQUENCY,
    )  # fmt: skip
    try:
        found = 0 if state else -1
        while found >= 0 and not finished.value:
            found = compiled.pellucid_bpe_learn(state, WORK, pairs[0].ctypes.data, pairs[1].ctypes.data, ctypes.byref(finished))
    finally:
        compiled.pellucid_bpe_close(state)
    if found < 0:
        raise PellucidError("there is not enough memory to train a tokenizer on this much text: give it more, or less text")
    tokens = [bytes([byte]) for byte in BYTE_ORDER]
    for left, right in pairs[:, 256:found].T.tolist():
        tokens.append(tokens[left] + tokens[right])
    return tokens
