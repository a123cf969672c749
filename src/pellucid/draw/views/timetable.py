"""What the figure `timetable` shows of a plan's record: when each pass of a step runs, and what the step's time goes into."""

from dataclasses import dataclass

import numpy as np

from pellucid.draw.views.plan import PlannedLayout, planned_layout
from pellucid.errors import PellucidError
from pellucid.record import Record


PARTS = ("compute", "wait", "data", "messages", "bubble", "optimizer")
FIRST = 480  # passes that are drawn one by one, from the first, at most
AFTER = 16  # passes of the first rank after its first backward pass, which are to be seen too


@dataclass(frozen=True, slots=True, kw_only=True)
class PassSpan:
    """One pass through one stage: its place in the arrays, its rank, micro-batch and chunk, and when it runs."""

    index: int
    rank: int
    micro_batch: int
    chunk: int
    forward: bool
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TimetableView:
    """The figure's values.

    Attributes:
        plan: the layout. rows: the ranks whose first passes are drawn one by one: all, or as few as show how it goes on.
        first: these passes, up to the time `until`, in seconds.
        length: when the last pass ends. busy: the share of that time that each rank computes, waiting for messages left out.
        shares: for each rank and each of 240 equal parts of the step, the share that is busy.
        passes: how many there are in all.
    """

    plan: PlannedLayout
    rows: tuple[int, ...]
    first: tuple[PassSpan, ...]
    until: float
    length: float
    busy: tuple[float, ...]
    shares: tuple[tuple[float, ...], ...]
    passes: int


COLUMNS = 240


def timetable_view(record: Record) -> TimetableView:
    """Reads a plan's record.

    Raises:
        MissingChunk: it lacks a chunk.
        PellucidError: its values are not possible.
    """
    plan = planned_layout(record)
    pp = plan.mesh["pp"]
    ranks, stages, batches, forward = (
        record[f"plan/timetable/{name}"] for name in ("ranks", "stages", "micro_batches", "forward")
    )
    spans = record["plan/timetable/spans"]
    length = float(spans[:, 1].max()) if len(spans) else 0.0
    sound = len({len(one) for one in (ranks, stages, batches, forward, spans)}) == 1 and np.isfinite(spans).all()
    if not sound or length <= 0 or spans.min() < 0 or ranks.min() < 0 or ranks.max() >= pp or (spans[:, 1] < spans[:, 0]).any():
        raise PellucidError("no figure timetable of it: its passes are not possible")
    own = forward[ranks == 0]
    begun = int(np.argmin(own)) if (own == 0).any() else len(own)  # forward passes before the first backward one
    most = max(1, min(pp, FIRST // (begun + AFTER)))
    rows = tuple(sorted({i * (pp - 1) // max(1, most - 1) for i in range(most)}))
    shown = np.isin(ranks, rows)
    ends = np.sort(spans[shown, 1])
    until = float(ends[min(FIRST, len(ends)) - 1])
    first = [
        PassSpan(index=i, rank=int(ranks[i]), micro_batch=int(batches[i]), chunk=int(stages[i]) // pp,
                 forward=bool(forward[i]), start=float(spans[i, 0]), end=min(float(spans[i, 1]), until))
        for i in np.flatnonzero(shown & (spans[:, 0] < until)).tolist()
    ]  # fmt: skip
    edges = np.linspace(0.0, length, COLUMNS + 1)
    shares = np.zeros((pp, COLUMNS))
    for rank in range(pp):
        own = spans[ranks == rank]
        own = own[np.argsort(own[:, 0], kind="stable")]
        done = np.concatenate(([0.0], np.cumsum(own[:, 1] - own[:, 0])))  # busy seconds until each pass ends
        at = np.interp(edges, *_curve(own, done))
        shares[rank] = np.clip(np.diff(at) / (length / COLUMNS), 0.0, 1.0)
    return TimetableView(
        plan=plan, rows=rows, first=tuple(first), until=until, length=length, busy=tuple(float(row.mean()) for row in shares),
        shares=tuple(tuple(row.tolist()) for row in shares), passes=len(spans),
    )  # fmt: skip


def _curve(own: "np.typing.NDArray[np.float64]", done: "np.typing.NDArray[np.float64]") -> tuple[list[float], list[float]]:
    """Times and busy seconds until then: rising during a pass, level between passes."""
    times, busy = [0.0], [0.0]
    for (start, end), before, after in zip(own.tolist(), done[:-1].tolist(), done[1:].tolist(), strict=True):
        times += [start, end]
        busy += [before, after]
    return times, busy
