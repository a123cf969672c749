"""The log of an evaluation: a line a sample, from which it resumes. No torch here.

    OUT/evaluation.json   the model's fingerprint and the version
    OUT/samples.jsonl     a line a sample or window: what was asked, what the model said, the metrics
    OUT/finetuned/        the same files of a model that was fine-tuned, where one was asked, too
    OUT/scores.json, OUT/scores.md, OUT/scores.svg   the results, once all samples are there

A line that was written is not asked again if it asks the same: with other queries, orders or shots the folder goes on from
what it has. A line that asks something else, or another model's fingerprint, ends it with an error.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from pellucid.errors import PellucidError
from pellucid.evaluation.measure import SampleResult
from pellucid.evaluation.shots import Sample
from pellucid.files import appending, make_folder, reading, updating, write_whole
from pellucid.locks import LOCK, locked
from pellucid.strict_json import Fields, parse_json, read_json, read_lines
from pellucid.version import __version__


FINETUNED = "finetuned"  # in OUT: the samples of a fine-tuned model, asked beside the model
EVALUATION, SAMPLES, SCORES, TABLE, CHART = "evaluation.json", "samples.jsonl", "scores.json", "scores.md", "scores.svg"
_FORMAT = "pellucid evaluation"
Key = tuple[str, int, int, int]  # task, shots, order, query; of a text: task, 0, 0, window


class SampleLog:
    """The samples that are known, and the file that new ones are written to; without a folder they are in memory only.

    Args:
        folder: locked by the caller (`open_log`).
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._known: dict[Key, dict[str, Any]] = {} if folder is None else dict(_read(folder / SAMPLES))
        self._file: BinaryIO | None = None if folder is None else appending(folder / SAMPLES)

    def __len__(self) -> int:
        return len(self._known)

    def find(self, key: Key, asked: Mapping[str, Any]) -> dict[str, Any] | None:
        """The line of a sample that was measured before; None if it was not.

        Raises:
            PellucidError: it was asked something else.
        """
        line = self._known.get(key)
        if line is None:
            return None
        if other := [name for name, value in asked.items() if line.get(name) != value]:
            raise PellucidError(
                f"{self.folder}: {SAMPLES} holds {_named(key)} with another {other[0]} than now, as another file of queries or "
                "another seed makes it: name another folder"
            )
        return line

    def add(self, key: Key, line: Mapping[str, Any]) -> None:
        """Writes the line of a sample; it is in the file when this returns."""
        names = dict(zip(("task", "shots", "order", "query"), key, strict=True))
        self._known[key] = {**names, **line}
        if self._file is not None:
            self._file.write(json.dumps(self._known[key], ensure_ascii=False).encode() + b"\n")
            self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()


@contextmanager
def open_log(folder: Path | None, fingerprint: str) -> Iterator[SampleLog]:
    """The log of a folder, which is made or gone on with; this process alone has it.

    Raises:
        PellucidError: the folder holds something else, or another model's samples; or another process has it.
    """
    if folder is None:
        yield SampleLog(None)
        return
    _check_folder(folder)
    make_folder(folder)
    with locked(folder):
        _check_model(folder, fingerprint)
        with SampleLog(folder) as log:
            yield log


def asked(sample: Sample) -> dict[str, Any]:
    """What a sample asks, as its line has it."""
    made: dict[str, Any] = {"prompt": sample.prompt.text, "answers": list(sample.query.answers)}
    if sample.query.choices:
        return made | {"choices": list(sample.query.choices), "answer_context": sample.task.answer_context}
    return made | {"stop": list(sample.task.stops(sample.query)), "max_tokens": sample.max_tokens}


def said(measured: SampleResult) -> dict[str, Any]:
    """What the model said, as a sample's line has it."""
    made: dict[str, Any] = {"logprobs": list(measured.logprobs), "tokens": list(measured.tokens)}
    if measured.output is None:
        return made | {"context_logprobs": list(measured.context_logprobs)}
    return made | {"output": measured.output}


def read_said(line: Mapping[str, Any], sample: Sample) -> SampleResult:
    """What a line says that the model said.

    Raises:
        PellucidError: it has not as many numbers as the sample has choices, or none at all.
    """
    fields = Fields(line, f"{SAMPLES}, {_named(sample.key)}")
    count = len(sample.query.choices) or 1

    def numbers(name: str, wanted: int) -> tuple[float, ...]:
        found = fields.list(name)
        if len(found) != wanted or not all(type(item) in (int, float) for item in found):
            raise fields.wrong(name, f"{wanted} numbers")
        return tuple(map(float, found))

    tokens = fields.integers("tokens", minimum=1)
    if len(tokens) != count:
        raise fields.wrong("tokens", f"{count} numbers")
    if not sample.query.choices:
        return SampleResult(logprobs=numbers("logprobs", 1), tokens=tokens, output=fields.text("output"))
    return SampleResult(logprobs=numbers("logprobs", count), tokens=tokens, context_logprobs=numbers("context_logprobs", count))


def _named(key: Key) -> str:
    task, shots, order, query = key
    return f"{task}, {shots} shots, order {order + 1}, query {query + 1}"


def _check_folder(folder: Path) -> None:
    """Raises PellucidError where something is in the way."""
    if folder.exists() and not folder.is_dir():
        raise PellucidError(f"{folder} is a file: name a folder")
    if (folder / EVALUATION).is_file() or not folder.is_dir():
        return
    if any(path.name != LOCK for path in folder.iterdir()):  # which is all that one that was killed at once has left
        raise PellucidError(f"{folder} holds other files and no evaluation: name a new folder")


def _check_model(folder: Path, fingerprint: str) -> None:
    """Writes evaluation.json, or compares it."""
    file = folder / EVALUATION
    if not file.exists():
        write_whole(file, json.dumps({"format": _FORMAT, "version": __version__, "model": fingerprint}, indent=1) + "\n")
        return
    fields = Fields(read_json(file), file)
    if fields.text("format") != _FORMAT:
        raise PellucidError(f"{file} is of no evaluation: name another folder")
    if fields.text("model") != fingerprint:
        raise PellucidError(f"{folder} holds the samples of another model: name another folder")


def _read(file: Path) -> Iterator[tuple[Key, dict[str, Any]]]:
    """The complete lines of the file; what a killed process left of a last one is cut off."""
    if not file.exists():
        return
    complete = 0
    with reading(file) as lines:
        for number, line in enumerate(read_lines(lines), start=1):
            if not line.endswith(b"\n"):
                break
            complete += len(line)
            try:
                values = parse_json(line)
            except ValueError as error:
                raise PellucidError(f"{file}, line {number}: {error}: remove the line") from None
            fields = Fields(values, f"{file}, line {number}")
            yield (fields.text("task"), *(fields.integer(name) for name in ("shots", "order", "query"))), values
    if complete < file.stat().st_size:
        with updating(file) as cut:
            cut.truncate(complete)
