"""Reading a prompt beside `transformers` and llama.cpp: 512 tokens of GPT-2's 124M shape, until the first token is there.

The workers and their weights are those of `bench.generate`.
"""

import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from pellucid.bench.compare import Comparison
from pellucid.bench.generate import GGUF, KERNEL, NAME, Maker, answered, best_dtype, gone, prompt, rounds_of, written


ABOUT = "tokens a second of reading a prompt, against transformers and llama.cpp, on the same weights"
READ = 512


def comparisons(rounds: int) -> Sequence[Comparison]:
    """`prefill/gpt2-124m/512/{PyTorch,float32,bf16,int8}`, each against each peer."""
    with tempfile.TemporaryDirectory() as folder:
        return measured(written(Path(folder)), rounds)


def measured(files: dict[str, str], rounds: int, *, read: int = READ) -> list[Comparison]:
    """The same on models that are written already."""
    ours: dict[str, Maker] = {
        "PyTorch": ("ours", {"directory": files["model"], "kernel": "off", "weights": None}),
        **{bits: ("ours", {"directory": files["model"], "kernel": "only", "weights": KERNEL[bits]}) for bits in GGUF},
    }
    peers: dict[str, Maker] = {
        f"llama.cpp {kind}": ("llama_cpp", {"file": files[kind]}) for kind in GGUF.values() if kind in files
    }
    if find_spec("transformers") is not None:
        peers["transformers"] = ("transformers", {"directory": files["model"], "dtype": best_dtype()})
    told = answered(ours, peers, {"prompt": prompt(read), "tokens": 1, "streams": 1}, rounds)
    name = f"prefill/{NAME}/{read}"
    found = [gone(f"{name}/{peer}", peer, why) for peer, why in told.died.items()]
    for who in ours:
        for peer in (p for p in peers if p in told.rounds):
            words = f"{told.paths[peer]}; ours: {told.paths[who]}"
            found.append(rounds_of(told, who, peer, "first").rate(f"{name}/{who}", words, work=read))
    return found
