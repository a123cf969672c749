"""The planner: turns the options and the data of a run into its `Plan`, for training and fine-tuning alike.

What is trained differs by kind and is described by a `Workload`; the number of steps, device and dtype, and the intervals of
evaluations and checkpoints are decided here for both.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from pellucid import events
from pellucid.errors import PellucidError
from pellucid.events import Observer, emit
from pellucid.generation.model import GPT
from pellucid.gpt.config import GPTConfig
from pellucid.languages import mark
from pellucid.runs.plan import EVALUATIONS, Plan, interval, log_spaced
from pellucid.runs.recipe import Recipe
from pellucid.runtime.device import resolve_device
from pellucid.text import Tokenizer
from pellucid.training.batches import Batches
from pellucid.training.machine import describe
from pellucid.training.options import RunOptions
from pellucid.training.placement import default_dtype, has_operators
from pellucid.training.sample_prompt import beginning
from pellucid.training.step import micro_batch_of
from pellucid.training.throughput import Throughput, calibration_seconds, measure_throughput


class Workload(ABC):
    """What a run trains, once its data is in the run directory.

    Attributes:
        kind: of the plan, "train" or "finetune".
        config: the model's shape. tokenizer: its tokenizer.
        batches: of full batches. batch: rows of a full batch; positions: tokens in a row.
        learning_rate: the peak, if none was asked for.
        checkpoints: how many in a run, if no interval was asked for. None: as many as held-out evaluations.
        plan_fields: fields of `Plan` that follow from the kind.
    """

    kind: str
    config: GPTConfig
    tokenizer: Tokenizer
    batches: Batches
    batch: int
    positions: int
    learning_rate: float
    checkpoints: int | None
    plan_fields: Mapping[str, Any]

    @abstractmethod
    def schedule(self, learning_rate: float, timed_steps: int | None) -> tuple[int, Recipe]:
        """(steps in all, recipe) of the run.

        Args:
            timed_steps: steps of full batches that a time budget buys. None: there is no time budget.

        Raises:
            PellucidError: the budget is less than a step (`at_least_one`).
        """

    def stand_in(self, plan: Plan) -> GPT:
        """A model like the run's, to time its steps on."""
        return GPT(plan.config, seed=plan.seed)

    @abstractmethod
    def default_prompt(self) -> str:
        """What samples continue if no prompt was given."""


class Job(Protocol):
    """A kind of run: what `training.run.run_job` needs from training and from fine-tuning."""

    @property
    def kind(self) -> str:
        """Of its plan, "train" or "finetune"."""

    @property
    def options(self) -> RunOptions:
        """The options that were given."""

    @property
    def has_data(self) -> bool:
        """Whether text or examples were given: without them a run can be resumed only."""

    def arguments(self) -> dict[str, Any]:
        """What was given beside the options, by the names of the arguments; nothing that was not given."""

    def check(self, *, alone: bool) -> None:
        """Refuses what cannot be done before anything is written. Raises PellucidError.

        Args:
            alone: whether one process takes the steps, so that they have to fit into its memory.
        """

    def prepare(self, run: Path, seed: int, observers: Sequence[Observer]) -> Workload:
        """Puts everything that the run needs into its directory, except the plan."""

    def open(self, run: Path, plan: Plan, *, verify: bool) -> tuple[GPT, Batches]:
        """The model with its first weights, and the batches, of a run that was prepared.

        Args:
            verify: whether to compare the data with its checksums.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Precision:
    """The device and dtype of a run's matrix products, and whether they use the compiled operators."""

    device: torch.device
    dtype: torch.dtype
    compiled: bool

    @classmethod
    def of(cls, options: RunOptions) -> "Precision":
        """The device and dtype that the options name, or the defaults.

        Raises:
            PellucidError: no such device here.
        """
        device = resolve_device("cpu" if options.device is None else options.device)
        if device.type == "meta":
            raise PellucidError("nothing is computed on the device meta: use auto, cpu, cuda (cuda:1, ...) or mps")
        dtype: torch.dtype = getattr(torch, options.dtype) if options.dtype else default_dtype(device)
        return cls(device=device, dtype=dtype, compiled=has_operators(dtype, device))


def make_plan(workload: Workload, options: RunOptions, *, seed: int, record: bool, observers: Sequence[Observer] = ()) -> Plan:
    """Makes every choice of a run.

    Args:
        record: whether the run will be recorded.

    Raises:
        PellucidError: the budget is less than a step, the prompt is longer than the context, or no such device.
    """
    precision = Precision.of(options)
    dtype_name = str(precision.dtype).removeprefix("torch.")
    learning_rate = options.learning_rate or workload.learning_rate
    n_ctx = workload.config.n_ctx
    if options.prompt is None:
        prompt = beginning(workload.default_prompt(), workload.tokenizer, n_ctx)
    else:
        prompt = _fitting(options.prompt, workload.tokenizer, n_ctx)

    def plan_of(steps_and_recipe: tuple[int, Recipe], evaluations: int, threads: int) -> Plan:
        steps, recipe = steps_and_recipe
        checkpoint_every = interval(steps, workload.checkpoints or evaluations)
        by_kind_and_option = {"checkpoint_every": checkpoint_every} | dict(workload.plan_fields) | options.planned()
        if by_kind_and_option.get("optimizer") == "muon":
            chosen = {"matmul_dtype": dtype_name} | by_kind_and_option.get("optimizer_settings", {})
            by_kind_and_option["optimizer_settings"] = chosen
        return Plan(
            kind=workload.kind,
            config=workload.config,
            recipe=recipe,
            seed=seed,
            batch=workload.batch,
            micro_batch=micro_batch_of(workload.batch, workload.positions),
            total_steps=steps,
            dtype=dtype_name,
            compiled=precision.compiled,
            threads=threads,
            device=str(precision.device),
            held_out_every=interval(steps, evaluations),
            sample_at=log_spaced(steps),
            sample_prompt=prompt,
            record=record,
            machine=dict(describe(precision.device)),
            **by_kind_and_option,
        )

    threads = torch.get_num_threads()
    if options.minutes is None:
        return plan_of(workload.schedule(learning_rate, None), EVALUATIONS, threads)
    timed = plan_of(workload.schedule(learning_rate, 1), EVALUATIONS, threads)
    throughput = measure(workload, timed, calibration_seconds(options.minutes), observers)
    steps, evaluations = throughput.steps_in(options.minutes)
    return plan_of(workload.schedule(learning_rate, steps), evaluations, throughput.threads)


def measure(workload: Workload, plan: Plan, seconds: float, observers: Sequence[Observer]) -> Throughput:
    """Times steps of full batches, as the plan has them, for about `seconds`."""
    emit(observers, events.Progress(stage=mark("timing a few steps"), done=0))
    return measure_throughput(plan, workload.batches, workload.stand_in(plan), seconds=seconds)


def at_least_one(steps: int) -> int:
    """The number of steps, if there are any.

    Raises:
        PellucidError: there are none.
    """
    if steps < 1:
        raise PellucidError("the budget is less than one step: give a larger one, or a smaller model or batch")
    return steps


def _fitting(prompt: str, tokenizer: Tokenizer, n_ctx: int) -> str:
    """The prompt, if the model can read it.

    Raises:
        PellucidError: it is longer than the context.
    """
    if (tokens := len(tokenizer.encode_prompt(prompt))) > n_ctx:
        raise PellucidError(f"the sample prompt has {tokens} tokens, the model reads {n_ctx}: shorten it")
    return prompt
