"""A studio's model in memory, one at a time: loaded when it is asked for, again when its file changes.

A service has a studio for each key: `LoadedModels` bounds the models of all of them together.
"""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pellucid.errors import PellucidError
from pellucid.serve.http.lifetime import CLOSING


if TYPE_CHECKING:
    from pellucid.engine.driver import EngineDriver
    from pellucid.generation.model import GPT

_CLOSED_SEEN = 0.1  # seconds until a request that waits for a model sees that the server closes
MAX_CONCURRENT = 16  # plain completions at once
Result = TypeVar("Result")


class ClosingError(PellucidError):
    """The server is closing (503)."""

    def __init__(self) -> None:
        super().__init__(CLOSING)


class BusyError(PellucidError):
    """Too many requests are waiting or running (429)."""


class LoadedModel:
    """A model in memory, the number of completions that use it, and the driver of its plain ones, once there is one."""

    def __init__(self, stamp: str, model: "GPT") -> None:
        self.stamp = stamp
        self.model = model
        self.users = 0
        self.unused = asyncio.Event()
        self.unused.set()
        self._driver: EngineDriver | None = None
        self._lock = threading.Lock()
        self._closed = False

    def driver(self) -> "EngineDriver":
        """The driver of plain completions, created on the first call, which packs the weights and takes a while."""
        from pellucid.engine.driver import EngineDriver

        with self._lock:
            if self._closed:
                raise ClosingError
            if self._driver is None:
                self._driver = EngineDriver(self.model.engine(max_sequences=MAX_CONCURRENT))
            return self._driver

    def close(self) -> None:
        """Closes the driver and ends its completions."""
        with self._lock:
            self._closed = True
            if self._driver is not None:
                self._driver.close()


class LoadedModels:
    """The caches of several studios, of which a few may hold a model at once. Used in one event loop.

    Args:
        most: models in memory.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._holding: OrderedDict[ModelCache, None] = OrderedDict()  # last the one used last

    def use(self, cache: "ModelCache") -> None:
        """A cache uses its model, or is about to load one: another one gives up its own for that, the longest unused first.

        Raises:
            BusyError: all others are in use (429).
        """
        if cache not in self._holding and len(self._holding) >= self._most:
            unused = next((other for other in self._holding if other.unload()), None)
            if unused is None:
                raise BusyError(f"the models of {self._most} other keys' studios are in use: try again in a moment")
            del self._holding[unused]
        self._holding[cache] = None
        self._holding.move_to_end(cache)


class ModelCache:
    """The model used last, for completions that share it.

    Args:
        shared: bounds the models of this cache and of others together; None: it is the only one.

    Attributes:
        loaded: the model; None before the first is loaded, and while another one is.
    """

    def __init__(self, shared: LoadedModels | None = None) -> None:
        self._shared = shared
        self.loaded: LoadedModel | None = None
        self._lock = asyncio.Lock()  # in order of arrival, so that a request for another model is not starved
        self._closed = False

    def close(self) -> None:
        """Closes the model's driver and ends its completions. May be called from any thread."""
        self._closed = True
        if (loaded := self.loaded) is not None:
            loaded.close()

    def unload(self) -> bool:
        """Gives up the model. Returns whether it could: not while it is in use or being loaded. Its driver's thread, which has
        nothing to do then, ends at once."""
        if self._lock.locked() or (self.loaded is not None and self.loaded.users):
            return False
        loaded, self.loaded = self.loaded, None
        if loaded is not None:
            loaded.close()
        return True

    @asynccontextmanager
    async def use(self, name: str, source: str | Path) -> AsyncIterator[LoadedModel]:
        """The loaded model; it is loaded again if its file has changed, as in a run that is still training."""
        async with self._lock:
            if self._shared is not None:
                self._shared.use(self)
            stamp = f"{name} {_stamp(source)}"
            if self.loaded is not None and self.loaded.stamp != stamp:
                await self.loaded.unused.wait()
                old, self.loaded = self.loaded, None
                await in_thread(old.close)
            if self.loaded is None:
                await self._load(stamp, source)
            if self._closed:  # asked after `loaded` is set: from here on `close` ends what it answers
                raise ClosingError
            assert self.loaded is not None
            loaded = self.loaded
            loaded.users += 1
            loaded.unused.clear()
        try:
            yield loaded
        finally:
            loaded.users -= 1
            if loaded.users == 0:
                loaded.unused.set()

    async def _load(self, stamp: str, source: str | Path) -> None:
        """Loads a model. A caller that is cancelled waits for its end: the next one must not find it half done.

        Nothing can interrupt loading, so it has a thread that the process does not wait for: a server that closes leaves it.
        """
        loop = asyncio.get_running_loop()
        loading: asyncio.Future[GPT] = loop.create_future()

        def finish(model: "GPT | None", error: BaseException | None) -> None:
            if model is not None:
                self.loaded = LoadedModel(stamp, model)
                loading.set_result(model)
            else:
                assert error is not None
                loading.set_exception(error)

        def work() -> None:
            from pellucid.generation.load import load

            model, error = None, None
            try:
                model = load(source)
            except BaseException as raised:  # the request's to report
                error = raised
            with suppress(RuntimeError):  # the server's loop has ended
                loop.call_soon_threadsafe(finish, model, error)

        threading.Thread(target=work, name="pellucid studio: loading", daemon=True).start()
        cancelled: asyncio.CancelledError | None = None
        while not loading.done() and not self._closed:
            try:
                await asyncio.wait({loading}, timeout=_CLOSED_SEEN)
            except asyncio.CancelledError as error:
                cancelled = error
        if loading.done():
            loading.exception()  # of no interest to a caller that is gone
        if cancelled is not None:
            raise cancelled
        if not loading.done():
            loading.add_done_callback(lambda done: done.exception())
            raise ClosingError
        loading.result()


async def in_thread(function: Callable[[], Result]) -> Result:
    """Runs a function in a thread. A caller that is cancelled waits for its end: the next one must not find it half done."""
    running = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # read, so that asyncio does not log it: the caller was cancelled
        raise


def _stamp(source: str | Path) -> str:
    """Modification time and size of the model's file, as text; "" for a model that is no directory."""
    if not isinstance(source, Path):
        return ""
    for path in (source / "model" / "model.safetensors", source / "model.safetensors"):
        if path.is_file():
            found = path.stat()
            return f"{found.st_mtime_ns} {found.st_size}"
    return ""
