"""`JsonResponse`: a message as JSON in ASCII, whatever text it holds."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response


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
        super().__init__(json.dumps(message, allow_nan=False, separators=(",", ":")), status_code, headers)
