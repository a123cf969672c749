"""`metrics.jsonl`: a line a step, an evaluation, a sample, and an early end; written by an observer, read back as dicts.

A line that is damaged (bytes that are not UTF-8, half a line, another type) is left out wherever lines are read, and reported.
"""

import codecs
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pellucid import events
from pellucid.errors import PellucidError
from pellucid.files import appending, cannot_write, reading, replacing, sync_file
from pellucid.runs.files import METRICS
from pellucid.runs.plan import Plan
from pellucid.strict_json import Fields, parse_json, read_lines


MAX_LINE_BYTES = 1 << 20
MAX_COUNT = 2**53 - 1
MAX_TOKEN_ID = 2**31 - 1
_NUMBERS = {
    "loss", "lr", "grad_norm", "tokens_per_s", "waiting", "flops_per_s", "matmul_share", "held_out_loss", "bits_per_byte",
}  # fmt: skip
_TEXTS = {"prompt", "sample", "ended"}
# Fields that a line must also have, by a field that it has.
_ALSO = {
    "step": ("tokens",), "loss": ("lr", "grad_norm", "tokens_per_s"), "held_out_loss": ("bits_per_byte",),
    "sample": ("prompt", "ids"), "right": ("examples", "held_out_loss"), "ended": ("tokens",),
}  # fmt: skip
_END = 1 << 16  # bytes of the end of the file that `last_line` reads: some hundred lines


class MetricsWriter:
    """An observer that appends a line to `RUN/metrics.jsonl` for each event that has one.

    Lines of steps after the checkpoint that a run resumes from are cut first: those steps are about to happen again. Damaged
    lines are removed, and every line that stays ends with a newline. So is the line of an early end: the run goes on.

    Args:
        run: the run directory.
        keep_steps: the step that the run resumes from; 0 for a new run, which begins with an empty file.

    Attributes:
        damaged: the lines that were removed because they could not be read.
    """

    def __init__(self, run: Path, *, keep_steps: int) -> None:
        self.path = path = run / METRICS
        self.damaged = DamagedLines()
        if path.exists():
            with reading(path) as old, replacing(path) as new:
                lines = _lines(old, self.damaged if keep_steps else DamagedLines())
                new.writelines(
                    line + b"\n" for line, values in lines
                    if keep_steps and values["step"] <= keep_steps and "ended" not in values
                )  # fmt: skip
        self.file = appending(path)

    def __call__(self, event: events.Event) -> None:
        """Writes the line of an event that has one.

        Raises:
            PellucidError: it cannot be written.
        """
        values = _LINES.get(type(event))
        if values is None or (isinstance(event, events.RunFinished) and event.reason == "done"):
            return
        try:
            self.file.write(json.dumps(values(event)).encode("ascii") + b"\n")
            self.file.flush()
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def sync(self) -> None:
        """Flushes what was written to the disk. Raises as writing does."""
        try:
            sync_file(self.file)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        """Closes the file. Every line was flushed when it was written: what is left now is one that could not be."""
        with suppress(OSError):
            self.file.close()


def _step(event: events.StepDone) -> dict[str, Any]:
    return {
        "step": event.step, "tokens": event.tokens, "loss": event.loss, "lr": event.lr,
        "grad_norm": event.grad_norm, "tokens_per_s": round(event.tokens_per_s, 1), "waiting": round(event.waiting, 5),
        "flops_per_s": round(event.flops_per_s), "matmul_share": round(event.matmul_share, 4),
    }  # fmt: skip


def _skipped(event: events.StepSkipped) -> dict[str, Any]:
    scores = {"loss": event.loss_score, "grad_norm": event.grad_norm_score, "allowed": event.allowed}
    return {"step": event.step, "tokens": event.tokens, "skipped": scores}


def _held_out(event: events.HeldOut) -> dict[str, Any]:
    line = {
        "step": event.step, "tokens": event.tokens, "held_out_loss": event.held_out_loss, "bits_per_byte": event.bits_per_byte,
    }  # fmt: skip
    return line if event.right is None else line | {"right": event.right, "examples": event.examples}


def _sample(event: events.Sampled) -> dict[str, Any]:
    return {
        "step": event.step, "tokens": event.tokens, "prompt": event.prompt, "sample": event.text, "ids": list(event.ids),
    }  # fmt: skip


def _ended(event: events.RunFinished) -> dict[str, Any]:
    return {"step": event.step, "tokens": event.tokens, "ended": event.reason}


# What a line holds, by the event it is written for; a run that took all its steps has none for its end.
_LINES: dict[type, Callable[[Any], dict[str, Any]]] = {
    events.StepDone: _step, events.StepSkipped: _skipped, events.HeldOut: _held_out, events.Sampled: _sample,
    events.RunFinished: _ended,
}  # fmt: skip


class DamagedLines:
    """The lines of a `metrics.jsonl` that were left out.

    Attributes:
        count: how many. first: the number of the first of them, and what is wrong with it.
    """

    def __init__(self) -> None:
        self.count, self.first = 0, ""

    def add(self, number: int, reason: object) -> None:
        """Counts a line."""
        self.count += 1
        self.first = self.first or f"line {number}: {reason}"

    def __str__(self) -> str:
        """"2 damaged lines left out (line 7: it is not JSON ...)", or the same of one line."""
        return f"{self.count:,} damaged line{'s' * (self.count != 1)} left out ({self.first})"


def read_metrics(run: Path, *, until: int | None = None) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`. Damaged ones are left out with a warning, one that a kill cut short without.

    Args:
        until: the last step whose lines are wanted. None: all.

    Raises:
        FileNotFoundError: there is no such file.
        PellucidError: it cannot be read.
    """
    try:
        lines, damaged = readable_lines(run)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise PellucidError(f"cannot read {run / METRICS}: {error.strerror or error}") from None
    if damaged.count:
        warnings.warn(f"{run / METRICS}: {damaged}", stacklevel=2)
    return lines if until is None else [line for line in lines if line["step"] <= until]


def readable_lines(run: Path) -> tuple[list[dict[str, Any]], DamagedLines]:
    """The lines of a run's `metrics.jsonl`, and what was left out of them. Raises OSError where there is no such file."""
    damaged = DamagedLines()
    with reading(run / METRICS) as file:
        return [values for _, values in _lines(file, damaged)], damaged


def iterate_metrics(run: Path) -> Iterator[dict[str, Any]]:
    """The readable lines of a run's `metrics.jsonl`, one by one. Raises OSError where there is no such file."""
    with reading(run / METRICS) as file:
        for _, values in _lines(file, DamagedLines()):
            yield values


def missing_line(lines: Sequence[Mapping[str, Any]], plan: Plan, step: int) -> str | None:
    """What has no line of its own though it has happened: "step 3", "the evaluation of step 4"; None: everything has one.

    Args:
        lines: of a run's first `step` steps.
    """
    last = [plan.total_steps] if step == plan.total_steps else []
    expected = {
        ("loss", "step"): range(1, step + 1),
        ("held_out_loss", "the evaluation of step"): dict.fromkeys([*range(0, step + 1, plan.held_out_every), *last]),
        ("sample", "the sample of step"): [at for at in plan.sample_at if at <= step and plan.sample_prompt],
    }
    for (name, what), steps in expected.items():
        found = (line["step"] for line in lines if name in line)
        if (wrong := next((each for each in steps if next(found, None) != each), None)) is not None:
            return f"{what} {wrong:,}"
    return None


def _lines(file: BinaryIO, damaged: DamagedLines) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The readable lines of an open file, without their ends, and their values; the others are added to `damaged`."""
    for number, line in enumerate(read_lines(file, MAX_LINE_BYTES), start=1):
        text = (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).strip()
        try:
            values = _parse_line(text)
        except ValueError as error:
            if text and (line.endswith(b"\n") or len(line) > MAX_LINE_BYTES):
                damaged.add(number, error)
            if len(line) > MAX_LINE_BYTES:  # no run writes such a line: what follows may have no end
                return
            continue
        yield text, values


def _parse_line(line: bytes) -> dict[str, Any]:
    """The values of a line, each of its type and within its range.

    Raises:
        ValueError: what is wrong with it.
    """
    found = Fields(parse_json(line, max_bytes=MAX_LINE_BYTES), "it")
    found.integer("step", maximum=MAX_COUNT)
    for name in ("tokens", "right", "examples"):
        found.integer(name, None, maximum=MAX_COUNT)
    for name in _NUMBERS.intersection(found.values):
        found.number(name)
    for name in _TEXTS.intersection(found.values):
        found.text(name)
    found.integers("ids", None, maximum=MAX_TOKEN_ID)
    if (skipped := found.object("skipped", None)) is not None:
        for name in skipped:
            skipped.number(name)
    wanted = [name for key, names in _ALSO.items() if key in found for name in names]
    if missing := [name for name in wanted if name not in found]:
        raise ValueError(f"it lacks {missing[0]!r}")
    return found.values


class LastLine(NamedTuple):
    """What the last line of `metrics.jsonl` says of a run.

    Attributes:
        step: that the run has come to.
        ended: why the run ended before its planned steps (`events.EndReason`); None where it did not.
    """

    step: int
    ended: str | None


def last_line(run: Path) -> LastLine | None:
    """The last readable line of `metrics.jsonl`, of which only the end is read; None where there is none."""
    try:
        with reading(run / METRICS) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _END))
            lines = file.read(_END).splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        with suppress(ValueError):
            found = Fields(parse_json(line, max_bytes=_END, nan=True), METRICS)
            return LastLine(found.integer("step"), found.text("ended", None))
    return None
