"""Refuses a mesh that a run cannot be divided on, and says which sizes would do. No torch here."""

import math

from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.pattern import Heads
from pellucid.runs.plan import Plan
from pellucid.training.mesh import INTERLEAVED_STAGES, Mesh


UNSUPPORTED_OPTIMIZERS = ("adafactor",)  # their updates need whole matrices, or have states of other shapes


def check_mesh(plan: Plan, mesh: Mesh, *, schedule: str = "1f1b") -> None:
    """Refuses a mesh whose axes do not divide what they share out.

    Args:
        schedule: of the pipeline, "1f1b" or "interleaved".

    Raises:
        PellucidError: the message names what does not divide, and the sizes that would.
    """
    config = plan.config
    if reason := mesh_refusal(config, mesh, positions=config.n_ctx, sequences=plan.batch):
        raise PellucidError(reason)
    check_stages(config, mesh, schedule)
    if plan.mask_documents and (mesh.cp > 1 or mesh.pp > 1):
        raise PellucidError("mask_documents needs a window's ids where attention is computed: leave out cp and pp")
    if plan.mask_documents and mesh.tp > 1 and any(isinstance(pattern, Heads) for pattern in config.pattern):
        raise PellucidError("mask_documents and patterns by head do not go with tp: leave one of them out")
    if plan.optimizer in UNSUPPORTED_OPTIMIZERS:
        raise PellucidError(
            f"{plan.optimizer} updates whole matrices, and here each rank has a part of them: take adamw, or one process"
        )


def check_stages(config: GPTConfig, mesh: Mesh, schedule: str) -> None:
    """Refuses more pipeline stages than there are blocks, or a shape that is no chain of stages.

    Raises:
        PellucidError: the message says what would do.
    """
    stages = mesh.pp * (INTERLEAVED_STAGES if schedule == "interleaved" else 1)
    if schedule == "interleaved" and mesh.pp == 1:
        raise PellucidError("the interleaved schedule is one of several pipeline ranks: give pp, such as --mesh pp=2")
    if stages > config.n_layers:
        raise PellucidError(
            f"{config.n_layers} blocks do not fill {stages} stages (pp={mesh.pp}, {stages // mesh.pp} a rank): "
            f"take pp={max(1, config.n_layers * mesh.pp // stages)} or less"
        )


def mesh_refusal(config: GPTConfig, mesh: Mesh, *, positions: int, sequences: int) -> str | None:
    """Why a mesh does not divide heads, hidden units, the vocabulary, positions or rows, naming sizes that do; None if it does.

    Args:
        positions: of a row. sequences: rows of a batch.
    """
    tp, cp, ranks = mesh.tp, mesh.cp, mesh.batch_ranks
    if config.n_heads % tp or config.d_ff % tp:
        common = math.gcd(config.n_heads, config.d_ff)
        return (f"tp={tp} does not divide the {config.n_heads} heads and the {config.d_ff:,} of d_ff: "
                f"use one of {listed_sizes(divisors(common))}")  # fmt: skip
    if tp > config.vocab_size:
        return f"tp={tp} is more than the {config.vocab_size} tokens of the vocabulary: use fewer ranks"
    if cp > 1 and positions % (2 * cp):
        parts = [1, *(size for size in divisors(positions) if size > 1 and positions % (2 * size) == 0)]
        return (f"cp={cp} does not cut {positions:,} positions into 2 cp equal parts (an early and a late one each, so that "
                f"causal attention is as much work for every rank): use one of {listed_sizes(parts)}")  # fmt: skip
    own = positions // (2 * cp if cp > 1 else 1)
    if own % tp:
        common = math.gcd(own, config.n_heads, config.d_ff)
        return (f"tp={tp} does not divide the {own:,} positions in a row of a rank, which sequence parallelism "
                f"shares out: use one of {listed_sizes(divisors(common))}{', or a smaller cp' * (cp > 1)}")  # fmt: skip
    if sequences % ranks:
        more = -(-sequences // ranks) * ranks
        return (f"dp x replicate = {ranks} does not divide the batch of {sequences:,} sequences: use one of "
                f"{listed_sizes(divisors(sequences))}, or a batch of {more:,} ({more * positions:,} tokens)")  # fmt: skip
    return None


def divisors(number: int) -> list[int]:
    """Whole numbers that divide it, ascending."""
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return small + [number // d for d in reversed(small) if d * d != number]


def listed_sizes(values: list[int]) -> str:
    """Sizes in words, those in the middle left out where they are many."""
    shown = [f"{value:,}" for value in values]
    return ", ".join(shown if len(shown) <= 12 else [*shown[:8], "...", *shown[-2:]])
