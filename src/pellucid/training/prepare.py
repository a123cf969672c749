"""Creates a run directory, whole or not at all, and prepares its text: the tokenizer and shards of tokens."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pellucid import events
from pellucid.corpus.build import ENCODING, build_corpus, partial_directory
from pellucid.corpus.documents import Source
from pellucid.errors import PellucidError
from pellucid.events import Observer, emit
from pellucid.files import cannot_write, sync_folder
from pellucid.folders import move_contents
from pellucid.gpt.config import GPTConfig
from pellucid.locks import LOCK, locked
from pellucid.runs.files import CORPUS, RUN_FILE
from pellucid.text import Tokenizer, r50k


DRAFT = ".partial"


@contextmanager
def new_run(run: Path) -> Iterator[Path]:
    """Makes a run directory: its contents are written to a folder inside it, which this yields, and move up when all is there.

    A preparation that was killed leaves only that folder, and so does one that was interrupted while text was turned into
    tokens. The next one goes on with those (`build_corpus`), and removes the rest.

    Raises:
        PellucidError: there is something in its place, or another process is preparing it.
    """
    there = {path.name for path in run.iterdir()} if run.is_dir() else set()
    interrupted = DRAFT in there and RUN_FILE not in there
    if run.exists() and not run.is_dir():
        raise PellucidError(f"{run} is a file, and a run is a folder: choose another name for it")
    if there - {LOCK} and not interrupted:
        how = "or resume the run in it (resume=True; --resume)" if RUN_FILE in there else "it holds other files than a run's"
        raise PellucidError(f"{run} exists: choose another folder, {how}")
    created = [path for path in (run, *run.parents) if not path.exists()]
    draft = run / DRAFT
    begun = partial_directory(draft / CORPUS)
    try:
        run.mkdir(parents=True, exist_ok=True)
        with locked(run):
            try:
                _remove(draft, but=begun)
                draft.mkdir(exist_ok=True)
                yield draft
                move_contents(draft, run, last=RUN_FILE)  # with its plan it is a run
                for path in created:
                    sync_folder(path.parent)
            finally:
                _remove(draft, but=begun)
    except OSError as error:
        raise cannot_write(run, error, "the run") from error
    finally:
        if created and not (run / RUN_FILE).exists() and not begun.exists():
            shutil.rmtree(run, ignore_errors=True)
            for path in created[1:]:
                with suppress(OSError):  # it could not be made, or holds what could not be removed
                    path.rmdir()


def _remove(folder: Path, *, but: Path) -> None:
    """Removes a folder; where one inside it is to stay, all but that."""
    if not but.exists():
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in folder.iterdir():
        if path != but:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


def prepare_corpus(
    corpus: Source | Iterable[Source],
    held_out: Source | Iterable[Source] | None,
    run: Path,
    shape: GPTConfig,
    tokenizer: Tokenizer | str | Path | None,
    seed: int,
    observers: Sequence[Observer],
) -> None:
    """Writes `run/corpus`: text -> tokenizer -> shards.

    Args:
        shape: its vocabulary is that of a tokenizer to be trained. tokenizer: one, or "r50k", "train" or a directory.
    """
    tokenizer = tokenizer or ("r50k" if shape.name.startswith("gpt") else "train")
    if tokenizer != "train" and not isinstance(tokenizer, Tokenizer):
        tokenizer = r50k() if tokenizer == "r50k" else Tokenizer.load(tokenizer)

    def skipped(path: Path, reason: str) -> None:
        emit(observers, events.Skipped(path=str(path), reason=reason))

    built = build_corpus(
        corpus, tokenizer if isinstance(tokenizer, Tokenizer) else shape.vocab_size, run / CORPUS, seed=seed, held_out=held_out,
        on_skip=skipped, observers=observers,
    )  # fmt: skip
    if isinstance(tokenizer, Tokenizer):
        tokenizer.save(run / CORPUS)  # one that was trained is there
    emit(observers, events.Progress(stage=ENCODING, done=len(built.train), unit="tokens"))
