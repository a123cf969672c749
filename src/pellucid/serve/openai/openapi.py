"""The service's description in OpenAPI 3.1, made from the table that validates its requests."""

from collections.abc import Sequence
from typing import Any

from pellucid.serve.openai.fields import CompletionField
from pellucid.serve.openai.tokenizer_fields import DETOKENIZE_FIELDS, TOKENIZE_FIELDS
from pellucid.version import __version__


Schema = dict[str, Any]
# What may be wrong with any request, and with one that asks for completions.
_ERRORS = {
    "400": "The request is malformed, or a field is not of its type or outside its range",
    "403": "The Host or Origin header is that of another site",
    "413": "The body is too large",
    "415": "The body is not JSON, or compressed",
    "500": "The engine failed",
    "503": "The server ends, or an engine does not run",
}  # fmt: skip
_BUSY = {"429": "A limit of the key is reached, or the waiting line is full: Retry-After says when to try again"}
_NO_MODEL = {"404": "That model does not exist"}


def openapi_document(fields: Sequence[CompletionField], *, keys_needed: bool, ids: Sequence[str]) -> Schema:
    """The document.

    Args:
        fields: of a completion request. keys_needed: whether requests need a key. ids: of the models.
    """
    model = {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "enum": list(ids)}}
    complete = _operation(
        "Completes a prompt", {"application/json": _ref("Completion"), "text/event-stream": {"type": "string"}},
        body="CompletionRequest", errors=_ERRORS | _BUSY | _NO_MODEL, keys=keys_needed,
    )  # fmt: skip
    in_path = _operation(
        "Completes a prompt", {"application/json": _ref("Completion"), "text/event-stream": {"type": "string"}},
        body="CompletionRequestWithoutModel", errors=_ERRORS | _BUSY | _NO_MODEL, keys=keys_needed, parameters=[model],
    )  # fmt: skip
    version = {"name": "api-version", "in": "query", "schema": {"type": "string"}}

    def get(summary: str, name: str, **others: Any) -> Schema:
        return {"get": _operation(summary, {"application/json": _ref(name)}, keys=keys_needed, **others)}

    def post(summary: str, name: str) -> Schema:
        errors = _ERRORS | _NO_MODEL
        answer = {"application/json": _ref(f"{name}Response")}
        return {"post": _operation(summary, answer, body=f"{name}Request", errors=errors, keys=keys_needed)}

    by_model: Schema = {"parameters": [model], "errors": _ERRORS | _NO_MODEL}
    query = {"name": "model", "in": "query", "schema": {"type": "string", "enum": list(ids)}}
    health = {"application/json": _ref("Status")}
    paths = {
        "/v1/completions": {"post": complete},
        "/v1/engines/{model}/completions": {"post": in_path},
        "/openai/deployments/{model}/completions": {"post": {**in_path, "parameters": [model, version]}},
        "/v1/models": get("The models", "ModelList"),
        "/v1/models/{model}": get("A model", "Model", **by_model),
        "/v1/engines": get("The models, as clients of 2020 to 2022 ask", "EngineList"),
        "/v1/engines/{model}": get("A model, as clients of 2020 to 2022 ask", "Engine", **by_model),
        "/tokenize": post("The token ids of a text", "Tokenize"),
        "/detokenize": post("The text of token ids", "Detokenize"),
        "/tokenizer_info": get(
            "How special tokens are written", "TokenizerInfo", parameters=[query], errors=_ERRORS | _NO_MODEL
        ),
        "/healthz": {"get": _operation("Whether the engines run", health, errors=_unwell(health))},
        "/readyz": {"get": _operation("Whether new work is taken", health, errors=_unwell(health))},
        "/metrics": {"get": _operation("Metrics for Prometheus", {"text/plain": {"type": "string"}}, keys=keys_needed)},
        "/openapi.json": {"get": _operation("This document", {"application/json": {"type": "object"}}, keys=keys_needed)},
    }
    about = "Completions and scoring, as GPT-3's API gave them."
    document: Schema = {
        "openapi": "3.1.0",
        "info": {"title": "Pellucid", "version": __version__, "description": about},
        "paths": paths,
        "components": {"schemas": _schemas(fields, ids)},
    }
    if keys_needed:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return document


def _operation(
    summary: str, answers: dict[str, Schema], *, body: str = "", errors: Any = None, keys: bool = False,
    parameters: Sequence[Schema] = (),
) -> Schema:  # fmt: skip
    errors = _ERRORS if errors is None else errors
    responses: Schema = {"200": {"description": "Done", "content": {kind: {"schema": one} for kind, one in answers.items()}}}
    for status, description in (errors | ({"401": "There is no key, or a wrong one"} if keys else {})).items():
        known = isinstance(description, dict)
        responses[status] = description if known else {"description": description, "content": _json(_ref("Error"))}
    operation: Schema = {"summary": summary, "responses": responses}
    if parameters:
        operation["parameters"] = list(parameters)
    if body:
        operation["requestBody"] = {"required": True, "content": _json(_ref(body))}
    if keys:
        operation["security"] = [{"key": []}]
    return operation


def _unwell(answers: dict[str, Schema]) -> Schema:
    content = {kind: {"schema": one} for kind, one in answers.items()}
    return {"403": _ERRORS["403"], "400": _ERRORS["400"], "503": {"description": "It is not", "content": content}}


def _schemas(fields: Sequence[CompletionField], ids: Sequence[str]) -> Schema:
    text, whole, count = {"type": "string"}, {"type": "integer"}, {"type": "integer", "minimum": 0}
    nullable_text = {"type": ["string", "null"]}
    number = {"type": ["number", "null"]}
    logprobs = _object(
        tokens=_list(text), token_logprobs=_list(number),
        top_logprobs=_list({"type": ["object", "null"], "additionalProperties": {"type": "number"}}), text_offset=_list(count),
    )  # fmt: skip
    choice = _object(
        text=text, index=count, logprobs={"anyOf": [logprobs, {"type": "null"}]},
        finish_reason={"enum": ["stop", "length", None]},
    )  # fmt: skip
    usage = _object(prompt_tokens=count, completion_tokens=count, total_tokens=count)
    completion = _object(
        id=text, object={"const": "text_completion"}, created=whole, model=text, system_fingerprint=text, choices=_list(choice),
        usage=usage,
    )  # fmt: skip
    completion["properties"]["x_record"] = _object(id=text, url=text, page=text, bytes=whole, same_text={"type": "boolean"})
    model = _object(
        id=text, object={"const": "model"}, created=whole, owned_by=text, max_model_len=whole,
        x_mode={"enum": ["exact", "fast"]}, x_path=text, system_fingerprint=text,
    )  # fmt: skip
    engine = _object(id=text, object={"const": "engine"}, created=whole, owner=text, ready={"type": "boolean"})
    error = _object(message=text, type=text, param=nullable_text, code=nullable_text)
    info = _object(
        tokenizer_class=text, eos_token=text, bos_token=nullable_text, model_max_length=whole, vocab_size=whole
    )  # fmt: skip
    names = {"type": ["array", "null"], "items": text}
    tokenized = _object(count=count, max_model_len=whole, tokens=_list(count), token_strs=names)
    request = fields_schema(fields)
    request["properties"]["model"]["enum"] = list(ids)
    return {
        "CompletionRequest": request,
        "CompletionRequestWithoutModel": fields_schema(fields, required=()),
        "Completion": completion,
        "Model": model,
        "ModelList": _object(object={"const": "list"}, data=_list(_ref("Model"))),
        "Engine": engine,
        "EngineList": _object(object={"const": "list"}, data=_list(_ref("Engine"))),
        "TokenizeRequest": fields_schema(TOKENIZE_FIELDS),
        "TokenizeResponse": tokenized,
        "DetokenizeRequest": fields_schema(DETOKENIZE_FIELDS),
        "DetokenizeResponse": _object(prompt=text),
        "TokenizerInfo": info,
        "Status": _object(status=text),
        "Error": _object(error=error),
    }


def fields_schema(fields: Sequence[CompletionField], *, required: Sequence[str] | None = None) -> Schema:
    """JSON Schema of a body with these fields."""
    needed = [row.name for row in fields if row.required] if required is None else list(required)
    schema: Schema = {
        "type": "object", "properties": {row.name: row.schema() for row in fields}, "additionalProperties": False,
    }  # fmt: skip
    return schema | ({"required": needed} if needed else {})


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}
