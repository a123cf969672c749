"""Accelerators with published figures, and the time and cost of a number of operations on them.

The table holds only figures with a known source; for another device the user gives the numbers. A rate is the stated peak;
the share of it that a training run reaches (`utilisation`) is given by the user, or stated to be 1.
"""

import math
from dataclasses import dataclass, replace

from pellucid.errors import PellucidError


HOUR = 3600.0
YEAR = 365 * 24 * HOUR


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceSpec:
    """The figures of one accelerator or computer. None: not known.

    Attributes:
        flops: operations a second in 16-bit formats with float32 sums, dense. flops_float32: the same in float32.
        memory: bytes. bandwidth: bytes a second between it and its memory.
        link: bytes a second to its neighbours in a node, in one direction. per_node: devices of a node.
        network: bytes a second out of the node, in one direction, a device.
        power: watts at most. price: US dollars per hour.
        source: of the figures.
    """

    name: str
    flops: float | None = None
    flops_float32: float | None = None
    memory: float | None = None
    bandwidth: float | None = None
    link: float | None = None
    per_node: int | None = None
    network: float | None = None
    power: float | None = None
    price: float | None = None
    source: str = "given"


LAMBDA = 'Lambda, "demystifying GPT-3", as quoted by others'
CLAIMED_V100 = DeviceSpec(
    name="v100", flops=28e12, price=1.5,
    source=f"{LAMBDA}: 28 TFLOPS in half precision, theoretical; 1.5 dollars an hour, reserved in a cloud",
)  # fmt: skip
# Data sheets, dense rates. Links: NVLink's published total is of both directions, so half of it. Network: what the vendor's
# own system gives each device. See docs/planning.md.
DEVICES = {
    spec.name: spec
    for spec in (
        DeviceSpec(
            name="v100", flops=125e12, flops_float32=15.7e12, memory=32e9, bandwidth=900e9, link=150e9, per_node=8,
            network=6.25e9, power=300, price=1.5,
            source="NVIDIA V100 SXM2 32GB data sheet; DGX-1: four 100 Gb/s ports for eight; price: Lambda, as quoted by others",
        ),
        DeviceSpec(
            name="a100", flops=312e12, flops_float32=19.5e12, memory=80e9, bandwidth=2.039e12, link=300e9, per_node=8,
            network=25e9, power=400, source="NVIDIA A100 SXM4 80GB data sheet; DGX A100: one 200 Gb/s port each",
        ),
        DeviceSpec(
            name="h100", flops=989.4e12, flops_float32=66.9e12, memory=80e9, bandwidth=3.35e12, link=450e9, per_node=8,
            network=50e9, power=700, source="NVIDIA H100 SXM5 data sheet; DGX H100: one 400 Gb/s port each",
        ),
        DeviceSpec(
            name="b200", flops=2250e12, flops_float32=80e12, memory=180e9, bandwidth=8e12, link=900e9, per_node=8,
            network=50e9, power=1000,
            source="NVIDIA HGX B200 figures at 1,000 W; DGX B200: 1.4 TB and one 400 Gb/s port each of eight",
        ),
        # Processors: cores x operations a cycle (AMX 1,024 in bfloat16; two 512-bit FMA units 64 in float32, twice as many in
        # bfloat16) at the base clock. How much memory and which network a server has is its owner's choice.
        DeviceSpec(
            name="xeon-6980p", flops=128 * 1024 * 2.0e9, flops_float32=128 * 64 * 2.0e9, bandwidth=12 * 8.8e9 * 8, per_node=1,
            power=500, source="Intel Xeon 6980P: 128 cores at 2.0 GHz with AMX, twelve channels of MRDIMM-8800",
        ),
        DeviceSpec(
            name="epyc-9965", flops=192 * 128 * 2.25e9, flops_float32=192 * 64 * 2.25e9, bandwidth=12 * 6.4e9 * 8, per_node=1,
            power=500, source="AMD EPYC 9965: 192 cores at 2.25 GHz with AVX-512, twelve channels of DDR5-6400",
        ),
    )
}  # fmt: skip
GIVEN = ("flops", "memory", "price", "bandwidth", "link", "per_node", "network", "power")


def device_spec(name: str | None, **numbers: float | None) -> DeviceSpec | None:
    """The device of that name, with given numbers in place of the table's; None where no argument is given.

    Args:
        numbers: fields of `DeviceSpec` that are in `GIVEN`; None leaves the table's.

    Raises:
        PellucidError: a name that is not in the table and no `flops`; or a number that is not above 0.
    """
    given = {word: value for word, value in numbers.items() if value is not None}
    for word, value in given.items():
        assert word in GIVEN
        if not (math.isfinite(value) and value > 0):
            raise PellucidError(f"{word} must be a number above 0, not {value}")
    if name is None and not given:
        return None
    known = DEVICES.get((name or "").lower())
    if name is not None and known is None and "flops" not in given:
        raise PellucidError(
            f"no figures are kept for the device {name!r} (only for {', '.join(DEVICES)}): give its own with --flops, and "
            "--memory and --price for how many it takes and what they cost"
        )
    known = known or DeviceSpec(name=name or "device")
    source = "given" if known.source == "given" else f"{' and '.join(given)} given; the rest " * bool(given) + known.source
    if "per_node" in given:
        given["per_node"] = int(given["per_node"])
    return replace(known, source=source, **given)  # type: ignore[arg-type]


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

    def claim(flops: float, source: str) -> PublishedClaim:
        took = duration(flops, CLAIMED_V100)
        assert took.dollars is not None
        return PublishedClaim(flops=flops, flops_source=source, years=took.seconds / YEAR, dollars=took.dollars)

    return claim(3.14e23, "GPT-3 paper, Table D.1"), claim(3.114e23, LAMBDA)
