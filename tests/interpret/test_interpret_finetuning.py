"""A fine-tuning run's record: both models beside each other, and verifying it."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tampering import signed_again, with_header

import pellucid
from pellucid import Example
from pellucid.cli import main
from pellucid.corpus import Document
from pellucid.errors import PellucidError
from pellucid.finetuning.examples import ExampleBatches
from pellucid.interpret.finetuning_recorder import answers
from pellucid.record import StoredArray, check
from pellucid.text.tokenizer import END_OF_TEXT, Numbering, Tokenizer


STEPS = 8


@pytest.fixture(scope="module")
def run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuning run. To be read, not changed."""
    examples = [Example(f"{number} =>", f" {'one ' * (number % 3)}bird") for number in range(30)]
    out = tmp_path_factory.mktemp("tuned") / "run"
    options = {"steps": STEPS, "batch": 4, "learning_rate": 1e-2, "seed": 3, "dtype": "float32"}
    return pellucid.finetune(examples, out, model=tiny_run, **options).path


def read(run: Path) -> pellucid.Record:
    return pellucid.open((run / "finetuning.pellucid").read_bytes())


@pytest.fixture(scope="module")
def record(run: Path) -> pellucid.Record:
    return read(run)


def test_a_run_leaves_a_complete_record(run: Path, record: pellucid.Record) -> None:
    sizes = check(record)
    assert sizes["N"] == STEPS
    base, tuned = pellucid.load(run / "base"), pellucid.load(run)
    for place, name in enumerate(record["finetuning/matrices"]):
        before, after = (dict(model.named_parameters())[f"{name}.weight"] for model in (base, tuned))
        assert record["finetuning/weights"][place] == pytest.approx(before.norm().item(), rel=1e-5)
        assert record["finetuning/change"][place] == pytest.approx((after - before).norm().item(), rel=1e-4)
        shown = record[f"finetuning/thumbnails/{name}"]
        assert (shown >= 0).all() and shown.max() > 0
        if name == "wpe":  # 64 x 32, in tiles of 2 x 1
            right = (after - before).abs().reshape(32, 2, 32).mean(1).numpy()
            assert np.abs(shown - right).max() <= right.max() / 510 + 1e-7
    held_out = [json.loads(line) for line in (run / "held_out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(one["prompt"], one["expected"]) for one in record["finetuning/answers"]] == [
        (one["prompt"], one["completion"]) for one in held_out
    ]
    for one in record["finetuning/answers"]:
        room = len(tuned.require_tokenizer().encode(one["expected"])) + 3
        for model, key in ((base, "before"), (tuned, "after")):
            assert one[key] == model.generate(one["prompt"], max_tokens=room, temperature=0, stop="\n").text
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert record["finetuning/steps/loss"].tolist() == [line["loss"] for line in lines if "loss" in line]
    held_out = [(line["step"], line["held_out_loss"]) for line in lines if "held_out_loss" in line]
    assert list(zip(record["finetuning/held_out/steps"], record["finetuning/held_out/loss"], strict=True)) == held_out


def test_the_truth_passes(run: Path, record: pellucid.Record) -> None:
    with pellucid.open(run / "finetuning.pellucid") as found:
        report = found.verify()
    assert report.ok and [row.chunk for row in report.chunks] == list(record)
    unchecked = {row.chunk: row.note for row in report.chunks if row.unchecked}
    by_step = {f"finetuning/{name}" for name in ("steps/loss", "held_out/loss", "held_out/right")}
    assert {"finetuning/steps/loss"} <= unchecked.keys() <= by_step
    note = unchecked["finetuning/steps/loss"]
    assert note.startswith("recomputed at 1, ") and "others only compared with the run's own log" in note
    assert main(["verify", str(run / "finetuning.pellucid")]) == 0


def test_every_changed_number_is_caught(run: Path, record: pellucid.Record) -> None:
    names = [name for name in record if record.entry(name).dtype != "json"]
    for third in range(3):
        changes: dict[str, Any] = {}
        for name in names:
            array, entry = record.stored(name).copy(), record.entry(name)
            at = np.unravel_index((0, array.size // 2, array.size - 1)[third], array.shape)
            if entry.scale:
                array[at] = array[at] + 2 if array[at] < 200 else array[at] - 2
            else:
                array[at] += 1 if array.dtype.kind in "iu" else 0.02
            changes[name] = StoredArray(array, entry.dtype, entry.scale)
        answers = [dict(one) for one in record["finetuning/answers"]]
        answers[0][("before", "after", "expected")[third]] += "!"
        report = signed_again(record, changes | {"finetuning/answers": answers}).verify(run)
        assert {*names, "finetuning/answers"} == {row.chunk for row in report.chunks if not row.ok}


def test_without_the_general_text_it_is_not_vouched_for(run: Path, record: pellucid.Record, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "general.json").unlink()
    report = record.verify(copy)
    bad = {row.chunk: row.note for row in report.chunks if not row.ok}
    assert bad["finetuning/general/loss"] == bad["finetuning/general/ids"] == "the run has no general.json"
    assert bad.keys() <= {"finetuning/general/loss", "finetuning/general/ids", *(name for name in record if "pieces" in name)}
    said = {**record.entry("finetuning/general/ids").source}
    assert said == {"text": "held-out text of the run that the model was trained in"}
    liar = signed_again(record, {"finetuning/general/ids": record["finetuning/general/ids"]}, source={"text": "a poem"})
    assert [word.word for word in liar.verify(run).differing] == ["finetuning/general/ids: source"]


def test_a_matrix_that_the_model_lacks_is_caught(run: Path, record: pellucid.Record) -> None:
    matrices = record["finetuning/matrices"]
    added = [*matrices[:-1], "h.99.attn.c_attn"]
    rows = [row | {"name": row["name"].replace(matrices[-1], added[-1])} for row in record.header["chunks"]]
    renamed = pellucid.open(with_header(record, record.header | {"chunks": rows}))
    report = signed_again(renamed, {"finetuning/matrices": added}).verify(run)
    wrong = {row.chunk for row in report.chunks if not row.ok}
    assert {"finetuning/matrices", f"finetuning/thumbnails/{added[-1]}"} <= wrong


def test_other_runs_are_refused(run: Path, record: pellucid.Record, tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match="names the model 0000"):
        signed_again(record, {}, dataclasses.replace(record.provenance, model="0" * 64)).verify(run)
    with pytest.raises(PellucidError, match="its plan says seed 4"):
        signed_again(record, {"finetuning/plan": record["finetuning/plan"] | {"seed": "4"}}).verify(run)
    with pytest.raises(PellucidError, match="is a train run"):
        record.verify(tiny_run)
    with pytest.raises(PellucidError, match=r"verified with its run's directory .*give the run \(on the command line -m RUN\)"):
        record.verify(tmp_path)


def test_resumed_without_and_on_text(run: Path, record: pellucid.Record, tiny_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "finetuning.pellucid").unlink()
    pellucid.finetune([], copy, resume=True, record=False)
    assert not (copy / "finetuning.pellucid").exists()
    pellucid.finetune([], copy, resume=True)  # a kill came before the record: it is made now
    assert (copy / "finetuning.pellucid").read_bytes() == (run / "finetuning.pellucid").read_bytes()

    (tmp_path / "text.txt").write_text("a small bird sang to no one. " * 200, encoding="utf-8")
    text = pellucid.finetune(tmp_path / "text.txt", tmp_path / "text", model=tiny_run, steps=2, batch=2)
    found = read(text.path)
    check(found)
    assert found["finetuning/answers"] == [] and found.verify(text.path).ok
    bare = pellucid.finetune(tmp_path / "text.txt", tmp_path / "bare", model=tiny_run, steps=1, batch=2, record=False)
    assert not (bare.path / "finetuning.pellucid").exists()


def test_prompts_begin_as_they_did_in_training(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the token that begins every prompt, where the tokenizer has one (OPT's)."""
    model = pellucid.load(tiny_run)
    tokens = model.require_tokenizer().ranked_tokens()
    end = len(tokens)
    begins = Numbering(ids=tuple(range(end)), special={end: END_OF_TEXT}, vocab_size=end + 1, eot=end, begin=end)
    model.tokenizer = Tokenizer(tokens, begins)
    example = Example("the fox", " sang")
    asked, generate = [], model.generate
    monkeypatch.setattr(model, "generate", lambda prompts, **options: (asked.extend(prompts), generate(prompts, **options))[1])
    answers(model, model, [example])
    ids = model.tokenizer.encode_prompt(example.prompt)
    assert ids[0] == end and asked == [ids, ids]
    assert ids == ExampleBatches([example], [], model.tokenizer, model.config.n_ctx, 1, 0).train[0][0][: len(ids)]


def test_answers_have_room_in_a_short_context(tmp_path: Path, documents: list[Document]) -> None:
    """Examples that fill the context, whose answers may not be longer than expected."""
    config = pellucid.GPTConfig(vocab_size=300, n_ctx=8, n_layers=1, d_model=16, n_heads=2)
    base = pellucid.train(documents, tmp_path / "base", config=config, steps=1, batch_tokens=64).path
    examples = [Example(f"{number}", " one bird") for number in range(10, 16)]
    tuned = pellucid.finetune(examples, tmp_path / "tuned", model=base, steps=1, batch=2).path
    check(read(tuned))
