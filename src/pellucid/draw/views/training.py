"""A training record as the figures of pre-training read it: losses by step, and how far the model was from guessing."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, isfinite, log, log10
from typing import Any, Self

import numpy as np

from pellucid.draw.film.nodes import Shows
from pellucid.draw.views.labels import config
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.published import PUBLISHED
from pellucid.record import Record
from pellucid.text.pieces import piece


GPT3_FLOPS = PUBLISHED["gpt3-175b"].flops  # Table D.1
SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss in nats a token: of the model that `step` updates have made (a training loss: before the update of `step`)."""

    step: int
    value: float
    shows: Shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What a training record says of its run.

    Attributes:
        training: the loss of each step before its update, steps 1, 2, 3, ...
        held_out: on all held-out text, in order; none where nothing was held out.
        window: the mean over one window of text that is the same at every moment, in order of the moments.
        tokens: seen after each step; target: when the run is done. ln_v: the loss when all tokens are equally likely.
        source: what the run's plan says of its text; empty if the record does not hold the plan.
    """

    shape: GPTConfig
    training: tuple[Loss, ...]
    held_out: tuple[Loss, ...]
    window: tuple[Loss, ...]
    tokens: tuple[int, ...]
    target: int
    ln_v: float
    source: dict[str, Any]

    @classmethod
    def of(cls, record: Record) -> Self:
        """Reads it. Raises MissingChunk where the record holds no losses by step."""
        shape = config(record)
        losses = record["training/steps/loss"].tolist()
        training = tuple(
            Loss(i + 1, loss, Shows("training/steps/loss", (i,), i + 1, "replayed")) for i, loss in enumerate(losses)
        )
        held_out: tuple[Loss, ...] = ()
        if "training/held_out/loss" in record:
            rows = zip(record["training/held_out/steps"].tolist(), record["training/held_out/loss"].tolist(), strict=True)
            held_out = tuple(
                Loss(step, loss, Shows("training/held_out/loss", (i,), step, "derived")) for i, (step, loss) in enumerate(rows)
            )
        window: tuple[Loss, ...] = ()
        if "training/window/loss" in record:
            means = np.asarray(record["training/window/loss"], np.float64).mean(1).tolist()
            window = tuple(
                Loss(step, mean, Shows("training/window/loss", (i,), step, "derived"))
                for i, (step, mean) in enumerate(zip(record["training/moments/steps"].tolist(), means, strict=True))
            )
        tokens = tuple(record["training/steps/tokens"].tolist())
        plan = optional(record, "training/plan", {})
        target = plan["total_steps"] * plan["batch"] * shape.n_ctx if plan else tokens[-1]
        target = plan.get("recipe", {}).get("total_tokens", target)  # the batch of a run's first steps may be smaller
        return cls(
            shape=shape, training=training, held_out=held_out, window=window, tokens=tokens, target=target,
            ln_v=log(shape.vocab_size), source=plan.get("source", {}),
        )  # fmt: skip

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return len(self.training)

    def losses_after(self, steps: Sequence[int]) -> tuple[list[Loss], str]:
        """The loss of the model after each of so many steps, all of one kind, and which kind that is in words.

        The loss on all held-out text where it is known after every one of them; else that on one held-out window, which is
        looked at at every moment; else that of the batch which came next (of the last batch, at the end): a step's training
        loss is taken before its update.
        """
        for losses, words in ((self.held_out, "held-out loss"), (self.window, "loss on one held-out window")):
            known = {loss.step: loss for loss in losses}
            if all(step in known for step in steps):
                return [known[step] for step in steps], words
        return [self.training[min(step, self.steps - 1)] for step in steps], "training loss"

    def share(self, loss: Loss) -> float:
        """How far a model has come from guessing (0) to certainty (1): 1 - loss / ln V. Worse than guessing is below 0."""
        return 1 - loss.value / self.ln_v

    def tokens_after(self, step: int) -> int:
        """Training tokens seen after so many steps."""
        return self.tokens[step - 1] if step else 0

    def operations(self, tokens: int) -> int:
        """Floating-point operations of training on so many tokens: those of the forward pass, and twice as many back."""
        return 3 * self.shape.flops(tokens, self.shape.n_ctx)


def optional(record: Record, name: str, default: Any) -> Any:
    """A chunk's value, or the default where it is not in the record."""
    if name not in record:
        return default
    return record[name]


def power(value: float) -> str:
    """A very large number: 3.14 × 10²³; below ten thousand as it is."""
    if value < 10_000:
        return f"{value:,.0f}"
    exponent = floor(log10(value))
    digits = f"{value / 10**exponent:.2f}"
    if digits == "10.00":
        digits, exponent = "1.00", exponent + 1
    return f"{digits} × 10{str(exponent).translate(SUPERSCRIPTS)}"


def finite(losses: Sequence[Loss]) -> list[Loss]:
    """Those that are numbers."""
    return [loss for loss in losses if isfinite(loss.value)]


def spread(values: Sequence[Any], most: int) -> list[Any]:
    """At most so many of a sequence's values, evenly picked, the first and the last always among them."""
    if len(values) <= most:
        return list(values)
    return [values[floor(i * (len(values) - 1) / (most - 1) + 0.5)] for i in range(most)]


def readable(text: str) -> str:
    """A text as it is to be read on a picture: line ends and control characters can be seen, spaces stay spaces."""
    return " ".join(piece(part.encode("utf-8")).replace("↵", "↵ ") for part in text.split(" "))
