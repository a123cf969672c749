"""`CompletionRecorder`: records of completions, for `x_record`: the studio's recorder makes them, and its page shows them."""

import asyncio
from pathlib import Path
from typing import Any

from pellucid.errors import PellucidError
from pellucid.files import write_whole
from pellucid.record import SUFFIX
from pellucid.serve.openai.completions import CompletionJob
from pellucid.serve.openai.errors import ApiError, busy, overloaded, server_error
from pellucid.serve.openai.fields import field_named
from pellucid.serve.openai.models import LOG, ServedModel
from pellucid.serve.studio.generate_request import ParsedRequest
from pellucid.serve.studio.generation import CompletionService
from pellucid.serve.studio.loaded_model import BusyError, ClosingError
from pellucid.serve.studio.sources import SourceCatalog
from pellucid.serve.tuning.database import cannot_store


class CompletionRecorder:
    """Generates a completion again on a runner whose activations are recorded: the draws depend on the seed alone.

    Args:
        catalog: of the studio. completions: its recorder. folder: for the records' files; None: in memory.
        most: bytes of the folder's records: the oldest are deleted.
    """

    def __init__(self, catalog: SourceCatalog, completions: CompletionService, folder: Path | None, most: int = 0) -> None:
        self._catalog, self._completions, self._folder, self._most = catalog, completions, folder, most

    async def record(self, model: ServedModel, job: CompletionJob, text: str) -> dict[str, Any]:
        """The record of a completion: its id, the address of its file, the studio's page that shows it, its size, and whether
        it holds the text that was answered. (The recorded runner computes with PyTorch: where that rounds a number otherwise,
        a draw next to a border may differ.)

        Raises:
            ApiError: the model cannot be recorded (400), too many are being recorded (429), or the record cannot be written
                (500).
        """
        id = None if model.source is None else self._catalog.model_id(model.source)
        if id is None:
            raise field_named("x_record").wrong(f"{model.id} is not recorded: it is no model or run directory")
        (asked,) = job.engine_requests
        options = {**job.request.options, "seed": asked.options.seed}
        try:
            stream = await self._completions.start_parsed(
                ParsedRequest(model=id, prompt=list(asked.prompt), options=options, record=True)
            )
        except BusyError as error:
            raise busy(str(error), 5.0) from None
        except ClosingError:
            raise overloaded() from None
        except PellucidError as error:
            raise ApiError(400, f"{error} - 'x_record'", param="x_record") from None
        try:
            event: Any = None
            while event is None or event["event"] not in ("done", "error"):
                event = await stream.queue.get()
        finally:
            stream.cancel()
        if event["event"] == "error":
            raise server_error(f"The completion could not be recorded: {event['data']['error']}")
        done = event["data"]
        name = done["record"]
        if self._folder is not None:
            try:
                name = await asyncio.to_thread(self._write, self._folder / f"{job.id}{SUFFIX}", name)
            except (PellucidError, OSError) as error:
                cause = error if isinstance(error, OSError) else error.__cause__
                LOG.error("a record could not be kept: %s", error)
                why = cannot_store("it", cause) if isinstance(cause, OSError) else error  # without the server's folders
                raise server_error(f"The completion's record could not be kept: {why}", retry=False) from None
        return {
            "id": name, "url": f"/records/{name}", "page": f"/#/record/{name}", "bytes": done["bytes"],
            "same_text": done["text"] == text,
        }  # fmt: skip

    def _write(self, path: Path, kept: str) -> str:
        """Moves a record from the memory into a file; returns its id."""
        write_whole(path, self._catalog.take(kept), what="the record")
        delete_oldest(path.parent, self._most, newest=path)
        return self._catalog.add_record(path)


def delete_oldest(folder: Path, most: int, newest: Path | None = None) -> None:
    """Deletes the oldest records of a folder, so that those that are left have `most` bytes together; the newest is left.
    `newest`: which that is, whatever its time says: a clock may have been set back."""
    left = most
    records = sorted(
        ((path.stat(), path) for path in folder.glob(f"*{SUFFIX}")), key=lambda one: (one[1] == newest, one[0].st_mtime_ns)
    )  # fmt: skip
    for number, (status, path) in enumerate(reversed(records)):
        left -= status.st_size
        if left < 0 and number:
            path.unlink(missing_ok=True)
