"""Encoding words of many thousands of characters in parts, to the same tokens as the whole.

`tiktoken` takes O(n log n) steps for a word of n bytes, in memory that no cache holds: a megabyte of digits takes ten times
what a megabyte of prose does. In parts of some thousand bytes it takes twice as much.

Two sequences of tokens, each the encoding of its bytes, are together the encoding of all bytes if the last token of one and the
first of the other may stand side by side: if they do in any encoding. For a merge across that border would have to join what
these two tokens are made of.
"""

import re
from collections.abc import Callable, Sequence

from pellucid.text.split_pattern import around_long_runs, is_white_space
from pellucid.text.split_words import all_assigned, split_words


PART = 1 << 12  # characters encoded at once; words of up to twice as many may be left to tiktoken
TAIL = 8  # the last eighth of a part's tokens may change when more text follows
_ALPHANUMERIC = re.compile(r"[^\W_]")
Encode = Callable[[str], list[int]]


def has_long_words(text: str) -> bool:
    """Whether there may be words of PART characters or more. If not, no word has twice as many.

    A word of 2 PART characters holds a whole block of the text, whose characters are then of one class.
    """
    blocks = (text[start : start + PART] for start in range(0, len(text) - PART + 1, PART))
    return any(one.isalpha() or one.isspace() or one.isnumeric() or not _ALPHANUMERIC.search(one) for one in blocks)


def encode_in_parts(text: str, encode: Encode, tokens: Sequence[bytes]) -> list[int]:
    """The encoding of a text, long words of it in parts.

    Args:
        encode: of any text. tokens: the bytes of each id.
    """
    ids: list[int] = []
    for part in around_long_runs(text):
        if not has_long_words(part) or not all_assigned(part):
            ids += encode(part)
            continue
        words: list[str] = []  # shorter ones, one after another
        for word in [*split_words(part), ""]:
            if word and len(word) <= PART:
                words.append(word)
                continue
            # White space before another word is two words, which at the end of a text would be one: each is encoded alone.
            spaces = [words.pop() for _ in range(2) if words and is_white_space(words[-1])]
            for some in ("".join(words), *reversed(spaces)):
                ids += encode(some)
            ids += encode_long(word, encode, tokens)
            words.clear()
    return ids


def encode_long(word: str, encode: Encode, tokens: Sequence[bytes]) -> list[int]:
    """The encoding of a word of any length.

    Args:
        encode: of a part of it. tokens: the bytes of each id.
    """
    ids: list[int] = []
    start, found = 0, encode(word[:PART])
    while start + PART < len(word):
        kept = len(found) - len(found) // TAIL - 1
        while True:
            while kept > 0 and tokens[found[kept]][0] & 0xC0 == 0x80:  # the next part begins with a whole character
                kept -= 1
            if kept <= 0:
                return encode(word)  # no border is certain
            after = start + len(b"".join(tokens[i] for i in found[:kept]).decode())
            following = encode(word[after : after + PART])
            if following[0] == found[kept]:
                break
            kept //= 2
        ids += found[:kept]
        start, found = after, following
    return ids + found
