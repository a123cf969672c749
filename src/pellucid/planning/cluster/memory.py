"""The peak memory of a rank by kind: parameters, gradients, optimizer (exact), activations, communication. Bytes.

As our own training and torchtitan keep it: parameters and Adam's two moments in float32, cut by `shards`; products in `value`
bytes (2: bfloat16, 4: float32) with gradients reduced in float32. Of a rank's numbers, n are whole after tensor parallelism and
n_s its shard of them:

    shard level    parameters              gradients   optimizer   while communicating
    none           4 n (+ 2 n copies)      4 n         8 n         nothing
    optimizer      4 n_s + value n         4 n         8 n_s       a block's gradients
    gradients      4 n_s + value n         4 n_s       8 n_s       a block's gradients
    deferred       4 n_s                   4 n         8 n_s       as parameters
    parameters     4 n_s                   4 n_s       8 n_s       two blocks gathered, a block's gradients, the embeddings

    activations    for each micro-batch in flight, of each block on the rank: what it saves for the backward pass. Sequence
                   parallelism cuts all of it by tp but the inputs of c_attn and c_fc, which are gathered; context parallelism
                   cuts all of it by cp but keys and values, which are gathered.
    in flight      1F1B: min(micro-batches, pp - rank). Interleaved, in chunks: min(all, 2 (pp - rank - 1) + (v - 1) pp + 1).

With one micro-batch and no pipeline there are no gradients yet when activations are at their most: what is counted as gradients
is then only what they are more than activations.

The terms of a block are those of `gpt.memory`, which a test holds against autograd.
"""

from dataclasses import dataclass
from functools import lru_cache

from pellucid.gpt.memory import FLOAT32, TERMS
from pellucid.gpt.pattern import Dense
from pellucid.planning.cluster.layout import Layout, Recompute
from pellucid.planning.cluster.model import Model, stages_of
from pellucid.planning.cluster.shards import largest_block, parts, rank_parameters


PRECISION = {2: "16-bit", 4: "float32"}
GATHERED = 2  # vectors of a block that sequence parallelism gathers and autograd keeps whole: the inputs of c_attn and c_fc
KEYS_VALUES = 2
GATHERED_BY_BLOCK = ("deferred", "parameters")  # levels whose parameters are whole only while a block computes
WHOLE_GRADIENTS = ("none", "optimizer", "deferred")
BUFFERS = 2  # blocks whose parameters are gathered at once: the one that computes and the next


@dataclass(frozen=True, kw_only=True, slots=True)
class RankMemory:
    """Bytes of one rank at its peak.

    Attributes:
        pipeline_rank: whose memory this is.
        in_flight: micro-batches, or chunks of them, whose activations it holds.
    """

    pipeline_rank: int
    parameters: int
    gradients: int
    optimizer: int
    activations: int
    communication: int
    in_flight: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.parameters + self.gradients + self.optimizer + self.activations + self.communication


KINDS = ("parameters", "gradients", "optimizer", "activations", "communication")


@lru_cache(maxsize=16384)
def saved_of_block(model: Model, pattern: int, tp: int, cp: int, micro_batch: int) -> int:
    """Bytes that a block's forward pass over a micro-batch saves on one rank. `pattern`: an index of the model's."""
    config, terms = model.config, TERMS[PRECISION[model.value]]
    c, tokens = config.d_model, micro_batch * model.context // cp
    vectors = terms.vectors + (0 if isinstance(model.patterns[pattern], Dense) else terms.by_subsets)
    cut = (vectors - GATHERED - KEYS_VALUES) * c + 2 * config.d_ff
    whole = GATHERED * c  # gathered, or all there is
    keys_values = KEYS_VALUES * c // tp * cp  # of every position
    statistics = (config.n_heads + 4) * FLOAT32
    return tokens * ((cut // tp + whole + keys_values) * model.value + statistics // tp)


def input_of_block(model: Model, tp: int, cp: int, micro_batch: int) -> int:
    """Bytes of a block's input on one rank, which is all that a block keeps that is computed again."""
    return micro_batch * model.context // cp * model.config.d_model // tp * model.value


def in_flight(pp: int, chunks: int, micro_batches: int, pipeline_rank: int) -> int:
    """Micro-batches, or chunks of them, that a rank has begun and not ended, at most."""
    if chunks == 1:
        return min(micro_batches, pp - pipeline_rank)
    return min(micro_batches * chunks, 2 * (pp - pipeline_rank - 1) + (chunks - 1) * pp + 1)


@lru_cache(maxsize=65536)
def stage_activations(
    model: Model, tp: int, cp: int, pp: int, chunks: int, micro_batch: int, recompute: Recompute, pipeline_rank: int
) -> tuple[int, int]:
    """Bytes that a stage of a rank keeps of a micro-batch, and that a block takes while it is computed again: the most."""
    entry = input_of_block(model, tp, cp, micro_batch)
    most = again = 0
    for stage in set(stages_of(model, pp * chunks, recompute)[pipeline_rank::pp]):
        kept = 0
        for (pattern, recomputed), count in stage.blocks:
            one = saved_of_block(model, pattern, tp, cp, micro_batch)
            kept += count * (entry if recomputed else one)
            again = max(again, one - entry if recomputed else 0)
        most = max(most, kept)
    return most, again


@lru_cache(maxsize=16384)
def end_bytes(model: Model, tp: int, cp: int, micro_batch: int) -> int:
    """Bytes of the last LayerNorm and the loss: hidden vectors, the output matrix's gradient, a chunk of logits."""
    terms, config = TERMS[PRECISION[model.value]], model.config
    tokens, rows = micro_batch * model.context // cp, -(-config.vocab_size // tp)
    logits = min(terms.chunk, tokens * rows) * terms.logit
    return tokens * (3 * config.d_model * model.value + 2 * FLOAT32) + rows * config.d_embed * FLOAT32 + logits


@lru_cache(maxsize=65536)
def communication(model: Model, layout_key: tuple[str, int, int, int, int, int], pipeline_rank: int) -> int:
    """Bytes of buffers: gathered parameters, gradients on their way, a gathered sequence, a pipeline's messages.

    `layout_key`: shard level, tp, cp, pp, sharding ranks, micro-batch.
    """
    shard, tp, cp, pp, ranks, micro_batch = layout_key
    found, total = parts(model, tp, ranks), 0
    if shard != "none":
        outside = found.first.whole if pipeline_rank == 0 else 0
        if pipeline_rank == pp - 1:
            outside += found.last.whole + (found.tied.whole if pp > 1 else 0)
        block = largest_block(model, tp)
        total += max(block, outside) * FLOAT32
        if shard in GATHERED_BY_BLOCK:
            total += (min(BUFFERS, model.config.n_layers // pp) * block + outside) * model.value
    entry = input_of_block(model, 1, cp, micro_batch)
    if tp > 1:
        total += entry
    if pp > 1:
        total += 2 * entry // tp
    return total


def rank_memory(model: Model, layout: Layout, pipeline_rank: int) -> RankMemory:
    """The peak of the rank with the most of its tensor parallel and sharding groups, at one place of the pipeline."""
    mesh, shard = layout.mesh, layout.shard
    own = rank_parameters(model, mesh.tp, layout.shard_ranks, mesh.pp, layout.chunks, pipeline_rank)
    if shard == "none":
        kept = (FLOAT32 + (model.value if model.value != FLOAT32 else 0)) * own.whole
    else:
        kept = FLOAT32 * own.shard + (0 if shard in GATHERED_BY_BLOCK else model.value * own.whole)
    stage, again = stage_activations(
        model, mesh.tp, mesh.cp, mesh.pp, layout.chunks, layout.micro_batch, layout.recompute, pipeline_rank
    )
    begun = in_flight(mesh.pp, layout.chunks, layout.micro_batches, pipeline_rank)
    end = end_bytes(model, mesh.tp, mesh.cp, layout.micro_batch) if pipeline_rank == mesh.pp - 1 else 0
    gradients = FLOAT32 * (own.whole if shard in WHOLE_GRADIENTS else own.shard)
    held = stage * begun + again + end
    if mesh.pp == 1 and layout.micro_batches == 1:  # gradients come while activations go: the larger of the two is the peak
        gradients = max(0, gradients - held)
    key = shard, mesh.tp, mesh.cp, mesh.pp, layout.shard_ranks, layout.micro_batch
    return RankMemory(
        pipeline_rank=pipeline_rank,
        parameters=kept,
        gradients=gradients,
        optimizer=2 * FLOAT32 * own.shard,
        activations=held,
        communication=communication(model, key, pipeline_rank),
        in_flight=begun,
    )


def peak_memory(model: Model, layout: Layout) -> RankMemory:
    """The memory of the rank that needs the most: the pipeline's first or last, which hold what is outside the blocks."""
    first = rank_memory(model, layout, 0)
    if layout.mesh.pp == 1:
        return first
    last = rank_memory(model, layout, layout.mesh.pp - 1)
    return last if last.total > first.total else first
