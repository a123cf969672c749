"""Splitting text into words as `split_pattern.R50K_SPLIT` does, with Python's own regular expressions."""

import re
import unicodedata
from itertools import accumulate, pairwise

from pellucid.text.split_pattern import WHITE_SPACE


UNASSIGNED = "\x7f"

# R50K_SPLIT for text in which each character beyond ASCII stands as one of its class (`_Classes`). Python's \d and \w are not
# \p{N} and \p{L}, its \s takes four separators more, and its $ matches before a last newline, too.
_ASCII_SPLIT = re.compile(
    r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]++| ?[0-9]++| ?[^\t-\r A-Za-z0-9]++|[\t-\r ]++\Z|[\t-\r ]+(?![^\t-\r ])|[\t-\r ]"
)
_SPACE = re.compile(f"[{WHITE_SPACE}]")


class _Classes(dict[int, str]):
    """For `str.translate`: ASCII as it is; any other letter as "A", number "0", white space a tab, and all else as "!", or as
    UNASSIGNED if this Python's Unicode tables do not know it.
    """

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if code < 0x80:
            found = character
        elif _SPACE.match(character):
            found = "\t"
        else:
            category = unicodedata.category(character)
            found = UNASSIGNED if category == "Cn" else {"L": "A", "N": "0"}.get(category[0], "!")
        self[code] = found
        return found


_CLASSES = _Classes()


def split_words(text: str) -> list[str]:
    """The words that BPE merges within; joined they are the text.

    A character that this Python's Unicode tables do not know is no letter here; to `tiktoken` it may be one.
    """
    if text.isascii():
        return _ASCII_SPLIT.findall(text)
    ends = accumulate(map(len, _ASCII_SPLIT.findall(text.translate(_CLASSES))), initial=0)
    return [text[start:end] for start, end in pairwise(ends)]


def all_assigned(text: str) -> bool:
    """Whether this Python's Unicode tables know every character, so that `split_words` certainly splits as `tiktoken` does."""
    return UNASSIGNED not in (text if text.isascii() else text.translate(_CLASSES))
