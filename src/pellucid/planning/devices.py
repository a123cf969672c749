"""Accelerators with published figures, and the time and cost of a number of operations on them.

The table holds only figures with a known source; for another device the user gives the numbers. A rate is the stated peak;
the share of it that a training run reaches (`utilisation`) is given by the user, or stated to be 1.
"""

import math
from dataclasses import dataclass

from pellucid.errors import PellucidError


HOUR = 3600.0
YEAR = 365 * 24 * HOUR


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceSpec:
    """The figures of one accelerator or computer.

    Attributes:
        flops: floating-point operations per second. memory: bytes. price: US dollars per hour. None: not known.
        source: of the figures.
    """

    name: str
    flops: float | None = None
    memory: float | None = None
    price: float | None = None
    source: str = "given"


LAMBDA = 'Lambda, "demystifying GPT-3", as quoted by others'
DEVICES = {
    "v100": DeviceSpec(
        name="v100", flops=28e12, price=1.5,
        source=f"{LAMBDA}: 28 TFLOPS in half precision, theoretical; 1.5 dollars an hour, reserved in a cloud",
    ),
}  # fmt: skip


def device_spec(
    name: str | None, *, flops: float | None = None, memory: float | None = None, price: float | None = None
) -> DeviceSpec | None:
    """The device of that name, with given numbers in place of the table's; None where no argument is given.

    Raises:
        PellucidError: a name that is not in the table and no `flops`; or a number that is not above 0.
    """
    for word, value in (("flops", flops), ("memory", memory), ("price", price)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise PellucidError(f"{word} must be a number above 0, not {value}")
    if name is None and flops is None and memory is None and price is None:
        return None
    known = DEVICES.get((name or "").lower())
    if name is not None and known is None and flops is None:
        raise PellucidError(
            f"no figures are kept for the device {name!r} (only for {', '.join(DEVICES)}): give its own with --flops, and "
            "--memory and --price for how many it takes and what they cost"
        )
    given = [word for word, value in (("flops", flops), ("memory", memory), ("price", price)) if value is not None]
    known = known or DeviceSpec(name=name or "device")
    source = "given" if known.source == "given" else f"{' and '.join(given)} given; the rest " * bool(given) + known.source
    return DeviceSpec(
        name=known.name, flops=flops or known.flops, memory=memory or known.memory, price=price or known.price, source=source
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeAndCost:
    """The time and cost of a number of operations.

    Attributes:
        seconds: wall-clock time. device_hours: summed over devices. dollars: None where no price is known.
    """

    seconds: float
    device_hours: float
    dollars: float | None


def duration(flops: float, device: DeviceSpec, *, count: int = 1, utilisation: float = 1.0) -> TimeAndCost:
    """Time and cost of `flops` operations, if they divide among the devices without loss."""
    assert device.flops is not None
    seconds = flops / (device.flops * utilisation * count)
    hours = seconds * count / HOUR
    return TimeAndCost(seconds=seconds, device_hours=hours, dollars=None if device.price is None else hours * device.price)


def devices_for(need: float, device: DeviceSpec) -> int | None:
    """How many devices hold `need` bytes; None where the device's memory is not known."""
    return None if device.memory is None else math.ceil(need / device.memory)


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedClaim:
    """One of the two numbers of "355 GPU-years, $4.6M", with the operations it was made from."""

    flops: float
    flops_source: str
    years: float
    dollars: float


def published_claim() -> tuple[PublishedClaim, PublishedClaim]:
    """The well-known "355 GPU-years and $4.6M" for GPT-3 175B on one V100: two calculations, from two counts of operations.

    355 years follows from Table D.1's 3.14e23; $4.6M from 3.114e23, the count given beside the price. Neither count gives
    both numbers.
    """
    v100 = DEVICES["v100"]

    def claim(flops: float, source: str) -> PublishedClaim:
        took = duration(flops, v100)
        assert took.dollars is not None
        return PublishedClaim(flops=flops, flops_source=source, years=took.seconds / YEAR, dollars=took.dollars)

    return claim(3.14e23, "GPT-3 paper, Table D.1"), claim(3.114e23, LAMBDA)
