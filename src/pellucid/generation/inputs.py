"""Prompts as users give them: text, token ids, or several of either; lists, arrays, tensors and iterators. No torch here."""

import operator
from collections.abc import Iterable, Mapping, Set
from typing import Any

from pellucid.arguments import shown
from pellucid.errors import PellucidError


def list_of_prompts(given: Any, name: str = "prompt") -> tuple[list[Any], bool]:
    """The prompts, and whether several were given.

    Text and None are one prompt, and so are token ids: a list, a (T,) array or tensor, or an iterator of whole numbers. What
    holds anything else is several: a list, a (B, T) array or tensor, or an iterator of prompts. `[]` is several, of which there
    are none.

    Raises:
        PellucidError: none of these.
    """
    if given is None or isinstance(given, str):
        return [given], False
    items = _items(given, name)
    return ([items], False) if items and _is_token_id(items[0]) else (items, True)


def token_ids(given: Any, name: str = "prompt") -> list[int]:
    """Token ids as a list: of a list, a (T,) array or tensor, or an iterator of whole numbers.

    Raises:
        PellucidError: none of these.
    """
    items = _items(given, name)
    try:
        if any(isinstance(token, bool) for token in items):
            raise TypeError
        return [operator.index(token) for token in items]
    except TypeError:
        several = all(isinstance(item, str) or (isinstance(item, list) and all(map(_is_token_id, item))) for item in items)
        start = f"give one {name} only:" if several else f"a {name} is"
        raise PellucidError(f"{start} text or a list of token ids, which are whole numbers, not {shown(given)}") from None


def _items(given: Any, name: str) -> list[Any]:
    """What is iterated over, as a list; of an array or tensor plain numbers, or lists of them."""
    if isinstance(given, bytes | bytearray):
        raise PellucidError(f"a {name} is text or a list of token ids, not bytes: decode it first")
    dimensions = getattr(given, "ndim", 1)
    if isinstance(given, str | Mapping | Set) or dimensions == 0 or not isinstance(given, Iterable):
        raise _refused(given, name)
    try:
        listed: list[Any] = given.tolist() if hasattr(given, "ndim") and hasattr(given, "tolist") else list(given)
    except NotImplementedError:  # PyTorch's error
        raise PellucidError(f"a {name} must have numbers: this tensor is on the meta device, which keeps none") from None
    return listed


def _is_token_id(item: object) -> bool:
    """Whether this is one whole number: arrays and tensors have `__index__`, too, whatever their size."""
    return hasattr(item, "__index__") and not getattr(item, "ndim", 0)


def _refused(given: Any, name: str) -> PellucidError:
    return PellucidError(f"a {name} is text or a list of token ids, or a list of such prompts; not {shown(given)}")
