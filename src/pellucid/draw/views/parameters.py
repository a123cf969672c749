"""What the figure `parameters` shows of a training record: each weight matrix by tiles at snapshots of the run, and its norms.

M snapshots of the run, Q matrices.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from pellucid.draw.views.model_info import RecordedModel, read_model
from pellucid.draw.views.model_parts import SHORT
from pellucid.errors import PellucidError
from pellucid.languages import tr
from pellucid.record import Record


MAX_SNAPSHOTS, PICTURES = 13, 700  # snapshots that are shown; pictures of matrices in a film, about
OUTSIDE = 1.0  # percent of the tiles of trained matrices that may lie beyond the colours' range
EMBEDDINGS = ("wte", "wpe")
KINDS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")  # a block's matrices


@dataclass(frozen=True, slots=True, kw_only=True)
class ParametersView:
    """The figure's values.

    Attributes:
        names: of the matrices. sizes: (rows in, columns out) of each.
        steps: done at each snapshot shown (`training/moments/steps`, given). last_step: at the record's last snapshot.
        run_steps: how many steps the run took.
        tokens: training tokens seen by each snapshot (`training/steps/tokens`, given).
        norms: (M, Q) of each matrix (`training/moments/weights`, replayed).
        learned: how far the loss on the fixed window has come by each snapshot on its way to the last, from 0 to 1.
        tiles: name -> (M, rows, columns) means of tiles, the longer side across (`training/thumbnails/{matrix}`, replayed).
        ranges: the largest number, up or down, that colours tell apart, for blocks and for embeddings.
    """

    model: RecordedModel
    names: tuple[str, ...]
    sizes: dict[str, tuple[int, int]]
    steps: tuple[int, ...]
    last_step: int
    run_steps: int
    tokens: tuple[int, ...]
    norms: Any
    learned: tuple[float, ...]
    tiles: dict[str, Any]
    ranges: tuple[float, float]

    @property
    def snapshots(self) -> int:
        """How many snapshots are shown."""
        return len(self.steps)

    def range_of(self, name: str) -> float:
        """The largest number, up or down, that the colours of a matrix tell apart."""
        return self.ranges[name in EMBEDDINGS]

    def norm(self, snapshot: int, name: str) -> float:
        """The norm of a matrix at a snapshot."""
        return float(self.norms[snapshot][self.names.index(name)])

    def sums(self) -> list[tuple[str, str, int]]:
        """The parameters line by line: (what, how many times what, how many).

        The first five lines add up to one block, the others to the total.
        """
        shape, c = self.model.config, self.model.config.d_model
        lines = [self._product(tr(SHORT[name]), f"h.0.{name}") for name in KINDS]
        block = shape.block_parameters()
        lines.append((tr("biases, LayerNorms"), "", block - sum(count for _, _, count in lines)))
        lines.append((tr("blocks"), f"{shape.n_layers} × {block:,}", shape.n_layers * block))
        lines += [self._product(tr(SHORT[name]), name) for name in EMBEDDINGS]
        if shape.final_norm:
            lines.append((tr("last LayerNorm"), f"2 × {c:,}", 2 * c))
        return lines

    def _product(self, words: str, name: str) -> tuple[str, str, int]:
        rows, columns = self.sizes[name]
        return words, f"{rows:,} × {columns:,}", rows * columns


def parameters_view(record: Record) -> ParametersView:
    """Reads a training record.

    Raises:
        MissingChunk: it holds no snapshots, tiles, norms or losses on the fixed window.
        PellucidError: the model has other matrices than GPT-3.
    """
    model = read_model(record)
    done = record["training/moments/steps"].tolist()
    sizes = dict(model.config.matrices())
    if others := [name for name in sizes if name.split(".", 2)[-1] not in (*KINDS, *EMBEDDINGS)]:
        raise PellucidError(f"no figure parameters of it: it shows GPT-3's matrices, and this model has others, as {others[0]}")
    chosen = _chosen_snapshots(len(done), len(sizes))
    names = tuple(record["training/matrices"])
    tiles = {}
    for name in names:
        found = record[f"training/thumbnails/{name}"][chosen]
        rows, columns = sizes[name]
        tiles[name] = found.transpose(0, 2, 1) if rows > columns else found
    loss = record["training/window/loss"].astype(np.float64).mean(axis=1)[chosen]
    span = loss[0] - loss[-1]
    come = (loss[0] - loss) / span if isfinite(span) and span > 0 else np.zeros(len(chosen))
    norms = record["training/moments/weights"][chosen]
    tokens = record["training/steps/tokens"].tolist()
    return ParametersView(
        model=model,
        names=names,
        sizes=sizes,
        steps=tuple(done[i] for i in chosen),
        last_step=done[-1],
        run_steps=len(tokens),
        tokens=tuple(tokens[done[i] - 1] if done[i] else 0 for i in chosen),
        norms=norms,
        learned=tuple(float(min(max(x, 0.0), 1.0)) for x in come),
        tiles=tiles,
        ranges=(
            _range([tiles[name] for name in names if name not in EMBEDDINGS]),
            _range([tiles[name] for name in names if name in EMBEDDINGS]),
        ),
    )


def _chosen_snapshots(count: int, matrices: int) -> list[int]:
    """Places of the snapshots that are shown: the first, the last, and evenly between them as many as a film can hold."""
    most = max(2, min(MAX_SNAPSHOTS, PICTURES // matrices, count))
    return [0] if count == 1 else sorted({i * (count - 1) // (most - 1) for i in range(most)})


def _range(found: list[Any]) -> float:
    """The number that all but `OUTSIDE` percent of the last snapshot's tiles stay below, in two digits."""
    sizes = np.sort(np.concatenate([np.abs(tiles[-1]).ravel() for tiles in found])) if found else np.array([1.0])
    most = float(sizes[int((len(sizes) - 1) * (1 - OUTSIDE / 100))])
    return float(f"{most:.1e}") or 1.0
