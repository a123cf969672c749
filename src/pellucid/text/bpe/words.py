"""Splitting text into words as `split_pattern.R50K_SPLIT` does, without a library, and counting them."""

import re
import unicodedata
from collections.abc import Iterable
from itertools import accumulate, pairwise

from pellucid.text.split_pattern import WHITE_SPACE


# Choice: words that are new are not counted any more when the distinct ones have this many bytes. The memory of learning grows
# with them: 1 GB. A million distinct words of English have 10 MB.
MOST_BYTES = 1 << 25

# R50K_SPLIT for text in which each character beyond ASCII stands as one of its class (`_Classes`). Python's \d and \w are not
# \p{N} and \p{L}, its \s takes four separators more, and its $ matches before a last newline, too.
_ASCII_SPLIT = re.compile(
    r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]++| ?[0-9]++| ?[^\t-\r A-Za-z0-9]++|[\t-\r ]++\Z|[\t-\r ]+(?![^\t-\r ])|[\t-\r ]"
)
_SPACE = re.compile(f"[{WHITE_SPACE}]")


class _Classes(dict[int, str]):
    """For `str.translate`: ASCII as it is, any other letter "A", number "0", white space a tab, and all else "!"."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if code < 0x80:
            found = character
        elif _SPACE.match(character):
            found = "\t"
        else:
            found = {"L": "A", "N": "0"}.get(unicodedata.category(character)[0], "!")
        self[code] = found
        return found


_CLASSES = _Classes()


def split_words(text: str) -> list[str]:
    """The words that BPE merges within; joined they are the text.

    Which characters are letters is what this Python's Unicode tables say: of a few of the newest scripts they may know less
    than `tiktoken`, which encodes.
    """
    if text.isascii():
        return _ASCII_SPLIT.findall(text)
    ends = accumulate(map(len, _ASCII_SPLIT.findall(text.translate(_CLASSES))), initial=0)
    return [text[start:end] for start, end in pairwise(ends)]


def count_words(texts: Iterable[str], most_bytes: int = MOST_BYTES) -> dict[bytes, int]:
    """How often each word stands in the texts, in UTF-8, in the order of their first places.

    most_bytes: of the distinct words; new ones that come when there are as many are left out.
    """
    counts: dict[str, int] = {}
    room = most_bytes
    for text in texts:
        for word in split_words(text):
            if word in counts:
                counts[word] += 1
            elif room > 0:
                counts[word] = 1
                room -= len(word.encode())
    return {word.encode(): count for word, count in counts.items()}
