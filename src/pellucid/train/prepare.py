"""From text to a run directory that is ready to start: the directory, the tokenizer, the shards."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pellucid import events
from pellucid.corpus.documents import Document, read_documents
from pellucid.corpus.shards import build_corpus
from pellucid.errors import PellucidError
from pellucid.events import Observer, emit
from pellucid.gpt.config import GPTConfig
from pellucid.text import Tokenizer, r50k, train_tokenizer


Source = str | Path | Document


@contextmanager
def new_run(run: Path) -> Iterator[Path]:
    """A run directory in the making: prepared beside its place, under its own name only when it is whole.

    Raises:
        PellucidError: there is something in its place already.
    """
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise PellucidError(f"{run} exists: choose another --out, or go on with it by --resume")
    run = run.absolute()  # of "." and "a/..", too, there is a name
    draft = run.with_name(f".{run.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)  # what an interrupted preparation left
    try:
        draft.mkdir(parents=True)
        yield draft
        if run.exists():
            run.rmdir()  # empty; on Windows a directory cannot replace another
        os.replace(draft, run)
    except OSError as error:
        raise PellucidError(f"cannot make the run {run}: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def prepare_corpus(
    corpus: Source | Sequence[Source],
    held_out: Source | Sequence[Source] | None,
    run: Path,
    shape: GPTConfig,
    tokenizer: Tokenizer | str | None,
    seed: int,
    observers: Sequence[Observer],
) -> None:
    """Text -> tokenizer -> shards, in `run/corpus`. The text is gone through twice, a file at a time."""
    tokenizer = tokenizer or ("r50k" if shape.name.startswith("gpt") else "train")
    if tokenizer == "train":
        emit(observers, events.Progress(stage="training the tokenizer", done=0))
        tokenizer = train_tokenizer((d.text for d in documents_of(corpus)), shape.vocab_size)
    elif isinstance(tokenizer, str):
        tokenizer = r50k() if tokenizer == "r50k" else Tokenizer.load(tokenizer)
    emit(observers, events.Progress(stage="turning text into tokens", done=0))
    built = build_corpus(
        documents_of(corpus), tokenizer, run / "corpus", seed=seed,
        held_out=None if held_out is None else documents_of(held_out),
    )  # fmt: skip
    tokenizer.save(run / "corpus")
    emit(observers, events.Progress(stage="turning text into tokens", done=len(built.train), unit="tokens"))


def documents_of(source: Source | Sequence[Source]) -> Iterator[Document]:
    """Documents as they are, then those read from files and folders; the same again at each call."""
    sources = [source] if isinstance(source, str | Path | Document) else list(source)
    yield from (s for s in sources if isinstance(s, Document))
    if paths := [s for s in sources if not isinstance(s, Document)]:
        yield from read_documents(paths)
