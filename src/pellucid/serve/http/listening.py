"""Listening sockets: bound by the server itself, so that no other process can take the port between a check and the bind."""

import errno
import socket
from contextlib import suppress

from pellucid.arguments import shown
from pellucid.errors import PellucidError


TRIES = 20  # ports tried from the first on, if none was named


def network_address(family: socket.AddressFamily) -> str | None:
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


def listen(host: str, port: int | None, first: int) -> socket.socket:
    """A listening socket.

    Args:
        port: None takes `first`, or the next one that is free; 0 any free one.

    Raises:
        PellucidError: a host or port that cannot be listened on.
    """
    wanted = range(first, first + TRIES) if port is None else [port]
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
    raise PellucidError(f"ports {first} to {first + TRIES - 1} are in use: choose another with --port")


def _exclusive(found: socket.socket) -> None:
    """Allows a port in TIME_WAIT, but not one that is in use (on Windows SO_REUSEADDR would allow that)."""
    if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
        found.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
