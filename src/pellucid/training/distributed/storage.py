"""Sharded checkpoints on `torch.distributed.checkpoint`: a storage of safetensors and JSON, without pickles.

PyTorch plans which rank writes and reads which part of which tensor; `training.sharded` says how the parts are stored. A
checkpoint is written in the background from a copy of the tensors. Its folder takes its name when every rank's file is on the
disk: a rank that is killed at any moment leaves the checkpoint before.
"""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import Future as Upload
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint import DefaultLoadPlanner, DefaultSavePlanner, Metadata, StorageReader, StorageWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadItemType, LoadPlan, LoadPlanner, SavePlan, SavePlanner, WriteItemType
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from pellucid.errors import PellucidError
from pellucid.files import UNFINISHED, cannot_write, sha256, sync_folder, write_whole
from pellucid.folders import move_new, remove_folder, sync_tree
from pellucid.gpt.safetensors_write import write_tensors
from pellucid.runs.files import STATE_FILE, checkpoint_folder, checkpoints
from pellucid.training.checkpoint import State, newest
from pellucid.training.sharded import DTYPES, Sharded, ShardedTensors, TensorPart, shard_file, write_index


NAMES = {dtype: name for name, dtype in DTYPES.items()}


class CheckpointWriter(StorageWriter):
    """Writes one checkpoint: each rank its own file, the main rank the rest.

    Args:
        final: the checkpoint's folder. state: of the run.
        write_model_files: writes config and tokenizer into a folder, on the main rank.
        keep: how many checkpoints stay.
    """

    def __init__(self, final: Path, state: State, write_model_files: Callable[[Path], None], keep: int) -> None:
        self.final, self.state, self.write_model_files, self.keep = final, state, write_model_files, keep
        self.part = final.with_name(f".{final.name}{UNFINISHED}")

    def reset(self, checkpoint_id: Any = None) -> None:
        """Nothing is kept between checkpoints."""

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Makes the folder that is filled."""
        self.part.mkdir(parents=True, exist_ok=True)

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """As planned."""
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """Gives each rank its file."""
        return [replace(plan, storage_data=shard_file(rank)) for rank, plan in enumerate(plans)]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Writes this rank's parts, flushed to the disk."""
        file = plan.storage_data
        tensors: dict[str, Tensor] = {}
        places: list[tuple[MetadataIndex, str, int]] = []
        for item in plan.items:
            assert item.type != WriteItemType.BYTE_IO
            tensor = planner.resolve_data(item)
            assert isinstance(tensor, Tensor)
            key = f"{item.index.fqn}@{','.join(map(str, item.index.offset or ()))}"
            tensors[key] = tensor.detach()
            places.append((item.index, key, tensor.nbytes))
        need, free = sum(tensor.nbytes for tensor in tensors.values()), shutil.disk_usage(self.part).free
        if free < need:
            raise PellucidError(f"it takes {need / 1e6:,.1f} MB and the disk has {free / 1e6:,.1f} MB left")
        if not all(tensor.isfinite().all() for key, tensor in tensors.items() if key.startswith("model.")):
            raise PellucidError("the weights are no longer finite numbers")
        checksum = ""
        if tensors:
            write_tensors(self.part / file, tensors, durable=True)
            checksum = sha256(self.part / file)
        done: Future[list[WriteResult]] = Future()
        done.set_result([WriteResult(index, size, (file, key, checksum)) for index, key, size in places])
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Completes the folder, gives it its name and drops old checkpoints, on the main rank."""
        where = {(r.index.fqn, tuple(r.index.offset or ())): r.storage_data for of_rank in results for r in of_rank}
        tensors = {}
        for name, found in metadata.state_dict_metadata.items():
            assert isinstance(found, TensorStorageMetadata)
            parts = [
                TensorPart(offset=tuple(c.offsets), shape=tuple(c.sizes), file=file, key=key)
                for c in found.chunks
                for file, key, _ in [where[name, tuple(c.offsets)]]
            ]
            dtype = NAMES[found.properties.dtype]
            tensors[name] = Sharded(dtype=dtype, shape=tuple(found.size), parts=tuple(parts))
        write_index(self.part, tensors)
        self.write_model_files(self.part)
        checksums = {file: checksum for file, _, checksum in where.values()}
        checksums |= {path.name: sha256(path) for path in self.part.iterdir() if path.name not in checksums}
        state = self.state.to_dict() | {"sha256": dict(sorted(checksums.items()))}
        write_whole(self.part / STATE_FILE, json.dumps(state, indent=2) + "\n")
        sync_tree(self.part)
        move_new(self.part, self.final)
        sync_folder(self.final.parent)
        for old in checkpoints(self.final.parent.parent)[: -self.keep]:
            remove_folder(old)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Any) -> bool:
        """Folders are given when a writer is made."""
        return False


class CheckpointReader(StorageReader):
    """Reads the parts of a sharded checkpoint that a rank needs."""

    def __init__(self, folder: Path) -> None:
        self.files = ShardedTensors(folder, n_heads=1)  # parts are read as they are stored
        self._parts: dict[tuple[str, tuple[int, ...]], TensorPart] = {}

    def reset(self, checkpoint_id: Any = None) -> None:
        """Nothing changes."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """What `shards.json` says, in PyTorch's words."""
        found: dict[str, Any] = {}
        for name, tensor in self.files.index.items():
            chunks = [ChunkStorageMetadata(torch.Size(c.offset), torch.Size(c.shape)) for c in tensor.parts]
            found[name] = TensorStorageMetadata(TensorProperties(DTYPES[tensor.dtype]), torch.Size(tensor.shape), chunks)
            self._parts |= {(name, c.offset): c for c in tensor.parts}
        return Metadata(found)

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Nothing to do."""

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        """As planned."""
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        """As planned."""
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """Copies what was planned into this rank's tensors."""
        for item in plan.items:
            assert item.type == LoadItemType.TENSOR
            chunk = self.files.part(self._parts[item.storage_index.fqn, tuple(item.storage_index.offset or ())])
            for dim, (begin, size) in enumerate(zip(item.storage_offsets, item.lengths, strict=True)):
                chunk = chunk.narrow(dim, begin, size)
            target = planner.resolve_tensor(item).detach()
            target.copy_(chunk)
            planner.commit_tensor(item, target)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Any) -> bool:
        """Folders are given when a reader is made."""
        return False


class Checkpoints:
    """The sharded checkpoints of a run, one at a time being written in the background.

    Args:
        group: of all ranks, on the CPU, used by nothing else: the writing thread's own.
        write_model_files: writes config and tokenizer into a folder.
    """

    def __init__(self, run: Path, keep: int, group: ProcessGroup, write_model_files: Callable[[Path], None]) -> None:
        self.run, self.keep, self.group, self.write_model_files = run, keep, group, write_model_files
        self._written: tuple[State, Upload[Any]] | None = None

    def save(self, tensors: dict[str, Tensor], state: State) -> None:
        """Copies the tensors, and begins to write the checkpoint of a state.

        Args:
            tensors: by the names of `training.sharded`. Every rank gives its own.
        """
        assert self._written is None, "wait for the checkpoint before"
        final = checkpoint_folder(self.run, state.step)
        writer = CheckpointWriter(final, state, self.write_model_files, self.keep)
        planner = DefaultSavePlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
        found = dcp.async_save(tensors, storage_writer=writer, planner=planner, process_group=self.group)
        assert isinstance(found, Upload)
        self._written = state, found

    def wait(self) -> list[Path]:
        """Waits for the checkpoint that is being written; returns its folder, or nothing if there is none.

        Raises:
            PellucidError: it could not be written; earlier checkpoints are intact.
        """
        if self._written is None:
            return []
        (state, upload), self._written = self._written, None
        try:
            upload.result()
        except (Exception, CheckpointException) as error:
            last = newest(self.run)
            kept = f"{last.name} is intact; fix that, then resume" if last else "fix that, then resume: it starts from step 0"
            reason = _reason(error, checkpoint_folder(self.run, state.step))
            raise PellucidError(f"could not save the checkpoint of step {state.step}: {reason}; {kept}") from error
        return [checkpoint_folder(self.run, state.step)]

    def load(self, folder: Path, tensors: dict[str, Tensor]) -> None:
        """Fills the tensors of every rank."""
        planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
        dcp.load(tensors, storage_reader=CheckpointReader(folder), planner=planner, process_group=self.group)


def _reason(error: BaseException, folder: Path) -> str:
    """Why a checkpoint was not written: the first rank's own reason, of those that PyTorch gathered."""
    failures = getattr(error, "failures", None) or {}
    for rank, (cause, _) in sorted(failures.items()):
        text = str(cannot_write(folder, cause)) if isinstance(cause, OSError) else " ".join(str(cause).split())
        return f"rank {rank}: {text}"
    return " ".join(str(error).split())[:300]
