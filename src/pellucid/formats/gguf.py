"""The GGUF conversion target, llama.cpp's format: model and tokenizer in one file, for the `gpt2` architecture.

llama.cpp runs `gpt2` with every block dense, tanh GELU and, without an output matrix, the token matrix in its place. A
dense Pellucid model in F32 is therefore the same model there. What the format cannot hold is refused, and what it computes
differently is reported, before anything is written.

A tensor is stored as `torch.nn.Linear` keeps it, (out, in), row by row. Weight matrices have the requested tensor type;
positions, biases and LayerNorms stay F32, and so does a matrix whose rows are not whole blocks.

Files: `gguf_names` (tensor names), `gguf_blocks` (numbers as bytes), `gguf_container` (header and tensor table),
`gguf_write`, `gguf_read`.
"""

from pathlib import Path

import torch

from pellucid.errors import PellucidError
from pellucid.formats.gguf_names import gguf_name
from pellucid.formats.gguf_read import GgufFile, read
from pellucid.formats.gguf_write import Rounding, WrittenFile, lossy, lost_patterns, refusals, write
from pellucid.formats.target import Logits, Target
from pellucid.gpt.arrangements import all_dense
from pellucid.gpt.decoder import Decoder
from pellucid.text.tokenizer import Tokenizer


__all__ = ["TARGET", "GgufFile", "Rounding", "WrittenFile", "gguf_name", "lossy", "read", "refusals", "write"]

QUANTIZES = {"int8": "Q8_0", "int4": "Q4_0", "float16": "F16", "bfloat16": "BF16"}
EXACT_TYPE = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}  # the tensor type that is exact for a dtype


def _kind(model: Decoder, quantize: str | None) -> str:
    return EXACT_TYPE.get(model.wte.weight.dtype, "F32") if quantize is None else QUANTIZES[quantize]


def _losses(model: Decoder, quantize: str | None) -> list[str]:
    if reasons := refusals(model.config):
        raise PellucidError(f"this model cannot be a GGUF file: {reasons[0]}")
    # `quantize` allows rounding; without it only float64 has more bits than the file can keep.
    rounded = quantize is None and model.wte.weight.dtype not in EXACT_TYPE
    return lost_patterns(model.config) + ["float64 weights are rounded to float32"] * rounded


def _write(model: Decoder, tokenizer: Tokenizer | None, path: Path, quantize: str | None) -> None:
    write(model, tokenizer, path, kind=_kind(model, quantize))


def _dense(path: Path) -> tuple[Logits, str]:
    """Reads the file as llama.cpp does: every block dense."""
    file = read(path)
    with torch.device("meta"):
        model = Decoder(file.config.replace(pattern=all_dense(file.config.n_layers)))
    model.load_state_dict(dict(file.tensors()), assign=True)
    return model.eval(), "pellucid's GGUF reader, every block dense"


TARGET = Target(losses=_losses, write=_write, read=_dense, quantizes=tuple(QUANTIZES), is_file=True)
