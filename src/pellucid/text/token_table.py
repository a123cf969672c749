"""`TokenTable`: the tokens of a byte-level BPE tokenizer in the order of merging, their ids, and the tokens added to them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace


END_OF_TEXT = "<|endoftext|>"
NO_ID = -1  # of a byte that stood in no text that the vocabulary was learned from: a text that holds it cannot be encoded
LONG_TEXT, SEPARATOR = 256, "\0"  # of added tokens that are compared one by one
DEFAULT_ENDS = (END_OF_TEXT, "</s>")  # GPT-2's and OPT's end-of-text


@dataclass(frozen=True, kw_only=True, slots=True)
class AddedToken:
    """A token that is found whole in a text before the text is split and merged, as `tokenizers` has it.

    Attributes:
        special: it stands for no text of a document.
        lstrip, rstrip: it takes the white space before it, after it.
        single_word: it is found only where no letter, digit, mark or underscore touches it.
        normalized: it is searched for after the others, in the text between them.
    """

    id: int
    text: str
    special: bool = True
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbering:
    """Ids that are not in the order of merging, as those of GPT-2's relatives (OPT: special tokens first).

    ids: the id of each token in the order of merging; NO_ID of a byte that the vocabulary lacks.
    special: id to text of tokens that stand for no text of a document, end-of-text among them.
    unreached: id to bytes of tokens that no merge makes, and so no text is encoded into.
    vocab_size: number of ids; those named nowhere stand for nothing (vocabularies are padded to round numbers). Special and
        added tokens may have larger ids: a text that holds one cannot be encoded.
    eot: id of the token that ends a text.
    begin: id put before every prompt (OPT: `</s>`), or None.
    """

    ids: tuple[int, ...]
    special: Mapping[int, str]
    unreached: Mapping[int, bytes] = field(default_factory=dict)
    vocab_size: int
    eot: int
    begin: int | None = None


@dataclass(frozen=True, slots=True)
class TokenTable:
    """The table from which a `Tokenizer` is made.

    tokens: the bytes of each token in the order of merging: the 256 bytes in GPT-2's order, then the merges; no end-of-text.
    numbering: None where ids are GPT-2's: the tokens in this order, then end-of-text.
    added: tokens found whole in a text; None: the special tokens, without options.
    prefix_space: whether a space is put before a text that does not begin with one.
    """

    tokens: tuple[bytes, ...]
    numbering: Numbering | None = None
    added: tuple[AddedToken, ...] | None = None
    prefix_space: bool = False

    @property
    def eot(self) -> int:
        """The id of the token that ends a text."""
        return len(self.tokens) if self.numbering is None else self.numbering.eot

    @property
    def begin(self) -> int | None:
        """The id put before every prompt, or None."""
        return None if self.numbering is None else self.numbering.begin


def plain_end_of_text(texts: Iterable[str]) -> str | None:
    """Of the texts of added tokens, the end-of-text that `encode` reads as plain text unless its caller allows special tokens.

    GPT-2's `<|endoftext|>`, or where there is none OPT's `</s>`: what a user types does not end a document.
    """
    found = set(texts)
    return next((end for end in DEFAULT_ENDS if end in found), None)


def canonical_added_tokens(added: Iterable[AddedToken]) -> tuple[AddedToken, ...]:
    """Added tokens sorted by id, `normalized` turned off where that finds the same tokens: equal tables compare equal."""
    tokens = sorted(added, key=lambda token: token.id)
    late, early = ([token for token in tokens if token.normalized is on] for on in (True, False))
    options = any(token.lstrip or token.rstrip or token.single_word for token in tokens)
    if not early or not (options or _any_overlap({token.text for token in late}, {token.text for token in early})):
        return tuple(replace(token, normalized=False) for token in tokens)
    return tuple(tokens)


def _any_overlap(late: set[str], early: set[str]) -> bool:
    """Whether a text of the one set and a text of the other may share a character, in time that grows with their lengths."""
    long = {text for text in late | early if len(text) > LONG_TEXT or SEPARATOR in text}
    if any(_overlap(a, b) for a in late for b in (early if a in long else early & long)):
        return True
    late, early = late - long, early - long
    for these, others in ((late, early), (early, late)):
        ends = {text[i:] for text in others for i in range(len(text))}
        if any(text[:n] in ends for text in these for n in range(1, len(text) + 1)):
            return True
        joined = SEPARATOR.join(others)
        if any(text in joined for text in these):
            return True
    return False


def _overlap(a: str, b: str) -> bool:
    """Whether two tokens may overlap in some text."""
    ends = any(a.startswith(b[-n:]) or b.startswith(a[-n:]) for n in range(1, min(len(a), len(b)) + 1))
    return ends or a in b or b in a
