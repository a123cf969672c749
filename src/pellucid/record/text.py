"""JSON and text as bytes: one encoding of each value, and no value that a browser would read differently."""

import json
from typing import Any

from pellucid.errors import PellucidError
from pellucid.record.encoding import MAX_TEXT_BYTES
from pellucid.strict_json import parse_json


_MAX_EXACT = 2**53 - 1  # beyond, JavaScript's numbers skip some


def check_json(value: Any, where: str) -> None:
    """Refuses values that JSON would silently change or lose.

    Raises:
        PellucidError: names the place of a key that is not text, NaN, infinity, large integers, other objects.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise PellucidError(f"{where}: keys must be text, and {key!r} is not")
            check_json(key, where)
            check_json(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            check_json(item, f"{where}[{i}]")
    elif isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise PellucidError(f"{where}: a lone surrogate (half a character) is not text: store bytes as uint8") from error
    elif type(value) is int:
        if abs(value) > _MAX_EXACT:
            raise PellucidError(f"{where}: {value} is too large for JSON's readers: store it as text or as an int64 array")
    elif type(value) is float:
        if value - value != 0:
            raise PellucidError(f"{where}: {value} is not in JSON: store a float array")
    elif value is not None and type(value) is not bool:
        raise PellucidError(f"{where}: JSON holds no {type(value).__name__}: convert it to plain numbers, text and lists")


def to_json(value: Any) -> bytes:
    """UTF-8, sorted keys, no spaces: equal values give equal bytes."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")).encode("utf-8")


def from_json(data: bytes) -> Any:
    """Parses JSON. Raises ValueError where the bytes are not JSON, or beyond the limits of `strict_json`."""
    return parse_json(data, max_bytes=MAX_TEXT_BYTES)
