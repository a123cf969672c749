"""Building a token table from a vocabulary, a list of merges and the special tokens of a tokenizer file."""

from collections.abc import Mapping, Sequence

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.text.bytes_to_characters import BYTE_ORDER, to_bytes, to_characters
from pellucid.text.merges import already_checked, check_merges
from pellucid.text.token_table import END_OF_TEXT, Numbering, TokenTable


LARGEST_ID = (1 << 22) - 1  # a table is as long as its largest id
DEFAULT_ENDS = (END_OF_TEXT, "</s>")  # tokens that end a text where no file names one


def build_token_table(
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    special: Mapping[str, int],
    *,
    end: str | None = None,
    begin: str | None = None,
) -> TokenTable:
    """The token table of a vocabulary (token as byte characters, or a special token's text, to id).

    Args:
        merges: in order, each a pair of tokens.
        special: texts of special tokens to ids; they may be in the vocabulary too, with the same id.
        end: the token that ends a text; None takes `<|endoftext|>` or `</s>`, whichever is there.
        begin: the token put before every prompt, if any.

    Raises:
        PellucidError: bytes are missing, ids clash, a merge makes what is no token, or merging by pairs (`tokenizers`) and
            by ranks (`tiktoken`) would not encode all text alike.
    """
    ids = dict(vocabulary)
    for given in (vocabulary, special):
        if given and (set(map(type, given.values())) != {int} or min(given.values()) < 0 or max(given.values()) > LARGEST_ID):
            wrong = next(text for text, i in given.items() if type(i) is not int or not 0 <= i <= LARGEST_ID)
            raise PellucidError(f"the id of {shown(wrong)} is {shown(given[wrong])}, not a number up to {LARGEST_ID:,}")
    for text, i in special.items():
        if ids.setdefault(text, i) != i:
            raise PellucidError(f"{text} has two ids, {ids[text]} and {i}")
    by_id: dict[int, str] = {}
    for text, i in ids.items():
        if by_id.setdefault(i, text) != text:
            raise PellucidError(f"id {i} is two tokens, {by_id[i]!r} and {text!r}")
    characters = [*(to_characters(bytes([byte])) for byte in BYTE_ORDER), *(a + b for a, b in merges)]
    ranked = list(map(to_bytes, characters))
    if not already_checked(merges):
        check_merges(ranked, [(to_bytes(a), to_bytes(b)) for a, b in merges])
    for text in characters:
        if text not in ids:
            raise PellucidError(f"its vocabulary lacks {text!r}, which is a byte or what a merge makes")
    merged_tokens = set(characters)
    if clash := sorted(merged_tokens & set(special)):
        raise PellucidError(f"{clash[0]!r} is both a special token and a byte or what a merge makes")
    end = end or _default_end(ids)
    for role, token in (("ends a text", end), ("begins a prompt", begin)):
        if token is not None and token not in ids:
            raise PellucidError(f"the token {token!r}, which {role}, is not in its vocabulary")
    all_special = dict(special) | {text: ids[text] for text in (end, begin) if text is not None}
    eot = ids[end]
    if [ids[text] for text in characters] == list(range(eot)) and all_special == {END_OF_TEXT: eot} and len(ids) == eot + 1:
        return TokenTable(tuple(ranked))
    numbering = Numbering(
        ids=tuple(ids[text] for text in characters),
        special={i: text for text, i in all_special.items() if text not in merged_tokens},
        unreached={i: _bytes(text) for text, i in ids.items() if text not in merged_tokens and text not in all_special},
        vocab_size=max(ids.values()) + 1,
        eot=eot,
        begin=None if begin is None else ids[begin],
    )
    return TokenTable(tuple(ranked), numbering)


def _default_end(ids: Mapping[str, int]) -> str:
    end = next((text for text in DEFAULT_ENDS if text in ids), None)
    if end is None:
        raise PellucidError(f"it has no token that ends a text: none of {', '.join(DEFAULT_ENDS)}, and no file names another")
    return end


def _bytes(text: str) -> bytes:
    """A token's bytes as `tokenizers` decodes it: byte characters, or where one is none, the text as it is."""
    try:
        return to_bytes(text)
    except PellucidError:
        return text.encode("utf-8", errors="replace")
