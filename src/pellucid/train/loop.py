"""The life of a run: step after step, with its metrics, its looks at held-out text, its samples and its checkpoints.

Training and fine-tuning differ only in where a batch comes from (`Batches`), so both run here. A step depends on the
weights, the optimizer and its own number, never on what happened before or on a random generator's state: that is why a
run that was killed and resumed ends with the bits of one that was not.
"""

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from pellucid import events
from pellucid.events import Observer, emit
from pellucid.generate.model import GPT
from pellucid.train import checkpoint
from pellucid.train.checkpoint import State
from pellucid.train.plan import Plan
from pellucid.train.step import loss_and_gradients, make_optimizer, update


METRICS = "metrics.jsonl"
SAMPLE_TOKENS = 48


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
) -> State:
    """Takes `model` from the newest checkpoint of `run` (or from its first weights) to the end of `plan`.

    Args:
        model: with its first weights; replaced by the newest checkpoint's if there is one.
        stop: asked after every step; True saves a checkpoint and ends the run early.

    Returns:
        Where the run stands now; `step < plan.total_steps` if it was stopped.
    """
    torch.set_num_threads(plan.threads)
    dtype: torch.dtype = getattr(torch, plan.dtype)
    optimizer = make_optimizer(model, plan.recipe)
    found = checkpoint.newest(run)
    state = checkpoint.load(found, model, optimizer) if found else State(step=0, tokens=0)
    if state.step >= plan.total_steps:
        return state
    metrics = Metrics(run / METRICS, keep_steps=state.step)
    listeners = [metrics.observe, *observers]
    emit(listeners, events.RunStarted(plan=plan.to_dict(), step=state.step, tokens=state.tokens))
    parameters = list(model.parameters())
    if state.step == 0:
        _look(run, plan, model, batches, state, dtype, listeners)
    try:
        for step in range(state.step, plan.total_steps):
            began = time.perf_counter()
            ids, targets = batches.batch(step)
            model.train()
            torch.manual_seed(plan.seed * 1_000_003 + step)  # dropout's only source: a function of the step
            lr = plan.recipe.learning_rate_at(state.tokens)
            loss = loss_and_gradients(model, ids, targets, micro_batch=plan.micro_batch, dtype=dtype)
            norm = update(optimizer, parameters, lr=lr, clip=plan.recipe.clip)
            before, state = state, State(step=step + 1, tokens=batches.tokens_before(step + 1))
            seconds = time.perf_counter() - began
            done = events.StepDone(
                step=state.step, tokens=state.tokens, loss=loss, lr=lr, grad_norm=norm,
                tokens_per_s=(state.tokens - before.tokens) / seconds, epoch=batches.epoch_at(state.step),
            )  # fmt: skip
            emit(listeners, done)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise FloatingPointError(f"the loss is no longer a number at step {state.step} (loss {loss}, norm {norm})")
            _look(run, plan, model, batches, state, dtype, listeners)
            stopping = stop()
            if state.step % plan.checkpoint_every == 0 or state.step == plan.total_steps or stopping:
                path = checkpoint.save(run, model, optimizer, state)
                emit(listeners, events.CheckpointSaved(step=state.step, path=str(path)))
            if stopping:
                break
    finally:
        metrics.close()
    if plan.keep_best and state.step == plan.total_steps:
        checkpoint.renew_model(run, run / "best")
    reason = "done" if state.step == plan.total_steps else "interrupted"
    emit(observers, events.RunFinished(step=state.step, tokens=state.tokens, reason=reason))
    return state


def _look(
    run: Path,
    plan: Plan,
    model: GPT,
    batches: Batches,
    state: State,
    dtype: torch.dtype,
    listeners: Sequence[Observer],
) -> None:
    """Held-out loss and a sample, where the plan asks for them at this step."""
    model.eval()
    if state.step % plan.held_out_every == 0 or state.step == plan.total_steps:
        loss, bits = batches.held_out(model, dtype)
        emit(listeners, events.HeldOut(step=state.step, tokens=state.tokens, held_out_loss=loss, bits_per_byte=bits))
        if plan.keep_best:
            checkpoint.keep_best(run, model, step=state.step, held_out_loss=loss)
    if state.step in plan.sample_at and plan.sample_prompt:
        budget = min(SAMPLE_TOKENS, model.config.n_ctx // 2)
        sample = model.generate(plan.sample_prompt, max_tokens=budget, temperature=0.8, top_p=0.95, seed=plan.seed)
        emit(
            listeners,
            events.Sampled(step=state.step, tokens=state.tokens, prompt=plan.sample_prompt, text=sample.text),
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
                }  # fmt: skip
            case events.HeldOut():
                line = {
                    "step": event.step, "tokens": event.tokens,
                    "held_out_loss": event.held_out_loss, "bits_per_byte": event.bits_per_byte,
                }  # fmt: skip
            case events.Sampled():
                line = {"step": event.step, "tokens": event.tokens, "prompt": event.prompt, "sample": event.text}
            case _:
                return
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    def close(self) -> None:
        """Closes the file."""
        self.file.close()


def _step_of(line: str) -> float:
    """The step a metrics line belongs to; infinity for a line that a kill cut short."""
    try:
        return int(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return math.inf
