"""The objects of files, jobs, events and checkpoints as the API's clients know them, from the rows of the tables."""

from typing import Any

from pellucid.serve.tuning.check import sentence
from pellucid.serve.tuning.database import TableRow, from_json
from pellucid.serve.tuning.jobs import CHECKPOINT, JobSettings


OLD_STATUS = {"queued": "pending"}  # in the API of 2021 to 2023, where it differs


def file_object(row: TableRow) -> dict[str, Any]:
    """A file. What its check found is in `status_details` as text, in `x_findings` as objects."""
    report = from_json(row["report"])
    findings = report.get("findings", [])
    found: dict[str, Any] = {
        "id": row["id"], "object": "file", "bytes": row["bytes"], "created_at": row["created"], "filename": row["filename"],
        "purpose": row["purpose"], "status": row["status"], "status_details": "\n".join(map(sentence, findings)) or None,
        "x_examples": report.get("examples"), "x_kind": report.get("kind"), "x_findings": findings,
    }  # fmt: skip
    return found if row["expires"] is None else found | {"expires_at": row["expires"]}


def job_object(row: TableRow) -> dict[str, Any]:
    """A job of today's API."""
    settings = JobSettings(**from_json(row["settings"]))
    shown = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"} | dict(settings.shown)
    return {
        "id": row["id"], "object": "fine_tuning.job", "created_at": row["created"], "finished_at": row["finished"],
        "model": settings.base, "fine_tuned_model": row["model"], "organization_id": "pellucid", "status": row["status"],
        "hyperparameters": shown, "training_file": settings.training_file, "validation_file": settings.validation_file,
        "result_files": from_json(row["result_files"]), "trained_tokens": row["trained_tokens"],
        "error": None if row["error"] is None else from_json(row["error"]), "seed": settings.seed,
        "user_provided_suffix": settings.suffix, "metadata": settings.metadata, "estimated_finish": None, "integrations": [],
        "method": {"type": "supervised", "supervised": {"hyperparameters": shown}}, **_progress(row),
    }  # fmt: skip


def _progress(row: TableRow) -> dict[str, Any]:
    return {
        "x_step": row["step"], "x_total_steps": row["total_steps"],
        "x_answers": None if row["answers"] is None else from_json(row["answers"]),
    }  # fmt: skip


def event_object(row: TableRow) -> dict[str, Any]:
    """An event of a job."""
    data = from_json(row["data"])
    return {
        "id": row["id"], "object": "fine_tuning.job.event", "created_at": row["created"], "level": row["level"],
        "message": row["message"], "type": "metrics" if "step" in data else "message", "data": data,
    }  # fmt: skip


def checkpoint_object(row: TableRow, job: TableRow) -> dict[str, Any]:
    """A checkpoint of a job, whose model can be used once the job has succeeded."""
    model = JobSettings(**from_json(job["settings"])).model
    return {
        "id": row["id"], "object": "fine_tuning.job.checkpoint", "created_at": row["created"],
        "fine_tuned_model_checkpoint": f"{model}{CHECKPOINT}{row['step']}", "fine_tuning_job_id": job["id"],
        "metrics": from_json(row["metrics"]), "step_number": row["step"],
    }  # fmt: skip


def old_event_object(row: TableRow) -> dict[str, Any]:
    """An event in the API of 2021 to 2023."""
    return {
        "object": "fine-tune-event", "id": row["id"], "created_at": row["created"], "level": row["level"],
        "message": row["message"],
    }  # fmt: skip


def old_job_object(row: TableRow, files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A job in the API of 2021 to 2023. `files`: the objects of its files, by id: those that are still there."""
    settings = JobSettings(**from_json(row["settings"]))
    ids = {
        "training_files": [settings.training_file], "validation_files": [settings.validation_file],
        "result_files": from_json(row["result_files"]),
    }  # fmt: skip
    return {
        "id": row["id"], "object": "fine-tune", "created_at": row["created"],
        "updated_at": row["finished"] or row["started"] or row["created"], "model": settings.base,
        "fine_tuned_model": row["model"], "organization_id": "pellucid",
        "status": OLD_STATUS.get(row["status"], row["status"]), "hyperparams": dict(settings.shown),
        **{name: [files[id] for id in several if id in files] for name, several in ids.items()},
        "x_error": None if row["error"] is None else from_json(row["error"])["message"], **_progress(row),
    }  # fmt: skip
