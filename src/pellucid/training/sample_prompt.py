"""The prompt that the samples of a run continue where none was given: short, so that what the model writes is seen after it."""

import re
from itertools import accumulate

from pellucid.text import Tokenizer
from pellucid.text.graphemes import columns, graphemes, is_mark


MOST_TOKENS, MOST_COLUMNS = 24, 32
PLAIN_WORDS = re.compile(r"\b[^\W\d_]+( [^\W\d_]+){2,3}\b")


def opening_words(text: str, tokenizer: Tokenizer) -> str:
    """The first three or four plain words of a text; of one without such words or with long ones, its first tokens."""
    for words in PLAIN_WORDS.finditer(text):
        around = text[max(0, words.start() - 1) : words.start()] + text[words.end() : words.end() + 1]
        if not any(map(is_mark, around)) and columns(words[0]) <= MOST_COLUMNS:  # a mark beside it belongs to the word
            return words[0]
    return beginning(" ".join(text.split()), tokenizer, MOST_TOKENS, MOST_COLUMNS)


def beginning(text: str, tokenizer: Tokenizer, most_tokens: int, most_columns: int | None = None) -> str:
    """As many of a text's first tokens as are allowed, up to a space; where no space is among them, up to a whole character.

    Returns "" where not even the first character is allowed.
    """
    ids = tokenizer.encode_prompt(text)
    if len(ids) <= most_tokens and (most_columns is None or columns(text) <= most_columns):
        return text
    ends = {0, *accumulate(map(len, graphemes(text)))}
    longest = ""
    for count in range(min(most_tokens, len(ids)), 0, -1):
        try:
            start = tokenizer.decode_bytes(ids[:count]).decode("utf-8")
        except UnicodeDecodeError:  # inside a character
            continue
        if len(start) not in ends or (most_columns is not None and columns(start) > most_columns):
            continue
        if text[len(start) :][:1] in ("", " ") and start.strip():
            return start
        longest = longest or start
    return longest
