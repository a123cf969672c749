"""The same call given again and again, as a restart script does: it starts, goes on, and does nothing when all is done."""

import errno
import fcntl
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import TIMES, cases
from hypothesis import given
from hypothesis import strategies as st
from models import MEASURED

import pellucid
from pellucid import Example, events
from pellucid.corpus import Document
from pellucid.errors import PellucidError
from pellucid.locks import locked
from pellucid.text import train_tokenizer


CONFIG = pellucid.GPTConfig(vocab_size=258, n_ctx=8, n_layers=1, d_model=4, n_heads=1)
STORY = Document("a", "the fox ran over a hill and saw one small bird. " * 8)
OPTIONS: dict[str, Any] = {
    "config": CONFIG, "steps": 4, "batch_tokens": 16, "checkpoint_every": 2, "keep": 1, "seed": 3, "learning_rate": 0.01,
    "prompt": "the", "optimizer": "sgd", "optimizer_settings": {"momentum": 0.9}, "skip_spikes": 9.0, "dtype": "float32",
}  # fmt: skip
OTHER: dict[str, Any] = {
    "config": CONFIG.replace(d_model=8), "steps": 5, "batch_tokens": 24, "checkpoint_every": 1, "keep": 2, "seed": 4,
    "learning_rate": 0.02, "prompt": "fox", "optimizer": "adamw", "optimizer_settings": {"momentum": 0.8}, "skip_spikes": 8.0,
    "dtype": "bfloat16", "patience": 3, "mask_documents": True, "keep_best": True, "batch_ramp": True, "tokenizer": "r50k",
    "held_out": [STORY], "corpus": [Document("b", STORY.text)], "minutes": 1.0, "tokens": 64, "preset": "tiny",
}  # fmt: skip
GROUPS = [{"config", "preset"}, {"steps", "tokens", "minutes"}]


class Killed(BaseException):
    """Stands in for a kill: nothing catches it."""


def train(out: Path, corpus: Any = (STORY,), **changed: Any) -> pellucid.Run:
    return pellucid.train(list(corpus), out, resume=True, **(OPTIONS | changed))


def numbers(run: Path) -> list[dict[str, Any]]:
    read = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name not in MEASURED} for line in read]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("whole") / "run").path


@pytest.mark.long
@given(st.randoms(use_true_random=False))
@cases(6)
def test_a_run_that_is_killed_again_and_again(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, draw: random.Random
) -> None:
    """At any event: while it is prepared, before its first step and its first checkpoint, and after its last."""
    folder = tmp_path_factory.mktemp("killed")
    run = folder / "deep" / "run"
    left, rmtree = 0, shutil.rmtree

    def kill(event: events.Event) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise Killed

    def remove(*given: Any, **named: Any) -> None:
        if left > 0:  # a kill tidies nothing
            rmtree(*given, **named)

    for _ in range(3):
        left = draw.randrange(1, 20)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pellucid.training.prepare.shutil.rmtree", remove)
            with suppress(Killed):
                pellucid.train([STORY], run, resume=True, observers=[kill], **OPTIONS)
    done = train(run)
    assert done.finished
    assert numbers(run) == numbers(whole)
    before = {path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}
    seen: list[events.Event] = []
    assert pellucid.train([STORY], run, resume=True, observers=[seen.append], **OPTIONS).finished
    assert not [event for event in seen if isinstance(event, events.StepDone)]
    assert {path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()} == before, "nothing was left to do"
    shutil.rmtree(folder)


@pytest.mark.long
@given(st.sampled_from(sorted(OTHER)), st.sets(st.sampled_from(sorted(OPTIONS))))
@cases(60)
def test_an_argument_that_differs_is_refused_by_its_name(whole: Path, name: str, left_out: set[str]) -> None:
    """The others may be repeated, or left out."""
    given_options = {key: value for key, value in OPTIONS.items() if key not in left_out}
    if "optimizer" not in given_options:
        given_options.pop("optimizer_settings", None)
    for group in GROUPS:
        if name in group:
            given_options = {key: value for key, value in given_options.items() if key not in group}
    wrong = {name: OTHER[name]} if name != "corpus" else {}
    if name == "optimizer_settings":
        wrong["optimizer"] = "sgd"
    corpus = OTHER["corpus"] if name == "corpus" else [STORY]
    with pytest.raises(PellucidError, match=f"^{name} (is .* in|was not given when) .*a run goes on as it was planned"):
        pellucid.train(corpus, whole, resume=True, **(given_options | wrong))
    same = {key: np.float64(value) if isinstance(value, float) else value for key, value in given_options.items()}
    assert pellucid.train([STORY] if "seed" in same else [], whole, resume=True, **same).finished


def test_files_and_folders_are_named_as_one_likes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(STORY.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    pellucid.train("a.txt", "run", resume=True, **OPTIONS)
    for same in ("a.txt", tmp_path / "a.txt", "./a.txt", ["a.txt"]):
        assert pellucid.train(same, "run", resume=True).finished
    with pytest.raises(PellucidError, match=r"^corpus is .*a\.txt.* in run, not .*b\.txt"):
        pellucid.train("b.txt", "run", resume=True)
    with pytest.raises(PellucidError, match="resume the run in it"):
        pellucid.train("a.txt", "run", **OPTIONS)
    (tmp_path / "run" / "arguments.json").unlink()  # as in a run from before it was kept: what the plan says is compared
    assert pellucid.train([], "run", resume=True, **{name: OPTIONS[name] for name in ("steps", "seed", "keep")}).finished
    with pytest.raises(PellucidError, match=r"^steps is 4 in run, not 5"):
        pellucid.train([], "run", resume=True, steps=5)


@given(st.sampled_from([None, b"", b"{}", b"\xff", b'{"version": 1, "arguments": 3}', b'{"version": 1']))
@cases(6)
def test_a_run_whose_arguments_are_lost_goes_on_by_the_same_command(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, content: bytes | None
) -> None:
    """What the plan does not tell cannot be compared: that is said, and what it does tell is compared."""
    run = tmp_path_factory.mktemp("lost") / "run"
    shutil.copytree(whole, run)
    (run / "arguments.json").unlink()
    if content is not None:
        (run / "arguments.json").write_bytes(content)
    seen: list[events.Event] = []
    assert pellucid.train([STORY], run, resume=True, observers=[seen.append], **OPTIONS).finished
    (said,) = [event.reason for event in seen if isinstance(event, events.Skipped)]
    assert said.startswith("it is missing or damaged, so corpus") and said.endswith("the run goes on as it was planned")
    with pytest.raises(PellucidError, match=r"^steps is .* in .*, not 5"):
        pellucid.train([STORY], run, resume=True, steps=5)
    shutil.rmtree(run)


def test_finetuning_is_given_again_too(tmp_path: Path) -> None:
    tokenizer = train_tokenizer([STORY.text], 262)
    config = CONFIG.replace(vocab_size=tokenizer.vocab_size)
    models = [pellucid.GPT(config, tokenizer=tokenizer, seed=seed) for seed in (1, 2)]
    examples = [Example(letter, "fox") for letter in "abcd"]
    asked = iter([True])
    pellucid.finetune(examples, tmp_path / "run", model=models[0], steps=3, resume=True, stop=lambda: next(asked))
    for _ in range(2):
        assert pellucid.finetune(examples, tmp_path / "run", model=models[0], steps=3, resume=True).finished
    with pytest.raises(PellucidError, match=r"^model is"):
        pellucid.finetune(examples, tmp_path / "run", model=models[1], steps=3, resume=True)
    with pytest.raises(PellucidError, match=r"^examples is"):
        pellucid.finetune(examples[:2], tmp_path / "run", model=models[0], resume=True)
    with pytest.raises(PellucidError, match="no run in"):
        pellucid.finetune([], tmp_path / "none", resume=True)


def test_a_folder_of_other_files_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(PellucidError, match=r"holds other files than a run's"):
        train(tmp_path)


def test_a_second_process_is_refused_and_a_lock_of_a_dead_one_is_not(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / ".lock").write_text("4711", encoding="utf-8")  # left by a process that is gone
    with locked(run), pytest.raises(PellucidError, match="in use by another process"):
        train(run)
    assert train(run).finished


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks(whole: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.warns(UserWarning, match="file system without locks"):
        assert train(whole).finished


PELLUCID = [sys.executable, "-W", "error", "-m", "pellucid"]


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("book") / "book.txt"
    path.write_text(STORY.text * 40, encoding="utf-8")
    return path


def command(book: Path, run: Path, *more: str) -> list[str]:
    budget = ["--batch-tokens", "128", "--steps", "400", "--checkpoint-every", "400"]
    return [*PELLUCID, "train", str(book), "--out", str(run), "--preset", "tiny", *budget, "--no-record", "--resume", *more]


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="it has other signals")
@pytest.mark.parametrize(("name", "ignored"), [
    ("SIGHUP", False), ("SIGTERM", True), *([("SIGHUP", True), ("SIGTERM", False)] if TIMES > 1 else []),
])  # fmt: skip
def test_signals_save_and_those_that_are_ignored_stay_so(book: Path, tmp_path: Path, name: str, ignored: bool) -> None:
    run = tmp_path / "run"
    number = getattr(signal, name)

    def as_nohup() -> None:
        signal.signal(number, signal.SIG_IGN)

    with subprocess.Popen(
        command(book, run), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
        preexec_fn=as_nohup if ignored else None,
    ) as process:  # fmt: skip
        metrics = run / "metrics.jsonl"
        while process.poll() is None and not (metrics.exists() and b'"loss"' in metrics.read_bytes()):
            time.sleep(0.01)
        process.send_signal(number)
        seen = metrics.read_bytes().count(b'"loss"')
        if ignored:
            while process.poll() is None and metrics.read_bytes().count(b'"loss"') < min(400, seen + 3):
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130, err
    saved = pellucid.open_run(run)
    assert 0 < saved.step < 400
    assert f"saved at step {saved.step}" in out
    assert not ignored or saved.step >= seen + 3


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="a closed pipe is another error there")
@pytest.mark.parametrize("both", [False, True])
def test_a_pipe_that_closes_saves(book: Path, tmp_path: Path, both: bool) -> None:
    """`pellucid train ... | head -n 3`, and with standard error in the pipe too: it saves, and says nothing."""
    run = tmp_path / "run"
    with subprocess.Popen(
        command(book, run, "--prompt", "the fox"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT if both else subprocess.PIPE
    ) as process:
        assert process.stdout
        for _ in range(5):  # the text, the model, the first sample: it has begun
            process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read() if process.stderr else b""
        assert process.wait() == 130
    assert err == b""
    assert 0 < pellucid.open_run(run).step < 400
