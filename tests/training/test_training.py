"""A run from text to model: the recipe, one step, and that resuming changes no bit."""

import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import MEASURED

import pellucid
from pellucid import events
from pellucid.corpus import Document, open_corpus
from pellucid.errors import PellucidError
from pellucid.gpt.arrangements import alternating
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.loss import IGNORE
from pellucid.runs.plan import Plan, log_spaced
from pellucid.runs.recipe import Recipe
from pellucid.training import checkpoint
from pellucid.training.batches import WindowBatches
from pellucid.training.optimizers import make_optimizer
from pellucid.training.placement import default_dtype
from pellucid.training.step import loss_and_gradients, update
from pellucid.training.throughput import Throughput, measure_throughput


CONFIG = GPTConfig(vocab_size=300, n_ctx=32, n_layers=2, d_model=32, n_heads=2, pattern=alternating(2, band=8))
STORY = "the fox ran over a hill and saw one small bird that sang to no one at all while rain fell on stones"
WORDS = STORY.split()


@pytest.fixture(scope="module")
def text() -> list[Document]:
    """Twelve documents of sentences with a grammar of their own: enough to learn from, the same everywhere."""
    documents = []
    state = 1
    for number in range(12):
        words = []
        for _ in range(300):
            state = (state * 1103515245 + 12345) % 2**31
            words.append(WORDS[(state >> 16) % len(WORDS)] + ("." if state % 7 == 0 else ""))
        documents.append(Document(f"story {number}", " ".join(words)))
    return documents


def test_learning_rate_is_the_paper_s_at_its_size() -> None:
    recipe = Recipe.scaled(6e-4, 300_000_000_000, warmup_tokens=375_000_000)
    assert recipe.decay_tokens == 260_000_000_000
    assert recipe.learning_rate_at(187_500_000) == pytest.approx(3e-4)
    assert recipe.learning_rate_at(375_000_000) == pytest.approx(6e-4)
    middle = (375_000_000 + 260_000_000_000) // 2
    assert recipe.learning_rate_at(middle) == pytest.approx(0.55 * 6e-4, rel=1e-6)
    assert recipe.learning_rate_at(260_000_000_000) == pytest.approx(6e-5)
    assert recipe.learning_rate_at(299_000_000_000) == pytest.approx(6e-5)


@given(st.integers(1, 10**9), st.floats(1e-6, 1.0))
def test_learning_rate_rises_then_falls_and_never_leaves_its_bounds(total: int, peak: float) -> None:
    recipe = Recipe.scaled(peak, total)
    rates = [recipe.learning_rate_at(total * i // 50) for i in range(51)]
    assert all(0 < rate <= peak * (1 + 1e-9) for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert recipe == Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))


def test_recipe_refuses_what_cannot_be() -> None:
    with pytest.raises(PellucidError, match="learning_rate"):
        Recipe.scaled(0.0, 100)
    with pytest.raises(PellucidError, match="at least one token"):
        Recipe.scaled(1e-3, 0)
    with pytest.raises(PellucidError, match="newer version"):
        Recipe.from_dict({**Recipe.scaled(1e-3, 100).to_dict(), "muon": True})


def test_log_spaced_steps() -> None:
    assert log_spaced(10) == (0, 1, 2, 4, 8, 10)
    assert log_spaced(1) == (0, 1)


def batch(seed: int, rows: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    windows = torch.randint(0, 300, (rows, 33), generator=generator)
    targets = windows[:, 1:].clone()
    targets[0, :20] = IGNORE  # rows with unequal numbers of targets
    return windows[:, :-1], targets


def test_micro_batches_add_up_to_the_batch() -> None:
    """The mean over all targets, not the mean of means."""
    ids, targets = batch(0)
    grads, losses = [], []
    for micro_batch in (6, 4, 1):
        model = Decoder(CONFIG, seed=3)
        losses.append(loss_and_gradients(model, ids, targets, micro_batch=micro_batch, dtype=torch.float32))
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert losses[0] == pytest.approx(Decoder(CONFIG, seed=3)(ids, targets).item(), rel=1e-5)
    for loss, grad in zip(losses[1:], grads[1:], strict=True):
        assert loss == pytest.approx(losses[0], rel=1e-5)
        torch.testing.assert_close(grad, grads[0], rtol=1e-4, atol=1e-6)


def test_update_is_adam_with_decoupled_decay_by_hand() -> None:
    recipe = Recipe.scaled(1e-2, 1000)
    model = Decoder(CONFIG, seed=4)
    optimizer = make_optimizer(model, recipe)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    m = {name: torch.zeros_like(p) for name, p in before.items()}
    v = {name: torch.zeros_like(p) for name, p in before.items()}
    for t in (1, 2, 3):
        ids, targets = batch(t)
        loss_and_gradients(model, ids, targets, micro_batch=6, dtype=torch.float32)
        grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in grads.values()))
        assert update(optimizer, model.parameters(), lr=1e-2, clip=0.5) == pytest.approx(norm, rel=1e-5)
        scale = min(1.0, 0.5 / (norm + 1e-6))
        for name, p in before.items():
            g = grads[name] * scale
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.95 * v[name] + 0.05 * g * g
            p *= 1 - 1e-2 * (0.1 if p.dim() >= 2 else 0.0)
            p -= 1e-2 * (m[name] / (1 - 0.9**t)) / ((v[name] / (1 - 0.95**t)).sqrt() + 1e-8)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), before[name], rtol=1e-4, atol=2e-6, msg=name)


def run_small(text: list[Document], out: Path, **options: object) -> pellucid.Run:
    options = {"config": CONFIG, "steps": 12, "batch_tokens": 128, "checkpoint_every": 3, "seed": 5} | options
    return pellucid.train(text, out, **options)  # type: ignore[arg-type]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(pellucid.load(run).named_parameters())


def assert_same_run(a: Path, b: Path) -> None:
    """Weights, optimizer and metrics to the bit, measured speed aside."""
    newest = [checkpoint.newest(run) for run in (a, b)]
    assert newest[0] is not None
    assert newest[1] is not None
    assert newest[0].name == newest[1].name
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (newest[0] / name).read_bytes() == (newest[1] / name).read_bytes()
    metrics = [
        [
            {k: v for k, v in json.loads(line).items() if k not in MEASURED}
            for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        for run in (a, b)
    ]
    assert metrics[0] == metrics[1]


def test_a_run_learns_and_leaves_what_it_should(text: list[Document], tmp_path: Path) -> None:
    seen: list[events.Event] = []
    run = run_small(text, tmp_path / "run", steps=80, learning_rate=1e-2, observers=[seen.append])
    assert run.finished
    assert (run.step, run.tokens) == (80, 80 * 128)
    losses = [line["loss"] for line in run.metrics() if "loss" in line]
    assert len(losses) == 80
    assert losses[0] == pytest.approx(math.log(run.plan.config.vocab_size), abs=0.5)  # starts by guessing
    assert sum(losses[-5:]) / 5 < losses[0] - 1.0
    held_out = [line for line in run.metrics() if "held_out_loss" in line]
    assert held_out[0]["step"] == 0
    assert held_out[-1]["bits_per_byte"] < held_out[0]["bits_per_byte"] - 0.5
    samples = [line for line in run.metrics() if "sample" in line]
    assert [line["step"] for line in samples] == [0, 1, 2, 4, 8, 16, 32, 64, 80]
    told = {type(event) for event in seen}
    assert told == {events.Progress, events.RunStarted, events.StepDone, events.HeldOut, events.Sampled,
                    events.CheckpointSaved, events.RunFinished}  # fmt: skip
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == ["step-00000078", "step-00000080"]
    plan = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert (plan["seed"], plan["total_steps"], plan["config"]["pattern"]) == (5, 80, ["banded(8)", "dense"])
    assert plan["dtype"] == str(default_dtype()).removeprefix("torch.")
    assert pellucid.load(tmp_path / "run").generate("the fox", max_tokens=5, seed=1).text


def test_the_same_seed_gives_the_same_run_and_another_does_not(text: list[Document], tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        run_small(text, tmp_path / name, steps=4, seed=seed)
    assert_same_run(tmp_path / "a", tmp_path / "b")
    a, c = weights(tmp_path / "a"), weights(tmp_path / "c")
    assert not torch.equal(a["wte.weight"], c["wte.weight"])


@pytest.mark.long
@pytest.mark.parametrize(("dtype", "dropout"), [("float32", 0.1), ("bfloat16", 0.0)])
def test_stopped_and_resumed_is_uninterrupted(text: list[Document], tmp_path: Path, dtype: str, dropout: float) -> None:
    config = CONFIG.replace(dropout=dropout)
    whole = run_small(text, tmp_path / "whole", config=config, dtype=dtype)
    assert whole.plan.dtype == dtype
    asked = iter([False] * 4 + [True])
    stopped = run_small(text, tmp_path / "cut", config=config, dtype=dtype, stop=lambda: next(asked))
    assert not stopped.finished
    assert stopped.step == 5
    resumed = pellucid.train([], tmp_path / "cut", resume=True)
    assert resumed.finished
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
    again = pellucid.train([], tmp_path / "cut", resume=True)  # nothing left to do
    assert again.finished
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


KILLED = """
import pellucid, sys
from pellucid.corpus import Document, open_corpus
from pellucid.gpt.config import GPTConfig
documents = [Document(*pair) for pair in {pairs!r}]
def watch(event):
    if getattr(event, "step", 0) == 8 and type(event).__name__ == "StepDone":
        print("here", flush=True)
        while True: pass
pellucid.train(documents, {out!r}, config=GPTConfig.from_dict({config!r}), steps=12, batch_tokens=128,
               checkpoint_every=3, seed=5, observers=[watch])
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
def test_killed_and_resumed_is_uninterrupted(text: list[Document], tmp_path: Path) -> None:
    """kill -9 in step 8: steps 7 and 8 happened after the last checkpoint and happen again."""
    run_small(text, tmp_path / "whole")
    code = KILLED.format(pairs=[(d.name, d.text) for d in text], out=str(tmp_path / "cut"), config=CONFIG.to_dict())
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGKILL)
    with (tmp_path / "cut" / "metrics.jsonl").open("a", encoding="utf-8") as metrics:
        metrics.write('{"step": 9, "los')  # a line that the kill cut
    found = checkpoint.newest(tmp_path / "cut")
    assert found is not None
    assert found.name == "step-00000006"
    pellucid.train([], tmp_path / "cut", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.long
def test_resuming_before_the_first_checkpoint_starts_over(text: list[Document], tmp_path: Path) -> None:
    run_small(text, tmp_path / "whole")
    run_small(text, tmp_path / "cut")
    for path in (tmp_path / "cut" / "checkpoints").iterdir():
        path.rename(tmp_path / path.name)
    pellucid.train([], tmp_path / "cut", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "config.json"])
def test_a_truncated_checkpoint_is_named_and_the_one_before_loads(text: list[Document], tmp_path: Path, name: str) -> None:
    out = tmp_path / "run"
    asked = iter([False] * 7 + [True])
    run_small(text, out, stop=lambda: next(asked))
    newest = checkpoint.newest(out)
    assert newest is not None
    damaged = newest / name
    damaged.write_bytes(damaged.read_bytes()[:-5])
    with pytest.raises(PellucidError, match=rf"step-00000008.{name}.*checksum.*go on from step-00000006"):
        pellucid.train([], out, resume=True)
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    assert pellucid.train([], out, resume=True).finished


FULL = """
import resource, sys
from pellucid.errors import PellucidError
import pellucid
size = int(sys.argv[2])
try:
    pellucid.train([], sys.argv[1], resume=True, stop=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
except PellucidError as error:
    print(error)
    sys.exit(1)
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="resource limits are POSIX's")
def test_a_full_disk_leaves_the_last_good_checkpoint(text: list[Document], tmp_path: Path) -> None:
    """A limit on file size stands in for a full disk: the same call fails, halfway through a file."""
    out = tmp_path / "run"
    run_small(text, tmp_path / "whole")
    asked = iter([False] * 3 + [True])
    run_small(text, out, stop=lambda: next(asked))
    result = subprocess.run(
        [sys.executable, "-c", FULL, str(out), "50000"], capture_output=True, text=True, check=False, encoding="utf-8"
    )
    assert result.returncode == 1, result.stderr
    assert "could not save the checkpoint of step 6" in result.stdout
    assert "step-00000004 is intact" in result.stdout
    assert not list((out / "checkpoints").glob("*.part"))
    pellucid.train([], out, resume=True)
    newest = [checkpoint.newest(run) for run in (out, tmp_path / "whole")]
    assert newest[0] is not None
    assert newest[1] is not None
    assert (newest[0] / "model.safetensors").read_bytes() == (newest[1] / "model.safetensors").read_bytes()


def test_a_time_budget_becomes_a_token_budget_once(
    text: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pellucid.training.planner.measure_throughput", lambda *_, **__: Throughput(0.5, 0.25, threads=1))
    asked = iter([True])
    run = run_small(text, tmp_path / "run", steps=None, minutes=1.0, stop=lambda: next(asked))
    assert run.plan.total_steps == int((60 * 0.88 - 20 * 0.25) / 0.5)
    slow = Throughput(step_seconds=0.5, evaluation_seconds=4.0, threads=1)
    assert slow.steps_in(1.0) == (int((60 * 0.88 - 3 * 4.0) / 0.5), 3)  # fewer evaluations
    assert Plan.load(tmp_path / "run", kind="train") == run.plan


def test_throughput_is_measured_and_leaves_the_threads_alone(text: list[Document], tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    run = run_small(text, tmp_path / "run", steps=1)
    tokenizer = run.model().require_tokenizer()
    batches = WindowBatches(open_corpus(tmp_path / "run" / "corpus"), tokenizer, 32, 4, 0)
    found = measure_throughput(run.plan, batches, pellucid.GPT(run.plan.config), seconds=0.0)
    assert found.step_seconds > 0
    assert found.evaluation_seconds > 0
    assert found.threads in {1, threads}
    assert torch.get_num_threads() == threads


def test_bad_input_is_refused_before_anything_is_written(text: list[Document], tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    with pytest.raises(PellucidError, match="exists"):
        run_small(text, tmp_path / "there")
    with pytest.raises(PellucidError, match="unknown preset"):
        pellucid.train(text, tmp_path / "new", preset="gpt5", steps=1)
    with pytest.raises(PellucidError, match="one of preset, config, parameters"):
        run_small(text, tmp_path / "new", preset="tiny")
    with pytest.raises(PellucidError, match="one of steps, minutes, tokens"):
        run_small(text, tmp_path / "new", tokens=5)
    with pytest.raises(PellucidError, match="no run in"):
        pellucid.train([], tmp_path / "new", resume=True)
    assert not (tmp_path / "new").exists()
    with pytest.raises(PellucidError, match="one window takes 33"):
        run_small([Document("short", "the fox ran over a hill")], tmp_path / "short")
    assert not any(tmp_path.glob("*short*"))


def test_a_newer_run_is_refused(text: list[Document], tmp_path: Path) -> None:
    run_small(text, tmp_path / "run", steps=1)
    path = tmp_path / "run" / "run.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"version": 1', '"version": 2'), encoding="utf-8")
    with pytest.raises(PellucidError, match="newer version"):
        pellucid.train([], tmp_path / "run", resume=True)


def test_a_package_that_is_a_function_stays_both() -> None:
    import inspect

    import pellucid.runs.recipe

    assert pellucid.runs.recipe.Recipe is Recipe
    assert "minutes" in inspect.signature(pellucid.train).parameters


def test_samples_and_evaluations_do_not_change_the_training(text: list[Document], tmp_path: Path) -> None:
    run_small(text, tmp_path / "watched", prompt="the fox")
    run_small(text, tmp_path / "unwatched", prompt="")
    a, b = weights(tmp_path / "watched"), weights(tmp_path / "unwatched")
    assert all(torch.equal(a[name], b[name]) for name in a)
