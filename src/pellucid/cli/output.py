"""Output that commands share: command lines and JSON. No torch here."""

import json
import shlex
import subprocess
import sys
from typing import Any


def command(*words: object) -> str:
    """A command line, quoted for this system's shell."""
    strings = ["pellucid", *map(str, words)]
    return subprocess.list2cmdline(strings) if sys.platform == "win32" else shlex.join(strings)


def print_json(values: dict[str, Any]) -> None:
    """One JSON object on stdout."""
    print(json.dumps(values, ensure_ascii=False))
