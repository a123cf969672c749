"""The service against the servers of llama-cpp-python and `transformers`, and against our engine without HTTP.

All serve GPT-2's 124M shape with the same random weights in float32, a thread per core, and are asked in turn by clients of one
process, each of which streams one completion of a prompt of its own. No prompt comes twice, so that no cache of prefixes helps.
Time to the first token is from the request to the first event; its percentiles are over the clients of all rounds.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from time import monotonic, perf_counter, sleep
from types import TracebackType
from typing import Self

from pellucid.bench.backends import CORES, write_models
from pellucid.bench.compare import Comparison, Rounds, in_turn, less_is_better
from pellucid.bench.peer_comparison import ALL_CORES, WorkerPool
from pellucid.bench.worker import Worker
from pellucid.errors import PellucidError


ABOUT = "the completions service: 1, 8 and 32 streaming clients, against other servers and the engine without HTTP"
NAME = "gpt2-124m"
CLIENTS = (1, 8, 32)
WRITTEN, WORDS_READ = 32, 60  # tokens of an answer, words of a prompt
START_TIMEOUT = 300.0  # seconds
WORDS = (
    "the", "old", "king", "said", "that", "he", "would", "go", "to", "sea", "with", "his", "son", "and", "bring", "home",
    "gold",
)  # fmt: skip
ENGINE = "the engine without HTTP"


class ServerProcess:
    """A server in a process; a context manager that ends it.

    Args:
        command: that starts it on `port`. path: its health, or any address that it answers. words: its description.
        model: its name for the model.

    Raises:
        PellucidError: it ended, or did not answer in time.
    """

    def __init__(self, command: Sequence[str], port: int, path: str, words: str, *, model: str = NAME) -> None:
        self.port, self.words, self.model = port, words, model
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - a pipe that nobody reads would fill up
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=self._errors, env={**os.environ, **ALL_CORES}
        )
        began = monotonic()
        while not _answers(port, path):
            if self._process.poll() is not None or monotonic() - began > START_TIMEOUT:
                self.close()
                with self._errors:
                    raise PellucidError(f"{words} did not start: {self._last_line()}")
            sleep(0.2)

    def close(self) -> None:
        """Ends it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _last_line(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
        self._errors.close()


def comparisons(rounds: int) -> Sequence[Comparison]:
    """`serve/gpt2-124m/{1,8,32}-clients/...` against every server that is installed, and the engine."""
    from pellucid.text.r50k import r50k

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        files = write_models(Path(folder))
        ours = stack.enter_context(our_server(files["model"]))
        peers, missing = {}, []
        for name, start in PEERS.items():
            try:
                peers[name] = stack.enter_context(start(files))
            except PellucidError as error:
                missing.append(Comparison(f"serve/{NAME}/vs-{name}", 0.0, "not measured", str(error), 0.0, 0.0))
        pool = stack.enter_context(WorkerPool())
        engine = pool.get("ours", {"directory": files["model"], "kernel": "auto", "weights": "float32"})
        rows = [row for clients in CLIENTS for row in at_load(clients, ours, peers, engine, r50k().encode, rounds)]
        return rows + missing


def at_load(
    clients: int, ours: ServerProcess, peers: Mapping[str, ServerProcess], engine: Worker, encode: Callable[[str], list[int]],
    rounds: int,
) -> list[Comparison]:  # fmt: skip
    """The rows of one number of clients.

    Args:
        engine: a worker of `backends.ours` with the same model. encode: its tokenizer's.

    Raises:
        PellucidError: a server did not answer as asked.
    """
    numbers = count(clients * 1000)  # of prompts
    firsts: dict[str, list[float]] = {name: [] for name in ("ours", *peers)}

    def of_server(name: str, server: ServerProcess) -> float:
        texts = [prompt_text(next(numbers)) for _ in range(clients)]
        seconds, first = asyncio.run(load(server, texts))
        firsts[name] += first
        return seconds

    def of_engine() -> float:
        ids = [encode(prompt_text(next(numbers))) for _ in range(clients)]
        return float(engine.ask({"prompts": ids, "tokens": WRITTEN})["whole"])

    works = {"ours": partial(of_server, "ours", ours)} | {name: partial(of_server, name, one) for name, one in peers.items()}
    seen = in_turn(works, of_engine, rounds=rounds)
    own, work = seen["ours"].ours, clients * WRITTEN
    base = f"serve/{NAME}/{clients}-clients"
    against = {name: Rounds(own, seen[name].ours) for name in peers}
    rows: list[Comparison] = []
    for name, pair in sorted(against.items(), key=lambda one: median(one[1].peers)):  # the fastest peer first
        words = f"{peers[name].words}; ours: {ours.words}"
        names = [f"{base}/vs-{name}"] if rows else [base, f"{base}/vs-{name}"]
        rows += [pair.rate(row, words, work=work) for row in names]
        for part, place in (("p50", 49), ("p99", 98)):
            mine, theirs = (_percentile(firsts[who][-clients * rounds :], place) for who in ("ours", name))
            rows.append(less_is_better(f"{base}/first-token-{part}/vs-{name}", "s", words, mine, theirs))
    rows.append(seen["ours"].rate(f"{base}/vs-engine", f"{ENGINE}; ours: {ours.words}", work=work))
    return rows


def _percentile(values: Sequence[float], place: int) -> float:
    return quantiles(values, n=100, method="inclusive")[place] if len(values) > 1 else values[0]


def prompt_text(number: int) -> str:
    """A prompt of about as many tokens as words; another for another number, from its first words on."""
    return f"{number} " + " ".join(WORDS[(i * i + number * (i + 3)) % len(WORDS)] for i in range(WORDS_READ))


async def load(server: ServerProcess, texts: Sequence[str]) -> tuple[float, list[float]]:
    """Streams a completion of each text at once. Returns the seconds in all, and those until each one's first event.

    Raises:
        PellucidError: an answer is not one of `WRITTEN` tokens.
    """
    began = perf_counter()
    firsts = await asyncio.gather(*(_stream(server, text) for text in texts))
    return perf_counter() - began, list(firsts)


async def _stream(server: ServerProcess, text: str) -> float:
    """Streams one completion; returns the seconds until its first event."""
    fields = {"model": server.model, "prompt": text, "max_tokens": WRITTEN, "temperature": 0, "stream": True}
    body = json.dumps(fields).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n"
    began = perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    got, first = b"", 0.0
    while part := await reader.read(1 << 16):
        got += part
        if not first and b"data: " in got:
            first = perf_counter() - began
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    if b" 200 " not in got[:20] or b'"length"' not in got:
        raise PellucidError(f"a server did not answer with {WRITTEN} tokens: {got[-300:]!r}")
    return first


# The servers.


def our_server(directory: str) -> ServerProcess:
    """`pellucid serve`, with its defaults."""
    port = _free_port()
    command = [sys.executable, "-m", "pellucid", "serve", "-m", f"{NAME}={directory}", "--port", str(port), "--no-studio"]
    return ServerProcess(command, port, "/readyz", "pellucid serve, float32")


def llama_server(files: Mapping[str, str]) -> ServerProcess:
    """llama-cpp-python's server, with a thread per core; one request waits for another, where its default would end that other.
    Raises PellucidError: it is not installed."""
    if find_spec("llama_cpp") is None or find_spec("sse_starlette") is None:
        raise PellucidError("pip install 'llama-cpp-python[server]'")
    from importlib.metadata import version

    port = _free_port()
    command = [
        sys.executable, "-m", "llama_cpp.server", "--model", files["F32"], "--port", str(port), "--n_ctx", "1024",
        "--n_threads", str(CORES), "--n_threads_batch", str(CORES), "--model_alias", NAME, "--verbose", "False",
        "--interrupt_requests", "False",
    ]  # fmt: skip
    return ServerProcess(command, port, "/v1/models", f"llama-cpp-python {version('llama-cpp-python')}'s server, F32")


def transformers_server(files: Mapping[str, str]) -> ServerProcess:
    """`transformers serve` with its continuous batching. Raises PellucidError: it is not installed."""
    if find_spec("transformers") is None or find_spec("fastapi") is None:
        raise PellucidError("pip install 'transformers[serving]'")
    from importlib.metadata import version

    port = _free_port()
    words = f"transformers {version('transformers')} serve with continuous batching, float32"
    command = [
        sys.executable, "-m", "transformers.cli.transformers", "serve", files["model"], "--host", "127.0.0.1", "--port",
        str(port), "--device", "cpu", "--dtype", "float32", "--continuous-batching",
    ]  # fmt: skip
    return ServerProcess(command, port, "/health", words, model=files["model"])


PEERS = {"llama-cpp-python": llama_server, "transformers": transformers_server}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int, path: str) -> bool:
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
