"""One answer at a time, token by token, as server-sent events; what happened inside becomes a record.

The model runs in a thread of its own. Each token goes to the page as soon as it is drawn; when the page goes away, the
generation ends before its next token. Whoever comes while another answer is being written waits in a short line.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from pellucid.errors import PellucidError
from pellucid.serve import wire
from pellucid.serve.studio.generate_request import parse_generate_request
from pellucid.serve.studio.sources import Library


MOST_WAITING = 3
CANDIDATES = 20
_SMALL = 20_000_000  # parameters; as in `cli.generate`: one thread is as fast, and never waits for another


class BusyError(PellucidError):
    """Too many wait already (429)."""


class _Gone(Exception):
    """The page went away."""


class Answer:
    """An answer that is being written: iterate over its server-sent events; `leave` when nobody listens any more."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[wire.GenerationEvent] = asyncio.Queue()
        self.gone = threading.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """`begin` (the prompt's tokens, the seed), `token` (one each), then `done` (the record's id and url), or `error`."""
        event = ""
        while event not in ("done", "error"):
            message = await self.queue.get()
            event = message["event"]
            yield f"event: {event}\ndata: {json.dumps(message['data'], allow_nan=False)}\n\n".encode()

    def leave(self) -> None:
        """Ends the generation before its next token, if it is not done."""
        self.gone.set()


class Generator:
    """Writes answers with the library's models, one at a time.

    Args:
        library: where models are found and records kept.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._working: asyncio.Future[None] | None = None  # held, so that nobody collects it
        self._loaded: tuple[str, Any] | None = None  # the model used last
        self._closing = threading.Event()

    def close(self) -> None:
        """Ends what is being written."""
        self._closing.set()

    async def begin(self, body: bytes) -> Answer:
        """Begins an answer, once it is its turn. What is wrong is raised here, before anything is sent.

        Raises:
            PellucidError: the request cannot be answered (400). BusyError: the line is full (429).
        """
        name, prompt, options = parse_generate_request(body)
        source, title = self._library.model(name)
        if self._waiting >= MOST_WAITING:
            raise BusyError(f"an answer is being written and {MOST_WAITING} more wait: try again in a moment")
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        try:  # from here on whoever ends this lets the next one go
            model = await asyncio.to_thread(self._load, name, source)
            row = await asyncio.to_thread(lambda: model.new_sequence(prompt, **options))
        except BaseException:
            self._turn.release()
            raise
        return self._start(model, title, list(row.prompt), options | {"seed": row.options.seed})

    def _load(self, name: str, source: str | Path) -> Any:
        """The model; loaded again where its file has changed, as that of a run that still trains does."""
        from pellucid.generation.load import load

        stamp = f"{name} {_stamp(source)}"
        if self._loaded is None or self._loaded[0] != stamp:
            self._loaded = None  # one model in memory at a time
            self._loaded = (stamp, load(source))
        return self._loaded[1]

    def _start(self, model: Any, title: str, prompt: list[int], options: dict[str, Any]) -> "Answer":
        """Starts the thread, which lets the next one go when it ends, whether anybody still listens or not."""
        loop = asyncio.get_running_loop()
        answer = Answer()

        def tell(event: wire.GenerationEvent) -> None:
            loop.call_soon_threadsafe(answer.queue.put_nowait, event)

        def work() -> None:
            try:
                tell(wire.DoneEvent(event="done", data=self._generate(model, title, prompt, options, tell, answer.gone)))
            except _Gone:
                tell(wire.ErrorEvent(event="error", data={"error": "the server is closing"}))
            except PellucidError as error:
                tell(wire.ErrorEvent(event="error", data={"error": str(error)}))
            except Exception as error:  # the page must not wait for ever
                tell(wire.ErrorEvent(event="error", data={"error": f"{type(error).__name__}: {error}"}))
                raise

        self._working = asyncio.ensure_future(asyncio.to_thread(work))
        self._working.add_done_callback(lambda _: self._turn.release())
        return answer

    def _generate(
        self, model: Any, title: str, prompt: list[int], options: dict[str, Any],
        tell: Callable[[wire.GenerationEvent], None], gone: threading.Event,
    ) -> wire.GenerationDone:  # fmt: skip
        """The answer, in the thread. Returns what `done` says."""
        import torch

        from pellucid.interpret.capture import xray
        from pellucid.text import piece

        tokenizer = model.tokenizer

        def named(token: int) -> str:
            return piece(tokenizer.token_bytes(token)) if tokenizer else str(token)

        tokens: list[Any] = []

        def on_token(token: Any, step: Any) -> None:
            if gone.is_set() or self._closing.is_set():
                raise _Gone
            tokens.append(token)
            top = zip(step.topk_ids, step.topk_logprobs, step.topk_shares, strict=True)
            tell(wire.TokenEvent(event="token", data=wire.GeneratedToken(
                id=token.id, piece=named(token.id), text=token.text, logprob=token.logprob,
                position=token.position, finish_reason=token.finish_reason, kept=step.kept,
                top=[wire.Candidate(id=i, piece=named(i), logprob=logprob, share=share) for i, logprob, share in top][:5],
            )))  # fmt: skip

        pieces = [wire.TokenPiece(id=token, piece=named(token)) for token in prompt]
        tell(wire.BeginEvent(event="begin", data=wire.GenerationBegin(prompt=pieces, seed=str(options["seed"]))))
        threads = torch.get_num_threads()
        torch.set_num_threads(1 if model.config.parameters() < _SMALL else threads)
        try:
            with xray(model, prompt, candidates=CANDIDATES, on_token=on_token, **options) as record:
                data = record.to_bytes()
        finally:
            torch.set_num_threads(threads)
        record_id = self._library.keep(data, title)
        return wire.GenerationDone(
            record=record_id, url=f"/records/{record_id}", text="".join(token.text for token in tokens),
            finish_reason=tokens[-1].finish_reason, seed=str(options["seed"]), bytes=len(data),
        )  # fmt: skip


def _stamp(source: str | Path) -> str:
    """Changes with the model's file."""
    if not isinstance(source, Path):
        return ""
    for path in (source / "model" / "model.safetensors", source / "model.safetensors"):
        if path.is_file():
            found = path.stat()
            return f"{found.st_mtime_ns} {found.st_size}"
    return ""
