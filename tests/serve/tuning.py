"""What tests of files and fine-tuning share: a service with keys and a folder, forms, examples."""

import http.client
import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from service import named
from serving import Answer, until

from pellucid.serve.http.keys import StoredKey, add_key, read_keys
from pellucid.serve.openai.models import EngineSettings, open_models
from pellucid.serve.openai.server import Service
from pellucid.serve.openai.settings import ServiceSettings
from pellucid.serve.tuning.settings import TuningSettings


BOUNDARY = "0123456789abcdef"
EXAMPLES: list[tuple[str, str]] = [(f"{a} plus {b} ->", f" {a + b}\n") for a in range(6) for b in range(5)]
ENDED = ("succeeded", "failed", "cancelled")


def jsonl(pairs: Sequence[tuple[Any, Any]]) -> bytes:
    return "".join(json.dumps({"prompt": prompt, "completion": text}) + "\n" for prompt, text in pairs).encode()


def form(content: bytes | None, filename: str = "examples.jsonl", purpose: str | None = "fine-tune", **more: str) -> bytes:
    """A form as the openai client sends it: the purpose first, the file last."""
    fields = ({} if purpose is None else {"purpose": purpose}) | more
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
    if content is not None:
        head = f'Content-Disposition: form-data; name="file"; filename="{filename}"\r\nContent-Type: application/octet-stream'
        parts.append(head.encode() + b"\r\n\r\n" + content)
    edge = f"--{BOUNDARY}".encode()
    return b"".join(edge + b"\r\n" + part + b"\r\n" for part in parts) + edge + b"--\r\n"


def new_keys(folder: Path, *names: str) -> tuple[list[StoredKey], list[str]]:
    """Keys as a server reads them, and as their owners have them."""
    path = folder / "keys.json"
    given = [add_key(path, name) for name in names]
    return read_keys(path), given


@contextmanager
def tuning_of(run: Path, data: Path, *, keys: Any = None, **settings: Any) -> Iterator[Service]:
    """A service of a tiny model with a folder; `at_once=0` leaves jobs waiting."""
    general = ServiceSettings(drain_seconds=0, keys_needed=keys is not None)
    studio = settings.pop("studio", False)
    quotas = TuningSettings(**{"threads": 1, "niceness": 0} | settings)
    models = open_models([named(run)], EngineSettings())
    with Service(models, port=0, settings=general, studio=studio, data=data, keys=keys, tuning=quotas) as service:
        yield service


class Caller:
    """Asks a service with a key."""

    def __init__(self, service: Service, key: str = "none") -> None:
        self.service, self.key = service, key

    def __call__(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
        given = {"authorization": f"Bearer {self.key}"} | {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if data is not None:
            given = {"content-type": "application/json"} | given
        with closing(http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=60)) as connection:
            connection.request(method, path, data, given)
            return Answer(connection.getresponse())

    def get(self, path: str) -> Any:
        answer = self(path)
        assert answer.status == 200, answer.body
        return answer.json()

    def post(self, path: str, body: Any = None) -> Any:
        answer = self(path, "POST", {} if body is None else body)
        assert answer.status == 200, answer.body
        return answer.json()

    def send(
        self, content: bytes | None, filename: str = "examples.jsonl", purpose: str | None = "fine-tune", **more: str
    ) -> Answer:
        return self(
            "/v1/files", "POST", form(content, filename, purpose, **more),
            content_type=f"multipart/form-data; boundary={BOUNDARY}",
        )  # fmt: skip

    def upload(self, content: bytes | None = None, filename: str = "examples.jsonl") -> dict[str, Any]:
        answer = self.send(jsonl(EXAMPLES) if content is None else content, filename)
        assert answer.status == 200, answer.body
        return dict(answer.json())

    def job(self, file: str, **fields: Any) -> dict[str, Any]:
        return dict(self.post("/v1/fine_tuning/jobs", {"model": "tiny", "training_file": file} | fields))

    def ended(self, job: str, tries: int = 12_000) -> dict[str, Any]:
        """A job, once it has ended."""
        until(lambda: self.get(f"/v1/fine_tuning/jobs/{job}")["status"] in ENDED, tries)
        return dict(self.get(f"/v1/fine_tuning/jobs/{job}"))

    def events(self, job: str) -> list[str]:
        """The messages of a job's events, the oldest first."""
        return [one["message"] for one in self.pages(f"/v1/fine_tuning/jobs/{job}/events", 100)][::-1]

    def pages(self, path: str, limit: int) -> list[dict[str, Any]]:
        """All that a list has, page by page, as the client goes through it."""
        found: list[dict[str, Any]] = []
        while True:
            after = f"&after={found[-1]['id']}" if found else ""
            page = self.get(f"{path}?limit={limit}{after}")
            found += page["data"]
            if not page["has_more"] or not page["data"]:
                return found
