"""Reads and checks the request to generate (`wire.GenerateRequest`)."""

import json
import re
from typing import Any, get_args, get_type_hints

from pellucid.errors import PellucidError
from pellucid.serve.wire import GenerateRequest


MAX_PROMPT_CHARACTERS = 20_000
MAX_TOKENS = 400  # drawn for one request: the page shows every one
DEFAULT_MAX_TOKENS = 40
# The sampling options and the types of their values, from the request's annotations.
_NUMBERS = {
    name: (int, float) if float in get_args(hint) else (int,)
    for name, hint in get_type_hints(GenerateRequest).items()
    if {int, float} & set(get_args(hint))
}


def parse_generate_request(body: bytes) -> tuple[str, str, dict[str, Any]]:
    """Reads and checks the JSON of a `GenerateRequest`.

    Args:
        body: of the HTTP request.

    Returns:
        The model's id, the prompt, and keyword arguments for `GPT.generate`, whose ranges are checked there.

    Raises:
        PellucidError: the body is not such a request (400); the message names what to change.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PellucidError(f"the body is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise PellucidError("the body must be a JSON object, such as {\"model\": \"default\", \"prompt\": \"Once\"}")
    if unknown := sorted(set(request) - set(GenerateRequest.__annotations__)):
        raise PellucidError(f"unknown field {unknown[0]!r}: there are {', '.join(GenerateRequest.__annotations__)}")
    model, prompt = request.get("model", "default"), request.get("prompt", "")
    if not isinstance(model, str) or not isinstance(prompt, str):
        raise PellucidError("model and prompt must be text")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise PellucidError(f"the prompt has {len(prompt):,} characters, more than {MAX_PROMPT_CHARACTERS:,}: shorten it")
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError:
        raise PellucidError("the prompt holds half a character (a lone surrogate): remove it") from None
    options = {name: request[name] for name in _NUMBERS if request.get(name) is not None}
    if isinstance(options.get("seed"), str) and re.fullmatch(r"-?[0-9]{1,19}", options["seed"]):
        options["seed"] = int(options["seed"])
    for name, value in options.items():
        if not isinstance(value, _NUMBERS[name]) or isinstance(value, bool):
            raise PellucidError(f"{name} must be {'a whole number' if _NUMBERS[name] == (int,) else 'a number'}")
    options.setdefault("max_tokens", DEFAULT_MAX_TOKENS)
    if not 1 <= options["max_tokens"] <= MAX_TOKENS:
        raise PellucidError(f"max_tokens must be from 1 to {MAX_TOKENS} here, not {options['max_tokens']}")
    return model, prompt, options
