"""Devices that compute, and what a number of them takes for a number of operations.

The table holds figures whose source is known and no others: a device that is not in it needs its numbers from whoever
plans. A rate is what it is said to be; the share of it that a training run reaches (`utilisation`) must be given, or is
stated to be all of it.
"""

import math
from dataclasses import dataclass

from pellucid.errors import PellucidError


HOUR = 3600.0
YEAR = 365 * 24 * HOUR


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One accelerator or computer.

    Attributes:
        flops: floating-point operations a second; memory: bytes; price: US dollars an hour. None: not known.
        source: where the figures come from.
    """

    name: str
    flops: float | None = None
    memory: float | None = None
    price: float | None = None
    source: str = "given"


LAMBDA = 'Lambda, "demystifying GPT-3", as quoted by others'
DEVICES = {
    "v100": Device(
        name="v100", flops=28e12, price=1.5,
        source=f"{LAMBDA}: 28 TFLOPS in half precision, theoretical; 1.5 dollars an hour, reserved in a cloud",
    ),
}  # fmt: skip


def device(
    name: str | None, *, flops: float | None = None, memory: float | None = None, price: float | None = None
) -> Device | None:
    """The device of that name, with any number given in place of the table's. None where nothing is asked for.

    Raises:
        PellucidError: a name that is not in the table, without its rate; or a number that is not above 0.
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
    known = known or Device(name=name or "device")
    source = "given" if known.source == "given" else f"{' and '.join(given)} given; the rest " * bool(given) + known.source
    return Device(
        name=known.name, flops=flops or known.flops, memory=memory or known.memory, price=price or known.price, source=source
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Duration:
    """How long so many operations take on so many devices, and what that costs.

    Attributes:
        seconds: by the clock; device_hours: on all devices together; dollars: None where no price is known.
    """

    seconds: float
    device_hours: float
    dollars: float | None


def duration(flops: float, device: Device, *, count: int = 1, utilisation: float = 1.0) -> Duration:
    """Time and money for `flops` operations, if work divides among the devices without loss."""
    assert device.flops is not None
    seconds = flops / (device.flops * utilisation * count)
    hours = seconds * count / HOUR
    return Duration(seconds=seconds, device_hours=hours, dollars=None if device.price is None else hours * device.price)


def devices_for(need: float, device: Device) -> int | None:
    """How many devices hold `need` bytes, by memory alone; None where the device's memory is not known."""
    return None if device.memory is None else math.ceil(need / device.memory)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One of the two numbers of "355 GPU-years, $4.6M", with the operations it was made from."""

    flops: float
    flops_source: str
    years: float
    dollars: float


def published_claim() -> tuple[Claim, Claim]:
    """The well-known "355 GPU-years and $4.6M" for GPT-3 175B on one V100: two chains, from two counts of operations.

    355 years follows from Table D.1's 3.14e23; $4.6M from 3.114e23, the count given beside the price. Neither count gives
    both numbers.
    """
    v100 = DEVICES["v100"]

    def claim(flops: float, source: str) -> Claim:
        took = duration(flops, v100)
        assert took.dollars is not None
        return Claim(flops=flops, flops_source=source, years=took.seconds / YEAR, dollars=took.dollars)

    return claim(3.14e23, "GPT-3 paper, Table D.1"), claim(3.114e23, LAMBDA)
