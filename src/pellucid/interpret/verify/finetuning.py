"""Verifying a fine-tuning record: both models are in the run, so all chunks but most steps' losses are recomputed.

Q weight matrices, N steps, E evaluations. Steps are run again from the model before and from the checkpoints that still exist,
and held-out losses measured again there and of the model that was kept; the other losses are only compared with
`metrics.jsonl`, which all must equal, and the report says so. Tolerances are those of `training`;
answers have none: two tokens that are equally likely up to rounding may change places on another machine.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pellucid.errors import PellucidError
from pellucid.finetuning.general import read_general
from pellucid.finetuning.job import batches_of, first_model
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.gpt.fingerprint import fingerprint
from pellucid.interpret.capture import PIECES
from pellucid.interpret.finetuning_recorder import (
    MAX_EXAMPLES,
    answers,
    change_maps,
    change_norms,
    finetuning_provenance,
    general_losses,
    general_source,
    held_out_examples,
    piece_tables,
)
from pellucid.interpret.training_chunks import thumbnail_source
from pellucid.interpret.training_stats import norms, weights_of
from pellucid.interpret.verify.difference import (
    Array,
    Difference,
    absolute_difference,
    compare_rows,
    equal,
    equality,
    range_of,
    row_ranges,
    same_json,
)
from pellucid.interpret.verify.identity import check_same_run
from pellucid.interpret.verify.replay import saved_weights, threads_and_generator
from pellucid.interpret.verify.report import ChunkResult, WordResult, unknown_chunk
from pellucid.interpret.verify.training import LOSS_TOLERANCE
from pellucid.interpret.verify.words import chunk_words, compared, provenance_words
from pellucid.record import Record
from pellucid.record.check import named_specs
from pellucid.runs.files import BASE, GENERAL, METRICS, MODEL, RUN_FILE
from pellucid.runs.metrics import missing_line, read_metrics
from pellucid.runs.plan import Plan
from pellucid.training import checkpoint
from pellucid.training.batches import Batches
from pellucid.training.checkpoint import State
from pellucid.training.execution import take_step
from pellucid.training.optimizers import make_optimizer


_F = "finetuning/"


class FinetuningVerifier:
    """Compares a fine-tuning record with its run directory.

    Raises:
        PellucidError: `run` is not a fine-tuning run or another one, or lacks a file that verifying needs.
    """

    def __init__(self, record: Record, run: Path) -> None:
        if not (run / RUN_FILE).is_file():
            raise PellucidError(
                f"a finetuning record is verified with its run's directory (run.json, base/, model/), and {run} is none: give "
                "the run (on the command line -m RUN)"
            )
        self.record, self.run = record, run
        self.plan = Plan.load(run, kind="finetune")
        check_same_run(record, record[_F + "plan"], self.plan, run)
        self.base, self.tuned = load(run / BASE), load(run / MODEL)
        self.named = fingerprint(self.tuned)
        if self.named != record.provenance.model:
            raise PellucidError(
                f"the record was made of another run: it names the model {record.provenance.model[:12]}, and {run} has "
                f"{self.named[:12]}"
            )
        self.examples = len(held_out_examples(run))
        self.answered = answers(self.base, self.tuned, held_out_examples(run)[:MAX_EXAMPLES])
        names = [name for name, _ in self.plan.config.matrices()]
        self.maps = dict(zip(names, change_maps(self.base, self.tuned), strict=True))
        self.general = read_general(run, self.plan.config.vocab_size)
        total = self.plan.total_steps
        self.evaluated = sorted({*range(0, total + 1, self.plan.held_out_every), total})
        self.measured = measure_saved(run, self.plan, self.tuned)
        self.lines = self._logged()

    def results(self) -> tuple[ChunkResult, ...]:
        """The result for each chunk, in the record's order."""
        specs, record = named_specs(self.record), self.record
        known = (self._result(name) if name in specs else unknown_chunk(name, record.entry(name).truth) for name in record)
        return tuple(known)

    def words(self) -> tuple[WordResult, ...]:
        """The result for each word of the header."""
        record = self.record
        expected = finetuning_provenance(self.run, self.plan, self.tuned, self.named)
        names = ("model", "config", "parameters", "dtype", "tokenizer", "step", "seed", "machine")
        sources = {f"{_F}thumbnails/{matrix}": thumbnail_source(matrix) for matrix in self.maps}
        if self.general is not None:
            sources[_F + "general/ids"] = general_source(self.general)
        scales = []
        for matrix, change in self.maps.items():
            if (name := f"{_F}thumbnails/{matrix}") in record:
                low, high = record.entry(name).scale or (0.0, 0.0)
                near = bool(max(abs(low - change.min()), abs(high - change.max())) <= 2.0**-16 * np.abs(change).max())
                scales.append(compared(f"{name}: scale", near, True, note="not the range of the recomputed numbers"))
        return (
            *provenance_words(record, {name: getattr(expected, name) for name in names}, self.plan.config),
            *chunk_words(record, sources),
            *scales,
        )

    def _result(self, name: str) -> ChunkResult:
        """The result for a chunk that the schema knows."""
        record, tokenizer = self.record, self.tuned.require_tokenizer()
        if name.startswith(_F + "thumbnails/"):
            return self._thumbnail(name)
        match name.removeprefix(_F):
            case "plan":
                return equality(True).result(record, name)  # checked by `check_same_run`
            case "matrices":
                return equality(same_json(record[name], list(self.maps))).result(record, name)
            case "answers":
                return equality(same_json(record[name], self.answered)).result(record, name)
            case "change" | "weights" as kind:
                expected = change_norms(self.base, self.tuned) if kind == "change" else norms(weights_of(self.base)).numpy()
                difference = absolute_difference(record[name].astype(np.float64), expected)
                return Difference(difference, 2.0**-16 * expected, value_range=range_of(expected)).result(record, name)
            case "steps/loss":
                return self._by_step(name, "loss", range(1, self.plan.total_steps + 1))
            case "held_out/steps":
                return equal(record[name], np.array(self.evaluated)).result(record, name)
            case "held_out/loss":
                return self._by_step(name, "held_out_loss", self.evaluated)
            case "held_out/right":
                return self._by_step(name, "right", self.evaluated)
            case "held_out/examples":
                return equal(record[name], np.array(self.examples)).result(record, name)
            case "general/ids":
                return equal(record[name], self.general.ids).result(record, name) if self.general else self._no_source(name)
            case "general/loss":
                return self._general_losses(name)
        table = piece_tables(tokenizer, self.answered, self.general)
        return equal(record[name], table[PIECES.index(name)]).result(record, name)

    def _no_source(self, name: str) -> ChunkResult:
        return replace(equality(False).result(self.record, name), note=f"the run has no {GENERAL}")

    def _thumbnail(self, name: str) -> ChunkResult:
        stored, change = self.record[name], self.maps.get(name.removeprefix(_F + "thumbnails/"))
        if change is None or change.shape != stored.shape:
            return equality(False).result(self.record, name)
        change = change.astype(np.float64)
        # Half a step of the recomputed range, and float32's rounding of its ends.
        allowed = np.ptp(change) / 510 * (1 + 2.0**-10) + 2.0**-15 * np.abs(change).max()
        found = Difference(absolute_difference(stored, change), allowed, value_range=range_of(change))
        return found.result(self.record, name)

    def _general_losses(self, name: str) -> ChunkResult:
        if self.general is None:
            return self._no_source(name)
        expected = general_losses(self.base, self.tuned, self.general, self.plan).astype(np.float64)
        stored = self.record[name].astype(np.float64)
        if stored.shape != expected.shape:
            return equality(False).result(self.record, name)
        ranges = row_ranges(expected, (1, 2))
        found = Difference(absolute_difference(stored, expected), self._loss_tolerance(expected), "nats", ranges)
        return found.result(self.record, name)

    def _by_step(self, name: str, field: str, steps: Sequence[int]) -> ChunkResult:
        """The result for the losses of some steps: all are compared with `metrics.jsonl`, those of known weights recomputed."""
        logged = None if self.lines is None else np.array([line[field] for line in self.lines if field in line])
        before = 1 if field == "loss" else 0  # the loss of step s is that of the weights before it
        measured = {step: found[field] for step, found in self.measured.items() if field in found}
        recomputed = {row: np.array(measured[step - before]) for row, step in enumerate(steps) if step - before in measured}
        allowed, unit = (np.zeros_like, "examples") if field == "right" else (self._loss_tolerance, "nats")
        return compare_rows(self.record, name, logged, recomputed, allowed, steps, unit)

    def _loss_tolerance(self, loss: Array) -> Array:
        return LOSS_TOLERANCE[self.plan.dtype] * (1 + np.abs(loss))

    def _logged(self) -> list[dict[str, Any]] | None:
        """The lines of `metrics.jsonl`; None where it is not there or not complete."""
        if not (self.run / METRICS).is_file():
            return None
        lines = read_metrics(self.run, until=self.plan.total_steps)
        return lines if missing_line(lines, self.plan, self.plan.total_steps) is None else None


def measure_saved(run: Path, plan: Plan, tuned: GPT) -> dict[int, dict[str, float]]:
    """What follows from the weights that still exist, by the number of steps before them, under the names of `metrics.jsonl`.

    "loss" is that of the step that follows, which is taken again; "held_out_loss" and "right" those of the weights themselves.
    Weights exist before the first step, in the checkpoints, and of the model that was kept.
    """
    found: dict[int, dict[str, float]] = {}
    dtype: torch.dtype = getattr(torch, plan.dtype)
    with threads_and_generator(plan):
        for step, path in saved_weights(run, plan, plan.total_steps).items():
            model = first_model(run, plan)
            optimizer = make_optimizer(model, plan.recipe, plan.optimizer, plan.optimizer_settings)
            batches = batches_of(run, model, plan)
            state = State(step=0, tokens=0) if path is None else checkpoint.load(path, model, optimizer)
            found[step] = _evaluated(model.eval(), batches, dtype)
            if step < plan.total_steps:
                found[step]["loss"] = take_step(plan, model, optimizer, batches, state).loss
        kept = checkpoint.best(run) if plan.keep_best else None
        if kept is not None and kept.step not in found:
            batches = batches_of(run, tuned, plan)
            found[kept.step] = _evaluated(tuned.eval(), batches, dtype)
    return found


def _evaluated(model: GPT, batches: Batches, dtype: torch.dtype) -> dict[str, float]:
    """What an evaluation writes of a model into `metrics.jsonl`."""
    answered = batches.answers(model)
    right = {} if answered is None else {"right": answered[0]}
    return {"held_out_loss": batches.held_out(model, dtype)[0], **right}
