"""Spike scores: how far a step's loss and gradient norm lie above those of recent steps, so that its update can be skipped.

The recent values are part of every checkpoint (`checkpoint.State.recent`), so a resumed run skips the same steps, and a
replayed step is scored as it was. PaLM's authors met loss spikes, restarted from a checkpoint before each and skipped some
hundreds of batches (arXiv 2204.02311, section 5.1); GPT-3's paper reports none. Torch-free.
"""

import math
from collections.abc import Sequence


# Choices.
WINDOW = 128  # steps that a step is compared with
MIN_STEPS = 16  # steps that must have been taken before one is scored
MIN_DEVIATION = 0.01  # of the mean: where all steps are alike, a small difference is no spike

Recent = tuple[tuple[float, float], ...]  # (loss, gradient norm) of the last `WINDOW` steps


def spike_scores(recent: Recent, loss: float, norm: float) -> tuple[float, float]:
    """How many standard deviations a step's loss and gradient norm lie above the mean of the recent steps.

    Zeros while there are fewer than `MIN_STEPS` of them.
    """
    if len(recent) < MIN_STEPS:
        return 0.0, 0.0
    losses, norms = zip(*recent, strict=True)
    return _score(losses, loss), _score(norms, norm)


def with_step(recent: Recent, loss: float, norm: float) -> Recent:
    """The recent steps with one more, skipped ones too: a level that stays soon no longer scores as a spike."""
    return (*recent, (loss, norm))[-WINDOW:]


def _score(recent: Sequence[float], value: float) -> float:
    mean = math.fsum(recent) / len(recent)
    deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in recent) / len(recent))
    return (value - mean) / max(deviation, MIN_DEVIATION * abs(mean), 1e-12)
