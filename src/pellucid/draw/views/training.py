"""What the figures of a training record share: `TrainingHistory`, the losses and tokens of the run by step."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, log

import numpy as np

from pellucid.draw.film.nodes import Shows
from pellucid.draw.views.model_info import optional_chunk
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.published import PUBLISHED
from pellucid.languages import mark
from pellucid.record import Record


GPT3_FLOPS = PUBLISHED["gpt3-175b"].flops  # Table D.1


@dataclass(frozen=True, slots=True)
class LossPoint:
    """A loss at a step of a run.

    Attributes:
        step: updates done so far; of a training loss, the number of the step before whose update it was taken.
        value: nats a token. shows: the chunk it stands in (training losses are replayed, the others derived).
    """

    step: int
    value: float
    shows: Shows


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingHistory:
    """The losses and tokens of a run by step.

    Attributes:
        shape: of the model.
        training: the loss of each step before its update, steps 1, 2, 3, ... (`training/steps/loss`, replayed).
        held_out: the loss on held-out text, in order of steps (`training/held_out/loss`, derived); empty if none.
        window: the mean loss over one fixed window of text at each recorded step (`training/window/loss`, derived); empty
            if none.
        tokens: seen after each step (`training/steps/tokens`, given). planned: steps and tokens of the run's plan
            (`training/plan`) where the record ends before them; else None.
        ln_v: the loss when all tokens are equally likely, nats a token.
        train_tokens: tokens of the training text as the run's plan says; None where the record holds no plan.
    """

    shape: GPTConfig
    training: tuple[LossPoint, ...]
    held_out: tuple[LossPoint, ...]
    window: tuple[LossPoint, ...]
    tokens: tuple[int, ...]
    planned: tuple[int, int] | None
    ln_v: float
    train_tokens: int | None

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return len(self.training)

    def losses_after(self, steps: Sequence[int]) -> tuple[list[LossPoint], str]:
        """The loss of the model after each of some numbers of steps, all of one kind, and the name of that kind in English.

        The loss on all held-out text where it is known after every one of these steps; else that on one fixed window, which
        is known at every recorded step; else the training loss of the step that followed (of the last step, at the end),
        because a training loss is taken before its update.
        """
        kinds = ((self.held_out, mark("held-out loss")), (self.window, mark("loss on one held-out window")))
        for losses, words in kinds:
            known = {loss.step: loss for loss in losses}
            if all(step in known for step in steps):
                return [known[step] for step in steps], words
        return [self.training[min(step, self.steps - 1)] for step in steps], mark("training loss")

    def share(self, loss: LossPoint) -> float:
        """1 - loss / ln V: 0 where all tokens are equally likely, 1 where each is certain, below 0 where it is worse."""
        return 1 - loss.value / self.ln_v

    def tokens_after(self, step: int) -> int:
        """Training tokens seen after so many steps."""
        return self.tokens[step - 1] if step else 0

    def operations(self, tokens: int) -> int:
        """Floating-point operations of training on so many tokens: 3 times those of the forward pass (forward, backward)."""
        return 3 * self.shape.flops(tokens, self.shape.n_ctx)


def read_training(record: Record) -> TrainingHistory:
    """The history that a training record holds. Raises MissingChunk where it holds no losses or tokens by step."""
    shape = GPTConfig.from_dict(record.provenance.config)
    losses = record["training/steps/loss"].tolist()
    training = tuple(
        LossPoint(i + 1, loss, Shows("training/steps/loss", (i,), i + 1, "replayed")) for i, loss in enumerate(losses)
    )
    held_out: tuple[LossPoint, ...] = ()
    if "training/held_out/loss" in record:
        held_out = _points(record["training/held_out/steps"], record["training/held_out/loss"], "training/held_out/loss")
    window: tuple[LossPoint, ...] = ()
    if "training/window/loss" in record:
        means = np.asarray(record["training/window/loss"], np.float64).mean(1)
        window = _points(record["training/moments/steps"], means, "training/window/loss")
    tokens = tuple(record["training/steps/tokens"].tolist())
    plan = optional_chunk(record, "training/plan", {})
    planned = None
    if plan and plan["total_steps"] > len(losses):
        whole = plan["total_steps"] * plan["batch"] * shape.n_ctx
        # The batch of a run's first steps may be smaller than the others.
        planned = plan["total_steps"], plan.get("recipe", {}).get("total_tokens", whole)
    return TrainingHistory(
        shape=shape, training=training, held_out=held_out, window=window, tokens=tokens, planned=planned,
        ln_v=log(shape.vocab_size), train_tokens=plan.get("source", {}).get("train_tokens"),
    )  # fmt: skip


def _points(steps: np.ndarray, losses: np.ndarray, chunk: str) -> tuple[LossPoint, ...]:
    """One point for each step, each of which is derived and stands in the chunk at its place."""
    rows = zip(steps.tolist(), losses.tolist(), strict=True)
    return tuple(LossPoint(step, loss, Shows(chunk, (i,), step, "derived")) for i, (step, loss) in enumerate(rows))


def finite(losses: Sequence[LossPoint]) -> list[LossPoint]:
    """The points whose loss is a finite number."""
    return [loss for loss in losses if isfinite(loss.value)]
