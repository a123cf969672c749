"""`TokenTable`: the tokens of a byte-level BPE tokenizer in the order of merging, and their ids."""

from collections.abc import Mapping
from dataclasses import dataclass, field


END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbering:
    """Ids that are not in the order of merging, as those of GPT-2's relatives (OPT: special tokens first).

    ids: the id of each token in the order of merging.
    special: id to text of tokens that stand for no text of a document, end-of-text among them.
    unreached: id to bytes of tokens that no text is encoded into, because no merge makes them.
    vocab_size: number of ids; those named nowhere stand for nothing (vocabularies are padded to round numbers).
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
    """

    tokens: tuple[bytes, ...]
    numbering: Numbering | None = None

    @property
    def eot(self) -> int:
        """The id of the token that ends a text."""
        return len(self.tokens) if self.numbering is None else self.numbering.eot

    @property
    def begin(self) -> int | None:
        """The id put before every prompt, or None."""
        return None if self.numbering is None else self.numbering.begin
