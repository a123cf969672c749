"""The JSON of `POST /api/generate`, by which the page asks for an answer, checked by the table of sampling options."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pellucid.engine import options as option_table
from pellucid.errors import PellucidError


MOST_PROMPT = 20_000  # characters
MOST_TOKENS = 400  # drawn in one answer: a page shows them all


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRequest:
    """What the page asks.

    Attributes:
        model: a model's id. prompt: text.
        options: keyword arguments of `generate`, checked.
        record: whether the answer is to become a record.
    """

    model: str
    prompt: str
    options: Mapping[str, Any]
    record: bool


def form_fields() -> list[dict[str, Any]]:
    """The options that a request may name, from the table of sampling options, for the page's form to be built from."""
    return [option.wire() for option in option_table.recordable_options()]


def read_request(body: bytes) -> AnswerRequest:
    """The request of a body: JSON with the fields model, prompt, record and those of `form_fields`.

    Raises:
        PellucidError: what is wrong with it (400).
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PellucidError(f"the body is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise PellucidError("the body must be a JSON object, such as {\"model\": \"default\", \"prompt\": \"Once\"}")
    table = {option.name: option for option in option_table.recordable_options()}
    if unknown := sorted(set(fields) - {"model", "prompt", "record", *table}):
        raise PellucidError(f"unknown field {unknown[0]!r}: there are model, prompt, record, {', '.join(table)}")
    model, prompt, record = fields.get("model", "default"), fields.get("prompt", ""), fields.get("record", True)
    if not isinstance(model, str) or not isinstance(prompt, str):
        raise PellucidError("model and prompt must be text")
    if not isinstance(record, bool):
        raise PellucidError(f"record must be true or false, not {record!r}")
    if len(prompt) > MOST_PROMPT:
        raise PellucidError(f"the prompt has {len(prompt):,} characters, more than {MOST_PROMPT:,}: shorten it")
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError:
        raise PellucidError("the prompt holds half a character (a lone surrogate): remove it") from None
    options = {name: option.from_json(fields[name]) for name, option in table.items() if fields.get(name) is not None}
    options.setdefault("max_tokens", 40)
    if not 1 <= options["max_tokens"] <= MOST_TOKENS:
        raise PellucidError(f"max_tokens must be from 1 to {MOST_TOKENS} here, not {options['max_tokens']}")
    return AnswerRequest(model=model, prompt=prompt, options=options, record=record)
