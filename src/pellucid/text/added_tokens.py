"""Finding added tokens in a text, as `tokenizers` does (`AddedVocabulary` of its Rust source).

Two searches from left to right, the longest token first: for tokens with `normalized` off in the whole text, then for the
others in each part that is left. A token that is found where its options forbid it stays text.
"""

import re
from collections.abc import Iterable, Iterator

from pellucid.text.token_table import AddedToken


# Unicode's White_Space, which is not Python's: that also takes the separators U+001C to U+001F.
_SPACES = frozenset("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000").union(map(chr, range(0x2000, 0x200B)))
_OTHER_ALPHABETIC = (
    (0x24B6, 0x24E9),
    (0x1F130, 0x1F149),
    (0x1F150, 0x1F169),
    (0x1F170, 0x1F189),
)  # letters in circles
FEW, DEEPEST = 8, 4  # texts or branches that are tried one by one; characters at which texts part
_JOINERS = "\u200c\u200d"


def is_word(character: str) -> bool:
    r"""Whether a character belongs to a word: `\w` of Unicode's UTS 18, annex C, which is not Python's."""
    import unicodedata  # few tokenizers ask

    kind = unicodedata.category(character)
    return (
        kind[0] in "LM" or kind in ("Nd", "Nl", "Pc") or character in _JOINERS
        or any(first <= ord(character) <= last for first, last in _OTHER_ALPHABETIC)
    )  # fmt: skip


def longest_first(texts: Iterable[str], depth: int = DEEPEST) -> str:
    """A regular expression that finds the longest of the texts that begins at a place.

    Each step looks at one character and halves what may follow it, so that thousands of texts take as long as a few; beyond
    `depth` characters at which texts part, the rest are tried one by one.
    """
    left = sorted(texts, key=len, reverse=True)  # an alternation takes the first that fits
    if len(left) <= FEW or depth == 0:
        return "|".join(map(re.escape, left))
    by_first: dict[str, list[str]] = {}
    for text in left:
        by_first.setdefault(text[:1], []).append(text)
    ended = by_first.pop("", None)
    branches: list[tuple[str, str]] = []
    for first, some in by_first.items():
        prefix = _common_prefix(some)
        rest = longest_first([text[len(prefix) :] for text in some], depth - 1)
        branches.append((re.escape(first), f"{re.escape(prefix)}(?:{rest})"))
    while len(branches) > FEW:
        pairs = zip(branches[::2], [*branches[1::2], ("", "")], strict=False)
        branches = [(a + b, f"(?=[{a}]){x}|(?=[{b}]){y}" if b else x) for (a, x), (b, y) in pairs]
        branches = [(firsts, f"(?:{branch})") for firsts, branch in branches]
    return "|".join([branch for _, branch in branches] + [""] * (ended is not None))


def _common_prefix(texts: list[str]) -> str:
    first, last = min(texts), max(texts)
    return next((first[:i] for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), first)


class AddedTokens:
    """Finds added tokens in texts."""

    def __init__(self, tokens: Iterable[AddedToken]) -> None:
        self._tokens = {token.text: token for token in tokens}
        kinds = ([token.text for token in self._tokens.values() if token.normalized is late] for late in (False, True))
        self._searches = [re.compile(longest_first(texts)) for texts in kinds if texts]
        self._longest = max(map(len, self._tokens), default=0)

    def split(self, text: str) -> list[str | AddedToken]:
        """The text's parts in order: text between tokens, none of it empty, and tokens."""
        parts: list[str | AddedToken] = [text] if text else []
        for search in self._searches:
            parts = [piece for part in parts for piece in (self._find(search, part) if isinstance(part, str) else (part,))]
        return parts

    def _find(self, search: re.Pattern[str], text: str) -> Iterator[str | AddedToken]:
        done = 0
        for match in search.finditer(text):
            token = self._tokens[match.group()]
            start, end = match.span()
            if token.single_word and (is_word(text[start - 1 : start] or " ") or is_word(text[end : end + 1] or " ")):
                continue
            if token.lstrip:
                while start > done and text[start - 1] in _SPACES:
                    start -= 1
            if token.rstrip:
                while end < len(text) and text[end] in _SPACES:
                    end += 1
            if done < start:
                yield text[done:start]
            yield token
            done = end
        if done != len(text):
            yield text[done:]

    def spans_cut(self, before: str, after: str) -> bool:
        """Whether a token's text crosses or touches the cut between two parts of a text."""
        left = before[-self._longest :]
        near = left + after[: self._longest]
        return any(near.find(text, max(0, len(left) - len(text)), len(left) + len(text)) >= 0 for text in self._tokens)
