"""The routes of fine-tuning.

    POST, GET /v1/fine_tuning/jobs    GET /v1/fine_tuning/jobs/{id}    GET .../events, .../checkpoints    POST .../cancel
    POST, GET /v1/fine-tunes          GET /v1/fine-tunes/{id}          GET .../events                     POST .../cancel

A job belongs to the key that made it: another key is answered as if it were not there.
"""

import asyncio
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pellucid.arguments import shown
from pellucid.generation.resolve import DEFAULT
from pellucid.serve.http.json_response import JsonResponse, encode_long
from pellucid.serve.openai.completion_request import checked_fields
from pellucid.serve.openai.errors import ApiError
from pellucid.serve.openai.job_fields import FINE_TUNE_FIELDS, JOB_FIELDS, MAX_PAIRS, required_fields
from pellucid.serve.openai.models import ModelTable, ServedModel
from pellucid.serve.openai.old_events import OldEvents
from pellucid.serve.openai.pages import page_request
from pellucid.serve.openai.scope import client_of, json_object
from pellucid.serve.openai.settings import ServiceSettings
from pellucid.serve.openai.tuning_errors import answering, page_response
from pellucid.serve.openai.tuning_objects import (
    checkpoint_object,
    event_object,
    file_object,
    job_object,
    old_event_object,
    old_job_object,
)
from pellucid.serve.tuning.database import NotThere, Refused, TableRow, from_json
from pellucid.serve.tuning.jobs import JobSettings
from pellucid.serve.tuning.service import TuningService


MOST_OLD = 1000  # fine-tunes, the newest, or events in a list of the old API, which has no pages: without tables of answers


class JobsApi:
    """The endpoints of jobs.

    Args:
        tuning: whose they are. models: those that the server was started with. settings: of the server.
        ready: whether new work is taken.
    """

    def __init__(
        self, tuning: TuningService, models: ModelTable, settings: ServiceSettings, ready: Callable[[], bool]
    ) -> None:
        self._tuning, self._models, self._settings, self._ready = tuning, models, settings, ready

    def routes(self) -> list[Route]:
        """The routes."""
        post, get = ["POST"], ["GET"]
        jobs, old = "/v1/fine_tuning/jobs", "/v1/fine-tunes"
        return [
            Route(jobs, self.jobs, methods=["GET", "POST"]),
            Route(f"{jobs}/{{id}}", self.one_job, methods=get),
            Route(f"{jobs}/{{id}}/cancel", self.cancel_job, methods=post),
            Route(f"{jobs}/{{id}}/events", self.job_events, methods=get),
            Route(f"{jobs}/{{id}}/checkpoints", self.job_checkpoints, methods=get),
            Route(old, self.fine_tunes, methods=["GET", "POST"]),
            Route(f"{old}/{{id}}", self.one_fine_tune, methods=get),
            Route(f"{old}/{{id}}/cancel", self.cancel_fine_tune, methods=post),
            Route(f"{old}/{{id}}/events", self.fine_tune_events, methods=get),
        ]

    @answering
    async def jobs(self, request: Request) -> Response:
        """GET and POST /v1/fine_tuning/jobs."""
        if request.method == "POST":
            return JsonResponse(job_object(await self._create(request)))
        page = page_request(request)
        metadata = {
            found[1]: value for key, value in request.query_params.multi_items()
            if (found := re.fullmatch(r"metadata\[(.*)\]", key, re.DOTALL))
        }  # fmt: skip
        if len(metadata) > MAX_PAIRS:
            message = f"{len(metadata)} pairs are more than a job may have, {MAX_PAIRS} - 'metadata'"
            raise ApiError(400, message, param="metadata")
        owner = client_of(request).id
        return await page_response(job_object, self._tuning.jobs.page, owner, None, metadata=metadata, **page.arguments)

    async def _create(self, request: Request) -> TableRow:
        values = await json_object(request, self._settings.max_body)
        found = checked_fields(values, JOB_FIELDS, ignore_unknown=self._settings.ignore_unknown)
        required_fields(values, JOB_FIELDS)
        asked = found["hyperparameters"] or {}
        supervised = ((found["method"] or {}).get("supervised") or {}).get("hyperparameters") or {}
        asked = {name: value for one in (asked, supervised) for name, value in one.items() if value is not None}
        options = {name: asked[name] for name in ("learning_rate_multiplier",) if name in asked}
        options |= {"epochs": asked["n_epochs"]} if "n_epochs" in asked else {}
        options |= {"batch": asked["batch_size"]} if "batch_size" in asked else {}
        options |= {} if found["x_prompt_loss_weight"] is None else {"prompt_loss_weight": found["x_prompt_loss_weight"]}
        options |= {} if found["x_lora_rank"] is None else {"lora_rank": found["x_lora_rank"]}
        return await self._start(request, "jobs", found, options, asked)

    async def _start(
        self, request: Request, api: str, found: dict[str, Any], options: dict[str, Any], asked: dict[str, Any]
    ) -> TableRow:
        """Makes a job of checked fields."""
        client = client_of(request)
        base = self._models.first if found["model"] is None else self._models.get(found["model"])
        if base is None:
            directory, _ = await asyncio.to_thread(self._find_own, client.id, found["model"])
            base_id, source = found["model"], str(directory.absolute())
        elif base.source is None:
            raise ApiError(400, f"{base.id} cannot be fine-tuned: it was given to the server without its files", param="model")
        else:
            base_id, source = base.id, _source(base)
        settings = JobSettings(
            base=base_id, source=source, model=_model_name(api, base_id, client.name, found["suffix"]),
            training_file=found["training_file"], validation_file=found["validation_file"], options=options,
            seed=found.get("seed") or 0, shown=asked, suffix=found["suffix"], metadata=found.get("metadata"),
        )  # fmt: skip
        try:
            return await asyncio.to_thread(self._tuning.create_job, client.id, api, settings, base)
        except (NotThere, Refused) as error:
            raise ApiError(400 if isinstance(error, Refused) else 404, str(error), param="training_file") from None

    def _find_own(self, owner: str, id: str) -> Any:
        try:
            return self._tuning.models.source(owner, id)
        except NotThere as error:
            raise ApiError(404, str(error), param="model", code="model_not_found") from None

    async def _job(self, request: Request, api: str | None = None) -> TableRow:
        return await asyncio.to_thread(self._tuning.jobs.find, client_of(request).id, request.path_params["id"], api)

    @answering
    async def one_job(self, request: Request) -> Response:
        """GET /v1/fine_tuning/jobs/{id}."""
        return JsonResponse(job_object(await self._job(request)))

    @answering
    async def cancel_job(self, request: Request) -> Response:
        """POST /v1/fine_tuning/jobs/{id}/cancel: the job's process has ended when this is answered."""
        row = await asyncio.to_thread(self._tuning.cancel, client_of(request).id, request.path_params["id"], None)
        return JsonResponse(job_object(row))

    @answering
    async def job_events(self, request: Request) -> Response:
        """GET /v1/fine_tuning/jobs/{id}/events, the newest first."""
        page, job = page_request(request), await self._job(request)
        return await page_response(event_object, self._tuning.jobs.events, job["id"], **page.arguments)

    @answering
    async def job_checkpoints(self, request: Request) -> Response:
        """GET /v1/fine_tuning/jobs/{id}/checkpoints, the newest first."""
        page, job = page_request(request, default=10), await self._job(request)
        shown = partial(checkpoint_object, job=job)
        return await page_response(shown, self._tuning.jobs.checkpoints, job["id"], **page.arguments)

    # The API of 2021 to 2023.

    @answering
    async def fine_tunes(self, request: Request) -> Response:
        """GET and POST /v1/fine-tunes."""
        owner = client_of(request).id
        if request.method == "POST":
            return JsonResponse(await asyncio.to_thread(self._old_job, owner, await self._create_old(request), events=True))

        def listed() -> list[dict[str, Any]]:
            rows, _ = self._tuning.jobs.page(owner, "fine-tunes", after=None, limit=MOST_OLD, answers=False)
            return [self._old_job(owner, row, events=False) for row in reversed(rows)]

        found = {"object": "list", "data": await asyncio.to_thread(listed)}
        return Response(await encode_long(found), media_type="application/json")

    async def _create_old(self, request: Request) -> TableRow:
        values = await json_object(request, self._settings.max_body)
        found = checked_fields(values, FINE_TUNE_FIELDS, ignore_unknown=self._settings.ignore_unknown)
        required_fields(values, FINE_TUNE_FIELDS)
        named = {
            "n_epochs": "epochs", "batch_size": "batch", "learning_rate_multiplier": "learning_rate_multiplier",
            "prompt_loss_weight": "prompt_loss_weight",
        }  # fmt: skip
        options = {"recipe": "2021"} | {option: found[name] for name, option in named.items() if found[name] is not None}
        shown = {name: found[name] for name in named} | {"n_epochs": found["n_epochs"] or 4}
        return await self._start(request, "fine-tunes", found, options, shown)

    def _old_job(self, owner: str, row: TableRow, *, events: bool) -> dict[str, Any]:
        """The old object of a job, with its files and, if wanted, its events."""
        settings = from_json(row["settings"])
        files = {}
        for id in (settings["training_file"], settings["validation_file"], *from_json(row["result_files"])):
            if id is not None:
                try:
                    files[id] = file_object(self._tuning.files.find(owner, id))
                except NotThere:  # it was deleted
                    continue
        found = old_job_object(row, files)
        if events:
            rows, _ = self._tuning.jobs.events(row["id"], after=None, limit=MOST_OLD, newest_first=False)
            found["events"] = [old_event_object(one) for one in rows]
        return found

    @answering
    async def one_fine_tune(self, request: Request) -> Response:
        """GET /v1/fine-tunes/{id}."""
        row = await self._job(request, "fine-tunes")
        return JsonResponse(await asyncio.to_thread(self._old_job, client_of(request).id, row, events=True))

    @answering
    async def cancel_fine_tune(self, request: Request) -> Response:
        """POST /v1/fine-tunes/{id}/cancel."""
        owner = client_of(request).id
        row = await asyncio.to_thread(self._tuning.cancel, owner, request.path_params["id"], "fine-tunes")
        return JsonResponse(await asyncio.to_thread(self._old_job, owner, row, events=True))

    @answering
    async def fine_tune_events(self, request: Request) -> Response:
        """GET /v1/fine-tunes/{id}/events; with stream=true as they come, until the job has ended."""
        stream = request.query_params.get("stream", "false")
        if stream not in ("true", "false"):
            raise ApiError(400, f"{shown(stream)} is not one of ['true', 'false'] - 'stream'", param="stream")
        row = await self._job(request, "fine-tunes")
        jobs = self._tuning.jobs
        if stream == "true":
            return OldEvents(jobs, row["id"], self._ready)
        rows, _ = await asyncio.to_thread(jobs.events, row["id"], after=None, limit=MOST_OLD, newest_first=False)
        return JsonResponse({"object": "list", "data": [old_event_object(one) for one in rows]})


def _source(model: ServedModel) -> str:
    """What `load` takes for a served model, in whatever directory the job's process runs."""
    assert model.source is not None
    path = Path(model.source)
    return str(path.absolute()) if path.exists() and model.source != DEFAULT else str(model.source)


def _model_name(api: str, base: str, owner: str, suffix: str | None) -> str:
    """The id of a new model, in the form of the API that made the job."""
    base = base.split(":")[1] if base.startswith("ft:") else base.split(":")[0]
    owner, given = (re.sub(r"[^A-Za-z0-9._-]+", "-", text) for text in (owner, suffix or ""))
    if api == "fine-tunes":
        name = f"{given}-" if given else ""
        return f"{base}:ft-{owner}:{name}{time.strftime('%Y-%m-%d-%H-%M-%S', time.gmtime())}-{token_hex(4)}"
    return f"ft:{base}:{owner}:{given}:{token_hex(4)}"
