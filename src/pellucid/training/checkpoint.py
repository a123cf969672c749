"""Checkpoints: everything that a run needs to resume with the same bits.

A checkpoint is a folder `checkpoints/step-00001200/` that is itself a model directory, with two files more:
`optimizer.safetensors` (the optimizer's state) and `state.json` (step, tokens, SHA-256 of every other file). It is written
under another name, its files and folders are flushed to the disk, then it is renamed; older ones are removed only when that is
on the disk too, and are renamed before. So a folder with a final name is complete, whatever happened, a power failure included.
"""

import errno
import json
import shutil
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.files import cannot_write, copy_whole, make_folder, sha256, write_whole
from pellucid.folders import new_folder, remove_folder, remove_unfinished
from pellucid.generation.model import GPT
from pellucid.gpt.config_json import CONFIG, WEIGHTS, read_config
from pellucid.gpt.safetensors_write import write_tensors
from pellucid.gpt.tensor_names import PREFIX, TRANSPOSED
from pellucid.runs.files import (
    ADAPTERS,
    BEST,
    BEST_FILE,
    CHECKPOINTS,
    EXAMPLE,
    MODEL,
    MOMENTS,
    OPTIMIZER_FILE,
    STATE_FILE,
    checkpoint_folder,
    checkpoints,
    step_name,
    step_of,
)
from pellucid.runs.plan import MAX_STEPS
from pellucid.runs.recipe import MAX_TOKENS
from pellucid.strict_json import Fields, read_json
from pellucid.text.tokenizer_files import TOKENIZER
from pellucid.training.optimizers import restore, state_of
from pellucid.training.sharded import MODEL as SHARDED_MODEL
from pellucid.training.sharded import OPTIMIZER as SHARDED_OPTIMIZER
from pellucid.training.sharded import SHARDS_FILE, ShardedTensors, is_sharded
from pellucid.training.spike_guard import WINDOW, Recent


MAX_STATE_BYTES = 1 << 20
NO_DAMAGE = (errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM, errno.ENOMEM)  # a file that cannot be read now may be whole
MAX_LOSS = 1e30  # of a loss: the squares of such numbers are still numbers


@dataclass(frozen=True, slots=True)
class State:
    """The progress of a run: steps and training tokens done, and what skipping spikes and ending early depend on.

    Attributes:
        skipped: how many of the steps had their update skipped. recent: what the next step is compared with (`spike_guard`).
        lowest, waited: the lowest held-out loss, and the evaluations since without a lower one, if the run may end early.
    """

    step: int
    tokens: int
    skipped: int = 0
    recent: Recent = ()
    lowest: float | None = None
    waited: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `state.json`; those after `tokens` only where they differ from their defaults."""
        defaults = {field.name: field.default for field in fields(self) if field.default is not MISSING}
        return {name: value for name, value in asdict(self).items() if name not in defaults or value != defaults[name]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "State":
        """The inverse of `to_dict`.

        Raises:
            PellucidError: a field is missing, of another type or out of range.
        """
        found = Fields(values, STATE_FILE)
        step = found.integer("step", maximum=MAX_STEPS)
        recent = found.list("recent", [], max_length=WINDOW)
        if not all(isinstance(pair, list) and len(pair) == 2 and all(map(_is_small, pair)) for pair in recent):
            raise found.wrong("recent", "pairs of loss and gradient norm")
        return cls(
            step=step,
            tokens=found.integer("tokens", maximum=MAX_TOKENS),
            skipped=found.integer("skipped", 0, maximum=step),
            recent=tuple((float(loss), float(norm)) for loss, norm in recent),
            lowest=found.number("lowest", None, minimum=-MAX_LOSS, maximum=MAX_LOSS),
            waited=found.integer("waited", 0, maximum=MAX_STEPS),
        )


def _is_small(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= MAX_LOSS


def read_state(path: Path) -> tuple[State, dict[str, str]]:
    """The state of a checkpoint's folder, and the SHA-256 of its other files.

    Raises:
        PellucidError: `state.json` is missing, damaged or of another step than the folder; the message says how to go on.
    """
    file = path / STATE_FILE
    try:
        values = read_json(file, max_bytes=MAX_STATE_BYTES)
        state = State.from_dict(values)
        if state.step != step_of(path):
            raise PellucidError(f"{STATE_FILE}: step is {state.step:,} in the folder {path.name}")
        checksums = Fields(values, STATE_FILE).object("sha256")
        for name in checksums:
            if Path(name).name != name:
                raise PellucidError(f"{STATE_FILE}: {shown(name)} is no name of a file beside it")
            checksums.text(name)
    except (OSError, PellucidError) as error:
        raise _unreadable(file, error) from None
    return state, checksums.values


def newest(run: Path) -> Path | None:
    """The newest complete checkpoint of a run, or None before the first."""
    complete = checkpoints(run)
    return complete[-1] if complete else None


def save(run: Path, model: GPT, optimizer: torch.optim.Optimizer, state: State, *, keep: int) -> Path:
    """Saves a checkpoint and drops all but the newest `keep`.

    Raises:
        PellucidError: the disk has no room for it or would not take it, or the weights are no longer numbers; earlier
            checkpoints are untouched.
    """
    final = checkpoint_folder(run, state.step)
    try:
        _write(final, model, optimizer, state)
        for old in checkpoints(run)[:-keep]:
            remove_folder(old)
    except (OSError, PellucidError) as error:
        last = newest(run)
        kept = f"{last.name} is intact; fix that, then resume" if last else "fix that, then resume: it starts from step 0"
        reason = error if isinstance(error, PellucidError) else cannot_write(final, error)
        raise PellucidError(f"could not save the checkpoint of step {state.step}: {reason}; {kept}") from error
    return final


def keep_example(run: Path, model: GPT, optimizer: torch.optim.Optimizer, state: State) -> None:
    """Saves a checkpoint in `example/step-...`, where it stays, so that the recorded example's step can be replayed.

    Raises:
        PellucidError: the disk would not take it.
    """
    final = run / EXAMPLE / step_name(state.step)
    try:
        for old in checkpoints(run, inside=EXAMPLE):  # from before the run was killed and resumed
            remove_folder(old)
        _write(final, model, optimizer, state)
    except (OSError, PellucidError) as error:
        reason = error if isinstance(error, PellucidError) else cannot_write(final, error)
        raise PellucidError(f"could not save {final}: {reason}; fix that, or go on without a record (--no-record)") from error


def _must_fit(place: Path, tensors: Iterable[Tensor]) -> None:
    """Refuses a checkpoint that the disk has no room for before any of it is written: a full disk harms others too.

    Counts its tensors; headers and JSON are little beside them.
    """
    need, free = sum(tensor.nbytes for tensor in tensors), shutil.disk_usage(place).free
    if free < need:
        raise PellucidError(f"it takes {need / 1e6:,.1f} MB and the disk has {free / 1e6:,.1f} MB left")


def _write(final: Path, model: GPT, optimizer: torch.optim.Optimizer, state: State) -> None:
    """Writes a checkpoint's folder, whole or not at all, and on the disk when this returns."""
    if not all(parameter.isfinite().all() for parameter in model.parameters()):
        raise PellucidError("the weights are no longer finite numbers")
    final.parent.mkdir(parents=True, exist_ok=True)
    moments = _moments(model, optimizer)
    _must_fit(final.parent, [*model.parameters(), *moments.values()])
    with new_folder(final, durable=True) as part:
        model.save(part)
        write_tensors(part / OPTIMIZER_FILE, moments)
        checksums = {path.name: sha256(path) for path in sorted(part.iterdir())}
        write_whole(part / STATE_FILE, json.dumps(state.to_dict() | {"sha256": checksums}, indent=2) + "\n")


def load(path: Path, model: GPT, optimizer: torch.optim.Optimizer) -> State:
    """Restores model and optimizer, on the devices where they are, and returns the run's state.

    Raises:
        PellucidError: a file is missing or not as it was written; the message names it.
    """
    state = check_files(path)
    if is_sharded(path):
        moments = _restore_sharded(path, model)
        steps = {name: torch.tensor(float(state.step - state.skipped)) for name in _steps_left_out(model, moments)}
        restore(model, optimizer, moments | steps)
        return state
    model.restore(path)
    try:
        moments = load_file(path / OPTIMIZER_FILE)
    except (OSError, SafetensorError) as error:
        raise _unreadable(path / OPTIMIZER_FILE, error) from None
    steps = {name: torch.tensor(float(state.step - state.skipped)) for name in _steps_left_out(model, moments)}
    restore(model, optimizer, moments | steps)
    return state


def _restore_sharded(path: Path, model: GPT) -> dict[str, Tensor]:
    """Fills a model from a checkpoint of several processes; returns the optimizer's state."""
    try:
        files = ShardedTensors(path, model.config.n_heads)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(files.whole(SHARDED_MODEL + name))
        return {name: files.whole(SHARDED_OPTIMIZER + name) for name in files.names(SHARDED_OPTIMIZER)}
    except (KeyError, OSError, RuntimeError, PellucidError) as error:
        raise _unreadable(path / SHARDS_FILE, error) from None


def check_files(path: Path, part: int = 0, parts: int = 1) -> State:
    """The state of a checkpoint whose files are as they were written.

    Args:
        part, parts: which of the files to compare with their checksums, where several processes share the work.

    Raises:
        PellucidError: a file is missing or not as it was written; the message names it.
    """
    state, checksums = read_state(path)
    for name, expected in list(checksums.items())[part::parts]:
        file = path / name
        if not file.is_file() or sha256(file) != expected:
            raise PellucidError(f"{file} is damaged or truncated (its checksum is wrong): {_fallback(path)}")
    return state


def _unreadable(file: Path, error: Exception) -> PellucidError:
    """The error of a checkpoint's file that cannot be read: how to go on without it, but where the process is at fault."""
    if isinstance(error, OSError) and error.errno in NO_DAMAGE:
        return PellucidError(f"cannot read {file}: {error.strerror or error}")
    return PellucidError(f"{file} is missing or damaged ({error}): {_fallback(file.parent)}")


def _fallback(path: Path) -> str:
    if path.parent.name == EXAMPLE:
        return f"remove {path}, and the numbers of its step are not recomputed"
    older = [other for other in checkpoints(path.parent.parent, inside=path.parent.name) if other < path]
    return f"remove {path} to go on from {older[-1].name}" if older else f"remove {path} to start again from step 0"


def _moments(model: GPT, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state without AdamW's step counts: their number is in `state.json`."""
    kept = {name: value.cpu() for name, value in state_of(model, optimizer)}
    for name in [name.removesuffix("exp_avg_sq") + "step" for name in kept if name.endswith(".exp_avg_sq")]:
        del kept[name]
    return kept


def _steps_left_out(model: GPT, moments: dict[str, Tensor]) -> list[str]:
    return [f"{name}.step" for name, _ in model.named_parameters() if f"{name}.exp_avg_sq" in moments]


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptModel:
    """The measurements by which a run chooses the model that it keeps.

    Attributes:
        step: steps done. held_out_loss: nats a token. right: held-out examples that it answers exactly; None for text.
    """

    step: int
    held_out_loss: float
    right: int | None = None

    def is_better(self, other: "KeptModel") -> bool:
        """Whether it answers more examples exactly, or as many with a lower loss."""
        right, others = self.right or 0, other.right or 0
        return right > others or (right == others and self.held_out_loss < other.held_out_loss)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `best.json`."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def keep_best(run: Path, model: GPT, candidate: KeptModel) -> None:
    """Saves `best/` if this is the best model so far."""
    kept = best(run)
    if kept is None or candidate.is_better(kept):
        model.save(run / BEST)
        write_whole(run / BEST / BEST_FILE, json.dumps(candidate.to_dict()) + "\n")


def best(run: Path) -> KeptModel | None:
    """The measurements of the model in `best/`; None before the first, or if its note is damaged."""
    try:
        note = Fields(read_json(run / BEST / BEST_FILE, max_bytes=MAX_STATE_BYTES), BEST_FILE)
        loss = note.number("held_out_loss", minimum=-MAX_LOSS, maximum=MAX_LOSS)
        right = note.integer("right", None, maximum=MAX_STEPS)
        return KeptModel(step=note.integer("step", maximum=MAX_STEPS), held_out_loss=loss, right=right)
    except (OSError, PellucidError):
        return None


def renew_model(run: Path, source: Path) -> None:
    """Makes `model/` the model in `source` (a checkpoint, or `best/`): each file replaced whole, weights last."""
    target = run / MODEL
    make_folder(target)
    if is_sharded(source):
        _write_whole_model(source, target)
        return
    names = [p.name for p in source.iterdir() if p.name not in (OPTIMIZER_FILE, STATE_FILE, BEST_FILE, ADAPTERS)]
    for name in sorted(names, key=lambda n: n.endswith(".safetensors")):
        copy_whole(source / name, target / name)


def _write_whole_model(source: Path, target: Path) -> None:
    """Writes the model of a checkpoint of several processes as one process writes it; the weights last."""
    for name in (CONFIG, TOKENIZER):
        if (source / name).exists():
            copy_whole(source / name, target / name)
    try:
        files = ShardedTensors(source, read_config(source).n_heads)
        tensors = {}
        for name in files.names(SHARDED_MODEL):
            whole = files.whole(SHARDED_MODEL + name)
            tensors[PREFIX + name] = whole.T.contiguous() if name.endswith(TRANSPOSED) else whole
    except (KeyError, OSError, PellucidError) as error:
        raise _unreadable(source / SHARDS_FILE, error) from None
    write_tensors(target / WEIGHTS, tensors, metadata={"format": "pt"})


def remove_what_kills_left(run: Path) -> None:
    """Removes what killed processes left unfinished in a run's folders. Call it while the run is locked."""
    for name in (CHECKPOINTS, EXAMPLE, MOMENTS, MODEL, BEST):
        remove_unfinished(run / name)
