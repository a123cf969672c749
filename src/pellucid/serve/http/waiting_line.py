"""`WaitingLine`: slots that clients share fairly, and for each client a bounded line of what waits for one."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class LineFull(Exception):
    """Too many pieces of a client's work wait.

    Args:
        waiting: how many. seconds: about how long until there is room.
    """

    def __init__(self, waiting: int, seconds: float) -> None:
        super().__init__(f"{waiting} wait")
        self.waiting, self.seconds = waiting, seconds


class _Waiting:
    """One that waits: the slots that it needs, and the future that is set when it has them."""

    def __init__(self, slots: int, granted: "asyncio.Future[None]") -> None:
        self.slots, self.granted = slots, granted


class WaitingLine:
    """Slots for the work of several clients. A free slot goes to the client that holds fewest, so that a client with much work
    cannot keep the others waiting; of equals to the one that was served longest ago. Within a client it is first come, first
    served. Work that needs more slots than there are runs alone.

    Used in one event loop.

    Args:
        slots: that may be held at once. max_waiting: pieces of work of one client that wait at most. Those of others do not
            count.
    """

    def __init__(self, slots: int, max_waiting: int) -> None:
        self.slots, self.max_waiting = slots, max_waiting
        self.used = self.waiting = 0
        self._held: dict[str, int] = {}
        self._lines: OrderedDict[str, deque[_Waiting]] = OrderedDict()  # of clients that wait; last the one served last
        self._mean_seconds = 1.0  # that slots are held

    def check_room(self, client: str, pieces: int) -> None:
        """Refuses a client's work for which its line is too long. Where none of the client's waits, any number may.

        Raises:
            LineFull: too many wait.
        """
        waiting = len(self._lines.get(client, ()))
        if waiting and waiting + pieces > self.max_waiting:
            ahead = min(self.waiting, waiting * len(self._lines))  # the others take turns with it
            raise LineFull(waiting, ahead / self.slots * self._mean_seconds)

    @asynccontextmanager
    async def hold(self, client: str, slots: int) -> AsyncIterator[None]:
        """Holds slots for the time of the block; waits for them before it. May be cancelled at any time."""
        await self._acquire(client, slots)
        began = time.monotonic()
        try:
            yield
        finally:
            self._mean_seconds += 0.1 * (time.monotonic() - began - self._mean_seconds)
            self._release(client, slots)

    async def _acquire(self, client: str, slots: int) -> None:
        if not self.waiting and self._fits(slots):
            self._take(client, slots)
            return
        one = _Waiting(slots, asyncio.get_running_loop().create_future())
        self._lines.setdefault(client, deque()).append(one)
        self.waiting += 1
        try:
            await one.granted
        except asyncio.CancelledError:
            if one.granted.cancelled():
                self._leave(client, one)
            else:  # granted and cancelled in the same turn of the loop
                self._release(client, slots)
            raise

    def _release(self, client: str, slots: int) -> None:
        self.used -= slots
        self._held[client] -= slots
        if not self._held[client]:
            del self._held[client]
        self._grant()

    def _leave(self, client: str, one: _Waiting) -> None:
        if one in self._lines.get(client, ()):  # or `_grant` has come across it already
            self._remove(client, one)
        self._grant()  # what waited behind it may fit

    def _remove(self, client: str, one: _Waiting) -> None:
        self._lines[client].remove(one)
        self.waiting -= 1
        if not self._lines[client]:
            del self._lines[client]

    def _grant(self) -> None:
        while self._lines:
            client = min(self._lines, key=lambda name: self._held.get(name, 0))  # of equals the first: served longest ago
            one = self._lines[client][0]
            if not self._fits(one.slots):
                return
            self._remove(client, one)
            if client in self._lines:
                self._lines.move_to_end(client)
            if not one.granted.done():
                self._take(client, one.slots)
                one.granted.set_result(None)

    def _fits(self, slots: int) -> bool:
        return self.used == 0 or self.used + slots <= self.slots

    def _take(self, client: str, slots: int) -> None:
        self.used += slots
        self._held[client] = self._held.get(client, 0) + slots
