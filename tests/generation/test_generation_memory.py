"""Weights are read once: mapped where they can be used as they lie, and nothing is held twice."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from models import lively

import pellucid
from pellucid.gpt.safetensors_file import MAPPED, MAPPINGS
from pellucid.runtime.kernel.library import unavailable_reason


SHAPE = pellucid.GPTConfig(vocab_size=97, n_ctx=32, n_layers=2, d_model=24, n_heads=3)
POSITIONS, SPARE = 48, 45e6
# How far the largest resident size grows over that of a process that has generated before, from a model of no size.
CHILD = """
import sys
from pellucid.generation.text_generator import open_text_generator

def largest():
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))

open_text_generator(kernel=sys.argv[3]).generate("Once", max_tokens=4)
before = largest()
open_text_generator(sys.argv[1], kernel=sys.argv[3]).generate([1], max_tokens=int(sys.argv[2]))
print(largest() - before)
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the largest resident size is read from /proc")
@pytest.mark.parametrize(("storage", "kernel"), [("float32", "off"), ("bfloat16", "off"), ("float32", "only")])
def test_generating_takes_the_weights_the_cache_and_little_else(storage: str, kernel: str, tmp_path: Path) -> None:
    if kernel == "only" and (why := unavailable_reason()):
        pytest.skip(f"no kernel here: {why}")
    config = pellucid.GPTConfig(vocab_size=8192, n_ctx=64, n_layers=8, d_model=512, n_heads=8)
    with torch.device("meta"):
        model = pellucid.GPT(config)
    model = model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.01)
    model.save(tmp_path, storage=storage)
    command = [sys.executable, "-c", CHILD, str(tmp_path), str(POSITIONS), kernel]
    done = subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    weights, cache = 4 * config.parameters(), 2 * config.kv_bytes(POSITIONS)
    assert weights > 2 * SPARE
    assert int(done.stdout) < weights + cache + SPARE


@pytest.mark.skipif(sys.platform != "linux", reason="the open files are counted in /proc")
def test_a_model_of_many_tensors_holds_few_open_files(tmp_path: Path) -> None:
    """macOS allows a process 256 of them."""
    config = pellucid.GPTConfig(vocab_size=97, n_ctx=32, n_layers=48, d_model=24, n_heads=3)
    model = lively(pellucid.GPT(config, seed=1))
    model.save(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    loaded = pellucid.load(tmp_path)
    assert before < len(os.listdir("/proc/self/fd")) < before + 2 * MAPPINGS < len(list(loaded.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))


@pytest.mark.skipif(not MAPPED, reason="nothing is mapped on Windows, where a mapped file cannot be replaced")
def test_a_float32_file_is_looked_at_where_it_lies(tmp_path: Path) -> None:
    model = lively(pellucid.GPT(SHAPE, seed=1))
    model.save(tmp_path)
    loaded = pellucid.load(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))
    assert loaded.h[0].attn.c_attn.weight.stride() == (1, 3 * SHAPE.d_model)  # (in, out), as GPT-2's files have it
    before = (tmp_path / "model.safetensors").read_bytes()
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.add_(1)
    assert (tmp_path / "model.safetensors").read_bytes() == before, "written through to the file"


@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_may_be_saved_over_while_it_is_used(storage: str, dtype: str, tmp_path: Path) -> None:
    lively(pellucid.GPT(SHAPE, seed=1)).save(tmp_path, storage=storage)
    loaded = pellucid.load(tmp_path, dtype=dtype)
    kept = {name: parameter.clone() for name, parameter in loaded.named_parameters()}
    lively(pellucid.GPT(SHAPE, seed=2)).save(tmp_path, storage=storage)  # as a training run renews its model
    assert all(torch.equal(kept[name], parameter) for name, parameter in loaded.named_parameters())
    loaded.save(tmp_path, storage=storage)  # over the file that it may be a view of
    again = pellucid.load(tmp_path, dtype=dtype)
    assert all(torch.equal(kept[name], parameter) for name, parameter in again.named_parameters())


def test_what_is_slow_turned_or_trained_lies_as_pytorch_has_it(tmp_path: Path) -> None:
    lively(pellucid.GPT(SHAPE, seed=1)).save(tmp_path)
    for dtype in ("bfloat16", "float16", "float64"):
        assert all(parameter.is_contiguous() for parameter in pellucid.load(tmp_path, dtype=dtype).parameters())
    trained = pellucid.load(tmp_path).requires_grad_(True)
    trained(torch.tensor([[1, 2, 3]]), torch.tensor([[2, 3, 4]])).backward()
    assert all(parameter.is_contiguous() and parameter.grad.is_contiguous() for parameter in trained.parameters())
