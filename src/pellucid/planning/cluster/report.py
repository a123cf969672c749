"""A plan as plain values for JSON. Bytes, seconds, dollars, megawatt hours; every number is estimated."""

from dataclasses import asdict
from typing import Any

from pellucid.planning.cluster.advice import advise
from pellucid.planning.cluster.efficiency import RANGE
from pellucid.planning.cluster.flags import megatron_flags, torchtitan_flags
from pellucid.planning.cluster.layout import Layout
from pellucid.planning.cluster.search import ClusterPlan, RankedLayout


def layout_dict(layout: Layout) -> dict[str, Any]:
    """A layout."""
    values = asdict(layout)
    more = {"shard_ranks": layout.shard_ranks, "stages": layout.stages, "sequences": layout.sequences}
    return values | {"mesh": layout.mesh.sizes} | more


def candidate_dict(plan: ClusterPlan, candidate: RankedLayout) -> dict[str, Any]:
    """A layout with what it takes, and what it gives at low, expected and high efficiency."""
    memory, outcomes = candidate.memory, plan.outcomes(candidate)
    return {
        "layout": layout_dict(candidate.layout),
        "memory": asdict(memory) | {"total": memory.total},
        "step": asdict(candidate.time) | {"total": candidate.time.total},
        **{name: asdict(one) for name, one in zip(("low", "expected", "high"), outcomes, strict=True)},
    }


def plan_dict(plan: ClusterPlan) -> dict[str, Any]:
    """The whole plan, the best first."""
    workload, best = plan.workload, plan.best
    advice = advise(plan)
    return {
        "model": plan.name,
        "parameters": workload.config.parameters(),
        "tokens": workload.tokens,
        "context": workload.context,
        "sequences": workload.sequences,
        "dtype": workload.dtype,
        "device": asdict(workload.device),
        "devices": workload.devices,
        "memory_budget": workload.budget,
        "given": dict(plan.given),
        "step_flops": workload.step_flops,
        "efficiency": dict(zip(("low", "expected", "high"), map(asdict, RANGE), strict=True)),
        "tried": plan.tried,
        "fitting": plan.fitting,
        "layouts": [candidate_dict(plan, one) for one in plan.ranked],
        "failures": None if best is None else asdict(plan.failures(best)) | {"share": plan.failures(best).share},
        "flags": None if best is None else {
            "torchtitan": torchtitan_flags(workload, best.layout), "megatron": megatron_flags(workload, best.layout),
        },
        "advice": None if advice is None else asdict(advice),
    }  # fmt: skip
