"""What the weights that a run still has give: the moment, the look, the sample, and the step that followed, taken again.

Q weight matrices, W tracks of the fixed window, X tracks of the example, V vocabulary, Z windows of the stretch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.gpt.fingerprint import fingerprint
from pellucid.interpret.training_recorder import MomentWatch, held_out_window
from pellucid.interpret.training_stats import Stretch, logits_of, losses
from pellucid.runs.plan import Plan
from pellucid.runtime.inference_mode import inference_mode
from pellucid.text.tokenizer import Tokenizer
from pellucid.training import checkpoint
from pellucid.training.batches import WindowBatches
from pellucid.training.checkpoint import State
from pellucid.training.first_weights import new_model
from pellucid.training.loop import sample, take_step
from pellucid.training.optimizers import make_optimizer
from pellucid.training.watch import example_moment, moments


Array = Any


@dataclass(frozen=True, slots=True)
class Found:
    """What the weights after some steps give.

    Attributes:
        model: their fingerprint.
        moment: as `training.MomentWatch.seen`; without gradients and updates if no step was taken again. Empty if these
            steps are no moment.
        step: (loss, gradient's norm) of the step that followed, taken again; None after the last.
        held_out: (nats a token, bits a byte), if it was looked at.
        sample: (text, ids), if one was written.
        stretch: (Z, G) losses, if they are the newest weights.
        example: (2, V) log-probabilities at the example's track before and after, if that step took it.
    """

    model: str
    moment: dict[str, Array]
    step: tuple[float, float] | None
    held_out: tuple[float, float] | None
    sample: tuple[str, list[int]] | None
    stretch: Array | None
    example: Tensor | None


class _Replay(MomentWatch):
    """Also keeps the whole distribution at one track of the example."""

    def __init__(self, plan: Plan, window: Array, track: int | None) -> None:
        super().__init__(plan, window)
        self.track = track
        self.distributions: list[Tensor] = []

    def _look_at(self, model: GPT, window: Array) -> tuple[Array, Array, Array]:
        if self.track is not None:
            ids = torch.from_numpy(window[: self.track + 1].astype(np.int64))
            with inference_mode(model):
                *_, logits = logits_of(model, ids[None], self.dtype)
            self.distributions.append(logits[-1].double().log_softmax(-1))
        return super()._look_at(model, window)


def still_there(run: Path, plan: Plan, until: int) -> dict[int, Path | None]:
    """Where a run has weights, by the steps done: None for the first ones, which the seed gives."""
    found: dict[int, Path | None] = {0: None}
    for path in [*(run / checkpoint.EXAMPLE).glob("step-????????"), *(run / "checkpoints").glob("step-????????")]:
        step = int(path.name.removeprefix("step-"))
        if (path / checkpoint.STATE).is_file() and 0 < step <= until:
            found[step] = path
    last = until == plan.total_steps and not plan.keep_best  # the newest model, then, is that of the last step
    if last and until not in found and (run / "model").is_dir():
        found[until] = run / "model"
    return dict(sorted(found.items()))


def replay(
    run: Path, plan: Plan, batches: WindowBatches, tokenizer: Tokenizer, until: int, stretch: Stretch | None, track: int | None
) -> Iterator[tuple[int, Found]]:
    """Goes through the weights that are still there, and takes the step after each again.

    Args:
        until: steps that the record has seen. track: of the example, to keep its distributions.

    Yields:
        The steps done, and what those weights give.

    Raises:
        PellucidError: a checkpoint is damaged.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(plan.threads)
    try:
        with torch.random.fork_rng(devices=[]):
            for step, path in still_there(run, plan, until).items():
                yield step, _one(run, plan, batches, tokenizer, until, stretch, track, step, path)
    finally:
        torch.set_num_threads(threads)


def _one(
    run: Path, plan: Plan, batches: WindowBatches, tokenizer: Tokenizer, until: int, stretch: Stretch | None,
    track: int | None, step: int, path: Path | None,
) -> Found:  # fmt: skip
    model = new_model(plan, tokenizer)
    optimizer = make_optimizer(model, plan.recipe, plan.optimizer, plan.optimizer_settings)
    state = State(step=step, tokens=batches.tokens_before(step))
    if path is not None and path.name == "model":
        model = load(path)
    elif path is not None:
        state = checkpoint.load(path, model, optimizer)
    dtype: torch.dtype = getattr(torch, plan.dtype)
    named = fingerprint(model)
    model.eval()
    looked = step % plan.held_out_every == 0 or step == plan.total_steps
    held_out = batches.held_out(model, dtype) if looked else None
    written = sample(plan, model) if step in plan.sample_at and plan.sample_prompt else None
    losses_of_stretch: Array | None = None
    if stretch is not None and step == until:
        with inference_mode(model):
            losses_of_stretch = losses(model, stretch.windows(plan.config.n_ctx), dtype)
    watch = _Replay(plan, held_out_window(batches), track if step == example_moment(plan.total_steps) else None)
    watching = watch if step in moments(plan.total_steps) else None
    taken: tuple[float, float] | None = None
    if step < until:
        again = take_step(plan, model, optimizer, batches, state, watching)
        taken = (again.loss, again.norm)
        if watching is not None:
            watching.after(model)
    elif watching is not None and step == plan.total_steps:
        watch.seen = watch.of_weights(model)
    return Found(
        model=named,
        moment=watch.seen,
        step=taken,
        held_out=held_out,
        sample=None if written is None else (written.text, written.ids),
        stretch=losses_of_stretch,
        example=torch.stack(watch.distributions) if len(watch.distributions) == 2 else None,
    )
