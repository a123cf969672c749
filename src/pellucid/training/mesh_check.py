"""Refuses a mesh that a run cannot be divided on, and says which sizes would do. No torch here."""

from collections.abc import Iterable

from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
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
    ranks = mesh.batch_ranks
    if plan.batch % ranks:
        more = -(-plan.batch // ranks) * ranks
        raise PellucidError(
            f"a batch of {plan.batch:,} windows does not divide among {ranks} ranks (dp times replicate): "
            f"{_divisors(plan.batch, 'dp')}, or a batch of {more * config.n_ctx:,} tokens (--batch-tokens)"
        )
    if config.n_heads % mesh.tp:
        raise PellucidError(f"{config.n_heads} heads do not divide among tp={mesh.tp} ranks: {_divisors(config.n_heads, 'tp')}")
    if config.d_ff % mesh.tp:
        raise PellucidError(f"d_ff {config.d_ff} does not divide among tp={mesh.tp} ranks: {_divisors(config.d_ff, 'tp')}")
    if mesh.tp > config.vocab_size:
        raise PellucidError(f"tp={mesh.tp} ranks are more than the {config.vocab_size} tokens of the vocabulary: take fewer")
    parts = mesh.tp * (2 * mesh.cp if mesh.cp > 1 else 1)  # context parallelism gives each rank an early and a late part
    if config.n_ctx % parts:
        raise PellucidError(
            f"{config.n_ctx} positions do not divide into {parts} parts (tp={mesh.tp}, cp={mesh.cp}, each with an early and a "
            f"late part): {_divisors(config.n_ctx // mesh.tp // (2 if mesh.cp > 1 else 1), 'cp' if mesh.cp > 1 else 'tp')}"
        )
    check_stages(config, mesh, schedule)
    if plan.mask_documents and (mesh.cp > 1 or mesh.pp > 1):
        raise PellucidError("mask_documents needs a window's ids where attention is computed: leave out cp and pp")
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


def _divisors(number: int, axis: str) -> str:
    """Sizes of an axis that divide a number, in words."""
    found: Iterable[int] = [size for size in range(1, min(number, 4096) + 1) if number % size == 0][-12:]
    return f"{axis} may be {', '.join(map(str, found))}"
