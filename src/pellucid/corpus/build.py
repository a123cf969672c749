"""Building a corpus directory: splitting documents, training a tokenizer, encoding, writing shards and manifest.

The documents are read up to four times: for their sizes and digests, from which follows what is held out; to find the place
where one is cut, if none can be held out whole; for a tokenizer, if one is to be trained, on the training part alone; and to be
encoded. Memory holds a few megabytes of text, and 16 bytes a document.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pellucid import events
from pellucid.corpus.document_index import DocumentIndex, index_documents
from pellucid.corpus.documents import PART_CHARS, Document, OnSkip, Part, Source, read_parts, size_in_bytes, sources_of, warn
from pellucid.corpus.encoder import CorpusEncoder
from pellucid.corpus.segments import Segment, find_cut, segments, subsample, training_texts
from pellucid.corpus.shard_writer import ChangedFileError
from pellucid.corpus.shards import FORMAT_VERSION, MANIFEST, TokenCorpus, open_corpus
from pellucid.corpus.split import LEFT_OUT, Split, split_documents
from pellucid.errors import PellucidError
from pellucid.events import Observer, emit
from pellucid.files import cannot_write, write_whole
from pellucid.folders import move_new
from pellucid.languages import mark
from pellucid.strict_json import Fields, read_json
from pellucid.text.tokenizer import Tokenizer
from pellucid.text.train import train_tokenizer


SHARD_TOKENS = 1 << 26
# Choice: a tokenizer is trained on at most this much text, spread evenly over all there is. The trainer's memory grows with the
# distinct words, and its time with the text; the most frequent pairs are found in this much.
TOKENIZER_CHARS = 1 << 27
INDEXING, TRAINING, ENCODING = mark("reading the text"), mark("training the tokenizer"), mark("turning text into tokens")
_STATE = "progress.json"
_PROGRESS_CHARS = 1 << 20  # between two events


def partial_directory(out: Path) -> Path:
    """Where the corpus `out` is while it is built, and stays if the process is interrupted or killed."""
    return out.with_name(f".{out.name}.partial")


def build_corpus(
    sources: Source | Iterable[Source],
    tokenizer: Tokenizer | int,
    out: Path,
    *,
    fraction: float = 0.05,
    seed: int = 0,
    held_out: Source | Iterable[Source] | None = None,
    shard_tokens: int = SHARD_TOKENS,
    on_skip: OnSkip = warn,
    observers: Sequence[Observer] = (),
) -> TokenCorpus:
    """Encodes documents into a new corpus directory and opens it.

    A build that was interrupted or killed goes on where it was when it is called with the same documents and arguments again.

    Args:
        sources: files, folders and documents (`documents.read_documents`).
        tokenizer: a tokenizer, or the vocabulary size of one to be trained on the training part and saved in the directory.
        out: must not exist, or be an empty directory. One build at a time for one `out`.
        fraction, seed: about how much of the text is held out, and which documents (`split.choose_held_out`). Documents with
            the same text are on the same side. Where whole documents make no fair split, the end of the longest one is held
            out, with an end-of-text between the two sides.
        held_out: what to hold out; then `fraction` and `seed` are not used, and all other documents are trained on.
        shard_tokens: the most tokens in one file.
        on_skip: called with what is not read, or not trained on, and the reason. Default: a warning.
        observers: called with `events.Progress`, in bytes; and with how many files were read, if a folder was given.

    Raises:
        PellucidError: `out` exists, the disk is full, or there is too little text to hold any out.
    """
    if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
        raise PellucidError(f"{out} exists already: name another path, or remove it")
    draft = partial_directory(out)
    interrupted = False
    try:
        if draft.is_symlink():
            draft.unlink()
        draft.mkdir(parents=True, exist_ok=True)
        named = None if held_out is None else sources_of(held_out, "held_out")
        _Build(sources_of(sources), named, draft, on_skip, observers).run(tokenizer, fraction, seed, shard_tokens)
        if out.is_dir() and not out.is_symlink():
            out.rmdir()  # it is empty; on Windows a directory cannot replace another
        move_new(draft, out)
    except OSError as error:
        raise cannot_write(out, error, "the corpus") from error
    except KeyboardInterrupt:
        interrupted = True
        raise
    finally:
        if not (interrupted and (draft / _STATE).exists()):
            shutil.rmtree(draft, ignore_errors=True)
    return open_corpus(out, verify=False)


class _Build:
    """The sources of a corpus, and the directory in which it is built."""

    def __init__(
        self, train: list[Source], held_out: list[Source] | None, directory: Path, on_skip: OnSkip,
        observers: Sequence[Observer],
    ) -> None:  # fmt: skip
        self.train, self.held_out, self.directory = train, held_out, directory
        self.on_skip, self.observers = on_skip, observers
        self.index: DocumentIndex
        self.split: Split
        self.cut = 0

    def run(self, tokenizer: Tokenizer | int, fraction: float, seed: int, shard_tokens: int) -> None:
        self._split(fraction, seed)
        wanted = tokenizer if isinstance(tokenizer, int) else tokenizer.fingerprint
        choices = (FORMAT_VERSION, PART_CHARS, wanted, fraction, seed, shard_tokens, self.cut, self.index.fingerprint)
        key = hashlib.sha256(repr(choices).encode() + self.split.sides.tobytes()).hexdigest()
        state = self._saved(key)

        def save(tokenizer: str, encoding: dict[str, Any] | None) -> None:
            write_whole(self.directory / _STATE, json.dumps({"key": key, "tokenizer": tokenizer, "encoding": encoding}))

        if isinstance(tokenizer, int):
            trained = self._trained_before(state)
            if trained is None:
                state, trained = {}, self._train_tokenizer(tokenizer)
                trained.save(self.directory)
                save(trained.fingerprint, None)
            tokenizer = trained
        written = self._encode(tokenizer, shard_tokens, state.get("encoding"), lambda done: save(tokenizer.fingerprint, done))
        manifest = {
            "format": "pellucid corpus",
            "version": FORMAT_VERSION,
            "dtype": written.pop("dtype"),
            "byte_order": "little",
            "tokenizer": {
                "fingerprint": tokenizer.fingerprint,
                "vocab_size": tokenizer.vocab_size,
                "eot": tokenizer.eot,
            },
            "held_out": "tail" if self.cut else "documents",
            "fraction": fraction,
            "seed": seed,
            **written,
        }
        write_whole(self.directory / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1) + "\n")
        (self.directory / _STATE).unlink(missing_ok=True)

    def _parts(self) -> Iterator[Part]:
        """The parts of all documents, without reporting again which files are not read."""
        for sources in (self.train, self.held_out or []):
            yield from read_parts(sources, on_skip=lambda path, reason: None)

    def _segments(self) -> Iterator[Segment]:
        return segments(self._parts(), self.index.sizes, self.split, self.cut)

    def _progress(self, stage: str, total: int) -> Callable[[int], None]:
        """Emits progress now and then."""
        due = _PROGRESS_CHARS

        def progress(done: int) -> None:
            nonlocal due
            if done >= due:
                due = done + _PROGRESS_CHARS
                emit(self.observers, events.Progress(stage=stage, done=done, total=max(done, total), unit="bytes"))

        return progress

    def _split(self, fraction: float, seed: int) -> None:
        """Indexes and splits the documents, and reports those that are left out."""
        sources = [*self.train, *(self.held_out or ())]
        read: list[Path] = []
        train = read_parts(self.train, on_skip=self.on_skip, on_read=read.append)
        held_out = None if self.held_out is None else read_parts(self.held_out, on_skip=self.on_skip, on_read=read.append)
        self.index = index_documents(train, held_out, self._progress(INDEXING, size_in_bytes(sources)))
        if any(not isinstance(source, Document) and Path(source).is_dir() for source in sources):
            emit(self.observers, events.Progress(stage=INDEXING, done=len(read), unit="files"))
        self.split = split_documents(self.index, fraction, seed)
        if self.split.cut is not None:
            self.cut = find_cut(self._parts(), self.split)
        if (self.split.sides == LEFT_OUT).any():
            document = -1
            for part in self._parts():
                document += part.first
                if part.first and self.split.sides[document] == LEFT_OUT:
                    self.on_skip(Path(part.name), "the same text is held out")

    def _saved(self, key: str) -> dict[str, Any]:
        """What an earlier build of the same corpus had done; of another corpus nothing is kept."""
        file = self.directory / _STATE
        try:
            state = Fields(read_json(file), file).values
            if state.get("key") == key:
                return state
        except (OSError, PellucidError):
            pass
        for path in self.directory.iterdir():
            path.unlink()
        return {}

    def _trained_before(self, state: dict[str, Any]) -> Tokenizer | None:
        try:
            tokenizer = Tokenizer.load(self.directory)
        except PellucidError:
            return None
        return tokenizer if tokenizer.fingerprint == state.get("tokenizer") else None

    def _train_tokenizer(self, vocab_size: int) -> Tokenizer:
        emit(self.observers, events.Progress(stage=TRAINING, done=0))
        total = int(self.index.sizes.sum())
        progress = self._progress(TRAINING, min(total, TOKENIZER_CHARS))

        def texts() -> Iterator[str]:
            done = 0
            for text in subsample(training_texts(self._segments()), total, TOKENIZER_CHARS):
                yield text
                done += len(text)
                progress(done)

        return train_tokenizer(texts(), vocab_size)

    def _encode(
        self, tokenizer: Tokenizer, shard_tokens: int, state: dict[str, Any] | None, save: Callable[[dict[str, Any]], None]
    ) -> dict[str, Any]:
        """Writes the shards and the list of documents, and gives their entries of the manifest."""
        emit(self.observers, events.Progress(stage=ENCODING, done=0))
        try:
            encoder = CorpusEncoder(self.directory, tokenizer, shard_tokens, state)
        except ChangedFileError:
            encoder = CorpusEncoder(self.directory, tokenizer, shard_tokens, None)
        with encoder:
            encoder.run(self._segments(), save, self._progress(ENCODING, int(self.index.sizes.sum())))
        return encoder.close()
