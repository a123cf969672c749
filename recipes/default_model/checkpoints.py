"""Checkpoints: weights, averaged weights, optimizer state and position in the run, written completely or not at all.

RUN/checkpoints/step-00001200/
    weights.safetensors  average.safetensors  optimizer.safetensors
    state.json           step, tokens, SHA-256 of the other files
"""

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pellucid.files import sha256, write_whole
from pellucid.training.optimizers import restore, state_of


WEIGHTS, AVERAGE, OPTIMIZER, STATE = "weights.safetensors", "average.safetensors", "optimizer.safetensors", "state.json"
PART = ".part"
NEWEST = 3  # how many are kept, besides those that are never removed


def save(
    run: Path,
    model: nn.Module,
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    tokens: int,
    kept: bool,
) -> Path:
    """Writes a checkpoint, then removes older ones, except the newest three and those that are `kept`.

    Args:
        average: the averaged weights by name. step, tokens: of the run so far.
        kept: whether this checkpoint is never removed.

    Raises:
        OSError: it could not be written; earlier checkpoints are unchanged.
    """
    final = folder(run, step)
    part = final.with_suffix(PART)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_file({name: p.detach().contiguous() for name, p in model.named_parameters()}, part / WEIGHTS)
    save_file(average, part / AVERAGE)
    save_file({name: value.contiguous() for name, value in state_of(model, optimizer)}, part / OPTIMIZER)
    names = (WEIGHTS, AVERAGE, OPTIMIZER)
    state = {"step": step, "tokens": tokens, "kept": kept, "sha256": {name: sha256(part / name) for name in names}}
    write_whole(part / STATE, json.dumps(state, indent=1) + "\n")
    for name in (*names, STATE):
        with (part / name).open("rb+") as file:
            os.fsync(file.fileno())  # a folder with its final name is complete even after a power cut
    if final.exists():
        shutil.rmtree(final)
    os.replace(part, final)
    for old in _complete(run)[:-NEWEST]:
        if not read_state(old)["kept"]:
            os.replace(old, old.with_suffix(PART))
            shutil.rmtree(old.with_suffix(PART))
    return final


def folder(run: Path, step: int) -> Path:
    """The folder of the checkpoint of a step."""
    return run / "checkpoints" / f"step-{step:08d}"


def newest(run: Path) -> Path | None:
    """The newest complete checkpoint; None if there is none."""
    complete = _complete(run)
    return complete[-1] if complete else None


def _complete(run: Path) -> list[Path]:
    return sorted(path for path in (run / "checkpoints").glob("step-????????") if (path / STATE).is_file())


def read_state(checkpoint: Path) -> dict[str, int]:
    """The contents of `state.json`: "step", "tokens", "kept"."""
    state: dict[str, int] = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    return state


def load(
    checkpoint: Path, model: nn.Module, average: dict[str, Tensor], optimizer: torch.optim.Optimizer | None
) -> tuple[int, int]:
    """Restores a run from a checkpoint; returns (step, tokens).

    Args:
        average: the averaged weights by name, filled in place.
        optimizer: None: its state is not read.

    Raises:
        ValueError: a file is damaged, or of another model.
    """
    state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    for name, expected in state["sha256"].items():
        if sha256(checkpoint / name) != expected:
            raise ValueError(f"{checkpoint / name} is damaged: remove {checkpoint} to go on from the one before it")
    _fill({name: p.data for name, p in model.named_parameters()}, load_file(checkpoint / WEIGHTS))
    _fill(average, load_file(checkpoint / AVERAGE))
    if optimizer is not None:
        restore(model, optimizer, load_file(checkpoint / OPTIMIZER))
    return state["step"], state["tokens"]


def load_average(checkpoint: Path, model: nn.Module) -> None:
    """Fills a model with a checkpoint's averaged weights."""
    _fill({name: p.data for name, p in model.named_parameters()}, load_file(checkpoint / AVERAGE))


def _fill(into: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    if into.keys() != found.keys():
        raise ValueError(f"the checkpoint is of another model: {sorted(into.keys() ^ found.keys())[0]} is in one of them only")
    for name, tensor in found.items():
        into[name].copy_(tensor)
