"""Completions over HTTP are those of a generator used alone: at once, streamed, batched, echoed, chosen among several."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from service import complete, events, expected, joined, named, post, service_of
from serving import ask

from pellucid.generation.text_generator import TextGenerator, open_text_generator
from pellucid.serve.openai.choices import TokenNames
from pellucid.serve.openai.fields import COMPLETION_FIELDS, CompletionField
from pellucid.serve.openai.server import Service


VOCABULARY, CONTEXT = 300, 64
TEXTS = ("", "the fox", "On day one", "naïve – “quoted” 😀", "a<|endoftext|>b", "the the the", "x" * 20, "\n\n", "狐狸")


@pytest.fixture(scope="module")
def service(tiny_run: Path) -> Iterator[Service]:
    with service_of(named(tiny_run)) as served:
        yield served


@pytest.fixture(scope="module")
def generator(tiny_run: Path) -> TextGenerator:
    return open_text_generator(tiny_run)


# Cases are generated over the table of fields.

PROMPT = st.one_of(
    st.none(), st.sampled_from(TEXTS), st.text(max_size=8), st.lists(st.sampled_from(TEXTS), max_size=3),
    st.lists(st.integers(0, VOCABULARY - 1), max_size=20),
    st.lists(st.lists(st.integers(0, VOCABULARY - 1), max_size=9), min_size=1, max_size=3),
)  # fmt: skip
STOPS = ("e", "th", "e ", " a", ".", "ab", "aab", "\ufffd", "zzz", "<|endoftext|>")
NARROWED = {"max_tokens": 24, "n": 3, "best_of": 4, "top_k": 300}  # of what takes long
NOT_GENERATED = ("model", "prompt", "suffix", "stream", "stream_options", "x_record", "seed")


def values_of(row: CompletionField) -> st.SearchStrategy[Any]:
    """Values of a field within its range, and null."""
    match row.type:
        case "integer":
            assert row.minimum is not None and row.maximum is not None
            found: Any = st.integers(int(row.minimum), int(min(row.maximum, NARROWED.get(row.name, 2**63 - 1))))
        case "number":
            found = st.floats(row.minimum, row.maximum) | st.sampled_from([row.minimum, row.maximum])
        case "boolean":
            found = st.booleans()
        case "texts":
            found = st.sampled_from(STOPS) | st.lists(st.sampled_from(STOPS), max_size=7)
        case "biases":
            found = st.dictionaries(st.integers(0, VOCABULARY - 1).map(str), st.floats(-100, 100), max_size=4)
        case _:
            found = st.text(max_size=5)
    return st.none() | found


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """A request that fits the model."""
    body: dict[str, Any] = {"prompt": draw(PROMPT), "seed": draw(st.integers(-(2**63), 2**63 - 1))}
    for row in COMPLETION_FIELDS:
        if row.name not in NOT_GENERATED and draw(st.booleans()):
            body[row.name] = draw(values_of(row))
    if body.get("best_of") is not None and body["best_of"] < (body.get("n") or 1):
        body["best_of"] = body.get("n") or 1
    return body


@cases(20)
@given(requests())
def test_an_answer_is_the_generators_at_once_and_streamed(
    service: Service, generator: TextGenerator, body: dict[str, Any]
) -> None:
    wanted = expected(generator, body)
    answer = complete(service, **body)
    assert (answer["object"], answer["model"]) == ("text_completion", "tiny")
    assert {name: answer[name] for name in wanted} == wanted
    if body.get("best_of") in (None, body.get("n") or 1):
        streamed = events(post(service, {**body, "stream": True, "stream_options": {"include_usage": True}}))
        assert streamed[-1]["choices"] == [] and all(chunk["usage"] is None for chunk in streamed[:-1])
        assert joined(streamed) == wanted


@cases(10)
@given(st.integers(0, 10_000), st.integers(0, 40), st.integers(2, 5), st.booleans())
def test_a_stop_string_that_spans_tokens_is_cut_and_the_offsets_stay_at_the_end(
    service: Service, generator: TextGenerator, seed: int, at: int, length: int, echo: bool
) -> None:
    """Stop strings are taken from what would be written: every case is stopped by one, or held back by its beginning."""
    body: dict[str, Any] = {"prompt": "the fox", "seed": seed, "max_tokens": 30, "logprobs": 1, "echo": echo}
    text = generator.generate("the fox", max_tokens=30, seed=seed).text
    body["stop"] = [text[at % max(1, len(text)) :][:length] or "x", text[-2:] + "\0"]
    wanted = expected(generator, body)
    assert complete(service, **body)["choices"] == wanted["choices"]
    assert joined(events(post(service, {**body, "stream": True})))["choices"] == wanted["choices"]


def test_of_two_tokens_of_one_name_the_likelier_is_listed() -> None:
    class Twice:
        def token_bytes(self, token: int) -> bytes:
            return b"" if token > 1 else b"a"

    names = TokenNames(Twice())  # type: ignore[arg-type]
    assert names.top(1, -3.0, ((0, -1.0), (1, -3.0), (2, -4.0), (3, -5.0))) == {"a": -1.0, "": -4.0}


def test_text_and_its_ids_get_the_same_answer_and_a_batch_gets_those_of_its_prompts(service: Service) -> None:
    texts = ["the fox", "On day", "naïve"]
    ids = [ask(service, "/tokenize", method="POST", body={"prompt": text}).json()["tokens"] for text in texts]
    common: dict[str, Any] = {"seed": 3, "logprobs": 2, "echo": True, "n": 2}
    alone = [choice for text in texts for choice in complete(service, prompt=text, **common)["choices"]]
    for batch in (texts, ids):
        choices = complete(service, prompt=batch, **common)["choices"]
        assert [choice["index"] for choice in choices] == list(range(6))
        assert [{**choice, "index": 0} for choice in choices] == [{**choice, "index": 0} for choice in alone]
    first, second = (choice["text"] for choice in alone[:2])
    assert first != second  # of two choices of one prompt


def test_without_a_seed_every_choice_is_another_and_with_temperature_0_all_are_the_same(service: Service) -> None:
    drawn = [choice["text"] for choice in complete(service, prompt=["the"] * 3, n=2, temperature=2)["choices"]]
    assert len(set(drawn)) == 6
    likeliest = [choice["text"] for choice in complete(service, prompt=["the"] * 3, n=2, temperature=0)["choices"]]
    assert len(set(likeliest)) == 1


def test_the_fields_of_a_stream_stay_out_where_they_are_not_asked_for(service: Service) -> None:
    chunks = events(post(service, {"prompt": "the", "stream": True, "max_tokens": 3}))
    assert all("usage" not in chunk and chunk["choices"][0]["logprobs"] is None for chunk in chunks)
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] == "length"
    assert chunks[-1]["choices"][0]["text"] == ""


def test_other_paths_name_the_model(service: Service) -> None:
    body = {"prompt": "the", "seed": 1}
    wanted = complete(service, **body)["choices"]
    for path in ("/v1/engines/tiny/completions", "/openai/deployments/tiny/completions?api-version=2023-05-15"):
        assert post(service, body, path).json()["choices"] == wanted
    assert post(service, body, "/v1/engines/none/completions").status == 404


def test_a_model_without_a_tokenizer_answers_with_ids_and_refuses_text(tiny_run: Path, tmp_path: Path) -> None:
    import shutil

    for name in ("config.json", "model.safetensors"):
        shutil.copy(tiny_run / "model" / name, tmp_path)
    with service_of(f"org/bare={tmp_path}") as bare:
        choice = complete(bare, prompt=[1, 2, 3], max_tokens=2, logprobs=1, seed=1)["choices"][0]
        assert choice["text"] == "" and all(name.startswith("token_id:") for name in choice["logprobs"]["tokens"])
        for body in ({"prompt": "text"}, {"prompt": [1], "stop": "x"}):
            assert post(bare, body).status == 400
        assert ask(bare, "/v1/models/org%2Fbare").json()["id"] == "org/bare"
        assert post(bare, {"prompt": [1]}, "/v1/engines/org%2Fbare/completions").status == 200
        assert ask(bare, "/tokenizer_info").status == 400


def test_a_recorded_completion_opens_in_the_studio(tiny_run: Path, tmp_path: Path) -> None:
    with service_of(named(tiny_run), data=tmp_path / "data") as served:
        answer = complete(served, prompt="the fox", seed=3, max_tokens=6, x_record=True)
        found = answer["x_record"]
        assert found["same_text"] and found["page"] == f"/#/record/{found['id']}"
        file = ask(served, found["url"]).body
        assert len(file) == found["bytes"] and [path.read_bytes() for path in tmp_path.rglob("*.pellucid")] == [file]
        listed = ask(served, "/api/sources").json()
        assert found["id"] in [record["id"] for record in listed["records"]]
        assert ask(served, "/").headers["content-type"].startswith("text/html")
        assert post(served, {"prompt": "the", "x_record": True, "max_tokens": 0}).status == 400
        assert post(served, {"prompt": ["a", "b"], "x_record": True}).status == 400
    with service_of(named(tiny_run), data=tmp_path / "data") as again:
        ids = [record["id"] for record in ask(again, "/api/sources").json()["records"]]
        assert file in [ask(again, f"/records/{name}").body for name in ids]  # it is there after a new start
