"""`Service`: GPT-3's service in a thread: the completions API, and the studio under /."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.files import make_folder
from pellucid.record import SUFFIX
from pellucid.serve.http.keys import KeyRing, StoredKey
from pellucid.serve.http.listening import listen
from pellucid.serve.http.same_origin import LOCAL, allowed_hosts
from pellucid.serve.openai.models import ModelTable, is_directory
from pellucid.serve.openai.settings import RECORDS, ServiceSettings


if TYPE_CHECKING:
    from starlette.applications import Starlette

    from pellucid.serve.openai.recording import CompletionRecorder

PORT = 8000  # as vLLM's server
CLOSE_TIMEOUT = 1.0  # seconds that clients have to read the rest of their answers when the server ends


class Service:
    """A server of models: `with Service(models) as service: print(service.url)`.

    Args:
        models: that answer; the service ends their engines.
        host: address to listen on. Another than this machine's own needs keys.
        port: None takes `PORT`, or the next one that is free; 0 any free one.
        keys: of those who may ask; None: everybody who reaches the address.
        settings: limits and choices.
        studio: whether the studio is served under /.
        data: a folder where records are kept; None: the last ones are kept in memory.

    Attributes:
        url: of the server on this machine, without a slash at its end.

    Raises:
        PellucidError: another address than this machine's own without keys, a host or port that cannot be listened on, or a
            folder that cannot be made.
    """

    def __init__(
        self, models: ModelTable, host: str = "127.0.0.1", port: int | None = None, *,
        keys: Sequence[StoredKey] | None = None, settings: ServiceSettings | None = None, studio: bool = True,
        data: Path | None = None,
    ) -> None:  # fmt: skip
        if keys is None and host.lower() not in LOCAL:
            raise PellucidError(
                f"everybody who reaches {shown(host)} could ask: make keys with `pellucid serve --new-key NAME --keys FILE` "
                "and start with --keys FILE, or listen on this machine alone (127.0.0.1)"
            )
        if data is not None:
            make_folder(data / RECORDS)
        self.models = models
        self.settings = settings or ServiceSettings()
        self._keys = KeyRing(keys)
        self._host = host
        self._with_studio, self._data = studio, data
        self._studio: Starlette | None = None
        self._draining = False
        self._socket = listen(host, port, PORT)
        self.port = self._socket.getsockname()[1]
        address = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        self.url = f"http://{address}:{self.port}"

    def start(self) -> Self:
        """Starts the server; returns when it accepts connections."""
        from starlette.middleware import Middleware

        from pellucid.serve.http.connection import ConnectionProtocol
        from pellucid.serve.http.lifetime import RequestLifetimeMiddleware
        from pellucid.serve.http.same_origin import SameOriginMiddleware
        from pellucid.serve.http.server_thread import ServerThread
        from pellucid.serve.openai.api import CompletionsApi
        from pellucid.serve.openai.errors import error_response
        from pellucid.serve.openai.front import ServiceFront
        from pellucid.serve.openai.metrics import RequestMetrics

        settings = self.settings
        self._closing = asyncio.Event()
        self._metrics = RequestMetrics(self.models)
        hosts = None if self._keys.needed else allowed_hosts(self._host)
        limits: dict[str, Any] = {"max_body": settings.max_body, "error": error_response}
        studio, recorder = self._make_studio(hosts)
        app = CompletionsApi(self.models, settings, self._metrics, lambda: not self._draining, recorder).app([
            Middleware(SameOriginMiddleware, hosts=hosts, for_programs=True, **limits),
            Middleware(RequestLifetimeMiddleware, closing=self._closing, **limits),
        ])  # fmt: skip
        front = ServiceFront(app, studio, self._keys, settings, self._metrics, lambda: self._draining)

        class Connection(ConnectionProtocol):
            max_connections = settings.max_connections

        self._thread = ServerThread(front, self._socket, Connection, "pellucid serve")
        self._thread.start()
        return self

    def _make_studio(self, hosts: Sequence[str] | None) -> "tuple[Starlette | None, CompletionRecorder | None]":
        """The studio of these models, and what records completions for it."""
        if not self._with_studio:
            return None, None
        from pellucid.serve.openai.recording import CompletionRecorder
        from pellucid.serve.studio.app import make_app
        from pellucid.serve.studio.sources import SourceCatalog

        shown = [model.source for model in self.models if model.source is not None and is_directory(model.source)]
        catalog = SourceCatalog(shown)
        for path in sorted((self._data / RECORDS).glob(f"*{SUFFIX}")) if self._data else ():
            catalog.add_record(path)
        self._studio = make_app(catalog, hosts)
        return self._studio, CompletionRecorder(catalog, self._studio.state.completions, self._data)

    @property
    def running(self) -> int:
        """Requests that are being answered."""
        return len(self._thread.state.tasks)

    def drain(self) -> None:
        """Begins to end: it is not ready, and refuses new work; what runs goes on."""
        self._draining = True

    def close(self) -> None:
        """Refuses new work, lets running requests go on for `drain_seconds`, then ends them and the server."""
        self.drain()
        deadline = time.monotonic() + self.settings.drain_seconds
        while self.running and time.monotonic() < deadline and not self._thread.wait(0.02):
            pass
        self.abort()

    def abort(self) -> None:
        """Ends running requests and the server."""
        self._draining = True

        def end() -> None:
            self._closing.set()
            if studio is not None:
                studio.state.closing.set()
                studio.state.completions.end_streams()
            self._thread.stop(CLOSE_TIMEOUT)

        studio = self._studio
        self._thread.call(end)
        if studio is not None:
            studio.state.completions.close()
        self.models.close()
        self._thread.join()
        self._socket.close()

    def wait(self) -> None:
        """Waits until the server has ended; signals in the main thread are still handled."""
        self._thread.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
