"""A fine-tuning record against its run: both models are there, so all of it but the steps between is computed again.

Q weight matrices, N steps. Steps are taken again from the model before and from the checkpoints that are left; the other
losses are only compared with `metrics.jsonl`, and the report says so. Tolerances: those of `training_again`; answers have none:
two tokens that are likeliest but for rounding may change places on another machine.
"""

from pathlib import Path

import numpy as np
import torch

from pellucid.errors import PellucidError
from pellucid.finetuning.job import batches_of
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.gpt.fingerprint import fingerprint
from pellucid.interpret.finetuning_recorder import answers, changes, examples_of, maps, named_pieces
from pellucid.interpret.training_stats import norms, weights_of
from pellucid.interpret.verify.difference import Array, Difference, equal, off, said
from pellucid.interpret.verify.replay import still_there
from pellucid.interpret.verify.report import Row
from pellucid.interpret.verify.training import LOOSE, refuse_other_run
from pellucid.record import Record
from pellucid.runs.files import BASE, METRICS, MODEL, RUN_FILE
from pellucid.runs.metrics import read_metrics
from pellucid.runs.plan import Plan
from pellucid.training import checkpoint
from pellucid.training.checkpoint import State
from pellucid.training.loop import take_step
from pellucid.training.optimizers import make_optimizer


_F = "finetuning/"


def finetuning_rows(record: Record, run: Path) -> tuple[Row, ...]:
    """What there is to say of each chunk.

    Raises:
        PellucidError: `run` is no fine-tuning run or another one, or lacks what verifying takes.
    """
    if not (run / RUN_FILE).is_file():
        raise PellucidError(
            f"a finetuning record is verified with its run's directory (run.json, base/, model/), and {run} is none: name it "
            "(-m RUN)"
        )
    plan = Plan.load(run, kind="finetune")
    refuse_other_run(record, record[_F + "plan"], plan, run)
    base, tuned = load(run / BASE), load(run / MODEL)
    if (found := fingerprint(tuned)) != record.provenance.model:
        raise PellucidError(
            f"the record was made of another run: it names the model {record.provenance.model[:12]}, and {run} has {found[:12]}"
        )
    asked = answers(base, tuned, examples_of(run))
    return tuple(_row(record, run, plan, base, tuned, asked, name) for name in record)


def _row(record: Record, run: Path, plan: Plan, base: GPT, tuned: GPT, asked: list[dict[str, str]], name: str) -> Row:
    names = [matrix for matrix, _ in plan.config.matrices()]
    if name == _F + "plan":
        return Difference(0.0, 0.0).row(record, name)  # compared before anything else
    if name == _F + "matrices":
        return Difference(0.0 if record[name] == names else np.inf, 0.0).row(record, name)
    if name == _F + "answers":
        return Difference(0.0 if record[name] == asked else np.inf, 0.0).row(record, name)
    if name in (_F + "change", _F + "weights"):
        right = changes(base, tuned) if name.endswith("change") else norms(weights_of(base)).numpy()
        return Difference(off(record[name].astype(np.float64), right), 2.0**-16 * right).row(record, name)
    if name.startswith(_F + "thumbnails/"):
        moved = maps(base, tuned)[names.index(name.removeprefix(_F + "thumbnails/"))].astype(np.float64)
        if moved.shape != record[name].shape:
            return Difference(np.inf, 0.0).row(record, name)
        lo, hi = record.entry(name).scale or (0.0, 0.0)
        allowed = (hi - lo) / 510 * (1 + 2.0**-10) + 2.0**-18 * max(abs(lo), abs(hi))
        return Difference(off(record[name], moved), allowed).row(record, name)
    if name == _F + "steps/loss":
        return _losses(record, run, plan, name)
    if name.startswith("pieces/"):
        right = named_pieces(tuned.require_tokenizer(), asked)
        place = ("pieces/ids", "pieces/starts", "pieces/bytes").index(name)
        return equal(record[name], right[place]).row(record, name)
    return Row(chunk=name, truth=record.entry(name).truth, ok=False, note="this Pellucid cannot compute it again")


def _losses(record: Record, run: Path, plan: Plan, name: str) -> Row:
    stored = record[name].astype(np.float64)
    noted: Array | None = None
    if (run / METRICS).is_file():
        noted = np.array([line["loss"] for line in read_metrics(run, until=plan.total_steps) if "loss" in line])
    if len(stored) != plan.total_steps or (noted is not None and noted.shape != stored.shape):
        return Difference(np.inf, 0.0).row(record, name)
    difference = off(stored, noted) if noted is not None else np.zeros_like(stored)
    tolerance = np.zeros_like(stored)
    taken = _taken_again(run, plan)
    for step, loss in taken.items():
        difference[step], tolerance[step] = off(stored[step], np.array(loss)), LOOSE[plan.dtype] * (1 + abs(loss))
    again, rest = [step + 1 for step in taken], len(stored) - len(taken)
    return said(record, Difference(difference, tolerance, "nats"), name, again, rest, noted is not None)


def _taken_again(run: Path, plan: Plan) -> dict[int, float]:
    """The loss of each step whose weights are left, by the steps done before it."""
    found = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(plan.threads)
    try:
        with torch.random.fork_rng(devices=[]):
            for step, path in still_there(run, plan, plan.total_steps).items():
                if step < plan.total_steps:
                    model = load(run / BASE).requires_grad_(True)
                    optimizer = make_optimizer(model, plan.recipe, plan.optimizer, plan.optimizer_settings)
                    batches = batches_of(run, model, plan.batch, plan.seed)
                    state = State(step=0, tokens=0) if path is None else checkpoint.load(path, model, optimizer)
                    found[step] = take_step(plan, model, optimizer, batches, state).loss
    finally:
        torch.set_num_threads(threads)
    return found
