"""Measures what rounding the weights costs: bits per byte of books in float32, at 8.5 and at 4.5 bits a weight.

    python -m recipes.default_model.rounding MODEL CORPUS [--data DATA]     MODEL: anything `pellucid` loads, or a checkpoint

The books are those of the validation part, eight evenly spaced windows of each; with `--test`, all windows of the test books.
Bits per byte are comparable between models with different tokenizers.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.training.held_out import held_out_loss
from recipes.default_model import checkpoints
from recipes.default_model.books import TEST, VALIDATION
from recipes.default_model.evaluate import WINDOWS_A_BOOK, read_model, windows_of


STORAGES = {"float32": 32.0, "int8": 8.5, "int4": 4.5}  # bits a weight
_ROW_TOKENS = 2048  # tokens that go through the model at a time


def bits_of_books(model: GPT, corpus: Path, paths: Sequence[str], *, windows_a_book: int | None = None) -> float:
    """Bits per byte of books: of all windows, or of `windows_a_book` of each, evenly spaced.

    Args:
        corpus: the folder of the books. paths: of books in it.
    """
    return bits_and_bytes(model, corpus, paths, windows_a_book=windows_a_book)[0]


def bits_and_bytes(
    model: GPT, corpus: Path, paths: Sequence[str], *, windows_a_book: int | None = None
) -> tuple[float, int]:  # fmt: skip
    """`bits_of_books`, and the number of bytes that were predicted."""
    tokenizer, n_ctx = model.require_tokenizer(), model.config.n_ctx
    windows: list[NDArray[np.int64]] = []
    for path in paths:
        ids = [*tokenizer.encode((corpus / path).read_text(encoding="utf-8")), tokenizer.eot]
        windows += windows_of(np.array(ids, dtype=np.int64), n_ctx, windows_a_book)
    model.eval()
    rows, lengths = max(1, _ROW_TOKENS // n_ctx), np.array(tokenizer.byte_lengths)
    bits = held_out_loss(model, windows, lengths, dtype=torch.float32, rows=rows)[1]
    return bits, int(sum(lengths[window[1:]].sum() for window in windows))


def open_model(path: str, data: Path | None) -> GPT:
    """A checkpoint's averaged weights, or anything that `pellucid.load` takes.

    Raises:
        ValueError: a checkpoint without `data`, which has its tokenizer.
    """
    if not (Path(path) / checkpoints.STATE).is_file():
        return load(path)
    if data is None:
        raise ValueError(f"{path} is a checkpoint: name the data that it was trained on (--data)")
    return read_model(Path(path), data)


def rounded(model: GPT, storage: str, folder: Path) -> GPT:
    """The model, saved in that storage and loaded again."""
    model.save(folder / storage, storage=storage)
    return load(folder / storage)


def losses(model: GPT, corpus: Path, *, test: bool = False) -> dict[str, dict[str, Any]]:
    """For each storage: bits a weight, bits per byte, the loss against float32 in bits per byte, bytes of the weights' file."""
    paths, windows = (TEST, None) if test else (VALIDATION, WINDOWS_A_BOOK)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for storage, bits in STORAGES.items():
            again = rounded(model, storage, Path(folder))
            measured = bits_of_books(again, corpus, paths, windows_a_book=windows)
            found[storage] = {
                "bits_a_weight": bits, "bits_per_byte": round(measured, 4),
                "lost": round(measured - found["float32"]["bits_per_byte"], 4) if found else 0.0,
                "bytes": sum(file.stat().st_size for file in (Path(folder) / storage).glob("*.safetensors")),
            }  # fmt: skip
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--test", action="store_true", help="the test books, all of them (minutes)")
    chosen = parser.parse_args()
    print(json.dumps(losses(open_model(chosen.model, chosen.data), chosen.corpus, test=chosen.test), indent=1))


if __name__ == "__main__":
    main()
