"""Priming in the page: the prompts, tokens and probabilities that Python gives, number for number."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from models import lively
from page_model import page_session
from tokenizer_directories import STORY

import pellucid
from pellucid.errors import PellucidError
from pellucid.generation.prompt import FORMATS, Prompt
from pellucid.generation.text_generator import TextGenerator, open_text_generator
from pellucid.gpt.pattern import Banded, Dense
from pellucid.interpret.priming import tokens_of
from pellucid.serve.model_page.page_model import embedded_model
from pellucid.text import train_tokenizer


pytestmark = pytest.mark.long


WORDS = ["the", "fox", "hare", "ran", "one", "two", "\u00fcber", "\u4e2d\u6587", "\U0001f98a", "12", "it's", "=>", "=", "Q:"]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Callable[[Any], Any], TextGenerator]]:
    folder = tmp_path_factory.mktemp("priming")
    config = pellucid.GPTConfig(vocab_size=289, n_ctx=120, n_layers=2, d_model=24, n_heads=3, pattern=(Banded(5), Dense()))
    lively(pellucid.GPT(config, seed=3, tokenizer=train_tokenizer([STORY], 289))).save(folder / "model")
    with page_session(folder, embedded_model(folder / "model")) as ask:
        yield lambda request: ask({"call": "prime", "args": [request]}), open_text_generator(folder / "model")


def question(prompt: Prompt, answer: str, shots: list[int]) -> dict[str, Any]:
    stated = {"task": prompt.task, "query": prompt.query, "answer": answer, "format": prompt.format}
    return {"prompt": {**stated, "examples": [list(pair) for pair in prompt.examples]}, "shots": shots}


def expected(model: TextGenerator, prompt: Prompt, answer: str, count: int) -> dict[str, Any]:
    one = prompt.shots(count)
    ids, start = one.answered(model, answer)
    likeliest = model.generate(ids[:start], max_tokens=len(ids) - start, temperature=0)
    assert model.tokenizer is not None
    return {
        "shots": count, "text": one.text, "tokens": start, "logprobs": model.score(ids).logprobs[start:],
        "likeliest": model.tokenizer.decode(likeliest.ids),
    }  # fmt: skip


def test_probabilities_and_answers_are_those_of_python(asked: tuple[Callable[[Any], Any], TextGenerator]) -> None:
    ask, model = asked
    random, refused = Random(0), 0

    def words(most: int) -> str:
        return " ".join(random.choices(WORDS, k=random.randint(1, most)))

    for name in [*FORMATS] * 3:
        prompt = Prompt(random.choice(["", words(3)]), [(words(2), words(2)) for _ in range(3)], words(2), name)
        answer, shots = words(3), sorted(random.sample(range(4), 2))
        found = ask(question(prompt, answer, shots))
        try:
            record = tokens_of(prompt, answer, shots, model.require_tokenizer())
            assert all(len(one.ids) + len(record.answer) - 1 <= model.config.n_ctx for one in record.prompts)
        except (PellucidError, AssertionError):
            refused += 1
            assert "error" in found
            continue
        assert found == [expected(model, prompt, answer, count) for count in shots]
    assert refused < 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"query": " "}, "must be text"), ({"answer": "two\nthree"}, "ends an answer"), ({"format": "xml"}, "no format xml"),
        ({"format": "constructor"}, "no format constructor"),
        ({"examples": [["a", "b"]]}, "there are 1 examples, not 2"), ({"query": "\ud83d"}, "half a character"),
        ({"query": "fox " * 200}, "with 0 examples the prompt has"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_said(
    asked: tuple[Callable[[Any], Any], TextGenerator], changes: dict[str, Any], words: str
) -> None:
    request = question(Prompt("", [("one", "two"), ("two", "three")], "three"), "four", [0, 2])
    assert words in asked[0]({**request, "prompt": request["prompt"] | changes})["error"]
