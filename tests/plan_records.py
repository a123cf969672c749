"""Records of plans for tests: small shapes over a few devices, planned in a moment."""

from io import BytesIO
from typing import Any

from pellucid.api.records import Record
from pellucid.gpt.config import GPTConfig
from pellucid.planning import DEVICES
from pellucid.planning.cluster import ClusterPlan, plan_cluster
from pellucid.planning.cluster.record import write_plan
from pellucid.planning.source import PlannedModel


def small_plan(blocks: int = 4, devices: int = 8, mesh: dict[str, int] | None = None, sequences: int = 8) -> ClusterPlan:
    """A plan of a small model; its mesh has a pipeline."""
    config = GPTConfig(vocab_size=300, n_ctx=64, n_layers=blocks, d_model=48, n_heads=4)
    planned = PlannedModel(name="small", config=config, tokens=10**6, tokens_reason="given")
    chosen = {"pp": 2 if blocks % 2 == 0 else 1, "tp": 2} if mesh is None else mesh
    return plan_cluster(planned, DEVICES["h100"], devices, sequences=sequences, mesh=chosen)


def plan_record(**options: Any) -> Record:
    """Its record."""
    buffer = BytesIO()
    write_plan(small_plan(**options), buffer)
    buffer.seek(0)
    return Record.open(buffer)
