"""Completions for the studio's page, token by token, as server-sent events.

There are two ways to answer. A *recorded* answer (the page's default) becomes a record of what happened inside the model. The
recorder taps the one sequence that its own runner computes, so recorded answers run one at a time, each in a thread of its own;
whoever comes meanwhile waits in a short line. A *plain* answer (`"record": false`) goes to an engine that a driver thread owns,
where all prompts are answered together. Both may run at once: they share the weights and nothing else.

When a page goes away, its generation ends within a step, and its place is free.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import PellucidError
from pellucid.runtime.runner import ONE_THREAD
from pellucid.serve import wire
from pellucid.serve.studio.generate_request import ParsedRequest, parse_generate_request
from pellucid.serve.studio.sources import SourceCatalog


if TYPE_CHECKING:
    from pellucid.engine.completion import Token
    from pellucid.engine.driver import EngineDriver, RequestHandle
    from pellucid.generation.model import GPT
    from pellucid.interpret.formulas import StepDistribution
    from pellucid.text.tokenizer import Tokenizer

MOST_WAITING = 3  # recorded answers in line
MOST_TOGETHER = 16  # plain answers at once
CANDIDATES = 20
_SHOWN = 5  # likeliest tokens of a `token` event


class BusyError(PellucidError):
    """Too many requests are waiting or answered already (429)."""


class _Gone(Exception):
    """The page went away."""


class Answer:
    """An answer that is being generated: iterate over its server-sent events; `leave` when nobody listens any more."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[wire.GenerationEvent] = asyncio.Queue()
        self.gone = threading.Event()
        self.task: asyncio.Task[None] | None = None  # of a plain answer

    def put(self, event: wire.GenerationEvent) -> None:
        """Adds an event, in the event loop's thread."""
        self.queue.put_nowait(event)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """`begin` (the prompt's tokens, the seed), `token` (one each), then `done` or `error`.

        Only a recorded answer has `kept` and `share` in its tokens, and `record`, `url` and `bytes` in `done`.
        """
        event = ""
        while event not in ("done", "error"):
            message = await self.queue.get()
            event = message["event"]
            yield f"event: {event}\ndata: {json.dumps(message['data'], allow_nan=False)}\n\n".encode()

    def leave(self) -> None:
        """Ends the generation before its next token, if it is not done."""
        self.gone.set()
        if self.task is not None:
            self.task.cancel()


class _LoadedModel:
    """A model in memory, how many answers use it, and the driver of its plain answers, once there is one."""

    def __init__(self, stamp: str, model: "GPT") -> None:
        self.stamp = stamp
        self.model = model
        self.users = 0
        self.unused = asyncio.Event()
        self.unused.set()
        self._driver: EngineDriver | None = None
        self._lock = threading.Lock()
        self._closed = False

    def driver(self) -> "EngineDriver":
        """The driver of plain answers; packing weights for it, the first time, takes a while."""
        from pellucid.engine.driver import EngineDriver

        with self._lock:
            if self._closed:
                raise PellucidError("the server is closing")
            if self._driver is None:
                self._driver = EngineDriver(self.model.engine(max_sequences=MOST_TOGETHER))
            return self._driver

    def close(self) -> None:
        """Ends the driver and what it answers."""
        with self._lock:
            self._closed = True
            if self._driver is not None:
                self._driver.close()


class Generator:
    """Answers prompts with the library's models: plain ones together, recorded ones one at a time.

    Args:
        library: where models are found and records kept.
    """

    def __init__(self, library: SourceCatalog) -> None:
        self._library = library
        self._turn = asyncio.Lock()  # of recorded answers
        self._door = asyncio.Lock()  # first come, first served, so that who needs another model is not overtaken for ever
        self._waiting = self._together = 0
        self._working: set[asyncio.Future[None]] = set()  # held, so that nobody collects them
        self._loaded: _LoadedModel | None = None  # the model used last: one in memory at a time
        self._closing = threading.Event()

    def close(self) -> None:
        """Ends what is being generated. Called from any thread."""
        self._closing.set()
        if (loaded := self._loaded) is not None:
            loaded.close()

    async def begin(self, body: bytes) -> Answer:
        """Begins an answer, once it is its turn. What is wrong is raised here, before anything is sent.

        Raises:
            PellucidError: the request cannot be answered (400). BusyError: too many are waiting (429).
        """
        asked = parse_generate_request(body)
        source, title = self._library.model(asked.model)
        return await (self._begin_recorded if asked.record else self._begin_plain)(asked, source, title)

    @asynccontextmanager
    async def _using(self, name: str, source: str | Path) -> AsyncIterator[_LoadedModel]:
        """The model; loaded again where its file has changed, as that of a run that still trains does."""
        async with self._door:
            stamp = f"{name} {_stamp(source)}"
            if self._loaded is not None and self._loaded.stamp != stamp:
                await self._loaded.unused.wait()
                await asyncio.to_thread(self._loaded.close)
                self._loaded = None
            if self._loaded is None:
                from pellucid.generation.load import load

                self._loaded = _LoadedModel(stamp, await asyncio.to_thread(load, source))
            if self._closing.is_set():  # asked after `_loaded` is set: from here on `close` ends what it answers
                raise PellucidError("the server is closing")
            loaded = self._loaded
            loaded.users += 1
            loaded.unused.clear()
        try:
            yield loaded
        finally:
            loaded.users -= 1
            if loaded.users == 0:
                loaded.unused.set()

    # Plain answers.

    async def _begin_plain(self, asked: ParsedRequest, source: str | Path, title: str) -> Answer:
        if self._together >= MOST_TOGETHER:
            raise BusyError(f"{MOST_TOGETHER} prompts are being answered: try again in a moment")
        answer, begun = Answer(), asyncio.get_running_loop().create_future()
        self._together += 1
        answer.task = asyncio.create_task(self._work_plain(asked, source, answer, begun))
        answer.task.add_done_callback(lambda task: self._ended_plain(task, begun))
        self._working.add(answer.task)
        try:
            await asyncio.shield(begun)
        except asyncio.CancelledError:  # the page went away while the model was loaded
            answer.leave()
            raise
        return answer

    def _ended_plain(self, task: "asyncio.Task[None]", begun: "asyncio.Future[None]") -> None:
        self._together -= 1
        self._working.discard(task)
        if not begun.done():
            begun.cancel()

    async def _work_plain(
        self, asked: ParsedRequest, source: str | Path, answer: Answer, begun: "asyncio.Future[None]"
    ) -> None:
        """Submits the request, and passes on what the driver hands over. What refuses it is raised where `begun` is awaited."""
        try:
            async with self._using(asked.model, source) as loaded:
                shown = min(_SHOWN, loaded.model.config.vocab_size)
                request = await asyncio.to_thread(loaded.model.new_request, asked.prompt, logprobs=shown, **asked.options)
                handle = (await asyncio.to_thread(loaded.driver)).submit(request)
                begun.set_result(None)
                await self._pass_on(handle, answer, loaded.model.tokenizer)
        except Exception as error:
            if begun.done():
                answer.put(_error_event(_in_words(error)))
                if not isinstance(error, PellucidError):
                    raise
            else:
                begun.set_exception(error)

    async def _pass_on(self, handle: "RequestHandle", answer: Answer, tokenizer: "Tokenizer | None") -> None:
        request = handle.request
        answer.put(_begin_event(request.prompt, request.options.seed, tokenizer))
        text, token = "", None
        async for _, token in handle:
            text += token.text
            top = [
                wire.Candidate(id=i, piece=_piece(tokenizer, i), logprob=logprob) for i, logprob in token.top_logprobs or ()
            ]
            answer.put(_token_event(token, tokenizer, top))
        assert token is not None
        done = wire.GenerationDone(text=text, finish_reason=_reason(token), seed=str(request.options.seed))
        answer.put(wire.DoneEvent(event="done", data=done))

    # Recorded answers.

    async def _begin_recorded(self, asked: ParsedRequest, source: str | Path, title: str) -> Answer:
        if self._waiting >= MOST_WAITING:
            raise BusyError(f"an answer is being written and {MOST_WAITING} more wait: try again in a moment")
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        using = self._using(asked.model, source)
        try:  # from here on whoever ends this lets the next one go
            loaded = await using.__aenter__()
        except BaseException:
            self._turn.release()
            raise

        async def end() -> None:
            await using.__aexit__(None, None, None)
            self._turn.release()

        try:
            sequence = await asyncio.to_thread(lambda: loaded.model.new_sequence(asked.prompt, **asked.options))
        except BaseException:
            await end()
            raise
        answer = Answer()
        options = {**asked.options, "seed": sequence.options.seed}
        working = asyncio.ensure_future(self._work_recorded(loaded.model, title, list(sequence.prompt), options, answer, end))
        self._working.add(working)
        working.add_done_callback(self._working.discard)
        return answer

    async def _work_recorded(
        self, model: "GPT", title: str, prompt: list[int], options: dict[str, Any], answer: Answer, end: Any
    ) -> None:
        """Generates in a thread, whether anybody still listens or not, and lets the next one go when it ends."""
        loop = asyncio.get_running_loop()

        def put(event: wire.GenerationEvent) -> None:
            loop.call_soon_threadsafe(answer.put, event)

        def work() -> None:
            try:
                put(wire.DoneEvent(event="done", data=self._record(model, title, prompt, options, put, answer.gone)))
            except _Gone:
                put(_error_event("the server is closing"))
            except PellucidError as error:
                put(_error_event(_in_words(error)))
            except Exception as error:  # the page must not wait for ever
                put(_error_event(_in_words(error)))
                raise

        try:
            await asyncio.to_thread(work)
        finally:
            await end()

    def _record(
        self, model: "GPT", title: str, prompt: list[int], options: dict[str, Any], put: Callable[[wire.GenerationEvent], None],
        gone: threading.Event,
    ) -> wire.GenerationDone:  # fmt: skip
        """The recorded answer, in the thread. Returns the data of `done`."""
        import torch

        from pellucid.interpret.capture import xray

        tokenizer = model.tokenizer
        tokens: list[Token] = []

        def on_token(token: "Token", step: "StepDistribution") -> None:
            if gone.is_set() or self._closing.is_set():
                raise _Gone
            tokens.append(token)
            top = zip(step.topk_ids, step.topk_logprobs, step.topk_shares, strict=True)
            shown = [
                wire.Candidate(id=i, piece=_piece(tokenizer, i), logprob=logprob, share=share) for i, logprob, share in top
            ]
            event = _token_event(token, tokenizer, shown[:_SHOWN])
            event["data"]["kept"] = step.kept
            put(event)

        put(_begin_event(prompt, options["seed"], tokenizer))
        threads = torch.get_num_threads()
        torch.set_num_threads(1 if model.config.parameters() < ONE_THREAD else threads)
        try:
            with xray(model, prompt, candidates=CANDIDATES, on_token=on_token, **options) as record:
                data = record.to_bytes()
        finally:
            torch.set_num_threads(threads)
        record_id = self._library.keep(data, title)
        return wire.GenerationDone(
            record=record_id, url=f"/records/{record_id}", text="".join(token.text for token in tokens),
            finish_reason=_reason(tokens[-1]), seed=str(options["seed"]), bytes=len(data),
        )  # fmt: skip


def _piece(tokenizer: "Tokenizer | None", token: int) -> str:
    from pellucid.text import piece

    return piece(tokenizer.token_bytes(token)) if tokenizer else str(token)


def _begin_event(prompt: Iterable[int], seed: int, tokenizer: "Tokenizer | None") -> wire.BeginEvent:
    pieces = [wire.TokenPiece(id=token, piece=_piece(tokenizer, token)) for token in prompt]
    return wire.BeginEvent(event="begin", data=wire.GenerationBegin(prompt=pieces, seed=str(seed)))


def _token_event(token: "Token", tokenizer: "Tokenizer | None", top: list[wire.Candidate]) -> wire.TokenEvent:
    return wire.TokenEvent(event="token", data=wire.GeneratedToken(
        id=token.id, piece=_piece(tokenizer, token.id), text=token.text, logprob=token.logprob, position=token.position,
        finish_reason=None if token.finish_reason is None else _reason(token), top=top,
    ))  # fmt: skip


def _error_event(message: str) -> wire.ErrorEvent:
    return wire.ErrorEvent(event="error", data=wire.ErrorMessage(error=message))


def _reason(token: "Token") -> wire.FinishReason:
    assert token.finish_reason in ("stop", "length")
    return "stop" if token.finish_reason == "stop" else "length"


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, PellucidError) else f"{type(error).__name__}: {error}"


def _stamp(source: str | Path) -> str:
    """Changes with the model's file."""
    if not isinstance(source, Path):
        return ""
    for path in (source / "model" / "model.safetensors", source / "model.safetensors"):
        if path.is_file():
            found = path.stat()
            return f"{found.st_mtime_ns} {found.st_size}"
    return ""
