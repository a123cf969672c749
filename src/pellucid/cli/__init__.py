"""The command line: one module a command, which parses arguments, calls the library and prints.

In: arguments. Out: text for people on stdout; with `--json` one JSON object on stdout and everything else on stderr.
Exit status: 0 done, 1 failed with one clear line, 2 wrong use, 130 interrupted (Ctrl-C, SIGTERM, SIGHUP).
"""

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence

from pellucid.cli.parsing import CommandParser
from pellucid.cli.streams import (
    INTERRUPTED,
    STDOUT,
    discard_output,
    ending_promptly,
    interrupted_by_signals,
    open_closed_streams,
    print_error,
    use_utf8,
)
from pellucid.errors import NO_TORCH, PellucidError


PRINTING = ("generate", "prime", "evaluate", "plan", "bench", "reproduce")  # their result is what they print
TRACEBACK = "PELLUCID_TRACEBACK"  # an environment variable: if set, unexpected errors are printed with their traceback
COMMANDS = (
    "demo", "generate", "train", "finetune", "xray", "prime", "evaluate", "figures", "verify", "convert", "studio", "serve",
    "export-page", "plan", "bench", "reproduce",
)  # fmt: skip


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """The argument parser. Command modules import torch only when they run.

    Args:
        only: add this command alone, without importing the modules of the others.
    """
    from pellucid.version import __version__

    top = CommandParser(
        prog="pellucid", description="GPT-3 as a system that you can run and see through.", allow_abbrev=False
    )
    top.add_argument("--version", action="version", version=f"pellucid {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS if only is None else (only,):
        module = importlib.import_module(f"pellucid.cli.{name.replace('-', '_')}")
        sub = commands.add_parser(
            name, help=module.HELP, description=module.DESCRIPTION, epilog=f"example:\n  {module.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
        )  # fmt: skip
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    closed = open_closed_streams()
    use_utf8()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        try:
            args = parser(arguments[0] if arguments and arguments[0] in COMMANDS else None).parse_args(arguments)
            if STDOUT in closed and (args.command in PRINTING or getattr(args, "json", False)):
                raise PellucidError(f"standard output is closed: {args.command} would answer there")
            if not _has_directory():
                raise PellucidError("the current directory no longer exists: change to one that does")
            with interrupted_by_signals():
                return int(args.run(args))
        except KeyboardInterrupt:
            with ending_promptly():
                try:
                    _flush()
                except (OSError, PellucidError):
                    discard_output()
                print_error("pellucid: interrupted")
            return INTERRUPTED
        finally:
            _flush()  # a closed pipe or a full disk is noticed here, not at interpreter shutdown
    except PellucidError as error:
        return _failed(error)
    except BrokenPipeError:  # the reader of a pipe has closed it
        discard_output()
        return 1
    except OSError as error:
        return _failed(error)
    except Exception as error:
        _failed(_describe(error))
        if os.environ.get(TRACEBACK):
            import traceback

            traceback.print_exception(error)
        return 1


def _has_directory() -> bool:
    """Whether the current directory exists: without it PyTorch's mathematics library ends the process."""
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _failed(error: object) -> int:
    """Prints an error as one line; returns the exit status. Control characters, as file names may have, are escaped."""
    line = re.sub(r"[\0-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found[0])[1:-1], str(error))
    print_error(f"pellucid: {line}")
    return 1


def _describe(error: Exception) -> str:
    """An unexpected error as one line."""
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "allocate memory" in str(error)):
        return "not enough memory: take a smaller preset or batch"  # PyTorch's allocator raises a RuntimeError
    if isinstance(error, ModuleNotFoundError) and error.name == "torch":
        return f"this {NO_TORCH}"
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{line} (an error inside pellucid: {TRACEBACK}=1 in the environment shows where)"


def _flush() -> None:
    """Writes out what standard output still holds."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output()
        raise PellucidError(f"cannot write standard output: {error.strerror or error}") from error
