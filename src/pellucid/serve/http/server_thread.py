"""`ServerThread`: an ASGI application served by uvicorn in a thread of its own."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pellucid.errors import PellucidError


START_TIMEOUT = 20.0  # seconds


class ServerThread:
    """A thread that serves an application on a listening socket.

    Args:
        app: the ASGI application. listening: its socket; closed by whoever made it.
        protocol: the class of a connection (`connection.ConnectionProtocol`).
        name: of the thread.

    Attributes:
        server: uvicorn's.
    """

    def __init__(self, app: Any, listening: socket.socket, protocol: type[asyncio.Protocol], name: str) -> None:
        import uvicorn

        # Loop and protocol are named, so that other installed packages (uvloop, httptools) change nothing.
        self.server = uvicorn.Server(
            uvicorn.Config(
                app, loop="asyncio", http=protocol, ws="none", lifespan="off", log_config=None, log_level="error",
                access_log=False, server_header=False, proxy_headers=False, timeout_graceful_shutdown=30,
            )
        )  # fmt: skip
        self._socket = listening
        self._ended = threading.Event()  # waited for: Python takes a thread for ended if a signal interrupts its `join`
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    @property
    def state(self) -> Any:
        """uvicorn's state: connections and tasks."""
        return self.server.server_state

    def start(self) -> None:
        """Starts it; returns when connections are accepted.

        Raises:
            PellucidError: it ended, or took too long.
        """
        self._thread.start()
        began = time.monotonic()
        while not self.server.started:
            if not self._thread.is_alive() or time.monotonic() - began > START_TIMEOUT:
                self.stop(0)
                self.join()
                raise PellucidError("the server did not start")
            time.sleep(0.01)

    def call(self, function: Callable[[], None]) -> None:
        """Calls a function in the server's event loop, if that still runs."""
        with suppress(RuntimeError, AttributeError):  # it has ended by itself, or never began
            self._loop.call_soon_threadsafe(function)

    def stop(self, abort_after: float) -> None:
        """Ends the server when its responses are complete; after `abort_after` seconds closes connections that are open.

        Call it in the server's loop (`call`), or where that does not run.
        """
        self.server.should_exit = True

        def abort() -> None:
            for connection in list(self.state.connections):
                connection.transport.abort()

        with suppress(RuntimeError, AttributeError):
            self._loop.call_later(abort_after, abort)

    def wait(self, seconds: float | None = None) -> bool:
        """Waits until it has ended, for so long at most. Returns whether it has. Signals in the main thread are handled."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while not self._ended.wait(0.5 if deadline is None else min(0.5, max(0.0, deadline - time.monotonic()))):
            if deadline is not None and time.monotonic() >= deadline:
                return False
        return True

    def join(self) -> None:
        """Waits until it has ended."""
        self.wait()
        self._thread.join()

    def _serve(self) -> None:
        async def run() -> None:
            self._loop = asyncio.get_running_loop()
            await self.server.serve(sockets=[self._socket])

        try:
            asyncio.run(run())
        finally:
            self._ended.set()
