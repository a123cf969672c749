"""Serving a file by byte ranges (RFC 9110, 14), so that a page reads a record's header and then only the chunks it shows."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from pellucid.files import reading
from pellucid.serve.http.json_response import JsonResponse
from pellucid.serve.http.lifetime import IncompleteResponseError
from pellucid.serve.wire import ErrorMessage


BLOCK = 1 << 18


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a response: a file that may be replaced at any time, or bytes that never change.

    Attributes:
        source: the file, or the bytes.
        size: in bytes. etag: quoted; changes with the content.
    """

    source: Path | bytes
    size: int
    etag: str

    @classmethod
    def of(cls, source: Path | bytes, name: str) -> "Content":
        """The content of a file or of bytes. Raises OSError: the file is gone."""
        if isinstance(source, bytes):
            return cls(source, len(source), f'"{name}"')
        found = source.stat()
        return cls(source, found.st_size, f'"{found.st_mtime_ns:x}-{found.st_size:x}"')


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """The bytes that a Range header asks for: [from, to).

    Returns:
        None where the header is ignored and the whole content is sent: other units, several ranges, malformed.

    Raises:
        ValueError: it asks for bytes outside of the content (416).
    """
    asked = re.fullmatch(r"bytes=\s*(\d*)-(\d*)\s*", header, re.IGNORECASE)
    if not asked or not header.isascii():
        return None
    first, last = asked.groups()
    if not first:
        if not last:
            return None
        count = min(int(last), size)  # a suffix range: the last bytes
        if not count:
            raise ValueError("no bytes asked for")
        return size - count, size
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise ValueError("the range begins after the end")
    return start, min(int(last) + 1, size) if last else size


async def respond(request: Request, content: Content, media_type: str) -> Response:
    """The response to a request for the content: 200, 206, 304, 412 or 416."""
    headers = {"ETag": content.etag, "Accept-Ranges": "bytes", "Cache-Control": "no-cache"}
    if (wanted := request.headers.get("if-match")) and wanted != "*" and content.etag not in _tags(wanted):
        return JsonResponse(ErrorMessage(error="the file was replaced by a newer one: load it again"), 412, headers)
    if (known := request.headers.get("if-none-match")) and (known == "*" or content.etag in _tags(known)):
        return Response(status_code=304, headers=headers)
    start, end, status = 0, content.size, 200
    asked = request.headers.get("range")
    if asked and request.headers.get("if-range", content.etag) == content.etag:
        try:
            part = parse_range(asked, content.size)
        except ValueError:
            return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{content.size}"})
        if part is not None:
            (start, end), status = part, 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{content.size}"
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    if isinstance(content.source, bytes):
        return Response(content.source[start:end], status, headers, media_type)
    # Opened here, not in a thread: a file opened for a task that is cancelled meanwhile would be closed by nobody.
    return _FileResponse(reading(content.source), start, end, status, headers, media_type)


def _tags(header: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in header.split(",")]


class _FileResponse(StreamingResponse):
    """The bytes [start, end) of a file, which is closed when the response ends, however it does."""

    def __init__(
        self, file: BinaryIO, start: int, end: int, status: int, headers: dict[str, str], media_type: str
    ) -> None:  # fmt: skip
        super().__init__(self._blocks(start, end), status, headers, media_type)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            await super().__call__(scope, receive, send)

    async def _blocks(self, start: int, end: int) -> AsyncIterator[bytes]:
        self._file.seek(start)
        while start < end:
            block = await run_in_threadpool(self._file.read, min(BLOCK, end - start))
            if not block:
                raise IncompleteResponseError  # the file was truncated meanwhile
            start += len(block)
            yield block
