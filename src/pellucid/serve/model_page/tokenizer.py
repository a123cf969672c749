"""A tokenizer as a page has it: the bytes of its tokens, their ids, and the tokens that are found whole in a text."""

import base64

from pellucid.errors import PellucidError
from pellucid.serve.wire_page import PageAddedToken, PageTokenizer
from pellucid.text.token_table import NO_ID, plain_end_of_text
from pellucid.text.tokenizer import Tokenizer


def unsupported(tokenizer: Tokenizer) -> str | None:
    """What a page does not support of a tokenizer, in a few words; None if it supports all of it."""
    if tokenizer.numbering is not None and NO_ID in tokenizer.numbering.ids:
        return "a tokenizer that has no token for some bytes"
    if any(token.single_word for token in tokenizer.added):
        return "added tokens that are found as single words only"  # what a word is depends on the browser's version of Unicode
    return None


def page_tokenizer(tokenizer: Tokenizer) -> PageTokenizer:
    """The tokenizer as `studio/src/text/tokenizer.ts` reads it. End-of-text is not among the tokens that are found in a text.

    Raises:
        PellucidError: a tokenizer that a page does not support.
    """
    if (reason := unsupported(tokenizer)) is not None:
        raise PellucidError(f"a page does not support {reason}")
    table = [tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)]
    end = plain_end_of_text(token.text for token in tokenizer.added)
    found = PageTokenizer(
        bytes=base64.b64encode(b"".join(table)).decode("ascii"),
        lengths=[len(token) for token in table],
        merged=len(tokenizer.ranked_tokens()),
        added=[
            PageAddedToken(
                id=token.id, text=token.text, lstrip=token.lstrip, rstrip=token.rstrip, normalized=token.normalized
            )
            for token in tokenizer.added if token.text != end
        ],
        prefix_space=tokenizer.prefix_space, eot=tokenizer.eot, begin=tokenizer.begin, fingerprint=tokenizer.fingerprint,
    )  # fmt: skip
    if tokenizer.numbering is not None:
        found["ids"] = list(tokenizer.numbering.ids)
    return found
