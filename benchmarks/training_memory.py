"""What a training step takes in memory: the largest resident size of a whole process, beside the plan's formula.

    python benchmarks/training_memory.py [--shapes cpu-2m,cpu-12m,gpt2-t512] [--windows 1,4,16]
                                         [--precisions "float32;bfloat16"] [--micro-batches 1] [--optimizer adamw] [--steps 4]

A process of its own makes the model, takes a few steps on random tokens just as a run does, and says how far its resident size
rose above what it was before (Linux only: VmHWM and VmRSS of /proc/self/status). Before that it has taken a step of a model of
16 numbers a track, so that PyTorch's own pages are not counted. Prints one JSON object in the form of `pellucid bench --json`:
the peer is `gpt.memory.step_memory`, and a ratio above 1 means that the formula says more than the process took.
"""

import argparse
import json
import subprocess
import sys

from pellucid.gpt.config import GPTConfig
from pellucid.gpt.memory import TERMS, step_memory


# As many numbers as all sizes of `gpt2` but for its context: a window of 1,024 tracks would take a minute a step here.
SHAPES = {"gpt2-t512": GPTConfig.preset("gpt2").replace(n_ctx=512)}

CHILD = """
import json, sys
import torch
from pellucid.generation.model import GPT
from pellucid.gpt.config import GPTConfig
from pellucid.training.memory_limit import retain_freed_memory
from pellucid.training.optimizers import make_optimizer
from pellucid.runs.recipe import Recipe
from pellucid.training.step import loss_and_gradients, update

def resident(name):
    for line in open("/proc/self/status", encoding="ascii"):
        if line.startswith(name):
            return int(line.split()[1]) * 1024

def steps(config, micro_batch, micro_batches, precision, optimizer, count):
    dtype, *compiled = precision.split(", ")
    model = GPT(config).train()
    optimizer = make_optimizer(model, Recipe.scaled(1e-4, 1), optimizer)
    shape = (micro_batch * micro_batches, config.n_ctx)
    for _ in range(count):
        ids, targets = (torch.randint(config.vocab_size, shape) for _ in range(2))
        loss_and_gradients(model, ids, targets, micro_batch=micro_batch, dtype=getattr(torch, dtype), compiled=bool(compiled))
        update(optimizer, model.parameters(), lr=1e-4, clip=1.0)

asked = json.loads(sys.argv[1])
config = GPTConfig.from_dict(asked.pop("config"))
retain_freed_memory()
small = GPTConfig(vocab_size=64, n_ctx=config.n_ctx, n_layers=2, d_model=16, n_heads=2)
steps(small, **asked | {"micro_batch": 1})
before = resident("VmRSS")
steps(config, **asked)
print(resident("VmHWM") - before)
"""


def measured(
    config: GPTConfig, *, micro_batch: int, micro_batches: int = 1, precision: str = "float32", optimizer: str = "adamw",
    count: int = 4,
) -> int:  # fmt: skip
    """Bytes by which a process grew that took `count` steps of `micro_batches` times `micro_batch` windows."""
    asked = {
        "config": config.to_dict(), "micro_batch": micro_batch, "micro_batches": micro_batches, "precision": precision,
        "optimizer": optimizer, "count": count,
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", CHILD, json.dumps(asked)], check=True, capture_output=True, text=True)
    return int(done.stdout)


def main() -> None:
    """Measures each combination once: a resident size hardly varies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="cpu-2m,cpu-12m,gpt2-t512")
    parser.add_argument("--windows", default="1,4,16", help="of a micro-batch; those of more than 4,096 tokens are left out")
    parser.add_argument("--micro-batches", type=int, default=1)
    precisions = ";".join(key for key in TERMS if key != "16-bit")
    parser.add_argument("--precisions", default=precisions, help="keys of gpt.memory.TERMS")
    parser.add_argument("--optimizer", default="adamw")
    parser.add_argument("--steps", type=int, default=4)
    chosen = parser.parse_args()
    comparisons = []
    for name in chosen.shapes.split(","):
        config = SHAPES.get(name) or GPTConfig.preset(name)
        for windows in map(int, chosen.windows.split(",")):
            for precision in chosen.precisions.split(";"):
                took = measured(
                    config, micro_batch=windows, micro_batches=chosen.micro_batches, precision=precision,
                    optimizer=chosen.optimizer, count=chosen.steps,
                )  # fmt: skip
                says = step_memory(config, windows, precision, accumulates=chosen.micro_batches > 1).peak
                comparisons.append({
                    "name": f"train-memory/{name}/{precision}/{windows}-windows", "value": round(took / 1e6), "unit": "MB",
                    "peer": "gpt.memory.step_memory", "peer_value": round(says / 1e6), "ratio": round(says / took, 3),
                })  # fmt: skip
                print(comparisons[-1], file=sys.stderr)
    print(json.dumps({"comparisons": comparisons}))


if __name__ == "__main__":
    main()
