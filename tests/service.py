"""What tests of the completions service share: a service of a tiny model, requests, and an oracle that answers without HTTP."""

import http.client
import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from serving import Answer, ask

from pellucid.engine.completion import Completion
from pellucid.generation.text_generator import TextGenerator
from pellucid.serve.openai.models import EngineSettings, open_models
from pellucid.serve.openai.server import Service
from pellucid.serve.openai.settings import ServiceSettings


# What may follow an unfinished character: one of these completes it, whatever it is.
ENDINGS = (b"A", b"\x80\x80\x80", b"\x90\x80\x80", b"\xa0\x80\x80")


@contextmanager
def service_of(*named: str, engines: EngineSettings | None = None, **others: Any) -> Iterator[Service]:
    """A service of models on a free port. It does not wait for running requests when it ends."""
    settings = others.pop("settings", None) or ServiceSettings(drain_seconds=0)
    with Service(open_models(named, engines or EngineSettings()), port=0, settings=settings, **others) as service:
        yield service


def named(run: Path, name: str = "tiny") -> str:
    return f"{name}={run}"


def post(service: Service, body: Any, path: str = "/v1/completions", **headers: str | None) -> Answer:
    if isinstance(body, dict) and path == "/v1/completions":
        body = {"model": service.models.first.id} | body
    return ask(service, path, method="POST", body=body, **headers)


def complete(service: Service, **body: Any) -> dict[str, Any]:
    """A completion, which must succeed."""
    answer = post(service, body)
    assert answer.status == 200, answer.body
    return dict(answer.json())


def events(answer: Answer) -> list[dict[str, Any]]:
    """The events of a stream, which must end with [DONE]."""
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"].startswith("text/event-stream")
    parts = answer.body.decode().split("\n\n")
    assert parts[-2:] == ["data: [DONE]", ""]
    return [json.loads(part.removeprefix("data: ")) for part in parts[:-2]]


def joined(chunks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The response that the events of a stream make together; checks what holds for every stream."""
    choices: dict[int, dict[str, Any]] = {}
    usage = None
    for chunk in chunks:
        assert (chunk["id"], chunk["created"]) == (chunks[0]["id"], chunks[0]["created"])
        usage = chunk.get("usage") or usage
        for part in chunk["choices"]:
            new = {"text": "", "index": part["index"], "logprobs": None, "finish_reason": None}
            whole = choices.setdefault(part["index"], new)
            assert whole["finish_reason"] is None, "a choice went on after its end"
            whole["text"] += part["text"]
            whole["finish_reason"] = part["finish_reason"]
            if part["logprobs"] is not None:
                whole["logprobs"] = whole["logprobs"] or {name: [] for name in part["logprobs"]}
                for name, values in part["logprobs"].items():
                    whole["logprobs"][name] += values
    assert all(choice["finish_reason"] for choice in choices.values())
    return {"choices": [choices[index] for index in sorted(choices)], "usage": usage}


@contextmanager
def open_stream(service: Service, body: dict[str, Any]) -> Iterator[http.client.HTTPResponse]:
    """A stream that has begun."""
    asked = {"model": service.models.first.id, "stream": True} | body
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)) as connection:
        connection.request("POST", "/v1/completions", json.dumps(asked), {"content-type": "application/json"})
        with connection.getresponse() as response:
            yield response


# The oracle: what the API promises, from a generator used alone.


def certain(data: bytes) -> str:
    """The characters that are complete in the beginning of some UTF-8, whatever follows. Half a surrogate is not yet wrong."""
    if len(data) > 1 and data[-2] == 0xED and 0xA0 <= data[-1] <= 0xBF:
        data = data[:-1]
    texts = [(data + ending).decode("utf-8", "replace") for ending in ENDINGS]
    texts[0] = texts[0][:-1]
    length = next((i for i, several in enumerate(zip(*texts, strict=False)) if len(set(several)) > 1), min(map(len, texts)))
    return texts[0][:length]


def name_of(generator: TextGenerator, token: int) -> str:
    data = generator.require_tokenizer().token_bytes(token)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(chr(byte) if 32 <= byte < 127 and byte != 92 else _escaped(byte) for byte in data)


def _escaped(byte: int) -> str:
    return {10: r"\n", 13: r"\r", 9: r"\t", 92: r"\\"}.get(byte, f"\\x{byte:02x}")


def prompt_ids(generator: TextGenerator, prompt: Any) -> list[list[int]]:
    """The token ids of a request's prompts."""
    if prompt is None or prompt == [] or isinstance(prompt, str) or isinstance(prompt[0], int):
        prompt = [prompt or ""]
    tokenizer = generator.require_tokenizer()
    ids = [tokenizer.encode(one, allow_special=True) if isinstance(one, str) else one for one in prompt]
    return [one or [tokenizer.eot] for one in ids]


OPTIONS = (
    "max_tokens", "temperature", "top_p", "stop", "presence_penalty", "frequency_penalty", "logit_bias", "seed", "top_k",
    "min_p", "repetition_penalty",
)  # fmt: skip


def expected(generator: TextGenerator, body: dict[str, Any]) -> dict[str, Any]:
    """What a request of a seed is answered with."""
    given = {name: value for name, value in body.items() if value is not None}
    options = {"max_tokens": 16, **{name: given[name] for name in OPTIONS if name in given}}
    if options.get("top_p") == 0:
        options |= {"top_p": None, "top_k": 1}
    options["logit_bias"] = {int(token): bias for token, bias in options.get("logit_bias", {}).items()}
    n, best_of, k = given.get("n", 1), given.get("best_of"), given.get("logprobs")
    choices: list[dict[str, Any]] = []
    drawn = 0
    prompts = prompt_ids(generator, body.get("prompt"))
    for ids in prompts:
        every = generator.generate([ids], n=best_of or n, logprobs=k, **options)
        drawn += sum(len(one.ids) for one in every)
        if best_of not in (None, n):
            every = sorted(every, key=lambda one: -one.mean_logprob)[:n]
        for one in every:
            choices.append(_choice(generator, ids, one, k, echo=given.get("echo", False), index=len(choices)))
    prompt_tokens = sum(map(len, prompts))
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": drawn, "total_tokens": prompt_tokens + drawn}
    return {"choices": choices, "usage": usage}


def _choice(
    generator: TextGenerator, ids: list[int], completion: Completion, k: int | None, *, echo: bool, index: int
) -> dict[str, Any]:
    tokenizer = generator.require_tokenizer()
    before = tokenizer.decode(ids)
    logprobs: dict[str, list[Any]] | None = None
    if k is not None:
        assert completion.top_logprobs is not None
        logprobs = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}

        def add(token: int, logprob: float | None, top: Any, offset: int) -> None:
            assert logprobs is not None
            found = {} if top is None else {name_of(generator, i): value for i, value in reversed(top)}
            if logprob is not None:
                found.setdefault(name_of(generator, token), logprob)
            for name, value in zip(logprobs, (name_of(generator, token), logprob, found or None, offset), strict=True):
                logprobs[name].append(value)

        if echo:
            score = generator.score(ids, logprobs=k)
            assert score.top_logprobs is not None
            for i, (token, logprob, top) in enumerate(zip(ids, score.logprobs, score.top_logprobs, strict=True)):
                add(token, logprob, top, len(certain(tokenizer.decode_bytes(ids[:i]))))
        rows = zip(completion.ids, completion.logprobs, completion.top_logprobs, strict=True)
        for i, (token, logprob, top) in enumerate(rows):
            complete_before = len(certain(tokenizer.decode_bytes(completion.ids[:i])))
            add(token, logprob, top, len(before) + min(complete_before, len(completion.text)))
    text = before + completion.text if echo else completion.text
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": completion.finish_reason}
