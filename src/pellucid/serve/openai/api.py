"""The routes of the completions API.

    POST /v1/completions                                  GET /v1/models, /v1/models/{id}
    POST /v1/engines/{id}/completions                     GET /v1/engines, /v1/engines/{id}
    POST /openai/deployments/{id}/completions             POST /tokenize, /detokenize    GET /tokenizer_info
    GET  /healthz, /readyz, /metrics, /openapi.json       DELETE /v1/models/{id} (a fine-tuned model of one's own)

Those of files and fine-tuning are `files_api`'s and `jobs_api`'s. A model's id may hold slashes, written as they are or as %2F.
Errors are `{"error": {message, type, param, code}}`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from pellucid.errors import PellucidError
from pellucid.serve.http.json_response import JsonResponse, encode_long
from pellucid.serve.http.keys import Client
from pellucid.serve.openai.completion_request import checked_fields, parse_completion_request
from pellucid.serve.openai.completions import CompletionJob
from pellucid.serve.openai.errors import ApiError, busy, server_error
from pellucid.serve.openai.fields import completion_fields
from pellucid.serve.openai.files_api import FilesApi
from pellucid.serve.openai.jobs_api import JobsApi
from pellucid.serve.openai.metrics import RequestMetrics
from pellucid.serve.openai.models import LOG, ModelTable, ServedModel
from pellucid.serve.openai.openapi import openapi_document
from pellucid.serve.openai.prompts import context_length
from pellucid.serve.openai.scope import LOGGED, client_of, json_object, maybe_in_thread
from pellucid.serve.openai.settings import ServiceSettings
from pellucid.serve.openai.tokenizer_fields import DETOKENIZE_FIELDS, TOKENIZE_FIELDS, checked_tokens
from pellucid.serve.openai.tuning_errors import api_error
from pellucid.serve.tuning.database import NotThere, Refused, StorageFailed, TableRow
from pellucid.serve.tuning.service import TuningService
from pellucid.serve.tuning.tuned_models import IN_USE, ModelsInUse


if TYPE_CHECKING:
    from pellucid.serve.openai.recording import CompletionRecorder

LONG_TEXT = 20_000  # characters that are encoded in a thread


class _CompletionEvents(StreamingResponse):
    """Server-sent events of a job, which ends with the response, however that happens."""

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes, None], job: CompletionJob) -> None:
        async def parts() -> AsyncIterator[bytes]:
            yield first
            async for part in rest:
                yield part

        headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-cache", **job.client.limits.headers()}
        super().__init__(parts(), media_type="text/event-stream", headers=headers)
        self._rest, self._job = rest, job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with aclosing(self._rest):
                await super().__call__(scope, receive, send)
        finally:
            self._job.end()


OPENING = 2  # fine-tuned models that are looked for, and opened, at once


class CompletionsApi:
    """The API's endpoints.

    Args:
        models: that answer. settings: limits and choices of the server. metrics: count requests.
        ready: whether new work is taken. recorder_of: what records the completions of a client;
            None refuses `x_record`. tuning: fine-tuning; None: there is none.
    """

    def __init__(
        self, models: ModelTable, settings: ServiceSettings, metrics: RequestMetrics, ready: Callable[[], bool],
        recorder_of: "Callable[[Client], CompletionRecorder] | None" = None, tuning: TuningService | None = None,
    ) -> None:  # fmt: skip
        self._models, self._settings, self._metrics, self._ready = models, settings, metrics, ready
        self._recorder_of, self._tuning = recorder_of, tuning
        self._opening = asyncio.Semaphore(OPENING)
        self._fields = completion_fields(settings.max_logprobs)
        self._document = openapi_document(
            self._fields, keys_needed=settings.keys_needed, ids=[model.id for model in models], tuning=tuning is not None
        )

    def app(self, middleware: Sequence[Middleware]) -> Starlette:
        """The application, behind some middleware."""
        post, get = ["POST"], ["GET"]
        app = Starlette(
            routes=[
                Route("/v1/completions", self.completions, methods=post),
                Route("/v1/engines/{model:path}/completions", self.completions, methods=post),
                Route("/openai/deployments/{model:path}/completions", self.completions, methods=post),
                Route("/v1/models", self.list_models, methods=get),
                Route("/v1/models/{model:path}", self.one_model, methods=["GET", "DELETE"]),
                Route("/v1/engines", self.list_engines, methods=get),
                Route("/v1/engines/{model:path}", self.one_engine, methods=get),
                Route("/tokenize", self.tokenize, methods=post),
                Route("/detokenize", self.detokenize, methods=post),
                Route("/tokenizer_info", self.tokenizer_info, methods=get),
                Route("/healthz", self.healthz, methods=get),
                Route("/readyz", self.readyz, methods=get),
                Route("/metrics", self.metrics, methods=get),
                Route("/openapi.json", self.document, methods=get),
                *self._tuning_routes(),
            ],
            middleware=middleware,
            exception_handlers={
                ApiError: _api_error, StorageFailed: _storage_failed, HTTPException: _http_error, Exception: _unexpected,
            },
        )
        app.router.redirect_slashes = False
        return app

    def _tuning_routes(self) -> list[Route]:
        if self._tuning is None:
            return []
        files = FilesApi(self._tuning, self._settings)
        jobs = JobsApi(self._tuning, self._models, self._settings, self._ready)
        return [*files.routes(), *jobs.routes()]

    async def _object(self, request: Request) -> dict[str, Any]:
        return await json_object(request, self._settings.max_body)

    async def _find(self, request: Request, id: str | None) -> ServedModel:
        """The model of an id: one of the server's, or a fine-tuned one of the client's key.

        Raises:
            ApiError: the request names none (400), or one that is not there, or another key's (404).
        """
        tuning = self._tuning
        if id is None or tuning is None or self._models.get(id) is not None:
            return self._models.find(id, [row["id"] for row in await self._own(request)] if id is None else ())
        try:
            return await self._opened(tuning, client_of(request).id, id)
        except NotThere:
            raise await self._missing(request, id) from None
        except ModelsInUse as error:
            raise busy(f"{error}. Please try again later.", IN_USE) from None
        except PellucidError as error:
            LOG.error("the model %s cannot be opened: %s", id, error)  # which folder it is in is the server's own affair
            raise server_error(f"The model {id} cannot be opened: the server's log says why") from None

    async def _opened(self, tuning: TuningService, owner: str, id: str) -> ServedModel:
        """A fine-tuned model, opened if it is not, in one of few threads: others are left for what does not open models."""
        async with self._opening:
            finding = asyncio.ensure_future(asyncio.to_thread(tuning.models.find, owner, id))
            try:
                return await asyncio.shield(finding)
            except asyncio.CancelledError:  # the client has left: the thread is still taken
                await asyncio.wait({finding})
                raise

    async def _missing(self, request: Request, id: str) -> ApiError:
        """The error of a model that is not there, or another key's: the message lists those that are."""
        return self._models.missing(id, [row["id"] for row in await self._own(request)])

    async def _own(self, request: Request) -> list[TableRow]:
        """The fine-tuned models of the client's key."""
        return [] if self._tuning is None else await asyncio.to_thread(self._tuning.jobs.models, client_of(request).id)

    # Completions.

    async def completions(self, request: Request) -> Response:
        """POST /v1/completions."""
        values = await self._object(request)
        in_path = request.path_params.get("model")
        asked = parse_completion_request(values, self._fields, ignore_unknown=self._settings.ignore_unknown)
        model = await self._find(request, asked.model if in_path is None else in_path)
        if asked.record and self._recorder_of is None:
            raise ApiError(400, "this server records nothing: it serves no studio - 'x_record'", param="x_record")
        client = client_of(request)
        job = await CompletionJob.start(model, client, asked, self._metrics, self._settings)
        self._log(request, job, asked.prompt)
        if asked.stream:
            return await self._stream(job)
        try:
            answer = await job.whole()
            if asked.record:
                assert self._recorder_of is not None
                recorder = self._recorder_of(client)
                answer["x_record"] = await recorder.record(model, job, answer["choices"][0]["text"])
            request.scope["state"][LOGGED]["completion_tokens"] = job.drawn_tokens
        finally:
            job.end()
        return _json(await encode_long(answer), client.limits.headers())

    async def _stream(self, job: CompletionJob) -> Response:
        """The response of a stream. It begins with its first event: what fails before that has a status of its own."""
        events = job.events()
        try:
            first = await anext(events)
        except BaseException:
            try:
                await events.aclose()
            finally:
                job.end()
            raise
        return _CompletionEvents(first, events, job)

    def _log(self, request: Request, job: CompletionJob, prompt: Any) -> None:
        logged = {"model": job.model.id, "prompt_tokens": job.prompt_tokens, "user": job.request.user}
        if self._settings.log_prompts:
            logged["prompt"] = prompt
        request.scope["state"][LOGGED].update(logged)

    # Models.

    async def list_models(self, request: Request) -> Response:
        """GET /v1/models."""
        own = [_tuned_model_object(row["id"], row) for row in await self._own(request)]
        return JsonResponse({"object": "list", "data": [*map(_model_object, self._models), *own]})

    async def one_model(self, request: Request) -> Response:
        """GET and DELETE /v1/models/{id}."""
        id = request.path_params["model"]
        if request.method == "DELETE":
            return await self._delete_model(request, id)
        model = self._models.get(id)
        found = _tuned_model_object(id, await self._own_row(request, id)) if model is None else _model_object(model)
        return JsonResponse(found)

    async def _own_row(self, request: Request, id: str) -> TableRow:
        """The row of a fine-tuned model of the client's key, or of the model that a checkpoint is one of. Nothing is opened.

        Raises:
            ApiError: there is none (404).
        """
        try:
            if self._tuning is None:
                raise NotThere(id)
            _, row = await asyncio.to_thread(self._tuning.models.source, client_of(request).id, id)
            return row
        except NotThere:
            raise await self._missing(request, id) from None

    async def _delete_model(self, request: Request, id: str) -> Response:
        if self._models.get(id) is not None:
            raise ApiError(403, f"{id} is a model that the server was started with: it is not deleted here", param="model")
        try:
            if self._tuning is None:
                raise NotThere(id)
            await asyncio.to_thread(self._tuning.delete_model, client_of(request).id, id)
        except NotThere:
            raise await self._missing(request, id) from None
        except Refused as error:
            raise ApiError(400, str(error), param="model") from None
        return JsonResponse({"id": id, "object": "model", "deleted": True})

    async def list_engines(self, request: Request) -> Response:
        """GET /v1/engines, as clients of 2020 to 2022 ask."""
        own = [_tuned_engine_object(row["id"], row) for row in await self._own(request)]
        return JsonResponse({"object": "list", "data": [*map(_engine_object, self._models), *own]})

    async def one_engine(self, request: Request) -> Response:
        """GET /v1/engines/{id}."""
        id = request.path_params["model"]
        model = self._models.get(id)
        found = _tuned_engine_object(id, await self._own_row(request, id)) if model is None else _engine_object(model)
        return JsonResponse(found)

    # The tokenizer, in the form of vLLM's server, which evaluation harnesses ask.

    async def tokenize(self, request: Request) -> Response:
        """POST /tokenize: the token ids of a text; `<|endoftext|>` in it is that token."""
        values = checked_fields(await self._object(request), TOKENIZE_FIELDS)
        model = await self._model_or_first(request, values["model"])
        tokenizer, text = _tokenizer_of(model), values["prompt"]
        encode = tokenizer.encode_prompt if values["add_special_tokens"] else tokenizer.encode
        try:
            ids = await maybe_in_thread(len(text) > LONG_TEXT, lambda: encode(text, allow_special=True))
        except PellucidError as error:
            raise ApiError(400, f"{error} - 'prompt'", param="prompt") from None
        return _json(await encode_long({
            "count": len(ids), "max_model_len": context_length(model.generator), "tokens": ids,
            "token_strs": [model.names[token] for token in ids] if values["return_token_strs"] else None,
        }))  # fmt: skip

    async def detokenize(self, request: Request) -> Response:
        """POST /detokenize: the text of token ids."""
        values = checked_fields(await self._object(request), DETOKENIZE_FIELDS)
        model = await self._model_or_first(request, values["model"])
        ids = checked_tokens(values["tokens"], model.generator.config.vocab_size)
        return JsonResponse({"prompt": _tokenizer_of(model).decode(ids)})

    async def tokenizer_info(self, request: Request) -> Response:
        """GET /tokenizer_info: how the special tokens are written."""
        model = await self._model_or_first(request, request.query_params.get("model"))
        tokenizer = _tokenizer_of(model)
        begin = None if tokenizer.begin is None else tokenizer.token_bytes(tokenizer.begin).decode("utf-8", "replace")
        return JsonResponse({
            "tokenizer_class": "Pellucid", "eos_token": tokenizer.end_of_text, "bos_token": begin,
            "model_max_length": context_length(model.generator), "vocab_size": model.generator.config.vocab_size,
        })  # fmt: skip

    async def _model_or_first(self, request: Request, id: str | None) -> ServedModel:
        return self._models.first if id is None else await self._find(request, id)

    # The server.

    async def healthz(self, request: Request) -> Response:
        """GET /healthz: 503 while an engine does not run."""
        dead = [model.id for model in self._models if not model.alive]
        return JsonResponse({"status": "engine ended" if dead else "ok"}, 503 if dead else 200)

    async def readyz(self, request: Request) -> Response:
        """GET /readyz: 503 while new work would be refused."""
        ready = self._ready() and all(model.alive for model in self._models)
        return JsonResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        """GET /metrics."""
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def document(self, request: Request) -> Response:
        """GET /openapi.json."""
        return JsonResponse(self._document)


def _json(data: bytes, headers: Mapping[str, str] | None = None) -> Response:
    return Response(data, headers=headers, media_type="application/json")


def _model_object(model: ServedModel) -> dict[str, Any]:
    return {
        "id": model.id, "object": "model", "created": model.created, "owned_by": model.owner or "pellucid",
        "max_model_len": context_length(model.generator), "x_mode": model.mode, "x_path": model.path,
        "system_fingerprint": model.fingerprint,
    }  # fmt: skip


def _engine_object(model: ServedModel) -> dict[str, Any]:
    owner = model.owner or "pellucid"
    return {"id": model.id, "object": "engine", "created": model.created, "owner": owner, "ready": model.alive}


def _tuned_model_object(id: str, row: TableRow) -> dict[str, Any]:
    return {"id": id, "object": "model", "created": row["created"], "owned_by": row["owner"]}


def _tuned_engine_object(id: str, row: TableRow) -> dict[str, Any]:
    return {"id": id, "object": "engine", "created": row["created"], "owner": row["owner"], "ready": True}


def _tokenizer_of(model: ServedModel) -> Any:
    if model.generator.tokenizer is None:
        raise ApiError(400, f"{model.id} has no tokenizer: {model.generator.no_tokenizer}", param="model")
    return model.generator.tokenizer


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _storage_failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, StorageFailed)
    return api_error(error).response()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = {404: "Invalid URL", 405: "Not allowed to"}.get(error.status_code, error.detail)
    where = f" ({request.method} {request.url.path})"
    return ApiError(error.status_code, message + where, headers=error.headers).response()


async def _unexpected(request: Request, error: Exception) -> Response:
    LOG.error("a request failed", exc_info=error)
    return ApiError(500, "The server had an error while processing your request", type="server_error").response()
