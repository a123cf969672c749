"""A run on several processes: joining, the plan that the main rank makes, the steps, and one line when it ends early."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from pellucid.errors import PellucidError
from pellucid.events import Notice, Observer, emit
from pellucid.generation.model import GPT
from pellucid.languages import tr
from pellucid.resources import available_cpus
from pellucid.runs.files import CORPUS, RUN_FILE
from pellucid.runs.plan import Plan
from pellucid.text import Tokenizer
from pellucid.training import checkpoint
from pellucid.training.checkpoint import State
from pellucid.training.distributed.execution import MeshExecution
from pellucid.training.distributed.process_group import Ranks, joined
from pellucid.training.loop import Stop, run_steps
from pellucid.training.mesh import Mesh
from pellucid.training.mesh_check import check_mesh
from pellucid.training.placement import placed, rank_device
from pellucid.training.planner import Job
from pellucid.training.pretraining import TrainingJob
from pellucid.training.watch import Recorder, recorded_steps


TIMEOUT_SECONDS = 600


class _OtherRanksWatcher:
    """Stands for the main rank's recorder where there is none: it selects the same steps, whose tensors all ranks send."""

    def __init__(self, plan: Plan) -> None:
        self.steps = recorded_steps(plan.total_steps)

    def watches(self, step: int) -> bool:
        """Whether the main rank watches this step."""
        return step in self.steps

    def before(self, model: GPT, optimizer: torch.optim.Optimizer, state: State, ids: Any, targets: Any) -> None:
        """Nothing: the main rank looks."""

    def after(self, model: GPT) -> None:
        """Nothing: the main rank looks."""


def run_on_mesh(
    job: Job, run: Path, mesh: Mesh, *, prepare: Callable[[], tuple[Plan, bool]],
    wants_recorder: Callable[[Plan], bool], make_recorder: Callable[[Path, Plan, GPT, Any], Recorder] | None,
    observers: Sequence[Observer], stop: Stop,
) -> tuple[Plan, State]:  # fmt: skip
    """Plans a new run, or reads the plan of an existing one, and takes its steps on all ranks.

    Args:
        prepare: makes or reads the plan, on the main rank; returns it, and whether the run goes on.
        wants_recorder: whether the main rank records the run.

    Raises:
        PellucidError: whatever keeps the run from starting or going on; one rank says it, the others raise `OtherRankFailed`.
    """
    assert isinstance(job, TrainingJob)
    options = job.options
    device = rank_device(options.device)
    if options.minutes is not None:
        raise PellucidError("minutes are measured in one process: give --steps or --tokens to several")
    with joined(mesh, device, options.collective_timeout or TIMEOUT_SECONDS) as ranks:
        if ranks.is_main:
            plan, _ = prepare()
            check_mesh(plan, mesh, schedule=options.schedule or "1f1b")
            ranks.publish("planned", "")
        else:
            ranks.receive("planned")
            if not (run / RUN_FILE).exists():
                raise PellucidError(f"{run} is not here: --out must be on a disk that all hosts share")
            plan = Plan.load(run, kind=job.kind)
        with placed(plan, device=device, threads=threads_of(plan)):
            return plan, _take_steps(job, run, plan, ranks, wants_recorder, make_recorder, observers, stop)


def _take_steps(
    job: TrainingJob, run: Path, plan: Plan, ranks: Ranks, wants_recorder: Callable[[Plan], bool],
    make_recorder: Callable[[Path, Plan, GPT, Any], Recorder] | None, observers: Sequence[Observer], stop: Stop,
) -> State:  # fmt: skip
    tokenizer = Tokenizer.load(run / CORPUS)
    batches = job.open_batches(run, plan, tokenizer, verify=ranks.is_main and checkpoint.newest(run) is not None)
    if ranks.is_main:
        emit(observers, Notice(tr("training on {count:,} processes: {mesh}", count=ranks.mesh.size, mesh=str(ranks.mesh))))
    execution = MeshExecution(run, plan, ranks, batches, tokenizer, job.options.schedule or "1f1b")
    if ranks.is_main:
        recorded = make_recorder is not None and wants_recorder(plan)
        ranks.publish("recorded", str(recorded))
    else:
        recorded = ranks.receive("recorded") == "True"
    listeners: list[Observer] = [*observers]
    watcher: Any = None
    if recorded:
        execution.recorded = True
        watcher = _OtherRanksWatcher(plan)
        if ranks.is_main and make_recorder is not None:
            watcher = make_recorder(run, plan, execution.replica.model, batches)
            listeners.append(watcher.observe)
    return run_steps(run, plan, execution, batches, observers=listeners, stop=stop, watcher=watcher)


def threads_of(plan: Plan) -> int:
    """The threads of a rank: the plan's, as far as the processes of this host leave CPUs."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(plan.threads, available_cpus() // here))
