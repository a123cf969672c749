"""Byte-level byte-pair encoding: text to token ids and back.

GPT-3 reads and writes token ids, not text; it uses GPT-2's encoding (Brown et al. 2020, section 2.1). A tokenizer is a
table: 256 tokens for the bytes, then one token for each merge, then the end-of-text token. To encode a piece of text,
start from its bytes and, while two neighbours together are a token, join the pair whose token has the lowest id.
`tiktoken` does that fast.
"""

import hashlib
import json
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, replace
from functools import cached_property
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex

from pellucid.arguments import flag, instance, path_of, shown, text_of
from pellucid.errors import PellucidError
from pellucid.resources import available_cpus
from pellucid.strict_json import is_text
from pellucid.text import tokenizer_files, tokenizer_write
from pellucid.text.added_tokens import AddedTokens
from pellucid.text.bytes_to_characters import BYTE_ORDER
from pellucid.text.long_words import encode_in_parts, has_long_words
from pellucid.text.split_pattern import R50K_SPLIT
from pellucid.text.token_table import (
    END_OF_TEXT,
    NO_ID,
    AddedToken,
    Numbering,
    TokenTable,
    canonical_added_tokens,
    plain_end_of_text,
)


if TYPE_CHECKING:
    import tiktoken


class Tokenizer:
    """An immutable table of tokens with the functions that use it. Equal tables are equal tokenizers.

    vocab_size: number of ids, the end-of-text token included.
    eot: id of the end-of-text token; the last one, vocab_size - 1, unless a numbering says otherwise.
    begin: id put before every prompt, or None.
    numbering: None where ids are GPT-2's: the tokens in order of merging, then end-of-text.
    added: the tokens that are found whole in a text, by id.
    prefix_space: whether a space is put before a text that does not begin with one.
    fingerprint: SHA-256 of the table and the split pattern; a corpus and a model name the tokenizer by it.
    """

    vocab_size: int
    eot: int
    begin: int | None
    numbering: Numbering | None
    added: tuple[AddedToken, ...]
    prefix_space: bool
    fingerprint: str

    def __init__(
        self, tokens: Sequence[bytes], numbering: Numbering | None = None, added: Sequence[AddedToken] | None = None,
        prefix_space: bool = False,
    ) -> None:  # fmt: skip
        """tokens: the bytes of each token in the order of merging, without end-of-text: the 256 bytes in GPT-2's order, then
        the merges. Their indices are their ids where there is no numbering.
        added: None takes the special tokens of the numbering, without options.

        Raises PellucidError for a table that is not of this form. That each merge can be reached by merging is the
        caller's promise; `vocabulary.build_token_table` checks it for files from elsewhere.
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
        special = {len(table): END_OF_TEXT} if numbering is None else numbering.special
        default = tuple(AddedToken(id=i, text=text) for i, text in sorted(special.items()))
        self.added = default if added is None else canonical_added_tokens(added)
        self.prefix_space = prefix_space
        self._lacks_bytes = numbering is not None and NO_ID in numbering.ids[:256]
        if numbering is None:
            self._table = (*table, END_OF_TEXT.encode())
            self.eot, self.begin = len(table), None
        else:
            self._table = _numbered(table, numbering, self.added)
            self.eot, self.begin = numbering.eot, numbering.begin
            # Padding is left out: it changes no token of any text. So GPT-2's ids, padded, are GPT-2's.
            numbers = [list(numbering.ids), sorted(numbering.special.items()), numbering.eot, numbering.begin]
            if numbers != [list(range(len(table))), [(len(table), END_OF_TEXT)], len(table), None]:
                digest.update(json.dumps(numbers).encode())
        if self.added != default:
            digest.update(json.dumps([astuple(token) for token in self.added]).encode())
        if prefix_space:
            digest.update(b"prefix space")
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

    def __reduce__(self) -> tuple[type["Tokenizer"], tuple[object, ...]]:
        return Tokenizer, (self._ranked, self.numbering, self.added, self.prefix_space)  # for worker processes and copies

    @cached_property  # writes into __dict__, past __setattr__
    def _encoding(self) -> "tiktoken.Encoding":
        import tiktoken

        return tiktoken.Encoding(
            "pellucid", pat_str=R50K_SPLIT, mergeable_ranks=self._ranks, special_tokens={END_OF_TEXT: len(self._ranks)}
        )

    @cached_property
    def _always_found(self) -> AddedTokens | None:
        end = plain_end_of_text(token.text for token in self.added)
        found = [token for token in self.added if token.text != end]
        return AddedTokens(found) if found else None

    @cached_property
    def _found_if_allowed(self) -> AddedTokens:
        return AddedTokens(self.added)

    def _ids_of_ranks(self, ranks: list[int]) -> list[int]:
        if self.numbering is None:
            return ranks
        ids = [self.numbering.ids[rank] for rank in ranks]
        if self._lacks_bytes and NO_ID in ids:
            byte = self._ranked[ranks[ids.index(NO_ID)]][0]
            character = f" ({chr(byte)!r})" if byte < 0x80 else ""
            raise PellucidError(f"the text holds the byte 0x{byte:02x}{character}, which this tokenizer has no token for")
        return ids

    @property
    def end_of_text(self) -> str:
        """How the token that ends a text is written."""
        return self._table[self.eot].decode("utf-8", errors="replace")

    def encode(self, text: str, *, allow_special: bool = False, continued: bool = False) -> list[int]:
        """Token ids of a text.

        Args:
            allow_special: read the literal `<|endoftext|>` as that token (OPT's `</s>`, where there is no `<|endoftext|>`). By
                default it is text like any other, so that what a user types cannot end a document. All other added tokens are
                found either way, as `transformers` finds them.
            continued: the text goes on after another, so that no space is put before it.

        Raises:
            PellucidError: half a character (a lone surrogate, as `os.fsdecode` makes of bytes), which is no text; an added
                token that the model has no row for; or a byte that the vocabulary lacks.
        """
        check_text(text)
        found = self._found_if_allowed if flag("allow_special", allow_special) else self._always_found
        if found is None and not self.prefix_space:
            return self._ids_of_ranks(self._ranks_of(text))
        ids: list[int] = []
        for part in self._parts(text, found, continued):
            ids += [self._id_of(part)] if isinstance(part, AddedToken) else self._ids_of_ranks(self._ranks_of(part))
        return ids

    def _ranks_of(self, text: str) -> list[int]:
        if has_long_words(text):
            return encode_in_parts(text, self._encoding.encode_ordinary, self._ranked)
        return self._encoding.encode_ordinary(text)

    def _parts(self, text: str, found: AddedTokens | None, continued: bool) -> Iterator[str | AddedToken]:
        """A text's added tokens, and what lies between them, which is split and merged on its own."""
        for number, part in enumerate(found.split(text) if found else [text] * bool(text)):
            if isinstance(part, AddedToken):
                yield part
                continue
            needs_space = self.prefix_space and not part.startswith(" ") and (number > 0 or not continued)
            yield f" {part}" if needs_space else part

    def _id_of(self, token: AddedToken) -> int:
        if token.id >= self.vocab_size:
            raise PellucidError(
                f"the text holds {shown(token.text)}, which is token {token.id}, and this model has no row for it: its ids go "
                f"from 0 to {self.vocab_size - 1}"
            )
        return token.id

    def encode_prompt(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Token ids of a text that a model is to continue: the token that begins every prompt first, where there is one."""
        ids = self.encode(text, allow_special=allow_special)
        return ids if self.begin is None else [self.begin, *ids]

    def encode_batch(self, texts: Iterable[str], continued: Iterable[bool] = ()) -> list[list[int]]:
        """`[encode(text) for text in texts]` on all processors; `continued` of each text, False where it ends before."""
        pairs = zip(map(check_text, texts), chain(continued, repeat(False)), strict=False)
        if self._always_found is None and not self.prefix_space:
            parts: list[list[str | AddedToken]] = [[text] for text, _ in pairs]
        else:
            parts = [list(self._parts(text, self._always_found, goes_on)) for text, goes_on in pairs]
        flat = [part for text in parts for part in text if isinstance(part, str)]
        in_parts = list(map(has_long_words, flat))
        whole = [part for part, long in zip(flat, in_parts, strict=True) if not long]
        encoded = iter(self._encoding.encode_ordinary_batch(whole, num_threads=available_cpus()))
        ranks = (self._ranks_of(part) if long else next(encoded) for part, long in zip(flat, in_parts, strict=True))
        ids = map(self._ids_of_ranks, ranks)
        return [
            next(ids) if len(text) == 1 and isinstance(text[0], str)
            else [i for part in text for i in (next(ids) if isinstance(part, str) else (self._id_of(part),))]
            for text in parts
        ]  # fmt: skip

    def can_cut(self, before: str, after: str) -> bool:
        """Whether two parts of a text that `split_pattern.chunks` cut have the same encoding apart as together."""
        before, after = text_of("before", before), text_of("after", after)
        return self._always_found is None or not self._always_found.spans_cut(before, after)

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

        Special and added tokens may lie beyond it: a text that holds one cannot be encoded.

        Raises:
            PellucidError: a token that texts are encoded into lies beyond it.
        """
        old = self.numbering or Numbering(
            ids=tuple(range(self.eot)), special={self.eot: END_OF_TEXT}, vocab_size=self.vocab_size, eot=self.eot
        )
        eot = self.eot if eot is None else eot
        if max(*old.ids, eot, -1 if old.begin is None else old.begin) >= vocab_size:
            raise PellucidError(f"the tokenizer has {self.vocab_size} tokens, but the model only {vocab_size}")
        if (vocab_size, eot) == (self.vocab_size, self.eot):
            return self
        return Tokenizer(self._ranked, replace(old, vocab_size=vocab_size, eot=eot), self.added, self.prefix_space)

    @staticmethod
    def load(path: str | Path) -> "Tokenizer":
        """Reads the tokenizer of a directory, in any form that models are published with, or a `tokenizer.json`.

        Accepted: a byte-level BPE cut by GPT-2's pattern, with any ids and added tokens, of which merging by pairs
        (`tokenizers`) and merging by ranks (`tiktoken`) encode all text alike (docs/formats.md: tokenizer files).

        Raises:
            UnsupportedTokenizerError: it would be encoded differently than its maker meant; the message names the reason.
            PellucidError: no such file, or a damaged one.
        """
        return Tokenizer.from_table(tokenizer_files.read_table(path_of("path", path)))

    @staticmethod
    def from_table(table: TokenTable) -> "Tokenizer":
        """The tokenizer of a table."""
        instance("table", table, TokenTable, "a token table")
        return Tokenizer(table.tokens, table.numbering, table.added, table.prefix_space)

    def save(self, path: str | Path) -> Path:
        """Writes a standard `tokenizer.json` to this file, or into this directory, and returns the file's path.

        Into a directory a `tokenizer_config.json` goes too where it is needed to say which token is which.
        """
        return tokenizer_write.write(self.table, path_of("path", path))

    @property
    def table(self) -> TokenTable:
        """The token table of this tokenizer, as files store it."""
        return TokenTable(self._ranked, self.numbering, self.added, self.prefix_space)

    def ranked_tokens(self) -> tuple[bytes, ...]:
        """The tokens without end-of-text in the order of merging: the 256 bytes, then the result of each merge."""
        return self._ranked


def check_text(text: str) -> str:
    """The text. Raises PellucidError for anything but text, and for text with half a character (a lone surrogate)."""
    if not is_text(text_of("text", text)):
        raise PellucidError(f"the text {shown(text)} holds half a character (a lone surrogate), which UTF-8 cannot hold")
    return text


def _numbered(ranked: Sequence[bytes], numbering: Numbering, added: Sequence[AddedToken]) -> tuple[bytes, ...]:
    """The bytes of every id; empty where an id stands for nothing.

    Raises:
        PellucidError: two tokens have one id, or an id lies outside the vocabulary.
    """
    assert len(ranked) == len(numbering.ids)
    pairs = [
        *((i, token) for i, token in zip(numbering.ids, ranked, strict=True) if i != NO_ID),
        *numbering.unreached.items(),
        *((i, text.encode("utf-8", errors="replace")) for i, text in numbering.special.items()),
    ]
    table: dict[int, bytes] = {}
    for i, token in pairs:
        if i in table:
            raise PellucidError(f"id {i} is two tokens, {table[i]!r} and {token!r}")
        table[i] = token
    if outside := [i for i in table if i < 0] + [i for i in numbering.ids if i >= numbering.vocab_size]:
        raise PellucidError(
            f"the token {table[outside[0]]!r} has id {outside[0]}, outside a vocabulary of {numbering.vocab_size}"
        )
    for one in added:  # of those that are not special, some are in the vocabulary
        table.setdefault(one.id, one.text.encode("utf-8", errors="replace"))
    for what, role in (("ends a text", numbering.eot), ("begins one", numbering.begin)):
        if role is not None and not 0 <= role < numbering.vocab_size:
            raise PellucidError(f"the token that {what} has id {role}, outside a vocabulary of {numbering.vocab_size}")
    return tuple(table.get(i, b"") for i in range(numbering.vocab_size))
