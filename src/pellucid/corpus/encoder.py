"""`CorpusEncoder`: encodes segments into shards of tokens; one that was killed goes on where its state was last saved."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import chain, groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from pellucid.corpus.segments import Segment
from pellucid.corpus.shard_writer import AppendedFile, ShardWriter
from pellucid.corpus.shards import DOCUMENTS
from pellucid.text.tokenizer import Tokenizer


GROUP_CHARS = 1 << 20  # in one call: enough to use all threads, and short, since an interrupt is handled after it
SAVE_CHARS = 1 << 24  # between saves of the state: a few seconds' work


class CorpusEncoder:
    """Writes token shards and the list of documents. A context manager that closes their files.

    Args:
        directory: of the corpus. shard_tokens: the most tokens in one file.
        state: what was last saved, of the same segments and tokenizer; None: nothing is there yet.

    Raises:
        ChangedFileError: the files are not what they were then.
    """

    def __init__(self, directory: Path, tokenizer: Tokenizer, shard_tokens: int, state: dict[str, Any] | None) -> None:
        self.tokenizer = tokenizer
        self.dtype = np.dtype("<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4")
        self._n_bytes_of = np.array(tokenizer.byte_lengths, dtype=np.int64)
        state = state or {"reached": [-1, 0], "entry": None, "count": 0, "documents": [0, None], "shards": {}}
        self._reached: tuple[int, int] = tuple(state["reached"])  # (document, bytes of its text), the last that was encoded
        self._entry: dict[str, Any] | None = state["entry"]  # of a document whose end is not reached
        self._count: int = state["count"]
        self._documents = AppendedFile(directory / DOCUMENTS, *state["documents"])
        self._writers: dict[str, ShardWriter] = {}
        with ExitStack() as opened:
            opened.callback(self.close)
            for side in ("train", "held_out"):
                before = state["shards"].get(side)
                self._writers[side] = ShardWriter(directory, side, self._n_bytes_of, self.dtype, shard_tokens, before)
            opened.pop_all()

    def run(self, segments: Iterable[Segment], save: Callable[[dict[str, Any]], None], progress: Callable[[int], None]) -> None:
        """Encodes all segments but those that were encoded before the state was saved.

        Args:
            save: called now and then with the state. progress: called with the characters done, those before included.
        """
        done = waiting = unsaved = 0
        group: list[Segment] = []
        continued: list[bool] = []
        before = -1
        for segment in join_segments(segments, self.tokenizer):
            done += len(segment.text)
            goes_on, before = segment.document == before, segment.document
            if (segment.document, segment.offset) <= self._reached:
                progress(done)
                continue
            group.append(segment)
            continued.append(goes_on)
            waiting += len(segment.text) + 1
            if waiting >= GROUP_CHARS:
                self._encode(group, continued)
                unsaved += waiting
                group, continued, waiting = [], [], 0
                progress(done)
                if unsaved >= SAVE_CHARS:
                    unsaved = 0
                    save(self._state())
        self._encode(group, continued)
        progress(done)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> dict[str, Any]:
        """Closes all files, and gives their entries of the manifest."""
        digest = self._documents.close()
        return {
            "dtype": "uint16" if self.dtype.itemsize == 2 else "uint32",
            "shards": {side: writer.close() for side, writer in self._writers.items()},
            "documents": {"file": DOCUMENTS, "count": self._count, "sha256": digest},
        }

    def _encode(self, group: list[Segment], continued: list[bool]) -> None:
        """Encodes and writes segments.

        Args:
            continued: of each, whether it goes on in the document of the one before it.
        """
        if not group:
            return
        encoded = self.tokenizer.encode_batch((segment.text for segment in group), continued)
        for ids, segment in zip(encoded, group, strict=True):
            if segment.ends:
                ids.append(self.tokenizer.eot)
        ends = np.cumsum([len(ids) for ids in encoded])
        tokens = np.fromiter(chain.from_iterable(encoded), self.dtype, int(ends[-1]))
        n_bytes = np.concatenate([[0], np.cumsum(self._n_bytes_of[tokens])])
        lines: list[str] = []
        for segment, begin, end in zip(group, [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            if line := self._count_segment(segment, end - begin, int(n_bytes[end] - n_bytes[begin])):
                lines.append(line)
        self._documents.write("".join(lines).encode("utf-8", "backslashreplace"))
        at = 0
        for side, run in groupby(zip(group, ends.tolist(), strict=True), key=lambda pair: pair[0].side):
            *_, (_, end) = run
            self._writers[side].write(tokens[at:end])
            at = end
        self._reached = (group[-1].document, group[-1].offset)

    def _count_segment(self, segment: Segment, tokens: int, n_bytes: int) -> str | None:
        """Adds a segment to its document's entry; gives the entry's line at the document's end."""
        entry = self._entry = self._entry or {"name": segment.name, "tokens": 0, "bytes": 0, "part": segment.side}
        entry["tokens"] += tokens
        entry["bytes"] += n_bytes
        if segment.ends and not segment.last:
            entry["part"], entry["tokens_train"] = "both", entry["tokens"]
        if not segment.last:
            return None
        self._entry = None
        self._count += 1
        return json.dumps(entry, ensure_ascii=False) + "\n"

    def _state(self) -> dict[str, Any]:
        return {
            "reached": list(self._reached),
            "entry": self._entry,
            "count": self._count,
            "documents": [self._documents.size, self._documents.flush()],
            "shards": {side: writer.state() for side, writer in self._writers.items()},
        }


def join_segments(segments: Iterable[Segment], tokenizer: Tokenizer) -> Iterator[Segment]:
    """The segments; neighbours are joined to one where an added token may cross the cut between them."""
    held: Segment | None = None
    texts: list[str] = []
    for segment in segments:
        if held is not None and (held.ends or held.document != segment.document or tokenizer.can_cut(texts[-1], segment.text)):
            yield held._replace(text="".join(texts))
            texts = []
        held = segment
        texts.append(segment.text)
    if held is not None:
        yield held._replace(text="".join(texts))
