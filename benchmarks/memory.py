"""What generating takes in memory: the largest resident size of a whole process, beside the weights and the cache.

    python benchmarks/memory.py [--preset gpt3-125m] [--storage float32,bfloat16] [--tracks 256]
                                [--weights float32] [--kernel off]

Writes a model of random weights to a temporary folder, generates from it in a process of its own, and prints one JSON object in
the form of `pellucid bench --json`. The peer is the bound: weights as they are computed with + cache + 300 MB, of which an
interpreter that has imported PyTorch takes 200 to 250. Linux only (VmHWM of /proc/self/status; pages of a mapped file count,
once).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pellucid.gpt.config import GPTConfig
from pellucid.gpt.config_json import CONFIG, WEIGHTS, to_json


BOUND = 300e6
BYTES = {"float32": 4, "bfloat16": 2, "int8": 8.5 / 8, "int4": 4.5 / 8}
SAFETENSORS = {"float32": "F32", "bfloat16": "BF16"}
CHUNK = 1 << 22  # numbers written at once

CHILD = """
import sys
from pellucid.cli import main
status = main(["generate", "-m", sys.argv[1], *sys.argv[2:]])
for line in open("/proc/self/status", encoding="ascii"):
    if line.startswith("VmHWM"):
        print(line.split()[1], file=sys.stderr)
sys.exit(status)
"""
FLOOR = 'import torch\nfor line in open("/proc/self/status"):\n    if line.startswith("VmHWM"):\n        print(line.split()[1])'


def shapes(config: GPTConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor of a GPT-2 file with its stored shape: matrices of a block as (in, out)."""
    c, f = config.d_model, config.d_ff
    yield from (("wte.weight", (config.vocab_size, c)), ("wpe.weight", (config.n_ctx, c)))
    for block in range(config.n_layers):
        for name, shape in {
            "ln_1.weight": (c,), "ln_1.bias": (c,), "attn.c_attn.weight": (c, 3 * c), "attn.c_attn.bias": (3 * c,),
            "attn.c_proj.weight": (c, c), "attn.c_proj.bias": (c,), "ln_2.weight": (c,), "ln_2.bias": (c,),
            "mlp.c_fc.weight": (c, f), "mlp.c_fc.bias": (f,), "mlp.c_proj.weight": (f, c), "mlp.c_proj.bias": (c,),
        }.items():  # fmt: skip
            yield f"h.{block}.{name}", shape
    yield from (("ln_f.weight", (c,)), ("ln_f.bias", (c,)))


def write_random(config: GPTConfig, directory: Path, storage: str) -> None:
    """A model directory of random weights, N(0, 0.02), without ever holding more than a few megabytes of them."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / CONFIG).write_text(json.dumps(to_json(config, storage)), encoding="utf-8")
    block = (np.random.default_rng(0).standard_normal(CHUNK) * 0.02).astype(np.float32)
    raw = block if storage == "float32" else (block.view(np.uint32) >> 16).astype(np.uint16)
    header, end = {}, 0
    for name, shape in shapes(config):
        size = int(np.prod(shape) * BYTES[storage])
        header[f"transformer.{name}"] = {"dtype": SAFETENSORS[storage], "shape": shape, "data_offsets": [end, end + size]}
        end += size
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with (directory / WEIGHTS).open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for _, shape in shapes(config):
            left = int(np.prod(shape))
            while left:
                file.write(raw[: min(left, CHUNK)].data)
                left -= min(left, CHUNK)


def main() -> None:
    """Measures each storage once: a resident size hardly varies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="gpt3-125m")
    parser.add_argument("--storage", default="float32,bfloat16")
    parser.add_argument("--tracks", type=int, default=256)
    parser.add_argument("--weights", default="float32", choices=list(BYTES))
    parser.add_argument("--kernel", default="auto")
    chosen = parser.parse_args()
    config = GPTConfig.preset(chosen.preset)
    floor = int(subprocess.run([sys.executable, "-c", FLOOR], check=True, capture_output=True, text=True).stdout) * 1024
    comparisons = []
    for storage in chosen.storage.split(","):
        with tempfile.TemporaryDirectory() as folder:
            write_random(config, Path(folder), storage)
            options = ["--max-tokens", str(chosen.tracks), "--seed", "1", "--json", "-v", "--weights", chosen.weights]
            options += ["--kernel", chosen.kernel]
            done = subprocess.run([sys.executable, "-c", CHILD, folder, *options], check=True, capture_output=True, text=True)
        path, said = done.stderr.strip().rsplit("\n", 1)
        peak = int(said) * 1024
        weights, cache = config.parameters() * BYTES[chosen.weights], config.kv_bytes(chosen.tracks) * 2  # of float32 numbers
        comparisons.append({
            "name": f"generate/{chosen.preset}/{storage}/peak-memory", "value": round(peak / 1e6), "unit": "MB",
            "peer": f"weights {weights / 1e6:.0f} + cache {cache / 1e6:.0f} + {BOUND / 1e6:.0f}",
            "peer_value": round((weights + cache + BOUND) / 1e6), "ratio": round((weights + cache + BOUND) / peak, 3),
            "import_torch": round(floor / 1e6), "path": path,
        })  # fmt: skip
    print(json.dumps({"comparisons": comparisons}))


if __name__ == "__main__":
    main()
