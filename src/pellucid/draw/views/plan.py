"""What the figures of a plan's record share: what is planned, for which devices, in which layout. All of it is estimated."""

from dataclasses import dataclass
from typing import Any

from pellucid.draw.views.labels import in_bytes
from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.languages import counted, tr
from pellucid.record import Record


AXES = ("dp", "replicate", "tp", "cp")  # of the ranks at one place of the pipeline
KINDS = 5  # of memory: parameters, gradients, optimizer, activations, communication


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLayout:
    """A layout as it is recorded (`plan/layout`, `plan/inputs`).

    Attributes:
        model: its name. config: its shape. device: name of the devices, and memory: bytes of one. devices: how many.
        mesh: ranks along each axis. chunks, micro_batch, micro_batches: of the pipeline and the batch.
        step: seconds by part. outcomes: of the run at low, expected and high efficiency.
        budget: bytes of a device that may be used.
    """

    model: str
    config: GPTConfig
    device: str
    memory: float
    devices: int
    mesh: dict[str, int]
    chunks: int
    micro_batch: int
    micro_batches: int
    step: dict[str, float]
    outcomes: tuple[dict[str, Any], ...]
    budget: float

    @property
    def stage_devices(self) -> int:
        """Devices at one place of the pipeline."""
        return self.devices // self.mesh["pp"]

    @property
    def footer(self) -> tuple[str, str]:
        """Two lines: what is planned, and that nothing was run."""
        where = tr("{model} on {devices:,} x {device}", model=self.model, devices=self.devices, device=self.device)
        return where, tr("estimated: nothing was run")

    def axes(self) -> str:
        """The ranks along each axis that has more than one, in words."""
        return ", ".join(f"{name} {self.mesh[name]}" for name in ("pp", *AXES) if self.mesh[name] > 1) or tr("one device")

    def two_lines(self) -> tuple[str, str]:
        """The same in two."""
        blocks = counted(self.config.n_layers, "block")
        line = tr("{model}, {blocks} on {devices:,} devices", model=self.model, blocks=blocks, devices=self.devices)
        return line, self.axes()

    def first_line(self) -> str:
        """The model, the devices and the mesh in one line."""
        return tr("{line}: {axes}", line=self.two_lines()[0], axes=self.axes())


def planned_layout(record: Record) -> PlannedLayout:
    """Reads it.

    Raises:
        MissingChunk: the record lacks it.
        PellucidError: its values are not possible.
    """
    inputs, found, search = record["plan/inputs"], record["plan/layout"], record["plan/search"]
    layout = found["layout"]
    mesh = {name: int(layout["mesh"][name]) for name in ("pp", *AXES)}
    config = GPTConfig.from_dict(record.provenance.config)
    devices = int(inputs["devices"])
    product = mesh["pp"]
    for name in AXES:
        product *= mesh[name]
    stages = mesh["pp"] * int(layout["chunks"])
    if product != devices or config.n_layers % stages or min(mesh.values()) < 1:
        raise PellucidError("no figure of it: the mesh of its layout is not that of its devices and blocks")
    step = {name: float(value) for name, value in found["step"].items()}
    if not 0 < step["total"] < 1e12 or min(step.values()) < 0:
        raise PellucidError("no figure of it: its step takes no possible time")
    return PlannedLayout(
        model=str(inputs["model"]), config=config, device=str(inputs["device"]["name"]),
        memory=float(inputs["device"]["memory"]), devices=devices, mesh=mesh, chunks=int(layout["chunks"]),
        micro_batch=int(layout["micro_batch"]), micro_batches=int(layout["micro_batches"]), step=step,
        outcomes=tuple(found[name] for name in ("low", "expected", "high")), budget=float(search["memory_budget"]),
    )  # fmt: skip


def kind_names() -> tuple[str, ...]:
    """The kinds of memory, in their order."""
    return tr("parameters"), tr("gradients"), tr("optimizer"), tr("activations"), tr("communication")


def shown_sum(values: Any) -> str:
    """Bytes of several kinds together."""
    return in_bytes(float(sum(int(value) for value in values)))
