"""The argument parser, with a hint where an argument begins with a dash; and text arguments. No torch here."""

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, NoReturn

from pellucid.strict_json import is_text


MOST_DIGITS = 40
_SCIENTIFIC = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?[eE][+-]?[0-9]{1,3}")
ESCAPES = {"\\n": "\n", "\\t": "\t", "\\\\": "\\"}


class CommandParser(argparse.ArgumentParser):
    """argparse's parser, whose errors say how to give an argument that begins with a dash and was taken for an option."""

    _given: Sequence[str] = ()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register("type", int, whole_number)  # of every argument that takes one

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse's."""
        self._given = sys.argv[1:] if args is None else args
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Prints usage and message, and exits with 2."""
        hint = next(self._hints(), None)
        super().error(message if hint is None else f"{message}; {hint}")

    def _hints(self) -> Iterator[str]:
        """How to give the arguments that begin with a dash."""
        from pellucid.command_lines import quoted

        parsers = [self]  # this one, and that of the command: which of the two reports an error depends on the error
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction) and len(action.choices) == 1:  # the command is known
                parsers += action.choices.values()
        actions = [action for parser in parsers for action in parser._actions]
        options = {option: action for action in actions for option in action.option_strings}
        positional = next((action.metavar for action in actions if not action.option_strings and action.nargs != "A..."), None)
        for word, following in zip(self._given, [*self._given[1:], ""], strict=False):
            if word == "--":
                return
            if word in options:
                if options[word].nargs != 0 and following[:1] == "-" and not self._negative_number_matcher.match(following):
                    yield f"a value that begins with a dash is given as {word}={quoted(following)}"
            elif word[:1] == "-" and word != "-" and word.partition("=")[0] not in options and positional:
                yield f"{positional} may begin with a dash after --: {parsers[-1].prog} -- {quoted(word)}"


def whole_number(argument: str) -> int:
    """The whole number of an argument, also as 1e6; whether it is in the option's range is for the option to say.

    Raises:
        argparse.ArgumentTypeError: it is none, or has more than 40 digits.
    """
    try:
        return int(argument)
    except ValueError:
        pass
    if _SCIENTIFIC.fullmatch(argument):
        value = Decimal(argument)
        if value.adjusted() <= MOST_DIGITS and value == value.to_integral_value():
            return int(value)
    raise argparse.ArgumentTypeError(f"{argument!r} is no whole number of at most {MOST_DIGITS} digits")


def utf8_text(argument: str) -> str:
    """The text of an argument, whatever the locale: bytes that Python could not decode by it are decoded as UTF-8.

    Raises:
        argparse.ArgumentTypeError: they are not UTF-8.
    """
    if is_text(argument):
        return argument
    try:
        return os.fsencode(argument).decode("utf-8")
    except UnicodeDecodeError as error:
        raise argparse.ArgumentTypeError(
            f"it is not UTF-8 text: byte {error.object[error.start]:#04x} at position {error.start}"
        ) from None
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("it holds half a character (a lone surrogate), which is no text") from None


def escaped_text(argument: str) -> str:
    r"""The text of an argument, as `utf8_text`, in which \n, \t and \\ stand for a line break, a tab and a backslash."""
    return re.sub(r"\\[nt\\]", lambda found: ESCAPES[found[0]], utf8_text(argument))
