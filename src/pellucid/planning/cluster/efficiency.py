"""Which share of a device's published rates real work reaches: the only numbers of a plan that no data sheet gives.

They are choices. `EXPECTED` was set once so that the published step times of `published_runs` are met within their ranges;
`LOW` and `HIGH` bound what such runs report, and give the range of every time, of MFU and of cost.
"""

from dataclasses import dataclass

from pellucid.planning.devices import DeviceSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Efficiency:
    """Shares of published rates.

    Attributes:
        products: of the operations a second, by large matrix products. memory: of the memory's bandwidth, by what is not a
            product. links: of a link's or a network's bandwidth, by collectives of many megabytes.
        latency: seconds until a collective or a message begins to arrive, each time its number of ranks doubles.
    """

    products: float
    memory: float
    links: float
    latency: float


LOW = Efficiency(products=0.5, memory=0.65, links=0.55, latency=20e-6)
EXPECTED = Efficiency(products=0.6, memory=0.8, links=0.7, latency=10e-6)
HIGH = Efficiency(products=0.72, memory=0.9, links=0.85, latency=5e-6)
RANGE = (LOW, EXPECTED, HIGH)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rates:
    """What a device reaches: operations and bytes a second, and devices of a node. Compared by identity, as `model.Model` is.

    Attributes:
        flops: of products. memory: of its memory. link: within a node. network: out of it, a device.
        latency: as in `Efficiency`.
    """

    flops: float
    memory: float
    link: float
    network: float
    per_node: int
    latency: float


def rates(device: DeviceSpec, efficiency: Efficiency, *, value: int) -> Rates:
    """The rates of a device whose figures are known (`search.needed_figures`), with numbers of `value` bytes."""
    flops = device.flops if value == 2 else device.flops_float32 or device.flops
    assert flops and device.bandwidth
    per_node = device.per_node or 1
    return Rates(
        flops=flops * efficiency.products, memory=device.bandwidth * efficiency.memory,
        link=(device.link or device.network or float("inf")) * efficiency.links,
        network=(device.network or device.link or float("inf")) * efficiency.links,
        per_node=per_node, latency=efficiency.latency,
    )  # fmt: skip
