"""Answers completion requests: checks them against their model, runs each prompt on its engine, and writes the response.

A response is written at once (`CompletionJob.whole`) or as server-sent events (`CompletionJob.events`). A stream's tokens are
kept in its choices' writers until they are sent: a client that is behind gets fewer and longer events, and holds nobody up.
When the task that answers is cancelled (the client has left), its sequences leave the engine before their next token.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from secrets import token_hex
from typing import Any

from pellucid.engine.options import SamplingOptions, fresh_seed
from pellucid.engine.request import Request
from pellucid.engine.request_handle import RequestHandle, SampleToken
from pellucid.errors import PellucidError
from pellucid.serve.http.json_response import BYTES, encode
from pellucid.serve.http.keys import Client
from pellucid.serve.http.waiting_line import LineFull
from pellucid.serve.openai.admission import begin_limited, check_listed, check_model_options
from pellucid.serve.openai.choices import ChoiceWriter, Entry, prompt_entries
from pellucid.serve.openai.completion_request import CompletionRequest
from pellucid.serve.openai.errors import ApiError, busy, server_error
from pellucid.serve.openai.fields import field_named
from pellucid.serve.openai.metrics import RequestMetrics
from pellucid.serve.openai.models import LOG, ServedModel
from pellucid.serve.openai.prompts import PROMPT, list_of_prompts, prompt_ids
from pellucid.serve.openai.settings import ServiceSettings


LONG_PROMPT = 20_000  # characters or ids that are encoded and checked in a thread, while others are answered
MANY_PROMPTS = 16  # the same
DONE = b"data: [DONE]\n\n"


@dataclass(slots=True)
class _Choice:
    """A choice of a stream: its writer, and why it ended."""

    writer: ChoiceWriter
    finish_reason: str | None = None


class CompletionJob:
    """A request that is checked and counted, and is to be answered.

    Make it with `start`; then call `whole` or iterate over `events`; `end` it in any case.

    Args:
        model: that answers. client: who asks. request: what. prompts: token ids of each.

    Attributes:
        prompt_tokens, drawn_tokens: of the usage, as far as they are known. engine_requests: one for each prompt.
    """

    def __init__(
        self, model: ServedModel, client: Client, request: CompletionRequest, prompts: Sequence[list[int]],
        metrics: RequestMetrics,
    ) -> None:  # fmt: skip
        self.model, self.client, self.request, self.prompts = model, client, request, prompts
        self.prompt_tokens = sum(map(len, prompts))
        self.drawn_tokens = 0
        self._metrics = metrics
        self._began = time.monotonic()
        self._first_token: float | None = None
        self._reasons: list[str] = []
        self._head = {
            "id": f"cmpl-{token_hex(12)}", "object": "text_completion", "created": int(time.time()), "model": model.id,
            "system_fingerprint": model.fingerprint,
        }  # fmt: skip
        self.engine_requests = [self._engine_request(ids) for ids in prompts]

    @classmethod
    async def start(
        cls, model: ServedModel, client: Client, request: CompletionRequest, metrics: RequestMetrics, settings: ServiceSettings
    ) -> "CompletionJob":
        """Checks a request against its model, counts it for its client's limits, and looks whether there is room in the line.

        Raises:
            ApiError: it does not fit the model (400), a limit is reached or the line is full (429).
        """
        prompts = list_of_prompts(request.prompt)
        if len(prompts) * request.samples > settings.max_choices:
            raise PROMPT.wrong(
                f"{len(prompts)} prompts with {request.samples} completions each are more than the maximum of "
                f"{settings.max_choices} completions"
            )
        if request.record and (len(prompts) > 1 or not request.max_tokens):
            raise field_named("x_record").wrong("a record holds one prompt and the tokens generated after it, one or more")

        check_model_options(model, request)

        def make() -> CompletionJob:
            return cls(
                model, client, request, [prompt_ids(one, model.generator, request.max_tokens) for one in prompts], metrics
            )

        long = sum(map(len, prompts)) > LONG_PROMPT or len(prompts) > MANY_PROMPTS
        job = await asyncio.to_thread(make) if long else make()
        check_listed(job.listed_tokens, settings.max_listed)
        try:
            model.line.check_room(client.name, len(job.prompts))
        except LineFull as full:
            raise busy(f"{full.waiting} prompts wait for {model.id} already. Please try again later.", full.seconds) from None
        begin_limited(client, job.most_tokens)
        return job

    @property
    def id(self) -> str:
        """Of the response."""
        return str(self._head["id"])

    @property
    def most_tokens(self) -> int:
        """Tokens that it may take: of its prompts, and what may be generated."""
        return self.prompt_tokens + len(self.prompts) * self.request.samples * self.request.max_tokens

    @property
    def listed_tokens(self) -> int:
        """Tokens that the answer may list with their log-probabilities."""
        request = self.request
        if request.logprobs is None:
            return 0
        echoed = self.prompt_tokens if request.echo else 0
        return request.n * (echoed + len(self.prompts) * request.max_tokens)

    def end(self) -> None:
        """Counts its end for the client's limits and the metrics, whatever ended it."""
        self.client.limits.end(max(0, self.most_tokens - self.prompt_tokens - self.drawn_tokens))
        aborted = len(self._reasons) < len(self.prompts) * self.request.n
        now = time.monotonic()
        self._metrics.finished(
            self.model.label, reasons=[*self._reasons, *(["abort"] if aborted else [])], seconds=now - self._began,
            first_token=None if self._first_token is None else self._first_token - self._began,
            prompt_tokens=self.prompt_tokens, generation_tokens=self.drawn_tokens,
        )  # fmt: skip

    def usage(self) -> dict[str, int]:
        """The usage, once all is generated: completions that `best_of` leaves out are counted."""
        return {
            "prompt_tokens": self.prompt_tokens, "completion_tokens": self.drawn_tokens,
            "total_tokens": self.prompt_tokens + self.drawn_tokens,
        }  # fmt: skip

    # At once.

    async def whole(self) -> dict[str, Any]:
        """The response.

        Raises:
            ApiError: the engine failed (500), or cannot take it.
        """
        if len(self.engine_requests) == 1:
            answers = [await self._whole_prompt(self.engine_requests[0])]
        else:
            tasks = [asyncio.create_task(self._whole_prompt(request)) for request in self.engine_requests]
            try:
                answers = await asyncio.gather(*tasks)
            finally:
                await _cancel(tasks)
        choices = [choice for answer in answers for choice in answer]
        for index, choice in enumerate(choices):
            choice["index"] = index
            self._reasons.append(choice["finish_reason"])
        return {**self._head, "choices": choices, "usage": self.usage()}

    async def _whole_prompt(self, asked: Request) -> list[dict[str, Any]]:
        """The choices of one prompt, without their indices."""
        writers = self._writers(asked)
        if self._computes_nothing:
            return [self._choice(writer, "length", last=True) for writer in writers]
        async with self.model.line.hold(self.client.name, asked.samples):
            handle = self.model.submit(asked)
            try:
                completions = await handle.acompletions()
            except Exception as error:
                raise engine_failure(error) from error
        self.drawn_tokens += handle.drawn_tokens
        choices, echoed = [], self._echoed(handle)
        for writer, completion in zip(writers, completions, strict=True):
            writer.add_prompt(echoed)
            tops = completion.top_logprobs or [()] * len(completion.ids)
            for token, logprob, top in zip(completion.ids, completion.logprobs, tops, strict=True):
                writer.add(token, logprob, top)
            writer.add_text(completion.text)
            choices.append(self._choice(writer, completion.finish_reason, last=True))
            if self.request.logprobs is not None:
                await asyncio.sleep(0)  # between long choices others are answered
        return choices

    # As events.

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The response as server-sent events, ended by `data: [DONE]`. What fails before the first is raised, later it is an
        event."""
        begun = False
        try:
            async with aclosing(self._chunks()) as chunks:
                async for chunk in chunks:
                    begun = True
                    yield chunk
            yield DONE
        except ApiError as error:
            if not begun:
                raise
            yield _event(error.body()) + DONE

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        n = self.request.n
        choices = [_Choice(writer) for asked in self.engine_requests for writer in self._writers(asked)]
        changed: dict[int, None] = {}
        news = asyncio.Event()

        def note(first: int, sample: int) -> None:
            changed[first + sample] = None
            news.set()

        tasks = [
            asyncio.create_task(self._feed(asked, choices[i * n : i * n + n], partial(note, i * n)))
            for i, asked in enumerate(self.engine_requests)
        ]  # fmt: skip
        for task in tasks:
            task.add_done_callback(lambda _: news.set())
        try:
            while not all(task.done() for task in tasks) or changed:
                await news.wait()
                news.clear()
                for task in tasks:
                    if task.done():
                        task.result()  # raises what ended it
                indices = list(changed)
                changed.clear()
                events = b""
                for index in indices:
                    events += self._choice_events(index, choices[index])
                    if len(events) > BYTES:
                        yield events
                        events = b""
                        await asyncio.sleep(0)  # between long events others are answered
                if events:
                    yield events
            if self.request.include_usage:
                yield _event({**self._head, "choices": [], "usage": self.usage()})
        finally:
            await _cancel(tasks)

    def _choice_events(self, index: int, choice: _Choice) -> bytes:
        """What is new of a choice: its text, and once more with nothing but the reason when it has ended."""
        ended = choice.finish_reason is not None
        events = b""
        part = self._choice(choice.writer, None, last=ended)
        if part["text"] or (part["logprobs"] and part["logprobs"]["tokens"]):
            events += self._chunk_event(index, part)
        if ended:
            assert choice.finish_reason is not None
            self._reasons.append(choice.finish_reason)
            events += self._chunk_event(index, self._choice(choice.writer, choice.finish_reason, last=True))
        return events

    def _chunk_event(self, index: int, part: dict[str, Any]) -> bytes:
        part["index"] = index
        usage = {"usage": None} if self.request.include_usage else {}
        return _event({**self._head, "choices": [part], **usage})

    async def _feed(self, asked: Request, choices: Sequence[_Choice], note: Callable[[int], None]) -> None:
        """Runs a prompt and hands its tokens to its choices' writers."""
        if self._computes_nothing:
            for sample, choice in enumerate(choices):
                choice.finish_reason = "length"
                note(sample)
            return
        async with self.model.line.hold(self.client.name, asked.samples):
            handle = self.model.submit(asked)
            early: list[SampleToken] | None = [] if self.request.scores_prompt else None
            try:
                async with aclosing(handle.abatches()) as batches:
                    async for tokens in batches:
                        if self._first_token is None:
                            self._first_token = time.monotonic()
                        self.drawn_tokens += len(tokens)
                        if early is not None:  # the prompt's log-probabilities are complete with the first token of the first
                            early += tokens
                            if not any(sample == 0 for sample, _ in tokens):
                                continue
                            tokens, early, echoed = early, None, self._echoed(handle)
                            for choice in choices:
                                choice.writer.add_prompt(echoed)
                        for sample, token in tokens:
                            choices[sample].writer.add_token(token)
                            choices[sample].finish_reason = token.finish_reason
                            note(sample)
            except Exception as error:
                raise engine_failure(error) from error
        if self.request.max_tokens == 0:  # only the prompt was scored
            echoed = self._echoed(handle)
            for sample, choice in enumerate(choices):
                choice.writer.add_prompt(echoed)
                choice.finish_reason = "length"
                note(sample)

    # Both.

    @property
    def _computes_nothing(self) -> bool:
        return self.request.max_tokens == 0 and not self.request.scores_prompt

    def _engine_request(self, ids: list[int]) -> Request:
        """The engine's request of one prompt. Without a seed each prompt gets its own, so that equal prompts differ."""
        request = self.request
        options = {"seed": fresh_seed(), **request.options, "logprobs": request.logprobs}
        try:
            return Request(
                prompt=ids, options=SamplingOptions(**options), n=request.n, best_of=request.best_of,
                prompt_logprobs=request.logprobs if request.scores_prompt else None, cache_salt=self.client.name,
            )  # fmt: skip
        except PellucidError as error:
            raise ApiError(400, str(error)) from None

    def _writers(self, asked: Request) -> list[ChoiceWriter]:
        """The writers of a prompt's choices."""
        tokenizer, request = self.model.generator.tokenizer, self.request
        text = "" if tokenizer is None else tokenizer.decode(asked.prompt)
        return [
            ChoiceWriter(self.model.names, text, logprobs=request.logprobs is not None, echo=request.echo)
            for _ in range(request.n)
        ]

    def _echoed(self, handle: RequestHandle) -> Sequence[Entry]:
        """The entries of the prompt, where its log-probabilities are wanted."""
        if not self.request.scores_prompt:
            return ()
        computed = handle.prompt_logprobs
        assert computed is not None
        return prompt_entries(self.model.names, handle.request.prompt, computed)

    def _choice(self, writer: ChoiceWriter, finish_reason: str | None, *, last: bool) -> dict[str, Any]:
        text, logprobs = writer.take(last=last)
        return {"text": text, "index": 0, "logprobs": logprobs, "finish_reason": finish_reason}


def engine_failure(error: Exception) -> ApiError:
    """The error that a client gets where its request was right and the engine failed."""
    if isinstance(error, ApiError):
        return error
    LOG.error("a request failed in the engine", exc_info=error)
    why = f": {error}" if isinstance(error, PellucidError) else ""
    return server_error(f"The server had an error while processing your request{why}")


async def _cancel(tasks: Sequence["asyncio.Task[Any]"]) -> None:
    """Cancels tasks and waits until they have ended; their errors are read, so that asyncio does not log them."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _event(message: Any) -> bytes:
    return f"data: {encode(message)}\n\n".encode("ascii")
