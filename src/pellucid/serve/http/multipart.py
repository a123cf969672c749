"""`read_form`: a multipart/form-data body as it arrives: small fields are kept, the file's bytes are passed on."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header


logging.getLogger("python_multipart").addHandler(logging.NullHandler())  # a damaged form is told to whoever sent it
MAX_FIELDS = 16  # parts that are no file
MAX_FIELD = 4096  # bytes of one
MAX_FILENAME = 1024  # bytes


class FormError(ValueError):
    """The body is not the form that is wanted; the message says why."""


@dataclass(slots=True)
class Form:
    """What a form held: its small fields by name, and the file's name, as the client sent it; None: there was no file."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None


class _Parts:
    """Takes the parser's calls; collects what is to be done with the bytes of one chunk of the body."""

    def __init__(self, file_field: str) -> None:
        self.form = Form()
        self.data: list[bytes] = []  # of the file, since they were last passed on
        self.ended = False
        self._file_field = file_field
        self._header, self._value = bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._name: str | None = None  # of a small field
        self._content = bytearray()
        self._in_file = False

    def callbacks(self) -> Any:
        """For the parser."""
        return {
            "on_part_begin": self._begin, "on_header_field": self._add_field, "on_header_value": self._add_value,
            "on_header_end": self._end_header, "on_headers_finished": self._begin_content, "on_part_data": self._add_content,
            "on_part_end": self._end_part, "on_end": self._end,
        }  # fmt: skip

    def _begin(self) -> None:
        self._headers, self._name, self._in_file = {}, None, False
        self._content.clear()

    def _add_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _begin_content(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if disposition != b"form-data" or b"name" not in options:
            raise FormError("a part of the form has no name")
        name = options[b"name"].decode("utf-8", "replace")
        if name == self._file_field:
            if self.form.filename is not None:
                raise FormError(f"the form has two files: send one, as '{self._file_field}'")
            self.form.filename = options.get(b"filename", b"")[:MAX_FILENAME].decode("utf-8", "replace") or "upload"
            self._in_file = True
            return
        if b"filename" in options:
            raise FormError(f"{name[:80]!r} is a file: there is one, and it is sent as '{self._file_field}'")
        if name in self.form.fields or len(self.form.fields) >= MAX_FIELDS:
            raise FormError(f"{name[:80]!r} is there twice, or the form has more than {MAX_FIELDS} fields")
        self._name = name

    def _add_content(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self.data.append(data[start:end])
            return
        self._content += data[start:end]
        if len(self._content) > MAX_FIELD:
            raise FormError(f"the field {str(self._name)[:80]!r} has more than {MAX_FIELD:,} bytes")

    def _end_part(self) -> None:
        if self._name is not None:
            try:
                self.form.fields[self._name] = self._content.decode("utf-8")
            except UnicodeDecodeError:
                raise FormError(f"the field {self._name[:80]!r} is not UTF-8 text") from None

    def _end(self) -> None:
        self.ended = True


async def read_form(
    headers: Mapping[str, str], body: AsyncIterator[bytes], write: Callable[[bytes], Awaitable[None]], *,
    file_field: str = "file",
) -> Form:  # fmt: skip
    """Reads a form.

    Args:
        headers: of the request. body: its parts as they arrive. write: is given the bytes of the file, in order.
        file_field: the name of the file's field.

    Raises:
        FormError: it is no multipart form, or has another file.
    """
    kind, options = parse_options_header(headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise FormError("send multipart/form-data with a boundary")
    parts = _Parts(file_field)
    try:
        parser = MultipartParser(options[b"boundary"], parts.callbacks())
        async for chunk in body:
            parser.write(chunk)
            if parts.data:
                data = b"".join(parts.data)
                parts.data.clear()
                await write(data)
        parser.finalize()
    except FormParserError as error:
        raise FormError(f"the form is damaged: {error}") from None
    if not parts.ended:
        raise FormError("the form is not complete: its last boundary is missing")
    return parts.form
