"""What would have to change for a model to fit, where no layout does: more devices, more memory, or other degrees."""

from dataclasses import dataclass, replace

from pellucid.planning.cluster.layout import Layout, meshes
from pellucid.planning.cluster.memory import peak_memory
from pellucid.planning.cluster.search import RESERVED, ClusterPlan, PlannedTraining
from pellucid.training.mesh import Mesh


MOST = 64  # times as many devices as there are: looked no further


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """What would do, each on its own.

    Attributes:
        need, budget: bytes that the layout with the least memory needs of a device, and that there are.
        device_memory: bytes that a device would have to have.
        devices: how many of these devices would do; None if not even `MOST` times as many.
        mesh: a mesh of the same devices that fits, where the given degrees are what does not; None if there is none.
    """

    need: int
    budget: float
    device_memory: float
    devices: int | None
    mesh: Mesh | None


def advise(plan: ClusterPlan) -> Advice | None:
    """Advice for a plan that found nothing; None where something fits."""
    if plan.ranked:
        return None
    workload, need = plan.workload, plan.smallest.memory.total
    freed = _least(workload, {}) if plan.given else None
    enough = None
    count = workload.devices
    while count < MOST * workload.devices and enough is None:
        count *= 2
        found = _least(replace(workload, devices=count), dict(plan.given))
        if found is not None and found[1] <= workload.budget:
            enough = count
    return Advice(
        need=need, budget=workload.budget, device_memory=need / (1 - RESERVED), devices=enough,
        mesh=freed[0].mesh if freed is not None and freed[1] <= workload.budget else None,
    )  # fmt: skip


def _least(workload: PlannedTraining, given: dict[str, int]) -> tuple[Layout, int] | None:
    """The layout with the least memory, and its bytes: one sequence at a time, everything recomputed and in parts."""
    found = None
    for mesh in meshes(workload.config, workload.context, workload.sequences, workload.devices, given, workload.per_node):
        layout = Layout(
            mesh=mesh, shard="none" if mesh.dp * mesh.cp == 1 else "parameters", schedule="1f1b", chunks=1, micro_batch=1,
            micro_batches=workload.sequences // mesh.batch_ranks, recompute="full",
        )  # fmt: skip
        total = peak_memory(workload.model, layout).total
        if found is None or total < found[1]:
            found = layout, total
    return found
