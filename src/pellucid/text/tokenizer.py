"""Byte-level byte-pair encoding: text to token ids and back.

GPT-3 reads and writes token ids, not text; it uses GPT-2's encoding (Brown et al. 2020, section 2.1). A tokenizer is a
table: 256 tokens for the bytes, then one token for each merge, then the end-of-text token. To encode a piece of text,
start from its bytes and, while two neighbours together are a token, join the pair whose token has the lowest id.
`tiktoken` does that fast.
"""

import hashlib
import json
import operator
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex

from pellucid.arguments import flag, path_of, shown, text_of
from pellucid.errors import PellucidError
from pellucid.resources import available_cpus
from pellucid.strict_json import is_text
from pellucid.text import tokenizer_json
from pellucid.text.bytes_to_characters import BYTE_ORDER
from pellucid.text.long_words import encode_in_parts, has_long_words
from pellucid.text.split_pattern import R50K_SPLIT
from pellucid.text.token_table import END_OF_TEXT, Numbering, TokenTable


if TYPE_CHECKING:
    import tiktoken


class Tokenizer:
    """An immutable table of tokens with the functions that use it. Equal tables are equal tokenizers.

    vocab_size: number of ids, the end-of-text token included.
    eot: id of the end-of-text token; the last one, vocab_size - 1, unless a numbering says otherwise.
    begin: id put before every prompt, or None.
    numbering: None where ids are GPT-2's: the tokens in order of merging, then end-of-text.
    fingerprint: SHA-256 of the table and the split pattern; a corpus and a model name the tokenizer by it.
    """

    vocab_size: int
    eot: int
    begin: int | None
    numbering: Numbering | None
    fingerprint: str

    def __init__(self, tokens: Sequence[bytes], numbering: Numbering | None = None) -> None:
        """tokens: the bytes of each token in the order of merging, without end-of-text: the 256 bytes in GPT-2's order, then
        the merges. Their places are their ids where there is no numbering.

        Raises PellucidError for a table that is not of this form. That each merge can be reached by merging is the
        caller's promise; `tokenizer_json.read` checks it for files from elsewhere.
        """
        table = tuple(tokens)
        if table[:256] != tuple(bytes([byte]) for byte in BYTE_ORDER):
            raise PellucidError("the first 256 tokens must be the 256 bytes in GPT-2's order")
        ranks = {token: i for i, token in enumerate(table)}
        if len(ranks) != len(table):
            twice = next(token for i, token in enumerate(table) if ranks[token] != i)
            raise PellucidError(f"the token {twice!r} is in the table twice")
        if b"" in ranks:
            raise PellucidError(f"token {ranks[b'']} is empty")

        digest = hashlib.sha256(f"byte-level BPE\n{R50K_SPLIT}\n".encode())
        digest.update(b"".join([len(token).to_bytes(4, "little") + token for token in table]))
        digest.update(END_OF_TEXT.encode())

        self._ranks = ranks
        self._ranked = table
        self.numbering = numbering
        if numbering is None:
            self._table = (*table, END_OF_TEXT.encode())
            self.eot, self.begin = len(table), None
        else:
            self._table = _numbered(table, numbering)
            self.eot, self.begin = numbering.eot, numbering.begin
            # Padding is left out: it changes no token of any text. So GPT-2's ids, padded, are GPT-2's.
            numbers = [list(numbering.ids), sorted(numbering.special.items()), numbering.eot, numbering.begin]
            if numbers != [list(range(len(table))), [(len(table), END_OF_TEXT)], len(table), None]:
                digest.update(json.dumps(numbers).encode())
        self.vocab_size = len(self._table)
        self.fingerprint = digest.hexdigest()

    def __setattr__(self, name: str, value: object) -> None:
        if "fingerprint" in self.__dict__:  # the last attribute that __init__ sets
            raise AttributeError(f"a Tokenizer cannot be changed: {name}")
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"<Tokenizer of {self.vocab_size} tokens, {self.fingerprint[:12]}>"

    def __reduce__(self) -> tuple[type["Tokenizer"], tuple[tuple[bytes, ...], Numbering | None]]:
        return Tokenizer, (self._ranked, self.numbering)  # for worker processes and copies: all there is

    @cached_property  # writes into __dict__, past __setattr__
    def _encoding(self) -> "tiktoken.Encoding":
        import tiktoken

        return tiktoken.Encoding(
            "pellucid", pat_str=R50K_SPLIT, mergeable_ranks=self._ranks, special_tokens={END_OF_TEXT: len(self._ranks)}
        )

    def _ids_of_ranks(self, ranks: list[int]) -> list[int]:
        return ranks if self.numbering is None else [self.numbering.ids[rank] for rank in ranks]

    @property
    def end_of_text(self) -> str:
        """How the token that ends a text is written."""
        return self._table[self.eot].decode("utf-8", errors="replace")

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Token ids of a text.

        allow_special: read the literal `<|endoftext|>` (what `end_of_text` says) as that token. By default it is text like
        any other, so that what a user types cannot end a document.

        Raises:
            PellucidError: half a character (a lone surrogate, as `os.fsdecode` makes of bytes), which is no text.
        """
        _check_text(text)
        if flag("allow_special", allow_special) and self.end_of_text:
            ids: list[int] = []
            for i, part in enumerate(text.split(self.end_of_text)):
                ids += [self.eot] * (i > 0) + self.encode(part)
            return ids
        return self._ids_of_ranks(self._ranks_of(text) if has_long_words(text) else self._encoding.encode_ordinary(text))

    def _ranks_of(self, text: str) -> list[int]:
        return encode_in_parts(text, self._encoding.encode_ordinary, self._ranked)

    def encode_prompt(self, text: str) -> list[int]:
        """Token ids of a text that a model is to continue: the token that begins every prompt first, where there is one."""
        return [self.begin, *self.encode(text)] if self.begin is not None else self.encode(text)

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """`[encode(text) for text in texts]` on all processors."""
        given = list(map(_check_text, texts))
        in_parts = list(map(has_long_words, given))
        whole = [text for text, long in zip(given, in_parts, strict=True) if not long]
        encoded = iter(self._encoding.encode_ordinary_batch(whole, num_threads=available_cpus()))
        ranks = (self._ranks_of(text) if long else next(encoded) for text, long in zip(given, in_parts, strict=True))
        return list(map(self._ids_of_ranks, ranks))

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The text of token ids. Bytes that are not UTF-8 become U+FFFD; end-of-text is the literal `<|endoftext|>`."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Iterable[SupportsIndex]) -> bytes:
        """The bytes of token ids, joined; special tokens are what they are written as."""
        if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
            raise PellucidError(f"ids must be token ids, not {shown(ids)}")
        return b"".join(map(self.token_bytes, ids))

    def token_bytes(self, token: SupportsIndex) -> bytes:
        """The bytes of one token; raises PellucidError for an id outside the vocabulary."""
        try:
            i = operator.index(token)
        except TypeError:
            raise PellucidError(f"a token id must be a whole number, not {shown(token)}") from None
        if not 0 <= i < self.vocab_size:
            raise PellucidError(f"token id {shown(i)} is outside the vocabulary: ids go from 0 to {self.vocab_size - 1}")
        return self._table[i]

    @property
    def byte_lengths(self) -> list[int]:
        """(V,) bytes of text that each token stands for; 0 for end-of-text and its like."""
        special = {self.eot} if self.numbering is None else {self.eot, *self.numbering.special}
        return [0 if i in special else len(token) for i, token in enumerate(self._table)]

    def renumbered(self, *, vocab_size: int, eot: int | None = None) -> "Tokenizer":
        """The same tokens in a vocabulary of `vocab_size` ids (the new ones stand for nothing), ending texts with `eot`.

        Raises:
            PellucidError: this tokenizer has more ids than that.
        """
        if self.vocab_size > vocab_size:
            raise PellucidError(f"the tokenizer has {self.vocab_size} tokens, but the model only {vocab_size}")
        eot = self.eot if eot is None else eot
        if (vocab_size, eot) == (self.vocab_size, self.eot):
            return self
        old = self.numbering or Numbering(
            ids=tuple(range(self.eot)), special={self.eot: END_OF_TEXT}, vocab_size=self.vocab_size, eot=self.eot
        )
        return Tokenizer(self._ranked, replace(old, vocab_size=vocab_size, eot=eot))

    @staticmethod
    def load(path: str | Path) -> "Tokenizer":
        """Reads a `tokenizer.json`, or the one in a directory.

        Accepted: a byte-level BPE cut by GPT-2's pattern, with any ids and special tokens, of which merging by pairs
        (`tokenizers`) and merging by ranks (`tiktoken`) encode all text alike. Everything else raises PellucidError.
        """
        file = tokenizer_json.file_at(path_of("path", path))
        with tokenizer_json.errors_with_file(file):
            table = tokenizer_json.read(file)
            return Tokenizer(table.tokens, table.numbering)

    def save(self, path: str | Path) -> Path:
        """Writes a standard `tokenizer.json` to this file, or into this directory, and returns the file's path.

        Into a directory a `tokenizer_config.json` goes too where it is needed to say which token is which.
        """
        return tokenizer_json.write(self.table, path_of("path", path))

    @property
    def table(self) -> TokenTable:
        """The token table of this tokenizer, as files store it."""
        return TokenTable(self._ranked, self.numbering)

    def ranked_tokens(self) -> tuple[bytes, ...]:
        """The tokens without end-of-text in the order of merging: the 256 bytes, then the result of each merge."""
        return self._ranked


def _check_text(text: str) -> str:
    """The text. Raises PellucidError for what is none."""
    if not is_text(text_of("text", text)):
        raise PellucidError(f"the text {shown(text)} holds half a character (a lone surrogate), which UTF-8 cannot hold")
    return text


def _numbered(ranked: Sequence[bytes], numbering: Numbering) -> tuple[bytes, ...]:
    """The bytes of every id; empty where an id stands for nothing.

    Raises:
        PellucidError: two tokens have one id, or an id lies outside the vocabulary.
    """
    assert len(ranked) == len(numbering.ids)
    pairs = [
        *zip(numbering.ids, ranked, strict=True),
        *numbering.unreached.items(),
        *((i, text.encode("utf-8", errors="replace")) for i, text in numbering.special.items()),
    ]
    table: dict[int, bytes] = {}
    for i, token in pairs:
        if i in table:
            raise PellucidError(f"id {i} is two tokens, {table[i]!r} and {token!r}")
        if not 0 <= i < numbering.vocab_size:
            raise PellucidError(f"the token {token!r} has id {i}, outside a vocabulary of {numbering.vocab_size}")
        table[i] = token
    for what, special in (("ends a text", numbering.eot), ("begins one", numbering.begin)):
        if special is not None and not 0 <= special < numbering.vocab_size:
            raise PellucidError(f"the token that {what} has id {special}, outside a vocabulary of {numbering.vocab_size}")
    return tuple(table.get(i, b"") for i in range(numbering.vocab_size))
