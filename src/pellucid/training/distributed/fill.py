"""Filling a rank's part of the parameters with first weights: each number is a function of (seed, name, index)."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from pellucid.gpt.config import GPTConfig
from pellucid.gpt.config_json import WEIGHTS
from pellucid.gpt.initialization import initial_rows
from pellucid.gpt.tensor_names import PREFIX, TRANSPOSED
from pellucid.runs.files import OPTIMIZER_FILE
from pellucid.runs.plan import Plan
from pellucid.training.by_head import from_plain, plain_rows
from pellucid.training.checkpoint import State
from pellucid.training.distributed.stage import Stages
from pellucid.training.optimizers import restore


@torch.no_grad()
def fill_first_weights(stages: Stages, config: GPTConfig, seed: int) -> None:
    """Gives the parameters their first values, those that one process has."""
    for name, parameter in stages.named_parameters():
        shape = tuple(parameter.shape)
        local, offset = own_part(parameter)
        rows = np.arange(offset[0], offset[0] + len(local))
        if (plain := plain_rows(name, shape[0], config.n_heads)) is not None:
            rows = plain[rows]
        columns = tuple(slice(start, start + size) for start, size in zip(offset[1:], local.shape[1:], strict=True))
        done = 0
        for first, last in _runs(rows):
            values = initial_rows(config, seed, name, shape, first, last)[(slice(None), *columns)]
            local[done : done + last - first].copy_(torch.from_numpy(np.ascontiguousarray(values)))
            done += last - first
        assert done == len(local)


def own_part(tensor: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """A tensor's numbers on this rank, and where in the whole tensor they begin."""
    if not isinstance(tensor, DTensor):
        return tensor, (0,) * tensor.dim()
    _, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return tensor.to_local(), tuple(offset)


def _runs(rows: NDArray[np.int64]) -> list[tuple[int, int]]:
    """(first, last + 1) of each run of rows that follow each other."""
    if not len(rows):
        return []
    breaks = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    return [(int(rows[begin]), int(rows[end - 1]) + 1) for begin, end in pairwise(breaks)]


@torch.no_grad()
def read_plain_checkpoint(path: Path, state: State, stages: Stages, optimizer: torch.optim.Optimizer, plan: Plan) -> None:
    """Takes a rank's part of weights and optimizer from a checkpoint that one process wrote, and that was checked."""
    heads = plan.config.n_heads
    owned = dict(stages.named_parameters())
    with safe_open(path / WEIGHTS, "pt") as weights, safe_open(path / OPTIMIZER_FILE, "pt") as moments:
        for name, parameter in owned.items():
            whole = weights.get_tensor(PREFIX + name)
            _copy_part(parameter, from_plain(name, whole.T if name.endswith(TRANSPOSED) else whole, heads))
        kept: dict[str, Tensor] = {}
        for full in list(moments.keys()):
            name = full.removesuffix(".number").rpartition(".")[0]
            if name not in owned:
                continue
            whole = moments.get_tensor(full)
            kept[full] = whole
            if whole.shape == owned[name].shape:
                kept[full] = torch.zeros_like(owned[name])
                _copy_part(kept[full], from_plain(name, whole, heads))
        steps = torch.tensor(float(state.step - state.skipped))
        kept |= {f"{name}.step": steps for name in owned if f"{name}.exp_avg_sq" in kept}
    restore(stages, optimizer, kept)


def _copy_part(target: Tensor, whole: Tensor) -> None:
    """Copies a rank's part of a whole tensor."""
    local, offset = own_part(target)
    places = tuple(slice(start, start + size) for start, size in zip(offset, local.shape, strict=True))
    local.copy_(whole[places])
