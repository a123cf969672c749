"""Writes a checkpoint's averaged weights as a model directory that `pellucid` loads, rounded if asked.

    python -m recipes.default_model.export RUN/checkpoints/STEP --data DATA --out MODEL [--storage int8] [--compact]

MODEL then also has `training.json`: the run's settings, and how many tokens it was trained on.
"""

import argparse
import json
from pathlib import Path

import torch

from pellucid.files import write_whole
from pellucid.gpt.config_json import WEIGHTS
from pellucid.gpt.safetensors_write import write_tensors
from pellucid.gpt.tensor_names import PREFIX
from recipes.default_model import checkpoints
from recipes.default_model.evaluate import read_model


TOKENIZER = "tokenizer.json"


def export(checkpoint: Path, data: Path, out: Path, *, storage: str = "float32", compact: bool = False) -> None:
    """Writes the model directory.

    Args:
        storage: as `GPT.save` takes it: "float32", "int8" (8.5 bits a weight), "int4" (4.5 bits) ...
        compact: position embeddings in float16 and the tokenizer's JSON without white space, which would otherwise be a third
            of a model under a megabyte.

    Raises:
        ValueError: `checkpoint` is not one.
    """
    if not (checkpoint / checkpoints.STATE).is_file():
        raise ValueError(f"{checkpoint} is not a checkpoint: it has no {checkpoints.STATE}")
    read_model(checkpoint, data).save(out, storage=storage)
    if compact:
        _compact(out)
    training = json.loads((checkpoint.parent.parent / "run.json").read_text(encoding="utf-8"))
    state = checkpoints.read_state(checkpoint)
    del training["data"]  # a path on the machine that trained the model
    training |= {"step": state["step"], "tokens": state["tokens"], "storage": storage, "compact": compact}
    write_whole(out / "training.json", json.dumps(training, indent=1) + "\n")


def _compact(model: Path) -> None:
    from safetensors.torch import load_file

    tensors = load_file(model / WEIGHTS)
    positions = f"{PREFIX}wpe.weight"
    tensors[positions] = tensors[positions].to(torch.float16)
    write_tensors(model / WEIGHTS, tensors, metadata={"format": "pt"})
    values = json.loads((model / TOKENIZER).read_text(encoding="utf-8"))
    write_whole(model / TOKENIZER, json.dumps(values, separators=(",", ":"), ensure_ascii=False))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--storage", default="float32")
    parser.add_argument("--compact", action="store_true", help="positions in float16, tokenizer.json without white space")
    chosen = parser.parse_args()
    export(chosen.checkpoint, chosen.data, chosen.out, storage=chosen.storage, compact=chosen.compact)
    print(f"{chosen.out}: {sum(path.stat().st_size for path in chosen.out.iterdir()):,} bytes")


if __name__ == "__main__":
    main()
