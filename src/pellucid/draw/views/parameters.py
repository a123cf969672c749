"""What `parameters` takes of a training record: moments, matrices by tiles, norms, and the sum of all parameters.

M moments of the run, Q matrices.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from pellucid.draw.film.keyframes import Keyframes
from pellucid.draw.views.labels import config
from pellucid.gpt.config import GPTConfig
from pellucid.record import Record


MOST_MOMENTS, PICTURES = 13, 700  # moments that are shown; pictures of matrices in a film, about
OUTSIDE = 1.0  # percent of the tiles of trained matrices that may lie beyond the colours' range
EMBEDDINGS = ("wte", "wpe")
KINDS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")  # a block's matrices


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the figure takes of a training record.

    Attributes:
        shape: of the model. names: of its matrices. sizes: (rows in, columns out) of each.
        moments: places, among the record's, of those shown; steps: done at each; times: when each is shown, in seconds.
        norms: (M, Q) of each matrix. learned: how far the loss on the fixed window has come by each moment, from 0 to 1.
        tiles: name -> (M, rows, columns), the longer side across. ranges: of colours, for blocks and for embeddings.
    """

    shape: GPTConfig
    names: tuple[str, ...]
    sizes: dict[str, tuple[int, int]]
    moments: tuple[int, ...]
    steps: tuple[int, ...]
    times: tuple[float, ...]
    norms: Any
    learned: tuple[float, ...]
    tiles: dict[str, Any]
    ranges: tuple[float, float]

    def over_time(self, value: Callable[[int], Any]) -> Any:
        """A value that jumps from moment to moment; `value` takes the number of the moment among those shown."""
        values = [value(i) for i in range(len(self.times))]
        return values[0] if all(one == values[0] for one in values) else Keyframes(*zip(self.times, values, strict=True))

    def range_of(self, name: str) -> float:
        """The greatest number, up or down, that the colours of a matrix tell apart."""
        return self.ranges[name in EMBEDDINGS]


def chosen_moments(count: int, matrices: int) -> list[int]:
    """Places of the moments that are shown: the first, the last, and evenly between them as many as a film can hold."""
    most = max(2, min(MOST_MOMENTS, PICTURES // matrices, count))
    return [0] if count == 1 else sorted({i * (count - 1) // (most - 1) for i in range(most)})


def read_run(record: Record, chosen: list[int], times: tuple[float, ...]) -> Run:
    """What is drawn, from the record. Errors: a chunk that is not there."""
    shape, names = config(record), tuple(record["training/matrices"])
    sizes = dict(shape.matrices())
    tiles = {}
    for name in names:
        found = record[f"training/thumbnails/{name}"][chosen]
        rows, columns = sizes[name]
        tiles[name] = found.transpose(0, 2, 1) if rows > columns else found
    loss = record["training/window/loss"].astype(np.float64).mean(axis=1)[chosen]
    span = loss[0] - loss[-1]
    come = (loss[0] - loss) / span if isfinite(span) and span > 0 else np.zeros(len(chosen))
    done = record["training/moments/steps"].tolist()
    return Run(
        shape=shape, names=names, sizes=sizes, moments=tuple(chosen), steps=tuple(done[i] for i in chosen), times=times,
        norms=record["training/moments/weights"][chosen], tiles=tiles,
        learned=tuple(float(min(max(x, 0.0), 1.0)) for x in come),
        ranges=(_range([tiles[n] for n in names if n not in EMBEDDINGS]), _range([tiles[n] for n in names if n in EMBEDDINGS])),
    )  # fmt: skip


def _range(found: list[Any]) -> float:
    """The number that all but `OUTSIDE` percent of the last moment's tiles stay below, in two digits."""
    sizes = np.sort(np.concatenate([np.abs(tiles[-1]).ravel() for tiles in found])) if found else np.array([1.0])
    most = float(sizes[int((len(sizes) - 1) * (1 - OUTSIDE / 100))])
    return float(f"{most:.1e}") or 1.0


def across(size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of a matrix with its longer side across."""
    return max(size), min(size)


def sums(run: Run) -> list[tuple[str, str, int]]:
    """What the parameters are, line by line, adding up to the total: (what, how many times what, how many)."""
    shape, c = run.shape, run.shape.d_model
    lines = []
    for name in KINDS:
        rows, columns = run.sizes[f"h.0.{name}"]
        lines.append((name, f"{rows:,} × {columns:,}", rows * columns))
    block = shape.block_parameters()
    lines.append(("biases, LayerNorms", "", block - sum(count for _, _, count in lines)))
    lines.append(("blocks", f"{shape.n_layers} × {block:,}", shape.n_layers * block))
    for name in EMBEDDINGS:
        rows, columns = run.sizes[name]
        lines.append((name, f"{rows:,} × {columns:,}", rows * columns))
    if shape.final_norm:
        lines.append(("last LayerNorm", f"2 × {c:,}", 2 * c))
    return lines
