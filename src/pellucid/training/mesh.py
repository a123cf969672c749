"""The mesh of a run: how many ranks share the data, the matrices, the blocks and the positions. No torch here.

A rank is one process of torchrun. The axes, from the outermost to the innermost (neighbours along `tp` are neighbours in rank,
as they exchange most):

    pp         pipeline stages: each has some of the blocks
    replicate  copies of the groups below, each on its own rows of the batch; gradients are summed over copies (HSDP)
    dp         ranks with their own rows of the batch, among which parameters, gradients and optimizer states are sharded (FSDP)
    cp         context parallelism: parts of each row's positions
    tp         tensor parallelism: parts of each matrix, by head in attention
"""

import os
import re
from dataclasses import dataclass, fields
from math import prod
from typing import Self

from pellucid.arguments import shown
from pellucid.errors import PellucidError


MAX_RANKS = 1 << 20
SCHEDULES = ("1f1b", "interleaved")
INTERLEAVED_STAGES = 2  # stages of a rank in the interleaved schedule


class RankError(PellucidError):
    """What one rank says of a run that ends early, for all."""


class OtherRankFailed(PellucidError):
    """The run ends early, and another rank says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mesh:
    """The number of ranks along each axis (see the module)."""

    pp: int = 1
    replicate: int = 1
    dp: int = 1
    cp: int = 1
    tp: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """The mesh that a text like "dp=2,tp=2" names.

        Raises:
            PellucidError: it is no such list.
        """
        mesh = cls(**parse_axes(text))
        if mesh.size > MAX_RANKS:
            raise PellucidError(f"mesh has at most {MAX_RANKS:,} ranks, not {mesh.size:,}")
        return mesh

    @property
    def sizes(self) -> dict[str, int]:
        """The axes by name, the outermost first."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def size(self) -> int:
        """Ranks in all."""
        return prod(self.sizes.values())

    @property
    def batch_ranks(self) -> int:
        """Among how many ranks the rows of a batch are divided."""
        return self.replicate * self.dp

    def coordinates(self, rank: int) -> dict[str, int]:
        """Where a rank is along each axis."""
        assert 0 <= rank < self.size
        found: dict[str, int] = {}
        for name, size in reversed(self.sizes.items()):
            rank, found[name] = divmod(rank, size)
        return found

    def __str__(self) -> str:
        return ",".join(f"{name}={size}" for name, size in self.sizes.items() if size > 1) or "dp=1"


def parse_axes(text: str) -> dict[str, int]:
    """The axes that a text like "dp=2,tp=2" names, with their numbers of ranks.

    Raises:
        PellucidError: it is no such list.
    """
    names = [field.name for field in fields(Mesh)]
    sizes: dict[str, int] = {}
    for part in text.split(","):
        name, _, size = part.strip().partition("=")
        if name not in names or name in sizes or not re.fullmatch("[1-9][0-9]{0,6}", size):
            each = ", ".join(names)
            raise PellucidError(f"mesh must be a list like dp=2,tp=2 with each of {each} once at most, not {shown(text)}")
        sizes[name] = int(size)
    return sizes


def world_size() -> int:
    """The number of processes that torchrun has started, this one among them; 1 without torchrun."""
    return _number("WORLD_SIZE", 1)


def rank() -> int:
    """Which of them this is."""
    return _number("RANK", 0)


def requested_mesh(options: object) -> Mesh | None:
    """The mesh that a run's options ask for; without one, `dp` if torchrun has started several processes, else None.

    Args:
        options: of training (`options.TrainingOptions`), or of what runs in one process.

    Raises:
        PellucidError: it is no mesh, one of another size than torchrun's, or several processes were started for work of one.
    """
    world = world_size()
    if not hasattr(options, "mesh"):
        if world > 1:
            raise PellucidError("fine-tuning runs in one process: start it without torchrun")
        return None
    text = options.mesh
    if text is None:
        return Mesh(dp=world) if world > 1 else None
    mesh = Mesh.parse(text)
    if mesh.size != world:
        started = "1 process was" if world == 1 else f"{world:,} processes were"
        raise PellucidError(
            f"the mesh {mesh} has {mesh.size:,} ranks, and {started} started: run "
            f"torchrun --nproc-per-node {mesh.size} -m pellucid train ..., or give a mesh of {world:,}"
        )
    return mesh


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else default
