"""The general text of a fine-tuning run: where it comes from, and that losses on it are those of a plain pass."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import pellucid
from pellucid.cli import main
from pellucid.corpus.shards import open_corpus
from pellucid.errors import PellucidError
from pellucid.finetuning.examples import Example
from pellucid.finetuning.general import HELD_OUT_TEXT, PASSAGE, PASSAGE_TEXT, WINDOWS, general_text, read_general
from pellucid.interpret.finetuning_recorder import general_losses
from pellucid.runs.plan import Plan


def test_of_a_training_run_it_is_held_out_text(tiny_run: Path) -> None:
    model = pellucid.load(tiny_run)
    general = general_text(tiny_run, model.require_tokenizer(), model.config.n_ctx)
    assert general.origin == HELD_OUT_TEXT and general.ids.shape[1] == model.config.n_ctx + 1
    held_out = open_corpus(tiny_run / "corpus").held_out[:].tolist()
    assert len({tuple(window) for window in general.ids.tolist()}) == len(general.ids) <= WINDOWS
    for window in general.ids.tolist():
        assert any(held_out[i : i + len(window)] == window for i in range(0, len(held_out), model.config.n_ctx))


def test_without_a_run_it_is_the_passage(tiny_run: Path, tmp_path: Path) -> None:
    model = pellucid.load(tiny_run)
    tokenizer = model.require_tokenizer()
    for source in (None, tmp_path, tiny_run / "model"):
        general = general_text(source, tokenizer, 16)
        assert general.origin == PASSAGE_TEXT and general.ids.shape == (WINDOWS, 17) and general.ids[0, 0] == tokenizer.eot
        assert general.ids[1:, 0].tolist() == general.ids[:-1, -1].tolist()  # one text, window after window
        assert " ".join(PASSAGE.split()).startswith(tokenizer.decode(general.ids[0, 1:].tolist()))
    whole = general_text(None, tokenizer, 4096).ids
    assert whole.shape[1] == 129


def test_it_stays_the_same_when_a_tuned_model_is_tuned_again(tiny_run: Path, tmp_path: Path) -> None:
    tokenizer = pellucid.load(tiny_run).require_tokenizer()
    first = general_text(tiny_run, tokenizer, 8)
    first.save(tmp_path)
    again = general_text(tmp_path, tokenizer, 8)
    assert np.array_equal(again.ids, first.ids) and again.origin == first.origin
    assert read_general(tiny_run, tokenizer.vocab_size) is None


@pytest.mark.parametrize(
    "changed", [{"window": 1}, {"window": 7}, {"ids": []}, {"ids": [0, -1]}, {"ids": [0, 300]}, {"origin": 5}, {"window": 200}]
)
def test_a_damaged_file_is_refused(tiny_run: Path, tmp_path: Path, changed: dict[str, object]) -> None:
    tokenizer = pellucid.load(tiny_run).require_tokenizer()
    general_text(tiny_run, tokenizer, 9).save(tmp_path)
    path = tmp_path / "general.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changed), encoding="utf-8")
    with pytest.raises(PellucidError, match=r"general\.json"):
        read_general(tmp_path, 300)


def test_a_run_without_readable_text_takes_the_passage(tiny_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(tiny_run, copy, ignore=shutil.ignore_patterns("*.bin", "*.npy", "*.u16", "corpus.json", "manifest.json"))
    tokenizer = pellucid.load(tiny_run).require_tokenizer()
    assert general_text(copy, tokenizer, 16).origin == PASSAGE_TEXT


def test_losses_are_those_of_a_plain_pass(tiny_run: Path) -> None:
    model = pellucid.load(tiny_run)
    other = pellucid.GPT(model.config, tokenizer=model.tokenizer, seed=9)
    plan = Plan.load(tiny_run, kind="train")
    general = general_text(None, model.require_tokenizer(), 24)
    found = general_losses(model, other, general, plan)
    for row, each in enumerate((model, other)):
        for number, window in enumerate(general.ids[:2].tolist()):
            with torch.inference_mode():
                logprobs = each(torch.tensor([window[:-1]]))[0].log_softmax(-1)
            right = [-logprobs[i, token].item() for i, token in enumerate(window[1:])]
            tolerance = 1e-5 if plan.dtype == "float32" else 0.1
            assert found[row, number] == pytest.approx(right, abs=tolerance)


def test_it_is_of_the_model_that_is_fine_tuned(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of a folder that has the embedded model's name, nor looked for beside a GGUF file's name."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_run, "default")
    assert main(["convert", str(tiny_run), "model.gguf", "--to", "gguf", "--allow-lossy"]) == 0
    examples = [Example(f"{i} =>", f" {i}") for i in range(4)]
    for model in ("default", "model.gguf", Path("default")):
        run = Path(f"run {model!r}".replace("/", "-"))
        pellucid.finetune(examples, run, model=model, steps=1, record=False)
        general = read_general(run, 1 << 20)
        assert general is not None and general.origin == (HELD_OUT_TEXT if isinstance(model, Path) else PASSAGE_TEXT)
