"""Generation against `transformers` and llama.cpp: GPT-2's 124M shape with random weights, exported to each.

Each runs in its own process with a thread per core, reads the same token ids and decodes greedily. A peer with several settings
(`transformers` in float32 or bfloat16, llama.cpp with flash attention or without) is first tried in each, and the fastest is
kept; the row names it, and how fast the others were. A row without "vs" is against the faster of the peers.

The share of equal tokens is in the row. It means little for random weights, which soon repeat themselves, so the error of the
logits by rounding weights has its own row.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import quantiles
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.bench.backends import GGUF, KERNEL, prompt, write_models
from pellucid.bench.compare import Comparison, less_is_better
from pellucid.bench.peer_comparison import PeerComparison, PeerComparisonResult, WorkerPool, WorkerSpec


ABOUT = "tokens a second: one stream and 32, against transformers and llama.cpp, on the same weights"
NAME = "gpt2-124m"
READ, WRITTEN = 128, 32  # tokens of the prompt and of the answer; one stream
READ_LONG, WRITTEN_THEN = 900, 16
STREAMS, READ_BY_MANY, WRITTEN_BY_MANY = 32, 64, 16
FEW_ROUNDS = 2  # of what takes seconds a round
COMPARED = 64  # positions whose logits are compared


def comparisons(rounds: int) -> Sequence[Comparison]:
    """`generate/gpt2-124m/{float32,bf16,int8}/{one-stream,32-streams}` by the kernel, and `.../built-in` by PyTorch."""
    with tempfile.TemporaryDirectory() as folder:
        files = write_models(Path(folder))
        with WorkerPool() as pool:
            return [*one_stream(list(GGUF), files, rounds, pool), *many_streams(files, min(rounds, FEW_ROUNDS), pool)]


def kernel_is_here() -> bool:
    """Whether the C kernel is available, and not disabled by PELLUCID_KERNEL."""
    from pellucid.runtime.kernel import library

    return os.environ.get("PELLUCID_KERNEL") != "off" and library.unavailable_reason() is None


def dtypes() -> list[str]:
    """The dtypes that PyTorch is measured in: float32, and bfloat16 where the CPU multiplies it natively."""
    from pellucid.training.placement import default_dtype

    return list(dict.fromkeys(("float32", str(default_dtype()).removeprefix("torch."))))


def our_backends(directory: str, bits: str, name: str) -> dict[str, WorkerSpec]:
    """Our sides by the names of their rows: with the C kernel, and with PyTorch's operators, which have no int8 weights."""
    found: dict[str, WorkerSpec] = {}
    if kernel_is_here():
        found[name] = ("ours", {"directory": directory, "kernel": "only", "weights": KERNEL[bits]})
    if bits != "int8":
        dtype = dtypes()[-1] if bits == "bf16" else "float32"
        found[f"{name}/built-in"] = ("ours", {"directory": directory, "kernel": "off", "weights": dtype})
    return found


def peers_of(files: Mapping[str, str], kinds: Sequence[str], **llama: int) -> dict[str, list[WorkerSpec]]:
    """The peers that are installed, each with the settings that are tried."""
    found: dict[str, list[WorkerSpec]] = {}
    for kind in kinds:
        if kind in files:
            settings = ({"file": files[kind], "flash": flash, **llama} for flash in (True, False))
            found[f"llama.cpp-{kind}"] = [("llama_cpp", arguments) for arguments in settings]
    if find_spec("transformers") is not None:
        found["transformers"] = [("transformers", {"directory": files["model"], "dtype": dtype}) for dtype in dtypes()]
    return found


def one_stream(kinds: Sequence[str], files: Mapping[str, str], rounds: int, pool: WorkerPool | None = None) -> list[Comparison]:
    """One completion of a short prompt and of a long one, and the error by rounding weights; all in one comparison."""
    names = {bits: f"generate/{NAME}/{bits}/one-stream" for bits in kinds}
    ours: dict[str, WorkerSpec] = {}
    for bits, name in names.items():
        ours |= our_backends(files["model"], bits, name)
    if not ours:
        return []
    peers = peers_of(files, [GGUF[bits] for bits in kinds])
    found: list[Comparison] = []
    with PeerComparison(ours, peers, {"prompts": [prompt(READ)], "tokens": 8}, pool) as comparison:
        result = comparison.run({"prompts": [prompt(READ)], "tokens": WRITTEN}, rounds)
        request = {"prompts": [prompt(READ_LONG)], "tokens": WRITTEN_THEN}
        long = comparison.run(request, min(rounds, FEW_ROUNDS), warm_ups=0)  # the short prompt was the warm-up
        for bits, name in names.items():
            against = [f"llama.cpp-{GGUF[bits]}", "transformers"]
            for backend in (one for one in ours if one.startswith(name)):
                found += _one_stream_rows(result, backend, against)
                found += long.against(backend, f"{backend}/after-{READ_LONG}", "writing", work=WRITTEN_THEN - 1, peers=against)
                found += long.against(backend, f"{backend}/after-{READ_LONG}/first-token", "first", peers=against)
            if bits != "float32" and name in ours:
                found += _error(comparison, bits, name, files["model"], pool)
        return [*found, *comparison.missing(f"generate/{NAME}/one-stream")]


def _one_stream_rows(result: PeerComparisonResult, backend: str, against: Sequence[str]) -> list[Comparison]:
    """Rate and time to the first token against every peer; time per token and memory against the faster one."""
    found = result.against(backend, backend, "writing", work=WRITTEN - 1, peers=against)
    found += result.against(backend, f"{backend}/first-token", "first", peers=against)
    peer = result.best("writing", against)
    if peer is None:
        return found
    words = result.describe(backend, peer)
    each = [[seconds for answer in result.answers[name] for seconds in answer["each"]] for name in (backend, peer)]
    for part, place in (("token-p50", 49), ("token-p99", 98)):
        own, theirs = (quantiles(some, n=100, method="inclusive")[place] for some in each)
        found.append(less_is_better(f"{backend}/{part}", "s", words, own, theirs))
    for one in (peer for peer in result.peers if peer in against):
        own, theirs = (result.answers[name][-1]["peak"] for name in (backend, one))
        if own and theirs:
            description = result.describe(backend, one)
            found.append(less_is_better(f"{backend}/peak-memory/vs-{one}", "MB", description, own / 1e6, theirs / 1e6))
    return found


def _error(comparison: PeerComparison, bits: str, name: str, directory: str, pool: WorkerPool | None) -> list[Comparison]:
    """The error of the logits by rounding weights, ours and llama.cpp's: RMS error relative to the logits' own."""
    peer = f"llama.cpp-{GGUF[bits]}"
    if peer not in comparison.paths:
        return []
    with tempfile.TemporaryDirectory() as folder:

        def logits_of(comparison: PeerComparison, backend: str) -> NDArray[np.float64]:
            file = str(Path(folder) / "logits")
            comparison.ask(backend, {"logits": file, "prompts": [prompt(COMPARED)]})
            return np.fromfile(file, np.float32).reshape(COMPARED, -1).astype(np.float64)

        exact: dict[str, WorkerSpec] = {"exact": ("ours", {"directory": directory, "kernel": "off", "weights": "float32"})}
        with PeerComparison(exact, {}, {}, pool) as reference:
            right = logits_of(reference, "exact")
        size = float(np.sqrt(np.mean((right - right.mean(axis=1, keepdims=True)) ** 2)))
        errors = [float(np.sqrt(np.mean((logits_of(comparison, backend) - right) ** 2))) / size for backend in (name, peer)]
    words = f"{comparison.paths[peer]}; ours: {comparison.paths[name]}; against float32, {COMPARED} tokens"
    return [less_is_better(f"{name}/error", "of the logits", words, *errors)]


def many_streams(files: Mapping[str, str], rounds: int, pool: WorkerPool | None = None) -> list[Comparison]:
    """Thirty-two completions at once, prefill included: of one prompt (ours and llama.cpp read it once), and of 32 prompts."""
    names = {bits: f"generate/{NAME}/{bits}/{STREAMS}-streams" for bits in GGUF}
    ours: dict[str, WorkerSpec] = {}
    for bits, name in names.items():
        found = our_backends(files["model"], bits, name)
        ours |= {backend: made for backend, made in found.items() if backend == name or bits == "float32"}
    peers = peers_of(files, list(GGUF.values()), streams=STREAMS, positions=READ_BY_MANY + WRITTEN_BY_MANY)
    rows: list[Comparison] = []
    work = STREAMS * WRITTEN_BY_MANY
    probe = _many(4, tokens=4, equal=True)
    with PeerComparison(ours, peers, probe, pool) as comparison:
        equal = comparison.run(_many(STREAMS, tokens=WRITTEN_BY_MANY, equal=True), rounds)
        unlike = comparison.run(_many(STREAMS, tokens=WRITTEN_BY_MANY, equal=False), 1, warm_ups=0)
        for bits, name in names.items():
            against = [f"llama.cpp-{GGUF[bits]}", "transformers"]
            for backend in (one for one in ours if one.startswith(name)):
                rows += equal.against(backend, backend, "whole", work=work, peers=against)
                rows += equal.against(backend, f"{backend}/writing", "writing", work=work - STREAMS, peers=against)
                rows += unlike.against(backend, f"{backend}/unlike-prompts", "whole", work=work, peers=against)
        return [*rows, *comparison.missing(f"generate/{NAME}/{STREAMS}-streams")]


def _many(streams: int, *, tokens: int, equal: bool) -> dict[str, Any]:
    return {"prompts": [prompt(READ_BY_MANY, 0 if equal else number) for number in range(streams)], "tokens": tokens}
