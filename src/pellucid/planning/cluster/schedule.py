"""The order in which a pipeline's ranks run micro-batches, and when each begins: the timetable of a step.

The orders are those of Schedule1F1B and ScheduleInterleaved1F1B in `torch.distributed.pipelining` (Megatron-LM, arXiv
2104.04473, section 2.2): a rank begins some micro-batches, then alternates a forward and a backward pass, then ends the rest.
"""

from dataclasses import dataclass

from pellucid.planning.cluster.layout import Layout
from pellucid.planning.cluster.memory import in_flight
from pellucid.planning.cluster.timing import Pass


@dataclass(frozen=True, slots=True)
class Slot:
    """One pass of one micro-batch through one stage; seconds from the step's first.

    Attributes:
        rank: of the pipeline. stage: of all stages. micro_batch: counted from 0.
        forward: or backward. wait: exposed communication at its end, part of it.
    """

    rank: int
    stage: int
    micro_batch: int
    forward: bool
    start: float
    end: float
    wait: float


def order(layout: Layout, rank: int) -> list[tuple[bool, int, int]]:
    """(forward, stage, micro-batch) of a rank, in its order."""
    pp, chunks, total = layout.mesh.pp, layout.chunks, layout.micro_batches * layout.chunks

    def forward(k: int) -> tuple[bool, int, int]:
        chunk, batch = k // pp % chunks, k // (pp * chunks) * pp + k % pp
        return True, chunk * pp + rank, batch

    def backward(k: int) -> tuple[bool, int, int]:
        _, stage, batch = forward(k)
        return False, (chunks - 1 - stage // pp) * pp + rank, batch

    def plain(k: int, is_forward: bool) -> tuple[bool, int, int]:
        return is_forward, rank, k

    def pick(k: int, is_forward: bool) -> tuple[bool, int, int]:
        if chunks == 1:
            return plain(k, is_forward)
        return forward(k) if is_forward else backward(k)

    begun = in_flight(pp, chunks, layout.micro_batches, rank)
    listed = [pick(k, True) for k in range(begun)]
    for k in range(total):
        listed.append(pick(k, False))
        if begun + k < total:
            listed.append(pick(begun + k, True))
    return listed


def timetable(layout: Layout, stages: list[Pass], message: float) -> list[Slot]:
    """When each pass of a step runs, each as soon as its rank is free and its input is there.

    Args:
        stages: the passes of each stage. message: seconds between stages; a message takes no time of the ranks.
    """
    pp, last = layout.mesh.pp, layout.stages - 1
    queues = [order(layout, rank) for rank in range(pp)]
    place, free = [0] * pp, [0.0] * pp
    ended: dict[tuple[bool, int, int], float] = {}
    slots: list[Slot] = []
    left = sum(map(len, queues))
    while left:
        moved = False
        for rank in range(pp):
            while place[rank] < len(queues[rank]):
                forward, stage, batch = item = queues[rank][place[rank]]
                needs = []
                if forward and stage > 0:
                    needs.append((True, stage - 1, batch))
                if not forward:
                    needs.append((False, stage + 1, batch) if stage < last else (True, stage, batch))
                if any(need not in ended for need in needs):
                    break
                late = message if pp > 1 and needs and needs[0][1] != stage else 0.0
                start = max([free[rank], *(ended[need] + late for need in needs)])
                one = stages[stage]
                wait = one.forward_wait if forward else one.backward_wait
                end = start + (one.forward if forward else one.backward) + wait
                free[rank] = ended[item] = end
                slots.append(Slot(rank, stage, batch, forward, start, end, wait))
                place[rank] += 1
                left -= 1
                moved = True
        assert moved, "the order of the schedule waits for itself"
    return slots
