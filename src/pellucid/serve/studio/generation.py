"""One answer at a time, token by token, as server-sent events; what happened inside becomes a record.

The model runs in a thread of its own. Each token goes to the page as soon as it is drawn; when the page goes away, the
generation ends before its next token. Whoever comes while another answer is being written waits in a short line.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from re import fullmatch
from typing import Any

from pellucid.errors import PellucidError
from pellucid.serve.studio.sources import SourceCatalog


MOST_PROMPT = 20_000  # characters
MOST_TOKENS = 400  # drawn in one answer: a page shows them all
MOST_WAITING = 3
CANDIDATES = 20
_SMALL = 20_000_000  # parameters; as in `cli.generate`: one thread is as fast, and never waits for another
_SAMPLING: dict[str, tuple[type, ...]] = {
    "max_tokens": (int,), "temperature": (int, float), "top_k": (int,), "top_p": (int, float), "min_p": (int, float),
    "presence_penalty": (int, float), "frequency_penalty": (int, float), "repetition_penalty": (int, float), "seed": (int,),
}  # fmt: skip


class BusyError(PellucidError):
    """Too many wait already (429)."""


class _Gone(Exception):
    """The page went away."""


def read_request(body: bytes) -> tuple[str, str, dict[str, Any]]:
    """(model id, prompt, options for `generate`) of a request's JSON.

    Raises:
        PellucidError: what is wrong with it (400).
    """
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PellucidError(f"the body is not JSON: {error}") from None
    if not isinstance(asked, dict):
        raise PellucidError("the body must be a JSON object, such as {\"model\": \"default\", \"prompt\": \"Once\"}")
    if unknown := sorted(set(asked) - {"model", "prompt", *_SAMPLING}):
        raise PellucidError(f"unknown field {unknown[0]!r}: there are model, prompt, {', '.join(_SAMPLING)}")
    model, prompt = asked.get("model", "default"), asked.get("prompt", "")
    if not isinstance(model, str) or not isinstance(prompt, str):
        raise PellucidError("model and prompt must be text")
    if len(prompt) > MOST_PROMPT:
        raise PellucidError(f"the prompt has {len(prompt):,} characters, more than {MOST_PROMPT:,}: shorten it")
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError:
        raise PellucidError("the prompt holds half a character (a lone surrogate): remove it") from None
    options = {name: asked[name] for name in _SAMPLING if asked.get(name) is not None}
    if isinstance(options.get("seed"), str) and fullmatch(r"-?[0-9]{1,19}", options["seed"]):
        options["seed"] = int(options["seed"])  # JavaScript's numbers do not hold 64 bits
    for name, value in options.items():
        if not isinstance(value, _SAMPLING[name]) or isinstance(value, bool):
            raise PellucidError(f"{name} must be {'a whole number' if _SAMPLING[name] == (int,) else 'a number'}")
    options.setdefault("max_tokens", 40)
    if not 1 <= options["max_tokens"] <= MOST_TOKENS:
        raise PellucidError(f"max_tokens must be from 1 to {MOST_TOKENS} here, not {options['max_tokens']}")
    return model, prompt, options


class Answer:
    """An answer that is being written: iterate over its server-sent events; `leave` when nobody listens any more."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        self.gone = threading.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """`begin` (the prompt's tokens, the seed), `token` (one each), then `done` (the record's id and url), or `error`."""
        event = ""
        while event not in ("done", "error"):
            event, data = await self.queue.get()
            yield f"event: {event}\ndata: {json.dumps(data, allow_nan=False)}\n\n".encode()

    def leave(self) -> None:
        """Ends the generation before its next token, if it is not done."""
        self.gone.set()


class Generator:
    """Writes answers with the library's models, one at a time.

    Args:
        library: where models are found and records kept.
    """

    def __init__(self, library: SourceCatalog) -> None:
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
        name, prompt, options = read_request(body)
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

        def tell(event: str, data: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(answer.queue.put_nowait, (event, data))

        def work() -> None:
            try:
                tell("done", self._generate(model, title, prompt, options, tell, answer.gone))
            except _Gone:
                tell("error", {"error": "the server is closing"})
            except PellucidError as error:
                tell("error", {"error": str(error)})
            except Exception as error:  # the page must not wait for ever
                tell("error", {"error": f"{type(error).__name__}: {error}"})
                raise

        self._working = asyncio.ensure_future(asyncio.to_thread(work))
        self._working.add_done_callback(lambda _: self._turn.release())
        return answer

    def _generate(
        self, model: Any, title: str, prompt: list[int], options: dict[str, Any], tell: Any, gone: threading.Event
    ) -> dict[str, Any]:
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
            tell("token", {
                "id": token.id, "piece": named(token.id), "text": token.text, "logprob": token.logprob,
                "position": token.position, "finish_reason": token.finish_reason, "kept": step.kept,
                "top": [{"id": i, "piece": named(i), "logprob": logprob, "share": share} for i, logprob, share in top][:5],
            })  # fmt: skip

        tell("begin", {"prompt": [{"id": token, "piece": named(token)} for token in prompt], "seed": str(options["seed"])})
        threads = torch.get_num_threads()
        torch.set_num_threads(1 if model.config.parameters() < _SMALL else threads)
        try:
            with xray(model, prompt, candidates=CANDIDATES, on_token=on_token, **options) as record:
                data = record.to_bytes()
        finally:
            torch.set_num_threads(threads)
        record_id = self._library.keep(data, title)
        return {
            "record": record_id, "url": f"/records/{record_id}", "text": "".join(token.text for token in tokens),
            "finish_reason": tokens[-1].finish_reason, "seed": str(options["seed"]), "bytes": len(data),
        }  # fmt: skip


def _stamp(source: str | Path) -> str:
    """Changes with the model's file."""
    if not isinstance(source, Path):
        return ""
    for path in (source / "model" / "model.safetensors", source / "model.safetensors"):
        if path.is_file():
            found = path.stat()
            return f"{found.st_mtime_ns} {found.st_size}"
    return ""
