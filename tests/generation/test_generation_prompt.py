"""Primed prompts: the paper's and the article's formats, and what is refused."""

import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

import pellucid
from pellucid.errors import PellucidError
from pellucid.generation.mixin import GenerationMixin
from pellucid.generation.prompt import FORMATS, Prompt


def test_arrow_is_figure_2_1_of_the_paper():
    prompt = pellucid.Prompt(
        "Translate English to French:",
        [("sea otter", "loutre de mer"), ("peppermint", "menthe poivrée"), ("plush girafe", "girafe peluche")],
        "cheese",
    )
    assert prompt.text == (
        "Translate English to French:\nsea otter => loutre de mer\npeppermint => menthe poivrée\n"
        "plush girafe => girafe peluche\ncheese =>"
    )
    assert prompt.stop == "\n"


def test_questions_and_code_have_blank_lines_between():
    question = Prompt("", [("What is 48 plus 76?", "124")], "What is 2 plus 2?", "qa")
    assert question.text == "Q: What is 48 plus 76?\nA: 124\n\nQ: What is 2 plus 2?\nA:"
    code = Prompt("", [("a red button that says stop", "<button>Stop</button>")], "a blue box", format="code")
    assert code.text == (
        "description: a red button that says stop\ncode: <button>Stop</button>\n\ndescription: a blue box\ncode:"
    )
    assert question.stop == code.stop == "\n\n"


def test_equals_and_zero_shot():
    assert Prompt("", [("two", "deux")], "three", "equals").text == "two = deux\nthree ="
    assert Prompt("Count.", (), "three", "equals").text == "Count.\nthree ="


@pytest.mark.parametrize("name", FORMATS)
def test_one_shot_answer_would_be_read_back(name):
    """A model that goes on as the examples do writes " answer", then the stop string."""
    shown = Prompt("task", [("given", "answer"), ("query", "reply")], "next", name).text
    asked = Prompt("task", [("given", "answer")], "query", name)
    assert shown.startswith(asked.text + " reply" + asked.stop)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("t", [], "q", "xml"), "unknown prompt format 'xml': use one of arrow, equals, qa, code"),
        (("t", [], "  "), "not empty"),
        (("t", [("a", "")], "q"), "not empty"),
        (("t", [("a", 3)], "q"), "must be text"),
        (("t", [("a", "b", "c")], "q"), "pair"),
        (("t", [("a", "b\nc")], "q"), "ends an answer in the format 'arrow'"),
        (("t", [("a\n\nb", "c")], "q", "qa"), "choose another format"),
    ],
)
def test_what_cannot_be_read_back_is_refused(arguments, message):
    with pytest.raises(PellucidError, match=message):
        Prompt(*arguments)


@pytest.fixture(scope="module")
def model(tiny_run):
    return pellucid.load(tiny_run)  # 64 positions


WORDS = st.text("abc de", min_size=1, max_size=6).filter(str.strip)


@cases(30)
@given(st.lists(st.tuples(WORDS, WORDS), max_size=9), WORDS, st.sampled_from(sorted(FORMATS)), st.integers(0, 40))
def test_as_many_examples_as_fit_and_no_more(model, examples, query, name, max_tokens):
    def needs(count):
        return len(model.tokenizer.encode_prompt(Prompt("Do:", examples[:count], query, name).text))

    room = min(64, 65 - max_tokens)
    fits = [count for count in range(len(examples) + 1) if needs(count) <= room]
    if not fits:
        with pytest.raises(PellucidError, match=f"task and query alone are {needs(0)} tokens.*has room for {room}"):
            Prompt("Do:", examples, query, name).fitted(model, max_tokens=max_tokens)
        return
    fitted = Prompt("Do:", examples, query, name).fitted(model, max_tokens=max_tokens)
    assert fitted.examples == tuple(examples[: max(fits)]) and fitted.dropped == tuple(examples[max(fits) :])
    assert (fitted.task, fitted.query, fitted.format) == ("Do:", query, name)
    assert fitted.fitted(model, max_tokens=max_tokens) == fitted
    answer = model.generate(fitted.text, max_tokens=max_tokens, seed=1, stop=fitted.stop)  # it does fit
    assert len(answer.prompt_ids) == needs(max(fits))


@cases(40)
@given(WORDS, WORDS, st.sampled_from(sorted(FORMATS)))
def test_an_answer_is_read_with_its_prompt_as_one_text(model, query, answer, name):
    prompt = Prompt("", [], query, name)
    ids, start = prompt.answered(model, answer)
    assert ids == model.tokenizer.encode_prompt(f"{prompt.text} {answer}")
    said = model.tokenizer.decode(ids[start:])
    assert said == f" {answer}", "a space begins a token, so no token reaches across"
    if len(ids) <= 65:
        with torch.inference_mode():
            whole = model(torch.tensor([ids[:-1]]))[0].log_softmax(-1)
        expected = sum(float(whole[place - 1, ids[place]]) for place in range(start, len(ids)))
        assert sum(model.score(ids).logprobs[start:]) == pytest.approx(expected, abs=1e-3)


def test_a_token_that_reaches_across_counts_as_the_answers():
    class Across:
        """Splits nowhere but before "=>"."""

        def encode_prompt(self, text):
            return [hash(part) for part in text.partition("=>") if part] if text.endswith("x") else [hash(text)]

    class Model(GenerationMixin):
        def __init__(self):
            pass

        def require_tokenizer(self):
            return Across()

    ids, start = Prompt("", [], "query").answered(Model(), "x")
    assert len(ids) == 3 and start == 0
    with pytest.raises(PellucidError, match="an answer must be text"):
        Prompt("", [], "query").answered(Model(), " ")
