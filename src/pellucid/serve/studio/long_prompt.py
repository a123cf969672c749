"""A prompt that is too long for a model: the end of it that fits, for the page to offer."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from pellucid.errors import PellucidError
from pellucid.serve.studio.generate_request import ParsedRequest


if TYPE_CHECKING:
    from pellucid.generation.model import GPT
    from pellucid.text.tokenizer import Tokenizer

_WORD = re.compile(r"(?<=\s)\S")
_LONGEST_WORD = 40  # characters: where the next word begins later, the text is of a script without spaces
Result = TypeVar("Result")


class TooLongError(PellucidError):
    """A prompt and max_tokens need more positions than the model has (400).

    Attributes:
        fitting: the end of the prompt that fits, from the start of a word on.
    """

    def __init__(self, why: str, fitting: str) -> None:
        super().__init__(why)
        self.fitting = fitting


def make_fitting(make: Callable[[str], Result], model: "GPT", parsed: ParsedRequest) -> Result:
    """make(parsed.prompt), which may refuse a prompt.

    Raises:
        TooLongError: it refused it, and an end of it would fit. PellucidError: it refused it for another reason.
    """
    try:
        return make(parsed.prompt)
    except PellucidError as error:
        room = model.config.n_ctx + 1 - int(parsed.options["max_tokens"])
        end = "" if model.tokenizer is None else fitting_end(parsed.prompt, min(room, model.config.n_ctx), model.tokenizer)
        if not end or end == parsed.prompt:
            raise
        raise TooLongError(str(error), end) from None


def fitting_end(text: str, room: int, tokenizer: "Tokenizer") -> str:
    """The end of a text that is at most `room` tokens, as a prompt, from the start of a word on; "" where there is none."""
    ids = tokenizer.encode_prompt(text)
    if len(ids) <= room:
        return text
    end = b"".join(map(tokenizer.token_bytes, ids[-room:])).decode("utf-8", "ignore") if room > 0 else ""
    while end:
        word = _WORD.search(end, 0, _LONGEST_WORD)
        end = end[word.start() if word else 1 :]
        if len(tokenizer.encode_prompt(end)) <= room:
            return end
    return ""
