"""The folder of fine-tuning: a disk that is full, a folder that is somebody's own, what a killed server left."""

import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from serving import until
from test_tuning_jobs import KilledService
from test_tuning_stores import SETTINGS, Stores
from tuning import EXAMPLES, Caller, jsonl, tuning_of

from pellucid.errors import PellucidError
from pellucid.serve.tuning import check, reserve, worker
from pellucid.serve.tuning.check import FileChecker
from pellucid.serve.tuning.database import FILE, Database, DiskFull, StorageFailed
from pellucid.serve.tuning.files import FILES, PURPOSE
from pellucid.serve.tuning.process import PROCESSES, JobProcess
from pellucid.serve.tuning.progress import RunProgress
from pellucid.serve.tuning.reserve import Reserve
from pellucid.serve.tuning.scheduler import MOST_FAULTS, ORPHAN, RUNS, _Running, log_of
from pellucid.serve.tuning.service import TuningService


class FullDisk:
    """A connection to a database whose disk has no room while the reserve is there, or at all (`room` is False)."""

    def __init__(self, connection: sqlite3.Connection, kept: Path) -> None:
        self._connection, self._kept, self.room = connection, kept, True

    def execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor:
        if statement.startswith(("INSERT", "UPDATE", "DELETE")) and (self._kept.exists() or not self.room):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return self._connection.execute(statement, values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    found = Stores(tmp_path)
    yield found
    found.database.close()


def test_what_makes_room_works_on_a_full_disk_and_nothing_else_does(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = stores.upload()
    file = upload.finish("a.jsonl", PURPOSE, "processed", {})["id"]
    upload.drop()
    waiting, failing, begun = stores.job(), stores.job(), stores.jobs.begin(stores.job())
    model = stores.succeeded()["model"]
    kept = stores.data / reserve.FILE
    full = FullDisk(stores.database._connection, kept)
    monkeypatch.setattr(stores.database, "_connection", cast(sqlite3.Connection, full))
    assert begun is not None and kept.stat().st_size == reserve.BYTES
    with pytest.raises(DiskFull, match="make room on the disk of --data"):
        stores.job()
    for free in (
        lambda: stores.files.delete("ada", file), lambda: stores.jobs.delete_model("ada", model),
        lambda: stores.scheduler.stop_job(stores.jobs.cancel("ada", waiting["id"])), stores.scheduler._recover,
    ):  # fmt: skip
        free()
        assert kept.stat().st_size == reserve.BYTES  # for the next
    assert stores.stored == 0 and stores.jobs.models("ada") == []
    assert stores.jobs.statuses()[waiting["id"]] == "cancelled" and stores.jobs.statuses()[begun["id"]] == "queued"
    full.room = False
    with pytest.raises(DiskFull):
        stores.jobs.cancel("ada", failing["id"])
    full.room = True
    stores.jobs.cancel("ada", failing["id"])


def test_a_reserve_is_as_large_as_the_disk_has_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room, kept = [2], tmp_path / reserve.FILE

    def sync(file: Any) -> None:
        if not room[0]:
            raise OSError(28, "No space left on device")
        room[0] -= 1
        file.flush()

    monkeypatch.setattr(reserve, "sync_file", sync)
    found = Reserve(tmp_path)
    assert not found.give_up()
    found.restore()
    assert 2 * reserve.PART <= kept.stat().st_size < reserve.BYTES
    assert found.give_up() and not kept.exists() and not found.give_up()
    room[0] = 100
    found.restore()
    assert kept.stat().st_size == reserve.BYTES and Reserve(tmp_path).give_up()


def test_a_server_starts_on_a_full_disk_and_its_jobs_go_on_when_there_is_room(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = stores.jobs.begin(stores.job())
    assert begun is not None
    full = FullDisk(stores.database._connection, stores.data / reserve.FILE)
    monkeypatch.setattr(stores.database, "_connection", cast(sqlite3.Connection, full))
    monkeypatch.setattr("pellucid.serve.tuning.scheduler.RETRY", 0.01)
    monkeypatch.setattr(stores.scheduler, "_begin_waiting", lambda: None)
    full.room = False
    stores.scheduler.start()
    until(lambda: not stores.scheduler._recovered)
    assert stores.jobs.job(begun["id"])["status"] == "running"
    full.room = True
    until(lambda: stores.scheduler._recovered)
    assert stores.jobs.job(begun["id"])["status"] == "queued"
    stores.scheduler.close()


def test_a_database_that_is_damaged_is_the_servers_fault(stores: Stores) -> None:
    stores.database._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = stores.data / FILE
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    other = Database.__new__(Database)
    other.lock, other._depth = threading.RLock(), 0
    other._connection = sqlite3.connect(path)
    with pytest.raises(StorageFailed, match="cannot be read: database disk image is malformed"):
        other.rows("SELECT * FROM files")
    with pytest.raises(StorageFailed, match="cannot be written"):
        other.delete("files", "id = ?", "a")
    other.close()


def open_service(data: Path) -> TuningService:
    return TuningService(data, SETTINGS, cast(Any, None))


@pytest.mark.parametrize("place", [f"{FILES}/thesis.txt", f"{RUNS}/book/run.json", f"{RUNS}/{'a' * 32}"])
def test_a_folder_that_is_somebodys_own_is_refused_and_left_as_it_is(tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(PellucidError, match=re.escape(f"no {FILE}: name a folder of the service's own with --data")):
        open_service(tmp_path)
    assert path.read_text() == "mine" and not (tmp_path / FILE).exists()


def test_only_what_was_made_here_is_removed_as_left_over(tmp_path: Path) -> None:
    open_service(tmp_path).close()
    owner, away, part = f"key{'5' * 24}", tmp_path / "away", f".pellucid-{'a' * 16}.part"
    made = [f"{FILES}/{'a' * 32}", f"{FILES}/{'b' * 32}.mended", f"{FILES}/{part}"]
    runs = [f"{RUNS}/{owner}/ftjob-{'1' * 24}/w", f"{RUNS}/anonymous/ft-{'2' * 24}/w", f"{RUNS}/{owner}/{part}/w"]
    logs = [f"{RUNS}/{owner}/ftjob-{'1' * 24}.log"]
    others = [f"{FILES}/thesis.txt", f"{FILES}/more/a", f"{RUNS}/book/model/w", f"{RUNS}/{owner}/mine/w", "away/w"]
    others += [f"away/ftjob-{'3' * 24}/w"]
    for name in (*made, *runs, *logs, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / RUNS / f"key{'6' * 24}").symlink_to(away)
    (tmp_path / RUNS / owner / f"ftjob-{'4' * 24}").symlink_to(away)
    (tmp_path / FILES / ("c" * 32)).symlink_to(away / "w")
    service = open_service(tmp_path)
    service.start()
    service.close()
    assert not [name for name in (*made, *runs, *logs) if (tmp_path / name).exists()]
    assert [name for name in others if (tmp_path / name).exists()] == others


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.long
def test_a_really_full_disk_loses_nothing_and_all_is_well_when_there_is_room(tiny_run: Path, small_disk: Path) -> None:
    server = KilledService(tiny_run, small_disk / "data")
    server.start()
    ada = Caller(server)  # type: ignore[arg-type]
    filling = small_disk / "others"

    def fill() -> None:
        with open(filling, "ab", buffering=0) as file:
            for size in (1 << 16, 1 << 6):
                with suppress(OSError):
                    while file.write(bytes(size)):
                        pass

    try:
        files = [ada.upload()["id"] for _ in range(3)]
        made = ada.ended(ada.job(files[0], hyperparameters={"n_epochs": 1})["id"])
        long = ada.job(ada.upload(jsonl(EXAMPLES * 40))["id"], hyperparameters={"n_epochs": 50, "batch_size": 1})["id"]
        later = ada.job(files[0], hyperparameters={"n_epochs": 1})["id"]
        until(lambda: ada.get(f"/v1/fine_tuning/jobs/{long}")["x_step"] > 2, 12_000)
        listed = [one["id"] for one in ada.pages("/v1/files", 10)]
        for started_again in (False, True):
            fill()
            if started_again:
                server.kill()
                server.start()
            for answer in (
                ada.send(jsonl(EXAMPLES)), ada.send(jsonl(EXAMPLES * 1000)), ada(f"/v1/files/{files[0]}/x_mend", "POST", {}),
                ada("/v1/fine_tuning/jobs", "POST", {"model": "tiny", "training_file": files[0]}),
            ):  # fmt: skip
                error = answer.json()["error"]
                assert answer.status == 500 and error["message"].endswith("make room on the disk of --data"), error
                assert str(small_disk) not in error["message"]
            assert [one["id"] for one in ada.pages("/v1/files", 10)] == listed
            assert ada.post("/v1/completions", {"model": made["fine_tuned_model"], "prompt": "the", "max_tokens": 1})["choices"]
            if not started_again:
                assert ada.post(f"/v1/fine_tuning/jobs/{long}/cancel")["status"] == "cancelled"
                fill()
            removed = files.pop()
            assert ada(f"/v1/files/{removed}", "DELETE").json()["deleted"]
            listed.remove(removed)
        fill()
        assert ada(f"/v1/models/{made['fine_tuned_model']}", "DELETE").json()["deleted"]
        filling.unlink()
        assert ada.ended(later)["status"] == "succeeded"
        listed.append(ada.upload()["id"])
        assert {one["id"] for one in ada.pages("/v1/files", 10)} >= {*listed}
        until(lambda: os.path.getsize(small_disk / "data" / reserve.FILE) == reserve.BYTES)
    finally:
        server.kill()


def test_what_somebody_took_from_the_folder_is_said_without_its_place(
    tiny_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tuning_of(tiny_run, tmp_path / "data", at_once=0) as service:
        ada = Caller(service)
        file = ada.upload()["id"]
        assert service.tuning is not None
        jobs, files = service.tuning.jobs, service.tuning.files
        row = jobs.job(ada.job(file)["id"])
        jobs.add_model(row)
        jobs.end(row["id"], "succeeded", "done")
        model = jobs.models(row["owner"])[0]["id"]
        files.path(files.find(row["owner"], file)).unlink()
        for answer in (
            ada(f"/v1/files/{file}/content"), ada(f"/v1/files/{file}/x_mend", "POST", {}),
            ada("/v1/completions", "POST", {"model": model, "prompt": "a"}),
            ada("/v1/fine_tuning/jobs", "POST", {"model": model, "training_file": file}),
        ):  # fmt: skip
            assert answer.status == 500 and b"had an error while processing" not in answer.body
            assert str(tmp_path) not in answer.body.decode() and b"/runs/" not in answer.body
        assert str(tmp_path) in caplog.text  # for whoever keeps the server
        job = jobs.begin(jobs.job(ada.job(ada.upload()["id"])["id"]))
        assert job is not None
        run = service.tuning.scheduler.run_of(job)
        service.tuning.scheduler._fail(_Running(job, run, cast(Any, None)), f"no model in {tiny_run.absolute()}: nor in {run}")
        told = f"no model in tiny: nor in runs/anonymous/{job['id']}"
        assert ada.get(f"/v1/fine_tuning/jobs/{job['id']}")["error"]["message"] == told
        for path in (f"/v1/files/{file}", f"/v1/models/{model}"):
            assert ada(path, "DELETE").json()["deleted"]


@pytest.mark.skipif(not PROCESSES.is_dir(), reason="no /proc here")
def test_a_process_that_outlives_its_server_is_ended(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hangs: it holds the lock of its run, and nobody has its pipe."""
    begun = stores.jobs.begin(stores.job())
    assert begun is not None
    run, other = stores.scheduler.run_of(begun), stores.data / "other.log"
    run.mkdir(parents=True)
    code = "import sys, time; from pathlib import Path; from pellucid.locks import locked\nwith locked(Path(sys.argv[1])):"
    code += " print(1, flush=True); time.sleep(600)"
    processes = []
    for log in (log_of(run), other):
        with open(log, "wb") as errors:
            words = [sys.executable, "-c", code, str(run if log != other else stores.data), worker.__name__]
            processes.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors))
    try:
        for process in processes:
            assert process.stdout is not None and process.stdout.readline()
        running = _Running(begun, run, RunProgress(stores.jobs, begun["id"], run))
        started: list[_Running] = []
        monkeypatch.setattr(stores.scheduler, "_start_process", started.append)
        stores.scheduler._look(running)
        assert processes[0].poll() is None and not started  # it may be saving a checkpoint
        running.since -= ORPHAN
        stores.scheduler._look(running)
        assert processes[0].wait(20) == -9 and processes[1].poll() is None  # the other is not this job's
        stores.scheduler._look(running)
        assert started == [running]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_job_that_cannot_be_followed_fails_and_keeps_no_other_waiting(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun = stores.jobs.begin(stores.job())
    assert begun is not None
    run = stores.scheduler.run_of(begun)
    running = stores.scheduler._running[begun["id"]] = _Running(begun, run, RunProgress(stores.jobs, begun["id"], run))

    def look(_: _Running) -> None:
        raise TypeError("a fault")

    monkeypatch.setattr(stores.scheduler, "_look", look)
    for _ in range(MOST_FAULTS):
        assert stores.jobs.job(begun["id"])["status"] == "running"
        assert stores.scheduler._try(stores.scheduler._look_or_fail, running) == (running.faults == MOST_FAULTS)
    assert stores.jobs.job(begun["id"])["status"] == "failed" and not stores.scheduler._running
    assert "a fault" in caplog.text


@pytest.mark.parametrize("inline", [True, pytest.param(False, marks=pytest.mark.long)], ids=["in the server", "in a process"])
def test_a_mended_file_that_cannot_be_written_is_the_servers_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inline: bool
) -> None:
    if not inline:
        monkeypatch.setattr(check, "INLINE", -1)
    path, checker = tmp_path / "a.jsonl", FileChecker()
    path.write_bytes(jsonl(EXAMPLES))
    with pytest.raises(StorageFailed, match=r"^cannot write the mended file: No such file or directory$"):
        checker.mend(path, tmp_path / "none" / "b.jsonl", "a.jsonl", None)
    with pytest.raises(PellucidError, match=r"a\.jsonl, line 1: not an example") as told:
        path.write_bytes(b"{}\n")
        checker.check(path, "a.jsonl")
    assert not isinstance(told.value, StorageFailed)


def test_a_process_that_had_no_room_for_its_reason_failed_by_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = JobProcess.__new__(JobProcess)
    done._log, done._process = tmp_path / "a.log", cast(Any, SimpleNamespace(poll=lambda: 1))
    done._log.write_bytes(b"")
    assert done.reason == "its process ended with status 1"
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    assert done.reason == "the disk is full; make room on the disk of --data"
    done._log.write_bytes(b"why\n")
    assert done.reason == "why"
