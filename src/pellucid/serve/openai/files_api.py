"""The routes of files.

    POST, GET /v1/files      GET, DELETE /v1/files/{id}      GET /v1/files/{id}/content      POST /v1/files/{id}/x_mend

A file belongs to the key that uploaded it: another key is answered as if it were not there.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import NoReturn
from urllib.parse import quote

from starlette.concurrency import iterate_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.serve.http.json_response import JsonResponse
from pellucid.serve.http.lifetime import discard_body
from pellucid.serve.http.multipart import Form, FormError, read_form
from pellucid.serve.http.waiting_line import LineFull, WaitingLine
from pellucid.serve.openai.completion_request import checked_fields
from pellucid.serve.openai.errors import ApiError, busy
from pellucid.serve.openai.job_fields import MEND_FIELDS
from pellucid.serve.openai.pages import page_request
from pellucid.serve.openai.scope import LOGGED, client_of, json_object
from pellucid.serve.openai.settings import ServiceSettings
from pellucid.serve.openai.tuning_errors import answering, api_error, page_response
from pellucid.serve.openai.tuning_objects import file_object
from pellucid.serve.tuning.database import TableRow
from pellucid.serve.tuning.files import PURPOSE, RESULTS, FileTooLarge
from pellucid.serve.tuning.service import TuningService


UPLOADS = "/v1/files"  # its bodies are read as they arrive
FORM_BYTES = 1 << 16  # of an upload beside its file
EXPIRES = (3600, 2_592_000)  # seconds after which a file may be deleted by itself: an hour to 30 days, as in the API
MOST_FILES = 10_000  # in a page
CHECKS = 2  # files that are checked or mended at once: that takes up to minutes
MOST_WAITING = 32  # of a key's files that wait for that


class FilesApi:
    """The endpoints of files.

    Args:
        tuning: whose they are. settings: of the server.
    """

    def __init__(self, tuning: TuningService, settings: ServiceSettings) -> None:
        self._tuning, self._settings = tuning, settings
        self._line = WaitingLine(CHECKS, MOST_WAITING)

    def routes(self) -> list[Route]:
        """The routes."""
        post, get = ["POST"], ["GET"]
        return [
            Route(UPLOADS, self.files, methods=["GET", "POST"]),
            Route(f"{UPLOADS}/{{id}}", self.one_file, methods=["GET", "DELETE"]),
            Route(f"{UPLOADS}/{{id}}/content", self.content, methods=get),
            Route(f"{UPLOADS}/{{id}}/x_mend", self.mend, methods=post),
        ]

    async def files(self, request: Request) -> Response:
        """GET and POST /v1/files."""
        return await (self.upload(request) if request.method == "POST" else self.list_files(request))

    async def upload(self, request: Request) -> Response:
        """POST /v1/files: a form with the purpose and the file, which goes to the disk as it arrives."""
        owner = client_of(request).id
        try:
            self._check_room(owner)
            upload = await asyncio.to_thread(self._tuning.files.begin, owner)
        except ApiError as error:
            await self._refuse(request, error)
        except PellucidError as error:
            await self._refuse(request, api_error(error))
        try:

            async def write(data: bytes) -> None:
                await asyncio.to_thread(upload.write, data)

            form = await read_form(request.headers, self._parts(request), write)
            expires = self._checked_form(form)
            assert form.filename is not None
            row = await self._in_turn(owner, partial(self._tuning.keep, upload, form.filename, expires))
        except FormError as error:
            status = 415 if not request.headers.get("content-type", "").startswith("multipart/form-data") else 400
            await self._refuse(request, ApiError(status, str(error), param="file"))
        except ApiError as error:
            await self._refuse(request, error)
        except PellucidError as error:
            await self._refuse(request, api_error(error))
        finally:
            await asyncio.shield(asyncio.to_thread(upload.drop))
        request.scope["state"][LOGGED]["bytes"] = row["bytes"]
        return JsonResponse(file_object(row))

    async def _in_turn(self, owner: str, function: Callable[[], TableRow]) -> TableRow:
        """The file that a function makes, which is called in a thread when it is its owner's turn. Where the client leaves
        meanwhile, the function ends before this does, and its file is deleted: nobody was told of it."""
        async with self._line.hold(owner, 1):
            making = asyncio.ensure_future(asyncio.to_thread(function))
            try:
                return await asyncio.shield(making)
            except asyncio.CancelledError:
                await asyncio.wait({making})
                if not making.cancelled() and making.exception() is None:
                    self._tuning.files.delete(owner, making.result()["id"])
                raise

    def _check_room(self, owner: str) -> None:
        try:
            self._line.check_room(owner, 1)
        except LineFull as full:
            message = f"{full.waiting} of your files wait to be checked already. Please try again later."
            raise busy(message, full.seconds) from None

    async def _parts(self, request: Request) -> AsyncIterator[bytes]:
        most, size = self._tuning.settings.file_bytes + FORM_BYTES, 0
        try:
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise FileTooLarge(f"The body has more than {most:,} bytes")
                yield part
        except ClientDisconnect:
            raise asyncio.CancelledError from None

    async def _refuse(self, request: Request, error: ApiError) -> NoReturn:
        """Answers with an error once the client has sent what it is sending: else it would not read the answer."""
        if not getattr(request, "_stream_consumed", False):
            await discard_body(request.receive, self._tuning.settings.file_bytes + FORM_BYTES)
        error.headers.setdefault("Connection", "close")
        raise error

    def _checked_form(self, form: Form) -> int | None:
        """Checks the small fields of an upload; returns the seconds after which the file is deleted by itself."""
        if form.filename is None:
            raise ApiError(400, "'file' is a required property: send one as multipart/form-data", param="file")
        purpose = form.fields.pop("purpose", None)
        if purpose != PURPOSE:
            what = "'purpose' is a required property" if purpose is None else f"{shown(purpose)} is not one of ['{PURPOSE}']"
            raise ApiError(400, f"{what} - 'purpose'", param="purpose")
        anchor, seconds = (form.fields.pop(f"expires_after[{name}]", None) for name in ("anchor", "seconds"))
        if form.fields:
            raise ApiError(400, f"Unrecognized request argument supplied: {', '.join(form.fields)[:200]}")
        if anchor is None and seconds is None:
            return None
        digits = seconds is not None and seconds.isascii() and seconds.isdigit() and len(seconds) < 9
        if anchor != "created_at" or not digits or not EXPIRES[0] <= int(seconds or 0) <= EXPIRES[1]:
            raise ApiError(
                400, f"expires_after is {{anchor: 'created_at', seconds: {EXPIRES[0]} to {EXPIRES[1]}}}", param="expires_after"
            )
        return int(seconds or 0)

    @answering
    async def list_files(self, request: Request) -> Response:
        """GET /v1/files."""
        page = page_request(request, most=MOST_FILES, default=MOST_FILES, ordered=True)
        purpose = request.query_params.get("purpose")
        return await page_response(
            file_object, self._tuning.files.page, client_of(request).id, purpose=purpose, newest_first=page.newest_first,
            **page.arguments,
        )  # fmt: skip

    @answering
    async def one_file(self, request: Request) -> Response:
        """GET and DELETE /v1/files/{id}."""
        owner, id = client_of(request).id, request.path_params["id"]
        if request.method == "DELETE":
            await asyncio.to_thread(self._tuning.files.delete, owner, id)
            return JsonResponse({"id": id, "object": "file", "deleted": True})
        return JsonResponse(file_object(await asyncio.to_thread(self._tuning.files.find, owner, id)))

    @answering
    async def content(self, request: Request) -> Response:
        """GET /v1/files/{id}/content: the bytes as they came."""
        files = self._tuning.files
        row = await asyncio.to_thread(files.find, client_of(request).id, request.path_params["id"])
        headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(row['filename'], safe='')}",
            "Content-Length": str(row["bytes"]),
        }  # fmt: skip
        kind = "text/csv; charset=utf-8" if row["purpose"] == RESULTS else "application/octet-stream"
        parts = await asyncio.to_thread(files.read, row)
        return StreamingResponse(iterate_in_threadpool(parts), media_type=kind, headers=headers)

    @answering
    async def mend(self, request: Request) -> Response:
        """POST /v1/files/{id}/x_mend: a new file with the mends of some checks, or of all."""
        values = checked_fields(await json_object(request, self._settings.max_body, optional=True), MEND_FIELDS)
        owner, id = client_of(request).id, request.path_params["id"]
        self._check_room(owner)
        return JsonResponse(file_object(await self._in_turn(owner, partial(self._tuning.mend, owner, id, values["checks"]))))
