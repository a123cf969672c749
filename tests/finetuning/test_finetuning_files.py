"""Files of examples in every format, recognised by their contents; and which examples are held out."""

import csv
import io
import json
from collections import Counter
from math import floor
from pathlib import Path

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

import pellucid
from pellucid import Example, events
from pellucid.errors import PellucidError
from pellucid.finetuning.example_files import (
    holds_examples,
    read_example_file,
    read_examples,
    write_examples,
)
from pellucid.finetuning.split import ENOUGH, split
from pellucid.generation.example_tables import COMPLETIONS, PROMPTS


TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from('",;\t\n'), max_size=12)
EXAMPLES = st.lists(st.builds(Example, TEXTS, TEXTS.filter(bool)), min_size=1, max_size=5)


def as_table(rows: list[list[str]], delimiter: str = ",") -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue().encode("utf-8")


@cases(40)
@given(
    examples=EXAMPLES, prompt=st.sampled_from(PROMPTS), completion=st.sampled_from(COMPLETIONS), mark=st.booleans(),
    delimiter=st.sampled_from(",;\t"), suffix=st.sampled_from([".csv", ".json", ".jsonl", ".tsv"]),
    indent=st.sampled_from([None, 1]),
)  # fmt: skip
def test_every_format_gives_the_same_examples(
    tmp_path_factory: pytest.TempPathFactory, examples: list[Example], prompt: str, completion: str, mark: bool, delimiter: str,
    suffix: str, indent: int | None,
) -> None:  # fmt: skip
    """Whatever the file is called, with and without a byte order mark."""
    path = tmp_path_factory.mktemp("files") / f"examples{suffix}"
    bom = b"\xef\xbb\xbf" if mark else b""
    objects = [{"id": i, prompt: one.prompt, completion: one.completion} for i, one in enumerate(examples)]
    contents = {
        "JSON lines": "\n\n".join(map(json.dumps, objects)).encode() + b"\r\n",
        "a JSON array": json.dumps(objects, indent=indent, ensure_ascii=False).encode(),
    }
    for what, data in contents.items():
        path.write_bytes(bom + data)
        found = read_example_file(path)
        assert found.examples == examples == read_examples(path) and found.what == what
    if suffix in (".csv", ".tsv"):
        delimiter = "\t" if suffix == ".tsv" else delimiter
        rows = [[one.completion, str(i), one.prompt] for i, one in enumerate(examples)]
        path.write_bytes(bom + as_table([[completion.upper(), "id", f" {prompt}"], *rows], delimiter))
        found = read_example_file(path)
        assert found.examples == examples and f"'{prompt}' and '{completion.upper()}'" in found.what
    write_examples(examples, path)
    assert read_examples(path) == read_examples(path, of_a_run=True) == examples


def test_two_columns_need_no_names(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b'good,  yes\r\n\r\n"bad, really",no\r\n')
    found = read_example_file(path)
    assert found.examples == [Example("good", "  yes"), Example("bad, really", "no")]
    assert "without names, the first row an example" in found.what


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.jsonl", b"", "no examples"),
        ("x.json", b"[]", "no examples"),
        ("x.csv", b"prompt,completion\n", "no examples"),
        ("x.jsonl", b'{"prompt": "a", "completion": "b"}\n{"prompt": "a"}\n', "line 2: not an example"),
        ("x.jsonl", b'{"prompt": "a", "completion": ""}', "line 1"),
        ("x.jsonl", b'["a", "b"]', "item 1: not an example"),
        ("x.jsonl", b"not json", "line 1"),
        ("x.jsonl", b'{"prompt": 1, "completion": "b"}', "line 1"),
        ("x.jsonl", b'{"prompt": "\xff", "completion": "b"}', "not UTF-8"),
        ("x.jsonl", b'{"messages": []}', "'messages'; chat messages are not read"),
        ("x.json", b'{"data":\n[{"prompt": "a", "completion": "b"}]}', "one JSON object: give a JSON array"),
        ("x.json", b'[{"prompt": "a", "completion": "b"}, 5]', "item 2"),
        ("x.json", b'[{"prompt": "a"', "not JSON"),
        ("x.csv", b"a,b,c\n1,2,3\n", "its columns are 'a', 'b', 'c': name two of them prompt and completion"),
        ("x.csv", b"prompt,completion\na,b\nc, d, e\n", "line 3: 3 columns, where the first row has 2"),
        ("x.csv", b'prompt,completion\na,b\n"c,d\n', "line 3: no row of a table"),
        ("x.csv", b"prompt,completion\na,\n", "line 2: an example has"),
        ("x.csv", "prompt,completion\nä,b\n".encode("cp1252"), "save it as CSV in UTF-8"),
        ("x.csv", b"PK\x03\x04" + b"\xff" * 40, "not text"),
    ],
)
def test_what_is_no_example_is_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PellucidError) as found:
        read_examples(path)
    assert words in str(found.value)
    with pytest.raises(PellucidError, match="no such file"):
        read_examples(tmp_path / "missing.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "holds"),
    [
        ("x.csv", b"", True), ("x.TSV", b"", True), ("x.json", b"", True),
        ("x.txt", b'{"prompt": "a", "completion": "b"}\n{}', True), ("x", b' [\n {"text": "a", "label": "b"}]', True),
        ("x.txt", b'{"text": "a"}\n', False), ("x.txt", b"[1] A note.", False), ("x.txt", b"[{broken", False),
        ("x.md", b"prompt,completion\na,b\n", False), ("x.txt", b"", False), ("x.txt", b"{a story}", False),
    ],
)  # fmt: skip
def test_text_is_told_from_examples(tmp_path: Path, name: str, content: bytes, holds: bool) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert holds_examples(path) == holds
    assert not holds_examples(tmp_path) and not holds_examples(tmp_path / "missing")


def test_a_table_becomes_a_run_and_says_what_it_was(tiny_run: Path, tmp_path: Path) -> None:
    path, heard = tmp_path / "animals.csv", list[events.Event]()
    rows = [[f"a {word} {i}", "yes" if i % 3 else "no"] for i in range(6) for word in "xyz"]
    path.write_bytes(as_table([["text", "label"], *rows]))
    run = pellucid.finetune(path, tmp_path / "run", model=tiny_run, steps=1, observers=[heard.append])
    notices = [event.text for event in heard if isinstance(event, events.Notice)]
    assert notices[0].startswith(f"{path}: 18 examples, read as a table with commas")
    assert notices[0].endswith("of which 'text' and 'label' are read")
    assert "'a x 0no'" in notices[1] and notices[2].startswith("3 held out: one answer more or less is 33 %")
    assert (run.plan.source["train_examples"], run.plan.source["held_out_examples"]) == (15, 3)
    looks = [line for line in run.metrics() if "held_out_loss" in line]
    assert all(line["examples"] == 3 and 0 <= line["right"] <= 3 for line in looks) and len(looks) == 2
    with pytest.raises(PellucidError, match="save the table as CSV"):
        pellucid.finetune(tmp_path / "x.xlsx", tmp_path / "other", model=tiny_run)
    done = pellucid.finetune(path, tmp_path / "run", model=tiny_run, steps=1, resume=True)
    assert done.finished


@cases(60)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=12), repeats=st.integers(1, 2), seed=st.integers(0, 3))
def test_each_repeated_completion_has_its_share_of_what_is_held_out(sizes: list[int], repeats: int, seed: int) -> None:
    examples = [Example(f"{i} {j}", f" {i}") for i, size in enumerate(sizes) for j in range(size)] * repeats
    n = len(set(examples))
    if n < 2:
        return
    divided = split(examples, seed=seed)
    count, classes = len(divided.held_out), sum(size > 1 for size in sizes)
    assert divided == split(examples, seed=seed) and divided.classes == classes
    assert set(divided.train).isdisjoint(divided.held_out) and len(set(divided.train)) + count == n
    assert len(divided.train) == repeats * len(set(divided.train)) and count == len(set(divided.held_out))
    wanted = max(round(0.1 * n), min(max(ENOUGH, classes), max(1, floor(0.2 * n))))
    assert count == min(max(1, wanted), n - 1)
    held = Counter(one.completion for one in divided.held_out)
    assert divided.missing == sum(size > 1 and f" {i}" not in held for i, size in enumerate(sizes))
    assert not divided.missing or count < classes
    assert bool(divided.warning) == (count < ENOUGH or divided.missing > 0)
    if count >= classes:
        for i, size in enumerate(sizes):
            if size > 1:
                assert 1 <= held[f" {i}"] < size
                assert held[f" {i}"] <= max(1, count * size / n + 1)
