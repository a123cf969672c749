"""prime: the record's numbers are the model's own, examples are the first ones, and what does not fit is refused by name."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from models import lively
from tampering import signed_again

import pellucid
from pellucid.cli import main
from pellucid.errors import PellucidError
from pellucid.gpt.pattern import Banded, Dense, parse
from pellucid.interpret.formulas import attention_weights
from pellucid.interpret.tap import ActivationTap
from pellucid.record import check


EXAMPLES = [("the fox", "a river"), ("day", "on"), ("king", "the queen")]
PROMPT = pellucid.Prompt("Do:", EXAMPLES, "fox")


def model_of(tiny_run: Path, pattern: tuple[object, ...] = (Banded(9), Dense())) -> pellucid.GPT:
    config = pellucid.GPTConfig(vocab_size=300, n_ctx=64, n_layers=len(pattern), d_model=24, n_heads=3, pattern=pattern)
    return lively(pellucid.GPT(config, seed=3, tokenizer=pellucid.load(tiny_run).tokenizer))


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> pellucid.GPT:
    return model_of(tiny_run)


@pytest.fixture(scope="module")
def record(model: pellucid.GPT) -> pellucid.Record:
    return pellucid.prime(model, PROMPT, answer="the king", shots=(3, 0, 1, 1), candidates=6)


def test_every_number_is_that_of_one_plain_pass(model: pellucid.GPT, record: pellucid.Record) -> None:
    """The oracle: `model(ids)` for the whole text, and attention by its definition."""
    check(record)
    answer = record["priming/answer_ids"].tolist()
    starts = record["priming/starts"].tolist()
    assert record["priming/shots"].tolist() == [0, 1, 3]
    for i, count in enumerate((0, 1, 3)):
        ids, start = PROMPT.shots(count).answered(model, "the king")
        assert record["priming/ids"][starts[i] : starts[i + 1]].tolist() == ids[:start] and answer == ids[start:]
        tap = ActivationTap(2, ("attention",), clock=False)
        with torch.inference_mode():
            logprobs = model(torch.tensor([ids]), tap=tap)[0].log_softmax(-1)
        own = [float(logprobs[start - 1 + place, token]) for place, token in enumerate(answer)]
        assert record["priming/logprobs"][i] == pytest.approx(own, abs=1e-4)
        top = logprobs[start - 1].topk(6)
        assert record["priming/topk_ids"][i].tolist() == top.indices.tolist()
        assert record["priming/topk_logprobs"][i] == pytest.approx(top.values.numpy(), abs=1e-4)
        greedy = model.generate(ids[:start], max_tokens=len(answer), temperature=0, logit_bias={model.end_of_text: -100})
        assert greedy.ids == record["priming/greedy_ids"][i].tolist()
        assert record["priming/greedy_logprobs"][i] == pytest.approx(np.array(greedy.logprobs), abs=1e-4)
        for block, pattern in enumerate(model.config.pattern):
            weights = attention_weights(*tap.queries_and_keys(block), pattern)[:, start - 1, :start].numpy()
            stored = record[f"priming/attention/{block}"][:, starts[i] : starts[i + 1]].astype(np.float64)
            assert np.abs(stored - weights).max() < 1e-3 and np.abs(stored.sum(1) - 1).max() < 2e-3
    assert record.verify(model).ok and record.verify(model).complete


@pytest.mark.parametrize("name", ["strided(6)", "fixed(8,2)", "local(10)", "compressed(3,3)"])
def test_every_pattern_records_and_verifies(tiny_run: Path, name: str) -> None:
    model = model_of(tiny_run, (parse(name), Dense()))
    record = pellucid.prime(model, PROMPT, answer="the king", record_dtype="float32")
    assert record.entry("priming/attention/0").dtype == "float32"
    report = record.verify(model)
    assert report.ok and report.complete, report
    with pytest.raises(PellucidError, match="made with another model"):
        record.verify(model_of(tiny_run))


def test_a_changed_model_records_what_it_computes(tiny_run: Path) -> None:
    model = model_of(tiny_run)
    plain = pellucid.prime(model, PROMPT, answer="the king")
    model.h[1].mlp.register_forward_hook(lambda module, given, out: out * 0.5)
    changed = pellucid.prime(model, PROMPT, answer="the king")
    assert np.abs(changed["priming/logprobs"] - plain["priming/logprobs"]).max() > 1e-3
    assert changed.verify(model).ok and not plain.verify(model).ok


def test_without_a_tokenizer_texts_are_unchecked(model: pellucid.GPT, record: pellucid.Record) -> None:
    bare = model.copy()
    bare.tokenizer = None
    report = record.verify(bare)
    assert report.ok and not report.complete
    assert {"priming/ids", "priming/prompt", "pieces/bytes"} <= {row.chunk for row in report.chunks if row.unchecked}
    with pytest.raises(PellucidError, match="tokenizer"):
        pellucid.prime(bare, PROMPT, answer="the king")


def test_texts_that_contradict_the_tokens_are_found(model: pellucid.GPT, record: pellucid.Record) -> None:
    stated = record["priming/prompt"]
    for change in (
        {"task": "Do!"}, {"query": "day"}, {"answer": "the queen"}, {"format": "qa"}, {"examples": stated["examples"][:2]},
        {"examples": [*stated["examples"], stated["examples"][0]]}, {"more": 1}, {"examples": 5}, {"query": ""},
    ):  # fmt: skip
        report = signed_again(record, {"priming/prompt": stated | change}).verify(model)
        assert "priming/prompt" in {row.chunk for row in report.chunks if not row.ok}, change
    for value in ([], 5, None, {}):
        assert not signed_again(record, {"priming/prompt": value}).verify(model).ok
    for name, value in {
        "priming/starts": np.array([0, 0, 0, 0], np.int32), "priming/ids": record["priming/ids"] + 300,
        "priming/answer_ids": record["priming/answer_ids"] - 9999,
    }.items():  # fmt: skip
        with pytest.raises(PellucidError, match="was changed"):
            signed_again(record, {name: value}).verify(model)


def test_what_does_not_fit_is_refused_with_how_many_do(model: pellucid.GPT) -> None:
    many = pellucid.Prompt("Do:", EXAMPLES * 8, "fox")
    with pytest.raises(PellucidError, match=r"with 24 examples the prompt is \d+ tokens long, .*room for \d+ .* fit") as found:
        pellucid.prime(model, many, answer="the king", shots=(0, 24))
    fits = int(str(found.value).rsplit(": ", 1)[1].split()[0])
    assert pellucid.prime(model, many, answer="the king", shots=(fits,))["priming/shots"].tolist() == [fits]
    with pytest.raises(PellucidError, match="examples"):
        pellucid.prime(model, many, answer="the king", shots=(fits + 1,))
    with pytest.raises(PellucidError, match="not even task and query fit"):
        pellucid.prime(model, PROMPT, answer="the king " * 40, shots=(1,))


@pytest.mark.parametrize(("change", "message"), [
    ({"shots": (0, 9)}, "9 shots need as many examples, and there are 3"), ({"shots": ()}, "name 1 to 64"),
    ({"shots": range(65)}, "name 1 to 64"), ({"shots": "01"}, "numbers of examples"), ({"shots": (-1,)}, "0 or more"),
    ({"answer": " "}, "not empty"), ({"answer": "a\nb"}, "ends an answer"), ({"answer": 3}, "answer must be text"),
    ({"candidates": 0}, "candidates"), ({"record_dtype": "float64"}, "record_dtype"),
])  # fmt: skip
def test_wrong_arguments_are_named(model: pellucid.GPT, change: dict[str, object], message: str) -> None:
    with pytest.raises(PellucidError, match=message):
        pellucid.prime(model, PROMPT, **({"answer": "the king"} | change))  # type: ignore[arg-type]


def test_the_command(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [{"prompt": f"{given} =>", "completion": f" {output}"} for given, output in EXAMPLES]
    file, out = tmp_path / "a b.jsonl", tmp_path / "out.pellucid"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    words = ["prime", str(file), "-m", str(tiny_run), "--shots", "0,2"]
    assert main([*words, "--json", "--out", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    with pellucid.open(out) as record:
        assert record.verify(tiny_run).ok
        logprobs = record["priming/logprobs"].astype(float).sum(1)
    assert [row["shots"] for row in found["shots"]] == [0, 2]
    assert [row["logprob"] for row in found["shots"]] == pytest.approx(logprobs.tolist())
    assert (found["query"], found["answer"], found["format"]) == ("king =>", "the queen", "plain")
    assert main(["verify", str(out), "-m", str(tiny_run)]) == 0
    assert main(words) == 0
    text = capsys.readouterr().out
    better = logprobs[1] > logprobs[0]
    assert ("times as likely" in text) == better and ("did not help" in text) != better
    assert "   0 " in text and "right answer: the queen" in text
    assert main(["prime", str(file), "-m", str(tiny_run), "--shots", "4"]) == 1
    assert "4 shots need as many examples, and there are 2" in capsys.readouterr().err
