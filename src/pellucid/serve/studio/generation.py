"""Completions for the studio's page, token by token, as server-sent events.

A *recorded* completion (the page's default) becomes a record of the model's activations. Its recorder taps a runner that
computes one sequence, so recorded completions run one at a time, each in a thread of its own; a few more requests may wait. A
*plain* completion (`"record": false`) is submitted to an engine owned by a driver thread, which batches them. Both may run at
once: they share the weights and nothing else.

When a page disconnects, its generation ends within a step.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from pellucid.errors import PellucidError
from pellucid.runtime.runner import ONE_THREAD
from pellucid.serve import wire
from pellucid.serve.http.lifetime import CLOSING
from pellucid.serve.studio.generate_request import ParsedRequest, parse_generate_request
from pellucid.serve.studio.loaded_model import (
    MAX_CONCURRENT,
    BusyError,
    ClosingError,
    LoadedModels,
    ModelCache,
    in_thread,
)
from pellucid.serve.studio.long_prompt import with_fitting
from pellucid.serve.studio.sources import SourceCatalog


if TYPE_CHECKING:
    from pellucid.engine.completion import Token
    from pellucid.engine.driver import RequestHandle
    from pellucid.generation.model import GPT
    from pellucid.interpret.capture import RecordDtype
    from pellucid.interpret.formulas import StepDistribution
    from pellucid.text.tokenizer import Tokenizer

MAX_WAITING = 3  # requests for a recorded completion that wait
CANDIDATES = 20
_TOP_TOKENS = 5  # likeliest tokens of a `token` event


class _Cancelled(Exception):
    """The page disconnected, or the server is closing."""


class CompletionStream:
    """A completion that is being generated: iterate over its server-sent events; `cancel` it when the page disconnects."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[wire.GenerationEvent] = asyncio.Queue()
        self.cancelled = threading.Event()
        self.task: asyncio.Task[None] | None = None  # of a plain completion

    def put(self, event: wire.GenerationEvent) -> None:
        """Adds an event, in the event loop's thread."""
        self.queue.put_nowait(event)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """`begin` (the prompt's tokens, the seed), `token` (one each), then `done` or `error`.

        Only a recorded completion has `kept` and `share` in its tokens, and `record`, `url` and `bytes` in `done`.
        """
        event = ""
        while event not in ("done", "error"):
            message = await self.queue.get()
            event = message["event"]
            yield f"event: {event}\ndata: {json.dumps(message['data'], allow_nan=False)}\n\n".encode()

    def cancel(self) -> None:
        """Ends the generation before its next token, if it is not done."""
        self.cancelled.set()
        if self.task is not None:
            self.task.cancel()


class CompletionService:
    """Generates completions with the catalog's models: plain ones batched, recorded ones one at a time.

    Args:
        catalog: finds models by id and keeps records.
        record_dtype: of the records, as `xray` takes it.
        models: bounds the models of several services together; None: there is one.
    """

    def __init__(
        self, catalog: SourceCatalog, record_dtype: "RecordDtype | None" = None, models: LoadedModels | None = None
    ) -> None:
        self._catalog = catalog
        self._record_dtype = record_dtype
        self._recording_lock = asyncio.Lock()  # held by the recorded completion that runs
        self._waiting = self._concurrent = 0
        self._tasks: set[asyncio.Future[None]] = set()  # referenced here, so that they are not garbage-collected
        self._models = ModelCache(models)
        self._streams: WeakSet[CompletionStream] = WeakSet()  # until nobody reads them any more
        self._closing = threading.Event()

    def end_streams(self) -> None:
        """Ends all streams with the event `error`, in the event loop's thread. Their computation may continue for a step."""
        self._closing.set()
        for stream in self._streams:
            stream.put(_error_event(CLOSING))

    def close(self) -> None:
        """Ends all completions within a step. May be called from any thread."""
        self._closing.set()
        self._models.close()

    async def start(self, body: bytes) -> CompletionStream:
        """Starts a completion as soon as it may run. Errors of the request are raised here, before anything is sent.

        Raises:
            PellucidError: the request is not valid (400). BusyError: too many are waiting or running (429). ClosingError: the
                server is closing (503).
        """
        return await self.start_parsed(parse_generate_request(body))

    async def start_parsed(self, parsed: ParsedRequest) -> CompletionStream:
        """The same of a request that is parsed already."""
        source, title = self._catalog.model(parsed.model)
        return await (self._start_recorded if parsed.record else self._start_plain)(parsed, source, title)

    def _new_stream(self) -> CompletionStream:
        stream = CompletionStream()
        self._streams.add(stream)
        return stream

    # Plain completions.

    async def _start_plain(self, parsed: ParsedRequest, source: str | Path, title: str) -> CompletionStream:
        if self._concurrent >= MAX_CONCURRENT:
            raise BusyError(f"{MAX_CONCURRENT} completions are being generated: try again in a moment")
        stream, started = self._new_stream(), asyncio.get_running_loop().create_future()
        self._concurrent += 1
        stream.task = asyncio.create_task(self._run_plain(parsed, source, stream, started))
        stream.task.add_done_callback(lambda task: self._plain_ended(task, started))
        self._tasks.add(stream.task)
        try:
            await asyncio.shield(started)
        except asyncio.CancelledError:  # the page disconnected while the model was loaded
            stream.cancel()
            raise
        return stream

    def _plain_ended(self, task: "asyncio.Task[None]", started: "asyncio.Future[None]") -> None:
        self._concurrent -= 1
        self._tasks.discard(task)
        if not started.done():
            started.cancel()

    async def _run_plain(
        self, parsed: ParsedRequest, source: str | Path, stream: CompletionStream, started: "asyncio.Future[None]"
    ) -> None:
        """Submits the request and forwards its tokens. An error before that is raised where `started` is awaited."""
        from pellucid.engine.driver import DriverClosedError

        try:
            async with self._models.use(parsed.model, source) as loaded:
                shown = min(_TOP_TOKENS, loaded.model.config.vocab_size)
                new_request = partial(loaded.model.new_request, parsed.prompt, logprobs=shown, **parsed.options)
                request = await in_thread(new_request)
                driver = await in_thread(loaded.driver)
                try:
                    handle = driver.submit(request)
                except DriverClosedError:  # the server began to close since `driver` returned
                    raise ClosingError from None
                except PellucidError as error:
                    raise with_fitting(error, loaded.model, parsed) from None
                started.set_result(None)
                await self._forward_tokens(handle, stream, loaded.model.tokenizer)
        except Exception as error:
            if started.done():
                stream.put(_error_event(_error_text(error)))
                if not isinstance(error, PellucidError):
                    raise
            else:
                started.set_exception(error)

    async def _forward_tokens(self, handle: "RequestHandle", stream: CompletionStream, tokenizer: "Tokenizer | None") -> None:
        request = handle.request
        stream.put(_begin_event(request.prompt, request.options.seed, tokenizer))
        text, token = "", None
        async for _, token in handle:
            text += token.text
            top = [
                wire.Candidate(id=i, piece=_piece(tokenizer, i), logprob=logprob) for i, logprob in token.top_logprobs or ()
            ]
            stream.put(_token_event(token, tokenizer, top))
        assert token is not None
        done = wire.GenerationDone(text=text, finish_reason=_finish_reason(token), seed=str(request.options.seed))
        stream.put(wire.DoneEvent(event="done", data=done))

    # Recorded completions.

    async def _start_recorded(self, parsed: ParsedRequest, source: str | Path, title: str) -> CompletionStream:
        if self._waiting >= MAX_WAITING:
            raise BusyError(f"a recorded completion is being generated and {MAX_WAITING} more wait: try again in a moment")
        self._waiting += 1
        try:
            await self._recording_lock.acquire()
        finally:
            self._waiting -= 1
        using = self._models.use(parsed.model, source)
        try:  # from here on every exit must release the lock
            loaded = await using.__aenter__()
        except BaseException:
            self._recording_lock.release()
            raise

        async def end() -> None:
            await using.__aexit__(None, None, None)
            self._recording_lock.release()

        try:
            sequence = await in_thread(lambda: loaded.model.new_sequence(parsed.prompt, **parsed.options))
        except PellucidError as error:
            await end()
            raise with_fitting(error, loaded.model, parsed) from None
        except BaseException:
            await end()
            raise
        stream = self._new_stream()
        options = {**parsed.options, "seed": sequence.options.seed}
        task = asyncio.ensure_future(self._run_recorded(loaded.model, title, list(sequence.prompt), options, stream, end))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return stream

    async def _run_recorded(
        self, model: "GPT", title: str, prompt: list[int], options: dict[str, Any], stream: CompletionStream, end: Any
    ) -> None:
        """Generates in a thread, and releases the model and the lock at the end, whether the page is still connected or not."""
        loop = asyncio.get_running_loop()

        def put(event: wire.GenerationEvent) -> None:
            loop.call_soon_threadsafe(stream.put, event)

        def work() -> None:
            try:
                put(wire.DoneEvent(event="done", data=self._record(model, title, prompt, options, put, stream.cancelled)))
            except _Cancelled:
                put(_error_event(CLOSING))
            except PellucidError as error:
                put(_error_event(_error_text(error)))
            except Exception as error:  # the page must not wait for ever
                put(_error_event(_error_text(error)))
                raise

        try:
            await asyncio.to_thread(work)
        finally:
            await end()

    def _record(
        self, model: "GPT", title: str, prompt: list[int], options: dict[str, Any], put: Callable[[wire.GenerationEvent], None],
        cancelled: threading.Event,
    ) -> wire.GenerationDone:  # fmt: skip
        """Generates and records the completion, in the thread. Returns the data of `done`."""
        import torch

        from pellucid.interpret.capture import xray

        tokenizer = model.tokenizer
        tokens: list[Token] = []

        def check_wanted(_: object = None) -> None:
            if cancelled.is_set() or self._closing.is_set():
                raise _Cancelled

        def on_token(token: "Token", step: "StepDistribution") -> None:
            check_wanted()
            tokens.append(token)
            top = zip(step.topk_ids, step.topk_logprobs, step.topk_shares, strict=True)
            shown = [
                wire.Candidate(id=i, piece=_piece(tokenizer, i), logprob=logprob, share=share) for i, logprob, share in top
            ]
            event = _token_event(token, tokenizer, shown[:_TOP_TOKENS])
            event["data"]["kept"] = step.kept
            put(event)

        check_wanted()
        put(_begin_event(prompt, options["seed"], tokenizer))
        threads = torch.get_num_threads()
        torch.set_num_threads(1 if model.config.parameters() < ONE_THREAD else threads)
        try:
            with xray(
                model, prompt, candidates=CANDIDATES, record_dtype=self._record_dtype, on_token=on_token, on_chunk=check_wanted,
                **options,
            ) as record:  # fmt: skip
                data = record.to_bytes()
        finally:
            torch.set_num_threads(threads)
        check_wanted()
        record_id = self._catalog.keep(data, title)
        return wire.GenerationDone(
            record=record_id, url=f"/records/{record_id}", text="".join(token.text for token in tokens),
            finish_reason=_finish_reason(tokens[-1]), seed=str(options["seed"]), bytes=len(data),
        )  # fmt: skip


def _piece(tokenizer: "Tokenizer | None", token: int) -> str:
    from pellucid.text import piece

    return piece(tokenizer.token_bytes(token)) if tokenizer else str(token)


def _token_piece(tokenizer: "Tokenizer | None", token: int) -> wire.TokenPiece:
    found = wire.TokenPiece(id=token, piece=_piece(tokenizer, token))
    if tokenizer is not None:
        data = tokenizer.token_bytes(token)
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            found["part"] = data.hex()
    return found


def _begin_event(prompt: Iterable[int], seed: int, tokenizer: "Tokenizer | None") -> wire.BeginEvent:
    pieces = [_token_piece(tokenizer, token) for token in prompt]
    return wire.BeginEvent(event="begin", data=wire.GenerationBegin(prompt=pieces, seed=str(seed)))


def _token_event(token: "Token", tokenizer: "Tokenizer | None", top: list[wire.Candidate]) -> wire.TokenEvent:
    piece = _token_piece(tokenizer, token.id)
    data = wire.GeneratedToken(
        id=token.id, piece=piece["piece"], text=token.text, logprob=token.logprob, position=token.position,
        finish_reason=None if token.finish_reason is None else _finish_reason(token), top=top,
    )  # fmt: skip
    if "part" in piece:
        data["part"] = piece["part"]
    return wire.TokenEvent(event="token", data=data)


def _error_event(message: str) -> wire.ErrorEvent:
    return wire.ErrorEvent(event="error", data=wire.ErrorMessage(error=message))


def _finish_reason(token: "Token") -> wire.FinishReason:
    assert token.finish_reason in ("stop", "length")
    return "stop" if token.finish_reason == "stop" else "length"


def _error_text(error: Exception) -> str:
    return str(error) if isinstance(error, PellucidError) else f"{type(error).__name__}: {error}"
