"""A training record with as much as the figure `parameters` needs."""

from io import BytesIO
from typing import Any

import numpy as np

from pellucid.api.records import Record
from pellucid.gpt.config import GPTConfig
from pellucid.record import Provenance, RecordWriter, as_uint8, describe


def trained(blocks: int = 2, width: int = 64, moments: int = 6, *, leave_out: str = "-", **shape: Any) -> Record:
    """As much of a training record as the figure needs, by arithmetic: weights that grow with the moments."""
    config = GPTConfig(**({"vocab_size": 500, "n_ctx": 128, "n_heads": 2} | shape), n_layers=blocks, d_model=width)
    names = [name for name, _ in config.matrices()]
    steps = [0, *(2**i for i in range(moments - 1))][:moments]
    chunks: dict[str, Any] = {
        "moments/steps": np.array(steps, np.int64),
        "matrices": names,
        "steps/tokens": np.arange(1, steps[-1] + 1) * 4096,
        "moments/weights": np.array([[1.0 + m + q / 10 for q in range(len(names))] for m in range(moments)], np.float32),
        "window/loss": np.array([[6.0 - 4 * m / moments + t / 10 for t in range(8)] for m in range(moments)], np.float32),
    }
    for q, (name, size) in enumerate(config.matrices()):
        m, r, c = np.ogrid[:moments, : min(size[0], 32), : min(size[1], 32)]
        chunks[f"thumbnails/{name}"] = as_uint8((m + 1) / 100 * ((r * 13 + c * 7 + r * c + q) % 21 - 10) / 10)
    where = Provenance(
        pellucid="0.1.0", model="fedcba9876543210" * 4, config=config.to_dict(), parameters=config.parameters(),
        dtype="float32", step=steps[-1], seed=3, checkpoint=f"step-{steps[-1]:08d}",
    )  # fmt: skip
    buffer = BytesIO()
    with RecordWriter(buffer, "training", where) as writer:
        for name, value in chunks.items():
            kind = "thumbnails/{matrix}" if name.startswith("thumbnails") else name
            if not name.startswith(leave_out):
                writer.add(f"training/{name}", value, **describe("training", f"training/{kind}"))
    buffer.seek(0)
    return Record.open(buffer)
