"""Reads the prompts of a request: text, texts, token ids or lists of ids become lists of ids that fit the model."""

from collections.abc import Sequence
from typing import Any

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.generation.mixin import GenerationMixin
from pellucid.serve.openai.errors import ApiError
from pellucid.serve.openai.fields import field_named
from pellucid.text.tokenizer import Tokenizer


PROMPT = field_named("prompt")


def list_of_prompts(prompt: Any) -> list[str | list[Any]]:
    """The prompts of a request, each a text or a list of ids; "" for one that begins a new document.

    Raises:
        ApiError: it is none of these forms (400). What ids are is not checked here.
    """
    if prompt is None or prompt == []:
        return [""]
    if isinstance(prompt, str):
        return [prompt]
    if not isinstance(prompt, list):
        raise PROMPT.wrong(f"{shown(prompt)} is not of type 'string, array'")
    if all(isinstance(one, str) for one in prompt) or all(isinstance(one, list) for one in prompt):
        return prompt
    if any(isinstance(one, str | list) for one in prompt):
        raise PROMPT.wrong("it holds values of several types")
    return [prompt]


def prompt_ids(prompt: str | Sequence[Any], generator: GenerationMixin, max_tokens: int) -> list[int]:
    """The token ids of one prompt, with room for `max_tokens` more.

    Raises:
        ApiError: text without a tokenizer, ids outside the vocabulary, or more than the context holds (400).
    """
    try:
        ids = _text_ids(prompt, generator, max_tokens) if isinstance(prompt, str) else _checked_ids(prompt, generator)
    except PellucidError as error:
        raise ApiError(400, f"{error} - 'prompt'", param="prompt") from None
    ids = ids or [generator.config.start_id]
    _check_length(len(ids), max_tokens, generator, "")
    return ids


def _text_ids(text: str, generator: GenerationMixin, max_tokens: int) -> list[int]:
    tokenizer = generator.require_tokenizer()
    at_least = -(-len(text) // longest_token(tokenizer))
    if at_least > context_length(generator):  # known before a megabyte is encoded
        _check_length(at_least, max_tokens, generator, "at least ")
    return tokenizer.encode_prompt(text, allow_special=True)


def _checked_ids(prompt: Sequence[Any], generator: GenerationMixin) -> list[int]:
    ids = []
    for one in prompt:
        token = int(one) if isinstance(one, float) and one.is_integer() else one
        if isinstance(token, bool) or not isinstance(token, int):
            raise PROMPT.wrong(f"{shown(one)} is not of type 'integer'")
        if not 0 <= token < generator.config.vocab_size:
            raise ApiError(
                400, f"Invalid token id {shown(token)} - 'prompt' (ids go from 0 to {generator.config.vocab_size - 1})",
                param="prompt",
            )  # fmt: skip
        ids.append(token)
    return ids


def _check_length(length: int, max_tokens: int, generator: GenerationMixin, about: str) -> None:
    """Refuses what does not fit. The last token of a text is never read, so it needs no position."""
    limit = context_length(generator)
    if length + max_tokens > limit:
        raise ApiError(
            400, f"This model's maximum context length is {limit} tokens, however you requested {about}{length + max_tokens} "
            f"tokens ({length} in your prompt; {max_tokens} for the completion). Please reduce your prompt; or completion "
            "length.", param="prompt", code="context_length_exceeded",
        )  # fmt: skip


def context_length(generator: GenerationMixin) -> int:
    """Tokens of a prompt and its completion together at most."""
    return generator.config.n_ctx + 1


def longest_token(tokenizer: Tokenizer) -> int:
    """Bytes of the longest token."""
    found = _longest.get(tokenizer.fingerprint)
    if found is None:
        found = max(len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size))
        _longest[tokenizer.fingerprint] = found
    return found


_longest: dict[str, int] = {}
