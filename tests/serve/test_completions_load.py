"""The service as a process under load: many streaming clients of which some leave or do not read, signals, and a new start."""

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from service import expected, joined
from serving import Answer, ask, until

from pellucid.generation.text_generator import open_text_generator


pytestmark = pytest.mark.long
CLIENTS, ROUNDS = 200, 3
HEAD = b"POST /v1/completions HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
MAX_GROWTH = 12 << 20  # bytes of memory from the first round to the last


class Process:
    """`pellucid serve` in a process, as tests ask a `Service`."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "pellucid", "serve", "--port", "0", "--json", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        said = json.loads(self.process.stdout.readline())
        self.url, self.port, self.pid = said["url"], said["port"], self.process.pid
        self.model = said["models"][0]

    def post(self, body: dict[str, Any], **headers: str | None) -> Answer:
        return ask(self, "/v1/completions", method="POST", body={"model": self.model} | body, **headers)  # type: ignore[arg-type]

    def metric(self, name: str) -> float:
        lines = ask(self, "/metrics").body.decode().splitlines()  # type: ignore[arg-type]
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"pellucid:{name}{{"))

    @property
    def memory(self) -> int:
        """Bytes of resident memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def process(*arguments: str) -> Iterator[Process]:
    started = Process(*arguments)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.communicate()


def bodies(count: int) -> list[dict[str, Any]]:
    """Mixed requests of a seed each."""
    chance = random.Random(5)
    made = []
    for seed in range(count):
        made.append({
            "prompt": chance.choice([[7, 8, 9] * 8, "the fox and", ["On day", "the"], [5]]), "seed": seed,
            "max_tokens": chance.randrange(5, 30), "n": chance.choice([1, 1, 2]), "echo": chance.random() < 0.3,
            "logprobs": chance.choice([None, None, 2]), "temperature": chance.choice([0, 1, 1.5]),
            "stop": chance.choice([None, "e ", ["a", "th"]]), "presence_penalty": chance.choice([0, 1]),
        })  # fmt: skip
    return made


async def stream(port: int, body: dict[str, Any], *, leaves: int | None, pause: float) -> bytes | None:
    """The body of a streamed response; None for a client that leaves after so many reads."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
    data = json.dumps({"model": "tiny", "stream": True, "stream_options": {"include_usage": True}} | body).encode()
    writer.write(HEAD % len(data) + data)
    await writer.drain()
    got, count = b"", 0
    try:
        while part := await reader.read(600):
            got, count = got + part, count + 1
            if leaves is not None and count > leaves:
                return None
            if pause:
                await asyncio.sleep(pause)
    finally:
        writer.close()
    head_of, _, rest = got.partition(b"\r\n\r\n")
    assert b" 200 " in head_of.splitlines()[0], got
    return rest


def events_of(body: bytes) -> list[dict[str, Any]]:
    parts = body.decode().split("\n\n")
    assert parts[-2:] == ["data: [DONE]", ""]
    return [json.loads(part.removeprefix("data: ")) for part in parts[:-2]]


def test_200_streaming_clients_of_which_a_third_leaves(tiny_run: Path) -> None:
    """No token wrong or lost, no request harmed by another, memory flat, all slots free; slow readers hold nobody up."""
    mixed, generator = bodies(24), open_text_generator(tiny_run)
    wanted = [expected(generator, body) for body in mixed]
    chance, memory = random.Random(1), []
    with process("-m", f"tiny={tiny_run}", "--max-sequences", "16", "--max-waiting", "1000") as served:

        async def round_of_clients() -> int:
            chosen = [(chance.randrange(len(mixed)), chance.random() < 1 / 3, chance.random() < 0.1) for _ in range(CLIENTS)]
            got = await asyncio.gather(*(
                stream(served.port, mixed[i], leaves=chance.randrange(4) if leaving else None, pause=0.05 if slow else 0)
                for i, leaving, slow in chosen
            ))  # fmt: skip
            whole = 0
            for (i, _, _), body in zip(chosen, got, strict=True):
                if body is not None:
                    assert joined(events_of(body)) == wanted[i]
                    whole += 1
            return whole

        for _ in range(ROUNDS):
            assert asyncio.run(round_of_clients()) >= CLIENTS // 2
            until(lambda: not served.metric("num_requests_running") and not served.metric("num_requests_waiting"))
            memory.append(served.memory)
        assert memory[-1] - memory[0] < MAX_GROWTH, memory


def test_a_client_that_reads_nothing_holds_nobody_up(tiny_run: Path) -> None:
    body = {"prompt": ["the"] * 8, "n": 60, "max_tokens": 50, "logprobs": 5, "seed": 1, "logit_bias": {"299": -100}}
    with process("-m", f"tiny={tiny_run}", "--max-waiting", "1000") as served:

        async def run() -> tuple[float, bytes]:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1 << 12)
            data = json.dumps({"model": "tiny", "stream": True} | body).encode()
            writer.write(HEAD % len(data) + data)
            await asyncio.sleep(1)  # nothing is read: megabytes wait for this client
            began = time.monotonic()
            answers = await asyncio.gather(*(stream(served.port, one, leaves=None, pause=0) for one in bodies(10)))
            seconds = time.monotonic() - began
            assert all(answers)
            got = b""
            while part := await reader.read(1 << 20):
                got += part
            writer.close()
            return seconds, got.partition(b"\r\n\r\n")[2]

        seconds, got = asyncio.run(run())
        choices = joined(events_of(got))["choices"]
        assert len(choices) == 480 and all(len(choice["logprobs"]["tokens"]) == 50 for choice in choices)
        generator = open_text_generator(tiny_run)
        assert choices[60:120] == expected(generator, body | {"prompt": ["the"] * 2})["choices"][60:]
        assert len(events_of(got)) < 480 * 50  # tokens that came while it did not read are one event
        assert seconds < 60


def test_sigterm_lets_running_requests_end_and_a_killed_server_answers_the_same_again(tiny_run: Path) -> None:
    body = {"prompt": "the", "max_tokens": 60, "seed": 4, "logit_bias": {"299": -100}, "n": 20}
    answers = []
    for end in (signal.SIGKILL, signal.SIGTERM):
        with process("-m", f"tiny={tiny_run}") as served:
            answers.append(served.post(body).json()["choices"])

            async def ended_while_streaming(served: Process = served) -> bytes | None:
                streaming = asyncio.create_task(stream(served.port, body, leaves=None, pause=0.005))
                while not served.metric("num_requests_running"):
                    await asyncio.sleep(0)
                served.process.send_signal(signal.SIGTERM)
                return await streaming

            if end == signal.SIGKILL:
                served.process.send_signal(end)
                assert served.process.wait(20) == -9
            else:
                got = asyncio.run(ended_while_streaming())
                assert got is not None and joined(events_of(got))["choices"] == answers[0]
                assert served.process.wait(20) == 0
    assert answers[0] == answers[1] == expected(open_text_generator(tiny_run), body)["choices"]


def mapped(pid: int, name: str) -> dict[str, int]:
    """What a process has in memory of a file, in kB by kind, summed over its mappings (`/proc/PID/smaps`)."""
    found: dict[str, int] = {}
    inside = False
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(name)
        elif inside and line.endswith(" kB"):
            kind, kilobytes = line.removesuffix(" kB").split(":")
            found[kind] = found.get(kind, 0) + int(kilobytes)
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells what processes share")
def test_processes_share_the_weights_that_they_map(tiny_run: Path) -> None:
    arguments = ("-m", f"tiny={tiny_run}", "--kernel", "off", "--no-studio")
    with process(*arguments) as one, process(*arguments) as other:

        def shared() -> bool:
            """The system takes back pages that are not used, and maps those around one that is: both processes use them all."""
            for served in (one, other):
                assert served.post({"prompt": "the fox", "max_tokens": 3}).status == 200
            found = [mapped(served.pid, "model.safetensors") for served in (one, other)]
            assert all(of["Private_Dirty"] == of["Anonymous"] == 0 for of in found), found  # no process has its own copy
            return all(of["Rss"] > 0 and of["Shared_Clean"] > 0.9 * of["Rss"] for of in found)

        until(shared, tries=200)
