"""What can be chosen when a model is laid out over devices, and which choices can be.

A mesh is (dp, tp, pp, cp), as in `pellucid train --mesh`: data, tensor, pipeline and context parallel degrees, whose product is
the number of devices. Neighbours in the order tp, cp, dp, pp are the closest: tensor parallel ranks are in one node.
"""

import math
from dataclasses import dataclass
from typing import Literal

from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.pattern import Compressed


Schedule = Literal["1f1b", "interleaved"]
Recompute = Literal["none", "half", "full"]
Shard = Literal["none", "optimizer", "gradients", "parameters"]
SCHEDULES: tuple[Schedule, ...] = ("1f1b", "interleaved")
RECOMPUTE: tuple[Recompute, ...] = ("none", "half", "full")  # of the blocks: none, every second one, all
SHARDS: tuple[Shard, ...] = ("none", "optimizer", "gradients", "parameters")
DEGREES = ("dp", "tp", "pp", "cp")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mesh:
    """Degrees of parallelism: data, tensor, pipeline, context."""

    dp: int
    tp: int
    pp: int
    cp: int

    @property
    def devices(self) -> int:
        """How many devices it takes."""
        return self.dp * self.tp * self.pp * self.cp

    def __str__(self) -> str:
        return f"dp={self.dp},tp={self.tp},pp={self.pp},cp={self.cp}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """One way to train on N devices.

    Attributes:
        mesh: degrees of parallelism.
        shard: what is kept in parts: nothing, the optimizer's state, also gradients, or also parameters (`fully_shard` with
            parameters gathered for each block and dropped again). The levels are stages 0 to 3 of ZeRO (arXiv 1910.02054).
        shard_ranks: among how many ranks; it divides dp x cp. Fewer than dp x cp: HSDP, whose groups hold copies of each other.
        schedule: of the pipeline; "1f1b" also where pp is 1, which has none. chunks: stages that a rank holds of it.
        micro_batch: sequences that go through the model at once, on each of the dp ranks.
        micro_batches: how many of them a step has.
        recompute: which blocks keep only their input for the backward pass.
    """

    mesh: Mesh
    shard: Shard
    shard_ranks: int
    schedule: Schedule
    chunks: int
    micro_batch: int
    micro_batches: int
    recompute: Recompute

    @property
    def stages(self) -> int:
        """Stages of the pipeline, `chunks` on each rank."""
        return self.mesh.pp * self.chunks

    @property
    def sequences(self) -> int:
        """Sequences of a step, on all ranks."""
        return self.mesh.dp * self.micro_batch * self.micro_batches

    def blocks_of(self, stage: int, n_layers: int) -> range:
        """The blocks of one stage; rank r holds the stages r, r + pp, ..."""
        each = n_layers // self.stages
        return range(stage * each, (stage + 1) * each)


def divisors(number: int) -> list[int]:
    """Whole numbers that divide it, ascending."""
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return small + [number // d for d in reversed(small) if d * d != number]


def refusal(config: GPTConfig, context: int, sequences: int, *, mesh: Mesh) -> str | None:
    """Why a mesh can't be, naming what would; None if it can."""
    for name, degree in zip(DEGREES, (mesh.dp, mesh.tp, mesh.pp, mesh.cp), strict=True):
        if degree < 1:
            return f"{name} must be at least 1, not {degree}"
    if config.n_heads % mesh.tp or config.d_ff % mesh.tp:
        common = math.gcd(config.n_heads, config.d_ff)
        return (f"tp={mesh.tp} does not divide the {config.n_heads} heads and the {config.d_ff:,} of d_ff: "
                f"use one of {_listed(divisors(common))}")  # fmt: skip
    if config.n_layers % mesh.pp:
        return f"pp={mesh.pp} does not divide the {config.n_layers} blocks: use one of {_listed(divisors(config.n_layers))}"
    if mesh.cp > 1 and context % (2 * mesh.cp):
        fits = [1] + [cp for cp in divisors(context) if cp > 1 and context % (2 * cp) == 0]
        return (f"cp={mesh.cp} does not cut {context:,} positions into 2 cp equal parts (an early and a late one each, so that "
                f"causal attention is as much work for every rank): use one of {_listed(fits)}")  # fmt: skip
    if mesh.tp > 1 and context // mesh.cp % mesh.tp:
        return (f"tp={mesh.tp} does not divide the {context // mesh.cp:,} positions of a rank, which sequence parallelism "
                f"shares out: use one of {_listed(divisors(math.gcd(context // mesh.cp, config.n_heads)))}")  # fmt: skip
    if sequences % mesh.dp:
        return f"dp={mesh.dp} does not divide the batch of {sequences:,} sequences: use one of {_listed(divisors(sequences))}"
    if mesh.pp > 1 and sequences // mesh.dp < mesh.pp:
        return (f"pp={mesh.pp} needs as many micro-batches; {sequences:,} sequences over dp={mesh.dp} make at most "
                f"{sequences // mesh.dp}: use a larger batch, or a smaller dp or pp")  # fmt: skip
    compressed = any(isinstance(pattern, Compressed) for pattern in config.pattern)
    if compressed and (mesh.tp > 1 or mesh.cp > 1):
        return "compressed attention mixes heads and positions in its convolutions: use tp=1 and cp=1"
    return None


def check_mesh(config: GPTConfig, context: int, sequences: int, mesh: Mesh) -> None:
    """Refuses a mesh that can't be.

    Raises:
        PellucidError: what does not divide, and what would.
    """
    if reason := refusal(config, context, sequences, mesh=mesh):
        raise PellucidError(reason)


def meshes(config: GPTConfig, context: int, sequences: int, devices: int, given: dict[str, int]) -> list[Mesh]:
    """Every mesh of so many devices that can be, with the `given` degrees."""
    found = []
    for tp in divisors(devices):
        for cp in divisors(devices // tp):
            for pp in divisors(devices // tp // cp):
                mesh = Mesh(dp=devices // tp // cp // pp, tp=tp, pp=pp, cp=cp)
                wanted = all(getattr(mesh, name) == degree for name, degree in given.items())
                if wanted and refusal(config, context, sequences, mesh=mesh) is None:
                    found.append(mesh)
    return found


def layouts(config: GPTConfig, sequences: int, mesh: Mesh, per_node: int) -> list[Layout]:
    """Every layout over one mesh: shard level, schedule, micro-batch, recomputation."""
    found = []
    a_rank = sequences // mesh.dp
    shared = mesh.dp * mesh.cp
    sharded: list[tuple[Shard, int]] = [("none", 1)]
    if shared > 1:
        sharded += [(shard, shared) for shard in SHARDS[1:]]
        in_node = math.gcd(shared, max(1, per_node // mesh.tp))
        if 1 < in_node < shared:
            sharded += [(shard, in_node) for shard in SHARDS[1:]]
    for micro_batch in divisors(a_rank):
        micro_batches = a_rank // micro_batch
        if micro_batches < mesh.pp:
            break
        for schedule, chunks in _schedules(config.n_layers, mesh.pp, micro_batches):
            for shard, ranks in sharded:
                found += [
                    Layout(mesh=mesh, shard=shard, shard_ranks=ranks, schedule=schedule, chunks=chunks,
                           micro_batch=micro_batch, micro_batches=micro_batches, recompute=recompute)
                    for recompute in RECOMPUTE
                ]  # fmt: skip
    return found


def _schedules(n_layers: int, pp: int, micro_batches: int) -> list[tuple[Schedule, int]]:
    if pp == 1:
        return [("1f1b", 1)]
    chunks = divisors(n_layers // pp)[1:] if micro_batches % pp == 0 else []
    return [("1f1b", 1), *(("interleaved", v) for v in chunks)]


def _listed(values: list[int]) -> str:
    shown = [f"{value:,}" for value in values]
    return ", ".join(shown if len(shown) <= 12 else [*shown[:8], "...", *shown[-2:]])
