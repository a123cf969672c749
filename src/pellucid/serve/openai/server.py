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
from pellucid.serve.http.keys import Client, KeyRing, StoredKey
from pellucid.serve.http.listening import listen
from pellucid.serve.http.same_origin import LOCAL, allowed_hosts
from pellucid.serve.openai.models import EngineSettings, ModelTable, ServedModel, is_directory, open_model
from pellucid.serve.openai.settings import RECORDS, ServiceSettings
from pellucid.serve.tuning.settings import TuningSettings


if TYPE_CHECKING:
    from starlette.applications import Starlette

    from pellucid.serve.http.server_thread import ServerThread
    from pellucid.serve.openai.recording import CompletionRecorder
    from pellucid.serve.studio.loaded_model import LoadedModels
    from pellucid.serve.tuning.service import TuningService
    from pellucid.serve.tuning.tuned_models import Open

PORT = 8000  # as vLLM's server
CLOSE_TIMEOUT = 1.0  # seconds that clients have to read the rest of their answers when the server ends
MAX_STUDIO_MODELS = 4  # a choice: in memory beside the engines, of the studios of all keys together


class Service:
    """A server of models: `with Service(models) as service: print(service.url)`.

    Args:
        models: that answer; the service ends their engines.
        host: address to listen on. Another than this machine's own needs keys.
        port: None takes `PORT`, or the next one that is free; 0 any free one.
        keys: of those who may ask; None: everybody who reaches the address.
        settings: limits and choices.
        studio: whether the studio is served under /.
        data: a folder where records are kept, and what fine-tuning needs; None: the last records are kept in memory, and there
            is no fine-tuning.
        tuning: quotas of fine-tuning. open_tuned: opens a fine-tuned model; None: as `models.open_model` does.

    Attributes:
        url: of the server on this machine, without a slash at its end.

    Raises:
        PellucidError: another address than this machine's own without keys, a host or port that cannot be listened on, or a
            folder that cannot be made.
    """

    def __init__(
        self, models: ModelTable, host: str = "127.0.0.1", port: int | None = None, *,
        keys: Sequence[StoredKey] | None = None, settings: ServiceSettings | None = None, studio: bool = True,
        data: Path | None = None, tuning: TuningSettings | None = None, open_tuned: "Open | None" = None,
    ) -> None:  # fmt: skip
        if keys is None and host.lower() not in LOCAL:
            raise PellucidError(
                f"everybody who reaches {shown(host)} could ask: make keys with `pellucid serve --new-key NAME --keys FILE` "
                "and start with --keys FILE, or listen on this machine alone (127.0.0.1)"
            )
        if data is not None:
            make_folder(data / RECORDS)
        self.models = models
        self.tuning: TuningService | None = None
        self.settings = settings or ServiceSettings()
        self._keys = KeyRing(keys)
        self._host = host
        self._with_studio, self._data = studio, data
        self._studios: dict[str, tuple[Starlette, CompletionRecorder]] = {}  # by the id of a client
        self._studio_models: LoadedModels | None = None
        self._thread: ServerThread | None = None
        self._hosts: Sequence[str] | None = None
        self._draining = False
        if data is not None:
            from pellucid.serve.tuning import service

            self.tuning = service.TuningService(data, tuning or TuningSettings(), open_tuned or _open_tuned)
        try:
            self._socket = listen(host, port, PORT)
        except PellucidError:
            if self.tuning is not None:
                self.tuning.close()
            raise
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
        from pellucid.serve.openai.files_api import FORM_BYTES, UPLOADS
        from pellucid.serve.openai.front import ServiceFront
        from pellucid.serve.openai.metrics import RequestMetrics

        settings = self.settings
        self._closing = asyncio.Event()
        self._metrics = RequestMetrics(self.models)
        hosts = None if self._keys.needed else allowed_hosts(self._host)
        limits: dict[str, Any] = {"max_body": settings.max_body, "error": error_response}
        self._hosts = hosts
        uploads = {} if self.tuning is None else {UPLOADS: self.tuning.settings.file_bytes + FORM_BYTES}
        recorder_of = self._recorder_of if self._with_studio else None
        api = CompletionsApi(self.models, settings, self._metrics, lambda: not self._draining, recorder_of, self.tuning)
        app = api.app([
            Middleware(SameOriginMiddleware, hosts=hosts, for_programs=True, large=uploads, **limits),
            Middleware(RequestLifetimeMiddleware, closing=self._closing, streamed=tuple(uploads), **limits),
        ])  # fmt: skip
        studio_of = self._studio_of if self._with_studio else None
        front = ServiceFront(app, studio_of, self._keys, settings, self._metrics, lambda: self._draining)
        if self.tuning is not None:
            self.tuning.start()

        class Connection(ConnectionProtocol):
            max_connections = settings.max_connections

        self._thread = ServerThread(front, self._socket, Connection, "pellucid serve")
        self._thread.start()
        return self

    def _studio_of(self, client: Client) -> "Starlette":
        return self._client_studio(client)[0]

    def _recorder_of(self, client: Client) -> "CompletionRecorder":
        return self._client_studio(client)[1]

    def _client_studio(self, client: Client) -> "tuple[Starlette, CompletionRecorder]":
        """The studio of a client, and what records completions for it: the server's models, and what is the client's own.
        Called in the server's loop."""
        found = self._studios.get(client.id)
        if found is None:
            from pellucid.serve.openai.recording import CompletionRecorder
            from pellucid.serve.studio.app import make_app
            from pellucid.serve.studio.loaded_model import LoadedModels
            from pellucid.serve.studio.sources import SourceCatalog

            self._studio_models = self._studio_models or LoadedModels(MAX_STUDIO_MODELS)
            shown = [model.source for model in self.models if model.source is not None and is_directory(model.source)]
            catalog, folder, most = SourceCatalog(shown), None, 0
            if self._data is not None and self.tuning is not None:
                catalog.add_folder(self.tuning.scheduler.runs_of(client.id))
                folder, most = self._data / RECORDS / client.id, self.tuning.settings.record_bytes
                make_folder(folder)
                for path in sorted(folder.glob(f"*{SUFFIX}")):
                    catalog.add_record(path)
            app = make_app(catalog, self._hosts, tuning=self.tuning is not None, models=self._studio_models)
            found = self._studios[client.id] = app, CompletionRecorder(catalog, app.state.completions, folder, most)
        return found

    @property
    def running(self) -> int:
        """Requests that are being answered."""
        return 0 if self._thread is None else len(self._thread.state.tasks)

    def drain(self) -> None:
        """Begins to end: it is not ready, and refuses new work; what runs goes on."""
        self._draining = True

    def close(self) -> None:
        """Refuses new work, lets running requests go on for `drain_seconds`, then ends them and the server."""
        self.drain()
        deadline = time.monotonic() + self.settings.drain_seconds
        while self._thread is not None and self.running and time.monotonic() < deadline and not self._thread.wait(0.02):
            pass
        self.abort()

    def abort(self) -> None:
        """Ends running requests and the server, also one that has not started."""
        self._draining = True
        thread = self._thread
        if self.tuning is not None:
            self.tuning.end_checks()
        if thread is not None:
            def end() -> None:
                self._closing.set()
                for studio, _ in self._studios.values():
                    studio.state.closing.set()
                    studio.state.completions.end_streams()
                thread.stop(CLOSE_TIMEOUT)

            thread.call(end)
        for studio, _ in list(self._studios.values()):
            studio.state.completions.close()
        self.models.close()
        if thread is not None:
            thread.join()
        self._socket.close()
        if self.tuning is not None:
            self.tuning.close()

    def wait(self) -> None:
        """Waits until the server has ended; signals in the main thread are still handled."""
        assert self._thread is not None
        self._thread.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _open_tuned(id: str, directory: Path, owner: str, created: int) -> ServedModel:
    return open_model(id, directory, EngineSettings(), owner=owner, created=created)
