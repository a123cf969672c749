"""Files, jobs, models and records without HTTP: locks, transactions that fail, what is bounded."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from serving import until
from tuning import EXAMPLES, jsonl

from pellucid.errors import PellucidError
from pellucid.record import SUFFIX
from pellucid.runs.files import METRICS, RUN_FILE, step_name
from pellucid.serve.openai.models import ServedModel
from pellucid.serve.openai.recording import delete_oldest
from pellucid.serve.studio.loaded_model import BusyError, LoadedModels, ModelCache
from pellucid.serve.tuning import check, progress, tuned_models
from pellucid.serve.tuning.check import FileChecker
from pellucid.serve.tuning.database import FILE, Database, NotThere, Refused, StorageFailed, TableRow
from pellucid.serve.tuning.files import FILES, PURPOSE, FileStore, Upload
from pellucid.serve.tuning.jobs import JobSettings, JobStore
from pellucid.serve.tuning.progress import RunProgress, results_csv
from pellucid.serve.tuning.scheduler import JobScheduler, _Running
from pellucid.serve.tuning.settings import TuningSettings
from pellucid.serve.tuning.tuned_models import ModelsInUse, TunedModels


SETTINGS = TuningSettings(ended_jobs=2, open_models=2, models=9)


class Stores:
    """The stores over one folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.database = Database(data / FILE)
        self.files = FileStore(self.database, data, SETTINGS)
        self.jobs = JobStore(self.database, SETTINGS)
        self.scheduler = JobScheduler(self.database, self.jobs, self.files, data, SETTINGS)

    def upload(self, owner: str = "ada") -> Upload:
        upload = self.files.begin(owner)
        upload.write(b"some bytes")
        upload.close()
        return upload

    def job(self, owner: str = "ada", base: str = "tiny") -> TableRow:
        number = len(self.jobs.statuses())
        settings = JobSettings(base=base, source=base, model=f"m{number}", training_file="file-none")
        return self.jobs.create(owner, "jobs", settings, 100)

    def succeeded(self, owner: str = "ada") -> TableRow:
        job = self.job(owner)
        self.jobs.add_model(job)
        self.jobs.end(job["id"], "succeeded", "done", bytes=1)
        return self.jobs.job(job["id"])

    @property
    def stored(self) -> int:
        return len(list((self.data / FILES).iterdir()))


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    found = Stores(tmp_path)
    yield found
    found.database.close()


def test_bytes_that_arrive_and_a_result_that_is_added_do_not_wait_for_each_other(stores: Stores) -> None:
    """A job's end adds its result within a transaction, while an upload counts what its owner has."""
    arriving, result = stores.files.begin("ada"), stores.upload()
    begun = threading.Event()

    def write() -> None:
        begun.set()
        arriving.write(b"more")

    writing = threading.Thread(target=write, daemon=True)

    def end_job() -> None:
        with stores.database.changing():
            writing.start()
            begun.wait()
            threading.Event().wait(0.05)  # by now it waits for this transaction
            result.finish("r.csv", PURPOSE, "processed", {})

    ending = threading.Thread(target=end_job, daemon=True)
    ending.start()
    ending.join(20)
    writing.join(20)
    assert not ending.is_alive() and not writing.is_alive()
    assert stores.files.used("ada") == len(b"some bytes")
    arriving.drop()
    result.drop()
    assert stores.stored == 1


def test_a_transaction_that_fails_leaves_no_bytes_of_the_file_it_added(stores: Stores) -> None:
    upload = stores.upload()
    with pytest.raises(RuntimeError), stores.database.changing():
        upload.finish("a.jsonl", PURPOSE, "processed", {})
        raise RuntimeError
    upload.drop()
    assert stores.stored == 0 and stores.files.used("ada") == 0
    kept = stores.upload()
    kept.finish("a.jsonl", PURPOSE, "processed", {})
    kept.drop()
    assert stores.stored == 1


def test_a_table_that_cannot_be_read_or_written_is_the_servers_fault(stores: Stores, tmp_path: Path) -> None:
    stores.database.insert("files", id="a", owner="ada", filename="", purpose="", bytes=1, created=0, stored="a", status="",
                           report="{}")  # fmt: skip
    stores.database._connection.execute("ALTER TABLE files RENAME TO others")
    with pytest.raises(StorageFailed, match="cannot be read"):
        stores.files.used("ada")
    with pytest.raises(StorageFailed, match="cannot be written"):
        stores.database.delete("files", "id = ?", "a")
    stores.database._connection.execute(f"PRAGMA max_page_count = {len((tmp_path / FILE).read_bytes()) // 4096 + 12}")
    with pytest.raises(StorageFailed, match="full; make room on the disk of --data"):
        stores.database.update("others", "id = ?", ["a"], report="x" * 1_000_000)
    assert stores.database.rows("SELECT report FROM others") == [{"report": "{}"}]


def test_a_job_that_is_cancelled_as_its_process_ends_makes_no_model(stores: Stores) -> None:
    job = stores.jobs.begin(stores.job())
    assert job is not None and not stores.jobs.begin(job)
    run = stores.scheduler.run_of(job)
    run.mkdir(parents=True)
    for name in (RUN_FILE, METRICS, "weights"):
        (run / name).write_text("12345\n")
    running = _Running(job, run, RunProgress(stores.jobs, job["id"], run))
    cancelled = stores.jobs.cancel("ada", job["id"])
    stores.scheduler._succeed(running)
    assert stores.jobs.models("ada") == [] and stores.stored == 0
    stores.scheduler.stop_job(cancelled)
    assert {path.name for path in run.iterdir()} == {RUN_FILE, METRICS}
    assert stores.jobs.job(job["id"])["bytes"] == 12 == stores.files.used("ada")  # what is left counts


def test_the_oldest_jobs_without_a_model_are_forgotten(stores: Stores) -> None:
    ended = []
    for _ in range(5):
        ended.append(stores.job()["id"])
        stores.jobs.cancel("ada", ended[-1])
    kept = [stores.succeeded()["id"], stores.job()["id"]]
    bob = stores.job("bob")["id"]
    stores.jobs.cancel("bob", bob)
    gone = stores.jobs.forget_oldest("ada")
    assert {job["id"] for job in gone} == set(ended[:3]) and stores.jobs.forget_oldest("ada") == []
    assert set(stores.jobs.statuses()) == {*ended[3:], *kept, bob}
    assert stores.database.rows("SELECT * FROM events WHERE job = ?", ended[0]) == []
    with pytest.raises(NotThere):
        stores.jobs.find("ada", ended[0])


def test_keys_take_turns_and_what_was_interrupted_goes_first(stores: Stores) -> None:
    first, second, other = stores.job()["id"], stores.job()["id"], stores.job("bob")["id"]

    def begun() -> str:
        waiting = stores.jobs.next_waiting()
        assert waiting is not None
        job = stores.jobs.begin(waiting)
        assert job is not None
        return str(job["id"])

    assert begun() == first
    stores.jobs.wait_again(first, "the server was started again", "restart-1")
    assert begun() == first and begun() == other and begun() == second
    assert stores.jobs.next_waiting() is None


def test_a_clock_that_is_set_back_changes_no_turn(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [2_000_000_000]
    monkeypatch.setattr("pellucid.serve.tuning.jobs.now", lambda: clock[0])
    jobs = [stores.job(owner)["id"] for owner in ("ada", "ada", "bob", "bob")]
    begun = []
    for _ in jobs:
        waiting = stores.jobs.next_waiting()
        assert waiting is not None and stores.jobs.begin(waiting)
        begun.append(waiting["owner"])
        clock[0] -= 10_000
    assert begun == ["ada", "bob", "ada", "bob"]


@pytest.mark.parametrize("base", ["{model}", "{model}:ckpt-step-6"])
def test_a_model_that_a_waiting_job_begins_with_is_not_deleted(stores: Stores, base: str) -> None:
    model = stores.succeeded()["model"]
    waiting = stores.job(base=base.format(model=model))["id"]
    with pytest.raises(Refused, match=f"what {waiting} begins with"):
        stores.jobs.delete_model("ada", model)
    stores.jobs.cancel("ada", waiting)
    stores.jobs.delete_model("ada", model)


def write_run(run: Path, steps: int) -> None:
    run.mkdir(parents=True)
    (run / RUN_FILE).write_text("{}")
    line = {"lr": 0.1, "grad_norm": 1.0, "tokens_per_s": 1.0}
    lines = [{"step": 0, "tokens": 0, "held_out_loss": 9.5, "bits_per_byte": 1.0, "right": 0, "examples": 3}]
    lines += [{"step": step, "tokens": 2 * step, "loss": 1 / step, **line} for step in range(1, steps + 1)]
    lines.append(lines[0] | {"step": steps, "tokens": 2 * steps, "held_out_loss": 0.5, "right": 2})
    (run / METRICS).write_text("".join(json.dumps(one) + "\n" for one in lines))
    (run / "checkpoints" / step_name(steps)).mkdir(parents=True)


@pytest.mark.parametrize("steps", [1, 200, 201, 399, 1234])
def test_a_run_is_told_whole_in_parts_and_in_at_most_200_steps(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    run, job = tmp_path / "run", stores.job()["id"]
    write_run(run, steps)
    monkeypatch.setattr(progress, "read_shown_plan", lambda _: {"total_steps": steps})
    monkeypatch.setattr(progress, "MOST_READ", 20_000)
    monkeypatch.setattr(progress, "MOST_LOSSES", 50)
    following = RunProgress(stores.jobs, job, run)
    looks = 1
    with stores.database.changing():
        while not following.look():
            assert not stores.jobs.checkpoint(job, steps)  # its loss may be among what was not read
            looks += 1
    assert looks == 1 + (run / METRICS).stat().st_size // 20_000 and len(following._losses) <= 50
    told = [json.loads(row["data"]) for row in stores.jobs.events_since(job, 0)]
    trained = [one["step"] for one in told if "train_loss" in one]
    assert min(steps, 100) <= len(set(trained)) <= 200 and trained[-1] == steps
    (checkpoint,), _ = stores.jobs.checkpoints(job, after=None, limit=9)
    assert json.loads(checkpoint["metrics"]) == {
        "step": steps, "train_loss": 1 / steps, "valid_loss": 0.5, "valid_right": 2, "valid_examples": 3,
    }  # fmt: skip
    rows = b"".join(results_csv(run)).decode().splitlines()
    assert len(rows) == steps + 2 and rows[1] == "0,,9.5,0,0,3" and rows[-1] == f"{steps},{1 / steps},0.5,{2 * steps},2,3"
    assert stores.jobs.job(job)["step"] == steps


def test_what_a_full_disk_kept_from_being_told_is_told_later(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = stores.jobs.begin(stores.job())
    assert job is not None
    stores.jobs.add_checkpoint(job["id"], 2, {"step": 2})  # which the run removed while no server looked
    run = stores.scheduler.run_of(job)
    write_run(run, 5)
    monkeypatch.setattr(progress, "read_shown_plan", lambda _: {"total_steps": 5})
    running = _Running(job, run, RunProgress(stores.jobs, job["id"], run))
    running.process = cast(Any, SimpleNamespace(running=True))
    add = stores.jobs.add_checkpoint

    def refuse(*given: Any) -> None:
        raise StorageFailed("full")

    monkeypatch.setattr(stores.jobs, "add_checkpoint", refuse)
    before = stores.jobs.events_since(job["id"], 0)
    for _ in range(2):
        with pytest.raises(StorageFailed):
            stores.scheduler._look(running)
    assert stores.jobs.events_since(job["id"], 0) == before
    monkeypatch.setattr(stores.jobs, "add_checkpoint", add)
    stores.scheduler._look(running)
    told = [row["name"] for row in stores.jobs.events_since(job["id"], 0)[len(before) :]]
    assert told == ["validated", "held-out-0", *(f"step-{n}" for n in range(1, 6)), "held-out-5", "checkpoint-5"]
    assert stores.jobs.checkpoint_steps(job["id"]) == {5}


@pytest.mark.parametrize("name", ["ft:tiny:ada:ckpt-step-5:6d15720e", "tiny:ft-ada:ckpt-step-5-2026-11-30-18-00-00-6d15720e"])
def test_a_suffix_may_look_like_a_checkpoint(stores: Stores, name: str) -> None:
    settings = JobSettings(base="tiny", source="tiny", model=name, training_file="file-none", suffix="ckpt-step-5")
    job = stores.jobs.create("ada", "jobs", settings, 100)
    stores.jobs.add_model(job)
    stores.jobs.end(job["id"], "succeeded", "done")
    stores.jobs.add_checkpoint(job["id"], 6, {})
    models = TunedModels(stores.jobs, stores.scheduler.run_of, cast(Any, None), SETTINGS)
    run = stores.scheduler.run_of(job)
    assert models.source("ada", name)[0] == run and models.source("ada", f"{name}:ckpt-step-6")[0].parent.parent == run
    for other in (f"{name}:ckpt-step-5", f"{name}:ckpt-step-", name.rpartition(":ckpt")[0], f"{name}:ckpt-step-６"):
        with pytest.raises(NotThere):
            models.source("ada", other)


class FakeLine:
    used = waiting = 0


class FakeModel:
    def __init__(self) -> None:
        self.line, self.closed = FakeLine(), False

    def close(self) -> None:
        self.closed = True


def test_no_more_models_are_open_than_may_be(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(tuned_models.time, "monotonic", lambda: clock[0])
    opened: dict[str, FakeModel] = {}

    def open_model(id: str, directory: Path, owner: str, created: int) -> ServedModel:
        opened[id] = FakeModel()
        return cast(ServedModel, opened[id])

    models = TunedModels(stores.jobs, stores.scheduler.run_of, open_model, SETTINGS)
    a, b, c = (stores.succeeded()["model"] for _ in range(3))
    models.find("ada", a)
    models.find("ada", b)
    with pytest.raises(ModelsInUse, match="2 fine-tuned models are in use"):
        models.find("ada", c)
    assert c not in opened
    clock[0] = 60.0
    opened[a].line.used = 1  # it answers, though it was asked for long ago
    models.find("ada", c)
    assert (opened[a].closed, opened[b].closed) == (False, True)
    with pytest.raises(NotThere):
        models.find("bob", a)
    stores.jobs.delete_model("ada", c)
    models.remove(c)
    assert opened[c].closed
    with pytest.raises(NotThere):
        models.find("ada", c)


class FakeLoaded:
    def __init__(self) -> None:
        self.users, self.closed = 0, False

    def close(self) -> None:
        self.closed = True


def test_studios_give_up_the_model_that_was_used_longest_ago() -> None:
    shared = LoadedModels(2)
    caches = [ModelCache(shared) for _ in range(3)]
    loaded = [FakeLoaded() for _ in caches]

    def use(number: int) -> None:
        shared.use(caches[number])
        caches[number].loaded = cast(Any, loaded[number])

    use(0)
    use(1)
    use(0)
    use(2)
    assert [one.closed for one in loaded] == [False, True, False] and caches[1].loaded is None
    loaded[0].users = loaded[2].users = 1
    with pytest.raises(BusyError, match="2 other keys' studios are in use"):
        use(1)
    use(2)  # its own
    loaded[0].users = 0
    use(1)
    assert loaded[0].closed and not loaded[2].closed


def test_the_oldest_records_of_a_folder_go_and_the_newest_stays(tmp_path: Path) -> None:
    for number, size in enumerate((50, 40, 30, 20)):
        path = tmp_path / f"{9 - number}{SUFFIX}"
        path.write_bytes(bytes(size))
        os.utime(path, (number, number))
    (tmp_path / "other.txt").write_bytes(bytes(500))
    for most, left in ((1000, 4), (95, 3), (89, 2), (10, 1)):
        delete_oldest(tmp_path, most)
        assert len(list(tmp_path.glob(f"*{SUFFIX}"))) == left
    assert (tmp_path / f"6{SUFFIX}").exists() and (tmp_path / "other.txt").exists()
    newest = tmp_path / f"0{SUFFIX}"
    newest.write_bytes(bytes(10))
    os.utime(newest, (1, 1))  # the clock was set back
    delete_oldest(tmp_path, 15, newest=newest)
    assert [path.name for path in tmp_path.glob(f"*{SUFFIX}")] == [newest.name]


def test_a_check_ends_when_the_server_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "INLINE", -1)
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl(EXAMPLES))
    checker = FileChecker()
    failed: list[str] = []

    def run() -> None:
        try:
            checker.check(path, "a.jsonl")
        except PellucidError as error:
            failed.append(str(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    until(lambda: checker._processes)
    checker.close()
    thread.join(20)
    assert "was ended" in failed[0]
    with pytest.raises(PellucidError, match="the server is ending"):
        checker.check(path, "a.jsonl")
