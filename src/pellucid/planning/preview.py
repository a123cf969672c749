"""`Preview`: the plan, time, memory and predicted loss of a training run before it is started.

The time of a step is measured on this machine (`training.run.dry_run`); the memory is computed by `gpt.memory`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pellucid.gpt.memory import StepMemory, precision_of, step_memory
from pellucid.gpt.scaling import ScaledShape
from pellucid.planning.final_loss import FinalLossPrediction, predict_final_loss
from pellucid.runs.plan import Plan
from pellucid.training.optimizers import optimizer_bytes
from pellucid.training.throughput import Throughput


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A planned run with its resources.

    Attributes:
        plan: every choice of it. throughput: seconds of a step and of a held-out evaluation, measured here.
        scaled_shape: how its shape was derived, if from a number of parameters.
    """

    plan: Plan
    throughput: Throughput
    scaled_shape: ScaledShape | None = None

    @property
    def seconds(self) -> float:
        """Steps and held-out evaluations at the measured speed; samples and checkpoints are not counted."""
        evaluations = 2 + (self.plan.total_steps - 1) // self.plan.held_out_every  # one before any step, one at the end
        return self.plan.total_steps * self.throughput.step_seconds + evaluations * self.throughput.evaluation_seconds

    @cached_property
    def memory(self) -> StepMemory:
        """Bytes of a step of full micro-batches, with the state of the run's own optimizer."""
        plan = self.plan
        return step_memory(
            plan.config, plan.micro_batch, precision_of(plan.dtype, compiled=plan.compiled),
            accumulates=plan.batch > plan.micro_batch,
            optimizer_state=optimizer_bytes(plan.config, plan.optimizer, plan.optimizer_settings),
        )  # fmt: skip

    @property
    def end_loss(self) -> FinalLossPrediction | None:
        """Held-out loss at the end, by a scaling law fitted to other runs; None where there is none for so few tokens."""
        plan = self.plan
        count, text = plan.config.parameters(), plan.source["train_tokens"]
        return predict_final_loss(count, plan.recipe.total_tokens, text, plan.optimizer)

    def reasons(self) -> dict[str, str]:
        """By name, why each number that follows from the number of parameters is as it is; none that was given instead."""
        if self.scaled_shape is None:
            return {}
        plan, scaled_shape = self.plan, self.scaled_shape
        found = dict(scaled_shape.reasons)
        if plan.recipe.learning_rate != scaled_shape.learning_rate:
            del found["learning_rate"]
        if plan.batch != scaled_shape.batch_tokens // plan.config.n_ctx:
            del found["batch_tokens"]
        if plan.config.vocab_size != scaled_shape.config.vocab_size:
            found["vocab_size"] = f"the tokenizer's, of {scaled_shape.config.vocab_size:,} that would suit"
        return found

    def rows(self) -> list[tuple[str, str, str]]:
        """(name, value, where it comes from) for each number, in the order of a table."""
        plan, config, recipe = self.plan, self.plan.config, self.plan.recipe
        whys, memory, end = self.reasons(), self.memory, self.end_loss
        full = plan.batch * config.n_ctx
        grows = f", growing from {recipe.ramp_from:,} over {recipe.ramp_tokens:,}" if recipe.ramp_tokens else ""
        return [
            ("parameters", f"{config.parameters():,}", "in all"),
            ("blocks", f"{config.n_layers}", whys.get("n_layers", "")),
            ("width", f"{config.d_model}", whys.get("d_model", "")),
            ("heads", f"{config.n_heads}", whys.get("n_heads", "")),
            ("context", f"{config.n_ctx:,} tokens", whys.get("n_ctx", "")),
            ("vocabulary", f"{config.vocab_size:,} tokens", whys.get("vocab_size", "")),
            ("learning rate", f"{recipe.learning_rate:.3g}", whys.get("learning_rate", "")),
            ("batch", f"{full:,} tokens{grows}", whys.get("batch_tokens", "")),
            ("tokens", f"{recipe.total_tokens:,}", f"{recipe.total_tokens / plan.source['train_tokens']:.2f} times the text"),
            ("steps", f"{plan.total_steps:,}", ""),
            ("memory", f"{memory.peak / 1e6:,.0f} MB",
             f"{memory.persistent / 1e6:,.0f} for weights, gradients and {plan.optimizer}, the rest for "
             f"{plan.micro_batch} window{'s' * (plan.micro_batch != 1)} at once"),
            ("time", f"{self.seconds / 60:,.1f} minutes",
             f"measured: {self.throughput.step_seconds:.3g} s a step on {self.throughput.threads} "
             f"thread{'s' * (self.throughput.threads != 1)}"),
            ("end loss", f"~{end.bits_per_byte:.2f}", f"bits/byte held out, by {end.as_sentence()}") if end else
            ("end loss", "", "not predicted for so few tokens"),
        ]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; bytes and seconds."""
        plan = self.plan
        return {
            "dry_run": True,
            "parameters": plan.config.parameters(),
            "config": plan.config.to_dict(),
            "learning_rate": plan.recipe.learning_rate,
            "batch_tokens": plan.batch * plan.config.n_ctx,
            "recipe": plan.recipe.to_dict(),
            "tokens": plan.recipe.total_tokens,
            "steps": plan.total_steps,
            "memory": {"state": self.memory.persistent, "activations": self.memory.peak - self.memory.persistent},
            "end_loss": self.end_loss.to_dict() if self.end_loss else None,
            "seconds": self.seconds,
            "seconds_per_step": self.throughput.step_seconds,
            "threads": self.throughput.threads,
            "reasons": self.reasons(),
        }
