"""The time of a step: products, memory traffic, collectives, the pipeline's bubble. Seconds; every term is a named formula.

t tokens of a micro-batch on a rank (b T / cp), C width, F = d_ff, V vocabulary, tp tensor parallel ranks.

    products       c_attn, c_proj, c_fc, mlp.c_proj and the output, each 1/tp on a rank: the larger of its operations at the
                   rate of products and its bytes at the memory's. Backward: twice. Attention: the pairs of the block's pattern;
                   backward 2.5 times, since a fused kernel computes the scores again.
    elementwise    bytes at the memory's rate: 10 C (two LayerNorms, two sums) and 2 F (the activation) a token; backward twice
    tensor         all-gather, reduce-scatter for each of the two halves of a block, and again backward: exposed
    context        keys and values gathered in each block, their gradients scattered back: exposed
    data           gathering a block's parameters, scattering its gradients: exposed where they take longer than what computes
                   meanwhile, and where nothing does: before the first block and after the last
    pipeline       (m - 1) times the slowest stage and once every stage; interleaved, the idle part is 1/v of that
    optimizer      32 bytes a parameter of the shard: read four numbers, write three, and the norm before it

A collective over n ranks of S bytes takes (n - 1)/n S / bandwidth + latency log2 n; an all-reduce twice that. Ranks that are in
one node use the link; a group that leaves it uses the network of as many devices as it has in each node.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from pellucid.gpt.costs import attention_flops
from pellucid.gpt.memory import FLOAT32
from pellucid.planning.cluster.efficiency import Rates
from pellucid.planning.cluster.layout import Layout, Recompute
from pellucid.planning.cluster.memory import GATHERED_BY_BLOCK
from pellucid.planning.cluster.model import Model, PipelineStage, ranks_of, stages_of
from pellucid.planning.cluster.shards import largest_block, rank_parameters


ATTENTION_BACKWARD = 2.5
OPTIMIZER_BYTES = 8 * FLOAT32


@dataclass(frozen=True, slots=True)
class Pass:
    """Seconds of a forward and of a backward pass over a micro-batch, on one rank; `products` is that part of both in products.

    Attributes:
        forward, backward: computing. forward_wait, backward_wait: exposed communication of the tensor and context groups.
    """

    forward: float = 0.0
    backward: float = 0.0
    forward_wait: float = 0.0
    backward_wait: float = 0.0

    def __add__(self, other: "Pass") -> "Pass":
        return Pass(
            self.forward + other.forward, self.backward + other.backward,
            self.forward_wait + other.forward_wait, self.backward_wait + other.backward_wait,
        )  # fmt: skip

    def times(self, count: int) -> "Pass":
        """So many of them."""
        return Pass(self.forward * count, self.backward * count, self.forward_wait * count, self.backward_wait * count)

    @property
    def whole(self) -> float:
        """All of it."""
        return self.forward + self.backward + self.forward_wait + self.backward_wait


def bandwidth(rates: Rates, stride: int, size: int) -> float:
    """Bytes a second of a collective over `size` ranks that are `stride` apart, for each rank."""
    if stride * size <= rates.per_node:
        return rates.link
    together = max(1, rates.per_node // stride)
    return min(rates.link, rates.network * together)


def collective(rates: Rates, stride: int, size: int, total: float) -> float:
    """Seconds of an all-gather or a reduce-scatter of `total` bytes over `size` ranks that are `stride` apart."""
    if size == 1:
        return 0.0
    return (size - 1) / size * total / bandwidth(rates, stride, size) + rates.latency * math.log2(size)


def message(rates: Rates, stride: int, total: float) -> float:
    """Seconds of a message of `total` bytes to the rank `stride` further."""
    return total / (rates.link if stride < rates.per_node else rates.network) + rates.latency


def _product(rates: Rates, rows: float, inner: float, columns: float, value: int) -> float:
    moved = value * (rows * inner + inner * columns + rows * columns)
    return max(2 * rows * inner * columns / rates.flops, moved / rates.memory)


@lru_cache(maxsize=65536)
def block_pass(model: Model, pattern: int, rates: Rates, tp: int, cp: int, micro_batch: int, again: bool) -> Pass:
    """One block over one micro-batch. `pattern`: an index of the model's. `again`: its forward pass is computed twice."""
    config, value = model.config, model.value
    c, f, t = config.d_model, config.d_ff, micro_batch * model.context / cp
    shapes = ((c, 3 * c / tp), (c / tp, c), (c, f / tp), (f / tp, c))
    products = sum(_product(rates, t, inner, columns, value) for inner, columns in shapes)
    backward = sum(
        _product(rates, t, columns, inner, value) + _product(rates, inner, t, columns, value) for inner, columns in shapes
    )
    attention = _attention_flops(model, pattern) * micro_batch / tp / cp / rates.flops
    elementwise = value * t * (10 * c + 2 * f) / tp / rates.memory
    gathered = 4 * collective(rates, 1, tp, value * t * c)
    keys_values = collective(rates, tp, cp, value * 2 * micro_batch * model.context * c / tp)
    forward, wait = products + attention + elementwise, gathered + keys_values
    backward += ATTENTION_BACKWARD * attention + 2 * elementwise
    return Pass(forward, backward + forward, wait, 2 * wait) if again else Pass(forward, backward, wait, wait)


@lru_cache(maxsize=64)
def _attention_flops(model: Model, pattern: int) -> int:
    return attention_flops(model.config, model.patterns[pattern], model.context)


@lru_cache(maxsize=16384)
def end_pass(model: Model, rates: Rates, tp: int, cp: int, micro_batch: int) -> Pass:
    """The output matrix and the loss over one micro-batch."""
    e, t, rows = model.config.d_embed, micro_batch * model.context / cp, -(-model.config.vocab_size // tp)
    product, gradients = _product(rates, t, e, rows, model.value), 2 * _product(rates, t, rows, e, model.value)
    logits = 3 * FLOAT32 * t * rows / rates.memory
    wait = collective(rates, 1, tp, model.value * t * model.config.d_model)
    return Pass(product + logits, gradients + logits, wait, wait)


@lru_cache(maxsize=16384)
def start_pass(model: Model, rates: Rates, tp: int, cp: int, micro_batch: int) -> Pass:
    """The embeddings over one micro-batch: memory traffic."""
    moved = model.value * micro_batch * model.context / cp * model.config.d_model
    wait = collective(rates, 1, tp, moved)
    return Pass(3 * moved / rates.memory, 6 * moved / rates.memory, wait, wait)


def stage_pass(model: Model, layout: Layout, rates: Rates, stage: PipelineStage) -> Pass:
    """A stage of the pipeline over one micro-batch, with what its data parallel group exchanges for each block."""
    mesh, b = layout.mesh, layout.micro_batch
    gather, scatter = _data_of_block(model, rates, mesh.tp, layout.shard_ranks, mesh.replicate)
    by_block = layout.shard in GATHERED_BY_BLOCK
    forward = backward = forward_wait = backward_wait = 0.0
    for (pattern, again), count in stage.blocks:
        one = block_pass(model, pattern, rates, mesh.tp, mesh.cp, b, again)
        forward, backward = forward + count * one.forward, backward + count * one.backward
        before, after = one.forward_wait, one.backward_wait
        if by_block:  # the next block's parameters come while this one computes
            before += max(0.0, gather - one.forward)
            after += max(0.0, gather + (0.0 if layout.shard == "deferred" else scatter) - one.backward)
        elif layout.shard == "gradients":
            after += max(0.0, scatter - one.backward)
        forward_wait, backward_wait = forward_wait + count * before, backward_wait + count * after
    if by_block:
        forward_wait, backward_wait = forward_wait + gather, backward_wait + gather
        backward_wait += 0.0 if layout.shard == "deferred" else scatter
    total = Pass(forward, backward, forward_wait, backward_wait)
    if stage.first:
        total += start_pass(model, rates, mesh.tp, mesh.cp, b)
    if stage.last:
        total += end_pass(model, rates, mesh.tp, mesh.cp, b)
    return total


@lru_cache(maxsize=16384)
def _data_of_block(model: Model, rates: Rates, tp: int, ranks: int, copies: int) -> tuple[float, float]:
    """Seconds to gather a block's parameters, and to reduce its gradients, in the groups that share them out."""
    block = largest_block(model, tp)
    return collective(rates, tp, ranks, model.value * block), _reduce(rates, tp, ranks, copies, FLOAT32 * block)


def _reduce(rates: Rates, tp: int, ranks: int, copies: int, total: float) -> float:
    """Reduce-scatter in the sharding group, then all-reduce of the shard among the groups that hold copies."""
    return collective(rates, tp, ranks, total) + 2 * collective(rates, tp * ranks, copies, total / ranks)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTime:
    """Seconds of a step by what they are spent on, of the pipeline's slowest rank.

    Attributes:
        compute: products, memory traffic. recompute: forward passes computed again, a part of `compute`.
        wait: exposed communication within tensor and context groups, and of parameters gathered block by block.
        data: exposed communication of gradients and parameters once a step. messages: between stages.
        bubble: idle, waiting for other stages. optimizer: the update.
    """

    compute: float
    recompute: float
    wait: float
    data: float
    messages: float
    bubble: float
    optimizer: float

    @property
    def total(self) -> float:
        """The step."""
        return self.compute + self.wait + self.data + self.messages + self.bubble + self.optimizer


PARTS = ("compute", "wait", "data", "messages", "bubble", "optimizer")


def once_a_step(model: Model, layout: Layout, rates: Rates, busy: Pass) -> float:
    """Exposed seconds of what data parallel ranks exchange once a step. `busy`: a rank's passes over one micro-batch."""
    mesh, ranks = layout.mesh, layout.shard_ranks
    if ranks * mesh.replicate == 1 or layout.shard == "parameters":
        return 0.0
    most = _most(model, layout)[0]
    alone = largest_block(model, mesh.tp) / most
    gather = collective(rates, mesh.tp, ranks, model.value * most) if layout.shard in ("optimizer", "gradients") else 0.0
    reduce = _reduce(rates, mesh.tp, ranks, mesh.replicate, FLOAT32 * most) if layout.shard != "gradients" else 0.0
    # The first block's parameters come before anything computes, the last gradients after everything did.
    exposed = gather * alone + max(0.0, gather * (1 - alone) - busy.forward)
    return exposed + reduce * alone + max(0.0, reduce * (1 - alone) - busy.backward)


def _most(model: Model, layout: Layout) -> tuple[int, int]:
    """Numbers of parameters of the rank with the most: whole, and its shard."""
    mesh = layout.mesh
    first = rank_parameters(model, mesh.tp, layout.shard_ranks, mesh.pp, layout.chunks, 0)
    last = rank_parameters(model, mesh.tp, layout.shard_ranks, mesh.pp, layout.chunks, mesh.pp - 1)
    return max(first.whole, last.whole), max(first.shard, last.shard)


def stage_passes(model: Model, layout: Layout, rates: Rates) -> list[Pass]:
    """The passes of every stage, in order."""
    return [stage_pass(model, layout, rates, stage) for stage in stages_of(model, layout.stages, layout.recompute)]


def stage_message(model: Model, layout: Layout, rates: Rates) -> float:
    """Seconds of a micro-batch's vectors from one stage to the next."""
    mesh = layout.mesh
    if mesh.pp == 1:
        return 0.0
    total = model.value * layout.micro_batch * model.context / mesh.cp * model.config.d_model / mesh.tp
    return message(rates, mesh.size // mesh.pp, total)


def step_time(model: Model, layout: Layout, rates: Rates) -> StepTime:
    """The step of a layout, each pass of a micro-batch as long as every other of its stage."""
    mesh, m = layout.mesh, layout.micro_batches
    slowest, through = Pass(), 0.0
    for own, alike in ranks_of(model, mesh.pp, layout.chunks, layout.recompute):
        one = Pass()
        for stage, count in own:
            one += stage_pass(model, layout, rates, stage).times(count)
        through += alike * one.whole
        slowest = max(slowest, one, key=lambda each: each.whole)
    # A micro-batch goes through all ranks; while it is with the others, the slowest has nothing to do, once a step.
    idle = (through - slowest.whole) / layout.chunks
    return StepTime(
        compute=m * (slowest.forward + slowest.backward), recompute=m * _recomputed(model, layout, rates),
        wait=m * (slowest.forward_wait + slowest.backward_wait), data=once_a_step(model, layout, rates, slowest),
        messages=2 * (mesh.pp - 1) * stage_message(model, layout, rates), bubble=idle,
        optimizer=OPTIMIZER_BYTES * _most(model, layout)[1] / rates.memory,
    )  # fmt: skip


def least_time(model: Model, layout: Layout, rates: Rates) -> float:
    """Seconds below which no step of a layout is: computing and tensor and context groups, shared evenly by the pipeline."""
    mesh = layout.mesh
    return layout.micro_batches * _even_share(model, rates, mesh.tp, mesh.cp, mesh.pp, layout.micro_batch, layout.recompute)


@lru_cache(maxsize=65536)
def _even_share(model: Model, rates: Rates, tp: int, cp: int, pp: int, micro_batch: int, recompute: Recompute) -> float:
    total = start_pass(model, rates, tp, cp, micro_batch).whole + end_pass(model, rates, tp, cp, micro_batch).whole
    for stage in stages_of(model, pp, recompute):
        for (pattern, again), count in stage.blocks:
            total += count * block_pass(model, pattern, rates, tp, cp, micro_batch, again).whole
    return total / pp


def _recomputed(model: Model, layout: Layout, rates: Rates) -> float:
    """Seconds of the forward passes that the first rank computes again for a micro-batch."""
    if layout.recompute == "none":
        return 0.0
    mesh, total = layout.mesh, 0.0
    for stage in stages_of(model, layout.stages, layout.recompute)[:: mesh.pp]:
        for (pattern, again), count in stage.blocks:
            if again:
                total += count * block_pass(model, pattern, rates, mesh.tp, mesh.cp, layout.micro_batch, True).forward
    return total
