"""A whole evaluation against plain code; draws and what does not fit; resuming; what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from models import lively

import pellucid
from pellucid.corpus import Document
from pellucid.errors import PellucidError
from pellucid.evaluation.contamination import BOILERPLATE, grams, length_of, overlaps, training_documents, words_of
from pellucid.evaluation.scores import Scores
from pellucid.evaluation.shots import draw_examples, samples_of
from pellucid.evaluation.task import Query, Task
from pellucid.locks import locked
from pellucid.text.bytes_to_characters import BYTE_ORDER
from pellucid.text.token_table import NO_ID, Numbering
from pellucid.text.tokenizer import Tokenizer


LETTERS = "abcdefghij"
CHOICES = Task(
    name="choices", description="Which?", format="qa",
    queries=[Query(prompt=f"{a}?", answers=(a,), choices=(a, f"{a}{a}", "é")) for a in LETTERS[:4]],
    examples=[Query(prompt=f"{a}?", answers=(a,), choices=(a, "x")) for a in LETTERS[4:]],
)  # fmt: skip
FREE = Task(name="free", queries=[Query(prompt=a, answers=(f"{a}{a}", a)) for a in LETTERS])


@pytest.fixture(scope="module")
def model() -> pellucid.GPT:
    tokenizer = Tokenizer([bytes([b]) for b in BYTE_ORDER] + [b" a", b"aa"])
    config = pellucid.GPTConfig(vocab_size=tokenizer.vocab_size, n_ctx=64, n_layers=2, d_model=24, n_heads=3)
    return lively(pellucid.GPT(config, tokenizer=tokenizer, seed=3))


def total(model: pellucid.GPT, text: str, answer: str) -> float:
    """The log-probability of an answer, from all tokens' as `score` gives them."""
    assert model.tokenizer is not None
    ids, start = model.tokenizer.encode(f"{text} {answer}"), len(model.tokenizer.encode(text))
    return sum(logprob or 0.0 for logprob in model.score(ids).logprobs[start:])


def test_choices_and_answers_are_scored_as_plain_code_does(model: pellucid.GPT, tmp_path: Path) -> None:
    lines = list[str]()
    scores = pellucid.evaluate(model, [CHOICES, FREE], shots=(1, 0), orders=2, out=tmp_path / "e", report=lines.append)
    samples = [json.loads(line) for line in (tmp_path / "e" / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == [
        "choices, 0 shots: 4 samples", "choices, 1 shot: 8 samples", "free, 0 shots: 10 samples", "free, 1 shot: 20 samples"
    ]  # fmt: skip
    assert len(samples) == 42
    means: dict[tuple[str, str, int], list[float]] = {}
    for sample in samples:
        task = CHOICES if sample["task"] == "choices" else FREE
        query = task.queries[sample["query"]]
        examples = draw_examples(task, sample["query"], sample["shots"], sample["order"], seed=0)
        prompt = task.prompt(examples, query)
        assert (sample["prompt"], sample["dropped"]) == (prompt.text, 0)
        texts = query.choices or query.answers[:1]
        expected = [total(model, prompt.text, text) for text in texts]
        assert sample["logprobs"] == pytest.approx(expected, abs=1e-4)
        if query.choices:
            assert sample["context_logprobs"] == pytest.approx([total(model, "Answer:", text) for text in texts], abs=1e-4)
        else:
            written = model.beam(prompt.text, width=4, length_penalty=0.6, max_tokens=sample["max_tokens"], stop="\n").text
            assert sample["output"] == written
            assert sample["metrics"]["exact_match"] == (written.strip() in query.answers)
        for name, value in sample["metrics"].items():
            means.setdefault((task.name, name, sample["shots"]), []).append(value)
    for (name, metric, shots), values in means.items():
        cell = scores.cell(name, metric, shots)
        assert cell.interval.mean == pytest.approx(sum(values) / len(values))
        assert cell.interval.low <= cell.interval.mean <= cell.interval.high
        if shots:
            paired = scores.difference(name, metric, 1).interval
            assert paired.mean == pytest.approx(cell.interval.mean - scores.cell(name, metric, 0).interval.mean)
    assert len(means) == len(scores.cells) == 20
    cell = scores.cells[0]
    flat = {name: getattr(cell, name) for name in ("task", "metric", "shots", "queries", "orders", "asked", "dropped")}
    assert scores.to_dict()["cells"][0] == flat | {name: getattr(cell.interval, name) for name in ("mean", "low", "high")}
    assert json.loads((tmp_path / "e" / "scores.json").read_text(encoding="utf-8")) == json.loads(json.dumps(scores.to_dict()))
    assert (tmp_path / "e" / "scores.md").read_text(encoding="utf-8") == scores.markdown()
    assert scores.chart().alt.count("0 examples: ") == scores.chart().alt.count("1 example: ") == 2
    assert (tmp_path / "e" / "scores.svg").read_text(encoding="utf-8").startswith("<svg")


def test_a_killed_evaluation_goes_on_and_gives_the_same(model: pellucid.GPT, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("a cab, a bad ace. " * 9, encoding="utf-8")
    tasks: list[Any] = [CHOICES, FREE, text]
    whole = pellucid.evaluate(model, tasks, shots=(0, 2), orders=1, out=tmp_path / "e")
    log = tmp_path / "e" / "samples.jsonl"
    written = log.read_bytes()
    for cut in (0, 5, len(written) // 2, len(written) - 1):
        log.write_bytes(written[:cut])
        assert pellucid.evaluate(model, tasks, shots=(0, 2), orders=1, out=tmp_path / "e") == whole
        assert log.read_bytes() == written
    log.write_bytes(written.replace(b'"output": "', b'"output": "kept ', 1))
    reports = list[str]()
    pellucid.evaluate(model, tasks, shots=(0, 2), orders=2, out=tmp_path / "e", report=reports.append)
    assert b'"kept ' in log.read_bytes()  # a line that is there is not measured again; new ones are appended
    assert "free, 2 shots: 20 samples, 10 of them kept from before" in reports
    ids = model.require_tokenizer().encode(text.read_text(encoding="utf-8"))
    (found,) = whole.texts
    assert (found.tokens, found.text_bytes) == (len(ids), 162)
    scored = model.score([model.end_of_text, *ids[:64]]).total  # the first window
    assert -found.nats < scored < -found.nats * 64 / len(ids) * 0.8


def test_a_text_that_fits_has_the_perplexity_of_its_score(model: pellucid.GPT, tmp_path: Path) -> None:
    text = tmp_path / "short.txt"
    text.write_text("a cab.", encoding="utf-8")
    (found,) = pellucid.evaluate(model, text).texts
    score = model.score([model.end_of_text, *model.require_tokenizer().encode("a cab.")])
    assert found.perplexity == pytest.approx(score.perplexity, rel=1e-6)
    assert found.bits_per_byte == pytest.approx(-score.total / 6 / 0.6931471805599453, rel=1e-6)


@cases(20)
@given(st.integers(0, 5), st.integers(0, 9), st.integers(0, 9), st.integers(-9, 9))
def test_examples_are_drawn_anew_and_never_the_query(count: int, number: int, order: int, seed: int) -> None:
    found = draw_examples(FREE, number, count, order, seed)
    assert len({query.prompt for query in (*found, FREE.queries[number])}) == count + 1
    assert draw_examples(FREE, number, 9, order, seed)[:count] == found  # fewer are the beginning of more
    firsts = {draw_examples(FREE, number, 9, other, seed)[0].prompt for other in range(20)}
    assert len(firsts) > 3


@cases(20)
@given(st.integers(0, 9), st.integers(1, 30))
def test_whole_examples_are_dropped_and_the_description_never(count: int, length: int) -> None:
    tokenizer = Tokenizer([bytes([b]) for b in BYTE_ORDER])
    small = pellucid.GPT(pellucid.GPTConfig(vocab_size=257, n_ctx=40, n_layers=1, d_model=8, n_heads=2), tokenizer=tokenizer)
    task = Task(name="t", description="Do:", queries=[Query(prompt=a * length, answers=("b",)) for a in LETTERS])
    try:
        samples = samples_of(task, small, shots=count, orders=1, queries=3, seed=1)
    except PellucidError as error:
        assert "task and query alone are" in str(error) or ("no example fits" in str(error) and count)
        return
    for sample in samples:
        kept = len(sample.prompt.examples)
        assert len(sample.prompt.dropped) == count - kept
        assert sample.prompt.text.startswith("Do:\n") and sample.prompt.text.endswith(f"{sample.query.prompt} =>")
        assert len(tokenizer.encode(sample.prompt.text)) + sample.max_tokens <= small.config.n_ctx + 1
        if kept < count:  # one more would not have fitted
            more = task.prompt(draw_examples(task, sample.number, kept + 1, 0, 1), sample.query).text
            assert len(tokenizer.encode(more)) + sample.max_tokens > small.config.n_ctx + 1


def test_what_was_dropped_is_counted(model: pellucid.GPT) -> None:
    long = Task(name="long", queries=[Query(prompt=a * 12, answers=("b",)) for a in LETTERS])
    scores = pellucid.evaluate(model, long, shots=(0, 8), orders=1)
    cell = scores.cell("long", "exact_match", 8)
    assert (cell.asked, cell.queries) == (80, 10) and 0 < cell.dropped < 80
    assert f"long, 8 shots: {cell.dropped} of 80 examples did not fit into the context" in scores.markdown()
    assert scores.cell("long", "exact_match", 0).dropped == 0


def test_what_is_wrong_is_said(model: pellucid.GPT, tmp_path: Path) -> None:
    def refused(said: str, tasks: Any = FREE, asked: pellucid.GPT = model, **others: Any) -> None:
        with pytest.raises(PellucidError, match=said):
            pellucid.evaluate(asked, tasks, **others)

    without = pellucid.GPT(model.config)
    refused("this model has no tokenizer", asked=without)
    refused("model must be a model", asked="default")  # type: ignore[arg-type]
    refused("free: 12 shots need as many examples .* there are 9", shots=12)
    lacking = Tokenizer([bytes([b]) for b in BYTE_ORDER], Numbering(
        ids=tuple(NO_ID if byte == ord("x") else i for i, byte in enumerate(BYTE_ORDER)), special={256: "<|endoftext|>"},
        eot=256, vocab_size=model.config.vocab_size,
    ))  # fmt: skip
    poor = pellucid.GPT(model.config, tokenizer=lacking)
    for prompt, answer in (("a", "x"), ("x", "a")):
        with_x = Task(name="some", queries=[Query(prompt="a", answers=("b",)), Query(prompt=prompt, answers=(answer,))])
        refused("some, query 2: the text holds the byte 0x78", with_x, asked=poor, shots=0)
    (tmp_path / "fox.txt").write_text("fox", encoding="utf-8")
    refused("fox: the text holds the byte 0x78", tmp_path / "fox.txt", asked=poor)
    refused("shots must be", shots="0,1")
    refused("shots must be a whole number, 0 to 1000", shots=-1)
    refused("name a number of examples", shots=())
    refused("queries must be", queries=0)
    refused("orders must be", orders=0)
    long = Task(name="long", queries=[Query(prompt=a * n, answers=("b",)) for a, n in (("a", 1), ("b", 90))])
    refused("long, query 2: task and query alone are", long, shots=0)
    wide = Task(name="wide", queries=[Query(prompt=a * 28, answers=("b",)) for a in "cde"])
    refused("wide: no example fits beside any query in a context of 64", wide, shots=(0, 2))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    refused("holds other files and no evaluation", out=tmp_path / "other")
    refused("is a file", out=tmp_path / "other" / "file")
    out = tmp_path / "e"
    out.mkdir()
    with locked(out):
        refused("is in use by another process", shots=0, out=out)
    pellucid.evaluate(model, FREE, shots=0, out=out)  # though the lock's file is there
    refused("holds free, 0 shots, order 1, query 1 with another prompt",
            Task(name="free", description="Do:", queries=FREE.queries), shots=0, out=out)  # fmt: skip
    another = lively(pellucid.GPT(model.config, tokenizer=model.tokenizer, seed=4))
    refused("samples of another model", asked=another, shots=0, out=out)
    lines = (out / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    for changed, said in (
        (lines[1][:-1], "line 2: it is not JSON"), ('{"task": 3}', "line 2: task must be text"),
        (lines[1].replace('"tokens": [', '"tokens": [1, '), "query 2: tokens must be 1 numbers"),
        (lines[1].replace('"logprobs": [', '"logprobs": ["x", '), "query 2: logprobs must be"),
    ):  # fmt: skip
        (out / "samples.jsonl").write_text("\n".join([lines[0], changed, *lines[2:]]) + "\n", encoding="utf-8")
        refused(said, shots=0, out=out)


def test_queries_in_the_training_text_are_found() -> None:
    words = [f"w{i}" for i in range(40)]
    seen, edge, unseen, short = " ".join(words[:12]), " ".join(words[20:28]), " ".join(reversed(words[:12])), "w1 w2"
    boiler = " ".join(f"b{i}" for i in range(8))
    task = Task(name="t", queries=[Query(prompt=text, answers=("z",)) for text in (seen, edge, unseen, short, boiler)])
    documents = [f"Once, {' '.join(words[:9]).upper()}!", f"x {' '.join(words[20:28])} Z.", " ".join(words[10:21])]
    (found,) = overlaps([task], [*documents, *[f"{boiler} z"] * (BOILERPLATE + 1)])
    assert (found.length, found.queries, found.dirty, found.too_short) == (8, 5, (0, 1), (3,))
    assert found.boilerplate == 2  # two stretches of eight words
    answers = Task(name="t", queries=[Query(prompt=f"q {' '.join(words[:6])}", answers=("no", "w6 w7"))])
    assert overlaps([answers], documents)[0].dirty == (0,)  # with its second right answer
    assert [length_of([n] * 20) for n in (3, 10, 50)] == [8, 10, 13] and length_of([9] + [12] * 30) == 12
    assert words_of("The  fox, ran -- It's!") == ["the", "fox", "ran", "its"]
    assert words_of("\u201cThe fox\u2019s,\u201d ran\u2026 \u2014 $5") == ["the", "foxs", "ran", "5"]
    assert list(grams("abcd", 3)) == [("a", "b", "c"), ("b", "c", "d")]


def test_a_runs_text_is_what_it_was_trained_on(
    documents: list[Document], tiny_run: Path, stories: Path, tmp_path: Path
) -> None:  # fmt: skip
    trained, whole = list(training_documents(tiny_run)), [document.text for document in documents]
    assert trained and all(any(text in one for one in whole) for text in trained)
    assert 0.5 * len("".join(whole)) < len("".join(trained)) < len("".join(whole))
    assert len(list(training_documents(stories))) == len(whole)
    sentence = " ".join(trained[-1].split()[-16:])
    task = Task(name="t", format="plain", queries=[Query(prompt=text, answers=("z",)) for text in (sentence, "no " * 15)])
    assert [one.dirty for one in overlaps([task], training_documents(tiny_run))] == [(0,)]
    with pytest.raises(PellucidError, match="there is no file or folder"):
        training_documents(tmp_path / "none")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").touch()
    with pytest.raises(PellucidError, match="keeps no training text"):
        training_documents(tmp_path / "run")


def test_contamination_is_in_the_table(model: pellucid.GPT, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("a a a a b b b b c\n", encoding="utf-8")
    both = [Query(prompt="a a a a b b b b", answers=("c",)), Query(prompt="d d d d b b b b", answers=("c",))]
    scores = pellucid.evaluate(model, Task(name="t", queries=both), shots=0, contamination=text)
    (found,) = scores.contamination
    assert (found.overlap.dirty, found.overlap.length, found.shots, found.metric) == ((0,), 9, 0, "exact_match")
    assert "Contamination" in scores.markdown()
    (kept,) = scores.to_dict()["contamination"]
    assert (kept["dirty"], kept["score"], set(kept) & {"overlap"}) == ((0,), found.score, set())
    assert Scores(model="", seed=0).markdown() == "\n"
