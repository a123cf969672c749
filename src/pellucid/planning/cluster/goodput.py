"""Failures: how often a run is interrupted, how often it should save, and which share of its time remains.

With M seconds between interruptions (that of one device over their number), d seconds that a checkpoint holds the run up and R
to start again, saving every tau seconds costs d / tau of the time, and an interruption costs R and tau / 2 of lost work on
average. The sum is least at tau = sqrt(2 d M) (Young 1974; Daly 2006 for d much less than M).
"""

import math
from dataclasses import dataclass

from pellucid.planning.devices import HOUR


# Llama 3 405B: 419 unexpected interruptions in 54 days on 16,384 H100s (arXiv 2407.21783, section 3.3.4).
DEVICE_HOURS_BETWEEN_FAILURES = 16384 * 54 * 24 / 419
FAILURES_SOURCE = "Llama 3 405B: 419 unexpected interruptions of 16,384 H100s in 54 days (arXiv 2407.21783)"
RESTART_SECONDS = 600.0  # a choice: noticing, replacing a node, loading
STORAGE_PER_DEVICE = 0.25e9  # bytes a second that a device writes to shared storage: a choice
CHECKPOINT_BYTES = 12  # a parameter: float32 weights and Adam's two moments


@dataclass(frozen=True, kw_only=True, slots=True)
class Goodput:
    """A run with failures. Seconds; shares of the whole time.

    Attributes:
        between_failures: of the whole cluster. checkpoint: what one takes. interval: between checkpoints.
        saving, lost, restarting: shares spent on each. share: of the time that goes into training.
    """

    between_failures: float
    checkpoint: float
    interval: float
    saving: float
    lost: float
    restarting: float

    @property
    def share(self) -> float:
        """What remains; 0 where failures come faster than the run can go on."""
        return max(0.0, 1 - self.saving - self.lost - self.restarting)


def goodput(
    parameters: int,
    devices: int,
    step: float,
    *,
    device_hours: float = DEVICE_HOURS_BETWEEN_FAILURES,
    storage: float = STORAGE_PER_DEVICE,
    restart: float = RESTART_SECONDS,
) -> Goodput:
    """The share of a run's time that goes into training.

    Args:
        step: seconds of a step; a checkpoint is taken between steps, so the interval is a whole number of them.
        device_hours: between failures of one device. storage: bytes a second that a device writes. restart: seconds.
    """  # fmt: skip
    between = device_hours * HOUR / devices
    checkpoint = CHECKPOINT_BYTES * parameters / (storage * devices)
    best = math.sqrt(2 * checkpoint * between) / step  # in steps; of the whole numbers beside it, the one that wastes less
    whole = (max(1, math.floor(best)), math.ceil(best))
    interval = step * min(whole, key=lambda steps: checkpoint / (steps * step) + steps * step / 2 / between)
    return Goodput(
        between_failures=between, checkpoint=checkpoint, interval=interval,
        saving=checkpoint / (interval + checkpoint), lost=interval / 2 / between, restarting=restart / between,
    )  # fmt: skip
