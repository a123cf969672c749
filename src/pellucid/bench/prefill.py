"""Prefill against `transformers` and llama.cpp: a prompt of 512 tokens, GPT-2's 124M shape, until the first token.

The backends and their weights are those of `bench.generate`.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pellucid.bench.backends import GGUF, prompt, write_models
from pellucid.bench.compare import Comparison
from pellucid.bench.generate import NAME, our_backends, peers_of
from pellucid.bench.peer_comparison import PeerComparison, WorkerSpec


ABOUT = "tokens a second of reading a prompt, against transformers and llama.cpp, on the same weights"
READ = 512


def comparisons(rounds: int) -> Sequence[Comparison]:
    """`prefill/gpt2-124m/512/{float32,bf16,int8}`, by the kernel and by PyTorch, against llama.cpp at equal bits."""
    with tempfile.TemporaryDirectory() as folder:
        return measured(write_models(Path(folder)), rounds)


def measured(files: Mapping[str, str], rounds: int) -> list[Comparison]:
    """The same on models that are already on disk."""
    name = f"prefill/{NAME}/{READ}"
    ours: dict[str, WorkerSpec] = {}
    for bits in GGUF:
        ours |= our_backends(files["model"], bits, f"{name}/{bits}")
    rows = []
    probe = {"prompts": [prompt(READ // 4)], "tokens": 1}
    with PeerComparison(ours, peers_of(files, list(GGUF.values())), probe) as comparison:
        result = comparison.run({"prompts": [prompt(READ)], "tokens": 1}, rounds)
        for bits in GGUF:
            for backend in (one for one in ours if one.startswith(f"{name}/{bits}")):
                rows += result.against(backend, backend, "first", work=READ, peers=[f"llama.cpp-{GGUF[bits]}", "transformers"])
        return [*rows, *comparison.missing(name)]
