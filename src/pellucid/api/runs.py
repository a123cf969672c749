"""`pellucid.train`, `pellucid.finetune` and `pellucid.open_run`: runs that are recorded by `pellucid.interpret`."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from pellucid.arguments import path_of
from pellucid.errors import PellucidError
from pellucid.finetuning import job
from pellucid.interpret.finetuning_recorder import record_finetuning
from pellucid.interpret.training_recorder import TrainingRecorder
from pellucid.runs.files import RUN_FILE
from pellucid.runs.plan import Plan
from pellucid.training import checkpoint, run
from pellucid.training.checkpoint import State
from pellucid.training.loop import ended
from pellucid.training.run import Run


__all__ = ["Run", "finetune", "open_run", "train"]

P = ParamSpec("P")
R = TypeVar("R")


def _with_default(function: Callable[P, R], **defaults: Any) -> Callable[P, R]:
    """The same function with other defaults for some of its keyword arguments."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for name, value in defaults.items():
            kwargs.setdefault(name, value)
        return function(*args, **kwargs)

    return call


train = _with_default(run.train, make_recorder=TrainingRecorder)
finetune = _with_default(job.finetune, write_record=record_finetuning)


def open_run(path: str | Path) -> Run:
    """Opens a run directory, finished or not, without changing it.

    Returns:
        The run, with the steps and tokens of its newest checkpoint (0 before the first). `.losses()` and `.held_out()` give
        (steps, tokens, values) as arrays.

    Raises:
        PellucidError: no run is there, or its `run.json` or newest checkpoint is damaged.
    """
    path = path_of("path", path)
    if path.is_file():
        inside = (path.parent / RUN_FILE).exists()
        hint = f"open {path.parent}" if inside else f"one with {RUN_FILE} in it"
        raise PellucidError(f"{path} is a file, and a run is a folder: {hint}")
    plan = Plan.load(path, kind=None)
    newest = checkpoint.newest(path)
    state = State(step=0, tokens=0)
    if newest is not None:
        state, _ = checkpoint.read_state(newest)
    stopped = ended(plan, state) and state.step < plan.total_steps
    return Run(path=path, plan=plan, step=state.step, tokens=state.tokens, stopped_learning=stopped)
