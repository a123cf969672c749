"""The device of a run: it is resolved, kept in the plan and used; nothing of a step is left on the CPU."""

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from stories import story

import pellucid
from pellucid.cli import main
from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.training import memory_limit, placement
from pellucid.training.memory_limit import memory_bytes, refuse_too_large
from pellucid.training.placement import autocast, copy_to, default_dtype, has_operators


SCRIPT = Path(__file__).parent / "on_fake_device.py"
TINY = GPTConfig(vocab_size=300, n_ctx=32, n_layers=1, d_model=16, n_heads=2)


@pytest.mark.long
@pytest.mark.skipif(
    not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this PyTorch has no backends written in Python",
)
def test_a_run_on_another_device_is_the_run_on_the_cpu(tmp_path: Path) -> None:
    """Training and fine-tuning, dropout, checkpoints and a resume on a backend that refuses to be mixed with the CPU's tensors.

    Equal up to the gradient's norm: PyTorch sums it tensor by tensor there, and all at once on the CPU.
    """
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), *(story(150, seed) for seed in range(1, 7))],
        capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    losses = found["losses"]
    assert losses["fake"] == pytest.approx(losses["cpu"], rel=1e-6)
    assert losses["fake-tuned"] == pytest.approx(losses["cpu-tuned"], rel=1e-6)
    assert losses["resumed"] == losses["fake"]
    of_resuming, of_training, of_tuning = found["differences"]
    assert of_resuming == 0
    assert of_training < 1e-4 and of_tuning < 1e-4  # Adam divides by roots of small numbers
    assert found["operations"] > 10_000
    assert found["devices"] == {"cpu": None, "fake": "fake", "resumed": "fake", "cpu-tuned": None, "fake-tuned": "fake"}


def test_a_device_that_is_not_here_is_refused_before_anything_is_written(
    stories: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, reason in (("cuda:77", "no device 'cuda:77' here: .*cpu"), ("abacus", "unknown device 'abacus': use auto")):
        with pytest.raises(PellucidError, match=reason):
            pellucid.train(stories, tmp_path / "run", config=TINY, steps=1, device=name)
        assert main(["train", str(stories), "--out", str(tmp_path / "run"), "--device", name]) == 1
        assert f"device '{name}'" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_run_whose_device_is_gone_says_so(stories: Path, tmp_path: Path) -> None:
    pellucid.train(stories, tmp_path / "run", config=TINY, steps=1, record=False)
    path = tmp_path / "run" / "run.json"
    plan = json.loads(path.read_text(encoding="utf-8"))
    assert "device" not in plan  # as before there was a choice
    path.write_text(json.dumps(plan | {"device": "cuda:77", "total_steps": 2}), encoding="utf-8")
    with pytest.raises(PellucidError, match="no device 'cuda:77' here"):
        pellucid.train([], tmp_path / "run", resume=True)


def test_auto_on_a_machine_without_accelerator_is_the_cpu(
    stories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    asked = ["train", str(stories), "--preset", "tiny", "--steps", "1", "--prompt", "", "--no-record", "--out", "run"]
    monkeypatch.chdir(tmp_path)
    assert main([*asked, "--device", "auto"]) == 0
    assert ", on cpu" in " ".join(capsys.readouterr().out.split())
    assert "device" not in json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))


def test_products_are_cast_for_the_device_that_computes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, torch.dtype]] = []

    def record(device: str, dtype: torch.dtype) -> Any:
        asked.append((device, dtype))
        return nullcontext()

    monkeypatch.setattr(torch, "autocast", record)
    for device in (None, torch.device("cpu"), torch.device("cuda", 1), torch.device("mps")):
        with autocast(torch.bfloat16, device), autocast(torch.float32, device):
            pass
    assert asked == [(name, torch.bfloat16) for name in ("cpu", "cpu", "cuda", "mps")]
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert default_dtype(torch.device("cuda")) == torch.bfloat16
    assert default_dtype(torch.device("mps")) == torch.float32
    monkeypatch.setattr(placement, "unavailable_reason", lambda: None)
    assert has_operators(torch.bfloat16) and has_operators(torch.bfloat16, torch.device("cpu"))
    assert not has_operators(torch.bfloat16, torch.device("cuda"))


def test_batches_go_to_cuda_pinned_and_without_waiting() -> None:
    calls: list[Any] = []

    class Host:
        def pin_memory(self) -> "Host":
            calls.append("pin_memory")
            return self

        def to(self, device: torch.device, non_blocking: bool = False) -> str:
            calls.append((device.type, non_blocking))
            return device.type

    ids: Any = Host()
    assert copy_to(torch.device("cuda"), ids) == ("cuda",)
    assert calls == ["pin_memory", ("cuda", True)]
    assert copy_to(torch.device("mps"), ids) == ("mps",)
    assert calls[2:] == [("mps", False)]
    tensor = torch.zeros(3)
    assert copy_to(torch.device("cpu"), tensor)[0] is tensor


def test_memory_is_that_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        total_memory = 8_000_000_000

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    assert memory_bytes(torch.device("cuda", 0)) == 8_000_000_000
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 5_000_000_000)
    assert memory_bytes(torch.device("mps")) == 5_000_000_000
    assert memory_bytes() == memory_bytes(torch.device("cpu"))
    config = GPTConfig.preset("gpt3-1.3b")
    monkeypatch.setattr(memory_limit, "memory_limit", lambda: 2**40)
    refuse_too_large(config, config.n_ctx, torch.float32)
    with pytest.raises(PellucidError, match=r"cuda:0 has 8\.0 GB, so .* GB are missing"):
        refuse_too_large(config, config.n_ctx, torch.float32, device=torch.device("cuda", 0))
