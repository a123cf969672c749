"""`JobScheduler`: runs the jobs that wait, one at a time unless told otherwise, each in a process of its own.

A thread looks at the runs a few times a second: what is new becomes events; a process that was ended by a signal is started
again and goes on from its checkpoint; one that failed is a failed job. Whatever the tables hold survives a kill of the server:
jobs that ran wait again when it is started.
"""

import logging
import os
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pellucid.errors import PellucidError
from pellucid.files import make_folder
from pellucid.folders import remove_folder
from pellucid.locks import is_locked
from pellucid.runs.files import METRICS, RUN_FILE
from pellucid.serve.http.keys import ANONYMOUS
from pellucid.serve.tuning.database import Database, TableRow, as_json, from_json
from pellucid.serve.tuning.files import RESULTS, FileStore
from pellucid.serve.tuning.jobs import ENDED, JobSettings, JobStore
from pellucid.serve.tuning.process import JobProcess, end_orphan
from pellucid.serve.tuning.progress import RunProgress, results_csv
from pellucid.serve.tuning.settings import TuningSettings
from pellucid.serve.tuning.worker import ANSWERS, GRACE
from pellucid.strict_json import read_json


LOG = logging.getLogger("pellucid.serve")
RUNS = "runs"
LOOK = 0.2  # seconds between looks at the runs
IDLE = 60.0  # the same where no job runs: files expire
RETRY = 2.0  # seconds after which what the disk or the database refused is tried again
FAILED_KEEPS = (RUN_FILE, METRICS)  # files of a run that are kept where the job has no model
# Names that are made here, in the folder of runs and in that of an owner: others are left alone.
_OWNER = re.compile(rf"{ANONYMOUS}|key[0-9a-f]{{24}}")
_OURS = re.compile(r"(ftjob|ft)-[0-9a-f]{24}(\.log)?|\.pellucid-[0-9a-f]{16}\.part")
ORPHAN = GRACE + 5.0  # seconds after which the process of a job whose server was killed has not ended by itself
MOST_FAULTS = 3  # looks at a job that may fail by a fault of the server's own before the job has failed


class _Running:
    """A job whose process runs, or is about to: another process may still hold its run."""

    def __init__(self, job: TableRow, run: Path, progress: RunProgress) -> None:
        self.job, self.run, self.progress = job, run, progress
        self.process: JobProcess | None = None
        self.since, self.faults = time.monotonic(), 0

    @property
    def log(self) -> Path:
        """What its process writes."""
        return log_of(self.run)


class JobScheduler:
    """Runs jobs.

    Args:
        database, jobs, files: the tables. data: the folder. settings: how many at once, how many threads each.
    """

    def __init__(self, database: Database, jobs: JobStore, files: FileStore, data: Path, settings: TuningSettings) -> None:
        self._database, self._jobs, self._files, self._settings = database, jobs, files, settings
        self._folder = data / RUNS
        make_folder(self._folder)
        self._lock = threading.RLock()
        self._running: dict[str, _Running] = {}
        self._recovered = False
        self._news, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="pellucid jobs", daemon=True)

    def run_of(self, job: TableRow) -> Path:
        """The directory of a job's run."""
        return self._folder / str(job["owner"]) / str(job["id"])

    def runs_of(self, owner: str) -> Path:
        """The folder of an owner's runs, which is made if it is not there."""
        folder = self._folder / owner
        make_folder(folder)
        return folder

    def start(self) -> None:
        """Starts it. Jobs that ran when the server ended wait again; on a full disk, once there is room."""
        self._try(self._recover)
        self._thread.start()

    def _recover(self) -> None:
        self._database.freeing(self._wait_again)
        self._remove_leftovers()
        self._recovered = True

    def _wait_again(self) -> None:
        why = "The server was started again: the job goes on from its last checkpoint"
        with self._database.changing():
            for job in self._jobs.interrupted():
                self._jobs.progress(job["id"], starts=job["starts"] - 1)  # that was not the job's fault
                self._jobs.wait_again(job["id"], why, f"restart-{time.time_ns()}")

    def _remove_leftovers(self) -> None:
        """Removes the runs of jobs that a kill kept from being removed."""
        status = self._jobs.statuses()
        owners = [path for path in self._folder.iterdir() if _OWNER.fullmatch(path.name) and not path.is_symlink()]
        runs = [run for owner in owners for run in owner.iterdir() if _OURS.fullmatch(run.name)]
        with self._database.changing():
            for run in runs:
                ended = status.get(run.name)
                if run.suffix == ".log":
                    if status.get(run.stem) in (None, *ENDED):
                        run.unlink()
                elif ended in ("failed", "cancelled"):
                    self._jobs.progress(run.name, bytes=keep_losses(run))
                elif ended is None or (ended == "succeeded" and not self._jobs.has_model(run.name)):
                    shutil.rmtree(run, ignore_errors=True)

    def notify(self) -> None:
        """There is a new job."""
        self._news.set()

    def stop_job(self, job: TableRow) -> None:
        """Ends the process of a job that was cancelled, at once, and removes what its run has of models."""
        run = self.run_of(job)
        with self._lock:
            running = self._running.pop(job["id"], None)
            if running is not None and running.process is not None:
                running.process.kill()
            else:
                end_orphan(log_of(run))
            kept = keep_losses(run)
            self._database.freeing(lambda: self._jobs.progress(job["id"], bytes=kept))
            self._database.restore_reserve()
        self.notify()

    def remove_run(self, job: TableRow) -> None:
        """Removes the run of a job that has ended."""
        with suppress(FileNotFoundError):
            remove_folder(self.run_of(job))

    def running_pids(self) -> list[int]:
        """The ids of the jobs' processes that run."""
        with self._lock:
            return [one.process.pid for one in self._running.values() if one.process is not None and one.process.running]

    def close(self) -> None:
        """Asks the processes to save a checkpoint and to end, and waits for that; the jobs go on when the server is started."""
        self._closing.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            processes = [one.process for one in self._running.values() if one.process is not None]
            for process in processes:
                process.ask_to_end()
            deadline = time.monotonic() + GRACE
            for process in processes:
                if not process.wait(max(0.0, deadline - time.monotonic())):
                    process.kill()
            self._running.clear()

    def _work(self) -> None:
        while not self._closing.is_set():
            with self._lock:
                good = (self._recovered or self._try(self._recover)) and self._try(self._begin_waiting)
                for running in list(self._running.values()):
                    good &= self._try(self._look_or_fail, running)  # each apart: one that fails keeps no other from ending
                wait = LOOK if self._running else IDLE
            good &= self._try(self._files.delete_expired)
            self._database.restore_reserve()
            self._news.wait(wait if good else RETRY)
            self._news.clear()

    def _try(self, function: Callable[..., None], *given: _Running) -> bool:
        """Calls a function, which is called again later where it fails. Returns whether it did not."""
        try:
            function(*given)
        except (PellucidError, OSError, sqlite3.Error) as error:  # such as a full disk
            LOG.error("jobs wait: %s", error)
            return False
        except Exception:
            LOG.exception("jobs wait")
            return False
        return True

    def _begin_waiting(self) -> None:
        while len(self._running) < self._settings.at_once and not self._closing.is_set():
            job = self._jobs.next_waiting()
            if job is None:
                return
            begun = self._jobs.begin(job)
            if begun is not None:
                run = self.run_of(begun)
                self._running[begun["id"]] = _Running(begun, run, RunProgress(self._jobs, begun["id"], run))

    def _look_or_fail(self, running: _Running) -> None:
        """Looks at a job. One whose looks fail by a fault of the server's own has failed: it would keep all others waiting."""
        try:
            self._look(running)
        except (PellucidError, OSError, sqlite3.Error):
            raise
        except Exception:
            running.faults += 1
            if running.faults < MOST_FAULTS:
                raise
            LOG.exception("job %s has failed", running.job["id"])
            if running.process is not None:
                running.process.kill()
            self._fail(running, "the server could not follow it; its log says why")
            self._running.pop(running.job["id"], None)

    def _look(self, running: _Running) -> None:
        """Looks at a job: starts its process, tells what is new, and ends it when its process has ended."""
        if self._jobs.job(running.job["id"])["status"] in ENDED:  # cancelled meanwhile
            self.stop_job(running.job)
            return
        if running.process is None:
            if not is_locked(running.run):  # else the process of a server that was killed is saving its checkpoint
                self._start_process(running)
            elif time.monotonic() - running.since > ORPHAN:  # or hangs
                end_orphan(running.log)
            return
        ended = not running.process.running  # before the run is looked at: then nothing of it is missed
        try:
            with self._database.changing():
                told = running.progress.look()
        except BaseException:
            running.progress = RunProgress(self._jobs, running.job["id"], running.run)  # what it told was undone: all again
            raise
        if not ended or not told:
            return
        process, id = running.process, running.job["id"]
        process.ask_to_end()  # which closes its pipe
        if process.done:
            self._succeed(running)
        elif process.failed:
            self._fail(running, process.reason)
        else:
            self._again(running)
        self._running.pop(id, None)
        self._news.set()

    def _start_process(self, running: _Running) -> None:
        job, settings = running.job, JobSettings(**from_json(running.job["settings"]))
        make_folder(running.run.parent)
        try:
            files = [
                None if name is None else str(self._files.path(self._files.find(job["owner"], name)).absolute())
                for name in (settings.training_file, settings.validation_file)
            ]
        except PellucidError as error:
            self._fail(running, str(error))
            self._running.pop(job["id"])
            return
        asked: dict[str, Any] = {
            "examples": files[0], "held_out": files[1], "out": str(running.run.absolute()), "source": settings.source,
            "seed": settings.seed, "options": settings.options, "threads": self._settings.threads,
            "niceness": self._settings.niceness,
        }  # fmt: skip
        running.process = JobProcess(asked, running.log)

    def _succeed(self, running: _Running) -> None:
        id, run = running.job["id"], running.run
        answers = None
        with suppress(OSError, PellucidError):
            answers = as_json(read_json(run / ANSWERS))
        upload = self._files.begin(running.job["owner"], result=True)
        try:
            results = []
            with suppress(PellucidError):  # no room for it: the model is what counts
                for part in results_csv(run):
                    upload.write(part)
                upload.close()
                results = [upload]
            with self._database.changing():
                job = self._jobs.job(id)
                if job["status"] in ENDED:  # cancelled since its process ended: it has no model
                    return
                rows = [one.finish("step_metrics.csv", RESULTS, "processed", {}) for one in results]
                self._jobs.add_model(job)
                model = JobSettings(**from_json(job["settings"])).model
                self._jobs.add_event(id, "model", f"New fine-tuned model created: {model}")
                self._jobs.end(
                    id, "succeeded", "The job has successfully completed", answers=answers, bytes=size_of(run),
                    result_files=as_json([row["id"] for row in rows]),
                )  # fmt: skip
        finally:
            upload.drop()
        with suppress(OSError):
            running.log.unlink()

    def _fail(self, running: _Running, reason: str) -> None:
        settings = JobSettings(**from_json(running.job["settings"]))
        for place, name in ((settings.source, settings.base), (f"{self._folder.parent.absolute()}{os.sep}", "")):
            if os.path.isabs(place):
                reason = reason.replace(place, name)  # where the server keeps it is its own affair
        kept = keep_losses(running.run)  # first: a full disk has room again for what is told
        error = {"code": "job_failed", "message": reason, "param": None}
        told = f"The job failed: {reason}"
        self._database.freeing(lambda: self._jobs.end(running.job["id"], "failed", told, error=error, bytes=kept))

    def _again(self, running: _Running) -> None:
        """The process was ended by a signal, or saved its state: another goes on, unless none of several came any further."""
        assert running.process is not None
        job = self._jobs.job(running.job["id"])
        came_further = job["step"] > running.job["step"]
        starts = 1 if came_further else job["starts"]
        if starts >= self._settings.lost_starts:
            why = f"{running.process.reason}, {starts} times, before it came any further"
            self._fail(running, f"{why}: if memory is short, choose a smaller batch_size or a smaller model")
            return
        self._jobs.progress(job["id"], starts=starts)
        why = f"The job goes on from its last checkpoint: {running.process.reason}"
        self._jobs.wait_again(job["id"], why, f"lost-{time.time_ns()}")


def keep_losses(run: Path) -> int:
    """Removes everything of a run but its plan and its losses: the job has no model. Returns the bytes that are left."""
    with suppress(FileNotFoundError):
        log_of(run).unlink()
    if run.is_symlink() or not run.is_dir():
        return 0
    for path in run.iterdir():
        if path.name in FAILED_KEEPS:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()
    return size_of(run)


def log_of(run: Path) -> Path:
    """The file of what the process of a run writes."""
    return run.with_name(f"{run.name}.log")


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
