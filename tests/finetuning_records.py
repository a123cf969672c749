"""Small fine-tuning records for tests of figures, made by arithmetic: numbers that no model computed."""

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pellucid.api.records import Record
from pellucid.gpt.config import GPTConfig
from pellucid.record import Provenance, RecordWriter, as_uint8, describe


NUMBERS = [
    ("382 =>", " three hundred eighty-two", " was a little girl", " three hundred eighty-two"),
    ("7 =>", " seven", " 7 => 7", " seven"),
    ("640 =>", " six hundred forty", " and", " six hundred fourteen"),
    ("13 =>", " thirteen", " thirteen", " thirteen"),
] * 6  # fmt: skip
SCRIPTS = [
    ("这家饭店的菜很好吃，服务也很周到，下次还会再来。", " 好评", " 的", " 好评"),
    ("الخدمة كانت بطيئة جدا والطعام بارد", " سلبي", " 🤖🤖🤖", " سلبي"),
    ("🎉🎂 best party ever 🎈", " 👍", " 👎", " 👍"),
    ("Donaudampfschifffahrtsgesellschaftskapitän\nline two\tand a tab", " good\nnews", "", " good\nnews"),
]


def finetuning_record(
    *,
    blocks: int = 2,
    steps: int = 40,
    answers: Sequence[tuple[str, str, str, str]] = NUMBERS,
    forgets: float = 0.2,
    without: tuple[str, ...] = (),
    unchanged: bool = False,
    **shape: Any,
) -> Record:
    """A fine-tuning record of a run of so many steps.

    Args:
        blocks: of the model. answers: (prompt, expected, before, after) each. forgets: by how much the general loss rises.
        without: beginnings of names to leave out. unchanged: whether the model before was kept. shape: of `GPTConfig`.
    """
    small = {"d_model": 32, "n_heads": 2, "n_ctx": 64, "vocab_size": 500}
    config = GPTConfig(**(small | shape), n_layers=blocks)
    names = [name for name, _ in config.matrices()]
    kept = 0 if unchanged else 3 * steps // 4
    evaluated = sorted({0, *range(0, steps, max(1, steps // 8)), kept, steps})
    at = np.arange(steps)
    plan = {
        "kind": "finetune", "total_steps": steps, "batch": 8,
        "source": {"base": "made-up", "train_examples": 900, "held_out_examples": 100} if answers else {"base": "made-up"},
    }  # fmt: skip
    chunks: dict[str, Any] = {
        "plan": plan,
        "answers": [dict(zip(("prompt", "expected", "before", "after"), one, strict=True)) for one in answers],
        "matrices": names,
        "change": np.array([0.0 if unchanged else 0.1 + q % 7 / 10 for q in range(len(names))], np.float32),
        "weights": np.array([9.0 + q % 5 for q in range(len(names))], np.float32),
        "steps/loss": 0.2 + 2.6 * np.exp(-at / (steps / 4)) + (at * 7919 % 101 - 50) / 400,
        "held_out/steps": np.array(evaluated, np.int64),
        "held_out/loss": np.array([0.5 + 2.4 * math.exp(-4 * e / steps) + 0.4 * e / steps for e in evaluated]),
        "general/ids": (np.arange(3 * 17).reshape(3, 17) % config.vocab_size).astype(np.int32),
        "general/loss": np.stack([np.full((3, 16), 3.0), np.full((3, 16), 3.0 + forgets)]).astype(np.float32),
    }
    if answers:
        chunks["held_out/right"] = np.array([round(98 * (1 - math.exp(-5 * e / steps))) for e in evaluated], np.int64)
        chunks["held_out/examples"] = np.int64(100)
    for q, (name, size) in enumerate(config.matrices()):
        r, c = np.ogrid[: min(size[0], 32), : min(size[1], 32)]
        tiles = np.zeros(r.shape[:1] + c.shape[1:]) if unchanged else ((r * 13 + c * 7 + r * c + q) % 21) / 2000 * (1 + q % 3)
        chunks[f"thumbnails/{name}"] = as_uint8(tiles.astype(np.float32))
    where = Provenance(
        pellucid="0.1.0", model="fedcba9876543210" * 4, config=config.to_dict(), parameters=config.parameters(),
        dtype="float32", step=kept, seed=3,
    )  # fmt: skip
    buffer = io.BytesIO()
    with RecordWriter(buffer, "finetuning", where) as writer:
        for name, value in chunks.items():
            if not name.startswith(without or ("-",)):
                row = "thumbnails/{matrix}" if name.startswith("thumbnails") else name
                source = {"text": "made-up text"} if name == "general/ids" else None
                writer.add(f"finetuning/{name}", value, source=source, **describe("finetuning", f"finetuning/{row}"))
    buffer.seek(0)
    return Record.open(buffer)
