"""What tests of the studio's server share: requests without a library, and browser pages that must not complain."""

import http.client
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pellucid.serve import Studio


class Answer:
    """What came back: status, headers (names in lower case) and body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return str(self.json()["error"])


def ask(studio: Studio, path: str, *, method: str = "GET", body: Any = None, **headers: str | None) -> Answer:
    """Asks. headers: by name with _ for -; None leaves out what would be there."""
    connection = http.client.HTTPConnection("127.0.0.1", studio.port, timeout=30)
    given = {"host": urlsplit(studio.url).netloc} | {name.replace("_", "-"): value for name, value in headers.items()}
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    if data is not None:
        given = {"content-type": "application/json", "content-length": str(len(data))} | given
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in given.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(data)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def events(answer: Answer) -> list[tuple[str, Any]]:
    """The server-sent events of an answer."""
    assert answer.headers["content-type"].startswith("text/event-stream"), answer.body
    return events_of(answer.body)


def events_of(body: bytes) -> list[tuple[str, Any]]:
    """The server-sent events of a body: (name, data) pairs."""
    parts = body.decode("utf-8").strip().split("\n\n")
    pairs = [part.splitlines() for part in parts]
    return [(head.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for head, data in pairs]


def until(reached: Callable[[], object], tries: int = 3000) -> None:
    """Polls until a state is reached; fails where it never is."""
    for _ in range(tries):
        if reached():
            return
        threading.Event().wait(0.01)
    raise AssertionError("the state is never reached")


def is_idle(studio: Studio) -> bool:
    """Whether nothing of any client is left: no connection, task, place in the line, held model or sequence of an engine."""
    server, service = studio._server.server_state, studio._completions
    loaded = service._models.loaded
    engine = loaded and loaded._driver
    return not (
        server.connections or server.tasks or service._waiting or service._concurrent or service._recording_lock.locked()
        or service._tasks or (loaded and loaded.users) or (engine and engine.unfinished)
    )  # fmt: skip


def start(studio: Studio, body: dict[str, Any]) -> http.client.HTTPConnection:
    """Asks without waiting for the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", studio.port, timeout=20)
    connection.request("POST", "/api/generate", json.dumps({"model": "model-1"} | body), {"Content-Type": "application/json"})
    return connection


def read(connection: http.client.HTTPConnection) -> bytes:
    with closing(connection), connection.getresponse() as response:
        return response.read()


class Slow:
    """Holds every generation before each of its tokens until it is let go; counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.begun = threading.Event(), threading.Semaphore(0)
        self.tokens = 0
        from pellucid.interpret import capture

        original = capture.step_distribution

        def held(*given: Any, **named: Any) -> Any:
            self.tokens += 1
            self.begun.release()
            assert self.go.wait(20)
            return original(*given, **named)

        monkeypatch.setattr(capture, "step_distribution", held)


class SlowEngine:
    """Holds every step of an engine until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from pellucid.engine.engine import Engine

        self.go, self.begun = threading.Event(), threading.Semaphore(0)
        original = Engine.step

        def held(engine: Engine) -> Any:
            if threading.current_thread().name == "pellucid-engine":
                self.begun.release()
                assert self.go.wait(20)
            return original(engine)

        monkeypatch.setattr(Engine, "step", held)


@contextmanager
def studio_for(page: Any, sources: Sequence[str | Path]) -> Iterator[Studio]:
    """A studio that the page leaves before it closes: a closing one refuses what the page still asks, and that is reported."""
    with Studio(sources, port=0) as studio:
        yield studio
        page.goto("about:blank")


@contextmanager
def checked_page(browser: Any) -> Iterator[Any]:
    """A page that must log no errors or warnings, send no request to another host, and run nothing that a text contains."""
    found = browser.new_page(viewport={"width": 1200, "height": 800})
    problems: list[str] = []
    found.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    found.on("pageerror", lambda error: problems.append(str(error)))
    found.on("dialog", lambda dialog: (problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    found.on("request", lambda request: requests.append(request))
    requests: list[Any] = []
    found.asked, found.refused = requests, 0
    found.set_default_timeout(15_000)
    yield found
    found.close()
    refused = [problem for problem in problems if "Failed to load resource" in problem]
    assert len(refused) == found.refused and len(problems) == len(refused), problems
    assert {request.url.split("/")[2] for request in requests if not request.url.startswith("data:")} <= {"", own(requests)}


def own(requests: list[Any]) -> str:
    return str(requests[0].url.split("/")[2]) if requests else ""
