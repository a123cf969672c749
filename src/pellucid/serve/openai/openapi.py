"""The service's description in OpenAPI 3.1, made from the table that validates its requests."""

from collections.abc import Sequence
from typing import Any

from pellucid.serve.openai.fields import CompletionField
from pellucid.serve.openai.openapi_parts import ERRORS, Schema, fields_schema, list_of, object_of, operation, ref
from pellucid.serve.openai.openapi_tuning import tuning_paths, tuning_schemas
from pellucid.serve.openai.tokenizer_fields import DETOKENIZE_FIELDS, TOKENIZE_FIELDS
from pellucid.version import __version__


_BUSY = {"429": "A limit of the key is reached, or the waiting line is full: Retry-After says when to try again"}
_NO_MODEL = {"404": "That model does not exist"}


def openapi_document(
    fields: Sequence[CompletionField], *, keys_needed: bool, ids: Sequence[str], tuning: bool = False
) -> Schema:
    """The document.

    Args:
        fields: of a completion request. keys_needed: whether requests need a key. ids: of the models. tuning: whether there is
            fine-tuning.
    """
    model = {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "enum": list(ids)}}
    complete = operation(
        "Completes a prompt", {"application/json": ref("Completion"), "text/event-stream": {"type": "string"}},
        body="CompletionRequest", errors=ERRORS | _BUSY | _NO_MODEL, keys=keys_needed,
    )  # fmt: skip
    in_path = operation(
        "Completes a prompt", {"application/json": ref("Completion"), "text/event-stream": {"type": "string"}},
        body="CompletionRequestWithoutModel", errors=ERRORS | _BUSY | _NO_MODEL, keys=keys_needed, parameters=[model],
    )  # fmt: skip
    version = {"name": "api-version", "in": "query", "schema": {"type": "string"}}

    def get(summary: str, name: str, **others: Any) -> Schema:
        return {"get": operation(summary, {"application/json": ref(name)}, keys=keys_needed, **others)}

    def post(summary: str, name: str) -> Schema:
        errors = ERRORS | _NO_MODEL
        answer = {"application/json": ref(f"{name}Response")}
        return {"post": operation(summary, answer, body=f"{name}Request", errors=errors, keys=keys_needed)}

    by_model: Schema = {"parameters": [model], "errors": ERRORS | _NO_MODEL}
    query = {"name": "model", "in": "query", "schema": {"type": "string", "enum": list(ids)}}
    health = {"application/json": ref("Status")}
    paths = {
        "/v1/completions": {"post": complete},
        "/v1/engines/{model}/completions": {"post": in_path},
        "/openai/deployments/{model}/completions": {"post": {**in_path, "parameters": [model, version]}},
        "/v1/models": get("The models", "ModelList"),
        "/v1/models/{model}": {
            **get("A model", "Model", **by_model),
            "delete": operation(
                "Deletes a fine-tuned model of one's own", {"application/json": ref("Deleted")}, keys=keys_needed, **by_model
            ),
        },
        "/v1/engines": get("The models, as clients of 2020 to 2022 ask", "EngineList"),
        "/v1/engines/{model}": get("A model, as clients of 2020 to 2022 ask", "Engine", **by_model),
        "/tokenize": post("The token ids of a text", "Tokenize"),
        "/detokenize": post("The text of token ids", "Detokenize"),
        "/tokenizer_info": get(
            "How special tokens are written", "TokenizerInfo", parameters=[query], errors=ERRORS | _NO_MODEL
        ),
        "/healthz": {"get": operation("Whether the engines run", health, errors=_unwell(health))},
        "/readyz": {"get": operation("Whether new work is taken", health, errors=_unwell(health))},
        "/metrics": {"get": operation("Metrics for Prometheus", {"text/plain": {"type": "string"}}, keys=keys_needed)},
        "/openapi.json": {"get": operation("This document", {"application/json": {"type": "object"}}, keys=keys_needed)},
    }
    if tuning:
        paths |= tuning_paths(keys=keys_needed)
    about = "Completions and scoring, as GPT-3's API gave them."
    document: Schema = {
        "openapi": "3.1.0",
        "info": {"title": "Pellucid", "version": __version__, "description": about},
        "paths": paths,
        "components": {"schemas": _schemas(fields, ids) | (tuning_schemas() if tuning else {})},
    }
    if keys_needed:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return document


def _unwell(answers: dict[str, Schema]) -> Schema:
    content = {kind: {"schema": one} for kind, one in answers.items()}
    return {"403": ERRORS["403"], "400": ERRORS["400"], "503": {"description": "It is not", "content": content}}


def _schemas(fields: Sequence[CompletionField], ids: Sequence[str]) -> Schema:
    text, whole, count = {"type": "string"}, {"type": "integer"}, {"type": "integer", "minimum": 0}
    nullable_text = {"type": ["string", "null"]}
    number = {"type": ["number", "null"]}
    logprobs = object_of(
        tokens=list_of(text), token_logprobs=list_of(number),
        top_logprobs=list_of({"type": ["object", "null"], "additionalProperties": {"type": "number"}}),
        text_offset=list_of(count),
    )  # fmt: skip
    choice = object_of(
        text=text, index=count, logprobs={"anyOf": [logprobs, {"type": "null"}]},
        finish_reason={"enum": ["stop", "length", None]},
    )  # fmt: skip
    usage = object_of(prompt_tokens=count, completion_tokens=count, total_tokens=count)
    completion = object_of(
        id=text, object={"const": "text_completion"}, created=whole, model=text, system_fingerprint=text,
        choices=list_of(choice), usage=usage,
    )  # fmt: skip
    completion["properties"]["x_record"] = object_of(id=text, url=text, page=text, bytes=whole, same_text={"type": "boolean"})
    model = object_of(
        id=text, object={"const": "model"}, created=whole, owned_by=text, max_model_len=whole,
        x_mode={"enum": ["exact", "fast"]}, x_path=text, system_fingerprint=text,
    )  # fmt: skip
    model["required"] = ["id", "object", "created", "owned_by"]  # fine-tuned ones are not opened for it
    engine = object_of(id=text, object={"const": "engine"}, created=whole, owner=text, ready={"type": "boolean"})
    error = object_of(message=text, type=text, param=nullable_text, code=nullable_text)
    info = object_of(
        tokenizer_class=text, eos_token=text, bos_token=nullable_text, model_max_length=whole, vocab_size=whole
    )  # fmt: skip
    names = {"type": ["array", "null"], "items": text}
    tokenized = object_of(count=count, max_model_len=whole, tokens=list_of(count), token_strs=names)
    request = fields_schema(fields)
    request["properties"]["model"]["enum"] = list(ids)
    return {
        "CompletionRequest": request,
        "CompletionRequestWithoutModel": fields_schema(fields, required=()),
        "Completion": completion,
        "Model": model,
        "ModelList": object_of(object={"const": "list"}, data=list_of(ref("Model"))),
        "Engine": engine,
        "EngineList": object_of(object={"const": "list"}, data=list_of(ref("Engine"))),
        "TokenizeRequest": fields_schema(TOKENIZE_FIELDS),
        "TokenizeResponse": tokenized,
        "DetokenizeRequest": fields_schema(DETOKENIZE_FIELDS),
        "DetokenizeResponse": object_of(prompt=text),
        "TokenizerInfo": info,
        "Status": object_of(status=text),
        "Deleted": object_of(id=text, object={"enum": ["model", "file"]}, deleted={"type": "boolean"}),
        "Error": object_of(error=error),
    }
