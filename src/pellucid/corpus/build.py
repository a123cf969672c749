"""Building a corpus directory: encoding documents, splitting off held-out ones, writing shards and manifest."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from pellucid.corpus.documents import Document
from pellucid.corpus.shards import FORMAT_VERSION, MANIFEST, TokenCorpus, open_corpus
from pellucid.corpus.split import choose_held_out
from pellucid.errors import PellucidError
from pellucid.files import cannot_write, create, write_whole
from pellucid.folders import new_folder
from pellucid.text.split_pattern import chunks
from pellucid.text.tokenizer import Tokenizer


SHARD_TOKENS = 1 << 26
_GROUP_CHARS = 1 << 22  # characters encoded at once: enough to use all threads, and little memory
_CHUNK_CHARS = 1 << 16
_COPY_TOKENS = 1 << 20

Part = Literal["train", "held_out"]


def build_corpus(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    out: Path,
    *,
    fraction: float = 0.05,
    seed: int = 0,
    held_out: Iterable[Document] | None = None,
    shard_tokens: int = SHARD_TOKENS,
) -> TokenCorpus:
    """Encodes documents into a new corpus directory and opens it.

    Args:
        documents: iterated once.
        out: must not exist, or be an empty directory. One build at a time for one `out`.
        fraction, seed: about how much of the text is held out, and which documents (`split.choose_held_out`). Where whole
            documents make no fair split, the end of the longest one is held out.
        held_out: the documents to hold out; then `fraction` and `seed` are not used, and all `documents` are trained on.
        shard_tokens: the most tokens in one file.

    Raises:
        PellucidError: `out` exists, the disk is full, or there is too little text to hold any out.
    """
    if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
        raise PellucidError(f"{out} exists already: name another path, or remove it")
    try:
        with new_folder(out) as draft:
            _write(documents, held_out, tokenizer, draft, fraction, seed, shard_tokens)
    except OSError as error:
        raise cannot_write(out, error, "the corpus") from error
    return open_corpus(out, verify=False)


def _write(
    documents: Iterable[Document],
    held_out: Iterable[Document] | None,
    tokenizer: Tokenizer,
    directory: Path,
    fraction: float,
    seed: int,
    shard_tokens: int,
) -> None:
    dtype = np.dtype("<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4")
    n_bytes_of = np.array(tokenizer.byte_lengths, dtype=np.int64)

    # First all tokens go into one file, since what is held out depends on how many there are.
    spool = directory / "spool"
    entries: list[dict[str, Any]] = []
    n_before = 0  # documents before the first of `held_out`
    with create(spool) as file:
        for source in (documents, held_out or ()):
            n_before = len(entries)
            for name, ids in _encode(source, tokenizer):
                array = np.array(ids, dtype=dtype)
                file.write(array.tobytes())
                if name is not None:
                    entries.append({"name": name, "tokens": 0, "bytes": 0})
                entries[-1]["tokens"] += len(array)
                entries[-1]["bytes"] += int(n_bytes_of[array].sum())

    if held_out is None:
        held = set(choose_held_out([entry["bytes"] for entry in entries], fraction, seed))
    elif not (held := set(range(n_before, len(entries)))):
        raise PellucidError("there is no text to hold out in what was named for it")
    for i, entry in enumerate(entries):
        entry["part"] = "held_out" if i in held else "train"
    with spool.open("rb") as file:
        ranges = _ranges(entries) if held else _tail(file, entries, tokenizer, dtype, fraction)
        writers = {part: _ShardWriter(directory, part, n_bytes_of, shard_tokens) for part in ("train", "held_out")}
        try:
            for part, count in ranges:
                for array in _read(file, dtype, count):
                    writers[part].write(array)
        finally:
            shards = {part: writer.close() for part, writer in writers.items()}
    spool.unlink()

    manifest = {
        "format": "pellucid corpus",
        "version": FORMAT_VERSION,
        "dtype": "uint16" if dtype.itemsize == 2 else "uint32",
        "byte_order": "little",
        "tokenizer": {
            "fingerprint": tokenizer.fingerprint,
            "vocab_size": tokenizer.vocab_size,
            "eot": tokenizer.eot,
        },
        "held_out": "documents" if held else "tail",
        "fraction": fraction,
        "seed": seed,
        "shards": shards,
        "documents": entries,
    }
    write_whole(directory / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1) + "\n")


def _encode(documents: Iterable[Document], tokenizer: Tokenizer) -> Iterator[tuple[str | None, list[int]]]:
    """The ids of each document with end-of-text after it, in parts; a document's first part comes with its name."""
    group: list[tuple[str | None, str, bool]] = []  # (name if first, text, last of its document)
    n_chars = 0
    for document in documents:
        name: str | None = document.name
        parts = list(chunks(document.text, _CHUNK_CHARS))
        for i, part in enumerate(parts, start=1):
            group.append((name, part, i == len(parts)))
            name = None
            n_chars += len(part) + 1
            if n_chars >= _GROUP_CHARS:
                yield from _encode_group(group, tokenizer)
                group, n_chars = [], 0
    yield from _encode_group(group, tokenizer)


def _encode_group(group: list[tuple[str | None, str, bool]], tokenizer: Tokenizer) -> Iterator[tuple[str | None, list[int]]]:
    for (name, _, last), ids in zip(group, tokenizer.encode_batch(text for _, text, _ in group), strict=True):
        yield name, [*ids, tokenizer.eot] if last else ids


def _ranges(entries: list[dict[str, Any]]) -> list[tuple[Part, int]]:
    """The spooled tokens in order, as (part, number of tokens)."""
    return [(entry["part"], entry["tokens"]) for entry in entries]


def _tail(
    file: BinaryIO, entries: list[dict[str, Any]], tokenizer: Tokenizer, dtype: np.dtype[Any], fraction: float
) -> list[tuple[Part, int]]:
    """As `_ranges`, with the end of the longest document held out: `fraction` of all tokens, at most half of its own.

    The beginning, which is trained on, has no end-of-text after it, since the text continues.
    """
    n_tokens = sum(entry["tokens"] for entry in entries)
    longest = max(range(len(entries)), key=lambda i: int(entries[i]["tokens"])) if entries else 0
    if not entries or entries[longest]["tokens"] < 3:
        raise PellucidError("there is too little text, not two tokens to train on and to hold out: give more")
    before = sum(entry["tokens"] for entry in entries[:longest])
    length: int = entries[longest]["tokens"] - 1  # its end-of-text is no place to cut
    n_tail = min(max(1, round(fraction * n_tokens)), length // 2)

    # The cut may be later than requested, at the end of a paragraph, line or word, but by at most half of the tail.
    file.seek((before + length - n_tail) * dtype.itemsize)
    tail = [tokenizer.token_bytes(i) for i in np.fromfile(file, dtype, n_tail // 2)]
    file.seek(0)
    head = length - n_tail + _cut_index(tail)

    entries[longest]["part"] = "both"
    entries[longest]["tokens_train"] = head
    ranges: list[tuple[Part, int]] = []
    for i, entry in enumerate(entries):
        ranges += [("train", head), ("held_out", length + 1 - head)] if i == longest else [("train", entry["tokens"])]
    return ranges


def _cut_index(tokens: list[bytes]) -> int:
    """The index after the first end of a paragraph; else of a line; else before a word; else 0."""
    ends = [i for i, token in enumerate(tokens, start=1) if token.endswith(b"\n")]
    for i in ends:
        if b"".join(tokens[max(0, i - 2) : i]).endswith(b"\n\n"):
            return i
    words = [i for i, token in enumerate(tokens) if token.startswith(b" ")]
    return (ends or words or [0])[0]


def _read(file: BinaryIO, dtype: np.dtype[Any], count: int) -> Iterator[NDArray[Any]]:
    while count > 0:
        ids = np.fromfile(file, dtype, min(count, _COPY_TOKENS))
        assert len(ids), "the spool ends early"
        count -= len(ids)
        yield ids


class _ShardWriter:
    """Writes one part of the corpus as files of at most `limit` tokens, and returns their manifest entries."""

    def __init__(self, directory: Path, part: str, n_bytes_of: NDArray[np.int64], limit: int) -> None:
        assert limit > 0
        self._directory, self._part, self._n_bytes_of, self._limit = directory, part, n_bytes_of, limit
        self._shards: list[dict[str, Any]] = []
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()

    def write(self, ids: NDArray[Any]) -> None:
        while len(ids):
            if self._file is None:
                name = f"{self._part}-{len(self._shards):05d}.bin"
                self._file = create(self._directory / name)
                self._digest = hashlib.sha256()
                self._shards.append({"file": name, "tokens": 0, "bytes": 0})
            shard = self._shards[-1]
            now, ids = np.split(ids, [self._limit - shard["tokens"]])
            data = now.tobytes()
            self._file.write(data)
            self._digest.update(data)
            shard["tokens"] += len(now)
            shard["bytes"] += int(self._n_bytes_of[now].sum())
            if shard["tokens"] == self._limit:
                self._finish()

    def _finish(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._shards[-1]["sha256"] = self._digest.hexdigest()

    def close(self) -> list[dict[str, Any]]:
        self._finish()
        return self._shards
