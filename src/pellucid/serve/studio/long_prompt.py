"""A prompt that is too long for a model: the end of it that fits, for the page to offer."""

import re
from typing import TYPE_CHECKING

from pellucid.errors import PellucidError
from pellucid.serve.studio.generate_request import ParsedRequest


if TYPE_CHECKING:
    from pellucid.generation.model import GPT
    from pellucid.text.tokenizer import Tokenizer

_WORD = re.compile(r"(?<=\s)\S")
_LONGEST_WORD = 40  # characters: where the next word begins later, the text is of a script without spaces


class TooLongError(PellucidError):
    """A prompt and max_tokens need more positions than the model has (400).

    Attributes:
        fitting: the end of the prompt that fits, from the start of a word on.
    """

    def __init__(self, why: str, fitting: str) -> None:
        super().__init__(why)
        self.fitting = fitting


def with_fitting(error: PellucidError, model: "GPT", parsed: ParsedRequest) -> PellucidError:
    """The error of a refused request; a `TooLongError` where the prompt is too long and an end of it would fit."""
    if model.tokenizer is None or not isinstance(parsed.prompt, str):
        return error
    room = min(model.config.n_ctx, model.config.n_ctx + 1 - int(parsed.options["max_tokens"]))
    end = fitting_end(parsed.prompt, room, model.tokenizer)
    return TooLongError(str(error), end) if end not in ("", parsed.prompt) else error


def fitting_end(text: str, room: int, tokenizer: "Tokenizer") -> str:
    """The end of a text that is at most `room` tokens, as a prompt, from the start of a word on; "" where there is none."""
    ids = tokenizer.encode_prompt(text)
    if len(ids) <= room:
        return text
    end = b"".join(map(tokenizer.token_bytes, ids[-room:])).decode("utf-8", "ignore") if room > 0 else ""
    while end:
        word = _WORD.search(end, 0, _LONGEST_WORD)
        end = end[word.start() if word else 1 :].lstrip()
        if len(tokenizer.encode_prompt(end)) <= room:
            return end
    return ""
