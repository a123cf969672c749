"""`JsonResponse`: a message as JSON in ASCII, whatever text it holds; and long messages, encoded in pieces."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response


ITEMS = 4096  # of a long list that are encoded at once
BYTES = 1 << 16  # that are encoded between turns of the event loop
encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


async def encode_long(message: Mapping[str, Any]) -> bytes:
    """A message as `JsonResponse` writes it, piece by piece: what is long is in the lists of its fields, and other requests are
    answered between their pieces. (No thread would do: the encoder holds Python's lock.)

    Raises:
        ValueError: as `JsonResponse`.
    """
    parts: list[str] = []
    since = 0
    for name, value in message.items():
        head = ("," if parts else "{") + encode(name) + ":"
        if not isinstance(value, list) or not value:
            parts.append(head + encode(value))
            continue
        at_once = 1 if isinstance(value[0], dict) else ITEMS
        for start in range(0, len(value), at_once):
            part = encode(value[start : start + at_once])[1:-1]
            parts.append((f"{head}[" if start == 0 else ",") + part)
            since += len(part)
            if since > BYTES:
                since = 0
                await asyncio.sleep(0)
        parts.append("]")
    return "".join([*parts, "}"] if parts else ["{}"]).encode("ascii")


class JsonResponse(Response):
    """A message as JSON.

    Characters outside of ASCII are escaped. So is half a surrogate pair, with which Python writes the bytes of a file name that
    is not UTF-8, and which no encoding of text can hold.

    Args:
        message: a message of `serve.wire`.

    Raises:
        ValueError: it holds NaN or infinity, which JSON has not.
    """

    media_type = "application/json"

    def __init__(self, message: Any, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(encode(message), status_code, headers)
