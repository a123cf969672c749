"""Two keys: neither sees, uses, cancels or deletes anything of the other's, on any route (generated requests)."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from tuning import EXAMPLES, Caller, jsonl, new_keys, tuning_of

from pellucid.runs.files import BASE
from pellucid.runs.files import MODEL as MODEL_FOLDER
from pellucid.serve.tuning.database import from_json


METHODS = ("GET", "POST", "DELETE", "PUT", "HEAD")


class Owned:
    """What a key has: a caller, and the ids of a file, a result, jobs of both APIs, a model, and its checkpoint."""

    def __init__(self, caller: Caller, run: Path) -> None:
        self.caller = caller
        service = caller.service
        assert service.tuning is not None
        self.file = caller.upload(jsonl(EXAMPLES), f"of {caller.key[-4:]}.jsonl")["id"]
        self.done = caller.job(self.file, suffix="made", metadata={"of": caller.key[-4:]})["id"]
        self.waiting = caller.job(self.file)["id"]
        self.old = caller.post("/v1/fine-tunes", {"training_file": self.file, "model": "tiny"})["id"]
        jobs, scheduler = service.tuning.jobs, service.tuning.scheduler
        row = jobs.job(self.done)
        shutil.copytree(run, scheduler.run_of(row))  # as its job would have made it
        shutil.copytree(run / MODEL_FOLDER, scheduler.run_of(row) / BASE)
        jobs.add_checkpoint(self.done, 6, {"step": 6, "train_loss": 1.0})
        jobs.add_model(row)
        jobs.end(self.done, "succeeded", "The job has successfully completed", bytes=1)
        self.model = from_json(row["settings"])["model"]
        self.checkpoint = f"{self.model}:ckpt-step-6"
        self.events = [one["id"] for one in caller.pages(f"/v1/fine_tuning/jobs/{self.done}/events", 3)]
        self.ids = (self.file, self.done, self.waiting, self.old, self.model, self.checkpoint, *self.events)
        self.owner = row["owner"]

    def state(self) -> Any:
        """All that is kept of the key: the rows of the tables, and the names of its files and runs."""
        tuning = self.caller.service.tuning
        assert tuning is not None
        database, owner = tuning._database, self.owner
        owned = [database.rows(f"SELECT * FROM {table} WHERE owner = ?", owner) for table in ("files", "jobs", "models")]
        of_jobs = [
            database.rows(f"SELECT * FROM {table} WHERE job IN (SELECT id FROM jobs WHERE owner = ?)", owner)
            for table in ("events", "checkpoints")
        ]
        runs = sorted(tuning.scheduler.runs_of(owner).rglob("*"))
        return owned, of_jobs, runs, [tuning.files.path(row).exists() for row in owned[0]]


@pytest.fixture(scope="module")
def two(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Owned, Owned]]:
    folder = tmp_path_factory.mktemp("keys")
    keys, given_keys = new_keys(folder, "ada", "bob")
    with tuning_of(tiny_run, folder / "data", keys=keys, at_once=0) as service:
        ada, bob = (Owned(Caller(service, key), tiny_run) for key in given_keys)
        yield ada, bob


def routes(service: Any) -> list[str]:
    """The paths of every route, with a mark for an id."""
    app = service._thread.server.config.app._api
    while not hasattr(app, "router"):
        app = app.app
    return [route.path.replace("{model:path}", "{id}") for route in app.router.routes]


# What a body of a route may name, by the route's last word: marks stand for ids of one's own and of the other's.
MODEL, FILE = st.sampled_from(["tiny", "MY MODEL", "THEIR MODEL"]), st.sampled_from(["MY FILE", "THEIR FILE"])
COMPLETION = {"model": MODEL, "prompt": st.just("the fox"), "max_tokens": st.just(1)}
BODIES: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "completions": COMPLETION, "tokenize": {"model": MODEL, "prompt": st.just("the fox")},
    "detokenize": {"model": MODEL, "tokens": st.just([1])}, "x_mend": {"checks": st.just(["space"])},
    "jobs": {"model": MODEL, "training_file": FILE, "validation_file": st.none() | FILE},
    "fine-tunes": {"model": MODEL, "training_file": FILE, "validation_file": st.none() | FILE},
}  # fmt: skip


@cases(150)
@given(data=st.data())
def test_no_request_of_one_key_reaches_what_is_the_others(two: tuple[Owned, Owned], data: st.DataObject) -> None:
    ada, bob = two
    me, other = data.draw(st.sampled_from([(ada, bob), (bob, ada)]), label="who asks, whose it is")
    path = data.draw(st.sampled_from(routes(me.caller.service)), label="route")
    method = data.draw(st.sampled_from(METHODS), label="method")
    theirs = data.draw(st.sampled_from(other.ids), label="id")
    chosen = path.replace("{id}", quote(theirs, safe=data.draw(st.sampled_from(["", "/:"]))))
    query = data.draw(st.sampled_from(["", "?after=ID", "?metadata[of]=TAG", "?limit=1&after=ID", "?stream=true", "?model=ID"]))
    chosen += query.replace("ID", quote(theirs)).replace("TAG", other.caller.key[-4:])
    marks = {"MY MODEL": me.model, "THEIR MODEL": other.model, "MY FILE": me.file, "THEIR FILE": other.file}
    body = data.draw(st.fixed_dictionaries(BODIES.get(path.rpartition("/")[2], {})), label="body")
    sent = {name: marks.get(value, value) if isinstance(value, str) else value for name, value in body.items()}
    before = other.state()
    mine_before = me.state()
    answer = me.caller(chosen, method, sent if method in ("POST", "PUT") else None)
    assert answer.status < 500, answer.body
    if "{id}" in path or (
        method == "POST" and {other.model, other.file} & {one for one in sent.values() if isinstance(one, str)}
    ):
        assert answer.status in (400, 404, 405), answer.body
    assert not names_any(answer.body, other, sent, theirs), answer.body
    assert other.state() == before
    if answer.status == 200 and method == "POST" and path in ("/v1/fine_tuning/jobs", "/v1/fine-tunes"):
        id = answer.json()["id"]  # a job of one's own: it is taken away again
        kind = path.removeprefix("/v1/")
        me.caller.post(f"/v1/{kind}/{id}/cancel")
    else:
        assert me.state() == mine_before


def names_any(body: bytes, other: Owned, sent: Any, asked: str) -> bool:
    """Whether an answer tells anything of another's: its ids beyond those in the request, the name of its file or its key."""
    told = [id for id in other.ids if id not in (asked, *sent.values()) and not asked.startswith(id)]
    words = [*told, f"of {other.caller.key[-4:]}.jsonl", other.owner]
    return any(word.encode() in body for word in words)


def test_what_is_a_key_s_own_works(two: tuple[Owned, Owned]) -> None:
    ada, bob = two
    for me, other in ((ada, bob), (bob, ada)):
        listed = me.caller.get("/v1/models")["data"]
        assert [model["id"] for model in listed] == ["tiny", me.model]
        for model in listed:
            assert me.caller.get(f"/v1/models/{quote(model['id'], safe='')}") == model
            assert me.caller.get(f"/v1/engines/{quote(model['id'], safe='')}")["ready"]
        assert me.caller.get(f"/v1/models/{me.checkpoint}")["owned_by"] == me.owner
        asked = {"model": me.model, "prompt": "the fox", "max_tokens": 3, "seed": 1}
        answer = me.caller.post("/v1/completions", asked)
        assert answer["model"] == me.model
        assert me.caller.post("/v1/completions", {**asked, "model": me.checkpoint})["choices"] == answer["choices"]
        assert me.caller.post(f"/v1/engines/{quote(me.model, safe='')}/completions", asked)["choices"] == answer["choices"]
        refused = me.caller("/v1/completions", "POST", {**asked, "model": other.model}).json()["error"]
        assert refused["code"] == "model_not_found" and me.model in refused["message"] and other.owner not in refused["message"]
        assert me.caller(f"/v1/models/{quote('tiny')}", "DELETE").status == 403
        metrics = me.caller("/metrics").body.decode()
        assert other.model not in metrics and 'model_name="fine-tuned"' in metrics
    assert ada.owner != bob.owner and {ada.owner, bob.owner}.isdisjoint({"ada", "bob"})


def test_records_and_runs_in_the_studio_are_a_key_s_own(tiny_run: Path, tmp_path: Path) -> None:
    keys, given_keys = new_keys(tmp_path, "ada", "bob")
    with tuning_of(tiny_run, tmp_path / "data", keys=keys, at_once=0, studio=True, record_bytes=1) as service:
        ada, bob = (Owned(Caller(service, key), tiny_run) for key in given_keys)
        asked = {"model": ada.model, "prompt": "the fox", "max_tokens": 2, "x_record": True, "seed": 1}
        record = ada.caller.post("/v1/completions", asked)["x_record"]
        assert record["same_text"] and ada.caller(record["url"]).status == 200
        seen, others = (one.caller.get("/api/sources") for one in (ada, bob))
        assert seen["tuning"] and record["id"] in [one["id"] for one in seen["records"]]
        assert [run["title"] for run in seen["runs"]][-1] == ada.done and [run["title"] for run in others["runs"]][
            -1
        ] == bob.done
        told = bob.caller("/api/sources").body
        assert not any(one.encode() in told for one in (ada.done, ada.owner, ada.model))
        shapes = [[one["kind"] for one in told["records"]].count("generation") for told in (seen, others)]
        assert shapes[0] > 0 and shapes[1] == 0
        assert bob.caller(f"/records/{seen['records'][-1]['id']}x").status == 404
        mine = bob.caller("/v1/completions", "POST", asked)
        assert mine.status == 404
        newer = ada.caller.post("/v1/completions", asked)["x_record"]  # the older one goes: both have more than a byte
        assert ada.caller(newer["url"]).status == 200 and ada.caller(record["url"]).status == 404
        folder = tmp_path / "data" / "records" / ada.owner
        (kept,) = folder.iterdir()
        folder.rename(folder.with_name("away"))
        lost = ada.caller("/v1/completions", "POST", asked)
        assert lost.status == 500 and "record could not be kept: cannot write" in lost.json()["error"]["message"]
        assert lost.headers["x-should-retry"] == "false"
        folder.with_name("away").rename(folder)
        assert kept.exists()
    with tuning_of(tiny_run, tmp_path / "data", keys=keys, at_once=0, studio=True) as service:  # and after a new start
        again = [Caller(service, key).get("/api/sources")["records"] for key in given_keys]
        assert len(again[0]) == len(again[1]) + 1
