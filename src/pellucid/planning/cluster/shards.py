"""What one rank holds of each parameter, exactly: tensor parallel parts, then FSDP's rows of them.

Names and shapes come from `gpt.costs.parameter_shapes`. Tensor parallelism cuts queries, keys, values and the MLP's first
matrix by output, the matrices after them by input, the token matrix by rows; everything else is whole on each rank. FSDP cuts
the first axis of what is left as `torch.chunk` does: every rank gets ceil(rows / ranks) rows, the last ones fewer. Rank 0 has
the most.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from pellucid.gpt.costs import parameter_shapes
from pellucid.planning.cluster.model import Model


BY_OUTPUT = ("attn.c_attn.weight", "attn.c_attn.bias", "mlp.c_fc.weight", "mlp.c_fc.bias", "wte.weight", "attn.compressor.")
BY_INPUT = ("attn.c_proj.weight", "mlp.c_proj.weight")


def chunk(rows: int, ranks: int, rank: int) -> int:
    """Rows of one rank when `rows` are cut as `torch.chunk` cuts them."""
    each = -(-rows // ranks)
    return max(0, min(each, rows - rank * each))


def tensor_parallel_shape(name: str, shape: tuple[int, ...], tp: int, rank: int = 0) -> tuple[int, ...]:
    """The part of a parameter that one of `tp` ranks holds; a vocabulary that tp does not divide is cut unevenly."""
    short = name.split(".", 2)[-1] if name.startswith("h.") else name
    if short.startswith(BY_OUTPUT):
        return chunk(shape[0], tp, rank), *shape[1:]
    if short in BY_INPUT:
        return shape[0], chunk(shape[1], tp, rank)
    return shape


@dataclass(frozen=True, slots=True)
class Held:
    """Numbers of parameters on one rank.

    Attributes:
        whole: of its tensor parallel parts, unsharded.
        shard: its FSDP shard of them.
    """

    whole: int
    shard: int


def held(shapes: Iterable[tuple[str, tuple[int, ...]]], tp: int, ranks: int, *, tp_rank: int = 0, rank: int = 0) -> Held:
    """What a rank holds of some parameters."""
    whole = shard = 0
    for name, shape in shapes:
        part = tensor_parallel_shape(name, shape, tp, tp_rank)
        whole += prod(part)
        shard += chunk(part[0], ranks, rank) * prod(part[1:])
    return Held(whole, shard)


@dataclass(frozen=True, slots=True)
class Parts:
    """What rank 0 of a tensor parallel and a sharding group holds, by part of the model: blocks, and what is outside them.

    Attributes:
        blocks: by block.
        first: the embeddings, in the first stage. last: the end's LayerNorm and projection, in the last stage.
        tied: the token matrix, which the last stage of a pipeline holds too, since the output matrix is the same.
    """

    blocks: tuple[Held, ...]
    first: Held
    last: Held
    tied: Held


@lru_cache(maxsize=4096)
def parts(model: Model, tp: int, ranks: int) -> Parts:
    """The parts of a model, cut among `tp` and then `ranks`."""
    config = model.config
    by_block: list[list[tuple[str, tuple[int, ...]]]] = [[] for _ in range(config.n_layers)]
    first, last, tied = [], [], []
    for name, shape in parameter_shapes(config):
        if name.startswith("h."):
            by_block[int(name.split(".", 2)[1])].append((name, shape))
        elif name.startswith(("ln_f", "project_out")):
            last.append((name, shape))
        else:
            first.append((name, shape))
            tied += [(name, shape)] if name.startswith("wte") else []
    seen: dict[tuple[tuple[int, ...], ...], Held] = {}
    blocks = []
    for shapes in by_block:  # nearly all blocks are alike
        key = tuple(shape for _, shape in shapes)
        if key not in seen:
            seen[key] = held(shapes, tp, ranks)
        blocks.append(seen[key])
    return Parts(tuple(blocks), *(held(shapes, tp, ranks) for shapes in (first, last, tied)))


@lru_cache(maxsize=65536)
def rank_parameters(model: Model, tp: int, ranks: int, pp: int, chunks: int, pipeline_rank: int) -> Held:
    """Numbers of parameters on a rank of the pipeline: of its stages, and of what is before or after the blocks."""
    found = parts(model, tp, ranks)
    each = model.config.n_layers // (pp * chunks)
    own = [one for stage in range(pipeline_rank, pp * chunks, pp) for one in found.blocks[stage * each : (stage + 1) * each]]
    if pipeline_rank == 0:
        own.append(found.first)
    if pipeline_rank == pp - 1:
        own.append(found.last)
        if pp > 1:
            own.append(found.tied)
    return Held(sum(one.whole for one in own), sum(one.shard for one in own))


@lru_cache(maxsize=4096)
def largest_block(model: Model, tp: int) -> int:
    """Numbers of the largest block's tensor parallel part."""
    return max(held.whole for held in parts(model, tp, 1).blocks)
