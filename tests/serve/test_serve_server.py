"""The studio's server: who may ask, byte ranges, live metrics, sources, ports."""

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import ask

import pellucid
from pellucid.errors import PellucidError
from pellucid.record import open_record
from pellucid.serve import Studio
from pellucid.serve.http.ranges import parse_range
from pellucid.serve.http.same_origin import allowed_hosts, host_name
from pellucid.serve.studio import app
from pellucid.serve.studio.sources import SourceCatalog


@pytest.fixture(scope="module")
def tale(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("records") / "tale.pellucid"
    pellucid.xray(pellucid.load(tiny_run), "the fox", max_tokens=6, seed=1).save(path)
    return path


@pytest.fixture(scope="module")
def studio(tiny_run: Path, tale: Path) -> Iterator[Studio]:
    with Studio([tiny_run, tale], port=0) as served:
        yield served


# Who may ask.

ELSEWHERE: dict[str, tuple[int, dict[str, Any]]] = {
    "a foreign host (DNS rebinding)": (403, {"host": "evil.example:80"}),
    "a host that only begins like ours": (403, {"host": "localhost.evil.example"}),
    "an address of elsewhere": (403, {"host": "192.0.2.1"}),
    "no host": (400, {"host": None}),
    "an empty host": (403, {"host": ""}),
    "another site's script": (403, {"origin": "https://evil.example"}),
    "a page without an origin": (403, {"origin": "null"}),
    "another port of this machine": (403, {"origin": "http://127.0.0.1:1"}),
    "the same host by https": (403, {"origin": "https://127.0.0.1"}),
    "another site's image": (403, {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"}),
    "another port's fetch": (403, {"sec_fetch_site": "same-site", "sec_fetch_mode": "cors", "sec_fetch_dest": "empty"}),
    "another site's frame": (403, {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"}),
}


@pytest.mark.parametrize("who", list(ELSEWHERE))
@pytest.mark.parametrize("path", ["/", "/studio.js", "/api/sources", "/records/record-1"])
def test_elsewhere_is_refused(studio: Studio, who: str, path: str) -> None:
    status, headers = ELSEWHERE[who]
    answer = ask(studio, path, **headers)
    assert answer.status == status
    assert b"PELLUCID" not in answer.body and b"<script" not in answer.body
    assert "access-control-allow-origin" not in answer.headers


def test_elsewhere_cannot_generate(studio: Studio) -> None:
    for status, headers in ELSEWHERE.values():
        assert ask(studio, "/api/generate", method="POST", body={}, **headers).status == status
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    assert ask(studio, "/", **link).status == 200  # following a link to the page is fine
    assert ask(studio, "/api/generate", method="POST", body={}, **link).status == 403


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_only_json_is_posted(studio: Studio, content_type: str | None) -> None:
    """A form of another site can send the others without asking first."""
    answer = ask(studio, "/api/generate", method="POST", body={"prompt": "x"}, content_type=content_type)
    assert answer.status == 415 and "application/json" in answer.error


def test_a_body_is_limited_and_measured(studio: Studio) -> None:
    assert ask(studio, "/api/generate", method="POST", body=b" " * 70_000).status == 413
    assert ask(studio, "/api/generate", method="POST", body=b"{}", content_length="x").status in (400, 411)
    assert ask(studio, "/", method="DELETE", body=b"{}").status == 405
    assert ask(studio, "/api/generate").status == 405


def test_our_own_pages_are_answered(studio: Studio) -> None:
    own = studio.url.rstrip("/")
    local = {"host": f"localhost:{studio.port}"}
    for headers in ({"origin": own}, local, {"host": "[::1]:7"}, {"sec_fetch_site": "same-origin"}):
        assert ask(studio, "/api/sources", **headers).status == 200


@pytest.mark.parametrize("path", ["/", "/studio.js", "/api/sources", "/nothing", "/records/record-1", "/records/none"])
def test_every_answer_carries_the_headers_that_keep_others_out(studio: Studio, path: str) -> None:
    headers = ask(studio, path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "script-src 'self' 'wasm-unsafe-eval';" in policy and "worker-src blob:;" in policy
    assert "'unsafe-eval'" not in policy and "script-src 'self' 'unsafe" not in policy and "http" not in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in headers


def test_names_of_hosts() -> None:
    assert host_name("LOCALHOST:80") == "localhost" and host_name("[::1]") == "::1" and host_name("[::1]:80") == "::1"
    for bad in ("", ":80", "a:b", "[::1", "::1", "[::1]x", "a:80:80", "é:80"):
        assert host_name(bad) in (None, "é")
    assert "*" in allowed_hosts("0.0.0.0") and "*" in allowed_hosts("::") and "*" not in allowed_hosts("192.0.2.7")


@pytest.mark.parametrize(
    "path",
    [
        "/records/..%2f..%2fetc%2fpasswd", "/records/%2e%2e", "/../../etc/passwd", "/records/tale.pellucid", "/run.json",
        "/api/runs/..%2f../metrics", "/api/figures/..%2f../x", "/assets/studio/bundled.json", "/studio.js/../bundled.json",
    ],
)  # fmt: skip
def test_no_path_is_ever_a_file(studio: Studio, path: str) -> None:
    answer = ask(studio, path)
    assert answer.status == 404 and b"root" not in answer.body
    assert answer.error


# Records, by byte range.


def test_a_record_by_range(studio: Studio, tale: Path) -> None:
    data = tale.read_bytes()
    whole = ask(studio, "/records/record-1")
    assert (whole.status, whole.body, whole.headers["accept-ranges"]) == (200, data, "bytes")
    part = ask(studio, "/records/record-1", range="bytes=0-47")
    assert (part.status, part.body) == (206, data[:48])
    assert part.headers["content-range"] == f"bytes 0-47/{len(data)}" and part.headers["etag"] == whole.headers["etag"]
    end = ask(studio, "/records/record-1", range="bytes=-5")
    assert (end.status, end.body) == (206, data[-5:])
    behind = ask(studio, "/records/record-1", range=f"bytes={len(data)}-")
    assert (behind.status, behind.headers["content-range"], behind.body) == (416, f"bytes */{len(data)}", b"")
    head = ask(studio, "/records/record-1", method="HEAD", range="bytes=0-47")
    assert (head.status, head.headers["content-length"], head.body) == (206, "48", b"")
    tag = whole.headers["etag"]
    assert ask(studio, "/records/record-1", if_none_match=tag).status == 304
    assert ask(studio, "/records/record-1", range="bytes=0-1", if_match=tag).status == 206
    assert ask(studio, "/records/record-1", range="bytes=0-1", if_match='"other"').status == 412
    assert ask(studio, "/records/record-1", range="bytes=0-1", if_range='"other"').body == data


@given(st.text("bytes=-,0123456789 x", max_size=14).map(lambda s: s if "=" in s else f"bytes={s}"), st.integers(0, 40))
def test_ranges_as_the_standard_has_them(header: str, size: int) -> None:
    """RFC 9110, 14.1.2, by plain lines: what is no single good range is ignored, what lies behind the end is refused."""
    try:
        found = parse_range(header, size)
    except ValueError:
        found = "refused"  # type: ignore[assignment]
    unit, _, value = header.partition("=")
    first, dash, last = value.strip().partition("-")
    expected: Any = None
    if unit == "bytes" and dash and all(part == "" or part.isdigit() for part in (first, last)) and (first or last):
        if first == "":
            expected = "refused" if min(int(last), size) == 0 else (size - min(int(last), size), size)
        elif last and int(last) < int(first):
            expected = None
        elif int(first) >= size:
            expected = "refused"
        else:
            expected = (int(first), min(int(last) + 1, size) if last else size)
    assert found == expected


# Sources, runs, figures.


def test_what_there_is(studio: Studio) -> None:
    told = ask(studio, "/api/sources").json()
    (run,), (record, training) = told["runs"], told["records"]
    assert (run["id"], run["title"], run["kind"], run["total_steps"], run["model"]) == ("run-1", "tiny", "train", 6, "model-1")
    assert (record["id"], record["kind"]) == ("record-1", "generation") and record["tracks"] > 6
    assert run["records"] == [training["id"]] and training["kind"] == "training" and "pretraining" in training["figures"]
    assert record["text"].startswith("the fox") and record["url"] == "/records/record-1"
    assert [model["id"] for model in told["models"]] == ["default", "model-1"]
    assert told["limits"] == {"prompt": 20_000, "max_tokens": 400}
    assert ask(studio, "/api/runs/run-1").json()["total_steps"] == 6
    assert "no 'run-9'" in ask(studio, "/api/runs/run-9").error


def test_metrics_of_a_run_that_writes_on(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(tiny_run / "run.json", run)
    lines = [json.dumps({"step": i, "loss": 6 / i}).encode() + b"\n" for i in range(1, 5)]
    with Studio([run], port=0) as studio:
        none = ask(studio, "/api/runs/run-1/metrics")
        assert (none.status, none.body, none.headers["x-next"]) == (200, b"", "0")
        metrics = run / "metrics.jsonl"
        metrics.write_bytes(lines[0] + lines[1] + lines[2][:9])  # half a line is there
        first = ask(studio, "/api/runs/run-1/metrics?from=0")
        assert first.body == lines[0] + lines[1]
        metrics.write_bytes(b"".join(lines))
        rest = ask(studio, f"/api/runs/run-1/metrics?from={first.headers['x-next']}")
        assert (rest.body, rest.headers["x-again"]) == (lines[2] + lines[3], "0")
        metrics.write_bytes(lines[0])  # a run that was resumed before its last lines
        again = ask(studio, f"/api/runs/run-1/metrics?from={rest.headers['x-next']}")
        assert (again.body, again.headers["x-again"]) == (lines[0], "1")
        assert "whole number" in ask(studio, "/api/runs/run-1/metrics?from=-1").error
        (run / "late.pellucid").write_bytes(b"PELLUCID, but no more than that")
        (late,) = ask(studio, "/api/sources").json()["records"]
        assert "truncated" in late["problem"] and late["title"] == "run/late.pellucid"


def test_long_metrics_come_in_parts(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "MAX_METRICS", 100)
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(tiny_run / "run.json", run)
    whole = b"".join(json.dumps({"step": i}).encode() + b"\n" for i in range(60))
    (run / "metrics.jsonl").write_bytes(whole)
    with Studio([run], port=0) as studio:
        found, at = b"", "0"
        while part := ask(studio, f"/api/runs/run-1/metrics?from={at}"):
            if not part.body:
                break
            assert len(part.body) <= 100
            found, at = found + part.body, part.headers["x-next"]
    assert found == whole


def test_figures_come_as_films_or_say_why_not(studio: Studio) -> None:
    film = ask(studio, "/api/figures/record-1/tokens?width=500").json()
    assert film["format"] == "pellucid-film" and film["width"] == 500 and film["glyphs"]
    assert ask(studio, "/api/figures/record-1/tokens").json()["format"] == "pellucid-film"
    assert "no figure 'none'" in ask(studio, "/api/figures/record-1/none").error
    assert "this is a generation record" in ask(studio, "/api/figures/record-1/pretraining").error
    assert ask(studio, "/api/figures/record-9/tokens").status == 404
    assert "240 to 2400" in ask(studio, "/api/figures/record-1/tokens?width=9").error
    assert ask(studio, "/api/figures/record-1/tokens?width=x").status == 400


def test_what_can_be_shown(tiny_run: Path, tale: Path, tmp_path: Path) -> None:
    assert [model["id"] for model in SourceCatalog().listing()["models"]] == ["default"]
    assert [model["id"] for model in SourceCatalog([tale]).listing()["models"]] == ["default"]
    folder = tmp_path / "demo"
    folder.mkdir()
    shutil.copytree(tiny_run, folder / "run", ignore=shutil.ignore_patterns("checkpoints", "corpus"))
    shutil.copy(tale, folder / "run" / "tale.pellucid")
    shutil.copy(tale, folder / "other.pellucid")
    library = SourceCatalog([folder])
    told = library.listing()
    assert [record["title"] for record in told["records"]] == ["other.pellucid", "run/tale.pellucid", "run/training.pellucid"]
    assert told["runs"][0]["records"] == ["record-2", "record-3"]
    (folder / "run" / "tale.pellucid").unlink()  # gone while the server runs
    assert [record["id"] for record in library.listing()["records"]] == ["record-1", "record-3"]
    with library.record("record-1") as opened, open_record(tale) as original:
        assert opened.to_bytes() == original.to_bytes()
    (tmp_path / "empty").mkdir()
    for source, says in (("none", "no such file"), ("empty", "holds no run"), (tiny_run / "run.json", "not a Pellucid")):
        with pytest.raises(PellucidError, match=says):
            SourceCatalog([tmp_path / source])


def test_ports(tale: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PellucidError, match=f"port {port} is in use: choose another --port"):
            Studio([tale], port=port)
        monkeypatch.setattr("pellucid.serve.studio.server.PORT", port)
        with Studio([tale]) as next_one:
            assert port < next_one.port < port + 20 and ask(next_one, "/api/sources").status == 200
            url = next_one.url
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", next_one.port), timeout=2).close()
        assert url == f"http://127.0.0.1:{next_one.port}/"
    with pytest.raises(PellucidError, match="0 to 65535"):
        Studio([tale], port=70_000)
    with pytest.raises(PellucidError, match=r"cannot listen on 192\.0\.2\.1"):
        Studio([tale], host="192.0.2.1", port=0)
