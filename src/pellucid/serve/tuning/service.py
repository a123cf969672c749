"""`TuningService`: uploads, jobs and models together, over one folder that one server uses at a time."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from pellucid.errors import PellucidError
from pellucid.files import make_folder, reading
from pellucid.gpt.config_json import read_config
from pellucid.locks import locked
from pellucid.runs.files import BASE, RUN_FILE
from pellucid.serve.openai.models import LOG, ServedModel
from pellucid.serve.tuning.check import FileChecker
from pellucid.serve.tuning.database import FILE, Database, NotThere, Refused, StorageFailed, TableRow, from_json
from pellucid.serve.tuning.files import FILES, PURPOSE, FileStore, Upload
from pellucid.serve.tuning.jobs import JobSettings, JobStore
from pellucid.serve.tuning.scheduler import RUNS, JobScheduler
from pellucid.serve.tuning.settings import TuningSettings
from pellucid.serve.tuning.tuned_models import Open, TunedModels


# Bytes of a run beside each parameter's 4: the model before, the newest and the best, and two checkpoints with Adam's moments.
COPIES = 9
OVERHEAD = 1 << 22  # bytes of a run beside its models, its examples and its metrics
EXAMPLES = 2  # bytes of a run for each byte of its files: examples are written with their full keys
# Bytes of a step's line of metrics; the batch, and the further steps of an epoch, where a job leaves the batch to its recipe.
LINE, BATCH, MORE_STEPS = 256, 16, 750


class TuningService:
    """Fine-tuning for the owners of keys.

    Args:
        data: the folder. settings: quotas. open_model: opens a model that a job has made.

    Attributes:
        files, jobs, scheduler, models: see their classes. settings: as given.

    Raises:
        PellucidError: another server uses the folder, or its tables cannot be read.
    """

    def __init__(self, data: Path, settings: TuningSettings, open_model: Open) -> None:
        self.settings = settings
        self._checker = FileChecker()
        make_folder(data)
        self._stack = ExitStack()
        try:
            self._stack.enter_context(locked(data))
            _refuse_others(data)
            self._database = Database(data / FILE)
            self._stack.callback(self._database.close)
            self.files = FileStore(self._database, data, settings)
            self.jobs = JobStore(self._database, settings)
            self.scheduler = JobScheduler(self._database, self.jobs, self.files, data, settings)
            self.models = TunedModels(self.jobs, self.scheduler.run_of, open_model, settings)
        except BaseException:
            self._stack.close()
            raise

    def start(self) -> None:
        """Starts the jobs that wait, those included that ran when the server ended."""
        self.scheduler.start()

    def end_checks(self) -> None:
        """Ends the checks of files that run, and refuses others: requests wait for them, which may take minutes."""
        self._checker.close()

    def close(self) -> None:
        """Saves the jobs that run, for the next start, and closes everything."""
        self.end_checks()
        self.scheduler.close()
        self.models.close()
        self._stack.close()

    def keep(self, upload: Upload, filename: str, expires_after: int | None = None) -> TableRow:
        """Checks an upload that is complete, and makes it a file.

        Raises:
            PellucidError: it is no file of examples; the message has the number of the line.
        """
        upload.close()
        report = self._checker.check(upload.path, filename)
        return upload.finish(filename, PURPOSE, "error" if report["fault"] else "processed", report, expires_after)

    def mend(self, owner: str, id: str, only: Sequence[str] | None) -> TableRow:
        """A new file with the mends of some checks of a file, or of all.

        Raises:
            NotThere: the owner has no such file. PellucidError: no example is left, or a quota is reached.
        """
        row = self.files.find(owner, id)
        upload = self.files.begin(owner)
        try:
            out = upload.path.with_name(f"{upload.stored}.mended")
            try:
                self._checker.mend(self.files.path(row), out, row["filename"], only)
                with reading(out) as file:
                    while part := file.read(1 << 16):
                        upload.write(part)
            finally:
                out.unlink(missing_ok=True)
            stem = row["filename"].removesuffix(".jsonl").removesuffix("_prepared")
            return self.keep(upload, f"{stem}_prepared.jsonl")
        finally:
            upload.drop()

    def create_job(self, owner: str, api: str, settings: JobSettings, base: ServedModel | None) -> TableRow:
        """A new job. `base`: the model that it begins with, where that is one that the server was started with.

        Raises:
            NotThere: the owner has no such file or model. Refused: a file cannot be trained on. QuotaReached.
        """
        files = [
            self._usable(self.files.find(owner, id)) for id in (settings.training_file, settings.validation_file)
            if id is not None
        ]  # fmt: skip
        parameters = self._parameters(owner, settings.base) if base is None else base.generator.config.parameters()
        size = most_bytes(parameters, files, settings.options)
        self._forget_oldest(owner)
        with self.files.room(owner, size):
            job = self.jobs.create(owner, api, settings, size)
        self.scheduler.notify()
        return job

    def _parameters(self, owner: str, id: str) -> int:
        """How many an owner's model has."""
        directory, _ = self.models.source(owner, id)
        try:
            return read_config(directory / BASE if (directory / RUN_FILE).exists() else directory).parameters()
        except PellucidError as error:
            LOG.error("the model %s cannot be read: %s", id, error)
            raise StorageFailed(f"the model {id} cannot be read: the server's log says why") from None

    def _forget_oldest(self, owner: str) -> None:
        """Removes the oldest jobs that have ended, with their losses: nobody deletes those of which no model is left."""
        for job in self.jobs.forget_oldest(owner):
            with suppress(OSError):  # what is left goes at the next start
                self.scheduler.remove_run(job)
            for id in from_json(job["result_files"]):
                with suppress(NotThere):
                    self.files.delete(owner, id)

    def _usable(self, row: TableRow) -> TableRow:
        if row["purpose"] != PURPOSE:
            raise Refused(f"{row['id']} has the purpose {row['purpose']}: fine-tuning takes files of the purpose {PURPOSE}")
        if row["status"] != "processed":
            raise Refused(f"{row['id']} cannot be trained on: {from_json(row['report'])['fault']}")
        return row

    def cancel(self, owner: str, id: str, api: str | None) -> TableRow:
        """Cancels a job; its process has ended when this returns. Raises as `JobStore.cancel`."""
        job = self.jobs.cancel(owner, id, api)
        self.scheduler.stop_job(job)
        return job

    def delete_model(self, owner: str, id: str) -> None:
        """Deletes a model with all that its job has made. Raises as `JobStore.delete_model`."""
        job = self.jobs.delete_model(owner, id)
        self.models.remove(id)
        try:
            self.scheduler.remove_run(job)
        except OSError as error:  # what is left goes at the next start
            LOG.error("the run of %s cannot be removed: %s", job["id"], error)
        self._database.restore_reserve()


def _refuse_others(data: Path) -> None:
    """Refuses a folder that is somebody's own: what its tables do not know would be removed as left over."""
    if os.path.lexists(data / FILE):
        return
    for name in (FILES, RUNS):
        if (data / name).is_dir() and any((data / name).iterdir()):
            raise PellucidError(
                f"{data} has a folder {name} that is not empty, and no {FILE}: name a folder of the service's own with --data"
            )


def most_bytes(parameters: int, files: Sequence[TableRow], options: Mapping[str, Any]) -> int:
    """Bytes that the run of a job takes at most.

    Args:
        parameters: of its model. files: the one that it is trained on, then the other. options: of `FinetuningOptions`.
    """
    examples: int = from_json(files[0]["report"])["examples"]
    size: int = sum(row["bytes"] for row in files)
    steps: int = options.get("epochs", 4) * (examples // options.get("batch", BATCH) + MORE_STEPS)
    return COPIES * 4 * parameters + EXAMPLES * size + LINE * steps + OVERHEAD
