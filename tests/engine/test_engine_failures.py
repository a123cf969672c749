"""Every way of asking meets a model that fails at the first token, in the middle, or at the last: it raises the error, once."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from models import lively

import pellucid
from pellucid.cli import generate, main
from pellucid.cli import parser as make_parser
from pellucid.engine.driver import EngineDriver
from pellucid.engine.options import REQUEST_OPTIONS, SAMPLING_OPTIONS
from pellucid.engine.speculation import MAX_FAILURES
from pellucid.generation.mixin import GenerationMixin
from pellucid.generation.text_generator import TextGenerator
from pellucid.serve.studio.generation import CompletionService
from pellucid.text.bytes_to_characters import BYTE_ORDER
from pellucid.text.tokenizer import Tokenizer


TOKENS = 6  # asked for
PLACES = {"first": 0, "middle": 3, "last": TOKENS - 1}  # of them, the one whose logits fail
PROMPT = "abab"
TOKENIZER = Tokenizer([bytes([b]) for b in BYTE_ORDER] + [b"ab", b"cd"])
NEVER_ENDS = {TOKENIZER.eot: -100.0}
OPTIONS: dict[str, Any] = {"max_tokens": TOKENS, "seed": 1, "logit_bias": NEVER_ENDS}
SAYS = {"not a number": "not a number", "raises": "no such instruction"}


def healthy() -> pellucid.GPT:
    config = pellucid.GPTConfig(vocab_size=TOKENIZER.vocab_size, n_ctx=64, n_layers=1, d_model=24, n_heads=3)
    return lively(pellucid.GPT(config, tokenizer=TOKENIZER, seed=3))


def failing(kind: str, position: int) -> pellucid.GPT:
    """A model that computes nothing at this position and later: its logits there are NaN, or reading there raises."""
    model = healthy()
    if kind == "not a number":
        with torch.no_grad():
            model.wpe.weight[position:] = torch.nan
        return model

    def raises(module: Any, args: tuple[torch.Tensor, ...]) -> None:
        if int(args[0].max()) >= position:
            raise RuntimeError("no such\ninstruction")

    model.wpe.register_forward_pre_hook(raises)
    return model


@pytest.fixture(params=list(SAYS))
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "raises":
        monkeypatch.setenv("PELLUCID_KERNEL", "off")  # the hook is PyTorch's
    return str(request.param)


def fails(kind: str) -> Any:
    error = pellucid.PellucidError if kind == "not a number" else RuntimeError
    return pytest.raises(error, match=SAYS[kind].replace(" ", r"\s"))


# In Python.


def by_engine(model: pellucid.GPT) -> Any:
    engine = model.engine()
    group = engine.submit(model.new_request(PROMPT, n=2, **OPTIONS))
    for _ in engine.run_until_idle():
        pass
    assert engine.stats.running == 0
    return group.completions()


def by_driver(model: pellucid.GPT, how: str) -> Any:
    with EngineDriver(model.engine()) as driver:
        if how == "stream":
            return list(driver.stream(model.new_request(PROMPT, **OPTIONS)))
        if how == "completions":
            return driver.submit(model.new_request(PROMPT, **OPTIONS)).completions(timeout=60)

        async def tokens() -> list[Any]:
            return [token async for token in driver.astream(model.new_request(PROMPT, **OPTIONS))]

        return asyncio.run(tokens())


def by_run(model: pellucid.GPT, sequences: list[Any]) -> list[Any]:
    return list(model.run(sequences))


def scored(model: pellucid.GPT, **others: Any) -> Any:
    written = healthy().generate(PROMPT, **OPTIONS)
    if "completion" in others:
        return model.score(PROMPT, completion=[*written.ids, 1])
    return model.score([[1, 2], written.prompt_ids + written.ids + [1]], **others)  # another text is scored with it


# By the method that is asked, each way of asking it.
ASKED: dict[str, dict[str, Callable[[pellucid.GPT], Any]]] = {
    "generate": {
        "one": lambda m: m.generate(PROMPT, **OPTIONS),
        "several prompts": lambda m: m.generate(["a", PROMPT, "abababab"], **OPTIONS),
        "several completions": lambda m: m.generate(PROMPT, n=2, **OPTIONS),
        "the best": lambda m: m.generate(PROMPT, best_of=2, **OPTIONS),
        "lookup": lambda m: m.generate(PROMPT, draft="lookup", **OPTIONS),
        "draft model": lambda m: m.generate(PROMPT, draft=healthy(), **OPTIONS),
        "slide": lambda m: m.generate(PROMPT, slide=True, **OPTIONS),
        "logprobs": lambda m: m.generate(PROMPT, logprobs=2, **OPTIONS),
        "greedy": lambda m: m.generate(PROMPT, temperature=0, **OPTIONS),
    },
    "stream": {
        "one": lambda m: list(m.stream(PROMPT, **OPTIONS)),
        "lookup": lambda m: list(m.stream(PROMPT, draft="lookup", **OPTIONS)),
    },
    "score": {
        "texts": lambda m: scored(m),
        "likeliest": lambda m: scored(m, logprobs=2),
        "completion": lambda m: scored(m, completion=True),
    },
    "beam": {"two": lambda m: m.beam(PROMPT, width=2, max_tokens=TOKENS)},
    "run": {
        "new_sequence": lambda m: by_run(m, [m.new_sequence(PROMPT, **OPTIONS)]),
        "new_group": lambda m: by_run(m, m.new_group(m.new_request(PROMPT, n=2, **OPTIONS)).sequences),
    },
    "engine": {
        "steps": by_engine,
        "stream": lambda m: by_driver(m, "stream"),
        "astream": lambda m: by_driver(m, "astream"),
        "completions": lambda m: by_driver(m, "completions"),
    },
    "xray": {"xray": lambda m: pellucid.xray(m, PROMPT, **OPTIONS)},
}
NOT_ASKING = {
    "copy", "drafter", "make_runner", "new_group", "new_request", "new_sequence", "require_tokenizer", "requires_grad_",
    "restore", "runner", "save",
}  # fmt: skip


def position_of(place: str, prompt: str = PROMPT) -> int:
    return len(TOKENIZER.encode(prompt)) - 1 + PLACES[place]


def test_every_public_method_is_asked_or_computes_nothing() -> None:
    own = {name for of in (GenerationMixin, pellucid.GPT) for name, value in vars(of).items() if callable(value)}
    assert {name for name in own if not name.startswith("_")} == (set(ASKED) - {"xray"}) | NOT_ASKING


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("method", "way"), [(method, way) for method, ways in ASKED.items() for way in ways])
def test_every_way_of_asking_raises(kind: str, method: str, way: str, place: str) -> None:
    with fails(kind):
        ASKED[method][way](failing(kind, position_of(place)))


@pytest.mark.parametrize("place", PLACES)
def test_a_stream_gives_what_was_drawn_before_and_raises_once(kind: str, place: str) -> None:
    expected = healthy().generate(PROMPT, **OPTIONS).ids[: PLACES[place]]
    for draft in (None, "lookup"):
        stream: Iterator[Any] = failing(kind, position_of(place)).stream(PROMPT, draft=draft, **OPTIONS)
        given = []
        with fails(kind):
            for token in stream:
                given.append(token.id)
        assert given == expected if draft is None or kind == "not a number" else given == expected[: len(given)]
        assert list(stream) == []
    model = failing(kind, position_of(place))
    if PLACES[place]:
        assert model.generate(PROMPT, **OPTIONS | {"max_tokens": PLACES[place]}).ids == expected  # nothing beyond was read


@pytest.mark.parametrize("place", PLACES)
def test_a_draft_model_that_fails_changes_no_answer(kind: str, place: str) -> None:
    model, draft = healthy(), failing(kind, position_of(place))
    drafter = model.drafter(draft)
    assert drafter is not None
    right = model.generate(PROMPT, **OPTIONS).ids
    assert model.generate(PROMPT, draft=drafter, **OPTIONS).ids == right
    assert [token.id for token in model.stream(PROMPT, draft=drafter, **OPTIONS)] == right
    assert [c.ids for c in model.generate([PROMPT] * 7, draft=drafter, **OPTIONS)] == [right] * 7
    assert drafter.failures >= (1 if place != "last" else 0)


def test_a_draft_model_that_always_fails_is_soon_left_alone(kind: str) -> None:
    model = healthy()
    drafter = model.drafter(failing(kind, 0))
    assert drafter is not None
    prompts = [chr(97 + i) for i in range(20)]
    right = [c.ids for c in model.generate(prompts, **OPTIONS)]
    assert [c.ids for c in model.generate(prompts, draft=drafter, **OPTIONS)] == right
    assert drafter.failures == MAX_FAILURES and drafter.given_up()


# On the command line.

MODES: dict[str, tuple[str, ...]] = {
    "text": (), "--tokens": ("--tokens",), "--json": ("--json",), "--n": ("--n", "2"), "--best-of": ("--best-of", "2"),
    "--draft": ("--draft", "lookup"), "--slide": ("--slide",), "--verbose": ("-v",),
    "--logprobs": ("--json", "--logprobs", "2"),
    "--beam": ("--beam", "2"), "--score": ("--score",), "--score --json": ("--score", "--json"),
    "--task": ("--task", "Do"), "--example": ("--example", "a => b", "--format", "equals"),
}  # fmt: skip
# `--examples` gives from a file what `--example` gives.
NO_MODE = {
    "--help", "--ablate", "--ablate-with", "--model", "--kernel", "--weights", "--length-penalty", "--format", "--examples",
    "--shots",
}  # fmt: skip


def test_every_flag_of_generate_is_a_mode_or_a_number_of_the_draw() -> None:
    generate_parser = make_parser("generate")._subparsers._group_actions[0].choices["generate"]  # type: ignore
    flags = {max(action.option_strings, key=len) for action in generate_parser._actions if action.option_strings}
    drawing = {option.flag for option in (*SAMPLING_OPTIONS, *REQUEST_OPTIONS)}
    assert {flag for flag in flags if flag not in drawing} == {f for f in MODES if f.startswith("--") and " " not in f} - (
        drawing
    ) | NO_MODE


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_the_command_exits_1_with_one_line(
    kind: str, mode: str, place: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = {"--task": "Do\nabab =>", "--example": "a = b\nabab ="}.get(mode, PROMPT)
    given = PROMPT
    flags = ["--max-tokens", str(TOKENS)]
    if "score" in mode:
        given, flags = "abababababababababab", []
    elif mode != "--beam":
        flags += ["--seed", "1", "--logit-bias", f"{TOKENIZER.eot}=-100"]
    model = failing(kind, position_of(place, read))
    # No file holds such weights: reading it refuses them.
    monkeypatch.setattr(generate, "_open_model", lambda chosen: TextGenerator(model.make_runner(), model.tokenizer))
    assert main(["generate", given, *flags, *MODES[mode]]) == 1
    out, err = capfd.readouterr()
    assert [line for line in err.splitlines() if SAYS[kind] in line] == [err.splitlines()[-1]]
    assert err.splitlines()[-1].startswith("pellucid: ") and "Traceback" not in err
    if mode == "text":
        drawn = healthy().generate(PROMPT, **OPTIONS).ids[: PLACES[place]]
        assert out == (PROMPT + TOKENIZER.decode(drawn)).rstrip("\ufffd") + "\n"  # half a character is not printed
    if "json" in mode:
        assert out == ""


@pytest.mark.parametrize("place", PLACES)
def test_the_command_xray_and_the_studio_say_it_too(
    kind: str, place: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    model = failing(kind, position_of(place))
    monkeypatch.setattr("pellucid.generation.load.load", lambda source: model)
    bias = f"{TOKENIZER.eot}=-100"
    out = tmp_path / "a.pellucid"
    assert main(["xray", PROMPT, "--max-tokens", str(TOKENS), "--seed", "1", "--logit-bias", bias, "--out", str(out)]) == 1
    err = capfd.readouterr().err
    assert err.startswith("pellucid: ") and len(err.splitlines()) == 1 and SAYS[kind] in err and not out.exists()

    class Catalog:
        def model(self, name: str) -> tuple[str, str]:
            return name, name

        def keep(self, data: bytes, title: str) -> str:
            raise AssertionError("nothing is kept of an answer that failed")

    async def asked(record: bool) -> list[dict[str, Any]]:
        service = CompletionService(Catalog())  # type: ignore[arg-type]
        body = {"prompt": PROMPT, "record": record, **OPTIONS, "logit_bias": {str(TOKENIZER.eot): -100}, "seed": "1"}
        try:
            stream = await service.start(json.dumps(body).encode())
            return [json.loads(line.split(b"data: ")[1]) | {"event": line.split()[1].decode()} async for line in stream]
        finally:
            await asyncio.to_thread(service.close)

    for record in (False, True) if kind == "not a number" else (False,):
        events = asyncio.run(asked(record))
        assert [event["event"] for event in events] == ["begin", *["token"] * PLACES[place], "error"]
        assert SAYS[kind] in " ".join(events[-1]["error"].split())
