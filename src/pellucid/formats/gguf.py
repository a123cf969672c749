"""GGUF, the file of llama.cpp: a model and its tokenizer in one file, written and read for its `gpt2` architecture.

llama.cpp runs `gpt2` with every block dense, tanh GELU and, without an output matrix, the token matrix in its place. A
dense Pellucid model of kind F32 is therefore the same model there. What cannot be is refused, and what is otherwise is
named, before anything is written.

A tensor lies in the file as `torch.nn.Linear` keeps it, (out, in), row by row. Weight matrices take the kind that is asked
for; positions, biases and LayerNorms stay F32, and so does a matrix whose rows are not whole blocks.

Files: `gguf_names` (what is called what), `gguf_blocks` (numbers as bytes), `gguf_container` (the bytes around them),
`gguf_write`, `gguf_read`.
"""

from pathlib import Path

import torch

from pellucid.errors import PellucidError
from pellucid.formats.gguf_names import gguf_name
from pellucid.formats.gguf_read import GgufFile, read
from pellucid.formats.gguf_write import Rounding, Written, lossy, lost_patterns, refusals, write
from pellucid.formats.target import Logits, Target
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.pattern import all_dense
from pellucid.text.tokenizer import Tokenizer


__all__ = ["TARGET", "GgufFile", "Rounding", "Written", "gguf_name", "lossy", "read", "refusals", "write"]

QUANTIZES = {"int8": "Q8_0", "int4": "Q4_0", "float16": "F16", "bfloat16": "BF16"}
SAME = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}  # the kind that loses nothing of a dtype


def _kind(model: Decoder, quantize: str | None) -> str:
    return SAME.get(model.wte.weight.dtype, "F32") if quantize is None else QUANTIZES[quantize]


def _losses(model: Decoder, quantize: str | None) -> list[str]:
    if reasons := refusals(model.config):
        raise PellucidError(f"this model cannot be a GGUF file: {reasons[0]}")
    # Rounding is what `quantize` asks for; unasked, only float64 has more than the file can keep.
    rounded = quantize is None and model.wte.weight.dtype not in SAME
    return lost_patterns(model.config) + ["float64 weights are rounded to float32"] * rounded


def _write(model: Decoder, tokenizer: Tokenizer | None, path: Path, quantize: str | None) -> None:
    write(model, tokenizer, path, kind=_kind(model, quantize))


def _dense(path: Path) -> tuple[Logits, str]:
    """What the file computes where every block is dense, as in llama.cpp."""
    found = read(path)
    with torch.device("meta"):
        model = Decoder(found.config.replace(pattern=all_dense(found.config.n_layers)))
    model.load_state_dict(dict(found.tensors()), assign=True)
    return model.eval(), "pellucid's GGUF reader, every block dense"


TARGET = Target(losses=_losses, write=_write, read=_dense, quantizes=tuple(QUANTIZES), a_file=True)
