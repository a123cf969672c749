"""The checks of OpenAI's preparing tool: each fault is found on its lines, and the mended file has none of them."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

from pellucid.cli import main
from pellucid.errors import PellucidError
from pellucid.finetuning.example_files import read_examples
from pellucid.finetuning.preparation import ENDINGS, SEPARATORS, Prepared, prepare_examples, preparing
from pellucid.finetuning.preparation_checks import LONG_SEPARATOR, MOST_HAVE, usual_ending
from pellucid.text import train_tokenizer


Pairs = list[tuple[str, str]]
USUAL: Pairs = [
    (f"what is {n} plus {n + 1}? ->", f" {name} it is\n")
    for n, name in enumerate(("seven", "nine", "eleven", "a dozen", "more", "less"))
]


def prepared(folder: Path, pairs: Pairs) -> Prepared:
    path = folder / "examples.jsonl"
    path.write_text("".join(json.dumps({"prompt": p, "completion": c}) + "\n" for p, c in pairs), encoding="utf-8")
    return prepare_examples(path)


def lines_of(found: Prepared) -> dict[str, tuple[int, ...]]:
    return {finding.check: finding.lines for finding in found.findings if finding.check not in ("count", "prefix-prompt")}


@pytest.mark.parametrize(
    ("changed", "check", "lines"),
    [
        ({}, None, ()),
        ({1: ("again ->", " x\n"), 3: ("again ->", " x\n")}, "duplicates", (4,)),
        ({2: ("a ->", "  \n"), 4: ("b ->", "")}, "empty", (3, 5)),
        ({0: ("x" * 10_000 + " ->", " y\n")}, "long", (1,)),
        ({5: ("no separator here", " y\n")}, "separator", (6,)),
        ({5: ("a -> b ->", " y\n")}, "separator-inside", (6,)),
        ({2: ("a ->", " no ending")}, "ending", (3,)),
        ({2: ("a ->", "word\n"), 3: ("b ->", "\tword\n")}, "space", (3,)),
        ({n: (f"{p.upper()}", c) for n, (p, c) in enumerate(USUAL[:5])}, "upper-prompt", (1, 2, 3, 4, 5)),
        ({n: (p, c.upper()) for n, (p, c) in enumerate(USUAL[1:], start=1)}, "upper-completion", (2, 3, 4, 5, 6)),
        ({n: (p, f" the answer is {c}") for n, (p, c) in enumerate(USUAL)}, "prefix-completion", (1, 2, 3, 4, 5, 6)),
        ({n: ("the same ->", c) for n, (_, c) in enumerate(USUAL)}, "same-prompt", (1, 2, 3, 4, 5, 6)),
        ({n: (p.replace("->", "=> => => =>"), c) for n, (p, c) in enumerate(USUAL)}, "long-separator", ()),
    ],
)
def test_each_fault_is_found_alone_and_on_its_lines(
    tmp_path: Path, changed: dict[int, tuple[str, str]], check: str | None, lines: tuple[int, ...]
) -> None:
    found = prepared(tmp_path, [changed.get(n, pair) for n, pair in enumerate(USUAL)])
    assert lines_of(found) == ({} if check is None else {check: lines})
    assert found.count == 6 and found.kind == "conditional"


WORDS = st.text(st.sampled_from("abcXYZ ?"), min_size=1, max_size=8)
TEXTS = st.builds("".join, st.tuples(WORDS, st.sampled_from(["", " ->", "\n\n###\n\n", ".", "\n", " END"])))


@cases(60)
@given(pairs=st.lists(st.tuples(TEXTS | st.just(""), TEXTS | st.just("")), min_size=1, max_size=8))
def test_what_is_mended_has_none_of_the_faults(tmp_path_factory: pytest.TempPathFactory, pairs: Pairs) -> None:
    """Separator, ending, leading space, duplicates, empty ones; and no text is lost but what a finding names."""
    found = prepared(tmp_path_factory.mktemp("files"), pairs)
    checks = {finding.check for finding in found.findings}
    examples = found.examples
    dropped = {n for one in found.findings if one.check in ("empty", "duplicates") for n in one.lines}
    assert len(examples) == len(pairs) - len(dropped) == len(set(examples))
    assert dropped >= {n for n, (_, completion) in enumerate(pairs, start=1) if not completion.strip()}
    assert all(one.completion[0].isspace() and one.completion.strip() for one in examples)
    for column, kinds in (("prompt", ("classification", "conditional")), ("completion", ("conditional",))):
        texts = {getattr(one, column) for one in examples}
        if found.kind in kinds and len(texts) > 1 and f"same-{column}" not in checks:
            assert len({text[-1] for text in texts}) == 1  # they end alike
    kept = [pair for n, pair in enumerate(pairs, start=1) if n not in dropped]
    for (prompt, completion), one in zip(kept, examples, strict=True):
        for before, after, column in ((prompt, one.prompt, "prompt"), (completion, one.completion, "completion")):
            before = before.lower() if f"upper-{column}" in checks else before
            assert before in after or f"prefix-{column}" in checks


@cases(60)
@given(pairs=st.lists(st.tuples(TEXTS | st.just(""), TEXTS | st.just("")), min_size=1, max_size=8))
def test_a_stream_of_lines_is_checked_as_a_list_in_memory(tmp_path_factory: pytest.TempPathFactory, pairs: Pairs) -> None:
    """JSON lines go through a temporary file, a JSON array stays in memory: what is found and mended is the same."""
    folder = tmp_path_factory.mktemp("files")
    found = prepared(folder, pairs)
    path = folder / "examples.json"
    path.write_text(json.dumps([{"prompt": p, "completion": c} for p, c in pairs]), encoding="utf-8")
    listed = prepare_examples(path)
    assert (found.findings, found.kind, found.examples) == (listed.findings, listed.kind, listed.examples)


@cases(200)
@given(texts=st.lists(TEXTS, min_size=2, max_size=12))
def test_the_ending_of_most_is_found_by_votes_as_by_counting(texts: list[str]) -> None:
    best, most = "", max(2, MOST_HAVE * len(texts))
    for length in range(1, LONG_SEPARATOR + 3):
        counts = Counter(text[-length:] for text in texts if len(text) >= length)
        for ending, count in counts.most_common(3):
            if count >= most and re.search(r"[^\w\s.?!,;\"')]|\n", ending):
                best, most = ending, count
                break
    assert usual_ending(lambda: iter(texts), len(texts)) == best


def test_mends_may_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    rows = [*USUAL, ("no separator", "word\n"), USUAL[0], ("a ->", "")]
    path.write_text("".join(json.dumps({"prompt": p, "completion": c}) + "\n" for p, c in rows), encoding="utf-8")
    for only, count, space in ((["duplicates"], 8, False), (["space", "empty"], 8, True), ([], 9, False), (None, 7, True)):
        with preparing(path, only=only) as found:
            kept = [texts for _, *texts in found.examples.checks]  # type: ignore[union-attr]
            assert len(found.examples) == len(kept) == count
            assert all(text[:1].isspace() for _, text in kept if text) == space


def test_the_separator_is_the_first_that_is_in_no_prompt(tmp_path: Path) -> None:
    assert prepared(tmp_path, [("a", " x\n"), ("b", " y\n")]).examples[0].prompt == "a ->"
    assert prepared(tmp_path, [("a\nc", " x\n"), ("b", " y\n")]).examples[1].prompt == "b\n\n###\n\n"
    every = "".join(SEPARATORS)
    assert prepared(tmp_path, [(f"{every}a", " x\n"), ("b", " y\n")]).examples[1].prompt == "b\n\n### =>\n\n"
    assert prepared(tmp_path, [("a ->", " x"), ("b ->", " y\nz")]).examples[0].completion == " x."
    every = "".join(ENDINGS)
    assert prepared(tmp_path, [("a ->", f" {every}in lower case"), ("b ->", " y")]).examples[1].completion == " y [END]"


def test_kinds_of_tasks(tmp_path: Path) -> None:
    labels = [(f"text {n} ->", f" {'good' if n % 2 else 'bad'}") for n in range(12)]
    found = prepared(tmp_path, labels)
    assert found.kind == "classification" and "ending" not in lines_of(found)  # a label needs no ending
    free = prepared(tmp_path, [("", f" a long text {n * 'x'}") for n in range(4)])
    assert free.kind == "open-ended" and not {"separator", "ending"} & set(lines_of(free))


def test_tokens_are_counted_by_the_model_s_tokenizer(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["what is plus altogether"], 260)
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"prompt": "a b ->", "completion": " c d\n"}) + "\n", encoding="utf-8")
    needed = len(tokenizer.encode_prompt("a b ->")) + len(tokenizer.encode(" c d\n", continued=True))
    for n_ctx, count in ((needed, 1), (needed - 1, 0)):  # the end of the text is predicted, not read
        assert len(prepare_examples(path, tokenizer=tokenizer, n_ctx=n_ctx).examples) == count


def test_the_command_prints_lines_and_writes_the_mended_file(
    tmp_path: Path, tiny_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "pairs.csv", tmp_path / "mended.jsonl"
    path.write_text("id,prompt,completion\n1,one,eins\n2,two,zwei\n3,two,zwei\n4,four,\n", encoding="utf-8")
    assert main(["finetune", str(path), "--check", "-m", str(tiny_run)]) == 0
    printed = capfd.readouterr().out
    assert "further columns: 'id' [4 lines: 2, 3, 4, 5] -> left out" in printed
    assert "earlier line [1 line: 4] -> left out" in printed and "--prepare pairs_prepared.jsonl" in printed
    assert [one.name for one in tmp_path.iterdir()] == ["pairs.csv"]
    assert main(["finetune", str(path), "--prepare", str(out), "--json", "-m", str(tiny_run)]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert (answer["examples"], answer["mended_examples"], answer["prepared"]) == (4, 2, str(out))
    assert [(one.prompt, one.completion) for one in read_examples(out)] == [("one ->", " eins\n"), ("two ->", " zwei\n")]
    assert main(["finetune", str(out), "--prepare", str(out)]) == 1
    assert "is the file that is read" in capfd.readouterr().err
    path.write_text("prompt,completion\na,\n", encoding="utf-8")
    assert main(["finetune", str(path), "--prepare", str(tmp_path / "none.jsonl"), "-m", str(tiny_run)]) == 1
    assert "no example is left" in capfd.readouterr().err and not (tmp_path / "none.jsonl").exists()
    for wrong in (["--check"], [str(path), "--check", "--out", "run"], [str(path), "--check", "--epochs", "2"], [str(path)]):
        assert main(["finetune", *wrong]) == 2
        assert capfd.readouterr().err.count("\n") == 1


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"prompt": "a", "completion": null}\n{"prompt": "a", "completion": 3}\n', encoding="utf-8")
    with pytest.raises(PellucidError, match=r"x.jsonl, line 2: prompt and completion must be text"):
        prepare_examples(path)
