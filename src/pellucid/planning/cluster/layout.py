"""What can be chosen when a model is laid out over devices, and which choices can be.

The mesh is that of `pellucid train --mesh` (`training.mesh`). Neighbours in the order tp, cp, dp, replicate, pp are the
closest: tensor parallel ranks are in one node.
"""

import math
from dataclasses import dataclass
from typing import Literal

from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.training.mesh import Mesh
from pellucid.training.mesh_check import divisors, listed_sizes, mesh_refusal


Schedule = Literal["1f1b", "interleaved"]
Recompute = Literal["none", "half", "full"]
Shard = Literal["none", "optimizer", "gradients", "deferred", "parameters"]
SCHEDULES: tuple[Schedule, ...] = ("1f1b", "interleaved")
RECOMPUTE: tuple[Recompute, ...] = ("none", "half", "full")  # of the blocks: none, every second one, all
SHARDS: tuple[Shard, ...] = ("none", "optimizer", "gradients", "deferred", "parameters")


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """One way to train on N devices.

    Attributes:
        mesh: ranks along each axis. dp and cp share out what `shard` says; replicate holds copies of that.
        shard: what is kept in parts: nothing; the optimizer's state (stage 1 of ZeRO, arXiv 1910.02054); also gradients (2);
            also parameters, which are gathered for each block and dropped again (3). "deferred" is that with gradients whole
            until the last micro-batch, when they are reduced: `pellucid train` without a pipeline. With one it keeps
            parameters gathered too, which is "optimizer".
        schedule: of the pipeline; "1f1b" also where pp is 1, which has none. chunks: stages that a rank holds of it.
        micro_batch: sequences that go through the model at once, on each of the dp ranks.
        micro_batches: how many of them a step has.
        recompute: which blocks keep only their input for the backward pass.
    """

    mesh: Mesh
    shard: Shard
    schedule: Schedule
    chunks: int
    micro_batch: int
    micro_batches: int
    recompute: Recompute

    @property
    def shard_ranks(self) -> int:
        """Among how many ranks parts are shared out."""
        return self.mesh.dp * self.mesh.cp

    @property
    def stages(self) -> int:
        """Stages of the pipeline, `chunks` on each rank of it."""
        return self.mesh.pp * self.chunks

    @property
    def sequences(self) -> int:
        """Sequences of a step, on all ranks."""
        return self.mesh.batch_ranks * self.micro_batch * self.micro_batches

    def blocks_of(self, stage: int, n_layers: int) -> range:
        """The blocks of one stage; rank r holds the stages r, r + pp, ..."""
        each = n_layers // self.stages
        return range(stage * each, (stage + 1) * each)


def refusal(config: GPTConfig, context: int, sequences: int, *, mesh: Mesh) -> str | None:
    """Why a mesh can't be, naming what would; None if it can."""
    if reason := mesh_refusal(config, mesh, positions=context, sequences=sequences):
        return reason
    rows = mesh.batch_ranks
    if config.n_layers % mesh.pp:
        fits = listed_sizes(divisors(config.n_layers))
        return f"pp={mesh.pp} does not divide the {config.n_layers} blocks: use one of {fits}"
    if mesh.pp > 1 and sequences // rows < mesh.pp:
        return (f"pp={mesh.pp} needs as many micro-batches; {sequences:,} sequences over dp x replicate = {rows} make at most "
                f"{sequences // rows}: use a larger batch, or a smaller dp or pp")  # fmt: skip
    return None


def check_mesh(config: GPTConfig, context: int, sequences: int, mesh: Mesh) -> None:
    """Refuses a mesh that can't be.

    Raises:
        PellucidError: what does not divide, and what would.
    """
    if reason := refusal(config, context, sequences, mesh=mesh):
        raise PellucidError(reason)


def meshes(config: GPTConfig, context: int, sequences: int, devices: int, given: dict[str, int], per_node: int) -> list[Mesh]:
    """Every mesh of so many devices that can be, with the `given` axes.

    Of the ways to share parts out along dp, and copies along replicate: all ranks, those of a node, none.
    """
    found = []
    for tp in divisors(devices):
        for cp in divisors(devices // tp):
            for pp in divisors(devices // tp // cp):
                data = devices // tp // cp // pp
                shared = {data, math.gcd(data, max(1, per_node // tp // cp))} | ({1} if cp == 1 else set())
                if "dp" in given and data % given["dp"] == 0:
                    shared.add(given["dp"])
                for dp in sorted(shared):
                    mesh = Mesh(pp=pp, replicate=data // dp, dp=dp, cp=cp, tp=tp)
                    wanted = all(getattr(mesh, name) == degree for name, degree in given.items())
                    if wanted and refusal(config, context, sequences, mesh=mesh) is None:
                        found.append(mesh)
    return found


def layouts(config: GPTConfig, sequences: int, mesh: Mesh) -> list[Layout]:
    """Every layout over one mesh: shard level, schedule, micro-batch, recomputation."""
    found = []
    a_rank = sequences // mesh.batch_ranks
    sharded = SHARDS[1:] if mesh.dp * mesh.cp > 1 else SHARDS[:1]
    for micro_batch in divisors(a_rank):
        micro_batches = a_rank // micro_batch
        if micro_batches < mesh.pp:
            break
        for schedule, chunks in _schedules(config.n_layers, mesh.pp, micro_batches):
            for shard in sharded:
                found += [
                    Layout(mesh=mesh, shard=shard, schedule=schedule, chunks=chunks,
                           micro_batch=micro_batch, micro_batches=micro_batches, recompute=recompute)
                    for recompute in RECOMPUTE
                ]  # fmt: skip
    return found


def _schedules(n_layers: int, pp: int, micro_batches: int) -> list[tuple[Schedule, int]]:
    if pp == 1:
        return [("1f1b", 1)]
    chunks = divisors(n_layers // pp)[1:] if micro_batches % pp == 0 else []
    return [("1f1b", 1), *(("interleaved", v) for v in chunks)]
