"""Run as a script: the same runs on the CPU and on a second device, and what came of them as one JSON object.

    python on_fake_device.py FOLDER STORY...
"""

import json
import sys
from pathlib import Path
from typing import Any

from fake_device import NAME, FakeDevice
from safetensors.torch import load_file

from pellucid.corpus import Document
from pellucid.finetuning.examples import Example
from pellucid.finetuning.job import finetune
from pellucid.gpt.arrangements import alternating
from pellucid.gpt.config import GPTConfig
from pellucid.training import checkpoint
from pellucid.training.run import Run, train


CONFIG = GPTConfig(
    vocab_size=300, n_ctx=32, n_layers=2, d_model=32, n_heads=2, pattern=alternating(2, band=8), dropout=0.1
)  # fmt: skip
OPTIONS: dict[str, Any] = {
    "config": CONFIG, "steps": 4, "batch_tokens": 256, "dtype": "float32", "checkpoint_every": 1, "seed": 3,
}  # fmt: skip


def difference(a: Run, b: Run) -> float:
    """The largest between the weights and the optimizer's state of two runs."""
    found = 0.0
    for name in ("model.safetensors", "optimizer.safetensors"):
        one, other = (load_file(checkpoint.newest(run.path) / name) for run in (a, b))  # type: ignore[operator]
        found = max(found, *(float((one[key] - other[key]).abs().max()) for key in one))
    return found


def losses(run: Run) -> list[float]:
    return [value for line in run.metrics() for name, value in line.items() if name in ("loss", "held_out_loss")]


def main(folder: Path, documents: list[Document]) -> None:
    examples = [Example(f"{number} =>", f" {number + 1}") for number in range(40)]
    on_cpu = train(documents, folder / "cpu", **OPTIONS)
    tuned_on_cpu = finetune(examples, folder / "cpu-tuned", model=on_cpu.path, steps=2, dtype="float32")
    asked = iter([False, True])
    with FakeDevice() as device:
        whole = train(documents, folder / "fake", device=NAME, **OPTIONS)
        train(documents, folder / "cut", device=NAME, stop=lambda: next(asked), **OPTIONS)
        resumed = train([], folder / "cut", resume=True)
        tuned = finetune(examples, folder / "fake-tuned", model=on_cpu.path, steps=2, dtype="float32", device=NAME)
    runs = {"cpu": on_cpu, "fake": whole, "resumed": resumed, "cpu-tuned": tuned_on_cpu, "fake-tuned": tuned}
    found = {name: losses(run) for name, run in runs.items()}
    pairs = [(whole, resumed), (on_cpu, whole), (tuned_on_cpu, tuned)]
    print(json.dumps({
        "losses": found,
        "differences": [difference(a, b) for a, b in pairs],
        "operations": device.operations,
        "devices": {name: json.loads((run.path / "run.json").read_text("utf-8")).get("device") for name, run in runs.items()},
    }))  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Document(f"story {number}", text) for number, text in enumerate(sys.argv[2:])])
