"""`overfitting`: whether a run learned its own text rather than text in general, from its held-out losses. Torch-free."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


RISE = 1.02  # of the held-out loss over its lowest value from which it counts as rising
EPOCHS = 1.5  # a text read less often cannot be learned by heart


@dataclass(frozen=True, slots=True, kw_only=True)
class Overfitting:
    """A held-out loss that rose while the training loss fell.

    Attributes:
        epochs: how often the training text was read. step, lowest: of the lowest held-out loss, and that loss.
        held_out, training: the last held-out loss, and the mean of the last twentieth of training losses (nats a token).
    """

    epochs: float
    step: int
    lowest: float
    held_out: float
    training: float


def overfitting(lines: Iterable[Mapping[str, Any]], train_tokens: int) -> Overfitting | None:
    """The overfitting of a run; None where its held-out loss did not rise, or where it read its text about once.

    Args:
        lines: of `metrics.jsonl`, as `metrics.read_metrics` gives them. train_tokens: of the training text.
    """
    held_out, losses, tokens = [], [], 0
    for line in lines:
        tokens = max(tokens, line["tokens"])
        if "loss" in line:
            losses.append(line["loss"])
        if "held_out_loss" in line:
            held_out.append((line["held_out_loss"], line["step"]))
    if not held_out or not losses or tokens < EPOCHS * train_tokens:
        return None
    (lowest, step), last = min(held_out), held_out[-1][0]
    if last < RISE * lowest:
        return None
    end = losses[-max(1, len(losses) // 20) :]
    return Overfitting(epochs=tokens / train_tokens, step=step, lowest=lowest, held_out=last, training=sum(end) / len(end))
