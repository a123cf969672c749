"""`TunedModels`: the fine-tuned models that are in memory, opened when they are asked for; the longest unused leaves first."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from pellucid.errors import PellucidError
from pellucid.runs.files import checkpoint_folder
from pellucid.serve.openai.models import ServedModel
from pellucid.serve.tuning.database import NotThere, TableRow
from pellucid.serve.tuning.jobs import CHECKPOINT, JobStore
from pellucid.serve.tuning.settings import TuningSettings


IN_USE = 5.0  # seconds since a model was asked for, in which it is not closed: its request may not have begun
Open = Callable[[str, Path, str, int], ServedModel]  # (id, directory, owner, seconds since 1970) -> a model with an engine


class ModelsInUse(PellucidError):
    """As many models as may be in memory at once are answering: another is opened later.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} fine-tuned models are in use, the most that are kept in memory at once")


class TunedModels:
    """The fine-tuned models of all owners. Each is found by its owner alone.

    Args:
        jobs: the tables. run_of: the directory of a job's run. open_model: opens one. settings: how many are open at once.
    """

    def __init__(self, jobs: JobStore, run_of: Callable[[TableRow], Path], open_model: Open, settings: TuningSettings) -> None:
        self._jobs, self._run_of, self._open, self._settings = jobs, run_of, open_model, settings
        self._lock = threading.Lock()
        self._opened: OrderedDict[str, tuple[ServedModel, float]] = OrderedDict()
        self._closed = False

    def source(self, owner: str, id: str) -> tuple[Path, TableRow]:
        """(the directory of a model, its row).

        Raises:
            NotThere: the owner has no such model.
        """
        name, between, step = id.rpartition(CHECKPOINT)
        is_checkpoint = between and step.isascii() and step.isdigit() and len(step) < 12  # else a suffix may hold these words
        model = self._jobs.model(owner, name if is_checkpoint else id)
        run = self._run_of(self._jobs.job(model["job"]))
        if not is_checkpoint:
            return run, model
        if not self._jobs.checkpoint(model["job"], int(step)):
            raise NotThere(f"That model does not exist: {id[:80]}")
        return checkpoint_folder(run, int(step)), model

    def find(self, owner: str, id: str) -> ServedModel:
        """A model of an owner, opened if it is not. May take as long as that does: call it in a thread.

        Raises:
            NotThere: the owner has no such model. ModelsInUse: no other can be closed for it now. PellucidError: it cannot be
                opened.
        """
        self.source(owner, id)
        with self._lock:
            if self._closed:
                raise PellucidError("the server is ending")
            known = self._opened.get(id)
            if known is None:
                directory, row = self.source(owner, id)  # again: it may have been deleted while another was opened
                self._make_room()
                model = self._open(id, directory, owner, row["created"])
            else:
                model, _ = known
            self._opened[id] = model, time.monotonic()
            self._opened.move_to_end(id)
            return model

    def remove(self, id: str) -> None:
        """Closes a model that was deleted, and those of its checkpoints; their requests end."""
        with self._lock:
            for name in [name for name in self._opened if name == id or name.startswith(f"{id}{CHECKPOINT}")]:
                self._opened.pop(name)[0].close()

    def close(self) -> None:
        """Closes all."""
        with self._lock:
            self._closed = True
            for model, _ in self._opened.values():
                model.close()
            self._opened.clear()

    def _make_room(self) -> None:
        """Closes models that are not in use, the longest unused first, until another may be opened."""
        now = time.monotonic()
        for name, (model, used) in list(self._opened.items()):
            if len(self._opened) < self._settings.open_models:
                return
            if now - used > IN_USE and not (model.line.used or model.line.waiting):
                del self._opened[name]
                model.close()
        if len(self._opened) >= self._settings.open_models:
            raise ModelsInUse(len(self._opened))
