"""uvicorn's HTTP/1.1 protocol, for clients that disconnect, hang or send what is not HTTP: their requests end silently."""

import asyncio
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol


MAX_CONNECTIONS = 128  # open at once; below the 256 files that macOS allows a process
MAX_PIPELINED = 1 << 16  # bytes that a client may send before the last request is answered
REQUEST_TIMEOUT = 30.0  # seconds from the connection, or from the last response, to the end of a request's body
UPLOADED = 1 << 16  # bytes of a body in which so many must come for another such time
SEND_TIMEOUT = 60.0  # seconds in which a client that is behind must have read what is buffered for it
TRANSPORT = "transport"  # key of the ASGI scope's state: the connection's `asyncio.Transport`


class _BodyFlow(FlowControl):
    """Flow control that stops reading only while a body arrives faster than it is taken: a connection that is not read does not
    show that it was closed.

    Args:
        in_body: whether a body is arriving.
    """

    def __init__(self, transport: asyncio.Transport, in_body: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._in_body = in_body

    def pause_reading(self) -> None:
        """Does nothing where no body arrives: `ConnectionProtocol.data_received` limits what is buffered."""
        if self._in_body():
            super().pause_reading()


class ConnectionProtocol(H11Protocol):
    """One connection. Differs from uvicorn's protocol in these points:

    - the closing of a connection is noticed at any time, also behind pipelined requests, for which uvicorn stops reading;
    - bytes that are not HTTP end the request that is being answered, too, and raise nothing in the event loop;
    - a request that is not complete after `REQUEST_TIMEOUT` ends with its connection, unless it has a long body of which
      `UPLOADED` bytes came in that time, and in each one after it;
    - so does a response of which the client reads nothing for `SEND_TIMEOUT`;
    - of more than `max_connections` connections one without a request is closed, or else the newest.
    """

    _timer: asyncio.TimerHandle | None = None
    _send_timer: asyncio.TimerHandle | None = None
    _pipelined = 0
    _arrived = 0  # bytes of the body since the timer began

    @property
    def max_connections(self) -> int:
        """Connections that may be open at once."""
        return MAX_CONNECTIONS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        self.app_state = {**self.app_state, TRANSPORT: transport}
        super().connection_made(transport)
        self.flow = _BodyFlow(transport, lambda: self._in_body)
        self._start_timer()
        still_open = [other for other in self.connections if not other.transport.is_closing()]
        if len(still_open) > self.max_connections:
            others = (other for other in still_open if isinstance(other, ConnectionProtocol) and other is not self)
            next((other for other in others if other._is_receiving), self).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._stop_timer()
        self._stop_send_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Called when the client has not read what is buffered for it."""
        super().pause_writing()
        self._send_timer = self.loop.call_later(SEND_TIMEOUT, self.transport.abort)

    def resume_writing(self) -> None:
        """Called when it has."""
        self._stop_send_timer()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._pipelined = 0 if self._is_receiving else self._pipelined + len(data)
        self._arrived += len(data) if self._in_body else 0
        if self._pipelined > MAX_PIPELINED:
            self.transport.abort()
            return
        try:
            super().data_received(data)
        except h11.LocalProtocolError:  # no 400 can be sent: a response has begun
            self.transport.close()
        if self.transport.is_closing():
            self._end_request()
        elif not self._is_receiving:
            self._stop_timer()

    def on_response_complete(self) -> None:
        """Called after a response: the next request's time begins. It may be here already."""
        self._start_timer()
        super().on_response_complete()
        if not self._is_receiving:
            self._stop_timer()

    def shutdown(self) -> None:
        """Called when the server closes."""
        if not self.transport.is_closing():
            super().shutdown()

    @property
    def _is_receiving(self) -> bool:
        """Whether no request is waiting for its response: none has come, or not all of it."""
        cycle: Any = self.cycle
        return cycle is None or cycle.response_complete or cycle.more_body

    @property
    def _in_body(self) -> bool:
        """Whether the body of a request is arriving."""
        cycle: Any = self.cycle
        return cycle is not None and cycle.more_body and not cycle.response_complete

    def _end_request(self) -> None:
        """Tells the request that the connection is closed: `connection_lost` comes later, after what is buffered was sent."""
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()

    def _start_timer(self) -> None:
        self._stop_timer()
        self._arrived = 0
        self._timer = self.loop.call_later(REQUEST_TIMEOUT, self._time_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_send_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def _time_out(self) -> None:
        if self._in_body and self._arrived >= UPLOADED:
            self._start_timer()
        elif self._is_receiving:
            self.transport.abort()
