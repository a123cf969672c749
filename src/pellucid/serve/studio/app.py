"""The routes of the studio's server.

    GET  /?lang=en|zh                        the page; /studio.js, /player.js: the package's scripts
    GET  /api/sources?lang=                  the runs, records and models
    GET  /api/models/{id}/page               a model with the kernel for the page, which goes on with it when the server is gone
    GET  /api/runs/{id}                      the plan of a run
    GET  /api/runs/{id}/metrics?from=BYTE    whole lines of metrics.jsonl from there on; X-Next: the next BYTE
    GET  /records/{id}                       a record, by byte range
    GET  /api/figures/{id}/{name}?width=&lang=     a figure of a record, as the JSON of a film, or why it cannot be drawn
    GET  /api/figures/{id}/{name}/file?format=svg|png|gif|webp|mp4|html&width=&lang=    the same as a file to save
    POST /api/generate                       a completion, token by token, as server-sent events (`generation`)

The film `one-parameter` is drawn from points: "built-in" stands for its record. Where an address names no language, the
server's is taken.

Errors are `{"error": "..."}` with 400, 403 (`http.same_origin`), 404, 411, 412, 413, 415, 416, 429 or, while the server closes,
503 (`http.lifetime`). A client that disconnects ends its request, whatever that is doing.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from pellucid.arguments import shown
from pellucid.draw.figures import LacksChunk
from pellucid.errors import PellucidError
from pellucid.files import reading
from pellucid.languages import LANGUAGES, language
from pellucid.runs.files import METRICS
from pellucid.serve.http.json_response import JsonResponse
from pellucid.serve.http.lifetime import RequestLifetimeMiddleware
from pellucid.serve.http.ranges import respond
from pellucid.serve.http.same_origin import LOCAL, SameOriginMiddleware
from pellucid.serve.page_wire import AbsentModel, PageFiles
from pellucid.serve.studio.figure_files import MEDIA_TYPES, FigureFiles, formats
from pellucid.serve.studio.generate_request import MAX_PROMPT_CHARACTERS, MAX_TOKENS, option_fields
from pellucid.serve.studio.generation import CompletionService, CompletionStream
from pellucid.serve.studio.loaded_model import BusyError, ClosingError, LoadedModels
from pellucid.serve.studio.long_prompt import TooLongError
from pellucid.serve.studio.page import asset, served_page
from pellucid.serve.studio.sources import SourceCatalog, known_figures, meanings
from pellucid.serve.wire import AbsentFigure, ErrorMessage, Limits, MetricsHeader, Sources
from pellucid.version import __version__


if TYPE_CHECKING:
    from pellucid.interpret.capture import RecordDtype

MAX_METRICS = 1 << 20  # bytes in one response
RECORD_TYPE = "application/octet-stream"
_TYPES = {"studio.js": "text/javascript; charset=utf-8", "player.js": "text/javascript; charset=utf-8"}


class _Events(StreamingResponse):
    """Server-sent events; the generation is cancelled when the connection ends, however that happens."""

    def __init__(self, stream: CompletionStream) -> None:
        super().__init__(aiter(stream), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.cancel()


def make_app(
    catalog: SourceCatalog, hosts: Sequence[str] | None = LOCAL, record_dtype: "RecordDtype | None" = None, lang: str = "en",
    *, tuning: bool = False, copies: bool = False, models: LoadedModels | None = None,
) -> Starlette:  # fmt: skip
    """The application.

    Args:
        catalog: what it shows. hosts: allowed names of this server (`SameOriginMiddleware`).
        record_dtype: of the records of completions, as `xray` takes it.
        lang: the language where an address names none.
        copies: whether pages may have copies of models: whoever is served has their weights then.
        tuning: whether the server that this is a part of fine-tunes: the page then shows files and jobs.
        models: bounds the models in memory of several applications together; None: there is one.

    Its `state` has `completions`, `files` and `closing`, to be set before the server closes.
    """
    completions, files, closing = CompletionService(catalog, record_dtype, models), FigureFiles(catalog), asyncio.Event()

    async def page(request: Request) -> Response:
        with language(_language(request, lang)):
            return Response(served_page(), media_type="text/html; charset=utf-8")

    async def file(request: Request) -> Response:
        name = str(request.scope["path"]).removeprefix("/")
        return Response(await run_in_threadpool(asset, name), media_type=_TYPES[name])

    async def sources(request: Request) -> Response:
        limits = Limits(prompt=MAX_PROMPT_CHARACTERS, max_tokens=MAX_TOKENS)
        with language(_language(request, lang)):  # of the threads that are started here, too
            found = await run_in_threadpool(catalog.listing)
            written = await run_in_threadpool(formats)
            return JsonResponse(Sources(
                pellucid=__version__, limits=limits, options=option_fields(), known_figures=known_figures(),
                formats=written, meanings=meanings(), tuning=tuning, copies=copies,
                **found,
            ))  # fmt: skip

    async def model_page(request: Request) -> Response:
        source, _ = _found(catalog.model, request)

        def read() -> PageFiles:
            from pellucid.serve.model_page.files import page_files  # here: a page is served and listed without it
            from pellucid.serve.model_page.page_model import embedded_model

            return page_files(embedded_model(source))

        try:
            return JsonResponse(await run_in_threadpool(read))
        except PellucidError as error:
            return JsonResponse(AbsentModel(why=str(error)))

    async def run(request: Request) -> Response:
        from pellucid.runs.plan import read_shown_plan

        try:
            return JsonResponse(await run_in_threadpool(read_shown_plan, _found(catalog.run, request)))
        except PellucidError as error:
            raise HTTPException(404, f"run.json of this run cannot be read: {error}") from None

    async def metrics(request: Request) -> Response:
        path = _found(catalog.run, request) / METRICS
        start = _whole(request, "from", 0)
        return await run_in_threadpool(_metrics, path, start)

    async def record(request: Request) -> Response:
        try:
            content = await run_in_threadpool(catalog.content, request.path_params["id"])
            return await respond(request, content, RECORD_TYPE)
        except PellucidError as error:
            raise HTTPException(404, str(error)) from None
        except OSError as error:
            raise HTTPException(404, f"the record's file cannot be read: {error.strerror or error}") from None

    async def figure(request: Request) -> Response:
        width = _whole(request, "width", 960)
        name = request.path_params["name"]

        def draw() -> str:
            from pellucid.serve.studio.figures import figure_json  # here: a page is served and listed without it

            return figure_json(catalog, request.path_params["id"], name, width)

        try:
            with language(_language(request, lang)):
                return Response(await run_in_threadpool(draw), media_type="application/json")
        except LacksChunk as lack:
            return JsonResponse(AbsentFigure(why=lack.why, command=lack.command))
        except PellucidError as error:
            raise HTTPException(404, str(error)) from None

    async def figure_file(request: Request) -> Response:
        name, kind = request.path_params["name"], request.query_params.get("format", "svg")
        width = _whole(request, "width", 960)
        try:
            with language(_language(request, lang)):
                data = await files.draw(request.path_params["id"], name, kind, width)
        except BusyError as error:
            return _busy(error)
        except PellucidError as error:
            raise HTTPException(404, str(error)) from None
        saved = {"Content-Disposition": f'attachment; filename="{name}.{kind}"'}
        return Response(data, media_type=MEDIA_TYPES[kind], headers=saved)

    async def generate(request: Request) -> Response:
        try:
            stream = await completions.start(await request.body())
        except BusyError as error:
            return _busy(error)
        except TooLongError as error:
            return JsonResponse(ErrorMessage(error=str(error), fitting=error.fitting), 400)
        except ClosingError as error:
            raise HTTPException(503, str(error)) from None
        except PellucidError as error:
            raise HTTPException(400, str(error)) from None
        return _Events(stream)

    async def problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JsonResponse(ErrorMessage(error=error.detail), error.status_code, error.headers)

    app = Starlette(
        routes=[
            Route("/", page),
            *(Route(f"/{name}", file) for name in _TYPES),
            Route("/api/sources", sources),
            *([Route("/api/models/{id}/page", model_page)] if copies else []),
            Route("/api/runs/{id}", run),
            Route("/api/runs/{id}/metrics", metrics),
            Route("/records/{id}", record),
            Route("/api/figures/{id}/{name}", figure),
            Route("/api/figures/{id}/{name}/file", figure_file),
            Route("/api/generate", generate, methods=["POST"]),
        ],
        middleware=[Middleware(SameOriginMiddleware, hosts=hosts), Middleware(RequestLifetimeMiddleware, closing=closing)],
        exception_handlers={HTTPException: problem},
    )
    app.router.redirect_slashes = False
    app.state.completions, app.state.files, app.state.closing = completions, files, closing
    return app


def _busy(error: BusyError) -> Response:
    return JsonResponse(ErrorMessage(error=str(error)), 429, {"Retry-After": "5"})


def _found(find: Any, request: Request) -> Any:
    try:
        return find(request.path_params["id"])
    except PellucidError as error:
        raise HTTPException(404, str(error)) from None


def _language(request: Request, default: str) -> str:
    """The language of the query string."""
    code = request.query_params.get("lang", default)
    if code not in LANGUAGES:
        raise HTTPException(400, f"lang must be one of {', '.join(LANGUAGES)}, not {shown(code)}")
    return code


def _whole(request: Request, name: str, default: int) -> int:
    """A non-negative integer from the query string."""
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise HTTPException(400, f"{name} must be a whole number, not {text!r}")
    return int(text)


def _metrics(path: Any, start: int) -> Response:
    """Whole lines from a byte on (the last may be half written). Where the file is shorter, the run was restarted: from 0."""
    try:
        with reading(path) as file:
            size = file.seek(0, 2)
            restarted = start > size
            start = 0 if restarted else start
            file.seek(start)
            data = file.read(MAX_METRICS)
    except FileNotFoundError:
        data, size, restarted, start = b"", 0, False, 0  # no step is done yet
    except OSError as error:
        raise HTTPException(404, f"metrics.jsonl cannot be read: {error.strerror or error}") from None
    lines = data[: data.rfind(b"\n") + 1]
    if not lines and len(data) == MAX_METRICS:
        raise HTTPException(404, f"metrics.jsonl cannot be read: a line has more than {MAX_METRICS:,} bytes")
    headers: dict[str, str] = {
        MetricsHeader.NEXT: str(start + len(lines)), MetricsHeader.SIZE: str(size), MetricsHeader.AGAIN: str(int(restarted)),
    }  # fmt: skip
    return Response(lines, headers=headers, media_type="application/x-ndjson")
