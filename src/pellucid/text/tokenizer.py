"""Byte-level byte-pair encoding: text to token ids and back.

GPT-3 reads and writes token ids, not text; it uses GPT-2's encoding (Brown et al. 2020, section 2.1). A tokenizer is a
table: 256 tokens for the bytes, then one token for each merge, then the end-of-text token. To encode a piece of text,
start from its bytes and, while two neighbours together are a token, join the pair whose token has the lowest id.
`tiktoken` does that fast.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex

from pellucid.errors import PellucidError
from pellucid.text.bytes_to_characters import BYTE_ORDER
from pellucid.text.split_pattern import R50K_SPLIT, around_long_runs


if TYPE_CHECKING:
    import tiktoken

END_OF_TEXT = "<|endoftext|>"


class Tokenizer:
    """An immutable table of tokens with the functions that use it. Equal tables are equal tokenizers.

    vocab_size: number of ids, the end-of-text token included.
    eot: id of the end-of-text token, always the last one: vocab_size - 1.
    fingerprint: SHA-256 of the table and the split pattern; a corpus and a model name the tokenizer by it.
    """

    vocab_size: int
    eot: int
    fingerprint: str

    def __init__(self, tokens: Sequence[bytes]) -> None:
        """tokens: the bytes of each token by id, without end-of-text: the 256 bytes in GPT-2's order, then the merges.

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
        for token in table:
            digest.update(len(token).to_bytes(4, "little") + token)
        digest.update(END_OF_TEXT.encode())

        self._ranks = ranks
        self._table = (*table, END_OF_TEXT.encode())
        self.vocab_size = len(self._table)
        self.eot = len(table)
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

    def __reduce__(self) -> tuple[type["Tokenizer"], tuple[tuple[bytes, ...]]]:
        return Tokenizer, (self._table[:-1],)  # for worker processes and copies: the table is all there is

    @cached_property  # writes into __dict__, past __setattr__
    def _encoding(self) -> "tiktoken.Encoding":
        import tiktoken

        return tiktoken.Encoding(
            "pellucid", pat_str=R50K_SPLIT, mergeable_ranks=self._ranks, special_tokens={END_OF_TEXT: self.eot}
        )

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Token ids of a text.

        allow_special: read the literal `<|endoftext|>` as the end-of-text token. By default it is text like any other,
        so that what a user types cannot end a document.
        A lone surrogate, which no UTF-8 text can hold, is encoded as U+FFFD.
        """
        if allow_special:
            ids: list[int] = []
            for i, part in enumerate(text.split(END_OF_TEXT)):
                ids += [self.eot] * (i > 0) + self.encode(part)
            return ids
        return [i for part in around_long_runs(text) for i in self._encoding.encode_ordinary(part)]

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """`[encode(text) for text in texts]` on all processors."""
        parts = [around_long_runs(text) for text in texts]
        flat = [part for text in parts for part in text]
        encoded = iter(self._encoding.encode_ordinary_batch(flat, num_threads=os.cpu_count() or 1))
        return [next(encoded) if len(text) == 1 else [i for _ in text for i in next(encoded)] for text in parts]

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The text of token ids. Bytes that are not UTF-8 become U+FFFD; end-of-text is the literal `<|endoftext|>`."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Iterable[SupportsIndex]) -> bytes:
        """The bytes of token ids, joined."""
        return b"".join(map(self.token_bytes, ids))

    def token_bytes(self, token: SupportsIndex) -> bytes:
        """The bytes of one token; raises PellucidError for an id outside the vocabulary."""
        i = token.__index__()
        if not 0 <= i < self.vocab_size:
            raise PellucidError(f"token id {i} is outside the vocabulary: ids go from 0 to {self.vocab_size - 1}")
        return self._table[i]

    @property
    def byte_lengths(self) -> list[int]:
        """(V,) bytes of text that each token stands for; 0 for end-of-text."""
        return [*map(len, self._table[:-1]), 0]

    @staticmethod
    def load(path: str | Path) -> "Tokenizer":
        """Reads a `tokenizer.json`, or the one in a directory: see `tokenizer_json.read`."""
        from pellucid.text import tokenizer_json  # it imports this module

        return Tokenizer(tokenizer_json.read(Path(path)))

    def save(self, path: str | Path) -> Path:
        """Writes a standard `tokenizer.json` to this file, or into this directory, and returns the file's path."""
        from pellucid.text import tokenizer_json

        return tokenizer_json.write(self._table[:-1], Path(path))
