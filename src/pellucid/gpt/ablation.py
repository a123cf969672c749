"""Ablation: parts of a model whose outputs are replaced by zeros or by their means. No torch here.

A part is a head of a block's attention, whose D numbers are replaced before attn.c_proj; a block's MLP, whose output is
replaced after its bias; or a whole block, both its attention and its MLP: by zeros it adds nothing to the stream.
Means are taken over the positions of the prompt, of what the parts put out when the whole model reads it.

L blocks, H heads, C width.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from pellucid.arguments import as_integer, one_of, shown
from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig


Part: TypeAlias = "tuple[int, int | Literal['mlp'] | None]"  # (block, head), (block, "mlp") or (block, None): both from 0
By = Literal["zero", "mean"]
_FORM = '(block, head), (block, "mlp") or (block, None) for all of it, counted from 0'


@dataclass(frozen=True, kw_only=True, slots=True)
class Ablation:
    """Parts of a model that are replaced.

    Attributes:
        parts: sorted, each once.
        by: "zero" or "mean".

    Raises:
        PellucidError: no parts, or values of other types.
    """

    parts: tuple[Part, ...]
    by: By = "zero"

    def __post_init__(self) -> None:
        one_of("ablate_with", self.by, get_args(By))
        parts = sorted({_part(part) for part in self.parts}, key=lambda part: (part[0], str(part[1]).rjust(12)))
        if not parts:
            raise PellucidError(f"ablate names no part: give {_FORM}, or leave it out")
        object.__setattr__(self, "parts", tuple(parts))

    def check(self, config: GPTConfig) -> None:
        """Refuses parts that a model of this shape does not have. Raises PellucidError."""
        for block, part in self.parts:
            if block >= config.n_layers:
                raise PellucidError(f"ablate names block {block}, but the blocks are 0 to {config.n_layers - 1}")
            if isinstance(part, int) and part >= config.n_heads:
                raise PellucidError(f"ablate names head {part} of block {block}, but the heads are 0 to {config.n_heads - 1}")

    def to_dict(self) -> dict[str, Any]:
        """As a record's provenance states it."""
        return {"parts": [list(part) for part in self.parts], "by": self.by}

    @classmethod
    def from_dict(cls, stated: Any) -> Self:
        """The inverse. Raises PellucidError: it is none."""
        if not isinstance(stated, dict) or set(stated) != {"parts", "by"} or not isinstance(stated["parts"], list):
            raise PellucidError("it has no parts and by, and nothing else")
        return cls(parts=tuple(stated["parts"]), by=stated["by"])


def ablation_of(ablate: Any, by: Any) -> Ablation | None:
    """The ablation of the arguments `ablate` and `ablate_with` of `generate`; None where nothing is.

    Raises:
        PellucidError: what cannot be one.
    """
    one_of("ablate_with", by, get_args(By))
    if ablate is None or isinstance(ablate, Ablation):
        return ablate
    if isinstance(ablate, str) or not isinstance(ablate, Iterable):
        raise PellucidError(f"ablate is a list of {_FORM}, not {shown(ablate)}")
    return Ablation(parts=tuple(ablate), by=by)


def _part(part: Any) -> Part:
    if isinstance(part, tuple | list) and len(part) == 2:
        block, inside = as_integer(part[0]), part[1] if part[1] in (None, "mlp") else as_integer(part[1])
        if block is not None and block >= 0 and (part[1] is None or inside == "mlp" or (inside is not None and inside >= 0)):
            return block, inside
    raise PellucidError(f"a part to ablate is {_FORM}; not {shown(part)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanOutputs:
    """The mean outputs of all parts over the positions of a text, float32.

    Attributes:
        heads: (L, C) heads side by side, before attn.c_proj. attention, mlp: (L, C) what they add to the stream.
    """

    heads: NDArray[np.float32]
    attention: NDArray[np.float32]
    mlp: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Replacements:
    """What is replaced in a pass, and by what.

    Attributes:
        heads: (L, H), attention, mlp: (L,) bool: what is replaced.
        means: by these; None: by zeros.
    """

    heads: NDArray[np.bool_]
    attention: NDArray[np.bool_]
    mlp: NDArray[np.bool_]
    means: MeanOutputs | None


def replacements(ablation: Ablation, config: GPTConfig, means: MeanOutputs | None) -> Replacements:
    """The replacements of an ablation that was checked.

    Args:
        means: for an ablation by means.
    """
    assert (means is None) == (ablation.by == "zero")
    blocks = config.n_layers
    heads, attention, mlp = np.zeros((blocks, config.n_heads), bool), np.zeros(blocks, bool), np.zeros(blocks, bool)
    for block, part in ablation.parts:
        if isinstance(part, int):
            heads[block, part] = True
            continue
        mlp[block] = True
        attention[block] |= part is None
    return Replacements(heads=heads, attention=attention, mlp=mlp, means=means)


def mean_over_positions(outputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """(L, T, C) -> (L, C): float64 sums, one position after the other, divided by T, rounded to float32."""
    sums = np.zeros((len(outputs), outputs.shape[2]))
    for position in range(outputs.shape[1]):
        sums += outputs[:, position]
    means: NDArray[np.float32] = (sums / outputs.shape[1]).astype(np.float32)
    return means
