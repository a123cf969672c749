"""The recorder of a training run: keeps statistics at the recorded steps, and writes the record from them.

Q weight matrices, W positions of the fixed window, X positions of the example, K candidates.

The recorded steps (`training.watch.recorded_steps`) are spaced by their logarithm. The statistics of each go to
`RUN/moments/step-....safetensors` at once, and numbers of every step are in `RUN/metrics.jsonl` anyway; the record is written
from those files at checkpoints and at the end. So a killed run loses only steps that are repeated on resume, and a resumed run
gives the record of an uninterrupted one.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid import events
from pellucid.errors import PellucidError
from pellucid.files import check_target, make_folder
from pellucid.generation.model import GPT
from pellucid.gpt.safetensors_write import write_tensors
from pellucid.interpret.training_chunks import write_training_record
from pellucid.interpret.training_stats import (
    example_stats,
    held_out_window,
    losses,
    losses_and_tops,
    norms,
    thumbnail,
    weights_of,
)
from pellucid.record import open_record
from pellucid.runs.files import MOMENTS, RECORDS, stats_file
from pellucid.runs.plan import Plan
from pellucid.runtime.inference_mode import inference_mode
from pellucid.training import checkpoint
from pellucid.training.batches import WindowBatches
from pellucid.training.checkpoint import State
from pellucid.training.watch import recorded_steps, steps_before_example


Array = Any
RECORD = RECORDS["train"]


class TrainingStatsWatcher:
    """Computes the statistics of one recorded step (a `training.watch.Watcher`).

    Attributes:
        stats: by name, complete after `after`: (Q,) gradients, updates, weights; (W,) window; thumbnail.MATRIX; example.* at
            the step that takes the example.
    """

    def __init__(self, plan: Plan, window: Array) -> None:
        self.plan, self.window = plan, window
        self.dtype: torch.dtype = getattr(torch, plan.dtype)
        self.names = [name for name, _ in plan.config.matrices()]
        self.stats: dict[str, Array] = {}
        self._before: list[Tensor] = []
        self._example: tuple[Array, Array, Array, Array] | None = None

    def watches(self, step: int) -> bool:
        """Whether statistics are kept when `step` steps are done."""
        return step in recorded_steps(self.plan.total_steps)

    def before(self, model: GPT, optimizer: torch.optim.Optimizer, state: State, ids: Tensor, targets: Tensor) -> None:
        """Takes the statistics of the weights, and of the gradients of the step that follows."""
        named = dict(model.named_parameters())
        gradients = [named[f"{name}.weight"].grad for name in self.names]
        assert all(gradient is not None for gradient in gradients)
        self.stats = self.weight_stats(model) | {"gradients": norms([g for g in gradients if g is not None]).numpy()}
        self._before = [weight.clone() for weight in weights_of(model)]
        if state.step == steps_before_example(self.plan.total_steps):
            window = np.concatenate((ids[0].numpy(), targets[0, -1:].numpy()))
            self._example = (window, *self._evaluate(model, window))

    def after(self, model: GPT) -> None:
        """Takes the statistics of the update."""
        pairs = zip(weights_of(model), self._before, strict=True)
        self.stats["updates"] = norms(now - then for now, then in pairs).numpy()
        self._before = []
        if self._example is not None:
            window, *before = self._example
            self.stats |= example_stats(window, before, self._evaluate(model, window))
            self._example = None

    def weight_stats(self, model: GPT) -> dict[str, Array]:
        """Those statistics that need the weights alone: norms, thumbnails, losses on the fixed window."""
        weights = weights_of(model)
        with inference_mode(model):
            stats = {"weights": norms(weights).numpy(), "window": losses(model, self.window[None], self.dtype)[0]}
        return stats | {f"thumbnail.{name}": thumbnail(name, w) for name, w in zip(self.names, weights, strict=True)}

    def _evaluate(self, model: GPT, window: Array) -> tuple[Array, Array, Array]:
        with inference_mode(model):
            return losses_and_tops(model, window, self.dtype)


class TrainingRecorder(TrainingStatsWatcher):
    """Watches a run, observes its events, and writes `RUN/training.pellucid`.

    A recorded step costs a copy of the matrices, one forward pass over a window of text and one pass over the weights; other
    steps cost nothing.

    Args:
        run: its directory. plan: what it does.
        model: the model that is trained. batches: where its windows come from.
    """

    def __init__(self, run: Path, plan: Plan, model: GPT, batches: WindowBatches) -> None:
        super().__init__(plan, held_out_window(batches))
        check_target(run / RECORD, what="the record")
        self.run, self.model, self.batches = run, model, batches
        self.recorded_steps = recorded_steps(plan.total_steps)
        self._step = -1
        self._changed = True  # whether statistics have been kept since the record was written

    def watches(self, step: int) -> bool:
        """Whether statistics are kept when `step` steps are done."""
        return step in self.recorded_steps

    def before(self, model: GPT, optimizer: torch.optim.Optimizer, state: State, ids: Tensor, targets: Tensor) -> None:
        """Also keeps a checkpoint at the example's step, unless it is the first: the seed gives the first weights."""
        self._step = state.step
        super().before(model, optimizer, state, ids, targets)
        if 0 < state.step == steps_before_example(self.plan.total_steps):
            checkpoint.keep_example(self.run, model, optimizer, state)

    def after(self, model: GPT) -> None:
        """Also writes the statistics to their file."""
        super().after(model)
        self._save_stats()

    def _save_stats(self) -> None:
        """Writes the step's statistics, whole or not at all."""
        final = stats_file(self.run, self._step)
        try:
            make_folder(final.parent)
            write_tensors(final, {name: torch.from_numpy(values) for name, values in self.stats.items()}, durable=True)
        except PellucidError as error:
            raise PellucidError(f"{error}; fix that, or go on without a record") from error
        self.stats = {}
        self._changed = True

    def observe(self, event: events.Event) -> None:
        """Drops, when a run is resumed, the statistics of steps that will be taken again; writes the record.

        At a checkpoint the record is written only if it has gained statistics: otherwise it costs more than it adds.
        """
        match event:
            case events.RunStarted():
                self._resume_from(event.step)
            case events.CheckpointSaved():
                if self._changed and event.step < self.plan.total_steps:  # at the end `RunFinished` follows at once
                    self._write(event.step, stretch_loss=False)
                    self._changed = False
            case events.RunFinished():
                if not self._is_written(event.step):
                    self._write_final(event.step)
            case _:
                pass

    def _resume_from(self, step: int) -> None:
        """Drops the statistics of steps from `step` on. Those before it are there (`training.run.can_be_recorded`)."""
        for path in (self.run / MOMENTS).glob("*"):
            if not path.name.startswith("step-") or path.suffix == ".part" or path >= stats_file(self.run, step):
                path.unlink()

    def _is_written(self, step: int) -> bool:
        try:
            with open_record(self.run / RECORD) as record:
                complete = "training/stretch/loss" in record or "training/stretch/ids" not in record
                return record.kind == "training" and record.provenance.step == step and complete
        except PellucidError:
            return False

    def _write_final(self, step: int) -> None:
        if step == self.plan.total_steps:  # the last recorded step, which no step follows
            none = np.full(len(self.names), np.nan, np.float32)
            self._step, self.stats = step, self.weight_stats(self.model) | {"gradients": none, "updates": none}
            self._save_stats()
        self._write(step, stretch_loss=True)

    def _write(self, step: int, *, stretch_loss: bool) -> None:
        write_training_record(
            self.run / RECORD, self.run, self.plan, self.model, self.batches, step=step, stretch_loss=stretch_loss
        )
