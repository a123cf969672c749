"""`CompletionRequest`: the body of a completion request, parsed and checked by the table of fields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.arguments import shown
from pellucid.serve.openai.errors import ApiError
from pellucid.serve.openai.fields import CompletionField, field_named
from pellucid.strict_json import parse_json


@dataclass(frozen=True, kw_only=True, slots=True)
class CompletionRequest:
    """A request whose fields are in their ranges; what depends on the model is not checked yet.

    Attributes:
        model: the id in the body; None where there is none.
        prompt: as it came: `prompts.prompt_ids` reads it.
        options: keyword arguments of `SamplingOptions`; without a seed where none was given.
        n: choices a prompt. best_of: completions a prompt of which the best n are returned; None: n.
        stream: whether events are wanted. include_usage: whether an event with the usage is wanted.
        logprobs: likeliest tokens at each position; None: no log-probabilities. echo: whether the prompt is repeated.
        record: whether the activations are recorded. user: who asks, for the log.
    """

    model: str | None
    prompt: Any
    options: Mapping[str, Any]
    n: int
    best_of: int | None
    stream: bool
    include_usage: bool
    logprobs: int | None
    echo: bool
    record: bool
    user: str | None

    @property
    def samples(self) -> int:
        """How many completions are generated for each prompt."""
        return self.n if self.best_of is None else self.best_of

    @property
    def max_tokens(self) -> int:
        """Tokens of a completion at most."""
        return int(self.options["max_tokens"])

    @property
    def scores_prompt(self) -> bool:
        """Whether the prompt's log-probabilities are wanted."""
        return self.echo and self.logprobs is not None


def parse_object(body: bytes, max_bytes: int) -> dict[str, Any]:
    """The JSON object of a body.

    Raises:
        ApiError: it is no JSON, or no object (400).
    """
    try:
        values = parse_json(body, max_bytes=max_bytes)
    except ValueError as error:
        raise ApiError(400, f"We could not parse the JSON body of your request. (HINT: {error})") from None
    if not isinstance(values, dict):
        raise ApiError(400, f"{shown(values)} is not of type 'object': the body is a JSON object")
    return values


def checked_fields(
    values: Mapping[str, Any], fields: Sequence[CompletionField], *, ignore_unknown: bool = False
) -> dict[str, Any]:
    """The checked value of every field of a table; defaults for those that are not there.

    Raises:
        ApiError: a field of another type, outside its range, missing, or unknown (400).
    """
    known = {row.name for row in fields}
    unknown = [name for name in values if name not in known]
    if unknown and not ignore_unknown:
        raise ApiError(400, f"Unrecognized request argument supplied: {', '.join(unknown)[:200]}", param=unknown[0][:200])
    return {row.name: row.check(values.get(row.name)) for row in fields}


def parse_completion_request(
    values: Mapping[str, Any], fields: Sequence[CompletionField], *, ignore_unknown: bool = False
) -> CompletionRequest:
    """The request of a body's object.

    Args:
        fields: the table. ignore_unknown: whether fields that it lacks are ignored.

    Raises:
        ApiError: what is wrong with it (400).
    """
    found = checked_fields(values, fields, ignore_unknown=ignore_unknown)
    if found["suffix"] is not None:
        message = "This model does not support insertion: leave out 'suffix', or let a prompt show how to fill in"
        raise ApiError(400, message, param="suffix")
    n, best_of = found["n"], found["best_of"]
    if best_of is not None and n > best_of:
        raise ApiError(
            400, "You requested that the server return more choices than it will generate (HINT: you must set 'n' (currently "
            f"{n}) to be at most 'best_of' (currently {best_of}), or omit either parameter if you don't specifically want to "
            "use them.)", param="best_of",
        )  # fmt: skip
    best_of = None if best_of == n else best_of  # none is left out: they stay in their order, as a stream gives them
    if found["stream"] and best_of is not None:
        message = "You cannot stream with 'best_of' greater than 'n': nobody knows yet which are best"
        raise ApiError(400, message, param="best_of")
    if values.get("stream_options") is not None and not found["stream"]:
        raise field_named("stream_options").wrong("stream_options is there without 'stream': true")
    if found["x_record"] and (n > 1 or best_of is not None or found["stream"]):
        raise field_named("x_record").wrong("a record holds one completion: it goes with n 1, and not with best_of or stream")
    options = {row.name: found[row.name] for row in fields if row.option and found[row.name] is not None}
    if options["top_p"] == 0:  # the fewest tokens that have no probability together: one
        options["top_k"] = 1
    if options["top_p"] in (0, 1):
        del options["top_p"]
    return CompletionRequest(
        model=found["model"], prompt=found["prompt"], options=options, n=n, best_of=best_of, stream=found["stream"],
        include_usage=bool(found["stream_options"]), logprobs=found["logprobs"], echo=found["echo"], record=found["x_record"],
        user=found["user"],
    )  # fmt: skip
