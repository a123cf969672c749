"""Primed prompts: the paper's and the article's formats, and what is refused."""

import pytest

import pellucid
from pellucid.errors import PellucidError
from pellucid.generate.prompt import FORMATS, Prompt


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
