"""Training by the default model's recipe: the optimizer, the schedule, checkpoints, going on after a kill, export."""

import bz2
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from recipe_data import LEXICON
from torch import Tensor

import pellucid
from pellucid.evaluation import families
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.fingerprint import fingerprint
from pellucid.text import Tokenizer
from pellucid.training.placement import default_dtype
from recipes.default_model import checkpoints, task_file, train
from recipes.default_model.books import TEST, VALIDATION
from recipes.default_model.evaluate import Answers, answer, bits_per_byte, few_shot, gain, groups_of, read_model
from recipes.default_model.export import export
from recipes.default_model.families import HELD_OUT
from recipes.default_model.groups import MARKUP
from recipes.default_model.settings import Settings, shape
from recipes.default_model.train import Run, begin_decay, begin_with


def settings_of(data: Path, **changes: Any) -> Settings:
    """A run of a tiny shape: 4 windows of 64 tokens a step."""
    tokenizer = Tokenizer.load(data)
    values: dict[str, Any] = {
        "config": shape("tiny", tokenizer.vocab_size, n_ctx=64).to_dict(),
        "data": str(data),
        "tokenizer": tokenizer.fingerprint,
        "batch": 4,
        "micro_batch": 2,
        "warmup_tokens": 512,
        "evaluate_every": 10**9,
        "keep_every": 2048,
    }
    return Settings(**(values | changes))


def begun(folder: Path, settings: Settings) -> Path:
    """A run folder."""
    folder.mkdir()
    settings.save(folder)
    return folder


def tensors(run: Run) -> dict[str, Tensor]:
    """All that a run carries from step to step."""
    return {
        **{f"weights.{n}": p.data for n, p in run.model.named_parameters()},
        **{f"average.{n}": p for n, p in run.average.items()},
        **dict(train.checkpoints.state_of(run.model, run.optimizer)),
    }


def lines(folder: Path) -> list[dict[str, Any]]:
    """Its metrics without the times."""
    read = [json.loads(line) for line in (folder / train.METRICS).read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key not in ("tokens_per_s", "cpu_s")} for line in read]


def test_the_rate_rises_stays_and_falls(recipe_data: Path) -> None:
    flat = settings_of(recipe_data, learning_rate=0.01, warmup_tokens=1024)
    rates = [flat.learning_rate_at(tokens) for tokens in range(0, 8192, 256)]
    assert rates[0] == pytest.approx(0.002) and rates[:5] == sorted(rates[:5])
    assert set(rates[4:]) == {0.01} and flat.end is None and flat.learning_rate_at(10**12) == 0.01
    falling = replace(flat, decay_from=4096, decay_tokens=2048)
    assert falling.end == 6144
    assert [falling.learning_rate_at(t) for t in (4095, 4096, 5120, 6144)] == pytest.approx([0.01, 0.01, 0.0055, 0.001])


def test_a_resumed_run_has_the_bits_of_one_that_was_not(recipe_data: Path, tmp_path: Path) -> None:
    settings = settings_of(recipe_data)
    whole = train.train(begun(tmp_path / "whole", settings), settings, until=6 * 256, evaluate=False)
    begun(tmp_path / "parts", settings)
    for until in (2 * 256, 3 * 256, 6 * 256):
        parts = train.train(tmp_path / "parts", settings, until=until, evaluate=False)
    assert (whole.step, whole.tokens) == (parts.step, parts.tokens) == (6, 6 * 256)
    expected, found = tensors(whole), tensors(parts)
    assert expected.keys() == found.keys() and len(expected) > 60
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")
    starts = [json.loads(line) for line in (tmp_path / "parts" / train.LOG).read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in starts] == [0, 2, 3]
    assert all(line["dtype"] == "float32" and line["threads"] == 1 and line["processor"] for line in starts)


@pytest.mark.long
def test_a_killed_run_goes_on_where_its_checkpoint_was(recipe_data: Path, tmp_path: Path) -> None:
    """`kill -9` in the middle of things, then --resume: the metrics and weights of a run that was left alone."""
    settings = settings_of(recipe_data, checkpoint_seconds=0.0)
    folder = begun(tmp_path / "run", settings)
    command = [sys.executable, "-m", "recipes.default_model.train", str(folder), "--resume", "--no-evaluation"]
    root = Path(__file__).parents[2]
    process = subprocess.Popen([*command, "--tokens", str(10**9)], cwd=root)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (checkpoints.newest(folder) or folder) < checkpoints.folder(folder, 4):
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    reached = checkpoints.newest(folder)
    assert reached is not None
    step = checkpoints.read_state(reached)["step"]
    with (folder / train.METRICS).open("a", encoding="utf-8") as file:
        file.write('{"step": 99')  # a line cut short
    until = (step + 3) * 256
    resumed = train.train(folder, settings, until=until, evaluate=False)
    alone = train.train(begun(tmp_path / "alone", settings), settings, until=until, evaluate=False)
    assert lines(folder) == lines(tmp_path / "alone")
    assert all(torch.equal(tensor, tensors(alone)[name]) for name, tensor in tensors(resumed).items())


def test_a_run_that_is_asked_to_stop_saves_first(recipe_data: Path, tmp_path: Path) -> None:
    settings = settings_of(recipe_data)
    answers = iter([False, False, True])
    run = train.train(begun(tmp_path / "run", settings), settings, evaluate=False, stop=lambda: next(answers))
    assert run.step == 2 and checkpoints.newest(tmp_path / "run") == checkpoints.folder(tmp_path / "run", 2)


def test_checkpoints_that_stay(recipe_data: Path, tmp_path: Path) -> None:
    """The newest three, and the first after every `keep_every` tokens (8 steps here)."""
    settings = settings_of(recipe_data, checkpoint_seconds=0.0)
    folder = begun(tmp_path / "run", settings)
    (folder / "checkpoints" / "step-00000003.part").mkdir(parents=True)  # as a kill leaves it
    train.train(folder, settings, until=20 * 256, evaluate=False)
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        f"step-{step:08d}" for step in (8, 16, 18, 19, 20)
    ]
    weights = checkpoints.folder(folder, 20) / checkpoints.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match="damaged"):
        Run(folder, settings)


def test_the_end_of_a_run_begins_at_any_checkpoint(recipe_data: Path, tmp_path: Path) -> None:
    settings = settings_of(recipe_data, learning_rate=0.01)
    folder = begun(tmp_path / "run", settings)
    flat = train.train(folder, settings, until=8 * 256, evaluate=False)
    kept = checkpoints.newest(folder)
    assert kept is not None
    ended = begin_decay(kept, tmp_path / "end", 1024)
    run = train.train(tmp_path / "end", ended, evaluate=False)
    assert (run.step, run.tokens) == (12, flat.tokens + 1024)
    assert [line["lr"] for line in lines(tmp_path / "end")] == pytest.approx([0.01, 0.00775, 0.0055, 0.00325])
    assert checkpoints.newest(folder) == kept


def test_a_run_begins_with_a_models_weights(recipe_data: Path, tmp_path: Path) -> None:
    settings = settings_of(recipe_data)
    model = GPT(GPTConfig.from_dict(settings.config), tokenizer=Tokenizer.load(recipe_data), seed=9)
    settings = begin_with(model, tmp_path / "run", settings)
    assert settings.begun_with == fingerprint(model) and Settings.load(tmp_path / "run") == settings
    run = Run(tmp_path / "run", settings)
    expected = dict(model.named_parameters())
    assert run.step == 0 and expected.keys() == run.average.keys()
    for name, p in run.model.named_parameters():
        assert torch.equal(p, expected[name]) and torch.equal(run.average[name], expected[name])
    other = Run(begun(tmp_path / "other", settings), settings)
    assert not torch.equal(run.model.wte.weight, other.model.wte.weight)


@pytest.mark.long
def test_two_processes_compute_what_one_does(recipe_data: Path, tmp_path: Path) -> None:
    settings = settings_of(recipe_data, learning_rate=0.01)
    one = train.train(begun(tmp_path / "one", settings), settings, until=4 * 256, evaluate=False)
    two = begun(tmp_path / "two", settings)
    command = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "recipes.default_model.train"]
    words = [str(two), "--resume", "--tokens", str(4 * 256), "--no-evaluation"]
    subprocess.run([sys.executable, *command, *words], cwd=Path(__file__).parents[2], check=True, timeout=120)
    losses, expected = ([line["loss"] for line in lines(folder)] for folder in (two, tmp_path / "one"))
    assert len(losses) == 4 and losses == pytest.approx(expected, rel=1e-5)
    assert all(torch.allclose(t, tensors(one)[name], atol=1e-4) for name, t in tensors(Run(two, settings)).items())


def test_the_average_follows_the_weights(recipe_data: Path, tmp_path: Path) -> None:
    settings = settings_of(recipe_data, average=0.5)
    run = Run(begun(tmp_path / "run", settings), settings)
    expected = {name: p.data.clone() for name, p in run.model.named_parameters()}
    for step in range(5):
        run.take_step()
        stays = min(0.5, (1 + step) / (10 + step))
        expected = {name: stays * expected[name] + (1 - stays) * p.data for name, p in run.model.named_parameters()}
    for name, p in run.average.items():
        torch.testing.assert_close(p, expected[name])


def test_export_is_a_model_that_loads(recipe_data: Path, tmp_path: Path) -> None:
    settings = settings_of(recipe_data)
    run = train.train(begun(tmp_path / "run", settings), settings, until=512, evaluate=False)
    checkpoint = checkpoints.newest(tmp_path / "run")
    assert checkpoint is not None
    ids = torch.randint(0, 600, (2, 20), generator=torch.Generator().manual_seed(1))
    expected = run.averaged.eval()(ids)
    export(checkpoint, recipe_data, tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert torch.equal(loaded(ids), expected) and loaded.tokenizer == Tokenizer.load(recipe_data)
    assert torch.equal(read_model(checkpoint, recipe_data)(ids), expected)
    assert torch.equal(read_model(tmp_path / "model", recipe_data)(ids), expected)
    export(checkpoint, recipe_data, tmp_path / "small", storage="int8")
    assert (load(tmp_path / "small")(ids) - expected).abs().max() < 0.05
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("model", "small")]
    assert sizes[1] < 0.5 * sizes[0]
    with pytest.raises(ValueError, match="not a checkpoint"):
        export(tmp_path, recipe_data, tmp_path / "none")


def test_answers_are_scored_as_one_by_one(recipe_data: Path, tmp_path: Path) -> None:
    settings = settings_of(recipe_data)
    model = Run(begun(tmp_path / "run", settings), settings).averaged.eval()
    for family in (*HELD_OUT[:3], MARKUP):
        groups = groups_of(family, LEXICON, 6, seed=1)
        for shots in (0, 1, 8):
            found = answer(model, groups, shots)
            dropped = 0
            for group, logprob in zip(groups, found.logprobs, strict=True):
                count = shots
                while count and len(model.require_tokenizer().encode(f"{group.shots(count).text} {group.answer}")) > 64:
                    count -= 1
                dropped += shots - count
                ids, first = group.shots(count).answered(model, group.answer)
                over = max(0, len(ids) - 64)
                logits = model(torch.tensor([ids[over:][:-1]])).log_softmax(-1)[0]
                start = max(1, first - over)
                expected = sum(logits[i - 1, ids[over:][i]].item() for i in range(start, len(ids) - over))
                assert logprob == pytest.approx(expected, abs=1e-3)
            assert found.dropped == dropped


def test_pellucid_evaluate_scores_the_families_as_the_recipe_does(
    recipe_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """The file in the package, made with this lexicon: the same prompts, the same log-probability of each answer."""
    file = tmp_path / "families.jsonl.bz2"
    file.write_bytes(bz2.compress("".join(task_file.lines(LEXICON, queries=2)).encode()))
    monkeypatch.setattr(families, "FAMILIES", file)
    families.queries_of_families.cache_clear()
    tokenizer = Tokenizer.load(recipe_data)
    model = GPT(shape("tiny", tokenizer.vocab_size), tokenizer=tokenizer, seed=1)
    names = ("lookup", "swap_first_two")
    try:
        pellucid.evaluate(model, ",".join(names), shots=(0, 1, 8), out=tmp_path / "e")
    finally:
        families.queries_of_families.cache_clear()
    samples = [json.loads(line) for line in (tmp_path / "e" / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    for name in names:
        groups = groups_of(name, LEXICON, 2, seed=task_file.SEED)
        for shots in (0, 1, 8):
            mine = [s for s in samples if (s["task"], s["shots"]) == (name, shots)]
            found = answer(model, groups, shots)
            assert len(mine) == 2
            assert sum(s["dropped"] for s in mine) >= found.dropped  # `fitted` leaves room for a longer answer
            for sample, group, logprob in zip(mine, groups, found.logprobs, strict=True):
                assert sample["answers"] == [group.answer]
                if not sample["dropped"]:
                    assert sample["prompt"] == group.shots(shots).text
                    assert sample["logprobs"][0] == pytest.approx(logprob, abs=1e-3)


def test_scores_are_paired(recipe_data: Path, tmp_path: Path) -> None:
    few = Answers(family="x", shots=8, logprobs=(-1.0, -2.0, -1.0), right=(True, False, True), dropped=0)
    zero = replace(few, shots=0, logprobs=(-2.0, -4.0, -4.0), right=(False, False, False))
    mean, error = gain(few, zero)
    assert mean == pytest.approx(2.0) and error == pytest.approx(1.96 / 3**0.5)
    settings = settings_of(recipe_data)
    model = Run(begun(tmp_path / "run", settings), settings).averaged
    once, again = (few_shot(model, LEXICON, HELD_OUT[:2], queries=4, seed=2) for _ in range(2))
    assert once == again and once != few_shot(model, LEXICON, HELD_OUT[:2], queries=4, seed=3)


def test_bits_of_books_count_their_own_bytes(recipe_data: Path, tmp_path: Path) -> None:
    """A model that knows nothing needs log2(V) bits a token, whatever the book."""
    settings = settings_of(recipe_data)
    run = Run(begun(tmp_path / "run", settings), settings)
    with torch.no_grad():
        run.averaged.wte.weight.zero_()
    tokenizer = run.averaged.require_tokenizer()
    documents = {d["name"]: d for d in run.corpus.documents()}
    for paths in (TEST, VALIDATION):
        tokens = sum(documents[path]["tokens"] - 1 for path in paths)
        text_bytes = sum(documents[path]["bytes"] for path in paths)
        found = bits_per_byte(run.averaged, run.corpus, paths)
        bits = torch.tensor(float(tokenizer.vocab_size)).log2().item()
        assert found == pytest.approx(bits * tokens / text_bytes, rel=0.02)
    subset = bits_per_byte(run.averaged, run.corpus, VALIDATION, windows_a_book=1)
    assert 0.5 * found < subset < 2 * found


def test_a_step_takes_the_products_that_it_is_told(recipe_data: Path, tmp_path: Path) -> None:
    if default_dtype() == torch.float32:
        pytest.skip("bfloat16 is emulated here")
    settings = settings_of(recipe_data, dtype="bfloat16")
    run = Run(begun(tmp_path / "run", settings), settings)
    assert run.take_step()["loss"] < 7
