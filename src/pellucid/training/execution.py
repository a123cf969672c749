"""How a run's steps are computed: `Execution`, and its form on one process. `distributed.execution` has that of several.

The loop (`loop`) decides what happens when; an execution has the weights and the optimizer, takes a step, measures, samples and
saves.
"""

import time
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from pellucid.engine.completion import Completion
from pellucid.generation.model import GPT
from pellucid.hashing import mix
from pellucid.runs.files import BEST
from pellucid.runs.plan import SAMPLE_TEMPERATURE, SAMPLE_TOKENS, SAMPLE_TOP_P, Plan
from pellucid.training import checkpoint
from pellucid.training.batches import Batches
from pellucid.training.checkpoint import KeptModel, State
from pellucid.training.matmul_rate import block_products, matmul_flops_per_s
from pellucid.training.optimizers import make_optimizer
from pellucid.training.placement import device_of, has_operators
from pellucid.training.spike_guard import spike_scores
from pellucid.training.step import loss_and_gradients, update
from pellucid.training.watch import Watcher


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


class Execution(Protocol):
    """The weights and the optimizer of a run, on however many processes. Every rank calls the same methods in the same order.

    Attributes:
        is_main: whether this process writes the run's files: one of them does.
    """

    is_main: bool

    def resume(self) -> State:
        """Takes weights and optimizer from the newest checkpoint, if there is one; returns the run's state."""

    def measure_products(self) -> float:
        """The floating-point operations a second that matrix products reach by themselves, on all processes."""

    def take_step(self, state: State, watcher: Watcher | None) -> StepResult:
        """Takes the step that follows `state`."""

    def watch_update(self, watcher: Watcher) -> None:
        """Shows a watcher the weights after the update that it saw the gradients of."""

    def held_out(self) -> tuple[float, float]:
        """The loss on held-out data: (nats a token, bits a byte)."""

    def answers(self) -> tuple[int, int] | None:
        """(held-out examples that are answered exactly, all of them); None for text."""

    def sample(self) -> Completion | None:
        """What the model writes after the plan's prompt; None where another process says it."""

    def keep_best(self, candidate: KeptModel) -> None:
        """Saves `best/` if this is the best model so far."""

    def save(self, state: State, *, last: bool) -> list[Path]:
        """Saves a checkpoint, and drops old ones; returns those that are complete since the last call.

        Args:
            last: whether no step follows: then nothing is left to be written in the background.
        """

    def renew_model(self, *, best: bool, last: bool) -> None:
        """Makes `model/` the model of the newest checkpoint, or of `best/`; while steps follow, where that costs little."""

    def agrees_to_stop(self, stop: bool) -> bool:
        """Whether the run ends here because some process was asked to."""


class OneProcess:
    """The execution of a run in this process.

    Args:
        model: on the plan's device, with its first weights.
    """

    is_main = True

    def __init__(self, run: Path, plan: Plan, model: GPT, batches: Batches) -> None:
        self.run, self.plan, self.model, self.batches = run, plan, model, batches
        self.dtype: torch.dtype = getattr(torch, plan.dtype)
        self.optimizer = make_optimizer(model, plan.recipe, plan.optimizer, plan.optimizer_settings)

    def resume(self) -> State:
        """As `Execution`."""
        checkpoint.remove_what_kills_left(self.run)
        found = checkpoint.newest(self.run)
        return checkpoint.load(found, self.model, self.optimizer) if found else State(step=0, tokens=0)

    def measure_products(self) -> float:
        """As `Execution`."""
        plan = self.plan
        products = block_products(plan.config, plan.micro_batch * plan.config.n_ctx)
        return matmul_flops_per_s(self.dtype, products, device=device_of(self.model))

    def take_step(self, state: State, watcher: Watcher | None) -> StepResult:
        """As `Execution`."""
        return take_step(self.plan, self.model, self.optimizer, self.batches, state, watcher)

    def watch_update(self, watcher: Watcher) -> None:
        """As `Execution`."""
        watcher.after(self.model)

    def held_out(self) -> tuple[float, float]:
        """As `Execution`."""
        return self.batches.held_out(self.model.eval(), self.dtype)

    def answers(self) -> tuple[int, int] | None:
        """As `Execution`."""
        return self.batches.answers(self.model.eval())

    def sample(self) -> Completion | None:
        """As `Execution`."""
        return sample(self.plan, self.model.eval())

    def keep_best(self, candidate: KeptModel) -> None:
        """As `Execution`."""
        checkpoint.keep_best(self.run, self.model, candidate)

    def save(self, state: State, *, last: bool) -> list[Path]:
        """As `Execution`."""
        return [checkpoint.save(self.run, self.model, self.optimizer, state, keep=self.plan.keep)]

    def renew_model(self, *, best: bool, last: bool) -> None:
        """As `Execution`."""
        newest = self.run / BEST if best else checkpoint.newest(self.run)
        assert newest is not None
        checkpoint.renew_model(self.run, newest)

    def agrees_to_stop(self, stop: bool) -> bool:
        """As `Execution`."""
        return stop


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
        compiled=plan.compiled and has_operators(dtype, device_of(model)), recompute=plan.recompute,
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
    model.eval()
    return StepResult(loss, norm, lr, spike, watch_seconds, data_seconds)


def sample(plan: Plan, model: GPT) -> Completion:
    """What the model writes after the plan's prompt, as far as its context goes."""
    prompt = model.require_tokenizer().encode_prompt(plan.sample_prompt)
    room = min(SAMPLE_TOKENS, model.config.n_ctx + 1 - len(prompt))
    return model.generate(prompt, max_tokens=room, temperature=SAMPLE_TEMPERATURE, top_p=SAMPLE_TOP_P, seed=plan.seed)
