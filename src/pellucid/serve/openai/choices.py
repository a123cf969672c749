r"""`ChoiceWriter`: a choice of the response: text, and log-probabilities as OpenAI's API gave them for GPT-3.

- A token that is not whole UTF-8 is written `bytes:\xe2\x80`, so that two tokens are never one key.
- `text_offset` is where in prompt and completion a token begins: the characters that were complete before it. Without echo the
  first is the prompt's length. Behind a stop string's beginning it stays at the text's end.
- `token_logprobs` and `top_logprobs` are of the model's own distribution. The first token of an echoed prompt has none: null.
- `top_logprobs` holds the k likeliest tokens, and the token itself.

A choice can be written at once or part by part: the parts joined are the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.engine.completion import Token, TopLogprobs
from pellucid.engine.sequence import PromptLogprobs
from pellucid.text.pieces import Utf8Stream
from pellucid.text.tokenizer import Tokenizer


LEAST = -9999.0  # in place of minus infinity, which JSON has not; vLLM's number


class TokenNames:
    """How tokens are written in responses. A model without a tokenizer gives `token_id:5`, as vLLM does."""

    def __init__(self, tokenizer: Tokenizer | None) -> None:
        self.tokenizer = tokenizer
        self._names: dict[int, str] = {}

    def __getitem__(self, token: int) -> str:
        found = self._names.get(token)
        if found is None:
            found = self._names[token] = self._name(token)
        return found

    def _name(self, token: int) -> str:
        if self.tokenizer is None:
            return f"token_id:{token}"
        data = self.tokenizer.token_bytes(token)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return f"bytes:{repr(data)[2:-1]}"

    def bytes(self, token: int) -> bytes:
        """What a token is; nothing, in a model without a tokenizer."""
        return b"" if self.tokenizer is None else self.tokenizer.token_bytes(token)

    def top(self, token: int, logprob: float | None, likeliest: TopLogprobs | None) -> dict[str, float]:
        """The likeliest tokens and the token itself, by name; of two of one name the likelier."""
        found: dict[str, float] = {}
        for one, value in likeliest or ():
            found.setdefault(self[one], finite(value))
        if logprob is not None:
            found.setdefault(self[token], finite(logprob))
        return found


@dataclass(frozen=True, slots=True)
class Entry:
    """A token of `logprobs`: its name, log-probability, likeliest tokens, and the characters complete before it."""

    name: str
    logprob: float | None
    top: dict[str, float] | None
    offset: int


def prompt_entries(names: TokenNames, prompt: Sequence[int], computed: PromptLogprobs) -> list[Entry]:
    """The entries of an echoed prompt, which its choices share."""
    entries, stream, complete = [], Utf8Stream(), 0
    for token, logprob, top in zip(prompt, computed.logprobs, computed.top_logprobs, strict=True):
        likeliest = None if logprob is None else names.top(token, logprob, top)
        entries.append(Entry(names[token], _finite_or_null(logprob), likeliest, complete))
        complete += len(stream.push(names.bytes(token)))
    return entries


class ChoiceWriter:
    """Writes one choice.

    Args:
        names: of the model's tokens.
        prompt_text: what the prompt decodes to.
        logprobs: whether log-probabilities are wanted.
        echo: whether the choice begins with the prompt.
    """

    def __init__(self, names: TokenNames, prompt_text: str, *, logprobs: bool, echo: bool) -> None:
        self._names = names
        self._logprobs = logprobs
        self._entries: list[Entry] = []
        self._characters = Utf8Stream()
        self._complete = self._end = len(prompt_text)
        self._text = prompt_text if echo else ""

    def add_prompt(self, entries: Sequence[Entry]) -> None:
        """Adds the log-probabilities of the echoed prompt (`prompt_entries`)."""
        self._entries += entries

    def add(self, token: int, logprob: float, top: TopLogprobs | None) -> None:
        """Adds a drawn token's log-probabilities."""
        if self._logprobs:
            entry = Entry(self._names[token], finite(logprob), self._names.top(token, logprob, top), self._complete)
            self._entries.append(entry)
            self._complete += len(self._characters.push(self._names.bytes(token)))

    def add_text(self, text: str) -> None:
        """Adds text that is certain."""
        self._text += text
        self._end += len(text)

    def add_token(self, token: Token) -> None:
        """Adds a drawn token with what it adds to the text."""
        self.add(token.id, token.logprob, token.top_logprobs)
        self.add_text(token.text)

    def take(self, *, last: bool) -> tuple[str, dict[str, Any] | None]:
        """(text, logprobs) that are certain and were not taken before.

        Args:
            last: nothing more comes. Before that, tokens whose text may still turn out to belong to a stop string are kept.
        """
        text, self._text = self._text, ""
        if not self._logprobs:
            return text, None
        count = len(self._entries)
        if not last:
            count = next((at for at, entry in enumerate(self._entries) if entry.offset > self._end), count)
        entries, self._entries = self._entries[:count], self._entries[count:]
        return text, {
            "tokens": [entry.name for entry in entries],
            "token_logprobs": [entry.logprob for entry in entries],
            "top_logprobs": [entry.top for entry in entries],
            "text_offset": [min(entry.offset, self._end) for entry in entries],
        }


def finite(logprob: float) -> float:
    """A log-probability as JSON can hold it."""
    return logprob if logprob > LEAST else LEAST


def _finite_or_null(logprob: float | None) -> float | None:
    return None if logprob is None else finite(logprob)
