"""Creates a run directory, whole or not at all, and prepares its text: the tokenizer and shards of tokens."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pellucid import events
from pellucid.arguments import path_of, shown
from pellucid.corpus.build import build_corpus
from pellucid.corpus.documents import Document, read_documents
from pellucid.errors import PellucidError
from pellucid.events import Observer, emit
from pellucid.files import LOCK, locked
from pellucid.gpt.config import GPTConfig
from pellucid.runs.files import CORPUS, RUN_FILE
from pellucid.text import Tokenizer, r50k, train_tokenizer


Source = str | Path | Document
DRAFT = ".partial"


@contextmanager
def new_run(run: Path) -> Iterator[Path]:
    """Makes a run directory: its contents are written to a folder inside it, which this yields, and move up when all is there.

    A preparation that was killed leaves only that folder, which the next one removes.

    Raises:
        PellucidError: there is something in its place, or another process is preparing it.
    """
    there = {path.name for path in run.iterdir()} if run.is_dir() else set()
    interrupted = DRAFT in there and RUN_FILE not in there
    if (run.exists() and not run.is_dir()) or (there - {LOCK} and not interrupted):
        raise PellucidError(f"{run} exists: choose another --out, or go on with it by --resume")
    created = [path for path in (run, *run.parents) if not path.exists()]
    draft = run / DRAFT
    try:
        run.mkdir(parents=True, exist_ok=True)
        with locked(run):
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            yield draft
            for path in sorted(draft.iterdir(), key=lambda path: path.name == RUN_FILE):  # the plan last: now it is a run
                if (run / path.name).is_dir():
                    shutil.rmtree(run / path.name)
                os.replace(path, run / path.name)
    except OSError as error:
        raise PellucidError(f"cannot make the run {run}: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if created and not (run / RUN_FILE).exists():
            shutil.rmtree(run, ignore_errors=True)
            for path in created[1:]:
                path.rmdir()  # made for this run, and empty again


def prepare_corpus(
    corpus: Source | Iterable[Source],
    held_out: Source | Iterable[Source] | None,
    run: Path,
    shape: GPTConfig,
    tokenizer: Tokenizer | str | Path | None,
    seed: int,
    observers: Sequence[Observer],
) -> None:
    """Writes `run/corpus`: text -> tokenizer -> shards. The text is read twice, a file at a time.

    Args:
        shape: its vocabulary is that of a tokenizer to be trained. tokenizer: one, or "r50k", "train" or a directory.
    """
    corpus, held_out = sources(corpus), None if held_out is None else sources(held_out, "held_out")
    tokenizer = tokenizer or ("r50k" if shape.name.startswith("gpt") else "train")
    if tokenizer == "train":
        emit(observers, events.Progress(stage="training the tokenizer", done=0))
        tokenizer = train_tokenizer((d.text for d in documents_of(corpus)), shape.vocab_size)
    elif not isinstance(tokenizer, Tokenizer):
        tokenizer = r50k() if tokenizer == "r50k" else Tokenizer.load(tokenizer)
    emit(observers, events.Progress(stage="turning text into tokens", done=0))

    def skipped(path: Path, reason: str) -> None:
        emit(observers, events.Skipped(path=str(path), reason=reason))

    built = build_corpus(
        documents_of(corpus, skipped), tokenizer, run / CORPUS, seed=seed,
        held_out=None if held_out is None else documents_of(held_out, skipped),
    )  # fmt: skip
    tokenizer.save(run / CORPUS)
    emit(observers, events.Progress(stage="turning text into tokens", done=len(built.train), unit="tokens"))


def sources(given: Source | Iterable[Source], name: str = "corpus") -> list[Source]:
    """One source or several, as a list.

    Raises:
        PellucidError: what is no path and no document. "" is no path: it would mean the current folder.
    """
    if isinstance(given, str | Path | Document):
        listed: list[Any] = [given]
    elif isinstance(given, Iterable) and not isinstance(given, bytes | Mapping):
        listed = list(given)
    else:
        listed = []
    if not listed:
        raise PellucidError(f"{name} must be a file or folder, a corpus.Document, or a list of these, not {shown(given)}")
    return [one if isinstance(one, Document) else path_of(f"{name} (a file or folder of text)", one) for one in listed]


def documents_of(
    given: Sequence[Source], skipped: Callable[[Path, str], None] = lambda path, reason: None
) -> Iterator[Document]:
    """Documents as they are, then those read from files and folders. `skipped` is called for files that were not read."""
    yield from (s for s in given if isinstance(s, Document))
    if paths := [s for s in given if not isinstance(s, Document)]:
        yield from read_documents(paths, on_skip=skipped)
