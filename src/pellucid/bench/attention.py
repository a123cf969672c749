"""Attention by pattern: forward and backward, time and memory, against PyTorch's dense kernel on the same numbers.

The peer is `scaled_dot_product_attention(is_causal=True)` in float32, one sequence of 12 heads of 64: a block of GPT-3 Small.
Time is of one pass with `torch.get_num_threads()` threads (OMP_NUM_THREADS=1 for one). Memory is by how much one pass raises a
new process's peak: inputs, output, gradients and temporaries.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.bench.compare import Comparison, Rounds, in_turn
from pellucid.errors import PellucidError
from pellucid.gpt.attention import attention, compressed_attention
from pellucid.gpt.compressor import Compressor
from pellucid.gpt.pattern import Compressed, Pattern, parse


ABOUT = "attention by pattern against the dense kernel, 1k to 16k positions: time forward and backward, peak memory"
HEADS, WIDTH = 12, 64
CONTEXTS = (1024, 2048, 4096, 8192, 16384)
PATTERNS = ("banded(128)", "banded(256)", "strided(128)", "fixed(128,32)", "fixed(128,8)", "local(256)", "compressed(3,3)")
PEAKS = Path("/proc/self/status")
WARMED = 4096  # positions; longer passes take seconds and need no warm-up
PEER = "dense, PyTorch's kernel"


def comparisons(rounds: int) -> Sequence[Comparison]:
    """Every pattern at every context: `attention/banded-256/8192/forward+backward`, and `.../peak_memory`."""
    found = []
    for positions in CONTEXTS:
        times = timed(positions, rounds=rounds)
        peer_memory = peak_memory("dense", positions)
        for text, seen in times.items():
            name = f"attention/{text.replace('(', '-').replace(',', '-').rstrip(')')}/{positions}"
            found.append(seen.seconds(f"{name}/forward+backward", PEER))
            if peer_memory is not None and (memory := peak_memory(text, positions)) is not None:
                found.append(
                    Comparison(f"{name}/peak_memory", memory / 1e6, "MB", PEER, peer_memory / 1e6, peer_memory / memory)
                )
    return found


def timed(positions: int, *, rounds: int) -> dict[str, Rounds]:
    """Every pattern and the peer in turn; making the random inputs is not timed."""
    ours = {text: one_pass(text, positions) for text in PATTERNS}
    return in_turn(ours, one_pass("dense", positions), rounds=rounds, warm_ups=1 if positions <= WARMED else 0)


def one_pass(text: str, positions: int) -> Callable[[], float]:
    """Forward and backward once, on random inputs made beforehand; the function returns its seconds."""
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(1, HEADS, positions, WIDTH, generator=generator) for _ in range(4)]
    inputs, grad = [x.requires_grad_() for x in made[:3]], made[3].detach()
    run = _forward(None if text == "dense" else parse(text), generator)

    def work() -> float:
        began = perf_counter()
        torch.autograd.grad(run(*inputs), inputs, grad)
        return perf_counter() - began

    return work


def _forward(pattern: Pattern | None, generator: torch.Generator) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    if pattern is None:
        return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)
    if not isinstance(pattern, Compressed):
        return lambda q, k, v: attention(q, k, v, pattern)
    compressor = Compressor(pattern, HEADS, HEADS * WIDTH)
    for parameter in compressor.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)

    def compressed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = compressor(k, v)
        return compressed_attention(q, keys, values, pattern)

    return compressed


def peak_memory(text: str, positions: int) -> int | None:
    """Bytes that one pass adds to a new process's peak memory; None where the system does not report it."""
    code = f"from pellucid.bench.attention import print_peak; print_peak({text!r}, {positions})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise PellucidError(f"the pass over {positions} positions failed in its process: {done.stderr.strip()[-200:]}")
    return int(done.stdout) if done.stdout.strip() else None


def print_peak(text: str, positions: int) -> None:
    """Prints by how many bytes one pass raises this process's peak, after a small pass that is not counted."""
    one_pass(text, 512)()
    before = peak_bytes()
    if before is None:
        return
    one_pass(text, positions)()
    print((peak_bytes() or 0) - before)


def peak_bytes() -> int | None:
    """This process's peak memory in bytes; None where the system does not report it."""
    if PEAKS.exists():  # Linux: ru_maxrss starts with the parent process's value
        (line,) = (line for line in PEAKS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
