"""`TuningService`: uploads, jobs and models together, over one folder that one server uses at a time."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from pellucid.files import make_folder, reading
from pellucid.gpt.config_json import read_config
from pellucid.locks import locked
from pellucid.runs.files import BASE, RUN_FILE
from pellucid.serve.openai.models import ServedModel
from pellucid.serve.tuning import check
from pellucid.serve.tuning.database import FILE, Database, Refused, TableRow, from_json
from pellucid.serve.tuning.files import PURPOSE, FileStore, Upload
from pellucid.serve.tuning.jobs import JobSettings, JobStore
from pellucid.serve.tuning.scheduler import JobScheduler
from pellucid.serve.tuning.settings import TuningSettings
from pellucid.serve.tuning.tuned_models import Open, TunedModels


# Bytes of a run beside each parameter's 4: the model before, the newest and the best, and two checkpoints with Adam's moments.
COPIES = 9
CHECKS = 2  # uploads that are checked at once
NEAR = 1 << 22  # bytes of a run beside its models


class TuningService:
    """Fine-tuning for the owners of keys.

    Args:
        data: the folder. settings: quotas. open_model: opens a model that a job has made.

    Attributes:
        files, jobs, scheduler, models: see their classes. settings: as given.
        checking: the threads in which uploads are checked and mended: few, as that takes long.

    Raises:
        PellucidError: another server uses the folder, or its tables cannot be read.
    """

    def __init__(self, data: Path, settings: TuningSettings, open_model: Open) -> None:
        self.settings = settings
        self.checking = ThreadPoolExecutor(CHECKS, "pellucid check")
        make_folder(data)
        self._stack = ExitStack()
        try:
            self._stack.enter_context(locked(data))
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

    def close(self) -> None:
        """Saves the jobs that run, for the next start, and closes everything."""
        self.checking.shutdown(cancel_futures=True)
        self.scheduler.close()
        self.models.close()
        self._stack.close()

    def keep(self, upload: Upload, filename: str, expires_after: int | None = None) -> TableRow:
        """Checks an upload that is complete, and makes it a file.

        Raises:
            PellucidError: it is no file of examples; the message has the number of the line.
        """
        upload.close()
        report = check.check(upload.path, filename)
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
                check.mended(self.files.path(row), out, row["filename"], only)
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
        for id in (settings.training_file, settings.validation_file):
            if id is not None:
                self._check_usable(self.files.find(owner, id))
        if base is not None:
            parameters = base.generator.config.parameters()
        else:
            directory, _ = self.models.source(owner, settings.base)
            parameters = read_config(directory / BASE if (directory / RUN_FILE).exists() else directory).parameters()
        size = COPIES * 4 * parameters + NEAR
        with self.files.room(owner, size):
            job = self.jobs.create(owner, api, settings, size)
        self.scheduler.notify()
        return job

    def _check_usable(self, row: TableRow) -> None:
        if row["purpose"] != PURPOSE:
            raise Refused(f"{row['id']} has the purpose {row['purpose']}: fine-tuning takes files of the purpose {PURPOSE}")
        if row["status"] != "processed":
            raise Refused(f"{row['id']} cannot be trained on: {from_json(row['report'])['fault']}")

    def cancel(self, owner: str, id: str, api: str | None) -> TableRow:
        """Cancels a job; its process has ended when this returns. Raises as `JobStore.cancel`."""
        job = self.jobs.cancel(owner, id, api)
        self.scheduler.stop_job(job)
        return job

    def delete_model(self, owner: str, id: str) -> None:
        """Deletes a model with all that its job has made. Raises as `JobStore.delete_model`."""
        job = self.jobs.delete_model(owner, id)
        self.models.remove(id)
        self.scheduler.remove_run(job)
