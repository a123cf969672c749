"""cli/: columns of a terminal with wide characters."""

import io
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.cells import cell_len
from rich.console import Console

from pellucid.cli.display import end_of_prompt
from pellucid.cli.reports import print_answers
from pellucid.cli.token_lines import print_tokens
from pellucid.engine.completion import Token
from pellucid.finetuning.answers import AnsweredExample
from pellucid.text.graphemes import columns


PIECES = ["·a", "从前有一个国王，他有", "中", " 👩‍👩‍👧", "🇩🇪", "नमस्ते", "कान", "\u0301", "\x1b", "a very long piece of text"]


def lines_of(write: Any, width: int = 100) -> list[str]:
    out = io.StringIO()
    write(Console(file=out, width=width, highlight=False))
    return out.getvalue().splitlines()


def test_probabilities_stand_in_one_column_whatever_the_token() -> None:
    texts = [text.encode() for text in PIECES]
    tokenizer = SimpleNamespace(token_bytes=lambda token: texts[token])
    model = cast(Any, SimpleNamespace(require_tokenizer=lambda: tokenizer))
    tokens = [
        Token(id=i, text=text.decode(), piece=text, logprob=-0.7, top_logprobs=((0, -1.0),), position=i)
        for i, text in enumerate(texts)
    ]
    _, *lines = lines_of(lambda console: print_tokens(model, tokens, console))
    assert len(lines) == len(PIECES)
    assert {cell_len(line[: line.index("49.7%")]) for line in lines} == {17}


def test_tables_keep_their_columns() -> None:
    rows = [AnsweredExample(prompt=text, expected=text, before="BEFORE", after="после") for text in PIECES[:5]]
    run = cast(Any, SimpleNamespace(answers=None))
    heading, *lines = lines_of(lambda console: print_answers(console, rows, run))
    assert {cell_len(line[: line.index("BEFORE")]) for line in lines} == {heading.index("before")}


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_narrow_table_of_answers_keeps_its_verdicts(width: int) -> None:
    rows = [AnsweredExample(prompt=text, expected=text, before=8 * text, after=text + " x") for text in PIECES[:5]]
    run = cast(Any, SimpleNamespace(answers=None))
    _, *lines = lines_of(lambda console: print_answers(console, rows, run), width)
    assert len(lines) == len(rows) and all(line.rstrip().endswith(" wrong") and cell_len(line) <= width for line in lines)


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        ("Once upon", "Once upon"),
        ("Once upon a time there was a king", "… there was a king"),
        ("从前有一个国王他有三个儿子", "… 个国王他有三个儿子"),
        ("a\nb", "a b"),
    ],
)
def test_the_prompt_of_a_sample_leaves_room_for_what_the_model_writes(prompt: str, shown: str) -> None:
    assert end_of_prompt(prompt, 20) == shown
    assert columns(end_of_prompt(prompt, 20)) <= 20
