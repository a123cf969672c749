"""Device names, and a torch runner whose model is not on the CPU."""

import numpy as np
import pytest
import torch

import pellucid
from pellucid.errors import PellucidError
from pellucid.runtime import torch_runner
from pellucid.runtime.device import resolve_device
from pellucid.runtime.runner import TokenSpan
from pellucid.runtime.torch_runner import TorchRunner


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_the_accelerator_that_is_there(
    cuda: bool, mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device("auto") == torch.device(expected)


def test_named_devices() -> None:
    assert resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")
    assert resolve_device("meta").type == "meta"
    with pytest.raises(PellucidError, match="unknown device 'abacus': use auto, cpu, cuda"):
        resolve_device("abacus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(PellucidError, match="no device 'cuda' here"):
        pellucid.load(device="cuda")


def test_load_takes_auto() -> None:
    assert pellucid.load(device="auto").wte.weight.device == resolve_device("auto")


SHAPE = pellucid.GPTConfig(
    vocab_size=50, n_ctx=40, n_layers=3, d_model=16, n_heads=2, pattern=("banded(5)", "dense", "local(8)"), d_embed=8
)


def test_a_runner_makes_every_tensor_on_its_model_s_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device: PyTorch refuses an operation that mixes it with another device."""
    seen: list[torch.Size] = []

    def shape_only(logits: torch.Tensor) -> np.ndarray:
        assert logits.device.type == "meta"
        seen.append(logits.shape)
        return np.zeros(tuple(logits.shape), np.float32)

    monkeypatch.setattr(torch_runner, "_to_numpy", shape_only)
    with torch.device("meta"):
        model = pellucid.GPT(SHAPE).eval()
    runner = TorchRunner(model)
    assert runner.path == "PyTorch float32 on meta"
    first, second = runner.open(40), runner.open(40)
    runner.run([TokenSpan(first, 0, list(range(20)), "all"), TokenSpan(second, 0, [1, 2])])
    runner.copy(first, second, 9)
    runner.run([TokenSpan(first, 20, [3]), TokenSpan(second, 9, [4, 5, 6])])
    assert seen == [(21, 50), (2, 50)]
    with pytest.raises(PellucidError, match="equal bits are promised on the CPU only, not on meta"):
        TorchRunner(model, mode="exact")


ACCELERATOR = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else None


@pytest.mark.skipif(ACCELERATOR is None, reason="no accelerator here")
@pytest.mark.parametrize(
    "patterns", ["banded(5) dense local(8)", "strided(6) fixed(9,2) summary(5,2)", "compressed(3,3) column(4)"]
)
def test_an_accelerator_gives_the_cpu_s_answers(patterns: str) -> None:
    """Log-probabilities; float32 products there may be rounded to fewer bits."""
    assert ACCELERATOR is not None
    listed = tuple(patterns.split())
    model = pellucid.GPT(SHAPE.replace(pattern=listed, n_layers=len(listed)), seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
    model.eval().requires_grad_(False)
    expected = model.score(list(range(40))).logprobs
    there = model.copy().to(ACCELERATOR)
    found = there.score(list(range(40))).logprobs
    assert found[1:] == pytest.approx(expected[1:], abs=0.02)
    assert there.generate([1, 2, 3], max_tokens=20, seed=1).ids
