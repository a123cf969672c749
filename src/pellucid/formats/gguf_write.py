"""Writing a model as a GGUF file of the `gpt2` architecture, and reporting beforehand what would be lost."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.files import check_target, replacing
from pellucid.formats.gguf_blocks import FLOATS, TENSOR_TYPES, TensorType, decode, encode
from pellucid.formats.gguf_container import Value, header_bytes, padded
from pellucid.formats.gguf_names import (
    ARCHITECTURE,
    BLOCK_NAMES,
    OUTER_NAMES,
    PATTERN,
    QUANTIZATION_VERSION,
    gguf_name,
)
from pellucid.formats.gguf_vocabulary import vocabulary_keys
from pellucid.formats.target import dense_up_to
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.pattern import Dense
from pellucid.text.tokenizer import Tokenizer


CHUNK = 1 << 20  # numbers handled at a time: 4 MB of float32

# What llama.cpp's gpt2 graph assumes; a config that differs cannot be written.
ASSUMED = {"qkv_bias": True, "attention_scale": True, "norm": "pre", "final_norm": True}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rounding:
    """Rounding errors of one kind of tensor (such as `attn_qkv.weight` of all blocks).

    Attributes:
        kind: the tensor type. largest: the largest error. rms: root mean square error. scale: root mean square of the numbers
            themselves, to compare with.
    """

    kind: str
    largest: float
    rms: float
    scale: float


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenFile:
    """A written GGUF file.

    Attributes:
        bytes: its size. lossy: why it is not the same model; empty where it is. rounding: by kind of tensor.
    """

    path: Path
    bytes: int
    kind: str
    lossy: tuple[str, ...]
    rounding: Mapping[str, Rounding]


def refusals(config: GPTConfig) -> list[str]:
    """Why llama.cpp's `gpt2` cannot run this config, even approximately. Empty: it can."""
    reasons = []
    if config.activation != "gelu_tanh":
        reasons.append(f"llama.cpp's gpt2 has the tanh GELU built in, and this model's activation is {config.activation}")
    if config.d_ff != 4 * config.d_model:
        reasons.append(f"readers of gpt2 files take d_ff to be 4 x d_model, and here it is {config.d_ff}")
    for name, _ in config.matrices():
        if re.sub(r"^h\.\d+\.", "", name) not in (*BLOCK_NAMES, *OUTER_NAMES):
            reasons.append(f"llama.cpp's gpt2 has no place for the matrix {name}")
            break
    for key, gpt2 in ASSUMED.items():
        if getattr(config, key, gpt2) != gpt2:
            reasons.append(f"llama.cpp's gpt2 has {key} = {gpt2}, and this model {getattr(config, key)}")
    return reasons


def lost_patterns(config: GPTConfig) -> list[str]:
    """Which blocks llama.cpp would compute differently, and from how many tokens on."""
    reach = {p: dense_up_to(p, config.n_ctx) for p in set(config.pattern)}
    sparse = [p for p in config.pattern if reach[p] < config.n_ctx]
    if not sparse:
        return []
    return [
        f"{len(sparse)} of {config.n_layers} blocks are {' and '.join(sorted(set(map(str, sparse))))}, which llama.cpp runs as "
        f"dense: the same model up to {min(reach[p] for p in sparse)} tokens, another one beyond"
    ]


def lossy(model: Decoder, kind: str) -> list[str]:
    """Why a file of that tensor type would not be the same model. Empty: it would be, number for number.

    A banded block run as dense is the same up to its band, and differs from there on. A 16-bit type is exact where every
    weight is representable in it.
    """
    reasons = lost_patterns(model.config)
    if TENSOR_TYPES[kind].block > 1:
        bits = TENSOR_TYPES[kind].block_bytes * 8 / TENSOR_TYPES[kind].block
        reasons.append(f"{kind} keeps a weight in {bits:g} bits: it rounds")
    elif kind != "F32" and any(_rounds(p, FLOATS[kind]) for p in model.parameters() if p.dim() == 2):
        reasons.append(f"{kind} keeps a weight in 16 bits: it rounds")
    return reasons


def _rounds(parameter: Tensor, dtype: torch.dtype) -> bool:
    return any(not torch.equal(rows.to(dtype).to(rows.dtype), rows) for rows in _chunks(parameter.detach()))


def _chunks(tensor: Tensor) -> Iterator[Tensor]:
    """The tensor in groups of rows of CHUNK numbers, so that no temporary is as large as the tensor."""
    yield from torch.split(tensor, max(1, CHUNK // tensor[0].numel()))


def write(model: Decoder, tokenizer: Tokenizer | None, path: str | Path, *, kind: str = "F32") -> WrittenFile:
    """Writes the model as a GGUF file, whole or not at all, without a second copy of its weights in memory.

    Args:
        tokenizer: the model's; None writes a file without a vocabulary.
        kind: tensor type of the weight matrices: "F32", "F16", "BF16", "Q8_0" or "Q4_0".

    Returns:
        The file, why it is lossy (call `lossy` before to decide) and its rounding errors.

    Raises:
        PellucidError: an unknown type, a config that the format cannot hold, another model's tokenizer, a number too large
            for the type, or the file cannot be written.
    """
    path, config = Path(path), model.config
    if kind not in TENSOR_TYPES:
        raise PellucidError(f"unknown GGUF kind {kind!r}: use one of {', '.join(TENSOR_TYPES)}")
    if reasons := refusals(config):
        raise PellucidError(f"this model cannot be a GGUF file: {reasons[0]}")
    check_target(path)
    named = {gguf_name(name): parameter.detach() for name, parameter in model.named_parameters()}
    kinds = {name: _type_of(name, tensor, TENSOR_TYPES[kind]) for name, tensor in named.items()}
    values = _values(config, TENSOR_TYPES[kind]) | vocabulary_keys(tokenizer, config)
    header = header_bytes(values, [(name, tuple(tensor.shape), kinds[name]) for name, tensor in named.items()])
    reasons = lossy(model, kind)
    sums: dict[str, _Sums] = {}
    with replacing(path) as file:
        size = file.write(header)
        for name, tensor in named.items():
            seen = sums.setdefault(re.sub(r"^blk\.\d+\.", "", name), _Sums(kind=kinds[name].name))
            for rows in _chunks(tensor):
                numbers = rows.float().cpu().contiguous()
                raw = encode(numbers, kinds[name])
                seen.add(numbers, decode(raw, kinds[name]).view_as(numbers))
                size += file.write(raw.numpy().data)
            size += file.write(bytes(padded(size) - size))
    rounding = {name: each.rounding() for name, each in sums.items()}
    return WrittenFile(path=path, bytes=size, kind=kind, lossy=tuple(reasons), rounding=rounding)


def _type_of(name: str, tensor: Tensor, kind: TensorType) -> TensorType:
    """The type of one tensor: the requested one for weight matrices whose rows are whole blocks, else F32."""
    matrix = tensor.dim() == 2 and name != "position_embd.weight"
    return kind if matrix and tensor.shape[-1] % kind.block == 0 else TENSOR_TYPES["F32"]


@dataclass(kw_only=True, slots=True)
class _Sums:
    kind: str
    largest: float = 0.0
    off: float = 0.0
    squares: float = 0.0
    count: int = 0

    def add(self, numbers: Tensor, written: Tensor) -> None:
        difference = written - numbers
        self.largest = max(self.largest, difference.abs().max().item())
        self.off += difference.double().square().sum().item()
        self.squares += numbers.double().square().sum().item()
        self.count += numbers.numel()

    def rounding(self) -> Rounding:
        rms, scale = ((total / self.count) ** 0.5 for total in (self.off, self.squares))
        return Rounding(kind=self.kind, largest=self.largest, rms=rms, scale=scale)


def _values(config: GPTConfig, kind: TensorType) -> dict[str, Value]:
    values: dict[str, Value] = {
        "general.architecture": ARCHITECTURE,
        "general.name": config.name or "pellucid",
        "general.file_type": kind.file_type,
        f"{ARCHITECTURE}.vocab_size": config.vocab_size,
        f"{ARCHITECTURE}.context_length": config.n_ctx,
        f"{ARCHITECTURE}.embedding_length": config.d_model,
        f"{ARCHITECTURE}.block_count": config.n_layers,
        f"{ARCHITECTURE}.feed_forward_length": config.d_ff,
        f"{ARCHITECTURE}.attention.head_count": config.n_heads,
        f"{ARCHITECTURE}.attention.layer_norm_epsilon": config.norm_eps,
    }
    if kind.block > 1:
        values["general.quantization_version"] = QUANTIZATION_VERSION
    if not all(isinstance(p, Dense) for p in config.pattern):
        values[PATTERN] = [str(p) for p in config.pattern]
    return values
