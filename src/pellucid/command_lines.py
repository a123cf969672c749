"""Command lines, as they are shown for a user to type: quoted for this system's shell, their paths from this directory on."""

import os
import shlex
import sys
from pathlib import Path


def command(*words: object) -> str:
    """A command line, quoted for this system's shell. A `Path` is written so that it is neither an option nor "default"."""
    strings = ["pellucid"]
    for word in words:
        another = isinstance(word, Path) and (str(word)[:1] == "-" or str(word) == "default")
        strings.append(f"./{word}" if another else str(word))
    if sys.platform == "win32":
        import subprocess  # which takes a while to import

        return subprocess.list2cmdline(strings)
    return " ".join(map(quoted, strings))


def prompt_words(prompt: str) -> list[str]:
    """A prompt as the last words of a command, also where it begins with a dash."""
    return ["--", prompt] if prompt[:1] == "-" else [prompt]


def quoted(word: object) -> str:
    """A word as the shell reads it: the same bytes, in printable characters.

    What is no printable text, such as a file name that is not UTF-8, is written in the form `$'caf\\351'`, which bash, zsh, ksh
    and POSIX of 2024 read. So is what is outside of ASCII where the locale has another encoding than UTF-8.
    """
    text = str(word)
    if text.isprintable() and (text.isascii() or sys.getfilesystemencoding() == "utf-8"):
        return shlex.quote(text)
    try:
        data = os.fsencode(text)
    except UnicodeEncodeError:  # not in the locale's encoding: `parsing.utf8_text` reads it as UTF-8
        data = text.encode("utf-8", "surrogatepass")
    return f"$'{''.join(map(_escaped, data))}'"


def _escaped(byte: int) -> str:
    character = chr(byte)
    return f"\\{character}" if character in "\\'" else character if 32 <= byte < 127 else f"\\{byte:03o}"


def shown_path(path: object) -> str:
    """A path for a message: as it is, or quoted for the shell where it is no printable text."""
    return str(path) if str(path).isprintable() else quoted(path)


def path_here(path: Path) -> Path:
    """A path as it is typed in the current directory: relative where it is below it, else absolute."""
    whole, here = Path(os.path.abspath(path)), Path.cwd()
    return whole.relative_to(here) if whole.is_relative_to(here) else whole
