"""`Studio`: the studio's server in a thread."""

import asyncio
import errno
import socket
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.languages import current, language


if TYPE_CHECKING:
    from pellucid.interpret.capture import RecordDtype

PORT = 7355  # p-e-l-l on a telephone keypad
TRIES = 20  # ports tried from `PORT` on, if none was named
_START_TIMEOUT = 20.0  # seconds
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
        self._socket = _listen(host, port)
        bound = self._socket.getsockname()[1]
        address = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        self.host, self.port = host, bound
        self.url = f"http://{address}:{bound}/"
        everywhere = {"0.0.0.0": socket.AF_INET, "::": socket.AF_INET6}.get(host)
        reached = None if everywhere is None else _network_address(everywhere)
        self.network_url = None if reached is None else f"http://{reached}:{bound}/"
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()  # waited for: Python takes a thread for ended if a signal interrupts its `join`

    def start(self) -> Self:
        """Starts the server; returns when it accepts connections."""
        import uvicorn

        from pellucid.serve.http.connection import ConnectionProtocol
        from pellucid.serve.http.same_origin import allowed_hosts
        from pellucid.serve.studio.app import make_app

        app = make_app(self.catalog, allowed_hosts(self.host), self._record_dtype, self._language)
        self._completions, self._closing = app.state.completions, app.state.closing
        # Loop and protocol are named, so that other installed packages (uvloop, httptools) change nothing.
        self._server = uvicorn.Server(
            uvicorn.Config(
                app, loop="asyncio", http=ConnectionProtocol, ws="none", lifespan="off", log_config=None, log_level="error",
                access_log=False, server_header=False, proxy_headers=False, timeout_graceful_shutdown=30,
            )
        )  # fmt: skip
        self._thread = threading.Thread(target=self._serve, name="pellucid studio", daemon=True)
        self._thread.start()
        began = time.monotonic()
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() - began > _START_TIMEOUT:
                self.close()
                raise PellucidError(f"the server did not start at {self.url}")
            time.sleep(0.01)
        return self

    def _serve(self) -> None:
        async def run() -> None:
            self._loop = asyncio.get_running_loop()
            await self._server.serve(sockets=[self._socket])

        try:
            asyncio.run(run())
        finally:
            self._ended.set()

    def _begin_close(self) -> None:
        """In the server's thread: ends requests that wait (503) and streams (an event), and soon closes what is still open."""
        self._closing.set()
        self._completions.end_streams()
        self._server.should_exit = True

        def abort() -> None:
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()

        self._loop.call_later(_CLOSE_TIMEOUT, abort)

    def close(self) -> None:
        """Ends running generations and stops the server."""
        if self._thread is not None:
            with suppress(RuntimeError, AttributeError):  # it has ended by itself, or never began
                self._loop.call_soon_threadsafe(self._begin_close)
            self._completions.close()
            self._server.should_exit = True
            self._ended.wait()
            self._thread.join()
            self._thread = None
        self._socket.close()

    def wait(self) -> None:
        """Waits until the server has stopped; signals in the main thread are still handled."""
        while self._thread is not None and not self._ended.wait(0.5):
            pass

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _network_address(family: socket.AddressFamily) -> str | None:
    """The address by which other machines reach this one; None where it is on no network.

    Connecting a datagram socket sends nothing: it makes the system choose the address that it would send from. Those it is
    asked about belong to documentation (RFC 5737, RFC 3849).
    """
    target = "192.0.2.1" if family == socket.AF_INET else "2001:db8::1"
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((target, 9))
        found = str(probe.getsockname()[0])
        if found not in ("127.0.0.1", "::1", "0.0.0.0", "::"):
            return found if family == socket.AF_INET else f"[{found}]"
    return None


def _listen(host: str, port: int | None) -> socket.socket:
    """A listening socket: bound here, so that no other process can take the port between the check and the bind."""
    wanted = range(PORT, PORT + TRIES) if port is None else [port]
    if port is not None and not 0 <= port < 1 << 16:
        raise PellucidError(f"a port is a number from 0 to 65535, not {port}")
    for number in wanted:
        try:
            family, kind, proto, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
        except OSError as error:
            raise PellucidError(f"cannot listen on {host}: {error.strerror or error}") from None
        except ValueError:  # of its encoding
            raise PellucidError(f"cannot listen on {shown(host)}: it is no host name") from None
        found = socket.socket(family, kind, proto)
        try:
            _exclusive(found)
            found.bind(address)
            found.listen(128)
            return found
        except OSError as error:
            found.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise PellucidError(f"cannot listen on {host}: {error.strerror or error}") from None
            if port is not None:
                why = "is in use" if error.errno == errno.EADDRINUSE else "is not allowed"
                raise PellucidError(f"port {port} {why}: choose another --port, or leave it out") from None
    raise PellucidError(f"ports {PORT} to {PORT + TRIES - 1} are in use: choose another with --port")


def _exclusive(found: socket.socket) -> None:
    """Allows a port in TIME_WAIT, but not one that is in use (on Windows SO_REUSEADDR would allow that)."""
    if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
        found.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
