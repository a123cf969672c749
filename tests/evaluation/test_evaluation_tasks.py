"""The paper's tasks by their rules, recomputed from the text of each query; tasks from files; what is refused."""

import json
import re
from pathlib import Path

import pytest

from pellucid.errors import PellucidError
from pellucid.evaluation import arithmetic, families, published, react, words
from pellucid.evaluation.catalog import GROUPS, NAMES, find_tasks
from pellucid.evaluation.shots import draw_examples
from pellucid.evaluation.task import Query, Task
from pellucid.evaluation.task_file import read_task


SIGNS = {"plus": "+", "minus": "-", "times": "*"}


@pytest.mark.parametrize("name", arithmetic.NAMES)
def test_arithmetic_is_right_and_within_its_range(name: str) -> None:
    task = arithmetic.arithmetic_task(name, seed=3)
    assert (len(task.queries), len(task.examples), task.format) == (2_000, 1_000, "qa")
    operands, signs = [], set()
    for query in (*task.queries, *task.examples):
        if name == arithmetic.THREE_OPS:
            found = re.fullmatch(r"What is \((\d) ([-+*]) (\d)\) ([-+*]) (\d)\?", query.prompt)
            assert found is not None
            a, first, b, second, c = found.groups()
            by_sign = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}
            assert query.answers == (str(by_sign[second](by_sign[first](int(a), int(b)), int(c))),)
            operands += [int(a), int(b), int(c)]
            signs |= {first, second}
        else:
            found = re.fullmatch(r"What is (\d+) (plus|minus|times) (\d+)\?", query.prompt)
            assert found is not None
            a, word, b = found.groups()
            expected = {"plus": int(a) + int(b), "minus": int(a) - int(b), "times": int(a) * int(b)}[word]
            assert query.answers == (str(expected),)
            operands += [int(a), int(b)]
            signs.add(SIGNS[word])
    digits = 1 if name == arithmetic.THREE_OPS else ("one", "two", "three", "four", "five").index(name.split("_")[0]) + 1
    assert min(operands) < 0.01 * 10**digits or digits == 1
    assert 0.99 * 10**digits - 1 <= max(operands) < 10**digits
    assert abs(sum(operands) / len(operands) / (10**digits - 1) - 0.5) < 0.02  # uniform
    assert len(signs) == (3 if digits == 1 else 1)
    if digits == 1:
        assert arithmetic.arithmetic_task(name, seed=3) == task != arithmetic.arithmetic_task(name, seed=4)


@pytest.mark.parametrize("name", words.NAMES)
def test_words_are_scrambled_by_their_rule(name: str) -> None:
    task = words.word_task(name)
    known = set(words.frequent_words())
    inserted: dict[str, int] = {}
    seen = set()
    for query in (*task.queries, *task.examples):
        (word,) = query.answers
        shown = query.prompt
        assert word in known and 5 <= len(word) <= 14 and shown != word
        seen.add(word)
        if name == "reversed_words":
            assert shown == word[::-1]
        elif name == "cycle_letters_in_word":
            assert len(shown) == len(word) and shown in word + word
        elif name == "random_insertion_in_word":
            assert shown[::2] == word
            for mark in shown[1::2]:
                inserted[mark] = inserted.get(mark, 0) + 1
        else:
            kept = 1 if name == "mid_word_1_anagrams" else 2
            assert (shown[:kept], shown[-kept:]) == (word[:kept], word[-kept:]) and sorted(shown) == sorted(word)
    assert len(seen) == len(task.queries) + len(task.examples)  # a word once
    if inserted:
        assert set(inserted) == set(" ./!") and max(inserted.values()) < 1.1 * min(inserted.values())
    assert task.prompt(task.examples[:1], task.queries[0]).text == (
        f"{words.DESCRIPTION}\n{task.examples[0].prompt} = {task.examples[0].answers[0]}\n{task.queries[0].prompt} ="
    )
    if name == "reversed_words":
        assert words.word_task(name, seed=1).queries[:50] != task.queries[:50]


def test_words_that_have_no_other_order_stay() -> None:
    assert words.scramble("mid_word_2_anagrams", "ababb", 5) == "ababb"
    assert words.scramble("cycle_letters_in_word", "aaaaa", 5) == "aaaaa"


def test_tasks_are_found_by_name_and_group() -> None:
    assert [task.name for task in find_tasks("arithmetic, words")] == [*arithmetic.NAMES, *words.NAMES]
    assert {*published.ARITHMETIC, *published.WORDS} | {*families.NAMES, react.NAME} == set(NAMES)
    assert [len(GROUPS[name]) for name in ("arithmetic", "words")] == [10, 5]
    assert published.curve("two_digit_addition") == [(0, 0.769), (1, 0.996), (50, 1.0)] and published.curve("mine") == []
    own = Task(name="mine", queries=[Query(prompt="a", answers=("b",))])
    assert find_tasks([own, "reversed_words"])[0] is own
    for given, said in (
        ("sums", "no task is called 'sums'"), ([], "name at least one task"), (3, "not 3"), ("none.jsonl", "no such file"),
        ("reversed_words,reversed_words", "two tasks are called"), ("none.txt", "no such file"),
    ):  # fmt: skip
        with pytest.raises(PellucidError, match=said):
            find_tasks(given)


def write(folder: Path, *lines: object) -> Path:
    path = folder / "own.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return path


def test_a_file_states_a_task(tmp_path: Path) -> None:
    path = write(
        tmp_path, {"task": "Capital:", "format": "qa", "max_tokens": 5, "answer_context": "A:"},
        {"prompt": "France", "completion": " Paris"}, "", {"prompt": "UK", "completion": ["London", "the City"]},
        {"prompt": "Italy", "completion": "Rome", "example": True},
    )  # fmt: skip
    paris, london = (Query(prompt="France", answers=("Paris",)), Query(prompt="UK", answers=("London", "the City")))
    assert read_task(path) == Task(
        name="own", queries=[paris, london], examples=[Query(prompt="Italy", answers=("Rome",))], description="Capital:",
        format="qa", max_tokens=5, answer_context="A:",
    )  # fmt: skip
    classes = write(
        tmp_path, {"choices": ["True", "False"]}, {"prompt": "1 < 2", "completion": "True"},
        {"prompt": "2 < 1", "completion": "False"}, {"prompt": "x", "completion": "y", "choices": ["y", "z"]},
    )  # fmt: skip
    assert [query.choices for query in read_task(classes).queries] == [("True", "False"), ("True", "False"), ("y", "z")]
    plain = write(tmp_path, {"prompt": "1 =>", "completion": " one"})
    assert (read_task(plain).format, read_task(plain).prompt([], read_task(plain).queries[0]).text) == ("plain", "1 =>")


def test_queries_may_bring_their_examples(tmp_path: Path) -> None:
    shown = {"examples": [{"prompt": "a b", "completion": " b a"}, {"prompt": "a b", "completion": "b a"}]}
    path = write(
        tmp_path, {"task": "Do:", "format": "equals"}, {"prompt": "c d", "completion": "d c", **shown},
        {"prompt": "hot", "completion": "cold", "task": "Opposite:", "format": "qa", **shown},
    )  # fmt: skip
    task = read_task(path)
    assert task.has_own_examples
    texts = [
        task.prompt(draw_examples(task, number, 2, order, seed), query).text
        for number, query in enumerate(task.queries) for order, seed in ((0, 0), (1, 5))
    ]  # fmt: skip
    assert texts[:2] == ["Do:\na b = b a\na b = b a\nc d ="] * 2
    assert texts[2:] == ["Opposite:\n\nQ: a b\nA: b a\n\nQ: a b\nA: b a\n\nQ: hot\nA:"] * 2
    assert [task.stops(query) for query in task.queries] == [("\n",), ("\n\n", "\n")]
    with pytest.raises(PellucidError, match="3 shots need as many examples, and query 1 has 2 of its own"):
        draw_examples(task, 0, 3, 0, 0)
    with pytest.raises(PellucidError, match="some queries have examples of their own and others none"):
        Task(name="t", queries=[*task.queries, Query(prompt="a", answers=("b",))])


def test_every_family_is_there_with_its_examples() -> None:
    assert not set(families.HELD_OUT) & set(families.TRAINED) and len(set(families.NAMES)) == 75
    for name in families.NAMES:
        (task,) = find_tasks(name)
        assert isinstance(task, Task) and len(task.queries) == 40 and task.has_own_examples
        assert {len(query.examples) for query in task.queries} == {8}
        told = [query for query in task.queries if query.description]
        assert len(told) < 30  # in most of a family's queries only the examples tell the rule
    codes = [query for name in families.GROUPS["families_markup"] for query in families.family_task(name).queries]
    assert {query.format for query in codes} == {"code"} and all(query.answers[0].startswith("<") for query in codes)


GOOD = {"prompt": "a", "completion": "b"}
TWO = {**GOOD, "choices": ["b", "c"]}
WRONG = [
    ([GOOD, "word"], "line 2: it is not JSON"),
    ([GOOD, "", {"prompt": "a"}], "line 3 lacks 'completion'"),
    ([GOOD, [1]], "line 2 is not a JSON object"),
    ([GOOD, {"prompt": 3, "completion": "b"}], "line 2: prompt must be text"),
    ([GOOD, {"completion": "b"}], "line 2 lacks 'prompt'"),
    ([GOOD, {**GOOD, "shots": 1}], "line 2: unknown field 'shots'"),
    ([{"tasks": "x"}, GOOD], "line 1: unknown field 'tasks'"),
    ([{"format": "xml"}, GOOD], "line 1: unknown prompt format 'xml'"),
    ([GOOD, {"prompt": " ", "completion": "b"}], "line 2: .*not empty"),
    ([GOOD, {**GOOD, "completion": "\n"}], "line 2: an answer must be text"),
    ([{"prompt": "a\nb", "completion": "b"}], "line 1: .*ends an answer"),
    ([GOOD, {**GOOD, "completion": []}], "line 2: completion must be"),
    ([{**GOOD, "choices": ["b"]}], "line 1: there is only one choice"),
    ([{**GOOD, "choices": ["b", "b"]}], "line 1: .*there twice"),
    ([{**GOOD, "choices": ["c", "d"]}], "line 1: the right answer 'b' is not one of"),
    ([{**GOOD, "choices": ["b", " "]}], "line 1: an answer must be text"),
    ([TWO, GOOD], "line 2: it has no choices"),
    ([GOOD, TWO], "line 2: it has choices"),
    ([], "holds no queries"),
    ([{"task": "x"}], "holds no queries"),
    ([{**GOOD, "example": True}], "holds no queries"),
    ([{"choices": ["b", "c"]}, GOOD], "the class 'c' is empty"),
    ([{**GOOD, "example": 1}], "line 1: example must be true"),
    ([{**GOOD, "examples": [{"prompt": "a"}]}], "line 1, example 1 lacks 'completion'"),
    ([{**GOOD, "examples": {}}], "line 1: examples must be a list"),
    ([{**GOOD, "examples": [{"prompt": "a", "completion": "\n"}]}], "line 1: examples and query must be text, and not empty"),
    ([GOOD, {**GOOD, "examples": [GOOD]}], "line 2: it has examples, unlike"),
    ([{**GOOD, "format": "xml"}], "line 1: unknown prompt format 'xml'"),
    ([{**GOOD, "task": 3}], "line 1: task must be text"),
]


@pytest.mark.parametrize(("lines", "said"), WRONG)
def test_bad_lines_are_named(tmp_path: Path, lines: list[object], said: str) -> None:
    with pytest.raises(PellucidError, match=said):
        read_task(write(tmp_path, *lines))
