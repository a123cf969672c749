"""The windows of the default model's recipe: pure functions of (seed, i), in the formats of prompts, nothing held out."""

import csv
import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from recipe_data import LEXICON

from pellucid.corpus import Tokens
from pellucid.evaluation.react import react_task
from pellucid.generation.prompt import FORMATS
from pellucid.text import Tokenizer
from recipes.default_model import markup, react_file
from recipes.default_model.books import TEST, VALIDATION, read_index
from recipes.default_model.draws import Draws
from recipes.default_model.families import BY_NAME, HELD_OUT, TRAINED, WEIGHTS, draw_family
from recipes.default_model.groups import MARKUP, Group, markup_group, task_group
from recipes.default_model.lexicon import Lexicon
from recipes.default_model.windows import CYCLE, Mixture, Prose, Shares


# As descriptions write them: "a small purple button that says stop".
HELD_OUT_PAIR = re.compile(
    "|".join(rf" {colour} {'text field' if kind == 'field' else kind}\b(?! field)" for kind, colour in markup.HELD_OUT)
)


def mixture(data: Path, *, seed: int = 3, tasks: int = 4, markup: int = 1) -> Mixture:
    """Windows of 65 tokens over the small books."""
    return Mixture.open(data, 64, shares=Shares(tasks=tasks, markup=markup), seed=seed)


def test_books_are_chosen_by_path(recipe_corpus: Path, tmp_path: Path) -> None:
    books = read_index(recipe_corpus)
    assert {b.path for b in books if b.part == "test"} == set(TEST)
    assert {b.path for b in books if b.part == "validation"} == set(VALIDATION)
    assert len(TEST) == 5 and len(VALIDATION) == 16 and not set(TEST) & set(VALIDATION)
    assert "books/not-allowed.txt" not in {b.path for b in books}
    with (recipe_corpus / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if row[0] != TEST[2]]
    with (tmp_path / "index.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(ValueError, match="joseph-jacobs"):
        read_index(tmp_path)


def test_a_window_is_a_function_of_seed_and_index(recipe_data: Path) -> None:
    forwards, backwards, other = mixture(recipe_data), mixture(recipe_data), mixture(recipe_data, seed=4)
    count = 3 * CYCLE
    windows = [forwards.window(i) for i in range(count)]
    assert all(window.shape == (65,) for window in windows)
    for i in reversed(range(count)):
        np.testing.assert_array_equal(backwards.window(i), windows[i])
    assert len({window.tobytes() for window in windows}) == count
    assert not any(np.array_equal(other.window(i), windows[i]) for i in range(count))
    ids, targets = forwards.batch(2, 5)
    np.testing.assert_array_equal(ids.numpy(), np.stack([w[:-1] for w in windows[10:15]]))
    np.testing.assert_array_equal(targets.numpy(), np.stack([w[1:] for w in windows[10:15]]))


@pytest.mark.parametrize(("tasks", "markups"), [(4, 1), (2, 1), (0, 0), (20, 0), (6, 2)])
def test_each_kind_has_its_share_and_its_own_numbers(recipe_data: Path, tasks: int, markups: int) -> None:
    mixed = mixture(recipe_data, tasks=tasks, markup=markups)
    seen: dict[str, list[int]] = {"prose": [], "tasks": [], "markup": []}
    for i in range(5 * CYCLE):
        kind, number = mixed.kind(i)
        seen[kind].append(number)
    assert {kind: len(numbers) for kind, numbers in seen.items()} == {
        "prose": 5 * (CYCLE - tasks - markups), "tasks": 5 * tasks, "markup": 5 * markups
    }  # fmt: skip
    for numbers in seen.values():
        assert numbers == list(range(len(numbers)))


@cases(40)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=9), st.integers(2, 16), st.integers(0, 10**9))
def test_a_pass_of_prose_takes_no_token_twice_and_keeps_books_whole(lengths: list[int], n_ctx: int, seed: int) -> None:
    total = sum(lengths)
    if total < 2 * n_ctx:
        lengths, total = [*lengths, 2 * n_ctx], total + 2 * n_ctx
    prose = Prose(Tokens([np.arange(total)], total), lengths, n_ctx, seed=seed)
    ends = set(np.cumsum(lengths) - 1)
    for turn in range(2):
        targets: list[int] = []
        for k in range(turn * prose.per_pass, (turn + 1) * prose.per_pass):
            window = prose.window(k)
            assert window.shape == (n_ctx + 1,)
            targets += window[1:].tolist()
            for a, b in zip(window[:-1].tolist(), window[1:].tolist(), strict=True):
                assert b == a + 1 or a in ends, "a window goes on in another book only where one ends"
        assert len(set(targets)) == len(targets) >= total - 1 - 2 * n_ctx


def test_books_come_in_another_order_in_another_pass() -> None:
    prose = Prose(Tokens([np.arange(4000)], 4000), [100] * 40, 50, seed=1)
    after: list[dict[int, int]] = []
    for turn in range(2):
        windows = [prose.window(turn * prose.per_pass + k).tolist() for k in range(prose.per_pass)]
        pairs = [(a, b) for window in windows for a, b in pairwise(window)]
        after.append({a: b for a, b in pairs if a % 100 == 99})
    common = after[0].keys() & after[1].keys()
    assert len(common) > 20
    assert sum(after[0][a] == after[1][a] for a in common) < 5


def test_nothing_held_out_is_in_a_training_window(recipe_data: Path) -> None:
    mixed = mixture(recipe_data)
    assert len(HELD_OUT) >= 6 and len(TRAINED) >= 30
    assert set(HELD_OUT) | set(TRAINED) == set(BY_NAME) and not set(HELD_OUT) & set(TRAINED)
    drawn = {group.family for number in range(300) for group in mixed.groups("tasks", number)}
    assert drawn <= set(TRAINED) and len(drawn) > 50
    groups = [group for number in range(40) for group in mixed.groups("markup", number)]
    assert len(groups) > 40 and {group.family for group in groups} == {MARKUP}
    elements = [markup.draw_allowed(Draws(5, i), LEXICON) for i in range(2000)]
    pairs = {pair for element in elements for pair in element.pairs()}
    assert not pairs & markup.HELD_OUT
    for kind, colour in markup.HELD_OUT:
        assert any(k == kind for k, _ in pairs) and any(c == colour for _, c in pairs)
    assert all(markup.is_held_out(markup.draw_allowed(Draws(6, i), LEXICON, held_out=True)) for i in range(50))


def test_each_query_of_the_react_example_is_of_a_held_out_pair() -> None:
    """In the package's file and in one that is written here; no example is."""
    written = [json.loads(line) for line in react_file.lines(LEXICON, examples=60, queries=20)][1:]
    task = react_task()
    parts = [
        ([query.prompt for query in task.queries], [query.prompt for query in task.examples]),
        ([row["prompt"] for row in written if "example" not in row], [row["prompt"] for row in written if "example" in row]),
    ]
    assert [len(part) for both in parts for part in both] == [60, 400, 20, 60]
    for queries, examples in parts:
        assert all(map(HELD_OUT_PAIR.search, queries)) and not any(map(HELD_OUT_PAIR.search, examples))


def test_families_come_by_a_zipf_law() -> None:
    count = 20_000
    drawn = [draw_family(Draws(1, i)).name for i in range(count)]
    for rank in (0, 5, 30, 60):
        expected = count * WEIGHTS[rank] / sum(WEIGHTS)
        assert abs(drawn.count(TRAINED[rank]) - expected) < 5 * expected**0.5


@pytest.mark.parametrize("family", sorted([*BY_NAME, MARKUP]))
def test_groups_are_in_the_format_of_prompts(family: str) -> None:
    for i in range(30):
        draws = Draws(9, i)
        group = markup_group(draws, LEXICON) if family == MARKUP else task_group(draws, LEXICON, BY_NAME[family])
        check_format(group)
        pairs = [*group.prompt.examples, (group.prompt.query, group.answer)]
        answers: dict[str, set[str]] = {}
        for given_, answer in pairs:
            answers.setdefault(given_, set()).add(answer)
        # A sentence of the books may go on in two ways, and one animal's young may be two animals' (cub).
        assert family in ("continue_sentence", "blank", "young", "male_female", "makers", "places_of", "opposites") or all(
            len(found) == 1 for found in answers.values()
        ), f"{group.text}: an input has two answers under one rule"


def check_format(group: Group) -> None:
    """The text splits into description, examples and query at the format's separators."""
    form = FORMATS[group.prompt.format]
    parts = group.text.split(form.separator)
    pairs = [*group.prompt.examples, (group.prompt.query, group.answer)]
    assert len(pairs) <= 9
    if group.prompt.task:
        assert parts.pop(0) == group.prompt.task
    assert parts == [f"{form.before}{given_}{form.between} {answer}" for given_, answer in pairs]
    assert all(answer == answer.strip() != "" for _, answer in pairs)


def test_rules_are_drawn_anew() -> None:
    """The same input gets different answers in different groups of a family whose rule is a table."""
    for family in ("category_label", "invented_language", "size_label", "substitution", "add_constant"):
        answers: dict[str, set[str]] = {}
        for i in range(400):
            group = task_group(Draws(2, i), LEXICON, BY_NAME[family])
            answers.setdefault(group.prompt.query, set()).add(group.answer)
        assert sum(len(found) >= 2 for found in answers.values()) >= 3, family


def test_a_window_decodes_to_its_groups(recipe_data: Path) -> None:
    mixed = mixture(recipe_data)
    for i in range(4 * CYCLE):
        kind, number = mixed.kind(i)
        if kind == "prose":
            continue
        texts = mixed.tokenizer.decode(mixed.window(i)).split(mixed.tokenizer.end_of_text)
        groups = mixed.groups(kind, number)
        assert len(groups) in (len(texts), len(texts) - 1)
        for text, group in zip(texts[:-1], groups, strict=False):
            assert text == group.text
            check_format(group)
        assert groups[-1].text.startswith(texts[-1]) or texts[-1] == ""


@given(eot_from=st.none() | st.integers(0, 90 * 64), i=st.integers(0, 100))
def test_windows_of_tasks_begin_with_end_of_text_from_a_token_on(recipe_data: Path, eot_from: int | None, i: int) -> None:
    shares = Shares(tasks=4, markup=1)
    mixed, before = (Mixture.open(recipe_data, 64, shares=shares, seed=3, eot_from=at) for at in (eot_from, None))
    found, expected = mixed.window(i), before.window(i)
    if eot_from is not None and i * 64 >= eot_from and mixed.kind(i)[0] != "prose":
        expected = np.array([mixed.tokenizer.eot, *expected[:-1]])
    np.testing.assert_array_equal(found, expected)


def test_what_the_release_was_trained_on_has_not_changed() -> None:
    """A new digest means that a resumed run would see other windows: begin a new run then, and tell so in the recipe."""
    digest = hashlib.sha256()
    for i in range(600):
        digest.update(task_group(Draws(1, i), LEXICON).text.encode())
        digest.update(markup_group(Draws(1, i), LEXICON).text.encode())
    assert digest.hexdigest() == "47ee57e87450249c2806c1a15646cebac5c2ffa7d57edbd9939e6a5a35f0216f"


def test_the_lexicon_holds_frequent_words_without_names(tmp_path: Path) -> None:
    text = "Then the king saw Anna. The king sat on the throne by the fire. But Anna saw the king. " * 3 + "Odd word."
    found = Lexicon.from_texts([text])
    assert found.words[:3] == ("the", "king", "saw") and "throne" in found.words
    assert "anna" not in found.words and "odd" not in found.words
    assert "The king sat on the throne by the fire" in found.sentences
    found.save(tmp_path)
    assert Lexicon.load(tmp_path) == found
    assert Lexicon.from_texts([text], most_words=2).words == ("the", "king")


def test_the_tokenizer_has_tokens_for_the_formats(recipe_data: Path) -> None:
    tokenizer = Tokenizer.load(recipe_data)
    tokens = {tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)}
    assert {b" =>", b" =", b"description", b"code"} <= tokens
