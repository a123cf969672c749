"""A step that would do harm is left out: its loss or its gradient stands far above those of the steps before it.

What the guard remembers is part of every checkpoint (`checkpoint.State.recent`), so a resumed run leaves out the same steps,
and a step that is taken again to verify a record is judged as it was. PaLM's authors met spikes of this kind, went
back before each and passed over some hundreds of batches (arXiv 2204.02311, section 5.1); GPT-3's paper tells of none.
Torch-free.
"""

import math
from collections.abc import Sequence


# Choices.
WINDOW = 128  # steps that a step is compared with
LEAST = 16  # steps that must have been seen before one is judged
SPREAD_AT_LEAST = 0.01  # of the mean: where all are alike, a small difference is no spike

Recent = tuple[tuple[float, float], ...]  # (loss, gradient's norm) of the last `WINDOW` steps


def scores(recent: Recent, loss: float, norm: float) -> tuple[float, float]:
    """How many standard deviations a step's loss and its gradient's norm lie above the mean of the steps before it.

    Zeros while fewer than `LEAST` were seen.
    """
    if len(recent) < LEAST:
        return 0.0, 0.0
    losses, norms = zip(*recent, strict=True)
    return _score(losses, loss), _score(norms, norm)


def remember(recent: Recent, loss: float, norm: float) -> Recent:
    """The same with one step more, also if it was left out: a level that stays is soon no longer taken for a spike."""
    return (*recent, (loss, norm))[-WINDOW:]


def _score(seen: Sequence[float], value: float) -> float:
    mean = math.fsum(seen) / len(seen)
    deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in seen) / len(seen))
    return (value - mean) / max(deviation, SPREAD_AT_LEAST * abs(mean), 1e-12)
