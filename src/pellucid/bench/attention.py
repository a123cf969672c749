"""Attention by pattern: forward and backward, time and memory, against PyTorch's dense kernel on the same numbers.

The peer is `scaled_dot_product_attention(is_causal=True)` in float32, one sequence of 12 heads of 64: a block of GPT-3 Small.
Time is that of one pass in the process (all that `torch.get_num_threads()` gives it; OMP_NUM_THREADS=1 for one). Memory is
what a process of its own holds at most beyond its start, for one pass: inputs, answer, gradients and scratch.
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


ABOUT = "attention by pattern against the dense kernel, 1k to 16k tracks: time forward and backward, peak memory"
HEADS, WIDTH = 12, 64
CONTEXTS = (1024, 2048, 4096, 8192, 16384)
PATTERNS = ("banded(128)", "banded(256)", "strided(128)", "fixed(128,32)", "fixed(128,8)", "local(256)", "compressed(3,3)")
PEAKS = Path("/proc/self/status")
WARMED = 4096  # tracks; longer passes take seconds, and the first is as good as any
PEER = "dense, PyTorch's kernel"


def comparisons(rounds: int) -> Sequence[Comparison]:
    """Every pattern at every context: `attention/banded-256/8192/forward+backward`, and `.../peak_memory`."""
    found = []
    for tracks in CONTEXTS:
        times = timed(tracks, rounds=rounds)
        peer_memory = peak_memory("dense", tracks)
        for text, seen in times.items():
            name = f"attention/{text.replace('(', '-').replace(',', '-').rstrip(')')}/{tracks}"
            found.append(seen.seconds(f"{name}/forward+backward", PEER))
            if peer_memory is not None and (memory := peak_memory(text, tracks)) is not None:
                found.append(
                    Comparison(f"{name}/peak_memory", memory / 1e6, "MB", PEER, peer_memory / 1e6, peer_memory / memory)
                )
    return found


def timed(tracks: int, *, rounds: int) -> dict[str, Rounds]:
    """Every pattern and the peer in turn, each pass giving its own seconds: drawing the numbers is left out."""
    ours = {text: one_pass(text, tracks) for text in PATTERNS}
    return in_turn(ours, one_pass("dense", tracks), rounds=rounds, warm_ups=1 if tracks <= WARMED else 0)


def one_pass(text: str, tracks: int) -> Callable[[], float]:
    """Forward and backward once, on random numbers made beforehand; gives back its seconds."""
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(1, HEADS, tracks, WIDTH, generator=generator) for _ in range(4)]
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


def peak_memory(text: str, tracks: int) -> int | None:
    """Bytes that one pass adds to a fresh process's peak; None where the system does not tell a process its peak."""
    code = f"from pellucid.bench.attention import tell_peak; tell_peak({text!r}, {tracks})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise PellucidError(f"the pass over {tracks} tracks failed in a process of its own: {done.stderr.strip()[-200:]}")
    return int(done.stdout) if done.stdout.strip() else None


def tell_peak(text: str, tracks: int) -> None:
    """Prints by how many bytes one pass raised this process's peak, a small pass beforehand not counted."""
    one_pass(text, 512)()
    before = peak_bytes()
    if before is None:
        return
    one_pass(text, tracks)()
    print((peak_bytes() or 0) - before)


def peak_bytes() -> int | None:
    """The most memory that this process ever held, in bytes; None where the system does not say."""
    if PEAKS.exists():  # Linux: its ru_maxrss begins at what the process held that started this one
        (line,) = (line for line in PEAKS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
