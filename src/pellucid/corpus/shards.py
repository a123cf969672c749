"""Opening a corpus directory: shards of token ids, on two sides, one to train on and one held out.

A corpus is a directory:
    train-00000.bin, train-00001.bin, ...   token ids, 16 bits each (32 for a vocabulary above 65,536), little-endian
    held_out-00000.bin, ...                 the same, held out
    documents.jsonl                         a line a document: name, tokens (end-of-text included), bytes, and part: "train",
                                            "held_out", or "both", where "tokens_train" are trained on and the rest is held out
    corpus.json                             the manifest: tokenizer, split, and size and SHA-256 of each file
Every document is followed by the end-of-text token, which tells the model that the next document is unrelated (Brown et
al. 2020, section 2.3). The directory gets its name only when it is complete. In version 1 of the format the documents are a
list in the manifest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.arguments import shown
from pellucid.corpus.tokens import Tokens
from pellucid.errors import PellucidError
from pellucid.files import reading, sha256
from pellucid.strict_json import Fields, parse_json, read_json, read_lines


FORMAT_VERSION = 2
MANIFEST = "corpus.json"
DOCUMENTS = "documents.jsonl"


@dataclass(frozen=True, slots=True)
class TokenCorpus:
    """An open corpus, whose tokens are memory-mapped.

    Attributes:
        manifest: the contents of corpus.json; manifest["tokenizer"]["fingerprint"] names its tokenizer.
    """

    path: Path
    train: Tokens
    held_out: Tokens
    manifest: dict[str, Any]

    def documents(self) -> Iterator[dict[str, Any]]:
        """The entry of each document, in order: name, tokens, bytes, part.

        Raises:
            PellucidError: they cannot be read.
        """
        listed = self.manifest["documents"]
        if isinstance(listed, list):  # version 1
            yield from listed
            return
        file = self.path / DOCUMENTS
        try:
            with reading(file) as lines:
                yield from map(parse_json, read_lines(lines))
        except (OSError, ValueError) as error:
            raise PellucidError(f"cannot read {file}: {error}; build the corpus again") from error


def open_corpus(path: str | Path, *, verify: bool = True) -> TokenCorpus:
    """Opens a corpus directory that `build_corpus` made.

    Args:
        verify: also read every shard and compare its SHA-256; sizes are compared in any case.

    Raises:
        PellucidError: a file is missing, truncated or changed; the message names it.
    """
    path = Path(path)
    file = path / MANIFEST
    try:
        manifest = _read_manifest(file)
        if manifest["format"] != "pellucid corpus" or manifest["version"] not in (1, FORMAT_VERSION):
            raise PellucidError(
                f"{file} is a {shown(manifest['format'])} of version {shown(manifest['version'])}, "
                f"and this Pellucid reads a pellucid corpus of version {FORMAT_VERSION} or 1: build it again"
            )
        dtype = np.dtype({"uint16": "<u2", "uint32": "<u4"}[manifest["dtype"]])
        train, held_out = (_open_side(path, manifest["shards"][side], dtype, verify) for side in ("train", "held_out"))
        if verify and isinstance(listed := manifest["documents"], dict):
            _check_digest(path / DOCUMENTS, listed["sha256"])
    except FileNotFoundError:
        raise PellucidError(f"{path} is not a corpus: it has no {MANIFEST}") from None
    except OSError as error:
        raise PellucidError(f"cannot read the corpus {path}: {error.strerror or error}") from error
    except PellucidError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise PellucidError(f"{file} is damaged: {error!r}; build the corpus again") from error
    return TokenCorpus(path, train, held_out, manifest)


def _read_manifest(file: Path) -> dict[str, Any]:
    try:
        return Fields(read_json(file), file).values
    except PellucidError as error:
        raise PellucidError(f"{file} is damaged: {error}; build the corpus again") from None


def _open_side(path: Path, shards: list[dict[str, Any]], dtype: np.dtype[Any], verify: bool) -> Tokens:
    arrays: list[NDArray[Any]] = []
    for shard in shards:
        fields = Fields(shard, MANIFEST)
        name, expected = fields.text("file", max_length=200), fields.integer("tokens", maximum=2**53) * dtype.itemsize
        if Path(name).name != name:
            raise PellucidError(f"{path / MANIFEST}: {shown(name)} is not the name of a file beside it")
        file = path / name
        fields.integer("bytes", maximum=2**53)
        if not file.is_file():
            raise PellucidError(f"the corpus shard {file} is missing: build the corpus again")
        if (size := file.stat().st_size) != expected:
            raise PellucidError(f"the corpus shard {file} has {size:,} bytes, not {expected:,}: build the corpus again")
        if verify:
            _check_digest(file, shard["sha256"])
        arrays.append(np.memmap(file, dtype=dtype, mode="r"))
    return Tokens(arrays, sum(shard["bytes"] for shard in shards))


def _check_digest(file: Path, digest: str) -> None:
    if not file.is_file():
        raise PellucidError(f"the corpus file {file} is missing: build the corpus again")
    if sha256(file) != digest:
        raise PellucidError(f"the corpus file {file} is damaged (SHA-256 differs): build the corpus again")
