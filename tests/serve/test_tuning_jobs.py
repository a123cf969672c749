"""Jobs: what waits, runs, is cancelled, ends and is deleted; processes that are killed, disks that are full."""

import os
import random
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cases import TIMES
from service import named
from serving import until
from tuning import EXAMPLES, Caller, jsonl, tuning_of

import pellucid
from pellucid.errors import PellucidError
from pellucid.finetuning.example_files import read_examples
from pellucid.runs.files import METRICS, RUN_FILE
from pellucid.serve.openai.models import EngineSettings, ServedModel, open_models
from pellucid.serve.openai.server import Service
from pellucid.serve.tuning.database import Database, NotThere, QuotaReached
from pellucid.serve.tuning.jobs import JobSettings, JobStore
from pellucid.serve.tuning.scheduler import size_of
from pellucid.serve.tuning.settings import TuningSettings


@pytest.fixture
def ada(tiny_run: Path, tmp_path: Path) -> Iterator[Caller]:
    with tuning_of(tiny_run, tmp_path / "data", at_once=0, jobs=4) as service:
        yield Caller(service)


def test_jobs_wait_are_listed_and_cancelled(ada: Caller) -> None:
    file = ada.upload()["id"]
    asked = {"n_epochs": 2, "batch_size": "auto"}
    first = ada.job(file, suffix="my model", metadata={"team": "a"}, seed=5, hyperparameters=asked)
    assert (first["status"], first["seed"], first["metadata"], first["model"]) == ("queued", 5, {"team": "a"}, "tiny")
    assert first["hyperparameters"] == {"n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": "auto"}
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3, "learning_rate_multiplier": 0.5}}}
    second = ada.job(file, method=method, x_lora_rank=2)
    assert second["method"]["supervised"]["hyperparameters"]["learning_rate_multiplier"] == 0.5
    old = ada.post("/v1/fine-tunes", {"training_file": file})
    assert (old["status"], old["object"], old["training_files"][0]["id"]) == ("pending", "fine-tune", file)
    assert old["hyperparams"]["n_epochs"] == 4 and old["events"][0]["message"].startswith("Created")
    for limit in (1, 2, 3, 100):
        assert [one["id"] for one in ada.pages("/v1/fine_tuning/jobs", limit)] == [old["id"], second["id"], first["id"]]
    assert [one["id"] for one in ada.get("/v1/fine_tuning/jobs?metadata[team]=a")["data"]] == [first["id"]]
    for pairs in (17, 2000):
        answer = ada("/v1/fine_tuning/jobs?" + "&".join(f"metadata[{n}]=a" for n in range(pairs)))
        assert answer.status == 400 and f"{pairs} pairs are more" in answer.json()["error"]["message"]
    assert ada.get("/v1/fine_tuning/jobs?metadata[team]=b")["data"] == []
    assert [one["id"] for one in ada.get("/v1/fine-tunes")["data"]] == [old["id"]]
    assert ada(f"/v1/fine-tunes/{first['id']}").status == 404  # it is not of that API
    assert "needed by" in ada(f"/v1/files/{file}", "DELETE").json()["error"]["message"]
    ada.job(file)
    too_many = ada("/v1/fine_tuning/jobs", "POST", {"model": "tiny", "training_file": file})
    assert too_many.status == 429 and too_many.json()["error"]["code"] == "insufficient_quota"
    cancelled = ada.post(f"/v1/fine_tuning/jobs/{first['id']}/cancel")
    assert cancelled["status"] == "cancelled" and cancelled["finished_at"] is not None
    assert ada.events(first["id"])[-1] == "The job was cancelled"
    again = ada(f"/v1/fine_tuning/jobs/{first['id']}/cancel", "POST", {})
    assert again.status == 400 and "has ended already: it was cancelled" in again.json()["error"]["message"]
    assert ada.post(f"/v1/fine-tunes/{old['id']}/cancel")["status"] == "cancelled"
    stream = ada(f"/v1/fine-tunes/{old['id']}/events?stream=true").body.decode()
    assert stream.endswith("data: [DONE]\n\n") and "The job was cancelled" in stream


def test_the_old_list_has_the_newest_without_their_answers(ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which would be fifty megabytes where a thousand jobs have some."""
    file = ada.upload()["id"]
    first, *others = [ada.post("/v1/fine-tunes", {"training_file": file})["id"] for _ in range(3)]
    assert ada.service.tuning is not None
    for job in (first, *others):
        ada.service.tuning.jobs.progress(job, answers='{"rows":[],"counts":null}')
    assert ada.get(f"/v1/fine-tunes/{first}")["x_answers"]["rows"] == []
    monkeypatch.setattr("pellucid.serve.openai.jobs_api.MOST_OLD", 2)
    listed = ada.get("/v1/fine-tunes")["data"]
    assert [one["id"] for one in listed] == others and [one["x_answers"] for one in listed] == [None, None]


def test_models_that_are_opened_slowly_keep_nothing_else_from_being_answered(
    ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ada.service.tuning is not None
    opened, waiting = threading.Event(), threading.Semaphore(0)

    def find(owner: str, id: str) -> ServedModel:
        waiting.release()
        assert opened.wait(60)
        raise NotThere(id)

    monkeypatch.setattr(ada.service.tuning.models, "find", find)
    asked = {"model": "ft:slow", "prompt": "a"}
    with ThreadPoolExecutor(40) as others:  # more than the server's loop has threads
        try:
            answers = [others.submit(ada, "/v1/completions", "POST", asked) for _ in range(40)]
            assert waiting.acquire(timeout=20)
            until(lambda: ada.service.running >= 40)
            with ThreadPoolExecutor(1) as one:
                assert one.submit(ada.get, "/v1/files").result(20)["data"] == []
        finally:
            opened.set()
        assert {answer.result().status for answer in answers} == {404}


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "model", "you must provide a model parameter"),
        ({"model": "tiny"}, "training_file", "you must provide a training_file parameter"),
        ({"model": "none", "training_file": "FILE"}, "model", "That model does not exist: none"),
        ({"model": "tiny", "training_file": "file-none"}, "training_file", "No such File object: file-none"),
        ({"model": "tiny", "training_file": "../x"}, "training_file", "No such File object: ../x"),
        ({"model": "tiny", "training_file": "FILE", "seed": -1}, "seed", "-1 is less than the minimum of 0 - 'seed'"),
        ({"model": "tiny", "training_file": "FILE", "suffix": "x" * 65}, "suffix", "too long"),
        ({"model": "tiny", "training_file": "FILE", "color": 1}, "color", "Unrecognized request argument supplied: color"),
        ({"model": "tiny", "training_file": "FILE", "hyperparameters": {"n_epochs": 51}}, "n_epochs", "maximum of 50"),
        ({"model": "tiny", "training_file": "FILE", "hyperparameters": {"n_epoch": 1}}, "hyperparameters", "no field of it"),
        ({"model": "tiny", "training_file": "FILE", "method": {"type": "dpo"}}, "type", "is not one of ['supervised']"),
        ({"model": "tiny", "training_file": "FILE", "method": {}}, "method", "'type' is missing"),
        ({"model": "tiny", "training_file": "FILE", "metadata": {"a": 1}}, "metadata", "an object of at most 16 texts"),
        ({"model": "tiny", "training_file": "FILE", "integrations": [{}]}, "integrations", "not supported here"),
    ],
)
def test_wrong_fields_are_named(tiny_ada: tuple[Caller, str], body: dict[str, object], param: str, words: str) -> None:
    ada, file = tiny_ada
    sent = {name: file if value == "FILE" else value for name, value in body.items()}
    answer = ada("/v1/fine_tuning/jobs", "POST", sent)
    error = answer.json()["error"]
    assert answer.status in (400, 404) and error["param"] == param and words in error["message"], error
    assert ada.get("/v1/fine_tuning/jobs")["data"] == []


@pytest.fixture(scope="module")
def tiny_ada(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Caller, str]]:
    with tuning_of(tiny_run, tmp_path_factory.mktemp("jobs"), at_once=0) as service:
        ada = Caller(service)
        yield ada, ada.upload()["id"]


def test_nulls_are_absences(tiny_ada: tuple[Caller, str], tmp_path: Path) -> None:
    ada, file = tiny_ada
    nulls = dict.fromkeys(("validation_file", "suffix", "seed", "metadata", "hyperparameters", "method", "integrations"))
    job = ada.job(file, **nulls)
    assert job["seed"] == 0
    ada.post(f"/v1/fine_tuning/jobs/{job['id']}/cancel")


def test_one_server_uses_a_folder_and_without_one_there_is_no_fine_tuning(ada: Caller, tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match="in use by another process"), tuning_of(tiny_run, tmp_path / "data"):
        pass


def test_what_the_database_refuses_is_said_and_the_server_s_models_answer(ada: Caller) -> None:
    assert ada.service.tuning is not None
    ada.service.tuning._database._connection.execute("ALTER TABLE models RENAME TO others")
    for path in ("/v1/models", "/v1/engines"):
        answer = ada(path)
        assert answer.status == 500 and "database cannot be read: no such table" in answer.json()["error"]["message"]
    assert ada.post("/v1/completions", {"model": "tiny", "prompt": "the", "max_tokens": 1})["choices"]


def test_a_stream_of_events_does_not_keep_a_server_from_ending(ada: Caller) -> None:
    job = ada.post("/v1/fine-tunes", {"training_file": ada.upload()["id"]})["id"]
    with ThreadPoolExecutor(1) as other:
        stream = other.submit(ada, f"/v1/fine-tunes/{job}/events?stream=true")
        until(lambda: ada.service.running == 1)
        ada.service.drain()
        answer = stream.result(20)
    assert answer.status == 200 and b"Created" in answer.body and b"[DONE]" not in answer.body


def test_a_server_that_has_not_started_is_closed(tiny_run: Path, tmp_path: Path) -> None:
    for end in (Service.close, Service.abort):
        end(Service(open_models([named(tiny_run)], EngineSettings()), port=0, data=tmp_path))


def test_the_tables_keep_each_event_once_and_jobs_in_turn(tmp_path: Path) -> None:
    database = Database(tmp_path / "service.sqlite")
    jobs = JobStore(database, TuningSettings(jobs=3, models=3))
    settings = JobSettings(base="a", source="a", model="m", training_file="f")
    first, second = (jobs.create("me", "jobs", settings, 0) for _ in range(2))
    waiting = jobs.next_waiting()
    assert waiting is not None and waiting["id"] == first["id"] and jobs.begin(waiting) and jobs.begin(waiting) is None
    assert jobs.add_event(first["id"], "step-1", "x") and not jobs.add_event(first["id"], "step-1", "y")
    assert [job["id"] for job in jobs.interrupted()] == [first["id"]]
    assert jobs.end(first["id"], "failed", "no", error={"message": "no"})
    assert not jobs.end(first["id"], "cancelled", "too late")
    jobs.create("me", "jobs", settings, 0)
    jobs.create("me", "jobs", settings, 0)
    with pytest.raises(QuotaReached):
        jobs.create("me", "jobs", settings, 0)
    database.close()
    again = JobStore(reopened := Database(tmp_path / "service.sqlite"), TuningSettings())
    following = again.next_waiting()
    assert following is not None and following["id"] == second["id"]
    names = [row["name"] for row in again.events_since(first["id"], 0)]
    assert names == ["created", "queued", "started", "step-1", "ended"]
    reopened.close()


# With processes.


@pytest.mark.long
def test_two_jobs_queue_and_the_second_begins_with_the_first_s_model(tiny_run: Path, tmp_path: Path) -> None:
    with tuning_of(tiny_run, tmp_path / "data") as service:
        ada = Caller(service)
        file, held_out = ada.upload()["id"], ada.upload(jsonl([("1 plus 7 ->", " 8\n"), ("2 plus 7 ->", " 9\n")]))["id"]
        first = ada.job(file, hyperparameters={"n_epochs": 2}, validation_file=held_out, suffix="one")["id"]
        assert service.tuning is not None
        reserved = service.tuning.jobs.job(first)["bytes"]
        second = ada.job(file, hyperparameters={"n_epochs": 1})["id"]
        assert ada.get(f"/v1/fine_tuning/jobs/{second}")["status"] == "queued"
        done, other = ada.ended(first), ada.ended(second)
        assert (done["status"], other["status"]) == ("succeeded", "succeeded"), (done["error"], other["error"])
        assert done["finished_at"] <= other["finished_at"] and done["trained_tokens"] > 0
        model = done["fine_tuned_model"]
        assert model.startswith("ft:tiny:anonymous:one:")
        told = [one["data"] for one in ada.pages(f"/v1/fine_tuning/jobs/{first}/events", 7)]
        steps = [one["step"] for one in told if "train_loss" in one]
        assert set(range(1, done["x_total_steps"] + 1)) <= set(steps)
        assert len(done["x_answers"]["rows"]) == 2  # those of the validation file
        run = next((tmp_path / "data" / "runs").glob(f"*/{first}"))
        assert size_of(run) == service.tuning.jobs.job(first)["bytes"] < reserved
        assert pellucid.open_run(run).finished and {one.prompt for one in read_examples(run / "held_out.jsonl")} == {
            "1 plus 7 ->", "2 plus 7 ->",
        }  # fmt: skip
        (result,) = done["result_files"]
        rows = ada(f"/v1/files/{result}/content").body.decode().splitlines()
        assert rows[0].startswith("step,train_loss,valid_loss") and len(rows) == done["x_total_steps"] + 2
        asked = {"prompt": "1 plus 2 ->", "max_tokens": 3, "temperature": 0}
        answer = ada.post("/v1/completions", {"model": model, **asked})
        expected = pellucid.load(run).generate("1 plus 2 ->", max_tokens=3, temperature=0)
        assert answer["choices"][0]["text"] == expected.text
        third = ada.post("/v1/fine_tuning/jobs", {"model": model, "training_file": file, "hyperparameters": {"n_epochs": 1}})
        refused = ada(f"/v1/models/{model}", "DELETE")
        assert refused.status == 400 and third["id"] in refused.json()["error"]["message"]
        assert ada.ended(third["id"])["status"] == "succeeded"
        (checkpoint, *_) = ada.get(f"/v1/fine_tuning/jobs/{first}/checkpoints")["data"]
        assert ada.post("/v1/completions", {"model": checkpoint["fine_tuned_model_checkpoint"], **asked})["choices"]
        assert ada(f"/v1/models/{model}", "DELETE").json()["deleted"] and not run.exists()
        assert ada("/v1/completions", "POST", {"model": model, **asked}).status == 404
        assert ada.get(f"/v1/fine_tuning/jobs/{first}/checkpoints")["data"] == []


@pytest.mark.long
def test_a_cancelled_job_s_process_is_gone_and_a_bad_job_fails_with_its_reason(tiny_run: Path, tmp_path: Path) -> None:
    with tuning_of(tiny_run, tmp_path / "data") as service:
        ada = Caller(service)
        assert service.tuning is not None
        file = ada.upload(jsonl(EXAMPLES * 40))["id"]
        job = ada.job(file, hyperparameters={"n_epochs": 50, "batch_size": 1})["id"]
        until(lambda: ada.get(f"/v1/fine_tuning/jobs/{job}")["x_step"] > 2, 12_000)
        (pid,) = service.tuning.scheduler.running_pids()
        assert ada.post(f"/v1/fine_tuning/jobs/{job}/cancel")["status"] == "cancelled"
        assert not Path(f"/proc/{pid}").exists()
        run = next((tmp_path / "data" / "runs").glob(f"*/{job}"))
        assert {path.name for path in run.iterdir()} == {RUN_FILE, METRICS}
        long = ada.upload(jsonl([*EXAMPLES, ("x " * 200, " y\n")]))["id"]
        failed = ada.ended(ada.job(long)["id"])
        assert failed["status"] == "failed" and "tokens, the model reads 64" in failed["error"]["message"]
        # The disk is full: files of its process may have no more bytes.
        job = ada.job(file, hyperparameters={"n_epochs": 50, "batch_size": 1})["id"]
        until(lambda: ada.get(f"/v1/fine_tuning/jobs/{job}")["x_step"] > 2, 12_000)
        (pid,) = service.tuning.scheduler.running_pids()
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1 << 12, 1 << 12))
        failed = ada.ended(job)
        assert failed["status"] == "failed" and "raise the limit on the size of files" in failed["error"]["message"]
        assert str(tmp_path) not in failed["error"]["message"]
        assert ada.ended(ada.job(file, hyperparameters={"n_epochs": 1})["id"])["status"] == "succeeded"


SERVER = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from tuning import tuning_of
with tuning_of(Path(sys.argv[1]), Path(sys.argv[2]), lost_starts=50) as service:
    print(service.port, flush=True)
    service.wait()
"""
KILLS = 2 * TIMES  # twenty in `.ci/full`


class KilledService:
    """A server in a process of its own, which is killed and started again over the same folder."""

    def __init__(self, run: Path, data: Path) -> None:
        folders = [str(path) for path in Path(__file__).parents[:2]]
        self.words = [sys.executable, "-c", SERVER, str(run), str(data), *folders]
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        self.process = subprocess.Popen(self.words, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def workers() -> list[int]:
    """The processes of jobs on this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"pellucid.serve.tuning.worker" in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.long
def test_kills_at_random_moments_lose_nothing(tiny_run: Path, tmp_path: Path) -> None:
    """Of the server, or of the job's process: every file, job and event that was answered is there, and the jobs succeed."""
    chance, server = random.Random(TIMES), KilledService(tiny_run, tmp_path / "data")
    server.start()
    ada = Caller(server)  # type: ignore[arg-type]
    others = set(workers())
    content = jsonl(EXAMPLES * 20)
    files, jobs, events = [ada.upload(content)["id"]], list[str](), dict[str, list[str]]()
    jobs.append(ada.job(files[0], hyperparameters={"n_epochs": 6, "batch_size": 4})["id"])
    try:
        for kill in range(KILLS):
            files.append(ada.upload(content, f"{kill}.jsonl")["id"])
            if all(ada.get(f"/v1/fine_tuning/jobs/{job}")["status"] == "succeeded" for job in jobs):
                jobs.append(ada.job(files[-1], hyperparameters={"n_epochs": 6, "batch_size": 4})["id"])
            threading.Event().wait(chance.random() * 9)
            events = {job: [one["id"] for one in ada.pages(f"/v1/fine_tuning/jobs/{job}/events", 100)] for job in jobs}
            mine = [pid for pid in workers() if pid not in others]
            if kill % 2 and mine:
                for pid in mine:
                    os.kill(pid, signal.SIGKILL)
            else:
                server.kill()
                server.start()
            assert {one["id"] for one in ada.pages("/v1/files", 10)} >= set(files)
            assert {one["id"] for one in ada.pages("/v1/fine_tuning/jobs", 10)} == set(jobs)
            for job, known in events.items():
                assert {one["id"] for one in ada.pages(f"/v1/fine_tuning/jobs/{job}/events", 100)} >= set(known)
        for job in jobs:
            done = ada.ended(job, 20_000)
            assert done["status"] == "succeeded", done["error"]
            told = [one for one in ada.events(job) if "goes on" not in one]
            assert len(told) == len(set(told))  # no step twice
            asked = {"model": done["fine_tuned_model"], "prompt": "1 plus", "max_tokens": 2}
            assert ada.post("/v1/completions", asked)["choices"]
        for file in files:
            assert ada(f"/v1/files/{file}/content").body == content
    finally:
        server.kill()
    until(lambda: not [pid for pid in workers() if pid not in others], 6000)  # a process whose server is gone ends by itself
