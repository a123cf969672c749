"""A checkpoint's averaged weights as a model directory that `pellucid` loads, rounded if asked.

python -m recipes.default_model.export RUN/checkpoints/STEP --data DATA --out MODEL [--storage int8]
"""

import argparse
from pathlib import Path

from pellucid.files import write_whole
from recipes.default_model import checkpoints
from recipes.default_model.evaluate import read_model


def export(checkpoint: Path, data: Path, out: Path, *, storage: str = "float32") -> None:
    """Writes the model directory.

    Args:
        storage: as `GPT.save` takes it: "float32", "int8" (8.5 bits a weight), "int4" (4.5 bits) ...

    Raises:
        ValueError: that is no checkpoint.
    """
    if not (checkpoint / checkpoints.STATE).is_file():
        raise ValueError(f"{checkpoint} is no checkpoint: it has no {checkpoints.STATE}")
    read_model(checkpoint, data).save(out, storage=storage)
    write_whole(out / "training.json", (checkpoint.parent.parent / "run.json").read_bytes())


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--storage", default="float32")
    chosen = parser.parse_args()
    export(chosen.checkpoint, chosen.data, chosen.out, storage=chosen.storage)
    print(f"{chosen.out}: {sum(path.stat().st_size for path in chosen.out.iterdir()):,} bytes")


if __name__ == "__main__":
    main()
