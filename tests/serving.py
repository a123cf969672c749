"""What tests of the studio's server share: requests without a library, and browser pages that must not complain."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

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
