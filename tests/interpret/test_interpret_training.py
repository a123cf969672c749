"""Recording a training run: what is in the record, and that recording changes nothing and survives whatever happens."""

import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from models import MEASURED

import pellucid
from pellucid.cli import main
from pellucid.corpus import Document, open_corpus
from pellucid.corpus.windows import Windows
from pellucid.errors import PellucidError
from pellucid.interpret.training_stats import TILES, chosen_position, edges, example_stats, stretch, thumbnail
from pellucid.record import check
from pellucid.training.watch import recorded_steps, steps_before_example


CONFIG = pellucid.GPTConfig(vocab_size=300, n_ctx=32, n_layers=2, d_model=48, n_heads=2, pattern=("banded(8)", "dense"))
STEPS = 12


def run_small(documents: list[Document], out: Path, **options: object) -> pellucid.Run:
    common = {"config": CONFIG, "steps": STEPS, "batch_tokens": 128, "checkpoint_every": 3, "seed": 5, "dtype": "float32"}
    options = common | options
    return pellucid.train(documents, out, learning_rate=1e-2, **options)  # type: ignore[arg-type]


def read(run: Path) -> pellucid.Record:
    return pellucid.open((run / "training.pellucid").read_bytes())


@pytest.fixture(scope="module")
def whole(documents: list[Document], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded run that nothing interrupted. To be read, not changed."""
    return run_small(documents, tmp_path_factory.mktemp("recorded") / "whole").path


@pytest.fixture(scope="module")
def record(whole: Path) -> pellucid.Record:
    return read(whole)


def assert_same_record(one: Path, other: Path) -> None:
    """All that is not measured, and where it comes from."""
    with pellucid.open(one / "training.pellucid") as a, pellucid.open(other / "training.pellucid") as b:
        assert list(a) == list(b) and a.provenance == b.provenance
        for name in a:
            if a.entry(name).truth != "measured":
                assert a.entry(name).sha256 == b.entry(name).sha256, name


def steps_of(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key not in MEASURED} for line in lines]


def test_a_run_leaves_a_complete_record(whole: Path, record: pellucid.Record) -> None:
    sizes = check(record)
    assert (sizes["N"], sizes["W"], sizes["X"], sizes["G"], sizes["R"]) == (STEPS, 32, 32, 32, 65)
    assert record["training/moments/steps"].tolist() == list(recorded_steps(STEPS)) == [0, 1, 2, 3, 4, 6, 8, 11, 12]
    lines = [line for line in steps_of(whole) if "loss" in line]
    assert record["training/steps/loss"].tolist() == [line["loss"] for line in lines]
    assert record["training/steps/lr"].tolist() == [line["lr"] for line in lines]
    assert record["training/steps/tokens"].tolist() == [128 * step for step in range(1, STEPS + 1)]
    assert record["training/held_out/steps"].tolist() == sorted({*range(STEPS + 1)})
    assert [sample["step"] for sample in record["training/samples"]] == [0, 1, 2, 4, 8, 12]
    tokenizer = pellucid.load(whole).require_tokenizer()
    for sample in record["training/samples"]:
        ids = [token for token in sample["ids"] if token != tokenizer.eot]
        assert tokenizer.decode(ids) == sample["text"]
    assert record.provenance.step == STEPS and record.provenance.checkpoint == "step-00000012"
    plan = json.loads((whole / "run.json").read_text(encoding="utf-8"))
    assert record["training/plan"] == plan | {"seed": "5"}


def test_weights_and_thumbnails_are_those_of_the_model(whole: Path, record: pellucid.Record) -> None:
    for moment, model in ((0, pellucid.GPT(CONFIG.replace(vocab_size=pellucid.load(whole).config.vocab_size), seed=5)),
                          (-1, pellucid.load(whole))):  # fmt: skip
        named = dict(model.named_parameters())
        for place, name in enumerate(record["training/matrices"]):
            weight = named[f"{name}.weight"].detach()
            assert record["training/moments/weights"][moment, place] == pytest.approx(weight.norm().item(), rel=1e-5)
            matrix = weight.double() if name in ("wte", "wpe") else weight.double().T
            slow = [[part.mean().item() for part in rows.tensor_split(_cuts(matrix.shape[1]), dim=1)]
                    for rows in matrix.tensor_split(_cuts(matrix.shape[0]))]  # fmt: skip
            lo, hi = record.entry(f"training/thumbnails/{name}").scale or (0, 0)
            assert np.abs(record[f"training/thumbnails/{name}"][moment] - slow).max() <= (hi - lo) / 510 + 1e-6


def _cuts(size: int) -> list[int]:
    tiles = min(32, size)
    return [size * tile // tiles for tile in range(1, tiles)]


def test_gradients_and_updates_are_those_of_the_step(documents: list[Document], tmp_path: Path) -> None:
    """By hand: the first step of the run, and Adam's first update, which is +-lr for every number, and decay."""
    run = run_small(documents, tmp_path / "one", steps=1)
    record = read(run.path)
    model = pellucid.GPT(run.plan.config, seed=5)
    windows = Windows(open_corpus(run.path / "corpus").train, 32, seed=5).batch(0, 4)
    model.train()(torch.from_numpy(windows[:, :-1]), torch.from_numpy(windows[:, 1:])).backward()
    total = sum(float(p.grad.double().square().sum()) for p in model.parameters() if p.grad is not None) ** 0.5
    assert record["training/steps/grad_norm"][0] == pytest.approx(total, rel=1e-4)
    lr, scale = record["training/steps/lr"][0], min(1.0, 1.0 / (total + 1e-6))
    for place, name in enumerate(record["training/matrices"]):
        weight = model.get_parameter(f"{name}.weight")
        assert weight.grad is not None
        assert record["training/moments/gradients"][0, place] == pytest.approx(weight.grad.norm().item(), rel=1e-4)
        gradient = weight.grad * scale
        change = -lr * gradient / (gradient.abs() + 1e-8) - lr * 0.1 * weight
        assert record["training/moments/updates"][0, place] == pytest.approx(change.norm().item(), rel=1e-3)
    for name in ("gradients", "updates"):
        assert np.isnan(record[f"training/moments/{name}"][-1]).all()  # no step follows the last
    assert record["training/moments/steps"].tolist() == [0, 1] and record["training/example/step"] == 1


def test_losses_are_those_of_the_model(whole: Path, record: pellucid.Record) -> None:
    model = pellucid.load(whole)

    def slow(window: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        ids = torch.from_numpy(window.astype(np.int64))
        return F.cross_entropy(model(ids[None, :-1])[0], ids[1:], reduction="none").numpy()

    held_out = open_corpus(whole / "corpus").held_out
    assert record["training/window/ids"].tolist() == held_out[:33].tolist()
    np.testing.assert_allclose(record["training/window/loss"][-1], slow(record["training/window/ids"]), rtol=1e-4, atol=1e-4)
    ids, starts = record["training/stretch/ids"], record["training/stretch/starts"]
    for loss, start in zip(record["training/stretch/loss"], starts, strict=True):
        np.testing.assert_allclose(loss, slow(ids[start : start + 33]), rtol=1e-4, atol=1e-4)


def test_the_stretch_is_two_windows_that_the_sampler_cuts(whole: Path, record: pellucid.Record) -> None:
    train = open_corpus(whole / "corpus").train
    windows = Windows(train, 32, seed=5)
    cut = {windows.start(k): windows.window(k).tolist() for k in range(len(windows))}
    found = [record["training/stretch/ids"][start : start + 33].tolist() for start in record["training/stretch/starts"]]
    (start,) = (start for start, window in cut.items() if window == found[0] and cut.get(start + 32) == found[1])
    end = pellucid.load(whole).end_of_text
    assert end in record["training/stretch/ids"][1:-1]
    assert end not in train[windows.first_start(0) + 1 : start + 1].tolist()  # the first border there is


@given(st.lists(st.integers(0, 9), min_size=10, max_size=120), st.integers(1, 9), st.integers(0, 99))
def test_a_stretch_is_always_neighbouring_windows(tokens: list[int], n_ctx: int, seed: int) -> None:
    from pellucid.corpus.tokens import Tokens

    windows = Windows(Tokens([np.array(tokens, np.uint16)], 0), n_ctx, seed=seed)
    found = stretch(windows, end_of_text=9)
    assert (found is None) == (len(windows) < 2)
    if found is not None:
        cut = {windows.start(k): windows.window(k).tolist() for k in range(len(windows))}
        one, two = found.windows(n_ctx).tolist()
        assert any(window == one and cut.get(start + n_ctx) == two for start, window in cut.items())
        reachable = tokens[min(cut) + 1 : max(cut) + n_ctx]
        assert (9 in found.ids[1:-1]) == (9 in reachable)


def test_the_example_is_the_first_window_of_its_batch_and_gains(whole: Path, record: pellucid.Record) -> None:
    step = int(record["training/example/step"])
    assert step - 1 == steps_before_example(STEPS) and step - 1 in record["training/moments/steps"]
    windows = Windows(open_corpus(whole / "corpus").train, 32, seed=5)
    assert record["training/example/ids"].tolist() == windows.window((step - 1) * 4).tolist()
    before, after = np.exp(-record["training/example/loss"].astype(np.float64))
    track, corrected = int(record["training/example/track"]), int(record["training/example/corrected"])
    tops = record["training/example/topk_ids"][:, 0]
    target = record["training/example/ids"][track + 1]
    if corrected:
        assert tops[0] != target and tops[1] == target
    else:
        assert track == (after - before).argmax()
    assert after[track] > before[track]
    for place in range(2):
        ids = record["training/example/topk_ids"][place].tolist()
        logprobs = record["training/example/topk_logprobs"][place]
        assert (np.diff(logprobs) <= 0).all() and len(set(ids)) == 20
        if target in ids:
            assert logprobs[ids.index(target)] == pytest.approx(-record["training/example/loss"][place, track], abs=1e-5)


@cases(40)
@given(data=st.data(), length=st.integers(1, 12))
def test_the_followed_position_is_one_that_was_corrected_if_there_is_one(data: st.DataObject, length: int) -> None:
    tokens = arrays(np.int32, (2, length, 2), elements=st.integers(0, 3))
    tops, targets = data.draw(tokens), data.draw(arrays(np.int32, length, elements=st.integers(0, 3)))
    losses = data.draw(arrays(np.float32, (2, length), elements=st.floats(0, 9, width=32)))
    sides = [(losses[side], tops[side], np.zeros((length, 2), np.float32)) for side in (0, 1)]
    position, corrected = chosen_position(*sides, targets)
    gains = [math.exp(-float(losses[1][i])) - math.exp(-float(losses[0][i])) for i in range(length)]
    right = [i for i in range(length) if tops[0][i][0] != targets[i] and tops[1][i][0] == targets[i]]
    assert corrected == bool(right) and position in (right or range(length))
    assert gains[position] == max(gains[i] for i in (right or range(length)))
    stats = example_stats(np.array([0, *targets]), *sides)
    assert stats["example.track"] == [position] and stats["example.corrected"] == [corrected]


def test_every_token_that_is_named_has_its_piece(whole: Path, record: pellucid.Record) -> None:
    tokenizer = pellucid.load(whole).require_tokenizer()
    named = set()
    for name in ("window/ids", "example/ids", "example/topk_ids", "stretch/ids"):
        named |= set(record[f"training/{name}"].ravel().tolist())
    for sample in record["training/samples"]:
        named |= {*sample["ids"], *tokenizer.encode(sample["prompt"])}
    assert record["pieces/ids"].tolist() == sorted(named)
    starts, text = record["pieces/starts"].tolist(), record["pieces/bytes"].tobytes()
    for token, start, end in zip(record["pieces/ids"].tolist(), starts, starts[1:], strict=False):
        assert text[start:end] == tokenizer.token_bytes(token)


@pytest.mark.long
@pytest.mark.parametrize(("dtype", "dropout"), [("float32", 0.0), ("float32", 0.1), ("bfloat16", 0.1)])
def test_recording_changes_no_bit(documents: list[Document], tmp_path: Path, dtype: str, dropout: float) -> None:
    config = CONFIG.replace(dropout=dropout)
    for name, record in (("with", True), ("without", False)):
        run_small(documents, tmp_path / name, config=config, record=record, dtype=dtype)
    assert steps_of(tmp_path / "with") == steps_of(tmp_path / "without")
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("with", "without")]
    assert weights[0] == weights[1]
    check(read(tmp_path / "with"))
    left = {path.name for path in (tmp_path / "without").iterdir()}
    assert not left & {"training.pellucid", "moments", "example"}


@pytest.mark.long
@pytest.mark.parametrize("stopped_after", [1, 2, 5, 11, STEPS])
def test_a_resumed_record_is_an_uninterrupted_one(
    documents: list[Document], whole: Path, tmp_path: Path, stopped_after: int
) -> None:
    """Stopped before, at and after the example's step, and at the last."""
    out = tmp_path / "cut"
    asked = iter([False] * (stopped_after - 1) + [True])
    run_small(documents, out, stop=lambda: next(asked))
    with pellucid.open(out / "training.pellucid") as early:
        sizes = check(early)  # what there is by then is a whole record
        assert sizes["N"] == stopped_after == early.provenance.step
        assert ("training/example/step" in early) == (stopped_after >= 2)
    pellucid.train([], out, resume=True)
    assert_same_record(whole, out)
    before = (out / "training.pellucid").read_bytes()
    pellucid.train([], out, resume=True)  # nothing left to do, nothing written again
    assert (out / "training.pellucid").read_bytes() == before


KILLED = """
import pellucid
from pellucid.corpus import Document
from pellucid.interpret import training_recorder as training
where = {where!r}
def die(*_, **__):
    print("here", flush=True)
    while True: pass
if where == "record":
    training.TrainingRecorder._write_final = lambda self, step: die()
def watch(event):
    if where == "step" and type(event).__name__ == "StepDone" and event.step == 8:
        die()
config = pellucid.GPTConfig.from_dict({config!r})
pellucid.train([Document(*pair) for pair in {pairs!r}], {out!r}, config=config, dtype='float32', steps=12, batch_tokens=128,
               learning_rate=1e-2, checkpoint_every=3, seed=5, observers=[watch])
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize("where", ["step", "record"])
def test_a_record_survives_a_kill(documents: list[Document], whole: Path, tmp_path: Path, where: str) -> None:
    """kill -9 between two checkpoints, and between the last checkpoint and its record."""
    out = tmp_path / "cut"
    pairs = [(d.name, d.text) for d in documents]
    code = KILLED.format(pairs=pairs, out=str(out), config=CONFIG.to_dict(), where=where)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGKILL)
    if where == "step":
        (out / "moments" / "step-00000011.part").write_bytes(b"half")
    pellucid.train([], out, resume=True)
    assert_same_record(whole, out)
    assert sorted(path.name for path in (out / "moments").iterdir()) == sorted(
        path.name for path in (whole / "moments").iterdir()
    )


@pytest.mark.long
def test_a_run_without_a_record_and_a_lost_statistics_file(documents: list[Document], whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "cut"
    asked = iter([False] * 4 + [True])
    run_small(documents, out, stop=lambda: next(asked))
    (out / "moments" / "step-00000002.safetensors").unlink()
    said: list[str] = []
    assert pellucid.train([], out, resume=True, observers=[lambda event: said.append(str(event))]).finished
    assert any("step-00000002.safetensors" in one for one in said)
    assert steps_of(out) == steps_of(whole)
    assert read(out).provenance.step == 5  # as it was left

    bare = tmp_path / "bare"
    asked = iter([False, True])
    run_small(documents, bare, record=False, stop=lambda: next(asked))
    pellucid.train([], bare, resume=True)  # it was begun without, so it goes on without
    assert not (bare / "training.pellucid").exists()


def test_a_disk_that_is_full_says_so(documents: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise PellucidError("cannot write it: no space left")

    monkeypatch.setattr("pellucid.interpret.training_recorder.write_tensors", full)
    with pytest.raises(PellucidError, match=r"cannot write .*no space left; fix that, or go on without a record"):
        run_small(documents, tmp_path / "run")


def test_the_command_records_unless_no_record_is_given(
    stories: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--preset", "tiny", "--steps", "1", "--batch-tokens", "128"]
    assert main(["train", str(stories), "--out", str(tmp_path / "run"), *options]) == 0
    assert str(tmp_path / "run" / "training.pellucid") in capsys.readouterr().out.splitlines()[-1]
    with pellucid.open(tmp_path / "run" / "training.pellucid") as record:
        check(record)
    assert main(["train", str(stories), "--out", str(tmp_path / "bare"), *options, "--no-record", "--json"]) == 0
    assert not (tmp_path / "bare" / "training.pellucid").exists()
    assert json.loads(capsys.readouterr().out)["record"] is None


# The formulas.


@given(st.integers(1, 10**6))
def test_recorded_steps_are_few_and_hold_what_figures_need(total: int) -> None:
    found = recorded_steps(total)
    assert found[0] == 0 and found[-1] == total and steps_before_example(total) in found
    assert list(found) == sorted(set(found)) and len(found) <= 2 * total.bit_length() + 4
    assert 0 <= steps_before_example(total) < total
    assert all(step in found for step in (2**i for i in range(total.bit_length())) if step < total)


@cases(30)
@given(st.integers(1, 150), st.integers(1, 150), st.booleans())
def test_thumbnails_average_equal_tiles(rows: int, columns: int, embedding: bool) -> None:
    matrix = np.random.default_rng(rows).normal(size=(rows, columns))
    stored = torch.from_numpy(matrix if embedding else matrix.T)
    found = thumbnail("wte" if embedding else "h.0.mlp.c_fc", stored)
    assert found.shape == (min(rows, TILES), min(columns, TILES))
    down, across = np.diff(edges(rows)), np.diff(edges(columns))
    assert (down * TILES >= rows - TILES).all() and down.max() - down.min() <= 1 and down.sum() == rows
    assert (np.outer(down, across) * found).sum() == pytest.approx(matrix.sum(), abs=1e-3 * rows * columns)
    assert found[-1, -1] == pytest.approx(matrix[-down[-1] :, -across[-1] :].mean(), abs=1e-5)


def test_the_chosen_position_gained_most() -> None:
    """In probability, not in nats: from 0.5 to 0.6 is more than from 0.01 to 0.05."""
    before, after = -np.log([0.5, 0.01, 0.9]), -np.log([0.6, 0.05, 0.8])
    tops = np.array([[7], [7], [7]])
    assert chosen_position((before, tops), (after, tops), np.array([1, 2, 3])) == (0, False)
