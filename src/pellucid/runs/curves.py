"""The losses of a run by step, as arrays: of training, and on held-out text. Torch-free.

N lines of `metrics.jsonl`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class LossCurve(NamedTuple):
    """A loss by step: `steps, tokens, values = run.losses()`.

    Attributes:
        steps: (N,) int64: steps done, ascending.
        tokens: (N,) int64: training tokens seen by then.
        values: (N,) float64: nats a token.
    """

    steps: NDArray[np.int64]
    tokens: NDArray[np.int64]
    values: NDArray[np.float64]


def loss_curve(lines: Iterable[Mapping[str, Any]], name: str) -> LossCurve:
    """The curve of one number of `metrics.jsonl`.

    Args:
        lines: as `metrics.read_metrics` gives them; those without that number are left out.
        name: "loss" (of a step's batch, before its update) or "held_out_loss".
    """
    chosen = [line for line in lines if name in line]
    return LossCurve(
        np.array([line["step"] for line in chosen], np.int64),
        np.array([line["tokens"] for line in chosen], np.int64),
        np.array([line[name] for line in chosen], np.float64),
    )
