"""Files and fine-tuning in the service's description (`openapi`), from the tables that validate their requests."""

from pellucid.serve.openai.job_fields import FINE_TUNE_FIELDS, JOB_FIELDS, MEND_FIELDS
from pellucid.serve.openai.openapi_parts import (
    ERRORS,
    Schema,
    fields_schema,
    json_content,
    list_of,
    object_of,
    operation,
    ref,
)


_NOT_THERE = {"404": "There is none of this id, or another key owns it"}
_QUOTA = {"429": "A quota of the key is reached: delete something first"}
TEXT, WHOLE, COUNT = {"type": "string"}, {"type": "integer"}, {"type": "integer", "minimum": 0}
NULL_TEXT, NULL_WHOLE = {"type": ["string", "null"]}, {"type": ["integer", "null"]}
ANY_OBJECT = {"type": "object"}
EVENT = {"type": "object", "properties": {"data": TEXT}, "required": ["data"]}  # one server-sent event
NULL_OBJECT = {"type": ["object", "null"]}


def tuning_paths(*, keys: bool) -> Schema:
    """The paths."""
    id = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    after = {"name": "after", "in": "query", "schema": {"type": "string", "maxLength": 200}}
    order = {"name": "order", "in": "query", "schema": {"enum": ["asc", "desc"]}}
    purpose = {"name": "purpose", "in": "query", "schema": TEXT}
    stream = {"name": "stream", "in": "query", "schema": {"enum": ["true", "false"]}}

    def limit(most: int) -> Schema:
        return {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": most}}

    def get(summary: str, name: str, *parameters: Schema, of_one: bool = False) -> Schema:
        errors = ERRORS | (_NOT_THERE if of_one else {})
        return operation(summary, json_content(ref(name)), keys=keys, parameters=parameters, errors=errors)

    def post(summary: str, name: str, *parameters: Schema, body: str = "", optional: bool = False) -> Schema:
        errors = ERRORS | _NOT_THERE | (_QUOTA if body else {})
        found = operation(summary, json_content(ref(name)), keys=keys, parameters=parameters, errors=errors, body=body)
        if optional:
            found["requestBody"]["required"] = False
        return found

    form = {
        "type": "object", "required": ["file", "purpose"], "additionalProperties": False,
        "properties": {"file": {"type": "string", "format": "binary"}, "purpose": {"enum": ["fine-tune"]}},
    }  # fmt: skip
    upload = operation("Uploads examples", json_content(ref("File")), keys=keys, errors=ERRORS | _QUOTA)
    upload["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": form}}}
    deleted = operation("Deletes a file", json_content(ref("Deleted")), keys=keys, parameters=[id], errors=ERRORS | _NOT_THERE)
    bytes_of = {"application/octet-stream": {"type": "string"}, "text/csv": {"type": "string"}}
    content = operation("The bytes of a file", bytes_of, keys=keys, parameters=[id], errors=ERRORS | _NOT_THERE)
    events = operation(
        "The events of a fine-tune", {**json_content(ref("FineTuneEventList")), "text/event-stream": EVENT}, keys=keys,
        parameters=[id, stream], errors=ERRORS | _NOT_THERE,
    )  # fmt: skip
    jobs, old = "/v1/fine_tuning/jobs", "/v1/fine-tunes"
    return {
        "/v1/files": {"post": upload, "get": get("The files", "FileList", after, order, purpose, limit(10_000))},
        "/v1/files/{id}": {"get": get("A file", "File", id, of_one=True), "delete": deleted},
        "/v1/files/{id}/content": {"get": content},
        "/v1/files/{id}/x_mend": {
            "post": post("A new file with what the checks mend", "File", id, body="MendRequest", optional=True)
        },
        jobs: {
            "post": post("Starts a job", "Job", body="JobRequest"),
            "get": get("The jobs, the newest first", "JobList", after, limit(100)),
        },
        f"{jobs}/{{id}}": {"get": get("A job", "Job", id, of_one=True)},
        f"{jobs}/{{id}}/cancel": {"post": post("Cancels a job", "Job", id)},
        f"{jobs}/{{id}}/events": {
            "get": get("The events of a job, the newest first", "EventList", id, after, limit(100), of_one=True)
        },
        f"{jobs}/{{id}}/checkpoints": {
            "get": get("The checkpoints of a job", "CheckpointList", id, after, limit(100), of_one=True)
        },
        old: {
            "post": post("Starts a fine-tune, as in 2021 to 2023", "FineTune", body="FineTuneRequest"),
            "get": get("The fine-tunes", "FineTuneList"),
        },
        f"{old}/{{id}}": {"get": get("A fine-tune", "FineTune", id, of_one=True)},
        f"{old}/{{id}}/cancel": {"post": post("Cancels a fine-tune", "FineTune", id)},
        f"{old}/{{id}}/events": {"get": events},
    }  # fmt: skip


def tuning_schemas() -> Schema:
    """The schemas of their bodies and responses."""
    finding = object_of(
        check=TEXT, problem=TEXT, mend=NULL_TEXT, lines=list_of(COUNT), count=COUNT
    )  # fmt: skip
    file = object_of(
        id=TEXT, object={"const": "file"}, bytes=COUNT, created_at=WHOLE, filename=TEXT, purpose=TEXT,
        status={"enum": ["uploaded", "processed", "error"]}, status_details=NULL_TEXT, x_examples=NULL_WHOLE, x_kind=NULL_TEXT,
        x_findings=list_of(finding),
    )  # fmt: skip
    file["properties"]["expires_at"] = WHOLE
    progress: Schema = {"x_step": COUNT, "x_total_steps": NULL_WHOLE, "x_answers": NULL_OBJECT}
    status = {"enum": ["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]}
    job = object_of(
        id=TEXT, object={"const": "fine_tuning.job"}, created_at=WHOLE, finished_at=NULL_WHOLE, model=TEXT,
        fine_tuned_model=NULL_TEXT, organization_id=TEXT, status=status, hyperparameters=ANY_OBJECT, training_file=TEXT,
        validation_file=NULL_TEXT, result_files=list_of(TEXT), trained_tokens=NULL_WHOLE, error=NULL_OBJECT, seed=WHOLE,
        user_provided_suffix=NULL_TEXT, metadata=NULL_OBJECT, estimated_finish=NULL_WHOLE, integrations=list_of(ANY_OBJECT),
        method=ANY_OBJECT, **progress,
    )  # fmt: skip
    level = {"enum": ["info", "warn", "error"]}
    event = object_of(
        id=TEXT, object={"const": "fine_tuning.job.event"}, created_at=WHOLE, level=level, message=TEXT,
        type={"enum": ["message", "metrics"]}, data=ANY_OBJECT,
    )  # fmt: skip
    checkpoint = object_of(
        id=TEXT, object={"const": "fine_tuning.job.checkpoint"}, created_at=WHOLE, fine_tuned_model_checkpoint=TEXT,
        fine_tuning_job_id=TEXT, metrics=ANY_OBJECT, step_number=COUNT,
    )  # fmt: skip
    old_event = object_of(object={"const": "fine-tune-event"}, id=TEXT, created_at=WHOLE, level=level, message=TEXT)
    files = list_of(ref("File"))
    old = object_of(
        id=TEXT, object={"const": "fine-tune"}, created_at=WHOLE, updated_at=WHOLE, model=TEXT, fine_tuned_model=NULL_TEXT,
        organization_id=TEXT, status=TEXT, hyperparams=ANY_OBJECT, training_files=files, validation_files=files,
        result_files=files, x_error=NULL_TEXT, **progress,
    )  # fmt: skip
    old["properties"]["events"] = list_of(ref("FineTuneEvent"))

    def page(name: str) -> Schema:
        ends = {"first_id": NULL_TEXT, "last_id": NULL_TEXT}
        return object_of(object={"const": "list"}, data=list_of(ref(name)), has_more={"type": "boolean"}, **ends)

    def whole(name: str) -> Schema:
        return object_of(object={"const": "list"}, data=list_of(ref(name)))

    return {
        "File": file, "FileList": page("File"), "Job": job, "JobList": page("Job"), "Event": event, "EventList": page("Event"),
        "Checkpoint": checkpoint, "CheckpointList": page("Checkpoint"), "FineTune": old, "FineTuneList": whole("FineTune"),
        "FineTuneEvent": old_event, "FineTuneEventList": whole("FineTuneEvent"),
        "JobRequest": fields_schema(JOB_FIELDS), "FineTuneRequest": fields_schema(FINE_TUNE_FIELDS),
        "MendRequest": fields_schema(MEND_FIELDS),
    }  # fmt: skip
