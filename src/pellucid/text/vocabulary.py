"""Building a token table from a vocabulary, a list of merges and the added tokens of a tokenizer's files."""

from collections.abc import Mapping, Sequence

from pellucid.arguments import shown
from pellucid.errors import PellucidError, UnsupportedTokenizerError
from pellucid.text.bytes_to_characters import BYTE_ORDER, to_bytes, to_characters
from pellucid.text.merges import already_checked, check_merges
from pellucid.text.token_table import (
    DEFAULT_ENDS,
    END_OF_TEXT,
    NO_ID,
    AddedToken,
    Numbering,
    TokenTable,
    canonical_added_tokens,
)


MAX_ID = (1 << 22) - 1  # a table is as long as its largest id


def build_token_table(
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    added: Sequence[AddedToken],
    *,
    end: str | None = None,
    end_id: int | None = None,
    begin: str | None = None,
    prefix_space: bool = False,
    ignore_merges: bool = False,
) -> TokenTable:
    """The token table of a vocabulary (token as byte characters, or a special token's text, to id).

    Args:
        merges: in order, each a pair of tokens.
        added: tokens found whole in a text; they may be in the vocabulary too, with the same id.
        end: the token that ends a text; None takes `<|endoftext|>` or `</s>`, whichever is there, else the id `end_id`.
        begin: the token put before every prompt, if any.
        prefix_space: whether a space is put before a text.
        ignore_merges: whether a piece of text that is a token is not merged, which must change nothing.

    Raises:
        UnsupportedTokenizerError: a merge makes no text of bytes, ids clash, or merging by pairs (`tokenizers`) and by ranks
            (`tiktoken`) would not encode all text alike.
        PellucidError: an id is none, or a merge joins or makes what is no token.
    """
    ids = dict(vocabulary)
    if ids and (set(map(type, ids.values())) != {int} or min(ids.values()) < 0 or max(ids.values()) > MAX_ID):
        wrong = next(text for text, i in ids.items() if type(i) is not int or not 0 <= i <= MAX_ID)
        raise PellucidError(f"the id of {shown(wrong)} is {shown(ids[wrong])}, not a number up to {MAX_ID:,}")
    for one in added:
        assert ids.setdefault(one.text, one.id) == one.id, one
    by_id: dict[int, str] = {}
    for text, i in ids.items():
        if by_id.setdefault(i, text) != text:
            raise UnsupportedTokenizerError(f"id {i} is two tokens, {by_id[i]!r} and {text!r}")
    characters = [*(to_characters(bytes([byte])) for byte in BYTE_ORDER), *(a + b for a, b in merges)]
    if lacking := {text for text in characters if text not in ids}:
        for a, b in merges:
            if unknown := [text for text in (a, b, a + b) if text in lacking]:
                raise PellucidError(f"its vocabulary lacks {unknown[0]!r}, which a merge joins or makes")
    try:
        ranked = list(map(to_bytes, characters))
        if not already_checked(merges):
            check_merges(ranked, [(to_bytes(a), to_bytes(b)) for a, b in merges])
    except PellucidError as error:
        raise UnsupportedTokenizerError(str(error)) from None
    merged_tokens = set(characters)
    end = end if end is not None else next((text for text in DEFAULT_ENDS if text in ids), None)
    if end is None and end_id is None:
        raise UnsupportedTokenizerError(
            f"it has no token that ends a text: none of {', '.join(DEFAULT_ENDS)}, and no file names another"
        )
    for role, text_of_role in (("ends a text", end), ("begins a prompt", begin)):
        if text_of_role is not None and text_of_role not in ids:
            raise UnsupportedTokenizerError(f"the token {text_of_role!r}, which {role}, is not in its vocabulary")
    special = {text: ids[text] for text in (end, begin) if text is not None} | {
        one.text: one.id for one in added if one.special
    }
    special = {text: i for text, i in special.items() if text not in merged_tokens}
    if ignore_merges and (whole := [text for text in vocabulary if text not in merged_tokens and _is_one_piece(text)]):
        raise UnsupportedTokenizerError(f"its model has ignore_merges on, and no merges make its token {whole[0]!r}")
    eot = end_id if end is None else ids[end]
    assert eot is not None
    numbers = [ids.get(text, NO_ID) for text in characters]
    found = canonical_added_tokens(added)
    in_order = numbers == list(range(eot)) and len(ids) == eot + 1
    if in_order and special == {END_OF_TEXT: eot} and begin is None:
        return TokenTable(tuple(ranked), None, found, prefix_space)
    whole_texts = {one.text for one in added} | set(special)
    numbering = Numbering(
        ids=tuple(numbers),
        special={i: text for text, i in special.items()},
        unreached={i: _bytes(text) for text, i in ids.items() if text not in merged_tokens and text not in whole_texts},
        vocab_size=max(*ids.values(), eot) + 1,
        eot=eot,
        begin=None if begin is None else ids[begin],
    )
    return TokenTable(tuple(ranked), numbering, found, prefix_space)


def _is_one_piece(text: str) -> bool:
    """Whether a piece of a text may be this token's bytes, whole."""
    from tokenizers import pre_tokenizers  # slow to import, and needed for few files

    piece = _bytes(text).decode("utf-8", errors="replace")
    return len(pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(piece)) == 1


def _bytes(text: str) -> bytes:
    """A token's bytes as `tokenizers` decodes it: byte characters, or where one is none, the text as it is."""
    try:
        return to_bytes(text)
    except PellucidError:
        return text.encode("utf-8", errors="replace")
