"""Prompts from files: both forms, how they are told apart, and what is refused."""

import codecs
import csv
import io
import json
from pathlib import Path
from random import Random

import pytest
from cases import TIMES, cases
from hostile_files import changed_file, changed_lines
from hypothesis import given
from hypothesis import strategies as st

import pellucid
from pellucid.errors import PellucidError
from pellucid.generation.prompt import FORMATS, PromptSegment, token_labels
from pellucid.generation.prompt_file import read_prompt


WORDS = st.text("ab c,;\"é中", min_size=1, max_size=8).filter(lambda text: text == text.strip() and text)
PAIRS = [("sea otter", "loutre de mer"), ("dog", "chien"), ("cheese", "fromage")]
LINES = [{"prompt": given, "completion": output} for given, output in PAIRS]
WHOLE = {"task": "Translate:", "examples": LINES[:2], "query": "cheese", "answer": "fromage", "format": "qa"}


def file(folder: Path, text: str) -> Path:
    path = folder / "prompt.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_object_states_everything(tmp_path: Path) -> None:
    for indent in (None, 2):
        prompt, answer = read_prompt(file(tmp_path, json.dumps(WHOLE, indent=indent)))
        assert (prompt, answer) == (pellucid.Prompt("Translate:", PAIRS[:2], "cheese", "qa"), "fromage")
    least = {"query": "cheese", "answer": "fromage"}
    assert read_prompt(file(tmp_path, json.dumps(least)))[0] == pellucid.Prompt("", [], "cheese", "arrow")
    assert read_prompt(file(tmp_path, json.dumps(WHOLE)), format="code")[0].format == "code"


def test_lines_and_arrays_of_examples_end_with_the_query(tmp_path: Path) -> None:
    text = "\ufeff\n" + "\n\n".join(map(json.dumps, LINES)) + "\n"
    for content in (text, json.dumps(LINES)):
        prompt, answer = read_prompt(file(tmp_path, content))
        assert (prompt, answer) == (pellucid.Prompt("", PAIRS[:2], "cheese", "arrow"), "fromage")
    assert read_prompt(file(tmp_path, json.dumps(LINES[2])))[0].examples == ()


def test_examples_of_fine_tuning_bring_their_own_separator(tmp_path: Path) -> None:
    lines = [{"prompt": "1 =>", "completion": " one\n"}, {"prompt": "2 =>", "completion": " two"}]
    prompt, answer = read_prompt(file(tmp_path, "\n".join(map(json.dumps, lines))))
    assert (prompt.format, prompt.text, answer) == ("plain", "1 => one\n2 =>", "two")


WRONG = [
    ("", "holds no examples"), ("word", "is not JSON"), ("{\n", "is not JSON"), ("3", "is not a JSON object"),
    ('{"prompt": "a", "completion": "b"}\nword', "line 2: it is not JSON"),
    ('{"prompt": "a", "completion": "b"}\n{"prompt": "a"}', "line 2 lacks 'completion'"),
    ('[{"prompt": "a", "completion": 3}]', "example 1: completion must be text"),
    ('{"query": "a"}', "lacks 'answer'"), ('{"query": "a", "answer": "b", "shots": 3}', "unknown field 'shots'"),
    ('{"query": "a", "answer": "b", "examples": [["a", "b"]]}', "example 1 is not a JSON object"),
    ('{"query": "a", "answer": "b", "format": "xml"}', "unknown prompt format 'xml'"),
    ('{"query": "a", "answer": "b\\nc"}', "which ends an answer"), ('{"query": "a", "answer": " "}', "is empty"),
    ('{"query": "", "answer": "b"}', "must be text, and not empty"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PellucidError, match=message) as found:
        read_prompt(file(tmp_path, text))
    assert "prompt.json" in str(found.value) and len(str(found.value)) < 1000


def test_damaged_files_give_one_error(tmp_path: Path) -> None:
    whole, lines = json.dumps(WHOLE).encode(), "\n".join(map(json.dumps, LINES)).encode()
    for seed in range(60 * TIMES):
        random = Random(seed)
        path = tmp_path / "damaged"
        path.write_bytes(changed_file(whole, random) if seed % 2 else changed_lines(lines, random))
        try:
            prompt, answer = read_prompt(path)
        except PellucidError as error:
            assert len(str(error)) < 3000
        else:
            assert prompt.query.strip() and answer.strip() == answer
    with pytest.raises(PellucidError, match="no such file"):
        read_prompt(tmp_path / "none")
    with pytest.raises(PellucidError, match="not a regular file"):
        read_prompt(tmp_path)


@pytest.mark.parametrize("name", FORMATS)
def test_segments_join_to_the_text_and_label_its_tokens(tiny_run: Path, name: str) -> None:
    tokenizer = pellucid.load(tiny_run).tokenizer
    assert tokenizer is not None
    prompt = pellucid.Prompt("Do it:", [("the fox", "a river"), ("ä day", "中 on")], "fox", name)
    segments = prompt.segments()
    assert "".join(segment.text for segment in segments) == prompt.text
    assert segments[0] == PromptSegment(0, "task", "Do it:")
    assert [s.text for s in segments if s.role == "output"] == ["a river", "中 on"]
    labels, ids = token_labels(prompt, tokenizer), tokenizer.encode_prompt(prompt.text)
    assert len(labels) == len(ids) and [part for part, _ in labels] == sorted(part for part, _ in labels)
    for part in range(4):  # a token whose last byte is in a part may begin with the space before it
        own = b"".join(tokenizer.token_bytes(t) for t, (p, _) in zip(ids, labels, strict=True) if p == part).decode()
        assert own == "".join(segment.text for segment in segments if segment.part == part)
    outputs = [b"".join(tokenizer.token_bytes(t) for t, label in zip(ids, labels, strict=True) if label == (k, "output"))
               for k in (1, 2)]  # fmt: skip
    assert [text.decode().strip() for text in outputs] == ["a river", "中 on"]


def test_shots_are_the_first_examples() -> None:
    prompt = pellucid.Prompt("Do:", PAIRS, "bread")
    assert [prompt.shots(count) for count in range(4)] == [pellucid.Prompt("Do:", PAIRS[:count], "bread") for count in range(4)]
    with pytest.raises(PellucidError, match="4 shots need as many examples, and there are 3"):
        prompt.shots(4)
    for count in (-1, 1.0, True, "1"):
        with pytest.raises(PellucidError, match="count must be a whole number, 0 or more"):
            prompt.shots(count)  # type: ignore[arg-type]


@cases(20)
@given(
    rows=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5), suffix=st.sampled_from([".csv", ".tsv"]),
    head=st.sampled_from([("prompt", "completion"), ("Question", "Answer"), None]), bom=st.booleans(),
)  # fmt: skip
def test_a_table_is_read_as_the_same_examples_in_json(
    rows: list[tuple[str, str]], suffix: str, head: tuple[str, str] | None, bom: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("table")
    text = io.StringIO(newline="")
    csv.writer(text, delimiter="\t" if suffix == ".tsv" else ",").writerows([head, *rows] if head else rows)
    (folder / f"a{suffix}").write_bytes(codecs.BOM_UTF8 * bom + text.getvalue().encode())
    (folder / "a.json").write_text(json.dumps([{"prompt": one, "completion": other} for one, other in rows]), encoding="utf-8")
    told: list[str] = []
    table = read_prompt(folder / f"a{suffix}", tell=told.append)
    assert table == read_prompt(folder / "a.json", tell=told.append)
    assert "table" in told[0] and told[1] == "a JSON array"
