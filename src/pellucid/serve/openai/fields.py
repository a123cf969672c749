"""The table of fields of a completion request: from it derive validation, openapi.json and the table of docs/serving.md.

Ranges and defaults are those of OpenAI's API of 2020 to 2023 (CreateCompletionRequest of its published OpenAPI file); the last
rows are sampling options of vLLM's and llama.cpp's servers that the engine has too. Options that the engine's own table lists
(`engine.options`) keep its names. All fields but `model` may be null, which is their absence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pellucid.arguments import shown
from pellucid.engine.options import MAX_BIAS, MAX_COUNT, MAX_PENALTY, option_named
from pellucid.serve.openai.errors import ApiError
from pellucid.strict_json import is_text


FieldType = Literal[
    "string", "integer", "number", "boolean", "ids", "prompt", "texts", "biases", "stream_options",
    "auto_integer", "auto_number", "fields", "metadata", "choice", "names",  # of `job_fields`
]  # fmt: skip

MAX_LOGPROBS = 5  # as in the API; a setting of the server
MAX_STOPS, MAX_STOP = 64, 1024  # strings; characters of one
MAX_USER = 512  # characters
# OpenAI's API counts to 2**63; so does the engine.
MAX_SEED = 2**63 - 1
_SHOWN_TYPES = {
    "ids": "array", "texts": "string, array", "prompt": "string, array", "biases": "object", "stream_options": "object",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class CompletionField:
    """One row of the table.

    Attributes:
        name: of the JSON field.
        type: "string", "integer" (1.0 is one), "number", "boolean", "ids" (token ids), "prompt" (text, texts, ids, lists of
            ids), "texts" (one or several), "biases" (token ids as strings, each with a number) or "stream_options".
        default: what its absence and null mean.
        help: what it does, one line.
        minimum, maximum: the range, both ends included; None: no limit.
        option: whether it is a sampling option of the engine.
        required: whether it must be there.
        treatment: "supported", "differs" (from OpenAI's API: `help` says how) or "refused".
        openai, vllm, llama: how OpenAI's API of 2023, vLLM and llama-server treat it, for docs/serving.md; "": not compared.
    """

    name: str
    type: FieldType
    help: str
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    option: bool = False
    required: bool = False
    treatment: Literal["supported", "differs", "refused"] = "supported"
    openai: str = "same"
    vllm: str = ""
    llama: str = ""

    @property
    def requirement(self) -> str:
        """What a value must be, in words: for messages and docs."""
        match self.type:
            case "integer" | "number":
                kind = "an integer" if self.type == "integer" else "a number"
                return kind + _words(self.minimum, self.maximum)
            case "boolean":
                return "true or false"
            case "string":
                return "a string" if self.maximum is None else f"a string of at most {self.maximum:,.0f} characters"
            case "ids":
                return "an array of token ids"
            case "prompt":
                return "a string, an array of strings, an array of token ids, or an array of arrays of token ids"
            case "texts":
                return f"a string, or an array of at most {MAX_STOPS} strings, each of 1 to {MAX_STOP:,} characters"
            case "biases":
                return f"an object of token ids, each with a number from {-MAX_BIAS:g} to {MAX_BIAS:g}"
            case "stream_options":
                return 'an object such as {"include_usage": true}'
        raise AssertionError(self.type)

    def check(self, value: Any) -> Any:
        """The checked value.

        Raises:
            ApiError: another type, or outside the range (400); the message names the field and its range.
        """
        if value is None:
            return self.default
        match self.type:
            case "integer":
                return self._in_range(self._integer(value))
            case "number":
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise self._wrong_type(value)
                return self._in_range(value)
            case "boolean":
                if not isinstance(value, bool):
                    raise self._wrong_type(value)
                return value
            case "string":
                if not isinstance(value, str):
                    raise self._wrong_type(value)
                if self.maximum is not None and len(value) > self.maximum:
                    raise self.wrong(f"{shown(value)} is too long")
                return value
            case "ids":
                if not isinstance(value, list):
                    raise self._wrong_type(value)
                one = replace(self, type="integer", minimum=0)
                return tuple(one._in_range(one._integer(token)) for token in value)
            case "texts":
                return self._texts(value)
            case "biases":
                return self._biases(value)
            case "stream_options":
                return self._stream_options(value)
            case "prompt":
                return value  # `prompts` checks it: it needs the model's vocabulary
        raise AssertionError(self.type)

    def schema(self) -> dict[str, Any]:
        """JSON Schema (of OpenAPI 3.1) of the field."""
        schema: dict[str, Any]
        match self.type:
            case "texts":
                one = {"type": "string", "minLength": 1, "maxLength": MAX_STOP}
                schema = {"anyOf": [one, {"type": "array", "items": one, "maxItems": MAX_STOPS}, {"type": "null"}]}
            case "ids":
                schema = {"type": ["array", "null"], "items": {"type": "integer", "minimum": 0}}
            case "prompt":
                ids, text = {"type": "array", "items": {"type": "integer", "minimum": 0}}, {"type": "string"}
                lists: list[dict[str, Any]] = [{"type": "array", "items": text}, ids, {"type": "array", "items": ids}]
                schema = {"anyOf": [text, *lists, {"type": "null"}]}
            case "biases":
                number = {"type": "number", "minimum": -MAX_BIAS, "maximum": MAX_BIAS}
                schema = {
                    "type": ["object", "null"], "additionalProperties": number,
                    "propertyNames": {"type": "string", "pattern": "^[0-9]{1,9}$"},
                }  # fmt: skip
            case "stream_options":
                inner = {"include_usage": {"type": ["boolean", "null"]}, "include_obfuscation": {"type": ["boolean", "null"]}}
                schema = {"type": ["object", "null"], "properties": inner, "additionalProperties": False}
            case "string":
                schema = {"type": "string" if self.required else ["string", "null"]}
                if self.maximum is not None:
                    schema["maxLength"] = int(self.maximum)
            case _:
                schema = {"type": [self.type, "null"]}
                bounds = {"minimum": self.minimum, "maximum": self.maximum}
                schema |= {name: bound for name, bound in bounds.items() if bound is not None}
        if self.treatment == "refused":
            schema = {"type": "null"}
        if self.default is not None and self.default != ():
            schema["default"] = self.default
        return {**schema, "description": self.help}

    def wrong(self, what: str) -> ApiError:
        """The error of a value, in the API's form: what is wrong, then the field; and what would be right."""
        return ApiError(400, f"{what} - '{self.name}' (it is {self.requirement})", param=self.name)

    def _wrong_type(self, value: Any, name: str = "") -> ApiError:
        return self.wrong(f"{shown(value)} is not of type '{name or _SHOWN_TYPES.get(self.type, self.type)}'")

    def _integer(self, value: Any) -> int:
        if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
            return int(value)  # JSON Schema's integers: 1.0 is one
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong_type(value)
        return value

    def _in_range(self, value: Any) -> Any:
        if self.minimum is not None and value < self.minimum:
            raise self.wrong(f"{shown(value)} is less than the minimum of {_plain(self.minimum)}")
        if self.maximum is not None and value > self.maximum:
            raise self.wrong(f"{shown(value)} is greater than the maximum of {_plain(self.maximum)}")
        return value

    def _texts(self, value: Any) -> tuple[str, ...]:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list):
            raise self._wrong_type(value)
        if len(texts) > MAX_STOPS:
            raise self.wrong(f"{shown(value)} is too long")
        for text in texts:
            if not isinstance(text, str):
                raise self._wrong_type(text, "string")
            if not text or not is_text(text):
                raise self.wrong(f"{shown(text)} is too short")
            if len(text) > MAX_STOP:
                raise self.wrong(f"{shown(text)} is too long")
        return tuple(texts)

    def _biases(self, value: Any) -> dict[int, float]:
        if not isinstance(value, dict):
            raise self._wrong_type(value)
        number = replace(self, type="number", minimum=-MAX_BIAS, maximum=MAX_BIAS)
        biases: dict[int, float] = {}
        for key, bias in value.items():
            if not (key.isascii() and key.isdigit() and len(key) < 10):
                raise self.wrong(f"{shown(key)} is no token id")
            if bias is None:
                raise self._wrong_type(bias, "number")
            if int(key) in biases:
                raise self.wrong(f"token {int(key)} is there twice")
            biases[int(key)] = number.check(bias)
        return biases

    def _stream_options(self, value: Any) -> bool:
        """Whether the usage is wanted."""
        if not isinstance(value, dict):
            raise self._wrong_type(value)
        for key, wanted in value.items():
            if key not in ("include_usage", "include_obfuscation"):
                raise self.wrong(f"{shown(key)} is no stream option")
            if not isinstance(wanted, bool | None):
                raise self._wrong_type(wanted, "boolean")
        return bool(value.get("include_usage"))


def _words(minimum: float | None, maximum: float | None) -> str:
    if minimum is not None and maximum is not None and maximum < MAX_COUNT:
        return f" from {_plain(minimum)} to {_plain(maximum)}"
    if minimum is not None and minimum > -MAX_SEED:
        return f", {_plain(minimum)} or more"
    return " of 64 bits" if minimum is not None else ""


def _plain(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def _like_engine(name: str, field_type: FieldType, **others: Any) -> CompletionField:
    """A field that is an option of the engine with its range."""
    option = option_named(name)
    return CompletionField(
        name=name, type=field_type, default=option.default, minimum=option.minimum, maximum=option.maximum, option=True,
        **others,
    )  # fmt: skip


_ABSENT = "not there"
COMPLETION_FIELDS: tuple[CompletionField, ...] = (
    CompletionField(
        name="model", type="string", required=True, help="a model's id, as /v1/models lists them",
    ),
    CompletionField(
        name="prompt", type="prompt",
        help="what is continued; null, an empty string and an empty array begin a new document; <|endoftext|> in a text is "
        "that token",
        vllm="null, empty: 400", llama="empty array: error",
    ),
    CompletionField(
        name="suffix", type="string", treatment="refused", help="unless null: no model here was trained to fill in",
        openai="text after the completion", vllm="400", llama="error",
    ),
    CompletionField(
        name="max_tokens", type="integer", default=16, minimum=0, maximum=MAX_COUNT, option=True,
        help="tokens to generate at most; prompt and completion fit in the context together; 0 generates none",
        vllm="0 generates one", llama="null: no limit",
    ),
    CompletionField(
        name="temperature", type="number", default=1, minimum=0, maximum=2, option=True,
        help="0 takes the likeliest token, 1 draws from the model's distribution",
    ),
    CompletionField(
        name="top_p", type="number", default=1, minimum=0, maximum=1, option=True,
        help="draw from the likeliest tokens that have this share together; 0 is the likeliest alone",
    ),
    CompletionField(
        name="n", type="integer", default=1, minimum=1, maximum=128, help="choices for each prompt", vllm="up to 16,384",
        llama="up to its slots",
    ),
    CompletionField(
        name="best_of", type="integer", minimum=0, maximum=20,
        help="generate so many, n at least, and return the n with the highest log-probability per token; not in a stream",
        vllm="removed", llama="error",
    ),
    CompletionField(name="stream", type="boolean", default=False, help="server-sent events, ended by data: [DONE]"),
    CompletionField(
        name="stream_options", type="stream_options",
        help="with stream only: include_usage adds an event with the usage; include_obfuscation is accepted and adds nothing",
        openai="obfuscation pads events", vllm="400 without stream", llama="not checked",
    ),
    CompletionField(
        name="logprobs", type="integer", minimum=0, maximum=MAX_LOGPROBS,
        help="log-probabilities of the tokens and of so many likeliest ones, always the model's own (temperature 1); the token "
        "itself is among them",
        vllm="up to 20, -1 for all; keyed by text, so that some are lost", llama="in the chat API's form",
    ),
    CompletionField(
        name="echo", type="boolean", default=False,
        help="the prompt comes before the completion, with its log-probabilities where logprobs is given: the first is null",
        vllm="same; offsets begin at 0 without it", llama="refused or ignored, by version",
    ),
    CompletionField(
        name="stop", type="texts", default=(), option=True, treatment="differs",
        help="the text ends before any of these strings", openai="4 at most",
    ),
    CompletionField(
        name="presence_penalty", type="number", default=0, minimum=-MAX_PENALTY, maximum=MAX_PENALTY, option=True,
        help="subtracted from the logit of each token that this completion has drawn",
    ),
    CompletionField(
        name="frequency_penalty", type="number", default=0, minimum=-MAX_PENALTY, maximum=MAX_PENALTY, option=True,
        help="subtracted once for each time it was drawn",
    ),
    CompletionField(
        name="logit_bias", type="biases", option=True, help="added to the logits of tokens: -100 as good as forbids one",
        vllm="same",
    ),
    CompletionField(
        name="seed", type="integer", minimum=-MAX_SEED - 1, maximum=MAX_SEED, option=True, treatment="differs",
        help="the same seed gives the same choices, whatever else runs; without one it is new each time",
        openai="best effort",
    ),
    CompletionField(
        name="user", type="string", maximum=MAX_USER, help="the end user, for the log of requests; changes no answer",
    ),
    _like_engine("top_k", "integer", help="draw from the k likeliest tokens only", openai=_ABSENT),
    _like_engine("min_p", "number", help="draw from tokens at least so many times as likely as the likeliest", openai=_ABSENT),
    _like_engine(
        "repetition_penalty", "number", help="divides the logits of tokens drawn before if positive, else multiplies",
        openai=_ABSENT,
    ),
    CompletionField(
        name="x_record", type="boolean", default=False,
        help="record the completion's activations: the answer names a page of the studio; one prompt, n 1, no stream",
        openai=_ABSENT,
    ),
)  # fmt: skip


def completion_fields(max_logprobs: int = MAX_LOGPROBS) -> Sequence[CompletionField]:
    """The table with a server's own maximum of `logprobs`."""
    return [replace(row, maximum=max_logprobs) if row.name == "logprobs" else row for row in COMPLETION_FIELDS]


def field_named(name: str) -> CompletionField:
    """The row of a field."""
    return next(row for row in COMPLETION_FIELDS if row.name == name)
