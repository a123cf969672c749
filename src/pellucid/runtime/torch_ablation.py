"""Ablation in a forward pass of PyTorch's modules: taps that replace outputs, and that collect them for their means.

N tokens of a pass, L blocks, H heads, C width.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.gpt.ablation import MeanOutputs, Replacements, mean_over_positions
from pellucid.gpt.tap import Tap, WritingPart


class _PassedOn:
    """A tap that shows another one all that it sees.

    Args:
        inner: None: there is no other.
    """

    def __init__(self, inner: Tap | None = None) -> None:
        self._inner = inner

    def stream(self, level: int, x: Tensor) -> None:
        """See `Tap`."""
        if self._inner is not None:
            self._inner.stream(level, x)

    def attention(self, block: int, q: Tensor, k: Tensor) -> None:
        """See `Tap`."""
        if self._inner is not None:
            self._inner.attention(block, q, k)

    def writes(self, block: int, attention: Tensor, mlp: Tensor) -> None:
        """See `Tap`."""
        if self._inner is not None:
            self._inner.writes(block, attention, mlp)

    def heads(self, block: int, out: Tensor) -> Tensor:
        """See `Tap`."""
        return out if self._inner is None else self._inner.heads(block, out)

    def write(self, block: int, part: WritingPart, out: Tensor) -> Tensor:
        """See `Tap`."""
        return out if self._inner is None else self._inner.write(block, part, out)


class AblationTap(_PassedOn):
    """Replaces outputs of some tokens of a pass, whose (B, T) are counted row by row.

    Args:
        rows: (first token, last + 1, what is replaced), for each sequence with an ablation.
        inner: sees what the pass goes on with.
    """

    def __init__(self, rows: Sequence[tuple[int, int, Replacements]], inner: Tap | None = None) -> None:
        super().__init__(inner)
        self._rows = rows
        self._unseen = {(block, part) for _, _, what in rows for block, part in _named(what)}

    def heads(self, block: int, out: Tensor) -> Tensor:
        """(B, T, C) with the outputs of replaced heads."""
        self._unseen.discard((block, "heads"))
        for first, end, what in self._rows:
            if what.heads[block].any():
                columns = torch.from_numpy(what.heads[block].repeat(out.shape[-1] // what.heads.shape[1]))
                out = _replaced(out, first, end, None if what.means is None else what.means.heads[block], columns)
        return super().heads(block, out)

    def write(self, block: int, part: WritingPart, out: Tensor) -> Tensor:
        """(B, T, C) with the replaced output of an attention or MLP."""
        self._unseen.discard((block, part))
        for first, end, what in self._rows:
            if (what.attention if part == "attention" else what.mlp)[block]:
                means = None if what.means is None else what.means.attention if part == "attention" else what.means.mlp
                out = _replaced(out, first, end, None if means is None else means[block])
        return super().write(block, part, out)

    def check_seen(self) -> None:
        """Raises PellucidError where a module that was put into the model did not hand its outputs to the tap."""
        for block, part in sorted(self._unseen):
            raise PellucidError(
                f"the {part} of h.{block} cannot be ablated: a module there hands nothing to the tap (`gpt.tap`); let its "
                "forward pass `tap` on to the module that it replaced"
            )


def _named(what: Replacements) -> list[tuple[int, str]]:
    """(block, part) of all that is replaced."""
    masks = (("heads", what.heads.any(1)), ("attention", what.attention), ("mlp", what.mlp))
    return [(block, part) for part, mask in masks for block in np.flatnonzero(mask).tolist()]


def _replaced(out: Tensor, first: int, end: int, values: NDArray[np.float32] | None, columns: Tensor | None = None) -> Tensor:
    """A copy of (B, T, C), of whose tokens `first` to `end` some columns (None: all) are (C,) values, or zeros."""
    changed = out.reshape(-1, out.shape[-1]).clone()
    row = torch.zeros_like(changed[0]) if values is None else torch.from_numpy(values).to(changed)
    changed[first:end] = row if columns is None else torch.where(columns.to(out.device), row, changed[first:end])
    return changed.reshape(out.shape)


class OutputsTap(_PassedOn):
    """Collects the outputs of all parts of one sequence's tokens, for `means`.

    Args:
        blocks: L.
    """

    def __init__(self, blocks: int) -> None:
        super().__init__()
        parts = ("heads", "attention", "mlp")
        self._outputs: dict[str, list[list[Tensor]]] = {part: [[] for _ in range(blocks)] for part in parts}

    def heads(self, block: int, out: Tensor) -> Tensor:
        """Keeps (B, T, C)."""
        self._outputs["heads"][block].append(out.reshape(-1, out.shape[-1]))
        return out

    def write(self, block: int, part: WritingPart, out: Tensor) -> Tensor:
        """Keeps (B, T, C)."""
        self._outputs[part][block].append(out.reshape(-1, out.shape[-1]))
        return out

    def means(self, counts: Sequence[int]) -> MeanOutputs:
        """The means over all tokens.

        Args:
            counts: how many tokens of each pass are the sequence's; those after them are padding.

        Raises:
            PellucidError: a module that was put into the model did not hand its outputs to the tap.
        """
        found = {}
        for part, by_block in self._outputs.items():
            for block, passes in enumerate(by_block):
                if len(passes) != len(counts):
                    raise PellucidError(
                        f"the {part} of h.{block} has no mean: a module there hands nothing to the tap (`gpt.tap`); ablate "
                        "by zero"
                    )
            whole = [torch.cat([one[:n] for one, n in zip(passes, counts, strict=True)]) for passes in by_block]
            found[part] = mean_over_positions(torch.stack(whole).float().cpu().numpy())
        return MeanOutputs(**found)
