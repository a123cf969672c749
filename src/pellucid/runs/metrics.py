"""`metrics.jsonl`: a line a step, a line a held-out evaluation, a line a sample; written by an observer, read back as dicts."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pellucid import events
from pellucid.errors import PellucidError
from pellucid.files import appending, reading, replacing, sync_file
from pellucid.runs.files import METRICS
from pellucid.runs.metrics_lines import MAX_LINE_BYTES, parse_line
from pellucid.strict_json import Fields, parse_json, read_lines


# What a line must also hold, by a field that it holds.
_ALSO = {
    "step": ("tokens",), "loss": ("lr", "grad_norm", "tokens_per_s"), "held_out_loss": ("bits_per_byte",),
    "sample": ("prompt", "ids"),
}  # fmt: skip
_END = 1 << 16  # bytes of the end of the file that `last_step` reads: some hundred lines


class MetricsWriter:
    """An observer that appends a line to `RUN/metrics.jsonl` for each event that has one.

    Lines of steps after the checkpoint that a run resumes from are cut first: those steps are about to happen again.

    Args:
        run: the run directory.
        keep_steps: the step that the run resumes from; 0 for a new run, which begins with an empty file.
    """

    def __init__(self, run: Path, *, keep_steps: int) -> None:
        path = run / METRICS
        if path.exists():
            with reading(path) as old, replacing(path) as new:
                new.writelines(line for line, values in _lines(old, path) if keep_steps and values["step"] <= keep_steps)
        self.file = appending(path)

    def __call__(self, event: events.Event) -> None:
        """Writes the line of an event that has one.

        Raises:
            PellucidError: the disk would not take it.
        """
        values = _LINES.get(type(event))
        if values is None:
            return
        try:
            self.file.write(json.dumps(values(event)).encode("ascii") + b"\n")
            self.file.flush()
        except OSError as error:
            raise PellucidError(f"could not write {self.file.name}: {error}; fix that, then resume") from error

    def sync(self) -> None:
        """Flushes what was written to the disk."""
        sync_file(self.file)

    def close(self) -> None:
        """Closes the file."""
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
    return {
        "step": event.step, "tokens": event.tokens, "held_out_loss": event.held_out_loss, "bits_per_byte": event.bits_per_byte,
    }  # fmt: skip


def _sample(event: events.Sampled) -> dict[str, Any]:
    return {
        "step": event.step, "tokens": event.tokens, "prompt": event.prompt, "sample": event.text, "ids": list(event.ids),
    }  # fmt: skip


# What a line holds, by the event it is written for.
_LINES: dict[type, Callable[[Any], dict[str, Any]]] = {
    events.StepDone: _step, events.StepSkipped: _skipped, events.HeldOut: _held_out, events.Sampled: _sample,
}  # fmt: skip


def read_metrics(run: Path, *, until: int | None = None) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`; one that a kill cut short is left out.

    Args:
        until: the last step whose lines are wanted. None: all.

    Raises:
        FileNotFoundError: there is no such file.
        PellucidError: it cannot be read, or holds a line that this did not write; the message names file, line and field.
    """
    path = run / METRICS
    try:
        with reading(path) as file:
            lines = [values for _, values in _lines(file, path)]
    except FileNotFoundError:
        raise
    except OSError as error:
        raise PellucidError(f"cannot read {path}: {error.strerror or error}") from None
    return lines if until is None else [line for line in lines if line["step"] <= until]


def _lines(file: BinaryIO, path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The lines of an open file with their values, less a last one that a kill cut short.

    Raises:
        PellucidError: a line that is not one of a run's.
    """
    for number, line in enumerate(read_lines(file, MAX_LINE_BYTES), start=1):
        if line.endswith(b"}\n") or len(line) > MAX_LINE_BYTES:
            try:
                values = parse_line(line)
                wanted = [name for key, names in _ALSO.items() if key in values for name in names]
                if missing := [name for name in wanted if name not in values]:
                    raise ValueError(f"it lacks {missing[0]!r}")
                yield line, values
            except ValueError as error:
                raise PellucidError(f"{path}, line {number} is damaged ({error}): remove it to go on without it") from None


def last_step(run: Path) -> int | None:
    """The step of the last readable line of `metrics.jsonl`, of which only the end is read; None where there is none."""
    try:
        with reading(run / METRICS) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _END))
            lines = file.read(_END).splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            return int(Fields(parse_json(line, max_bytes=_END, nan=True), METRICS).integer("step"))
        except ValueError:
            continue
    return None
