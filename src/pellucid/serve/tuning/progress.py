"""`RunProgress`: what is new in the directory of a job's run, as events and checkpoints of the job."""

import csv
import io
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pellucid.errors import PellucidError
from pellucid.files import reading
from pellucid.runs.files import METRICS, RUN_FILE, checkpoints, step_of
from pellucid.runs.metrics import iterate_metrics
from pellucid.runs.plan import read_shown_plan
from pellucid.serve.tuning.jobs import JobStore
from pellucid.strict_json import parse_json


MOST_EVENTS = 200  # of steps, in a job
MOST_READ = 1 << 20  # bytes of metrics in one look
MOST_LOSSES = 10_000  # steps whose losses are in memory, for the checkpoints that follow
ROWS = 1000  # of the results that are written at once
COLUMNS = ("step", "train_loss", "valid_loss", "train_tokens", "valid_right", "valid_examples")


class RunProgress:
    """Follows a run. What is told again, as after a kill, is told once (`JobStore.add_event`).

    Args:
        jobs: where it tells. job: the id. run: the directory, which may not be there yet.
    """

    def __init__(self, jobs: JobStore, job: str, run: Path) -> None:
        self._jobs, self._job, self._run = jobs, job, run
        self._at = 0  # byte of the metrics that is read next
        self._inode: int | None = None
        self._plan: dict[str, Any] | None = None
        self._losses: dict[int, dict[str, float]] = {}
        self._saved = jobs.checkpoint_steps(job)

    def look(self) -> bool:
        """Tells what is new. Returns whether that is all: of a long run it is told in parts."""
        if self._plan is None:
            if not (self._run / RUN_FILE).exists():
                return True
            with suppress(PellucidError, OSError):
                self._plan = read_shown_plan(self._run)
            if self._plan is None:
                return True
            self._jobs.progress(self._job, total_steps=self._plan["total_steps"])
            self._jobs.add_event(self._job, "validated", "Training file validated; the first step follows")
        lines, all_read = self._lines()
        for line in lines:
            self._tell(line)
        if all_read:  # else the losses of a checkpoint may not have been read
            self._tell_checkpoints()
        return all_read

    def _lines(self) -> tuple[list[dict[str, Any]], bool]:
        """The lines of `metrics.jsonl` since the last look, or from its beginning where the file was written anew; and whether
        these are all."""
        try:
            with reading(self._run / METRICS) as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._at:
                    self._inode, self._at = status.st_ino, 0
                file.seek(self._at)
                data = file.read(MOST_READ)
        except OSError:
            return [], True
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        found = []
        for line in whole.splitlines():
            with suppress(ValueError):
                value = parse_json(line)
                if isinstance(value, dict) and isinstance(value.get("step"), int):
                    found.append(value)
        return found, len(data) < MOST_READ

    def _tell(self, line: dict[str, Any]) -> None:
        assert self._plan is not None
        step, total = line["step"], self._plan["total_steps"]
        known = self._losses.setdefault(step, {})
        if len(self._losses) > MOST_LOSSES:
            del self._losses[next(iter(self._losses))]
        if "loss" in line:
            known["train_loss"] = line["loss"]
            self._jobs.progress(self._job, step=step, trained_tokens=line.get("tokens"))
            if step % max(1, -(-total // MOST_EVENTS)) == 0 or step == total:
                self._add_metrics(f"step-{step}", f"Step {step}/{total}: training loss={line['loss']:.4f}", step, total)
        if "held_out_loss" in line:
            known["valid_loss"] = line["held_out_loss"]
            text = f"Step {step}/{total}: validation loss={line['held_out_loss']:.4f}"
            if "right" in line:
                known |= {"valid_right": line["right"], "valid_examples": line["examples"]}
                text += f", {line['right']} of {line['examples']} held-out examples answered exactly"
            self._add_metrics(f"held-out-{step}", text, step, total)

    def _add_metrics(self, name: str, text: str, step: int, total: int) -> None:
        data = {"step": step, "total_steps": total, **self._losses[step]}
        self._jobs.add_event(self._job, name, text, data=data)

    def _tell_checkpoints(self) -> None:
        steps = {step_of(path) for path in checkpoints(self._run)}
        for step in sorted(steps - self._saved):
            self._jobs.add_checkpoint(self._job, step, {"step": step, **self._losses.get(step, {})})
            self._jobs.add_event(self._job, f"checkpoint-{step}", f"Checkpoint created at step {step}")
        if gone := self._saved - steps:
            self._jobs.drop_checkpoints(self._job, gone)
        self._saved = steps


def results_csv(run: Path) -> Iterator[bytes]:
    """The losses of a run by step as CSV, part by part: the results file of a job."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for number, row in enumerate(_result_rows(run), start=1):
        writer.writerow(row)
        if number % ROWS == 0:
            yield out.getvalue().encode()
            out.seek(0)
            out.truncate()
    yield out.getvalue().encode()


def _result_rows(run: Path) -> Iterator[dict[str, Any]]:
    """A row for each step: that of its loss, and of its evaluation, which follow each other in `metrics.jsonl`."""
    named = {"loss": "train_loss", "held_out_loss": "valid_loss", "right": "valid_right", "examples": "valid_examples"}
    row: dict[str, Any] = {}
    with suppress(OSError):
        for line in iterate_metrics(run):
            if row and line["step"] != row["step"]:
                yield row
                row = {}
            row |= {"step": line["step"]} | {column: line[name] for name, column in named.items() if name in line}
            row["train_tokens"] = line.get("tokens", row.get("train_tokens"))
    if row:
        yield row
