"""What the figure `memory` shows of a plan's record: the blocks and the peak memory of each place of the pipeline."""

from dataclasses import dataclass

from pellucid.draw.views.plan import KINDS, PlannedLayout, planned_layout
from pellucid.errors import PellucidError
from pellucid.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryView:
    """The figure's values.

    Attributes:
        plan: the layout. blocks: of each place of the pipeline, counted from 0 (`plan/stages`).
        memory: bytes by kind of each place (`plan/memory`). in_flight: micro-batches or chunks of them (`plan/in_flight`).
    """

    plan: PlannedLayout
    blocks: tuple[tuple[int, ...], ...]
    memory: tuple[tuple[int, ...], ...]
    in_flight: tuple[int, ...]

    @property
    def fullest(self) -> int:
        """The place that needs the most."""
        totals = [sum(row) for row in self.memory]
        return totals.index(max(totals))


def memory_view(record: Record) -> MemoryView:
    """Reads a plan's record.

    Raises:
        MissingChunk: it lacks a chunk.
        PellucidError: its values are not possible.
    """
    plan = planned_layout(record)
    pp, starts = plan.mesh["pp"], record["plan/stages"].tolist()
    memory = record["plan/memory"].tolist()
    sound = starts == sorted(starts) and starts[0] == 0 and starts[-1] == plan.config.n_layers
    if len(starts) != pp * plan.chunks + 1 or len(memory) != pp or not sound:
        raise PellucidError("no figure memory of it: its stages are not those of its layout")
    if any(len(row) != KINDS or min(row) < 0 for row in memory):
        raise PellucidError("no figure memory of it: its memory is not possible")
    blocks = tuple(
        tuple(block for stage in range(place, pp * plan.chunks, pp) for block in range(starts[stage], starts[stage + 1]))
        for place in range(pp)
    )
    return MemoryView(
        plan=plan, blocks=blocks, memory=tuple(map(tuple, memory)), in_flight=tuple(record["plan/in_flight"].tolist()),
    )  # fmt: skip
