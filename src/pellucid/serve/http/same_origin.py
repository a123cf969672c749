"""The same-origin check: only pages of this server may make requests to it.

A server on 127.0.0.1 can be reached by every page that is open in the user's browser. Three headers are checked:

- the Host header must name this machine. A foreign name that resolves to 127.0.0.1 (DNS rebinding) does not;
- the Origin header, which browsers send with requests of scripts, must be this server's own;
- Sec-Fetch-Site, where a browser sends it, must not be cross-site, except for navigation to a page.

Responses cannot be framed, embedded or read by other sites, and run no script but the studio's own.
"""

from collections.abc import Callable, Collection, Mapping
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pellucid.serve.http.lifetime import MAX_BODY, discard_body, error_message


# Styles are inline, as Svelte's components insert theirs from the script. Scripts are files of this server only; a worker that
# the script makes runs the page's copy of a model, in WebAssembly, when the server is gone.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
SEND_JSON = "send JSON, with Content-Type: application/json"
LOCAL = ("localhost", "127.0.0.1", "::1")
# Headers that decide how a request is read, or whether it is answered: given twice, they must say the same.
SINGLE = frozenset((
    b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest", b"content-type", b"content-length", b"range",
    b"authorization", b"api-key",
))  # fmt: skip


class SameOriginMiddleware:
    """ASGI middleware that refuses a request (400, 403, 411, 413, 415) or passes it on, and adds `HEADERS` to the response.

    Args:
        app: the application.
        hosts: allowed names in the Host header, without port (tunnels change ports). "*" allows every numeric address, for
            a server that listens on all of them: DNS rebinding needs a name. None allows every name and pages over https: for
            a server that needs keys, which no other site's page has.
        max_body: bytes of a body at most.
        for_programs: whether programs ask, not pages: a body may come without Content-Length, in chunks, which are counted as
            they come; and the application itself refuses what is not JSON (415) and other methods (405).
        error: the response of a status and a message.
        large: bytes of a body at most, by path, where they are others.
    """

    def __init__(
        self, app: ASGIApp, hosts: Collection[str] | None = LOCAL, *, max_body: int = MAX_BODY, for_programs: bool = False,
        error: Callable[[int, str], Response] = error_message, large: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        self.app = app
        self._large = large or {}
        self.hosts = None if hosts is None else {host.lower() for host in hosts}
        self._max_body, self._for_programs, self._error = max_body, for_programs, error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request; see the ASGI specification."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refused = self._refusal(scope["method"], Headers(scope=scope), self._large.get(scope["path"], self._max_body))
        if refused is not None:
            status, why = refused
            await discard_body(receive)
            await self._error(status, why)(scope, receive, with_headers)  # where the body's length is in doubt, it closes
            return
        await self.app(scope, receive, with_headers)

    def _refusal(self, method: str, headers: Headers, max_body: int) -> tuple[int, str] | None:
        """(status, reason), or None where the request is allowed."""
        given: dict[bytes, bytes] = {}
        for name, value in headers.raw:
            if name in SINGLE and given.setdefault(name, value) != value:
                return 400, f"the header {name.decode()} is given twice, and not the same: send it once"
        if "content-length" in headers and "transfer-encoding" in headers:
            return 400, "Content-Length and Transfer-Encoding contradict each other: send the first alone"
        host = headers.get("host", "")
        if not self._is_allowed_host(host):
            return 403, f"this server does not answer for the host {host!r}: open the address that `pellucid studio` printed"
        origin = headers.get("origin")
        schemes = ("http",) if self.hosts is not None else ("http", "https")
        if origin is not None and origin not in [f"{scheme}://{host}" for scheme in schemes]:
            return 403, f"this server answers its own pages only, not {origin}"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not (
            method == "GET" and headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        ):
            return 403, "this server answers its own pages only, not those of other sites"
        if method in ("GET", "HEAD") or (self._for_programs and method != "POST"):
            return None
        if not self._for_programs and not is_json(headers):
            return 415, SEND_JSON
        if headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
            return 415, "send the body as it is, without Content-Encoding: it is not decompressed here"
        length = headers.get("content-length", "0" if self._for_programs else "")
        if not length.isascii() or not length.isdigit():
            return 411, "say how long the body is, with Content-Length"
        if len(length) > 15 or int(length) > max_body:
            return 413, f"the body has {length[:15]} bytes, more than {max_body:,}"
        return None

    def _is_allowed_host(self, host: str) -> bool:
        name = host_name(host)
        if name is None:
            return False
        if self.hosts is None or name in self.hosts:
            return True
        return "*" in self.hosts and _is_address(name)


def is_json(headers: Headers) -> bool:
    """Whether a request says that its body is JSON: forms of other sites cannot."""
    return headers.get("content-type", "").split(";")[0].strip().lower() == "application/json"


def host_name(host: str) -> str | None:
    """The name in a Host header, in lower case and without its port; None where it is not valid."""
    name, bracket, rest = host.lower().partition("]")
    if bracket:  # [::1]:8000
        name = name.removeprefix("[")
        port = rest.removeprefix(":") if rest else "0"
        good = host.startswith("[") and (not rest or rest.startswith(":"))
    else:
        name, colon, port = name.partition(":")
        port = port if colon else "0"
        good = True
    return name if good and name and port.isascii() and port.isdigit() else None


def allowed_hosts(host: str) -> tuple[str, ...]:
    """The allowed Host names of a server that listens on `host`."""
    if _is_address(host) and ip_address(host).is_unspecified:
        return (*LOCAL, "*")
    return (*LOCAL, host)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
