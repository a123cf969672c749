"""Whether a run learned its own text by heart, told from its losses."""

from typing import Any

from cases import cases
from hypothesis import given
from hypothesis import strategies as some

from pellucid.runs.overfitting import EPOCHS, RISE, overfitting


TOKENS = 1000  # of a training text
LOSS = some.floats(0.01, 10)


def lines(losses: list[float], held_out: list[float], tokens: int) -> list[dict[str, Any]]:
    """The lines of a run that takes a step for each loss, `tokens` in all, with held-out losses spread over it."""
    found: list[dict[str, Any]] = []
    for step, loss in enumerate(losses, start=1):
        found.append({"step": step, "tokens": tokens * step // len(losses), "loss": loss})
    for number, loss in enumerate(held_out, start=1):
        step = len(losses) * number // len(held_out)
        found.append({"step": step, "tokens": tokens * step // len(losses), "held_out_loss": loss, "bits_per_byte": 1.0})
    return found


@cases(100)
@given(some.lists(LOSS, min_size=1, max_size=60), some.lists(LOSS, min_size=1, max_size=10), some.integers(1, 5000))
def test_it_is_found_where_the_held_out_loss_rose_over_a_text_read_again(
    losses: list[float], held_out: list[float], tokens: int
) -> None:
    found = overfitting(lines(losses, held_out, tokens), TOKENS)
    rose = held_out[-1] >= RISE * min(held_out)
    assert (found is not None) == (rose and tokens >= EPOCHS * TOKENS)
    if found is not None:
        assert (found.lowest, found.held_out) == (min(held_out), held_out[-1]) and found.held_out > found.lowest
        assert found.step == len(losses) * (held_out.index(min(held_out)) + 1) // len(held_out)
        assert found.epochs == tokens / TOKENS and min(losses[-5:]) <= found.training <= max(losses[-5:])


def test_a_run_without_losses_has_none() -> None:
    assert overfitting([], TOKENS) is None
    assert overfitting([{"step": 0, "tokens": 0, "held_out_loss": 1.0}], TOKENS) is None
