"""Files of examples: uploads that are checked and counted, lists with cursors that end, quotas that hold, mends."""

import json
import socket
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from serving import until
from tuning import BOUNDARY, EXAMPLES, Caller, form, jsonl, new_keys, tuning_of

from pellucid.serve.openai import files_api
from pellucid.serve.tuning.files import FILES


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tuning") / "data"


@pytest.fixture(scope="module")
def ada(tiny_run: Path, data: Path) -> Iterator[Caller]:
    with tuning_of(tiny_run, data, at_once=0, file_bytes=1 << 20, files=60) as service:
        yield Caller(service)


def test_a_file_comes_back_as_it_was_sent_and_goes_with_its_bytes(ada: Caller, data: Path) -> None:
    content = b"\xef\xbb\xbf" + jsonl(EXAMPLES)
    file = ada.upload(content, "my examples é.jsonl")
    assert (file["bytes"], file["status"], file["purpose"]) == (len(content), "processed", "fine-tune")
    assert file["filename"] == "my examples é.jsonl" and file["x_examples"] == len(EXAMPLES)
    assert ada.get(f"/v1/files/{file['id']}") == file and file in ada.get("/v1/files")["data"]
    answer = ada(f"/v1/files/{file['id']}/content")
    assert answer.body == content and "my%20examples%20%C3%A9.jsonl" in answer.headers["content-disposition"]
    stored = {path.name for path in (data / FILES).iterdir()}
    assert ada(f"/v1/files/{file['id']}", "DELETE").json() == {"id": file["id"], "object": "file", "deleted": True}
    assert len(stored - {path.name for path in (data / FILES).iterdir()}) == 1
    for path, method in ((file["id"], "GET"), (f"{file['id']}/content", "GET"), (file["id"], "DELETE")):
        assert ada(f"/v1/files/{path}", method).status == 404


NAMES = st.text(st.characters(codec="utf-8", exclude_characters='"\r\n\\'), max_size=40)


@cases(25)
@given(name=NAMES | st.sampled_from(["../../etc/passwd", "/etc/passwd", "..", "a\0b", "C:\\x", "%2e%2e%2f", "x" * 2000]))
def test_names_of_uploads_are_kept_as_words_and_never_become_paths(ada: Caller, data: Path, name: str) -> None:
    answer = ada.send(jsonl(EXAMPLES[:3]), name)
    assert answer.status in (200, 400)
    if answer.status == 200:
        file = answer.json()
        assert len(file["filename"]) <= 255
        assert ada(f"/v1/files/{file['id']}/content").body == jsonl(EXAMPLES[:3])
        assert ada(f"/v1/files/{file['id']}", "DELETE").status == 200
    assert all(len(path.name) == 32 and path.name.isalnum() for path in (data / FILES).iterdir())


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 400, "holds no examples"),
        (b"\n\n", 400, "holds no examples"),
        (jsonl(EXAMPLES) + b"{oh no}\n", 400, "line 31: not an example (it is not JSON"),
        (jsonl(EXAMPLES) + b'{"prompt": "a", "completion": " b", "completion": " c"}\n', 400, "line 31"),
        (
            jsonl(EXAMPLES) + b'{"prompt": "a", "reply": " b"}\n',
            400,
            "line 31: not an example (its keys are 'prompt', 'reply')",
        ),
        (jsonl(EXAMPLES) + b'{"messages": []}\n', 400, "chat messages are not read"),
        (jsonl(EXAMPLES) + b'{"prompt": "a", "completion": 3}\n', 400, "line 31: prompt and completion must be text"),
        (jsonl(EXAMPLES) + b'{"prompt": "\\ud800", "completion": " b"}\n', 400, "line 31"),
        (jsonl(EXAMPLES) + b'{"prompt": "\xff", "completion": " b"}\n', 400, "line 31 is not UTF-8"),
        (jsonl(EXAMPLES) + b"[1]\n", 400, "line 31: not an example (not a JSON object)"),
        (b"prompt,completion\na,b\n", 400, "line 1: not an example"),
        (b"PK\x03\x04\xff\xfe", 400, "not text"),
        (b"x" * (1 << 20), 400, "line 1"),
        (b"x" * ((1 << 20) + 1), 413, "more than 1,048,576 bytes"),
    ],
)
def test_what_is_no_file_of_examples_is_refused_by_its_line(ada: Caller, content: bytes, status: int, words: str) -> None:
    before = ada.get("/v1/files")
    answer = ada.send(content)
    error = answer.json()["error"]
    assert (answer.status, error["type"], error["param"]) == (status, "invalid_request_error", "file")
    assert (words in error["message"] and "examples.jsonl" in error["message"]) or status == 413
    assert ada.get("/v1/files") == before


FAULTS = {
    "count": (EXAMPLES[:4], "are few", None, []),
    "columns": (
        [{"prompt": "a ->", "completion": f" {n}\n", "id": n} for n in range(3)],
        "further columns: 'id'", "left out", [1, 2, 3],
    ),
    "empty": ([*EXAMPLES, ("a ->", "")], "the completion is empty", "left out", [31]),
    "duplicates": ([*EXAMPLES, EXAMPLES[3]], "earlier line", "left out", [31]),
    "long": ([*EXAMPLES, ("x" * 10_001 + " ->", " a\n")], "longer than 10,000", "left out", [31]),
    "upper-prompt": ([(f"WHAT IS {p.upper()}", c) for p, c in EXAMPLES], "capitals", "lower case", list(range(1, 31))),
    "separator": ([*EXAMPLES, ("none", " a\n")], "but not here", "' ->' is put there", [31]),
    "separator-inside": ([*EXAMPLES, ("a -> b ->", " a\n")], "inside the prompt", None, [31]),
    "space": ([*EXAMPLES, ("a ->", "word\n")], "does not begin with a space", "a space is put there", [31]),
}  # fmt: skip


@pytest.mark.parametrize("check", FAULTS)
def test_each_check_gives_its_lines_and_its_mend(ada: Caller, check: str) -> None:
    rows, problem, mend, lines = FAULTS[check]
    content = jsonl(rows) if isinstance(rows[0], tuple) else "".join(json.dumps(row) + "\n" for row in rows).encode()
    file = ada.upload(content)
    (found,) = [one for one in file["x_findings"] if one["check"] == check]
    assert problem in found["problem"] and found["lines"] == lines and found["count"] == len(lines)
    assert found["mend"] is None if mend is None else mend in found["mend"]
    assert problem in file["status_details"] and (not lines or str(lines[-1]) in file["status_details"])
    assert file["status"] == ("error" if check == "empty" else "processed")
    if check == "empty":  # what cannot be trained on says why when it is
        answer = ada("/v1/fine_tuning/jobs", "POST", {"model": "tiny", "training_file": file["id"]})
        assert answer.status == 400 and "completion is empty [line 31] -> left out" in answer.json()["error"]["message"]
    if mend is not None:
        mended = ada.post(f"/v1/files/{file['id']}/x_mend", {"checks": [check]})
        assert check not in {one["check"] for one in mended["x_findings"]} or check == "columns"
        assert mended["filename"] == "examples_prepared.jsonl" and mended["status"] == "processed"
        again = ada.post(f"/v1/files/{mended['id']}/x_mend")
        assert again["filename"] == "examples_prepared.jsonl"
        for one in (mended, again):
            ada(f"/v1/files/{one['id']}", "DELETE")
    ada(f"/v1/files/{file['id']}", "DELETE")


def test_forms_that_are_none(ada: Caller) -> None:
    whole = form(jsonl(EXAMPLES))
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    two = form(jsonl(EXAMPLES), extra="x").replace(b'name="extra"', b'name="file"; filename="b"')
    for body, header, status, words in (
        (whole[:-30], kind, 400, "not complete"),
        (whole, "multipart/form-data", 400, "boundary"),
        (whole, "application/json", 415, "multipart/form-data"),
        (b"", kind, 400, "not complete"),
        (b"junk" * 100, kind, 400, "damaged"),
        (form(None), kind, 400, "'file' is a required property"),
        (form(jsonl(EXAMPLES), purpose=None), kind, 400, "'purpose' is a required property"),
        (form(jsonl(EXAMPLES), purpose="assistants"), kind, 400, "'assistants' is not one of ['fine-tune']"),
        (form(jsonl(EXAMPLES), color="red"), kind, 400, "Unrecognized request argument supplied: color"),
        (form(jsonl(EXAMPLES), note="x" * 5000), kind, 400, "more than 4,096 bytes"),
        (two, kind, 400, "two files"),
    ):
        answer = ada("/v1/files", "POST", body, content_type=header)
        assert answer.status == status and words in answer.json()["error"]["message"], (words, answer.body)
    expiring = ada.send(jsonl(EXAMPLES), **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}).json()
    assert expiring["expires_at"] == expiring["created_at"] + 3600
    assert ada.send(jsonl(EXAMPLES), **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "1"}).status == 400
    ada(f"/v1/files/{expiring['id']}", "DELETE")


def test_lists_end_and_their_pages_together_are_the_list(ada: Caller) -> None:
    ids = [ada.upload(jsonl(EXAMPLES[: 3 + n]))["id"] for n in range(7)]
    for limit in (1, 2, 3, 7, 10):
        assert [one["id"] for one in ada.pages("/v1/files", limit)][:7] == ids[::-1]
    assert [one["id"] for one in ada.get("/v1/files?order=asc&limit=10000")["data"]][-7:] == ids
    assert ada.get("/v1/files?purpose=other")["data"] == []
    for query in ("limit=0", "limit=x", "limit=10001", "limit=%EF%BC%95", "order=up", "after=file-none", "after=" + "x" * 300):
        assert ada(f"/v1/files?{query}").status == 400, query
    for id in ids:
        ada(f"/v1/files/{id}", "DELETE")


def test_quotas_hold_under_parallel_uploads(tiny_run: Path, tmp_path: Path) -> None:
    keys, (ada_key, bob_key) = new_keys(tmp_path, "ada", "bob")
    content = jsonl(EXAMPLES)
    data = tmp_path / "data"
    with tuning_of(tiny_run, data, keys=keys, at_once=0, files=5, storage_bytes=1 << 20) as service:
        ada, bob = Caller(service, ada_key), Caller(service, bob_key)
        with ThreadPoolExecutor(8) as several:
            answers = list(several.map(lambda _: ada.send(content), range(16)))
        assert sorted(answer.status for answer in answers) == [200] * 5 + [429] * 11
        refused = next(answer for answer in answers if answer.status == 429)
        assert refused.json()["error"]["code"] == "insufficient_quota" and refused.headers["x-should-retry"] == "false"
        assert bob.send(content).status == 200  # another key has its own
        assert len(list((data / FILES).iterdir())) == 6
    with tuning_of(tiny_run, data, keys=keys, at_once=0, files=50, storage_bytes=9 * len(content)) as service:
        ada = Caller(service, ada_key)
        with ThreadPoolExecutor(8) as several:
            answers = list(several.map(lambda _: ada.send(content), range(12)))
        assert [answer.status for answer in answers].count(200) == 4  # five were there
        assert sum(one["bytes"] for one in ada.get("/v1/files")["data"]) == 9 * len(content)
        ada(f"/v1/files/{ada.get('/v1/files')['data'][0]['id']}", "DELETE")
        assert ada.send(content).status == 200


def test_a_key_s_files_wait_for_their_checks_in_a_bounded_line(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_api, "MOST_WAITING", 1)
    keys, (ada_key, bob_key) = new_keys(tmp_path, "ada", "bob")
    with tuning_of(tiny_run, tmp_path / "data", keys=keys, at_once=0) as service:
        ada, bob, go = Caller(service, ada_key), Caller(service, bob_key), threading.Event()
        assert service.tuning is not None
        keep = service.tuning.keep
        monkeypatch.setattr(service.tuning, "keep", lambda *given: go.wait(60) and keep(*given))
        app: Any = service._thread.server.config.app._api  # type: ignore[union-attr]
        while not hasattr(app, "router"):
            app = app.app
        line = next(route.endpoint.__self__ for route in app.router.routes if route.path == "/v1/files")._line
        with ThreadPoolExecutor(4) as several:
            sent = [several.submit(ada.send, jsonl(EXAMPLES)) for _ in range(files_api.CHECKS + 1)]
            until(lambda: line.waiting == 1)
            refused = ada.send(jsonl(EXAMPLES))
            assert refused.status == 429 and refused.headers["retry-after"] and "wait to be checked" in refused.body.decode()
            other = several.submit(bob.send, jsonl(EXAMPLES))
            until(lambda: line.waiting == 2)
            go.set()
            assert [one.result().status for one in (*sent, other)] == [200] * (files_api.CHECKS + 2)


def test_what_is_told_of_a_file_is_bounded(ada: Caller) -> None:
    rows = [{"prompt": f"{n} ->", "completion": f" {n}\n", "k" * 200_000: 1} for n in range(3)]
    many = [{"prompt": "", "completion": "x " * 9_000 + f"{n}\n", **{f"key {i}": i for i in range(400)}} for n in range(3)]
    for content in (rows, many):
        file = ada.upload("".join(json.dumps(row) + "\n" for row in content).encode())
        assert len(json.dumps(file)) < 12_000 and {one["check"] for one in file["x_findings"]} >= {"columns"}
        ada(f"/v1/files/{file['id']}", "DELETE")
    answer = ada.send(json.dumps({"k" * 200_000: 1, "completion": "a"}).encode())
    assert answer.status == 400 and len(answer.body) < 1000 and "its keys are 'kkk" in answer.body.decode()


def test_an_upload_that_ends_in_the_middle_leaves_nothing(ada: Caller, data: Path) -> None:
    before = {path.name for path in (data / FILES).iterdir()}
    body = form(jsonl(EXAMPLES * 100))
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", ada.service.port)) as client:
        client.sendall(head.encode() + body[: len(body) // 2])
        until(lambda: len(list((data / FILES).iterdir())) == len(before) + 1)
    until(lambda: {path.name for path in (data / FILES).iterdir()} == before)


def test_no_key_is_stored_in_the_clear(tiny_run: Path, tmp_path: Path) -> None:
    keys, (key,) = new_keys(tmp_path, "ada")
    with tuning_of(tiny_run, tmp_path / "data", keys=keys, at_once=0) as service:
        ada = Caller(service, key)
        ada.job(ada.upload()["id"])
    for path in (tmp_path / "data").rglob("*"):
        assert key.encode() not in path.name.encode() and keys[0].sha256 not in str(path)
        if path.is_file():
            assert key.encode() not in path.read_bytes() and keys[0].sha256.encode() not in path.read_bytes()
    with sqlite3.connect(tmp_path / "data" / "service.sqlite") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
