"""The life of a run: step after step, with its metrics, its looks at held-out text, its samples and its checkpoints.

Training and fine-tuning differ only in where a batch comes from (`Batches`), so both run here. A step depends on the
weights, the optimizer and its own number, never on what happened before: what it draws at random (dropout) is seeded by its
number. (A guard remembers earlier steps; what it remembers is in the checkpoint.) That is why a run that was killed and resumed
ends with the bits of one that was not.
"""

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from pellucid import events
from pellucid.engine.completion import Completion
from pellucid.errors import PellucidError
from pellucid.events import Observer, emit
from pellucid.files import locked
from pellucid.generation.model import GPT
from pellucid.hashing import mix
from pellucid.runs.files import METRICS
from pellucid.runs.plan import SAMPLE_TEMPERATURE, SAMPLE_TOKENS, SAMPLE_TOP_P, Plan
from pellucid.training import checkpoint
from pellucid.training import spike_guard as guard
from pellucid.training.checkpoint import State
from pellucid.training.machine import has_operators, products_per_s, typical_products
from pellucid.training.optimizers import make_optimizer
from pellucid.training.step import loss_and_gradients, update
from pellucid.training.watch import Watcher


class Batches(Protocol):
    """Where a run's data comes from: pure functions of the step's number."""

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Ids and targets of step `step` (0, 1, 2, ...): (B, T) int64 each."""

    def tokens_before(self, step: int) -> int:
        """Training tokens in all steps before `step`."""

    def epoch_at(self, step: int) -> float:
        """How many times the data has been gone through before `step`."""

    def held_out(self, model: GPT, dtype: torch.dtype) -> tuple[float, float]:
        """The model's loss on held-out data: (nats a token, bits a byte)."""


def run_steps(
    run: Path,
    plan: Plan,
    model: GPT,
    batches: Batches,
    *,
    observers: Sequence[Observer] = (),
    stop: Callable[[], bool] = lambda: False,
    watcher: Watcher | None = None,
) -> State:
    """Takes `model` from the newest checkpoint of `run` (or from its first weights) to the end of `plan`.

    Args:
        model: with its first weights; replaced by the newest checkpoint's if there is one.
        stop: asked after every step; True saves a checkpoint and ends the run early.
        watcher: sees the steps it asks for.

    Returns:
        Where the run stands now; `step < plan.total_steps` if it was stopped, or is no longer learning (`ended`).

    Raises:
        PellucidError: the run is in use, the loss is no longer a number, a checkpoint is damaged or cannot be saved.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(plan.threads)
    try:
        with locked(run), torch.random.fork_rng(devices=[]):
            return _Loop(run, plan, model, batches, observers, stop, watcher).to_the_end()
    finally:
        torch.set_num_threads(threads)


class Taken(NamedTuple):
    """A step: its loss before the update, the gradient's norm before clipping, the learning rate; the guard's scores of the
    first two, if the update was left out for them; the seconds of it in which it was watched, which are none of its own, and
    those in which it waited for its batch.
    """

    loss: float
    norm: float
    lr: float
    spike: tuple[float, float] | None = None
    watched: float = 0.0
    waited: float = 0.0


def ended(plan: Plan, state: State) -> bool:
    """Whether nothing is left to do: all steps are done, or held-out loss has not fallen for as long as was asked for."""
    return state.step >= plan.total_steps or 0 < plan.patience <= state.waited


def take_step(
    plan: Plan, model: GPT, optimizer: torch.optim.Optimizer, batches: Batches, state: State, watching: Watcher | None = None
) -> Taken:
    """The step that follows `state`: changes model and optimizer, and draws from PyTorch's generator if it drops out."""
    asked = time.perf_counter()
    ids, targets = batches.batch(state.step)
    waited = time.perf_counter() - asked
    model.train()
    torch.manual_seed(mix(plan.seed, state.step) >> 1)  # dropout's only source: a function of the step
    lr = plan.recipe.learning_rate_at(state.tokens)
    dtype: torch.dtype = getattr(torch, plan.dtype)
    loss = loss_and_gradients(
        model, ids, targets, micro_batch=plan.micro_batch, dtype=dtype, compiled=plan.compiled and has_operators(dtype),
        document=plan.config.end_id if plan.mask_documents else None,
    )  # fmt: skip
    watched = 0.0
    if watching is not None:
        began = time.perf_counter()
        watching.before(model, optimizer, state, ids, targets)
        watched = time.perf_counter() - began
    spikes: list[tuple[float, float]] = []

    def harms(norm: float) -> bool:
        scores = guard.scores(state.recent, loss, norm)
        if 0 < plan.skip_spikes < max(scores):
            spikes.append(scores)
        return bool(spikes)

    norm = update(optimizer, model.parameters(), lr=lr, clip=plan.recipe.clip, unless=harms)
    return Taken(loss, norm, lr, spikes[0] if spikes else None, watched, waited)


def sample(plan: Plan, model: GPT) -> Completion:
    """What the model writes after the plan's prompt, as far as its context goes."""
    prompt = model.require_tokenizer().encode_prompt(plan.sample_prompt)
    room = min(SAMPLE_TOKENS, model.config.n_ctx + 1 - len(prompt))
    return model.generate(prompt, max_tokens=room, temperature=SAMPLE_TEMPERATURE, top_p=SAMPLE_TOP_P, seed=plan.seed)


class _Loop:
    """The state of `run_steps`, so that its parts need not hand it around."""

    def __init__(
        self,
        run: Path,
        plan: Plan,
        model: GPT,
        batches: Batches,
        observers: Sequence[Observer],
        stop: Callable[[], bool],
        watcher: Watcher | None,
    ) -> None:
        self.run, self.plan, self.model, self.batches, self.stop = run, plan, model, batches, stop
        self.watcher = watcher
        self.dtype: torch.dtype = getattr(torch, plan.dtype)
        self.products = math.inf  # operations a second that this machine's matrix products reach, once that is measured
        self.optimizer = make_optimizer(model, plan.recipe, plan.optimizer, plan.optimizer_settings)
        found = checkpoint.newest(run)
        self.state = checkpoint.load(found, model, self.optimizer) if found else State(step=0, tokens=0)
        if found:
            self._renew_model(found)  # a kill may have come between a checkpoint and this
        self.metrics = Metrics(run / METRICS, keep_steps=self.state.step)
        self.observers = [self.metrics.observe, *observers]

    def to_the_end(self) -> State:
        """Steps until the plan is done or `stop` says so."""
        plan = self.plan
        try:
            if not ended(plan, self.state):
                self.products = products_per_s(self.dtype, typical_products(plan.config, plan.micro_batch * plan.config.n_ctx))
                self._tell(events.RunStarted(plan=plan.to_dict(), step=self.state.step, tokens=self.state.tokens))
            if self.state.step == 0:
                self._look()
            while not ended(plan, self.state):
                self._step()
                self._look()
                stopping = self.stop()
                if self.state.step % plan.checkpoint_every == 0 or ended(plan, self.state) or stopping:
                    self._save()
                if stopping:
                    break
        finally:
            self.metrics.close()
        over = "done" if self.state.step == plan.total_steps else "no longer learning"
        reason = over if ended(plan, self.state) else "interrupted"
        self._tell(events.RunFinished(step=self.state.step, tokens=self.state.tokens, reason=reason))
        return self.state

    def _tell(self, event: events.Event) -> None:
        emit(self.observers, event)

    def _step(self) -> None:
        plan, step = self.plan, self.state.step
        began = time.perf_counter()
        watching = self.watcher if self.watcher is not None and self.watcher.watches(step) else None
        taken = take_step(plan, self.model, self.optimizer, self.batches, self.state, watching)
        loss, norm, lr, spike = taken[:4]
        seconds = time.perf_counter() - began - taken.watched
        self._must_be_finite(loss + norm, step + 1)
        if watching is not None:
            watching.after(self.model)
        tokens = self.batches.tokens_before(step + 1)
        flops = 3 * plan.config.flops(tokens - self.state.tokens)  # forward, and twice that backward
        self._tell(
            events.StepDone(
                step=step + 1, tokens=tokens, loss=loss, lr=lr, grad_norm=norm,
                tokens_per_s=(tokens - self.state.tokens) / seconds, epoch=self.batches.epoch_at(step + 1),
                waiting=taken.waited / seconds, flops_per_s=flops / seconds, matmul_share=flops / seconds / self.products,
            )
        )  # fmt: skip
        if spike is not None:
            self._tell(events.StepSkipped(step + 1, tokens, *spike, allowed=plan.skip_spikes))
        self.state = replace(
            self.state, step=step + 1, tokens=tokens, skipped=self.state.skipped + (spike is not None),
            recent=guard.remember(self.state.recent, loss, norm) if plan.skip_spikes else (),
        )  # fmt: skip

    def _look(self) -> None:
        """Held-out loss and a sample, where the plan asks for them at this step."""
        plan, step, tokens = self.plan, self.state.step, self.state.tokens
        self.model.eval()
        if step % plan.held_out_every == 0 or step == plan.total_steps:
            loss, bits = self.batches.held_out(self.model, self.dtype)
            self._must_be_finite(loss, step)
            self._tell(events.HeldOut(step=step, tokens=tokens, held_out_loss=loss, bits_per_byte=bits))
            if plan.patience:
                fell = self.state.lowest is None or loss < self.state.lowest
                waited = 0 if fell else self.state.waited + 1
                self.state = replace(self.state, lowest=loss if fell else self.state.lowest, waited=waited)
            if plan.keep_best:
                checkpoint.keep_best(self.run, self.model, step=step, held_out_loss=loss)
        if step in plan.sample_at and plan.sample_prompt:
            written = sample(plan, self.model)
            self._tell(
                events.Sampled(step=step, tokens=tokens, prompt=plan.sample_prompt, text=written.text, ids=tuple(written.ids))
            )

    def _save(self) -> None:
        path = checkpoint.save(self.run, self.model, self.optimizer, self.state, keep=self.plan.keep)
        self._renew_model(path)
        self._tell(events.CheckpointSaved(step=self.state.step, path=str(path)))

    def _renew_model(self, newest: Path) -> None:
        best = self.plan.keep_best and ended(self.plan, self.state)
        checkpoint.renew_model(self.run, self.run / "best" if best else newest)

    def _must_be_finite(self, number: float, step: int) -> None:
        if not math.isfinite(number):
            raise PellucidError(
                f"the loss is no longer a number at step {step}: start a new run with a learning rate below "
                f"{self.plan.recipe.learning_rate:g} (checkpoints from before are intact)"
            )


class Metrics:
    """`metrics.jsonl`: a line a step, a line a look at held-out text, a line a sample.

    Lines after the checkpoint that a run goes on from are cut: those steps are about to happen again.
    """

    def __init__(self, path: Path, *, keep_steps: int) -> None:
        if path.exists():
            part = path.with_suffix(".part")
            with path.open(encoding="utf-8") as old, part.open("w", encoding="utf-8") as new:
                new.writelines(line for line in old if keep_steps and _step_of(line) <= keep_steps)
            os.replace(part, path)
        self.file = path.open("a", encoding="utf-8")

    def observe(self, event: events.Event) -> None:
        """Writes the line of an event that has one."""
        line: dict[str, Any]
        match event:
            case events.StepDone():
                line = {
                    "step": event.step, "tokens": event.tokens, "loss": event.loss, "lr": event.lr,
                    "grad_norm": event.grad_norm, "tokens_per_s": round(event.tokens_per_s, 1),
                    "waiting": round(event.waiting, 5), "flops_per_s": round(event.flops_per_s),
                    "matmul_share": round(event.matmul_share, 4),
                }  # fmt: skip
            case events.StepSkipped():
                line = {
                    "step": event.step, "tokens": event.tokens,
                    "skipped": {"loss": event.loss_score, "grad_norm": event.grad_norm_score, "allowed": event.allowed},
                }  # fmt: skip
            case events.HeldOut():
                line = {
                    "step": event.step, "tokens": event.tokens,
                    "held_out_loss": event.held_out_loss, "bits_per_byte": event.bits_per_byte,
                }  # fmt: skip
            case events.Sampled():
                line = {
                    "step": event.step, "tokens": event.tokens, "prompt": event.prompt, "sample": event.text,
                    "ids": list(event.ids),
                }  # fmt: skip
            case _:
                return
        try:
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()
        except OSError as error:
            raise PellucidError(f"could not write {self.file.name}: {error}; mend that, then resume") from error

    def close(self) -> None:
        """Closes the file."""
        self.file.close()


def _step_of(line: str) -> float:
    """The step a metrics line belongs to; infinity for a line that a kill cut short."""
    try:
        return int(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return math.inf
