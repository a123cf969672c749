"""Generation beside `transformers` and llama.cpp: GPT-2's 124M shape with random weights, exported to each by `convert`'s code.

Everyone is a process of its own with a thread a core, reads the same token ids and takes the likeliest token each time. A peer
that can be set up in several ways (`transformers` in float32 or bfloat16, llama.cpp with flash attention or without) is tried
in each at first, and the fastest is kept; the row says which, and how fast the others were. A row without "vs" is against the
better of the peers.

The share of equal tokens stands in the row. It says little of random weights, which soon repeat themselves: how far rounded
weights move the logits is a row of its own.
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

from pellucid.bench.compare import Comparison, less_is_better
from pellucid.bench.match import Crew, Maker, Match, Told
from pellucid.bench.sides import GGUF, KERNEL, prompt, written


ABOUT = "tokens a second: one stream and 32, against transformers and llama.cpp, on the same weights"
NAME = "gpt2-124m"
READ, WRITTEN = 128, 32  # tokens of the prompt and of the answer; one stream
READ_LONG, WRITTEN_THEN = 900, 16
STREAMS, READ_BY_MANY, WRITTEN_BY_MANY = 32, 64, 16
FEW_ROUNDS = 2  # of what takes seconds a round
COMPARED = 64  # tokens whose logits are compared


def comparisons(rounds: int) -> Sequence[Comparison]:
    """`generate/gpt2-124m/{float32,bf16,int8}/{one-stream,32-streams}` by the kernel, and `.../built-in` by PyTorch."""
    with tempfile.TemporaryDirectory() as folder:
        files = written(Path(folder))
        with Crew() as crew:
            return [*one_stream(list(GGUF), files, rounds, crew), *many_streams(files, min(rounds, FEW_ROUNDS), crew)]


def kernel_is_here() -> bool:
    """Whether ours is measured with the kernel: there is one, and PELLUCID_KERNEL does not forbid it."""
    from pellucid.runtime.kernel import library

    return os.environ.get("PELLUCID_KERNEL") != "off" and library.why_not() is None


def dtypes() -> list[str]:
    """Of PyTorch's sides: float32, and bfloat16 where the CPU multiplies it. Where it is emulated it is ten times slower."""
    from pellucid.training.placement import default_dtype

    return list(dict.fromkeys(("float32", str(default_dtype()).removeprefix("torch."))))


def our_sides(directory: str, bits: str, name: str) -> dict[str, Maker]:
    """By the names of their rows: the kernel's, and that of PyTorch's operators, which have no int8 weights."""
    found: dict[str, Maker] = {}
    if kernel_is_here():
        found[name] = ("ours", {"directory": directory, "kernel": "only", "weights": KERNEL[bits]})
    if bits != "int8":
        dtype = dtypes()[-1] if bits == "bf16" else "float32"
        found[f"{name}/built-in"] = ("ours", {"directory": directory, "kernel": "off", "weights": dtype})
    return found


def peers_of(files: Mapping[str, str], kinds: Sequence[str], **llama: int) -> dict[str, list[Maker]]:
    """All that are installed, each in the ways that are tried."""
    found: dict[str, list[Maker]] = {}
    for kind in kinds:
        if kind in files:
            ways = ({"file": files[kind], "flash": flash, **llama} for flash in (True, False))
            found[f"llama.cpp-{kind}"] = [("llama_cpp", way) for way in ways]
    if find_spec("transformers") is not None:
        found["transformers"] = [("transformers", {"directory": files["model"], "dtype": dtype}) for dtype in dtypes()]
    return found


def one_stream(kinds: Sequence[str], files: Mapping[str, str], rounds: int, crew: Crew | None = None) -> list[Comparison]:
    """One answer after a short prompt and after a long one; and what rounding the weights costs. Everybody in one match."""
    names = {bits: f"generate/{NAME}/{bits}/one-stream" for bits in kinds}
    ours: dict[str, Maker] = {}
    for bits, name in names.items():
        ours |= our_sides(files["model"], bits, name)
    if not ours:
        return []
    peers = peers_of(files, [GGUF[bits] for bits in kinds])
    found: list[Comparison] = []
    with Match(ours, peers, {"prompts": [prompt(READ)], "tokens": 8}, crew) as match:
        told = match.play({"prompts": [prompt(READ)], "tokens": WRITTEN}, rounds)
        request = {"prompts": [prompt(READ_LONG)], "tokens": WRITTEN_THEN}
        long = match.play(request, min(rounds, FEW_ROUNDS), warm_ups=0)  # the short prompt has warmed everybody up
        for bits, name in names.items():
            against = [f"llama.cpp-{GGUF[bits]}", "transformers"]
            for who in (one for one in ours if one.startswith(name)):
                found += _one_stream_rows(told, who, against)
                found += long.against(who, f"{who}/after-{READ_LONG}", "writing", work=WRITTEN_THEN - 1, peers=against)
                found += long.against(who, f"{who}/after-{READ_LONG}/first-token", "first", peers=against)
            if bits != "float32" and name in ours:
                found += _error(match, bits, name, files["model"], crew)
        return [*found, *match.missing(f"generate/{NAME}/one-stream")]


def _one_stream_rows(told: Told, who: str, against: Sequence[str]) -> list[Comparison]:
    """Speed and the first token against everybody; against the better peer also single tokens and memory."""
    found = told.against(who, who, "writing", work=WRITTEN - 1, peers=against)
    found += told.against(who, f"{who}/first-token", "first", peers=against)
    peer = told.best("writing", against)
    if peer is None:
        return found
    words = told.words(who, peer)
    each = [[seconds for answer in told.answers[side] for seconds in answer["each"]] for side in (who, peer)]
    for part, place in (("token-p50", 49), ("token-p99", 98)):
        own, theirs = (quantiles(some, n=100, method="inclusive")[place] for some in each)
        found.append(less_is_better(f"{who}/{part}", "s", words, own, theirs))
    for one in (peer for peer in told.peers if peer in against):
        own, theirs = (told.answers[side][-1]["peak"] for side in (who, one))
        if own and theirs:
            found.append(less_is_better(f"{who}/peak-memory/vs-{one}", "MB", told.words(who, one), own / 1e6, theirs / 1e6))
    return found


def _error(match: Match, bits: str, name: str, directory: str, crew: Crew | None) -> list[Comparison]:
    """How far rounded weights move the logits, ours and llama.cpp's: the root of the mean square, as a share of the logits'."""
    peer = f"llama.cpp-{GGUF[bits]}"
    if peer not in match.paths:
        return []
    with tempfile.TemporaryDirectory() as folder:

        def of(side: Match, who: str) -> NDArray[np.float64]:
            file = str(Path(folder) / "logits")
            side.ask(who, {"logits": file, "prompts": [prompt(COMPARED)]})
            return np.fromfile(file, np.float32).reshape(COMPARED, -1).astype(np.float64)

        exact: dict[str, Maker] = {"exact": ("ours", {"directory": directory, "kernel": "off", "weights": "float32"})}
        with Match(exact, {}, {}, crew) as reference:
            right = of(reference, "exact")
        size = float(np.sqrt(np.mean((right - right.mean(axis=1, keepdims=True)) ** 2)))
        errors = [float(np.sqrt(np.mean((of(match, who) - right) ** 2))) / size for who in (name, peer)]
    words = f"{match.paths[peer]}; ours: {match.paths[name]}; against float32, {COMPARED} tokens"
    return [less_is_better(f"{name}/error", "of the logits", words, *errors)]


def many_streams(files: Mapping[str, str], rounds: int, crew: Crew | None = None) -> list[Comparison]:
    """Thirty-two answers at once, reading included: to one prompt (ours and llama.cpp read it once), and to as many prompts."""
    names = {bits: f"generate/{NAME}/{bits}/{STREAMS}-streams" for bits in GGUF}
    ours: dict[str, Maker] = {}
    for bits, name in names.items():
        found = our_sides(files["model"], bits, name)
        ours |= {who: made for who, made in found.items() if who == name or bits == "float32"}
    peers = peers_of(files, list(GGUF.values()), streams=STREAMS, tracks=READ_BY_MANY + WRITTEN_BY_MANY)
    rows: list[Comparison] = []
    work = STREAMS * WRITTEN_BY_MANY
    probe = _many(4, tokens=4, equal=True)
    with Match(ours, peers, probe, crew) as match:
        equal = match.play(_many(STREAMS, tokens=WRITTEN_BY_MANY, equal=True), rounds)
        unlike = match.play(_many(STREAMS, tokens=WRITTEN_BY_MANY, equal=False), 1, warm_ups=0)
        for bits, name in names.items():
            against = [f"llama.cpp-{GGUF[bits]}", "transformers"]
            for who in (one for one in ours if one.startswith(name)):
                rows += equal.against(who, who, "whole", work=work, peers=against)
                rows += equal.against(who, f"{who}/writing", "writing", work=work - STREAMS, peers=against)
                rows += unlike.against(who, f"{who}/unlike-prompts", "whole", work=work, peers=against)
        return [*rows, *match.missing(f"generate/{NAME}/{STREAMS}-streams")]


def _many(streams: int, *, tokens: int, equal: bool) -> dict[str, Any]:
    return {"prompts": [prompt(READ_BY_MANY, 0 if equal else number) for number in range(streams)], "tokens": tokens}
