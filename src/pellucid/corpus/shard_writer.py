"""Writing a corpus directory's files so that a build that was killed can go on: each is appended to, with a running SHA-256."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.files import create, updating


_BLOCK = 1 << 20


class ChangedFileError(Exception):
    """A file is not what it was when the state of the build was saved: the build starts over."""


class AppendedFile:
    """A file that is appended to, and the SHA-256 of what it holds.

    Args:
        size, digest: what it held when the build's state was saved; anything after that is cut off. size 0: a new file.

    Raises:
        ChangedFileError: it holds something else.
    """

    def __init__(self, path: Path, size: int = 0, digest: str | None = None) -> None:
        self._digest = hashlib.sha256()
        self.size = size
        if digest is None:
            path.unlink(missing_ok=True)
            self._file = create(path)
            return
        try:
            self._file = updating(path)
        except OSError:
            raise ChangedFileError from None
        left = size
        while left and (block := self._file.read(min(left, _BLOCK))):
            self._digest.update(block)
            left -= len(block)
        if left or self._digest.hexdigest() != digest:
            self._file.close()
            raise ChangedFileError
        self._file.truncate(size)
        self._file.seek(size)

    def write(self, data: bytes) -> None:
        """Appends."""
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    def flush(self) -> str:
        """Hands what was written to the system, and gives its SHA-256."""
        self._file.flush()
        return self._digest.hexdigest()

    def close(self) -> str:
        """Closes the file, and gives the SHA-256 of its content."""
        self._file.close()
        return self._digest.hexdigest()


class ShardWriter:
    """Writes one side of the corpus as files of at most `limit` tokens, and gives their manifest entries.

    Args:
        n_bytes_of: (V,) bytes of text that each token stands for.
        shards: the entries of shards that were written before the build was killed (`state`).

    Raises:
        ChangedFileError: one of those files is not what it was.
    """

    def __init__(
        self, directory: Path, side: str, n_bytes_of: NDArray[np.int64], dtype: np.dtype[Any], limit: int,
        shards: list[dict[str, Any]] | None = None,
    ) -> None:  # fmt: skip
        assert limit > 0
        self._directory, self._side, self._n_bytes_of, self._dtype, self._limit = directory, side, n_bytes_of, dtype, limit
        self._shards = shards or []
        self._file: AppendedFile | None = None
        for shard in self._shards:
            file = AppendedFile(directory / shard["file"], shard["tokens"] * dtype.itemsize, shard["sha256"])
            if shard["tokens"] < limit:
                self._file = file
            else:
                file.close()

    def write(self, ids: NDArray[Any]) -> None:
        """Appends tokens, in new files as they fill up."""
        while len(ids):
            if self._file is None:
                name = f"{self._side}-{len(self._shards):05d}.bin"
                self._file = AppendedFile(self._directory / name)
                self._shards.append({"file": name, "tokens": 0, "bytes": 0})
            shard = self._shards[-1]
            now, ids = np.split(ids, [self._limit - shard["tokens"]])
            self._file.write(now.astype(self._dtype, copy=False).tobytes())
            shard["tokens"] += len(now)
            shard["bytes"] += int(self._n_bytes_of[now].sum())
            if shard["tokens"] == self._limit:
                self._finish()

    def _finish(self) -> None:
        if self._file is not None:
            self._shards[-1]["sha256"] = self._file.close()
            self._file = None

    def state(self) -> list[dict[str, Any]]:
        """The entries of what has been written so far, from which a writer can go on."""
        if self._file is not None:
            self._shards[-1]["sha256"] = self._file.flush()
        return self._shards

    def close(self) -> list[dict[str, Any]]:
        """Closes the last file, and gives the entries of all."""
        self._finish()
        return self._shards
