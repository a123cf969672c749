"""Parts of the service's description that several of its files use: operations, objects, lists, errors."""

from collections.abc import Sequence
from typing import Any

from pellucid.serve.openai.fields import CompletionField


Schema = dict[str, Any]
# What may be wrong with any request, and with one that asks for completions.
ERRORS = {
    "400": "The request is malformed, or a field is not of its type or outside its range",
    "403": "The Host or Origin header is that of another site",
    "413": "The body is too large",
    "415": "The body is not JSON, or compressed",
    "500": "The engine failed",
    "503": "The server ends, or an engine does not run",
}  # fmt: skip


def operation(
    summary: str, answers: dict[str, Schema], *, body: str = "", errors: Any = None, keys: bool = False,
    parameters: Sequence[Schema] = (),
) -> Schema:  # fmt: skip
    """An operation: its answers by content type, its errors by status."""
    errors = ERRORS if errors is None else errors
    responses: Schema = {"200": {"description": "Done", "content": {kind: {"schema": one} for kind, one in answers.items()}}}
    for status, description in (errors | ({"401": "There is no key, or a wrong one"} if keys else {})).items():
        known = isinstance(description, dict)
        responses[status] = description if known else {"description": description, "content": json_schema(ref("Error"))}
    operation: Schema = {"summary": summary, "responses": responses}
    if parameters:
        operation["parameters"] = list(parameters)
    if body:
        operation["requestBody"] = {"required": True, "content": json_schema(ref(body))}
    if keys:
        operation["security"] = [{"key": []}]
    return operation


def fields_schema(fields: Sequence[CompletionField], *, required: Sequence[str] | None = None) -> Schema:
    """JSON Schema of a body with these fields."""
    needed = [row.name for row in fields if row.required] if required is None else list(required)
    schema: Schema = {
        "type": "object", "properties": {row.name: row.schema() for row in fields}, "additionalProperties": False,
    }  # fmt: skip
    return schema | ({"required": needed} if needed else {})


def object_of(**properties: Schema) -> Schema:
    """An object with exactly these properties."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def list_of(items: Schema) -> Schema:
    """An array."""
    return {"type": "array", "items": items}


def ref(name: str) -> Schema:
    """A schema of the document, by name."""
    return {"$ref": f"#/components/schemas/{name}"}


def json_content(schema: Schema) -> Schema:
    """The answers of an operation that answers with JSON."""
    return {"application/json": schema}


def json_schema(schema: Schema) -> Schema:
    """A body of JSON."""
    return {"application/json": {"schema": schema}}
