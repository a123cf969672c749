"""Runs that meet trouble: killed at an awkward moment, fed nonsense, used twice at once."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import pellucid
from pellucid import Example
from pellucid.corpus import Document
from pellucid.errors import PellucidError
from pellucid.files import write_whole
from pellucid.finetuning.tasks import number_words
from pellucid.generation.model import GPT
from pellucid.gpt.arrangements import alternating
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.loss import IGNORE
from pellucid.locks import locked
from pellucid.text import Tokenizer, train_tokenizer
from pellucid.training import checkpoint
from pellucid.training.checkpoint import KeptModel


CONFIG = GPTConfig(vocab_size=280, n_ctx=32, n_layers=2, d_model=16, n_heads=2, pattern=alternating(2, band=8))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["the fox ran over the hill and saw a bird"] * 3, 280)


@pytest.fixture(scope="module")
def base(tokenizer: Tokenizer) -> GPT:
    return GPT(CONFIG.replace(vocab_size=tokenizer.vocab_size), tokenizer=tokenizer, seed=1)


@pytest.fixture(scope="module")
def text() -> list[Document]:
    return [Document(str(i), f"the fox ran {i} times over the hill and saw a bird. " * 20) for i in range(6)]


def run(text: list[Document], out: Path, **options: object) -> pellucid.Run:
    options = {"config": CONFIG, "steps": 6, "batch_tokens": 64, "checkpoint_every": 2, "prompt": ""} | options
    return pellucid.train(text, out, **options)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


class Killed(BaseException):
    """Stands in for a kill: nothing catches it."""


def die(*_: object, **__: object) -> None:
    raise Killed


def test_killed_between_the_last_checkpoint_and_its_model(
    text: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(text, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("pellucid.training.checkpoint.renew_model", die)
        with pytest.raises(Killed):
            run(text, tmp_path / "cut", checkpoint_every=6)
    assert not (tmp_path / "cut" / "model").exists()
    assert pellucid.train([], tmp_path / "cut", resume=True).finished
    assert contents(tmp_path / "cut" / "model") == contents(tmp_path / "whole" / "model")


@pytest.mark.long
def test_killed_before_the_best_model_took_its_place(base: GPT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Held-out losses by look, so that the best model is that of step 3.
    losses = iter([5.0, 4.0, 3.0, 2.0, 2.5, 3.0, 3.5] * 2)
    monkeypatch.setattr("pellucid.finetuning.examples.ExampleBatches.held_out", lambda *_: (next(losses), 1.0))
    options = {"model": base, "steps": 6}
    pellucid.finetune(number_words(range(30)), tmp_path / "whole", **options)
    best = json.loads((tmp_path / "whole" / "best" / "best.json").read_text(encoding="utf-8"))
    assert best["step"] == 3
    real, calls = checkpoint.renew_model, []

    def dies_at_the_end(out: Path, source: Path) -> None:
        calls.append(source.name)
        if source.name == "best":
            raise Killed
        real(out, source)

    with monkeypatch.context() as patch:
        patch.setattr("pellucid.training.checkpoint.renew_model", dies_at_the_end)
        with pytest.raises(Killed):
            pellucid.finetune(number_words(range(30)), tmp_path / "cut", **options)
    pellucid.finetune([], tmp_path / "cut", resume=True)
    assert contents(tmp_path / "cut" / "model") == contents(tmp_path / "whole" / "model")


def test_an_empty_best_file_is_no_obstacle(base: GPT, tmp_path: Path) -> None:
    asked = iter([False] * 3 + [True])
    pellucid.finetune(number_words(range(30)), tmp_path / "run", model=base, steps=6, stop=lambda: next(asked))
    (tmp_path / "run" / "best" / "best.json").write_text("", encoding="utf-8")
    assert pellucid.finetune([], tmp_path / "run", resume=True).finished


def test_killed_while_pruning_leaves_no_half_checkpoint(
    text: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.rmtree

    def dies_in_a_prune(path: Path, **options: bool) -> None:
        if not options:  # of an old checkpoint; the others ignore errors
            (Path(path) / "model.safetensors").unlink()
            raise Killed
        real(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr("pellucid.folders.shutil.rmtree", dies_in_a_prune)
        with pytest.raises(Killed):
            run(text, tmp_path / "run")
    complete = sorted(p.name for p in (tmp_path / "run" / "checkpoints").glob("step-????????"))
    assert complete == ["step-00000004", "step-00000006"]


def test_a_run_in_use_is_refused(text: list[Document], tmp_path: Path) -> None:
    asked = iter([True])
    run(text, tmp_path / "run", stop=lambda: next(asked))
    with locked(tmp_path / "run"), pytest.raises(PellucidError, match="in use by another process"):
        pellucid.train([], tmp_path / "run", resume=True)
    assert pellucid.train([], tmp_path / "run", resume=True).finished


def test_an_interrupted_preparation_is_cleared_away(
    text: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("pellucid.training.prepare.shutil.rmtree", lambda *_, **__: None)  # a kill tidies nothing
        patch.setattr("pellucid.training.run.make_plan", die)
        with pytest.raises(Killed):
            run(text, tmp_path / "run")
    assert (tmp_path / "run" / ".partial" / "corpus" / "corpus.json").exists()
    assert run(text, tmp_path / "run").finished
    assert not (tmp_path / "run" / ".partial").exists()


def test_an_empty_folder_may_become_a_run(text: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(text, Path(".")).finished
    assert pellucid.load(".").generate([1], max_tokens=1).ids


def test_a_loss_that_is_no_number_names_the_learning_rate(text: list[Document], tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match=r"learning rate below 1e\+09|no longer finite"):
        run(text, tmp_path / "run", learning_rate=1e9, checkpoint_every=1)
    assert not list((tmp_path / "run" / "checkpoints").glob("*")) if (tmp_path / "run" / "checkpoints").exists() else True
    for line in (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        assert "NaN" not in line


@pytest.mark.parametrize("name", ["state.json", "run.json", "config.json"])
@pytest.mark.parametrize("content", [b"[]", b"", b"\xff\xfe", b'{"version": 1}'])
def test_damaged_json_is_one_clear_line(text: list[Document], tmp_path: Path, name: str, content: bytes) -> None:
    asked = iter([False, False, True])
    run(text, tmp_path / "run", stop=lambda: next(asked))
    newest = checkpoint.newest(tmp_path / "run")
    assert newest is not None
    (tmp_path / "run" / name if name == "run.json" else newest / name).write_bytes(content)
    with pytest.raises(PellucidError, match=name):
        pellucid.train([], tmp_path / "run", resume=True)
    if name == "config.json":
        with pytest.raises(PellucidError, match=name):
            pellucid.load(newest)


def test_sample_prompts_must_fit(text: list[Document], base: GPT, tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match="the sample prompt has"):
        run(text, tmp_path / "run", prompt="the fox " * 100)
    assert not (tmp_path / "run").exists()
    long = [Example("the fox ran over the hill and saw a bird " * 2 + str(i), "x") for i in range(4)]
    done = pellucid.finetune(long, tmp_path / "tuned", model=base, steps=1)
    assert [line["sample"] for line in done.metrics() if "sample" in line]


@pytest.mark.parametrize("options", [{"steps": 7}, {"preset": "tiny"}, {"learning_rate": 1.0}, {"prompt": "x"}])
def test_a_resumed_run_takes_no_other_plan(text: list[Document], tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(PellucidError, match="no run in"):
        pellucid.train([], tmp_path / "run", resume=True, **options)  # type: ignore[arg-type]
    run(text, tmp_path / "run", steps=1)
    with pytest.raises(PellucidError, match=f"^{next(iter(options))} (is .* in|was not given when) .*a run goes on as it was"):
        pellucid.train([], tmp_path / "run", resume=True, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [{"learning_rate": 0.0}, {"checkpoint_every": -3}, {"steps": 0}, {"steps": None, "minutes": float("nan")},
     {"batch_tokens": 10}, {"learning_rate": float("inf")}],
)  # fmt: skip
def test_numbers_that_cannot_be_are_refused(text: list[Document], tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(PellucidError, match=r"above 0|less than one window"):
        run(text, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_shape_that_cannot_fit_is_refused_before_it_is_made(text: list[Document], tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match=r"174,604,259,328 parameters takes .* GB \(2,793\.7 for weights"):
        pellucid.train(text, tmp_path / "deep" / "run", preset="gpt3-175b", steps=1)
    assert not any(tmp_path.iterdir())


def test_a_failed_preparation_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match="no file or folder"):
        pellucid.train(tmp_path / "missing.txt", tmp_path / "deep" / "run", preset="tiny", steps=1)
    assert not any(tmp_path.iterdir())


def test_a_json_file_is_not_taken_for_text(base: GPT, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": ["b"]}', encoding="utf-8")
    with pytest.raises(PellucidError, match=r"not an example"):
        pellucid.finetune(tmp_path / "x.json", tmp_path / "run", model=base)


def test_what_was_kept_is_said(base: GPT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([5.0, 4.0, 6.0])
    monkeypatch.setattr("pellucid.finetuning.examples.ExampleBatches.held_out", lambda *_: (next(losses), 1.0))
    done = pellucid.finetune(number_words(range(30)), tmp_path / "run", model=base, steps=2)
    assert done.kept == KeptModel(step=1, held_out_loss=4.0, right=0)
    assert run([Document("a", "the fox ran " * 99)], tmp_path / "plain", steps=1).kept is None


def test_any_seed_will_do(text: list[Document], tmp_path: Path) -> None:
    assert run(text, tmp_path / "run", steps=1, seed=2**63 - 1).finished
    assert run(text, tmp_path / "other", steps=1, seed=-1).finished


def test_a_few_examples_are_enough_to_learn_from(base: GPT, tmp_path: Path) -> None:
    done = pellucid.finetune([Example(f"{i} =>", f" {i}{i}") for i in range(10)], tmp_path / "run", model=base)
    assert done.plan.batch == 1
    assert done.step == 32
    rates = [line["lr"] for line in done.metrics() if "lr" in line]
    assert max(rates) == pytest.approx(done.plan.recipe.learning_rate, rel=0.01)


def test_training_leaves_the_process_as_it_was(text: list[Document], tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    threads = torch.get_num_threads()
    run(text, tmp_path / "run", steps=1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_a_target_outside_the_vocabulary_is_an_error(base: GPT) -> None:
    ids = torch.zeros(1, 4, dtype=torch.int64)
    assert base(ids, torch.tensor([[1, 2, 3, IGNORE]])).isfinite()
    for wrong in (-1, base.config.vocab_size):
        with pytest.raises(PellucidError, match="targets hold"):
            base(ids, torch.tensor([[1, 2, 3, wrong]]))


def test_dropout_survives_a_directory(tmp_path: Path) -> None:
    for pattern in (alternating(2, band=8), ("dense", "dense")):
        config = GPTConfig.from_dict({**CONFIG.to_dict(), "dropout": 0.1, "pattern": [str(p) for p in pattern]})
        GPT(config).save(tmp_path)
        assert pellucid.load(tmp_path).config == config


def test_a_file_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    write_whole(path, "old\n")
    with monkeypatch.context() as patch:
        patch.setattr("pellucid.files.os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(PellucidError, match=r"cannot write .*x\.json: full"):
            write_whole(path, "new\n")
    assert path.read_bytes() == b"old\n"
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
