"""`OldEvents`: the events of a job as server-sent events, as the API of 2021 to 2023 streamed them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

from starlette.responses import StreamingResponse

from pellucid.serve.openai.tuning_objects import old_event_object
from pellucid.serve.tuning.database import TableRow
from pellucid.serve.tuning.jobs import ENDED, JobStore


WAIT, MOST_WAIT = 0.25, 1.0  # seconds between looks for new events, after some and after none: keys may have many streams
PING = 15.0  # seconds without an event after which a comment keeps the connection alive


class OldEvents(StreamingResponse):
    """The events so far, then each as it comes; `data: [DONE]` when the job has ended.

    Args:
        jobs: the tables. job: the id. ready: whether new work is taken: where the server ends, the stream ends without [DONE],
            and clients come again. A server that ends waits for its requests, and a job may take hours.
    """

    def __init__(self, jobs: JobStore, job: str, ready: Callable[[], bool]) -> None:
        headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-cache"}
        super().__init__(_events(jobs, job, ready), media_type="text/event-stream", headers=headers)


async def _events(jobs: JobStore, job: str, ready: Callable[[], bool]) -> AsyncIterator[bytes]:
    last, wait, quiet = 0, WAIT, 0.0

    def look() -> tuple[bool, list[TableRow]]:
        ended = jobs.job(job)["status"] in ENDED  # before its events are read: then none is missed
        return ended, jobs.events_since(job, last)

    while True:
        ended, rows = await asyncio.to_thread(look)
        for row in rows:
            last = row["seq"]
            yield b"data: " + json.dumps(old_event_object(row), allow_nan=False, separators=(",", ":")).encode() + b"\n\n"
        if ended:
            yield b"data: [DONE]\n\n"
            return
        if not ready():
            return
        quiet = 0.0 if rows else quiet + wait
        wait = WAIT if rows else min(2 * wait, MOST_WAIT)
        if quiet >= PING:
            yield b": waiting\n\n"
            quiet = 0.0
        await asyncio.sleep(wait)
