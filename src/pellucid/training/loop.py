"""The steps of a run: batch, forward, backward, update; metrics, held-out evaluations, samples and checkpoints between them.

Training and fine-tuning differ only in where a batch comes from (`batches.Batches`), so both run here. A step depends on the
weights, the optimizer and its own number, never on what happened before: its dropout is seeded by its number, and what
skipping spikes compares it with is in the checkpoint. So a run that was killed and resumed ends with the bits of one that was
not.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from pellucid import events
from pellucid.engine.completion import Completion
from pellucid.errors import PellucidError
from pellucid.events import Observer, emit
from pellucid.generation.model import GPT
from pellucid.hashing import mix
from pellucid.locks import locked
from pellucid.runs.files import BEST, METRICS
from pellucid.runs.metrics import MetricsWriter
from pellucid.runs.plan import SAMPLE_TEMPERATURE, SAMPLE_TOKENS, SAMPLE_TOP_P, Plan
from pellucid.training import checkpoint
from pellucid.training.batches import Batches
from pellucid.training.checkpoint import KeptModel, State
from pellucid.training.matmul_rate import block_products, matmul_flops_per_s
from pellucid.training.optimizers import make_optimizer
from pellucid.training.placement import device_of, has_operators
from pellucid.training.spike_guard import spike_scores, with_step
from pellucid.training.step import loss_and_gradients, update
from pellucid.training.watch import Watcher


Stop = Callable[[], bool | events.StopReason]


def run_steps(
    run: Path,
    plan: Plan,
    model: GPT,
    batches: Batches,
    *,
    observers: Sequence[Observer] = (),
    stop: Stop = lambda: False,
    watcher: Watcher | None = None,
) -> State:
    """Takes `model` from the newest checkpoint of `run` (or from its first weights) to the end of `plan`.

    Call it inside `placement.placed(plan)`.

    Args:
        model: on the plan's device, with its first weights; replaced by the newest checkpoint's if there is one.
        stop: asked after every step; True, or the reason ("out of time"), saves a checkpoint and ends the run early.
        watcher: called around the updates of the steps that it selects.

    Returns:
        The run's state; `step < plan.total_steps` if it was stopped, or ended early (`ended`).

    Raises:
        PellucidError: the run is in use, the loss is no longer a number, a checkpoint is damaged or cannot be saved.
    """
    with locked(run):
        return _Loop(run, plan, model, batches, observers, stop, watcher).run_to_end()


class StepResult(NamedTuple):
    """The results of a step.

    Attributes:
        loss: mean over its targets before the update, nats a token. grad_norm: global L2 norm before clipping.
        lr: its learning rate.
        spike: the scores of loss and gradient norm, if the update was skipped for them (`spike_guard`).
        watch_seconds: of the step that its watcher took. data_seconds: of the step that waited for the batch.
    """

    loss: float
    grad_norm: float
    lr: float
    spike: tuple[float, float] | None = None
    watch_seconds: float = 0.0
    data_seconds: float = 0.0


def ended(plan: Plan, state: State) -> bool:
    """Whether all steps are done, or held-out loss has not fallen for as many evaluations as `patience` allows."""
    return state.step >= plan.total_steps or 0 < plan.patience <= state.waited


def take_step(
    plan: Plan, model: GPT, optimizer: torch.optim.Optimizer, batches: Batches, state: State, watcher: Watcher | None = None
) -> StepResult:
    """Takes the step that follows `state`: changes model and optimizer, and reseeds PyTorch's generators for its dropout."""
    started = time.perf_counter()
    ids, targets = batches.batch(state.step)
    data_seconds = time.perf_counter() - started
    model.train()
    torch.manual_seed(mix(plan.seed, state.step) >> 1)  # dropout's only source: a function of the step
    lr = plan.recipe.learning_rate_at(state.tokens)
    dtype: torch.dtype = getattr(torch, plan.dtype)
    loss = loss_and_gradients(
        model, ids, targets, micro_batch=plan.micro_batch, dtype=dtype,
        compiled=plan.compiled and has_operators(dtype, device_of(model)),
        document=plan.config.end_id if plan.mask_documents else None, weights=batches.weights(state.step),
    )  # fmt: skip
    watch_seconds = 0.0
    if watcher is not None:
        started = time.perf_counter()
        watcher.before(model, optimizer, state, ids, targets)
        watch_seconds = time.perf_counter() - started
    spike: tuple[float, float] | None = None

    def is_spike(norm: float) -> bool:
        nonlocal spike
        scores = spike_scores(state.recent, loss, norm)
        if 0 < plan.skip_spikes < max(scores):
            spike = scores
        return spike is not None

    norm = update(optimizer, model.parameters(), lr=lr, clip=plan.recipe.clip, skip=is_spike)
    return StepResult(loss, norm, lr, spike, watch_seconds, data_seconds)


def sample(plan: Plan, model: GPT) -> Completion:
    """What the model writes after the plan's prompt, as far as its context goes."""
    prompt = model.require_tokenizer().encode_prompt(plan.sample_prompt)
    room = min(SAMPLE_TOKENS, model.config.n_ctx + 1 - len(prompt))
    return model.generate(prompt, max_tokens=room, temperature=SAMPLE_TEMPERATURE, top_p=SAMPLE_TOP_P, seed=plan.seed)


class _Loop:
    """The parts and the state of a run that `run_steps` takes steps of."""

    def __init__(
        self,
        run: Path,
        plan: Plan,
        model: GPT,
        batches: Batches,
        observers: Sequence[Observer],
        stop: Stop,
        watcher: Watcher | None,
    ) -> None:
        self.run, self.plan, self.model, self.batches, self.stop = run, plan, model, batches, stop
        self.watcher = watcher
        self.dtype: torch.dtype = getattr(torch, plan.dtype)
        self.matmul_flops_per_s = math.inf  # what matrix products reach by themselves, once that is measured
        self.optimizer = make_optimizer(model, plan.recipe, plan.optimizer, plan.optimizer_settings)
        checkpoint.remove_what_kills_left(run)
        found = checkpoint.newest(run)
        self.state = checkpoint.load(found, model, self.optimizer) if found else State(step=0, tokens=0)
        if found:
            self._renew_model(found)  # a kill may have come between a checkpoint and this
        self.metrics = MetricsWriter(run, keep_steps=self.state.step)
        self.observers: list[Observer] = [self.metrics, *observers]
        if self.metrics.damaged.count:
            self._emit(events.Skipped(path=str(run / METRICS), reason=str(self.metrics.damaged)))

    def run_to_end(self) -> State:
        """Takes steps until the plan is done or `stop` says so."""
        plan = self.plan
        try:
            if not ended(plan, self.state):
                self._measure_products()
                self._emit(events.RunStarted(plan=plan.to_dict(), step=self.state.step, tokens=self.state.tokens))
            if self.state.step == 0:
                self._evaluate_and_sample()
            stopping: bool | events.StopReason = False
            while not (stopping or ended(plan, self.state)):
                self._step()
                self._evaluate_and_sample()
                stopping = self.stop()
                if self.state.step % plan.checkpoint_every == 0 or ended(plan, self.state) or stopping:
                    self._save()
            reason = self._end_reason(stopping)
            self._emit(events.RunFinished(step=self.state.step, tokens=self.state.tokens, reason=reason))
        finally:
            self.metrics.close()
        return self.state

    def _end_reason(self, stopping: bool | events.StopReason) -> events.EndReason:
        if self.state.step >= self.plan.total_steps:
            return "done"
        if ended(self.plan, self.state):
            return "no longer learning"
        return "interrupted" if isinstance(stopping, bool) else stopping

    def _emit(self, event: events.Event) -> None:
        emit(self.observers, event)

    def _measure_products(self) -> None:
        plan = self.plan
        products = block_products(plan.config, plan.micro_batch * plan.config.n_ctx)
        self.matmul_flops_per_s = matmul_flops_per_s(self.dtype, products, device=device_of(self.model))

    def _step(self) -> None:
        plan, step = self.plan, self.state.step
        started = time.perf_counter()
        watcher = self.watcher if self.watcher is not None and self.watcher.watches(step) else None
        result = take_step(plan, self.model, self.optimizer, self.batches, self.state, watcher)
        seconds = time.perf_counter() - started - result.watch_seconds
        self._require_finite(result.loss + result.grad_norm, step + 1)
        if watcher is not None:
            watcher.after(self.model)
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
        self.model.eval()
        if step % plan.held_out_every == 0 or step == plan.total_steps:
            loss, bits = self.batches.held_out(self.model, self.dtype)
            self._require_finite(loss, step)
            right, examples = self.batches.answers(self.model) or (None, None)
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
                checkpoint.keep_best(self.run, self.model, KeptModel(step=step, held_out_loss=loss, right=right))
        if step in plan.sample_at and plan.sample_prompt:
            written = sample(plan, self.model)
            self._emit(
                events.Sampled(step=step, tokens=tokens, prompt=plan.sample_prompt, text=written.text, ids=tuple(written.ids))
            )

    def _save(self) -> None:
        self.metrics.sync()  # a checkpoint's lines are on the disk before it is
        path = checkpoint.save(self.run, self.model, self.optimizer, self.state, keep=self.plan.keep)
        self._renew_model(path)
        self._emit(events.CheckpointSaved(step=self.state.step, path=str(path)))

    def _renew_model(self, newest: Path) -> None:
        best = self.plan.keep_best and ended(self.plan, self.state)
        checkpoint.renew_model(self.run, self.run / BEST if best else newest)

    def _require_finite(self, number: float, step: int) -> None:
        if not math.isfinite(number):
            raise PellucidError(
                f"the loss is no longer a number at step {step}: start a new run with a learning rate below "
                f"{self.plan.recipe.learning_rate:g} (checkpoints from before are intact)"
            )
