"""The log of an evaluation, a line a sample, from which it resumes. No torch here.

    OUT/evaluation.json   the model's fingerprint and the version
    OUT/samples.jsonl     a line a sample (or a window of a text): the request, the result, the metrics
    OUT/finetuned/        the same two files for the fine-tuned model, where there is one
    OUT/scores.json, OUT/scores.md, OUT/scores.svg   the results, once all samples are there

A sample whose line has the same request is not measured again, also after a change of the number of queries, orders or shots.
A line of the same sample with another request, or another model's fingerprint, is an error.
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


FINETUNED = "finetuned"  # in OUT: the samples of a fine-tuned model
EVALUATION, SAMPLES, SCORES, TABLE, CHART = "evaluation.json", "samples.jsonl", "scores.json", "scores.md", "scores.svg"
_FORMAT = "pellucid evaluation"
Key = tuple[str, int, int, int]  # task, shots, order, query; of a text: task, 0, 0, window


class SampleLog:
    """The samples measured so far, and the file that new ones are appended to; without a folder they are in memory only.

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

        Args:
            asked: the sample's request (`request_fields`).

        Raises:
            PellucidError: the line has another request.
        """
        line = self._known.get(key)
        if line is None:
            return None
        if other := [name for name, value in asked.items() if line.get(name) != value]:
            raise PellucidError(
                f"{self.folder}: {SAMPLES} holds {_named(key)} with another {other[0]} (another file of queries, or another "
                "seed?): name another folder"
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
    """Opens the log of a folder, a new one or an existing one, and locks it; None: a log in memory.

    Raises:
        PellucidError: the folder holds something else, or another model's samples, or another process has locked it.
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


def request_fields(sample: Sample) -> dict[str, Any]:
    """The fields of a sample's line that say what the model was asked."""
    made: dict[str, Any] = {"prompt": sample.prompt.text, "answers": list(sample.query.answers)}
    if sample.query.choices:
        return made | {"choices": list(sample.query.choices), "answer_context": sample.task.answer_context}
    return made | {"stop": list(sample.task.stops(sample.query)), "max_tokens": sample.max_tokens}


def result_fields(measured: SampleResult) -> dict[str, Any]:
    """The fields of a sample's line that say what was measured."""
    made: dict[str, Any] = {"logprobs": list(measured.logprobs), "tokens": list(measured.tokens)}
    if measured.output is None:
        return made | {"context_logprobs": list(measured.context_logprobs)}
    return made | {"output": measured.output}


def read_result(line: Mapping[str, Any], sample: Sample) -> SampleResult:
    """The inverse of `result_fields`.

    Raises:
        PellucidError: a field is missing, of another type, or has another number of values than the sample has choices.
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
    """Raises PellucidError for a file, or for a folder that holds other things than an evaluation."""
    if folder.exists() and not folder.is_dir():
        raise PellucidError(f"{folder} is a file: name a folder")
    if (folder / EVALUATION).is_file() or not folder.is_dir():
        return
    if any(path.name != LOCK for path in folder.iterdir()):  # an evaluation that was killed at once leaves only its lock
        raise PellucidError(f"{folder} holds other files and no evaluation: name a new folder")


def _check_model(folder: Path, fingerprint: str) -> None:
    """Writes evaluation.json, or raises PellucidError if there is one of another model."""
    file = folder / EVALUATION
    if not file.exists():
        write_whole(file, json.dumps({"format": _FORMAT, "version": __version__, "model": fingerprint}, indent=1) + "\n")
        return
    fields = Fields(read_json(file), file)
    if fields.text("format") != _FORMAT:
        raise PellucidError(f"{file} does not belong to an evaluation: name another folder")
    if fields.text("model") != fingerprint:
        raise PellucidError(f"{folder} holds the samples of another model: name another folder")


def _read(file: Path) -> Iterator[tuple[Key, dict[str, Any]]]:
    """The complete lines of the file. A last line that a killed process left incomplete is cut off in the file."""
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
