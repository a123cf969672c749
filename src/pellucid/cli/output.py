"""Output that commands share: text for a terminal, and JSON. No torch here."""

import json
from typing import Any


JOINERS = "\u200c\u200d"  # invisible characters that letters and emoji need


def printable(text: str) -> str:
    """A text for a terminal: line breaks and control characters, such as those that move its cursor, as escapes."""
    return "".join(c if c.isprintable() or c in JOINERS else repr(c)[1:-1] for c in text)


def print_json(values: dict[str, Any]) -> None:
    """One JSON object on stdout; a byte of a file name that is not UTF-8 is the escape of a lone surrogate (`os.fsencode`)."""
    print(json.dumps(values, ensure_ascii=False).encode("utf-8", "backslashreplace").decode("utf-8"))
