"""Checks of arguments: each returns the value, converted to one type, or raises an error that names the argument.

No torch and no NumPy here: NumPy's and PyTorch's numbers are recognised by the protocols of `numbers` and `operator`.
"""

import math
import numbers
import operator
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pellucid.errors import PellucidError


MAX_PATH, MAX_NAME = 4096, 255  # bytes, Linux's limits; text that is given in place of a path is usually longer
_SHOWN = 100  # characters of a wrong value that a message shows at most
T = TypeVar("T")


def shown(value: object) -> str:
    """A value for an error message: its `repr` in one line, cut where it is long."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a whole number of more digits than Python prints, or a `repr` that fails
        text = f"a value of type {type(value).__name__} that cannot be printed"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def path_of(name: str, value: Any) -> Path:
    """A path, given as text or as a path object.

    Raises:
        PellucidError: not a path, longer than file systems allow, or "", which would mean the current folder.
    """
    try:
        given = os.fspath(value)
    except TypeError:
        given = None
    if isinstance(given, str) and given and "\0" not in given and len(given) < MAX_PATH:
        path = Path(given)
        with suppress(UnicodeEncodeError):  # half a character, which is no byte of any name
            if all(len(os.fsencode(part)) <= MAX_NAME for part in path.parts):
                return path
    raise PellucidError(f"{name} must be a path (text or pathlib.Path), not {shown(value)}")


def whole_number(name: str, value: Any, minimum: int, maximum: int | None = None) -> int:
    """A whole number in its range, both ends included; NumPy's integers are whole numbers, True and 1.0 are not.

    Raises:
        PellucidError: another type, or outside the range.
    """
    found = as_integer(value)
    if found is not None and minimum <= found and (maximum is None or found <= maximum):
        return found
    wanted = f"{minimum} or more" if maximum is None else f"{minimum} to {maximum}"
    raise PellucidError(f"{name} must be a whole number, {wanted}, not {shown(value)}")


def number(name: str, value: Any, minimum: float = -math.inf, maximum: float = math.inf) -> float:
    """A finite number in its range, both ends included.

    Raises:
        PellucidError: another type, not finite, or outside the range.
    """
    found = as_float(value)
    if found is not None and minimum <= found <= maximum:
        return found
    raise PellucidError(f"{name} must be {finite_number(minimum, maximum)}, not {shown(value)}")


def finite_number(minimum: float, maximum: float) -> str:
    """The numbers of a range, for a message: "a finite number, 0 or more"."""
    wanted = "" if minimum == -math.inf else f", {minimum:g}" + (" or more" if maximum == math.inf else f" to {maximum:g}")
    return f"a finite number{wanted}"


def plain(value: Any) -> Any:
    """A scalar of NumPy or PyTorch, an array or a tensor without dimensions, as Python's; anything else as it is."""
    if getattr(value, "ndim", None) != 0 or not hasattr(value, "item"):
        return value
    try:
        return value.item()
    except Exception:  # a tensor on the meta device has none
        return value


def as_integer(value: Any) -> int | None:
    """A whole number as an int; None for anything else, such as True and 1.0."""
    value = plain(value)
    return None if isinstance(value, bool) or not isinstance(value, numbers.Integral) else operator.index(value)


def as_float(value: Any) -> float | None:
    """A finite number as a float; None for anything else, and for a whole number that no float holds."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def flag(name: str, value: Any) -> bool:
    """True or false. Raises PellucidError for anything else."""
    found = plain(value)
    if not isinstance(found, bool):
        raise PellucidError(f"{name} must be true or false, not {shown(value)}")
    return found


def text_of(name: str, value: Any) -> str:
    """A text. Raises PellucidError for anything else."""
    if not isinstance(value, str):
        raise PellucidError(f"{name} must be text, not {shown(value)}")
    return value


def one_of(name: str, value: Any, choices: Iterable[str]) -> str:
    """One of several words. Raises PellucidError for anything else; the message lists them."""
    listed = list(choices)
    if not isinstance(value, str) or value not in listed:
        raise PellucidError(f"{name} must be one of {', '.join(listed)}, not {shown(value)}")
    return value


def callable_of(name: str, value: Any) -> Callable[..., Any]:
    """Something that can be called. Raises PellucidError for anything else."""
    if not callable(value):
        raise PellucidError(f"{name} must be a function, not {shown(value)}")
    return value  # type: ignore[no-any-return]


def instance(name: str, value: Any, of: type[T], wanted: str) -> T:
    """A value of a class. Raises PellucidError for anything else.

    Args:
        wanted: how the message describes it: "a model (pellucid.load)".
    """
    if not isinstance(value, of):
        raise PellucidError(f"{name} must be {wanted}, not {shown(value)}")
    return value
