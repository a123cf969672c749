"""Parses and checks a request to generate (`wire.GenerateRequest`) by the table of sampling options."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pellucid.arguments import shown
from pellucid.engine import options as option_table
from pellucid.errors import PellucidError
from pellucid.languages import tr
from pellucid.serve.wire import OptionField
from pellucid.strict_json import parse_json


MAX_PROMPT_CHARACTERS = 20_000
MAX_BODY_BYTES = 1 << 20
MAX_TOKENS = 400  # drawn for one request: the page shows every one
DEFAULT_MAX_TOKENS = 40
# Where a request to the studio differs from the table.
_CHANGED: dict[str, dict[str, Any]] = {"max_tokens": {"default": DEFAULT_MAX_TOKENS, "minimum": 1, "maximum": MAX_TOKENS}}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRequest:
    """A request to generate, checked.

    Attributes:
        model: a model's id. prompt: text, or token ids.
        options: keyword arguments of `generate`, checked.
        record: whether the completion is recorded.
    """

    model: str
    prompt: str | list[int]
    options: Mapping[str, Any]
    record: bool


def option_fields() -> list[OptionField]:
    """The options that a request may name, from the table of sampling options, for the page's form to be built from."""
    rows = [
        option.wire() | _CHANGED.get(option.name, {}) | {"help": tr(option.help)}
        for option in option_table.recordable_options()
    ]
    return [OptionField(**row) for row in rows]  # type: ignore[typeddict-item]


def parse_generate_request(body: bytes) -> ParsedRequest:
    """The request of a body: JSON with the fields model, prompt, record and those of `option_fields`.

    Raises:
        PellucidError: what is wrong with it (400).
    """
    try:
        fields = parse_json(body, max_bytes=MAX_BODY_BYTES)
    except ValueError as error:
        raise PellucidError(f"the body is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise PellucidError("the body must be a JSON object, such as {\"model\": \"default\", \"prompt\": \"Once\"}")
    table = {option.name: option for option in option_table.recordable_options()}
    if unknown := sorted(set(fields) - {"model", "prompt", "record", *table}):
        raise PellucidError(f"unknown field {shown(unknown[0])}: there are model, prompt, record, {', '.join(table)}")
    model, prompt, record = fields.get("model", "default"), fields.get("prompt", ""), fields.get("record", True)
    if not isinstance(model, str) or not isinstance(prompt, str):
        raise PellucidError("model and prompt must be text")
    if not isinstance(record, bool):
        raise PellucidError(f"record must be true or false, not {shown(record)}")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise PellucidError(f"the prompt has {len(prompt):,} characters, more than {MAX_PROMPT_CHARACTERS:,}: shorten it")
    options = {name: option.from_json(fields[name]) for name, option in table.items() if fields.get(name) is not None}
    options.setdefault("max_tokens", DEFAULT_MAX_TOKENS)
    if not 1 <= options["max_tokens"] <= MAX_TOKENS:
        raise PellucidError(f"max_tokens must be from 1 to {MAX_TOKENS} here, not {options['max_tokens']}")
    return ParsedRequest(model=model, prompt=prompt, options=options, record=record)
