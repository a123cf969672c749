"""The steps of a run: batch, forward, backward, update; metrics, held-out evaluations, samples and checkpoints between them.

Training and fine-tuning differ only in where a batch comes from (`batches.Batches`), so both run here. A step depends on the
weights, the optimizer and its own number, never on what happened before: its dropout is seeded by its number, and what
skipping spikes compares it with is in the checkpoint. So a run that was killed and resumed ends with the bits of one that was
not.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from pellucid import events
from pellucid.errors import PellucidError
from pellucid.events import Observer, emit
from pellucid.locks import locked
from pellucid.runs.files import METRICS, step_of
from pellucid.runs.metrics import MetricsWriter
from pellucid.runs.plan import Plan
from pellucid.training.batches import Batches
from pellucid.training.checkpoint import KeptModel, State
from pellucid.training.execution import Execution
from pellucid.training.spike_guard import with_step
from pellucid.training.watch import Watcher


def run_steps(
    run: Path,
    plan: Plan,
    execution: Execution,
    batches: Batches,
    *,
    observers: Sequence[Observer] = (),
    stop: Callable[[], bool] = lambda: False,
    watcher: Watcher | None = None,
) -> State:
    """Takes the model of `execution` from the newest checkpoint of `run` (or from its first weights) to the end of `plan`.

    Call it inside `placement.placed(plan)`.

    Args:
        execution: has the model with its first weights, on the plan's device.
        observers: receive the events, in every process.
        stop: asked after every step; True saves a checkpoint and ends the run early.
        watcher: called around the updates of the steps that it selects.

    Returns:
        The run's state; `step < plan.total_steps` if it was stopped, or ended early (`ended`).

    Raises:
        PellucidError: the run is in use, the loss is no longer a number, a checkpoint is damaged or cannot be saved.
    """
    with locked(run) if execution.is_main else nullcontext():
        return _Loop(run, plan, execution, batches, observers, stop, watcher).run_to_end()


def ended(plan: Plan, state: State) -> bool:
    """Whether all steps are done, or held-out loss has not fallen for as many evaluations as `patience` allows."""
    return state.step >= plan.total_steps or 0 < plan.patience <= state.waited


class _Loop:
    """The parts and the state of a run that `run_steps` takes steps of."""

    def __init__(
        self,
        run: Path,
        plan: Plan,
        execution: Execution,
        batches: Batches,
        observers: Sequence[Observer],
        stop: Callable[[], bool],
        watcher: Watcher | None,
    ) -> None:
        self.run, self.plan, self.execution, self.batches, self.stop = run, plan, execution, batches, stop
        self.watcher = watcher
        self.matmul_flops_per_s = math.inf  # what matrix products reach by themselves, once that is measured
        self.state = execution.resume()
        if self.state.step:
            self._renew_model(last=True)  # a kill may have come between a checkpoint and this
        self.metrics = MetricsWriter(run, keep_steps=self.state.step) if execution.is_main else None
        self.observers: list[Observer] = [*([self.metrics] if self.metrics else []), *observers]
        if self.metrics and self.metrics.damaged.count:
            self._emit(events.Skipped(path=str(run / METRICS), reason=str(self.metrics.damaged)))

    def run_to_end(self) -> State:
        """Takes steps until the plan is done or `stop` says so."""
        plan = self.plan
        try:
            if not ended(plan, self.state):
                self.matmul_flops_per_s = self.execution.measure_products()
                self._emit(events.RunStarted(plan=plan.to_dict(), step=self.state.step, tokens=self.state.tokens))
            if self.state.step == 0:
                self._evaluate_and_sample()
            while not ended(plan, self.state):
                self._step()
                self._evaluate_and_sample()
                stopping = self.execution.agrees_to_stop(self.stop())
                last = ended(plan, self.state) or stopping
                if self.state.step % plan.checkpoint_every == 0 or last:
                    self._save(last=last)
                if stopping:
                    break
        finally:
            if self.metrics:
                self.metrics.close()
        finished = "done" if self.state.step == plan.total_steps else "no longer learning"
        reason = finished if ended(plan, self.state) else "interrupted"
        self._emit(events.RunFinished(step=self.state.step, tokens=self.state.tokens, reason=reason))
        return self.state

    def _emit(self, event: events.Event) -> None:
        emit(self.observers, event)

    def _step(self) -> None:
        plan, step = self.plan, self.state.step
        started = time.perf_counter()
        watcher = self.watcher if self.watcher is not None and self.watcher.watches(step) else None
        result = self.execution.take_step(self.state, watcher)
        seconds = time.perf_counter() - started - result.watch_seconds
        self._require_finite(result.loss + result.grad_norm, step + 1)
        if watcher is not None:
            self.execution.watch_update(watcher)
        tokens = self.batches.tokens_before(step + 1)
        flops_per_s = 3 * plan.config.flops(tokens - self.state.tokens) / seconds  # forward, and twice that backward
        self._emit(
            events.StepDone(
                step=step + 1, tokens=tokens, loss=result.loss, lr=result.lr, grad_norm=result.grad_norm,
                tokens_per_s=(tokens - self.state.tokens) / seconds, epoch=self.batches.epoch_at(step + 1),
                waiting=result.data_seconds / seconds, flops_per_s=flops_per_s,
                matmul_share=flops_per_s / self.matmul_flops_per_s,
            )
        )  # fmt: skip
        if result.spike is not None:
            self._emit(events.StepSkipped(step + 1, tokens, *result.spike, allowed=plan.skip_spikes))
        self.state = replace(
            self.state, step=step + 1, tokens=tokens, skipped=self.state.skipped + (result.spike is not None),
            recent=with_step(self.state.recent, result.loss, result.grad_norm) if plan.skip_spikes else (),
        )  # fmt: skip

    def _evaluate_and_sample(self) -> None:
        """Measures held-out loss and writes a sample, where the plan has them at this step."""
        plan, step, tokens = self.plan, self.state.step, self.state.tokens
        if step % plan.held_out_every == 0 or step == plan.total_steps:
            loss, bits = self.execution.held_out()
            self._require_finite(loss, step)
            right, examples = self.execution.answers() or (None, None)
            self._emit(
                events.HeldOut(
                    step=step, tokens=tokens, held_out_loss=loss, bits_per_byte=bits, right=right, examples=examples
                )
            )
            if plan.patience:
                fell = self.state.lowest is None or loss < self.state.lowest
                waited = 0 if fell else self.state.waited + 1
                self.state = replace(self.state, lowest=loss if fell else self.state.lowest, waited=waited)
            if plan.keep_best:
                self.execution.keep_best(KeptModel(step=step, held_out_loss=loss, right=right))
        if step in plan.sample_at and plan.sample_prompt:
            written = self.execution.sample()
            if written is not None:
                self._emit(events.Sampled(
                    step=step, tokens=tokens, prompt=plan.sample_prompt, text=written.text, ids=tuple(written.ids)
                ))  # fmt: skip

    def _save(self, *, last: bool) -> None:
        if self.metrics:
            self.metrics.sync()  # a checkpoint's lines are on the disk before it is
        for path in self.execution.save(self.state, last=last):
            self._renew_model(last=last)
            self._emit(events.CheckpointSaved(step=step_of(path), path=str(path)))

    def _renew_model(self, *, last: bool) -> None:
        self.execution.renew_model(best=self.plan.keep_best and ended(self.plan, self.state), last=last)

    def _require_finite(self, number: float, step: int) -> None:
        if not math.isfinite(number):
            raise PellucidError(
                f"the loss is no longer a number at step {step}: start a new run with a learning rate below "
                f"{self.plan.recipe.learning_rate:g} (checkpoints from before are intact)"
            )
