"""Training steps run again from the weights that a run still has, with the statistics and measurements made there.

Q weight matrices, W positions of the fixed window, X positions of the example, V vocabulary, Z windows of the stretch.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.gpt.fingerprint import fingerprint
from pellucid.interpret.training_recorder import TrainingStatsWatcher
from pellucid.interpret.training_stats import Stretch, held_out_window, logits_of, losses
from pellucid.runs.files import EXAMPLE, MODEL, STATE_FILE, checkpoints, step_of
from pellucid.runs.plan import Plan
from pellucid.runtime.inference_mode import inference_mode
from pellucid.text.tokenizer import Tokenizer
from pellucid.training import checkpoint
from pellucid.training.batches import WindowBatches
from pellucid.training.checkpoint import State
from pellucid.training.execution import sample, take_step
from pellucid.training.first_weights import new_model
from pellucid.training.optimizers import make_optimizer
from pellucid.training.watch import recorded_steps, steps_before_example


Array = Any


@dataclass(frozen=True, slots=True)
class ReplayedStep:
    """What was computed from the weights after a number of steps.

    Attributes:
        model: their fingerprint.
        stats: as `TrainingStatsWatcher.stats`; without gradients and updates if no step follows. Empty where the run keeps no
            statistics.
        step: (loss, gradient norm) of the next step, run again; None after the last step.
        held_out: (nats per token, bits per byte), where the run measured them.
        sample: (text, ids), where the run sampled.
        stretch: (Z, G) losses, for the newest weights.
        example: (2, V) log-probabilities at the example's position before and after its step, where that is this step.
        margins: (2, X) how much likelier than its target the likeliest other token is at each position of the example, in nats,
            before and after that step; 0 or less where the target is the likeliest.
    """

    model: str
    stats: dict[str, Array]
    step: tuple[float, float] | None
    held_out: tuple[float, float] | None
    sample: tuple[str, list[int]] | None
    stretch: Array | None
    example: Tensor | None
    margins: Array | None


class _ReplayWatcher(TrainingStatsWatcher):
    """Also keeps the whole distribution at one position of the example, and the margins at all."""

    def __init__(self, plan: Plan, window: Array, position: int | None) -> None:
        super().__init__(plan, window)
        self.position = position
        self.distributions: list[Tensor] = []
        self.margins: list[Array] = []

    def _evaluate(self, model: GPT, window: Array) -> tuple[Array, Array, Array]:
        self.margins.append(_margins(model, window, self.dtype))
        if self.position is not None:
            ids = torch.from_numpy(window[: self.position + 1].astype(np.int64))
            with inference_mode(model):
                *_, logits = logits_of(model, ids[None], self.dtype)
            self.distributions.append(logits[-1].double().log_softmax(-1))
        return super()._evaluate(model, window)


def _margins(model: GPT, window: Array, dtype: torch.dtype) -> Array:
    """(T,): the largest logit of another token than the target, less the target's, at each position of a (T + 1,) window."""
    ids = torch.from_numpy(window.astype(np.int64))
    found: list[Tensor] = []
    done = 0
    with inference_mode(model):
        for logits in logits_of(model, ids[None, :-1], dtype):
            targets = ids[1 + done : 1 + done + len(logits), None]
            own = logits.gather(1, targets)
            found.append((logits.scatter(1, targets, -torch.inf).amax(1, keepdim=True) - own)[:, 0])
            done += len(logits)
    return torch.cat(found).double().numpy()


def saved_weights(run: Path, plan: Plan, until: int) -> dict[int, Path | None]:
    """Where a run still has weights, by the steps done: None for the first weights, which follow from the seed."""
    found: dict[int, Path | None] = {0: None}
    for path in [*checkpoints(run, inside=EXAMPLE), *checkpoints(run)]:
        step = step_of(path)
        if (path / STATE_FILE).is_file() and 0 < step <= until:
            found[step] = path
    last = until == plan.total_steps and not plan.keep_best  # then the newest model is that of the last step
    if last and until not in found and (run / MODEL).is_dir():
        found[until] = run / MODEL
    return dict(sorted(found.items()))


@contextmanager
def threads_and_generator(plan: Plan) -> Iterator[None]:
    """A context with a run's number of threads, which restores PyTorch's number of threads and its generator at the end."""
    threads = torch.get_num_threads()
    torch.set_num_threads(plan.threads)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)


def replay(
    run: Path, plan: Plan, batches: WindowBatches, tokenizer: Tokenizer, until: int, stretch: Stretch | None,
    position: int | None, on_progress: Callable[[str], None] = lambda line: None,
) -> Iterator[tuple[int, ReplayedStep]]:  # fmt: skip
    """Loads each of the weights that still exist, measures them, and runs the step after them again.

    Args:
        until: steps that the record covers. position: of the example, to keep its distributions.
        on_progress: called before each, with a line that says which.

    Yields:
        The number of steps done, and what was computed from the weights after them.

    Raises:
        PellucidError: a checkpoint is damaged.
    """
    with threads_and_generator(plan):
        saved = saved_weights(run, plan, until)
        for number, (step, path) in enumerate(saved.items(), start=1):
            on_progress(f"the weights after {step:,} steps, {number} of {len(saved)} that the run still has")
            yield step, _replay_one(run, plan, batches, tokenizer, until, stretch, position, step, path)


def _replay_one(
    run: Path, plan: Plan, batches: WindowBatches, tokenizer: Tokenizer, until: int, stretch: Stretch | None,
    position: int | None, step: int, path: Path | None,
) -> ReplayedStep:  # fmt: skip
    model = new_model(plan, tokenizer)
    optimizer = make_optimizer(model, plan.recipe, plan.optimizer, plan.optimizer_settings)
    state = State(step=step, tokens=batches.tokens_before(step))
    if path is not None and path.name == MODEL:
        model = load(path)
    elif path is not None:
        state = checkpoint.load(path, model, optimizer)
    dtype: torch.dtype = getattr(torch, plan.dtype)
    named = fingerprint(model)
    model.eval()
    measures = step % plan.held_out_every == 0 or step == plan.total_steps
    held_out = batches.held_out(model, dtype) if measures else None
    sampled = sample(plan, model) if step in plan.sample_at and plan.sample_prompt else None
    stretch_losses: Array | None = None
    if stretch is not None and step == until:
        with inference_mode(model):
            stretch_losses = losses(model, stretch.windows(plan.config.n_ctx), dtype)
    is_example = step == steps_before_example(plan.total_steps)
    watcher = _ReplayWatcher(plan, held_out_window(batches), position if is_example else None)
    used = watcher if step in recorded_steps(plan.total_steps) else None
    taken: tuple[float, float] | None = None
    if step < until:
        result = take_step(plan, model, optimizer, batches, state, used)
        taken = (result.loss, result.grad_norm)
        if used is not None:
            used.after(model)
    elif used is not None and step == plan.total_steps:
        watcher.stats = watcher.weight_stats(model)
    return ReplayedStep(
        model=named,
        stats=watcher.stats,
        step=taken,
        held_out=held_out,
        sample=None if sampled is None else (sampled.text, sampled.ids),
        stretch=stretch_losses,
        example=torch.stack(watcher.distributions) if len(watcher.distributions) == 2 else None,
        margins=np.stack(watcher.margins) if len(watcher.margins) == 2 else None,
    )
