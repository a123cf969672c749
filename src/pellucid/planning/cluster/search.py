"""`plan_cluster`: every layout of a model over N devices that fits, ranked by the time of a step."""

import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.planning.cluster.efficiency import EXPECTED, RANGE, Efficiency, Rates, rates
from pellucid.planning.cluster.goodput import Goodput, goodput
from pellucid.planning.cluster.layout import Layout, check_mesh, layouts, meshes
from pellucid.planning.cluster.memory import RankMemory, peak_memory
from pellucid.planning.cluster.model import Model
from pellucid.planning.cluster.timing import StepTime, least_time, step_time
from pellucid.planning.devices import HOUR, DeviceSpec
from pellucid.planning.source import PlannedModel
from pellucid.training.mesh import Mesh
from pellucid.training.mesh_check import divisors, listed_sizes


RESERVED = 0.08  # share of a device's memory for its driver, collectives' own buffers and fragmentation: a choice
DAY = 24 * HOUR
MAX_DEVICES = 2**20
VALUE = {"bfloat16": 2, "float32": 4}


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedTraining:
    """What is planned: a model, a batch, devices.

    Attributes:
        config, tokens: the model, and how many tokens it is to train on.
        context: positions of a sequence. sequences: of a step.
        device, devices: what it runs on, and how many.
        dtype: of products: "bfloat16" or "float32".
    """

    config: GPTConfig
    tokens: int
    context: int
    sequences: int
    device: DeviceSpec
    devices: int
    dtype: str

    model: Model = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", Model(self.config, self.context, VALUE[self.dtype]))

    @property
    def value(self) -> int:
        """Bytes of a number in products."""
        return VALUE[self.dtype]

    @property
    def per_node(self) -> int:
        """Devices of a node."""
        return self.device.per_node or 1

    @property
    def budget(self) -> float:
        """Bytes of a device that a plan may use."""
        assert self.device.memory
        return self.device.memory * (1 - RESERVED)

    @property
    def step_tokens(self) -> int:
        """Tokens of a step."""
        return self.sequences * self.context

    @property
    def step_flops(self) -> int:
        """Operations of a step: every matrix product, attention by each block's pattern, nothing computed twice."""
        return 3 * self.config.flops(self.step_tokens, self.context)


@dataclass(frozen=True, kw_only=True, slots=True)
class RankedLayout:
    """A layout with what it takes, at the expected efficiency.

    Attributes:
        memory: of the rank that needs the most. time: of a step.
    """

    layout: Layout
    memory: RankMemory
    time: StepTime


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a layout gives at one efficiency.

    Attributes:
        step: seconds. mfu: share of the devices' published rate that goes into the model's own operations.
        tokens_per_day, days: with failures. dollars, megawatt_hours: of the run, None where no price or power is known; the
            power is the devices' own at most.
    """

    step: float
    mfu: float
    tokens_per_day: float
    days: float
    dollars: float | None
    megawatt_hours: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterPlan:
    """Every layout that fits, the fastest first.

    Attributes:
        name: of the model, as the user gave it. workload: what was planned. given: degrees that the user fixed.
        ranked: the best layouts, at most as many as asked for. tried: how many were looked at. fitting: how many fit.
        smallest: the layout that needs the least memory, of all that were looked at.
    """

    name: str
    workload: PlannedTraining
    given: Mapping[str, int]
    ranked: tuple[RankedLayout, ...]
    tried: int
    fitting: int
    smallest: RankedLayout

    @property
    def best(self) -> RankedLayout | None:
        """The fastest; None if none fits."""
        return self.ranked[0] if self.ranked else None

    def outcomes(self, candidate: RankedLayout) -> tuple[Outcome, Outcome, Outcome]:
        """What a layout gives at low, expected and high efficiency."""
        low, expected, high = (outcome(self.workload, candidate.layout, device_rates(self.workload, one)) for one in RANGE)
        return low, expected, high

    def failures(self, candidate: RankedLayout) -> Goodput:
        """Goodput of the run at the expected efficiency."""
        return goodput(self.workload.config.parameters(), self.workload.devices, candidate.time.total)


def device_rates(workload: PlannedTraining, efficiency: Efficiency = EXPECTED) -> Rates:
    """What the workload's devices reach at one efficiency."""
    return rates(workload.device, efficiency, value=workload.value)


def outcome(workload: PlannedTraining, layout: Layout, reached: Rates) -> Outcome:
    """What a layout gives at one efficiency."""
    device, count = workload.device, workload.devices
    step = step_time(workload.model, layout, reached).total
    share = goodput(workload.config.parameters(), count, step).share
    per_day = workload.step_tokens / step * DAY * share
    hours = workload.tokens / per_day * 24 * count if per_day else float("inf")
    peak = (device.flops if workload.value == 2 else device.flops_float32) or device.flops
    assert peak
    return Outcome(
        step=step, mfu=workload.step_flops / step / count / peak, tokens_per_day=per_day, days=hours / 24 / count,
        dollars=None if device.price is None else hours * device.price,
        megawatt_hours=None if device.power is None else hours * device.power / 1e6,
    )  # fmt: skip


def needed_figures(device: DeviceSpec, devices: int) -> list[str]:
    """The figures that a plan needs and the device lacks, by their names in `DeviceSpec`."""
    needs = ["flops", "memory", "bandwidth"]
    per_node = device.per_node or 1
    if devices > 1 and per_node > 1:
        needs.append("link")
    if devices > per_node:
        needs.append("network")
    return [name for name in needs if getattr(device, name) is None]


def batch_sequences(batch_tokens: int, context: int) -> int:
    """Sequences of a batch: 3 or 4 times a power of two, the nearest to `batch_tokens`, so that many degrees divide it.

    GPT-3's 3.2M tokens are 1,536 sequences of 2,048 (3.15M), its 0.5M are 256: Table 2.1 rounds, and so do those who train it.
    """
    wanted = batch_tokens / context
    if wanted < 4:
        return max(1, round(wanted))
    unit = 1
    while unit * 2 * 3 <= wanted:
        unit *= 2
    return round(wanted / unit) * unit


def plan_cluster(
    planned: PlannedModel,
    device: DeviceSpec,
    devices: int,
    *,
    sequences: int | None = None,
    context: int | None = None,
    tokens: int | None = None,
    dtype: str = "bfloat16",
    mesh: Mapping[str, int] | None = None,
    keep: int = 10,
) -> ClusterPlan:
    """Lays a model out over devices in every way that can be, and ranks those that fit.

    Args:
        planned: the model. device: with the figures that a plan needs.
        sequences: of a step; default: the preset's batch (`batch_sequences`). context: positions of each; default: n_ctx.
        tokens: to train on; default: the preset's.
        dtype: of products and activations.
        mesh: degrees to keep ("tp": 8); the others are searched.
        keep: how many of the best are returned.

    Raises:
        PellucidError: the device lacks a figure; a number out of range; a mesh that can't be, with what could.
    """  # fmt: skip
    config = planned.config
    context = config.n_ctx if context is None else context
    if not 1 <= devices <= MAX_DEVICES:
        raise PellucidError(f"the number of devices must be from 1 to {MAX_DEVICES:,}, not {devices:,}")
    if not 1 <= context <= config.n_ctx:
        raise PellucidError(f"context must be from 1 to the model's {config.n_ctx:,} positions, not {context:,}")
    if missing := needed_figures(device, devices):
        flags = " and ".join(f"--{name}" for name in missing)
        raise PellucidError(f"the figures kept for {device.name} lack its {' and '.join(missing)}: give {flags}")
    if sequences is None:
        if planned.batch_tokens is None:
            raise PellucidError(f"no batch is known for {planned.name}: give the sequences of a step with --sequences")
        sequences = batch_sequences(planned.batch_tokens, context)
    workload = PlannedTraining(
        config=config, tokens=planned.tokens if tokens is None else tokens, context=context, sequences=sequences,
        device=device, devices=devices, dtype=dtype,
    )  # fmt: skip
    if sequences < 1 or workload.tokens < 1:
        raise PellucidError("a step has at least one sequence, and a run at least one token")
    given = dict(mesh or {})
    ranked, smallest, tried, fitting = _ranked(workload, given, keep)
    if smallest is None:
        raise PellucidError(_no_mesh(workload, given))
    return ClusterPlan(
        name=planned.name, workload=workload, given=given, ranked=tuple(ranked), tried=tried, fitting=fitting,
        smallest=smallest,
    )  # fmt: skip


def _ranked(
    workload: PlannedTraining, given: Mapping[str, int], keep: int
) -> tuple[list[RankedLayout], RankedLayout | None, int, int]:
    """The `keep` fastest layouts that fit, the one with the least memory, how many were looked at, and how many fit."""
    reached = device_rates(workload)
    tried, fitting, smallest = 0, 0, None
    ranked: list[RankedLayout] = []
    for layout in candidates(workload, given):
        tried += 1
        memory = peak_memory(workload.model, layout)
        if smallest is None or memory.total < smallest[1].total:
            smallest = layout, memory
        if memory.total > workload.budget:
            continue
        fitting += 1
        if len(ranked) == keep and least_time(workload.model, layout, reached) > ranked[-1].time.total:
            continue
        bisect.insort(
            ranked, RankedLayout(layout=layout, memory=memory, time=step_time(workload.model, layout, reached)), key=rank_key
        )
        del ranked[keep:]
    if smallest is None:
        return ranked, None, tried, fitting
    layout, memory = smallest
    least = RankedLayout(layout=layout, memory=memory, time=step_time(workload.model, layout, reached))
    return ranked, least, tried, fitting


def rank_key(candidate: RankedLayout) -> tuple[float, int, str]:
    """What layouts are ranked by: the time of a step, then memory; then their text, so that the order is one."""
    return candidate.time.total, candidate.memory.total, str(candidate.layout)


def candidates(workload: PlannedTraining, given: Mapping[str, int]) -> Iterator[Layout]:
    """Every layout that can be, whether it fits or not."""
    config, sequences = workload.config, workload.sequences
    for mesh in meshes(config, workload.context, sequences, workload.devices, dict(given), workload.per_node):
        yield from layouts(config, sequences, mesh)


def _no_mesh(workload: PlannedTraining, given: Mapping[str, int]) -> str:
    """Why no mesh is possible, with what would be."""
    mesh, devices = Mesh(**given), workload.devices
    free = [name for name in Mesh().sizes if name not in given]
    if devices % mesh.size or (not free and mesh.size != devices):
        if not free:
            return f"{mesh} is {mesh.size:,} devices, and there are {devices:,}: leave one axis out, or ask for {mesh.size:,}"
        return (f"{mesh} is {mesh.size:,} devices, which does not divide the {devices:,} there are: use sizes whose product is "
                f"one of {listed_sizes(divisors(devices))}")  # fmt: skip
    if free:  # a free axis takes what is left, and says why it can't
        mesh = replace(mesh, **{("dp" if "dp" in free else free[0]): devices // mesh.size})
    try:
        check_mesh(workload.config, workload.context, workload.sequences, mesh)
    except PellucidError as error:
        return f"no mesh of {devices:,} devices can be: {error}"
    return (f"no mesh of {devices:,} devices can be: its divisors {listed_sizes(divisors(devices))} meet neither the batch of "
            f"{workload.sequences:,} sequences, nor the blocks and heads")  # fmt: skip
