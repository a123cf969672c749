"""Values of a config.json that another library wrote: defaults of missing keys, a key's other names, numbers stored as text.

A value that can mean only one thing is read: "1e-05" is that number, 2.0 that whole number, "true" that flag. Anything else is
refused, and the message names its key.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from pellucid.arguments import finite_number, shown
from pellucid.errors import PellucidError
from pellucid.strict_json import MAX_INTEGER, REQUIRED, Fields


_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
MAX_TOKENS = 1000  # of a list of token ids
_MAX_LENGTH = 40  # characters of a number stored as text
_FLAGS = {"true": True, "True": True, "false": False, "False": False}


class ConfigValues(Fields):
    """The values of a config.json, by the keys of its family.

    Args:
        values: what was parsed. where: its path.
        defaults: what a key means that is missing.
        aliases: a key's other name to the key. Where both are there, the other name counts, as in `transformers`.

    Attributes:
        missing: keys that are not there and have a default.
    """

    def __init__(
        self, values: Any, where: object, *, defaults: Mapping[str, Any] | None = None, aliases: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(values, where)
        self._names = {aliases[key]: key for key in self.values if key in aliases} if aliases else {}
        given = self.values | {key: self.values[alias] for key, alias in self._names.items()}
        self.missing = [key for key in defaults or {} if key not in given]
        self.values = {**(defaults or {}), **given}

    def name_of(self, key: str) -> str:
        """The name under which the file has a key, for messages."""
        return self._names.get(key, key)

    def wrong(self, name: str, wanted: str) -> PellucidError:
        """The error of a value that is not what is wanted, under the key's name in the file."""
        return PellucidError(f"{self.where}: {self.name_of(name)} must be {wanted}, not {shown(self.values.get(name))}")

    def integer(self, name: str, default: Any = REQUIRED, *, minimum: int = 0, maximum: int = MAX_INTEGER) -> Any:
        """A whole number, also as text or with a zero after its point."""
        self._convert(name, whole=True)
        return super().integer(name, default, minimum=minimum, maximum=maximum)

    def number(self, name: str, default: Any = REQUIRED, *, minimum: float = -math.inf, maximum: float = math.inf) -> Any:
        """A finite number as a float, also as text."""
        self._convert(name, whole=False)
        found = self.value(name, default)
        if type(found) not in (int, float) or not math.isfinite(found) or not minimum <= found <= maximum:
            raise self.wrong(name, finite_number(minimum, maximum))
        return float(found)

    def flag(self, name: str, default: Any = REQUIRED) -> Any:
        """True or false, also as text, 0 or 1."""
        found = self.values.get(name)
        if isinstance(found, str):
            self.values[name] = _FLAGS.get(found, found)
        elif type(found) in (int, float) and found in (0, 1):
            self.values[name] = bool(found)
        return super().flag(name, default)

    def token(self, name: str, vocab_size: int) -> int:
        """A special token's id. Null or less than 0: there is none; the id is then the first outside the vocabulary."""
        found = self.value(name)
        if isinstance(found, list) and found and all(one == found[0] for one in found):
            self.values[name] = found[0]
        elif found is None:
            return vocab_size
        elif isinstance(found, list):
            raise self.wrong(name, "one token id")
        found = self.integer(name, minimum=-(2**31), maximum=2**31 - 1)
        return int(found) if found >= 0 else vocab_size

    def tokens(self, name: str, vocab_size: int) -> int | tuple[int, ...]:
        """The id of a special token, as `token`, or all of a list that are in the vocabulary, if any is."""
        found = self.value(name)
        if not isinstance(found, list):
            return self.token(name, vocab_size)
        if not 0 < len(found) <= MAX_TOKENS or any(isinstance(one, list) for one in found):
            raise self.wrong(name, f"a token id, or a list of 1 to {MAX_TOKENS} of them")
        ids = [ConfigValues({name: one}, self.where).token(name, vocab_size) for one in found]
        return tuple(i for i in ids if i < vocab_size) or ids[0]

    def _convert(self, name: str, *, whole: bool) -> None:
        found = self.values.get(name)
        if isinstance(found, str) and len(found) <= _MAX_LENGTH and _NUMBER.fullmatch(found.strip()):
            found = self.values[name] = float(found) if re.search(r"[.eE]", found) else int(found)
        if whole and isinstance(found, float) and found.is_integer():
            self.values[name] = int(found)
