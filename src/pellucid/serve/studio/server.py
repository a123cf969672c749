"""`Studio`: the studio's server in a thread."""

import socket
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pellucid.errors import PellucidError
from pellucid.languages import current, language
from pellucid.serve.http.listening import listen, network_address


if TYPE_CHECKING:
    from pellucid.interpret.capture import RecordDtype
    from pellucid.serve.http.server_thread import ServerThread

PORT = 7355  # p-e-l-l on a telephone keypad
_CLOSE_TIMEOUT = 1.0  # seconds that clients have to read the rest of their answers when the server closes


class Studio:
    """A server on this machine: `with Studio(["runs/book"]) as studio: print(studio.url)`.

    Args:
        sources: run directories, record files, model directories, folders of these, or "default". None: the embedded model.
        host: address to listen on. With another than the default, every machine that reaches it can read and generate.
        port: None takes `PORT`, or the next one that is free; 0 any free one.
        record_dtype: of the records of completions, as `xray` takes it.
        lang: of the page where its address names none; None: the current language.

    Attributes:
        url: of the page on this machine, once the server accepts connections.
        network_url: of the page for other machines, where the server listens on all addresses and this machine has one on a
            network; else None.

    Raises:
        PellucidError: a source that cannot be shown, or a host or port that cannot be listened on.
    """

    def __init__(
        self, sources: Iterable[str | Path] = (), host: str = "127.0.0.1", port: int | None = None, *,
        record_dtype: "RecordDtype | None" = None, lang: str | None = None,
    ) -> None:  # fmt: skip
        from pellucid.serve.studio.sources import SourceCatalog  # starlette and uvicorn are imported when something is served

        self.catalog = SourceCatalog(sources)
        self._record_dtype = record_dtype
        with language(lang):
            self._language = current()
        self._socket = listen(host, port, PORT)
        bound = self._socket.getsockname()[1]
        address = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        self.host, self.port = host, bound
        self.url = f"http://{address}:{bound}/"
        everywhere = {"0.0.0.0": socket.AF_INET, "::": socket.AF_INET6}.get(host)
        reached = None if everywhere is None else network_address(everywhere)
        self.network_url = None if reached is None else f"http://{reached}:{bound}/"
        self._thread: ServerThread | None = None

    def start(self) -> Self:
        """Starts the server; returns when it accepts connections."""
        from pellucid.serve.http.connection import ConnectionProtocol
        from pellucid.serve.http.same_origin import LOCAL, allowed_hosts
        from pellucid.serve.http.server_thread import ServerThread
        from pellucid.serve.studio.app import make_app

        app = make_app(self.catalog, allowed_hosts(self.host), self._record_dtype, self._language, copies=self.host in LOCAL)
        self._completions, self._closing = app.state.completions, app.state.closing
        self._thread = ServerThread(app, self._socket, ConnectionProtocol, "pellucid studio")
        self._server = self._thread.server
        try:
            self._thread.start()
        except PellucidError:
            self.close()
            raise PellucidError(f"the server did not start at {self.url}") from None
        return self

    def close(self) -> None:
        """Ends running generations and stops the server: requests that wait get 503, streams an event."""
        thread = self._thread
        if thread is not None:

            def begin() -> None:
                self._closing.set()
                self._completions.end_streams()
                thread.stop(_CLOSE_TIMEOUT)

            thread.call(begin)
            self._completions.close()
            thread.server.should_exit = True  # where its loop does not run
            thread.join()
            self._thread = None
        self._socket.close()

    def wait(self) -> None:
        """Waits until the server has stopped; signals in the main thread are still handled."""
        if self._thread is not None:
            self._thread.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
