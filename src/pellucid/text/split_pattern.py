"""Pre-tokenization: the regular expression that splits text before merging, and cuts of long text that change no token.

BPE works inside the pieces of text that a regular expression finds; no merge crosses from one piece into the next.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise


# GPT-2's and GPT-3's pattern, in the form of r50k_base in OpenAI's tiktoken (tiktoken_ext/openai_public.py, MIT): the
# possessive quantifiers make it faster and match the same pieces as GPT-2's own
#     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
R50K_SPLIT = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""

# What \s means there: Unicode's White_Space. Python's own \s also takes the separators U+001C to U+001F.
WHITE_SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"

LONGEST_RUN = 1 << 16  # tiktoken's regular expression engine runs out of stack at some hundred thousand
_LONG_RUN = re.compile(rf"(?<![{WHITE_SPACE}])[{WHITE_SPACE}]{{{LONGEST_RUN},}}")  # tried where a run starts only: linear time
_ONLY_WHITE_SPACE = re.compile(rf"[{WHITE_SPACE}]+")
_CUT = re.compile(r"(?<=\S)(?=[ \n])")


def is_white_space(word: str) -> bool:
    r"""Whether a word is white space to the pattern. `str.isspace` takes U+001C to U+001F, too, as Python's own \s does."""
    return _ONLY_WHITE_SPACE.fullmatch(word) is not None


def chunks(text: str, size: int) -> Iterator[str]:
    """Cuts text into parts of about `size` characters whose encodings, joined, are the encoding of the whole.

    A cut falls between a character that is not white space and a space or newline. The pattern starts a new piece
    there whatever stands around it: white space is only ever a piece's first character or all of it. Text without such
    a place (a very long word) is not cut.
    """
    assert size > 0
    start = 0
    while len(text) - start > size:
        cut = _CUT.search(text, start + size)
        if cut is None:
            break
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:]


def chunks_of(texts: Iterable[str], size: int) -> Iterator[str]:
    """`chunks` of texts joined, of which a few at a time are in memory; no part at all of no text."""
    held: list[str] = []
    length, limit = 0, size
    for text in texts:
        held.append(text)
        length += len(text)
        if length > limit:
            *whole, rest = chunks("".join(held), size)
            yield from whole
            held, length = [rest], len(rest)
            limit = max(size, 2 * length)  # a long text without a place to cut is searched again when it has doubled
    if length:
        yield from chunks("".join(held), size)


def around_long_runs(text: str) -> list[str]:
    """Cuts before the last character of each white-space run of LONGEST_RUN or more, which changes no token either.

    The pattern leaves a run's last character to what follows it, so the cut falls where a piece ends. Each part but the
    last then ends in white space, which the pattern's `\\s++$` matches without backtracking, however long it is.
    """
    if len(text) <= LONGEST_RUN:
        return [text]
    runs = (run.end() for run in _LONG_RUN.finditer(text))
    cuts = [0, *(end - 1 for end in runs if end < len(text)), len(text)]
    return [text[a:b] for a, b in pairwise(cuts)]
