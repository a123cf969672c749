"""The record of a plan: its inputs, and what follows from them. Every number but the inputs is estimated.

`plan_values` is a pure function of the inputs, so that `verify` computes it again and compares.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.planning.cluster.memory import KINDS, rank_memory
from pellucid.planning.cluster.report import candidate_dict
from pellucid.planning.cluster.schedule import timetable
from pellucid.planning.cluster.search import VALUE, ClusterPlan, device_rates, needed_figures, plan_cluster
from pellucid.planning.cluster.timing import stage_message, stage_passes
from pellucid.planning.devices import DeviceSpec
from pellucid.planning.source import PlannedModel
from pellucid.record import Provenance, RecordWriter, describe
from pellucid.strict_json import Fields
from pellucid.training.mesh import MAX_RANKS, Mesh
from pellucid.version import __version__


MAX_COUNT = 2**53
MAX_PASSES = 1 << 18  # of a timetable: beyond, a record would be larger than a picture of it can show
LISTED = 10  # layouts of the ranking


def plan_inputs(plan: ClusterPlan) -> dict[str, Any]:
    """What a plan follows from, as plain values."""
    workload = plan.workload
    return {
        "model": plan.name, "tokens": workload.tokens, "context": workload.context, "sequences": workload.sequences,
        "devices": workload.devices, "device": asdict(workload.device), "dtype": workload.dtype, "given": dict(plan.given),
    }  # fmt: skip


def read_inputs(inputs: Mapping[str, Any], config: GPTConfig, where: str) -> ClusterPlan:
    """The plan that follows from inputs that a file holds.

    Raises:
        PellucidError: a value is missing, or not possible.
    """
    found = Fields(dict(inputs), where)
    stated = found.object("device").values
    numbers = {field.name: stated.get(field.name) for field in fields(DeviceSpec)}
    for name in ("name", "source"):
        if not isinstance(numbers.pop(name), str):
            raise PellucidError(f"{where}: the device has no {name}")
    for name, value in numbers.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30):
            raise PellucidError(f"{where}: the device's {name} is no number above 0")
    if numbers["per_node"] is not None and not isinstance(numbers["per_node"], int):
        raise PellucidError(f"{where}: the device's per_node is no whole number")
    device = DeviceSpec(name=stated["name"], source=stated["source"], **numbers)
    devices = found.integer("devices", minimum=1, maximum=MAX_RANKS)
    if missing := needed_figures(device, devices):
        raise PellucidError(f"{where}: the device lacks {' and '.join(missing)}")
    given = found.object("given")
    axes = {name: given.integer(name, minimum=1, maximum=MAX_RANKS) for name in given.values if name in Mesh().sizes}
    if found.text("dtype") not in VALUE:
        raise PellucidError(f"{where}: dtype is none of {', '.join(VALUE)}")
    planned = PlannedModel(
        name=found.text("model"), config=config, tokens=found.integer("tokens", minimum=1, maximum=MAX_COUNT),
        tokens_reason="as recorded",
    )  # fmt: skip
    return plan_cluster(
        planned, device, devices, sequences=found.integer("sequences", minimum=1, maximum=MAX_COUNT),
        context=found.integer("context", minimum=1, maximum=config.n_ctx), dtype=found.text("dtype"), mesh=axes, keep=LISTED,
    )  # fmt: skip


def plan_values(plan: ClusterPlan) -> dict[str, Any]:
    """Every estimated chunk of a plan's record by the end of its name, of the best layout.

    Raises:
        PellucidError: nothing fits, or a step has more passes than a record holds.
    """
    best, workload = plan.best, plan.workload
    if best is None:
        raise PellucidError("nothing fits, so there is no layout to record: see what `pellucid plan` says would have to change")
    layout, model, rates = best.layout, workload.model, device_rates(workload)
    if 2 * layout.stages * layout.micro_batches > MAX_PASSES:
        raise PellucidError(
            f"a step of {layout.micro_batches:,} micro-batches through {layout.stages} stages has more than {MAX_PASSES:,} "
            "passes: record a plan with a larger micro-batch or fewer stages (--mesh)"
        )
    memory = [rank_memory(model, layout, rank) for rank in range(layout.mesh.pp)]
    slots = timetable(layout, stage_passes(model, layout, rates), stage_message(model, layout, rates))
    each = workload.config.n_layers // layout.stages
    failures = plan.failures(best)
    return {
        "layout": candidate_dict(plan, best),
        "ranking": [candidate_dict(plan, one) for one in plan.ranked],
        "search": {"tried": plan.tried, "fitting": plan.fitting, "memory_budget": workload.budget},
        "failures": asdict(failures) | {"share": failures.share},
        "stages": np.arange(layout.stages + 1, dtype=np.int32) * each,
        "memory": np.array([[getattr(one, kind) for kind in KINDS] for one in memory], np.int64),
        "in_flight": np.array([one.in_flight for one in memory], np.int32),
        "timetable/ranks": np.array([slot.rank for slot in slots], np.int32),
        "timetable/stages": np.array([slot.stage for slot in slots], np.int32),
        "timetable/micro_batches": np.array([slot.micro_batch for slot in slots], np.int32),
        "timetable/forward": np.array([slot.forward for slot in slots], np.uint8),
        "timetable/spans": np.array([(slot.start, slot.end) for slot in slots], np.float64),
        "timetable/waits": np.array([slot.wait for slot in slots], np.float64),
    }


def write_plan(plan: ClusterPlan, target: Path | str | BinaryIO) -> None:
    """Writes the record of a plan.

    Raises:
        PellucidError: as `plan_values`, or the file cannot be written.
    """
    values, config = plan_values(plan), plan.workload.config
    provenance = Provenance(
        pellucid=__version__, model=plan.name, config=config.to_dict(), parameters=config.parameters(),
        dtype=plan.workload.dtype,
    )  # fmt: skip
    with RecordWriter(target, "plan", provenance) as writer:
        for name, value in {"inputs": plan_inputs(plan), **values}.items():
            writer.add(f"plan/{name}", value, **describe("plan", f"plan/{name}"))

