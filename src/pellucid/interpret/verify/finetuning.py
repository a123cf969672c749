"""Verifying a fine-tuning record: both models are in the run, so all chunks but most steps' losses are recomputed.

Q weight matrices, N steps. Steps are run again from the model before and from the checkpoints that still exist; the other
losses are only compared with `metrics.jsonl`, which all must equal, and the report says so. Tolerances are those of `training`;
answers have none: two tokens that are equally likely up to rounding may change places on another machine.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pellucid.errors import PellucidError
from pellucid.finetuning.job import batches_of
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.gpt.fingerprint import fingerprint
from pellucid.interpret.capture import PIECES
from pellucid.interpret.finetuning_recorder import (
    answer_piece_table,
    answers,
    change_maps,
    change_norms,
    examples_of,
    finetuning_provenance,
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
    same_json,
)
from pellucid.interpret.verify.identity import check_same_run
from pellucid.interpret.verify.replay import saved_weights, threads_and_generator
from pellucid.interpret.verify.report import ChunkResult, WordResult, unknown_chunk
from pellucid.interpret.verify.training import LOSS_TOLERANCE
from pellucid.interpret.verify.words import chunk_words, compared, provenance_words
from pellucid.record import Record
from pellucid.record.check import named_specs
from pellucid.runs.files import BASE, METRICS, MODEL, RUN_FILE
from pellucid.runs.metrics import missing_line, read_metrics
from pellucid.runs.plan import Plan
from pellucid.training import checkpoint
from pellucid.training.checkpoint import State
from pellucid.training.loop import take_step
from pellucid.training.optimizers import make_optimizer


_F = "finetuning/"


def verify_finetuning(record: Record, run: Path) -> tuple[tuple[ChunkResult, ...], tuple[WordResult, ...]]:
    """The result for each chunk of a fine-tuning record, and for each word of its header.

    Raises:
        PellucidError: `run` is not a fine-tuning run or another one, or lacks a file that verifying needs.
    """
    if not (run / RUN_FILE).is_file():
        raise PellucidError(
            f"a finetuning record is verified with its run's directory (run.json, base/, model/), and {run} is none: give "
            "the run (on the command line -m RUN)"
        )
    plan = Plan.load(run, kind="finetune")
    check_same_run(record, record[_F + "plan"], plan, run)
    base, tuned = load(run / BASE), load(run / MODEL)
    if (found := fingerprint(tuned)) != record.provenance.model:
        raise PellucidError(
            f"the record was made of another run: it names the model {record.provenance.model[:12]}, and {run} has {found[:12]}"
        )
    answered = answers(base, tuned, examples_of(run))
    maps = dict(zip((name for name, _ in plan.config.matrices()), change_maps(base, tuned), strict=True))
    specs = named_specs(record)
    chunks = tuple(
        _result(record, run, plan, base, tuned, answered, maps, name) if name in specs
        else unknown_chunk(name, record.entry(name).truth)
        for name in record
    )  # fmt: skip
    return chunks, _words(record, run, plan, tuned, found, maps)


def _words(
    record: Record, run: Path, plan: Plan, tuned: GPT, named: str, maps: Mapping[str, Array]
) -> tuple[WordResult, ...]:
    expected = finetuning_provenance(run, plan, tuned, named)
    names = ("model", "config", "parameters", "dtype", "tokenizer", "step", "seed", "machine")
    thumbnails = {f"{_F}thumbnails/{matrix}": thumbnail_source(matrix) for matrix in maps}
    scales = []
    for matrix, change in maps.items():
        if (name := f"{_F}thumbnails/{matrix}") in record:
            low, high = record.entry(name).scale or (0.0, 0.0)
            near = bool(max(abs(low - change.min()), abs(high - change.max())) <= 2.0**-16 * np.abs(change).max())
            scales.append(compared(f"{name}: scale", near, True, note="not the range of the recomputed numbers"))
    return (
        *provenance_words(record, {name: getattr(expected, name) for name in names}, plan.config),
        *chunk_words(record, thumbnails),
        *scales,
    )


def _result(
    record: Record, run: Path, plan: Plan, base: GPT, tuned: GPT, answered: list[dict[str, str]], maps: Mapping[str, Array],
    name: str,
) -> ChunkResult:  # fmt: skip
    """The result for a chunk that the schema knows."""
    if name == _F + "plan":
        return equality(True).result(record, name)  # checked by `check_same_run`
    if name == _F + "matrices":
        return equality(same_json(record[name], list(maps))).result(record, name)
    if name == _F + "answers":
        return equality(same_json(record[name], answered)).result(record, name)
    if name in (_F + "change", _F + "weights"):
        expected = change_norms(base, tuned) if name.endswith("change") else norms(weights_of(base)).numpy()
        difference = absolute_difference(record[name].astype(np.float64), expected)
        return Difference(difference, 2.0**-16 * expected, value_range=range_of(expected)).result(record, name)
    if name.startswith(_F + "thumbnails/"):
        change = maps.get(name.removeprefix(_F + "thumbnails/"))
        if change is None or change.shape != record[name].shape:
            return equality(False).result(record, name)
        change = change.astype(np.float64)
        # Half a step of the recomputed range, and float32's rounding of its ends.
        allowed = np.ptp(change) / 510 * (1 + 2.0**-10) + 2.0**-15 * np.abs(change).max()
        return Difference(absolute_difference(record[name], change), allowed, value_range=range_of(change)).result(record, name)
    if name == _F + "steps/loss":
        return _losses(record, run, plan, name)
    table = answer_piece_table(tuned.require_tokenizer(), answered)
    return equal(record[name], table[PIECES.index(name)]).result(record, name)


def _losses(record: Record, run: Path, plan: Plan, name: str) -> ChunkResult:
    logged: Array | None = None
    if (run / METRICS).is_file():
        lines = read_metrics(run, until=plan.total_steps)
        if missing_line(lines, plan, plan.total_steps) is None:
            logged = np.array([line["loss"] for line in lines if "loss" in line])
    replayed = {step: np.array(loss) for step, loss in _replay_losses(run, plan).items()}
    tolerance = LOSS_TOLERANCE[plan.dtype]
    steps = range(1, plan.total_steps + 1)
    return compare_rows(record, name, logged, replayed, lambda loss: tolerance * (1 + np.abs(loss)), steps, "nats")


def _replay_losses(run: Path, plan: Plan) -> dict[int, float]:
    """The loss of each step whose weights still exist, by the number of steps before it."""
    found = {}
    with threads_and_generator(plan):
        for step, path in saved_weights(run, plan, plan.total_steps).items():
            if step < plan.total_steps:
                model = load(run / BASE).requires_grad_(True)
                optimizer = make_optimizer(model, plan.recipe, plan.optimizer, plan.optimizer_settings)
                batches = batches_of(run, model, plan.batch, plan.seed, plan.held_out_windows)
                state = State(step=0, tokens=0) if path is None else checkpoint.load(path, model, optimizer)
                found[step] = take_step(plan, model, optimizer, batches, state).loss
    return found
