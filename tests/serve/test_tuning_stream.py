"""A long file is written and checked as a stream, in the memory of a small one, while completions are answered.

In `.ci/full` it has 100 MB, the most that one may have unless the server says otherwise.
"""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cases import TIMES
from test_tuning_jobs import KilledService
from tuning import BOUNDARY, Caller, form


pytestmark = pytest.mark.long
MIB = 1 << 20
SIZE = (24 if TIMES == 1 else 99) * MIB
GROWTH = 64 * MIB  # of a process, beyond what a file of 2 MiB takes


def lines(size: int) -> Iterator[bytes]:
    """About so many bytes of examples, each another; the last one lacks the separator."""
    words = "one two three four five six seven eight nine ten " * 24
    sent = number = 0
    while sent < size - 3000:
        line = json.dumps({"prompt": f"{number}: {words}->", "completion": f" {number}\n"}).encode() + b"\n"
        number, sent = number + 1, sent + len(line)
        yield line
    yield json.dumps({"prompt": "the last", "completion": " x\n"}).encode() + b"\n"


def upload(server: KilledService, size: int) -> dict[str, object]:
    head, _, tail = form(b"MARK").partition(b"MARK")

    def body() -> Iterator[bytes]:
        yield head
        yield from lines(size)
        yield tail

    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)) as connection:
        kind = {"content-type": f"multipart/form-data; boundary={BOUNDARY}", "transfer-encoding": "chunked"}
        connection.request("POST", "/v1/files", body(), kind, encode_chunked=True)
        answer = connection.getresponse()
        found = json.loads(answer.read())
    assert answer.status == 200, found
    return dict(found)


def peak(pid: int) -> int:
    """The most memory that a process has had, in bytes; 0: it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(found[0]) * 1024 if found else 0


def checkers() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"pellucid.serve.tuning.check" in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_long_file_takes_the_memory_of_a_short_one(tiny_run: Path, tmp_path: Path) -> None:
    server, others = KilledService(tiny_run, tmp_path / "data"), set(checkers())
    server.start()
    try:
        assert server.process is not None
        peaks: dict[str, int] = {}

        def watch(name: str, done: threading.Event) -> None:
            while not done.wait(0.02):
                peaks[name] = max([peaks.get(name, 0), *(peak(pid) for pid in checkers() if pid not in others)])

        answered = []
        for name, size in (("small", 2 * MIB), ("large", SIZE)):
            done = threading.Event()
            watcher = threading.Thread(target=watch, args=(name, done))
            watcher.start()
            uploading = threading.Thread(target=lambda size=size: answered.append(upload(server, size)))
            uploading.start()
            while uploading.is_alive():  # others are answered meanwhile
                Caller(server).post("/v1/completions", {"model": "tiny", "prompt": "the", "max_tokens": 4})  # type: ignore[arg-type]
                time.sleep(0.1)
            uploading.join()
            done.set()
            watcher.join()
            peaks[f"server {name}"] = peak(server.process.pid)
        small, large = answered
        assert large["bytes"] > SIZE - 2 * MIB  # type: ignore[operator]
        for file in (small, large):
            (finding,) = [one for one in file["x_findings"] if one["check"] == "separator"]  # type: ignore[attr-defined]
            assert finding["lines"] == [file["x_examples"]] and "->" in finding["mend"]
        assert peaks["large"] and peaks["large"] - peaks["small"] < GROWTH, peaks
        assert peaks["server large"] - peaks["server small"] < GROWTH, peaks
    finally:
        server.kill()
