"""Plans of distributed training: how a model is laid out over N devices, what each rank holds and how long a step takes.

In: a config, N devices of one kind (`planning.devices`), a batch. Out: a `ClusterPlan`: every layout that fits, ranked by its
step time, with the memory of each rank by kind and the timetable of a step. Nothing is allocated and torch is not imported:
everything follows from shapes and from the device's figures, and `tests/planning` holds it against the real model.

Read `layout` (what can be chosen), `shards` (bytes by tensor), `memory`, `timing`, `schedule` (the order of a pipeline), then
`search`. `goodput` adds failures, `advice` says what would have to change, `flags` names the options of other trainers.
"""

from pellucid.planning.cluster.layout import Layout
from pellucid.planning.cluster.search import ClusterPlan, plan_cluster


__all__ = ["ClusterPlan", "Layout", "plan_cluster"]
