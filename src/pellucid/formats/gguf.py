"""GGUF, the file of llama.cpp: a model and its tokenizer in one file, written and read for its `gpt2` architecture.

llama.cpp runs `gpt2` with every block dense, tanh GELU and, without an output matrix, the token matrix in its place. A
dense Pellucid model of kind F32 is therefore the same model there. What is not is refused (`refusals`) or named (`lossy`)
before anything is written.

A tensor lies in the file as `torch.nn.Linear` keeps it, (out, in), row by row. Weight matrices take the kind that is asked
for; positions, biases and LayerNorms stay F32, and so does a matrix whose rows are not whole blocks.
"""

import math
import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.formats.gguf_blocks import FLOATS, KINDS, Kind, decode, encode
from pellucid.formats.gguf_container import Header, TensorEntry, Value, header_bytes, padded, read_header
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.pattern import Dense, all_dense, parse
from pellucid.text.bytes_to_characters import to_bytes, to_characters
from pellucid.text.tokenizer import END_OF_TEXT, Tokenizer
from pellucid.text.tokenizer_json import check_merges, merges_of


ARCHITECTURE = "gpt2"
NORMAL, CONTROL = 1, 3  # types of tokens: of text, or of none
QUANTISATION_VERSION = 2  # of ggml's block formats
PATTERN = "pellucid.pattern"  # ours alone: other readers pass over keys that they do not know
CHUNK = 1 << 22  # numbers encoded at a time: 16 MB of float32

ENDS = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}
BLOCK_PARTS = {
    "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}  # fmt: skip
# What the gpt2 graph takes for granted; a shape of which any is otherwise has no place in it.
GRANTED = {"qkv_bias": True, "attention_scale": True, "norm": "pre", "final_norm": True}


def gguf_name(name: str) -> str:
    """`h.3.attn.c_attn.weight` -> `blk.3.attn_qkv.weight`."""
    if found := re.fullmatch(r"h\.(\d+)\.(.+)\.(weight|bias)", name):
        return f"blk.{found[1]}.{BLOCK_PARTS[found[2]]}.{found[3]}"
    part, _, last = name.rpartition(".")
    return f"{ENDS[part]}.{last}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rounding:
    """How far the written numbers of one sort of tensor (`attn_qkv.weight`, of all blocks) lie from the model's.

    Attributes:
        kind: the number format. largest: the largest difference. rms: root of the mean squared one. scale: root of the mean
            square of the numbers themselves, to compare with.
    """

    kind: str
    largest: float
    rms: float
    scale: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A file that was written.

    Attributes:
        bytes: its size. lossy: why it is not the same model, empty where it is. rounding: by sort of tensor.
    """

    path: Path
    bytes: int
    kind: str
    lossy: tuple[str, ...]
    rounding: Mapping[str, Rounding]


def refusals(config: GPTConfig) -> list[str]:
    """Why llama.cpp's `gpt2` cannot be this shape, even roughly. Empty: it can."""
    reasons = []
    if config.activation != "gelu_tanh":
        reasons.append(f"llama.cpp's gpt2 has the tanh GELU built in, and this model's activation is {config.activation}")
    if config.d_ff != 4 * config.d_model:
        reasons.append(f"readers of gpt2 files take d_ff to be 4 x d_model, and here it is {config.d_ff}")
    for key, gpt2 in GRANTED.items():
        if getattr(config, key, gpt2) != gpt2:
            reasons.append(f"llama.cpp's gpt2 has {key} = {gpt2}, and this model {getattr(config, key)}")
    return reasons


def lossy(model: Decoder, kind: str) -> list[str]:
    """Why a file of that kind would not be the same model. Empty: it would be, number for number.

    A dense reading of a banded block is the same up to its band, and another model from there on. A 16-bit kind is exact
    where every weight is such a number already.
    """
    reasons = []
    banded = [p for p in model.config.pattern if p.reach(model.config.n_ctx) < model.config.n_ctx]
    if banded:
        shortest = min(p.reach(model.config.n_ctx) for p in banded)
        reasons.append(
            f"{len(banded)} of {model.config.n_layers} blocks are {' and '.join(sorted(set(map(str, banded))))}, which "
            f"llama.cpp runs as dense: the same model up to {shortest} tokens, another one beyond"
        )
    if KINDS[kind].block > 1:
        reasons.append(f"{kind} keeps a weight in {KINDS[kind].block_bytes * 8 / KINDS[kind].block:g} bits: it rounds")
    elif kind != "F32" and any(_rounds(p, FLOATS[kind]) for p in model.parameters() if p.dim() == 2):
        reasons.append(f"{kind} keeps a weight in 16 bits: it rounds")
    return reasons


def _rounds(parameter: Tensor, dtype: torch.dtype) -> bool:
    return not torch.equal(parameter.detach().to(dtype).to(parameter.dtype), parameter.detach())


def write(model: Decoder, tokenizer: Tokenizer | None, path: str | Path, *, kind: str = "F32") -> Written:
    """Writes the model as a GGUF file, whole or not at all, without a second copy of its weights in memory.

    Args:
        tokenizer: the model's; None writes a file whose model reads and writes ids only.
        kind: of the weight matrices: "F32", "F16", "BF16", "Q8_0" or "Q4_0".

    Returns:
        What was written, how it is lossy (`lossy`; ask before, if that must not be) and how far its numbers lie off.

    Raises:
        PellucidError: an unknown kind, a shape that the format cannot hold, another model's tokenizer, a number too large
            for the kind, or a disk that would not take it.
    """
    path, config = Path(path), model.config
    if kind not in KINDS:
        raise PellucidError(f"unknown GGUF kind {kind!r}: use one of {', '.join(KINDS)}")
    if reasons := refusals(config):
        raise PellucidError(f"this model cannot be a GGUF file: {reasons[0]}")
    named = {gguf_name(name): parameter.detach() for name, parameter in model.named_parameters()}
    kinds = {name: _kind_of(name, tensor, KINDS[kind]) for name, tensor in named.items()}
    values = _values(config, KINDS[kind]) | _vocabulary(tokenizer, config)
    header = header_bytes(values, [(name, tuple(tensor.shape), kinds[name]) for name, tensor in named.items()])
    reasons = lossy(model, kind)
    sums: dict[str, _Sums] = {}
    draft = path.with_name(f".{path.name}.partial")
    try:
        try:
            with draft.open("wb") as file:
                file.write(header)
                for name, tensor in named.items():
                    seen = sums.setdefault(re.sub(r"^blk\.\d+\.", "", name), _Sums(kind=kinds[name].name))
                    for rows in torch.split(tensor, max(1, CHUNK // tensor[0].numel())):
                        numbers = rows.float().cpu().contiguous()
                        raw = encode(numbers, kinds[name])
                        seen.add(numbers, decode(raw, kinds[name]).view_as(numbers))
                        file.write(raw.numpy().data)
                    file.write(bytes(padded(file.tell()) - file.tell()))
                size = file.tell()
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise PellucidError(f"cannot write {path}: {error.strerror or error}") from error
    rounding = {name: each.rounding() for name, each in sums.items()}
    return Written(path=path, bytes=size, kind=kind, lossy=tuple(reasons), rounding=rounding)


def _kind_of(name: str, tensor: Tensor, kind: Kind) -> Kind:
    """The kind of one tensor: what is asked for, for weight matrices whose rows it divides."""
    matrix = tensor.dim() == 2 and name != "position_embd.weight"
    return kind if matrix and tensor.shape[-1] % kind.block == 0 else KINDS["F32"]


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


def _values(config: GPTConfig, kind: Kind) -> dict[str, Value]:
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
        values["general.quantization_version"] = QUANTISATION_VERSION
    if not all(isinstance(p, Dense) for p in config.pattern):
        values[PATTERN] = [str(p) for p in config.pattern]
    return values


def _vocabulary(tokenizer: Tokenizer | None, config: GPTConfig) -> dict[str, Value]:
    if tokenizer is None:
        return {"tokenizer.ggml.model": "no_vocab"}
    if tokenizer.vocab_size != config.vocab_size:
        raise PellucidError(f"the tokenizer has {tokenizer.vocab_size} tokens, the model {config.vocab_size}: not its own")
    if getattr(tokenizer, "numbering", None) is not None or tokenizer.eot != tokenizer.vocab_size - 1:
        raise PellucidError("only a vocabulary in GPT-2's order (bytes, merges, end of text) can be written as GGUF yet")
    tokens = [tokenizer.token_bytes(i) for i in range(tokenizer.eot)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [*map(to_characters, tokens), END_OF_TEXT],
        "tokenizer.ggml.token_type": [NORMAL] * len(tokens) + [CONTROL],
        "tokenizer.ggml.merges": [f"{to_characters(a)} {to_characters(b)}" for a, b in merges_of(tokens)],
        "tokenizer.ggml.bos_token_id": tokenizer.eot,
        "tokenizer.ggml.eos_token_id": tokenizer.eot,
        "tokenizer.ggml.add_bos_token": False,
    }


@dataclass(frozen=True, kw_only=True)
class GgufFile:
    """A GGUF file whose header has been read and checked.

    Attributes:
        config: the shape. tokenizer: None where the file has none.
        entries: by our names of the parameters, where each tensor lies.
    """

    path: Path
    config: GPTConfig
    tokenizer: Tokenizer | None
    entries: Mapping[str, TensorEntry] = field(repr=False)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Each parameter by our name, as float32, one at a time; in the order of the model.

        Raises:
            PellucidError: the file has changed since, or holds NaN or infinite values.
        """
        with self.path.open("rb") as file:
            for name, entry in self.entries.items():
                tensor = _load(file, entry, self.path)
                if not torch.isfinite(tensor).all():
                    raise PellucidError(f"{self.path}: {entry.name!r} holds NaN or infinite values")
                yield name, tensor


def _load(file: Any, entry: TensorEntry, path: Path) -> Tensor:
    raw = bytearray(entry.bytes)
    file.seek(entry.start)
    if file.readinto(raw) != entry.bytes:
        raise PellucidError(f"{path} ends inside {entry.name!r}")
    return decode(torch.frombuffer(raw, dtype=torch.uint8), entry.kind).view(entry.shape)


def read(path: str | Path) -> GgufFile:
    """Opens a GGUF file of a `gpt2`: shape, tokenizer and, one at a time, tensors.

    Raises:
        PellucidError: not a GGUF file, damaged, of another architecture or of a kind of numbers that is not read, a tensor
            missing, extra or of another shape, or a tokenizer that is not GPT-2's sort; the message names the file.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = read_header(file, size, path)
            config = _config(header.values, path)
            entries = _entries(header, config, path)
            tied, output = header.tensors["token_embd.weight"], header.tensors.get("output.weight")
            if output and not torch.equal(_load(file, output, path), _load(file, tied, path)):
                raise PellucidError(f"{path} has an output matrix of its own, which is not GPT-2's shape")
    except OSError as error:
        raise PellucidError(f"cannot read {path}: {error.strerror or error}") from None
    return GgufFile(path=path, config=config, tokenizer=_tokenizer(header.values, config, path), entries=entries)


def _config(values: Mapping[str, Value], path: Path) -> GPTConfig:
    architecture = values.get("general.architecture")
    if architecture != ARCHITECTURE:
        raise PellucidError(f"{path} is a model of architecture {architecture!r}: only {ARCHITECTURE} is read")

    def number(key: str, of: type, default: Any = None) -> Any:
        value = values.get(f"{ARCHITECTURE}.{key}", default)
        if not isinstance(value, of) or isinstance(value, bool):
            raise PellucidError(f"{path}: the key {ARCHITECTURE}.{key} must be {of.__name__}, and is {value!r}")
        return value

    layers, pattern, tokens = number("block_count", int), values.get(PATTERN), values.get("tokenizer.ggml.tokens")
    eps, name = number("attention.layer_norm_epsilon", float), values.get("general.name", "")
    if layers > 1 << 16 or not 0 < eps < 1:  # a pattern is made for each block; they are counted against tensors later
        raise PellucidError(f"{path} says that it has {layers:,} blocks, with LayerNorms of epsilon {eps}")
    try:
        return GPTConfig(
            vocab_size=number("vocab_size", int, len(tokens) if isinstance(tokens, list) else None),
            n_ctx=number("context_length", int), n_layers=layers, d_model=number("embedding_length", int),
            n_heads=number("attention.head_count", int), d_ff=number("feed_forward_length", int, 0), norm_eps=_shortest(eps),
            pattern=tuple(parse(str(p)) for p in pattern) if isinstance(pattern, list) else all_dense(layers),
            name=name if isinstance(name, str) else "",
        )  # fmt: skip
    except PellucidError as error:
        raise PellucidError(f"{path}: {error}") from None


def _shortest(value: float) -> float:
    """The shortest decimal that is this number in float32: the 1e-05 that was meant, not 9.999999747378752e-06."""
    readings = (float(f"{value:.{digits}g}") for digits in range(1, 18))
    return next(reading for reading in readings if struct.pack("<f", reading) == struct.pack("<f", value))


def _entries(header: Header, config: GPTConfig, path: Path) -> dict[str, TensorEntry]:
    held = sum(math.prod(entry.shape) for entry in header.tensors.values())
    if len(header.tensors) < 6 * config.n_layers or config.parameters() > 16 * held:  # before a model is laid out
        raise PellucidError(f"{path} says {config.parameters():,} parameters in {config.n_layers} blocks, and has {held:,}")
    with torch.device("meta"):
        wanted = {name: tuple(p.shape) for name, p in Decoder(config).named_parameters()}
    entries: dict[str, TensorEntry] = {}
    for name, shape in wanted.items():
        entry = header.tensors.get(gguf_name(name))
        if entry is None:
            raise PellucidError(f"{path} lacks the tensor {gguf_name(name)!r}")
        if entry.shape != shape:
            raise PellucidError(f"{path}: {entry.name!r} has shape {entry.shape}, but its keys ask for {shape}")
        entries[name] = entry
    if extra := sorted(set(header.tensors) - {entry.name for entry in entries.values()} - {"output.weight"}):
        raise PellucidError(f"{path} holds a tensor that does not belong: {extra[0]!r} ({len(extra)} in all)")
    return entries


def _tokenizer(values: Mapping[str, Value], config: GPTConfig, path: Path) -> Tokenizer | None:
    kind = values.get("tokenizer.ggml.model")
    if kind in (None, "no_vocab", "none"):
        return None
    tokens, merges = values.get("tokenizer.ggml.tokens"), values.get("tokenizer.ggml.merges")
    if kind != "gpt2" or values.get("tokenizer.ggml.pre", "gpt-2") not in ("gpt-2", "default"):
        raise PellucidError(f"{path}: its tokenizer is {kind!r}, {values.get('tokenizer.ggml.pre')!r}; only gpt2's is read")
    if not isinstance(tokens, list) or not isinstance(merges, list) or len(tokens) != config.vocab_size:
        raise PellucidError(f"{path}: its vocabulary is not complete: {config.vocab_size} tokens with merges are needed")
    if tokens[-1] != END_OF_TEXT or values.get("tokenizer.ggml.eos_token_id", len(tokens) - 1) != len(tokens) - 1:
        raise PellucidError(f"{path}: its last token must be {END_OF_TEXT}, and end texts")
    try:
        table = [to_bytes(str(token)) for token in tokens[:-1]]
        pairs = [str(merge).split(" ") for merge in merges]
        tokenizer = Tokenizer(table)
        if len(pairs) != len(table) - 256 or any(len(pair) != 2 for pair in pairs):
            raise PellucidError(f"{len(pairs)} merges do not make {len(table)} tokens out of 256 bytes")
        check_merges(table, [(to_bytes(a), to_bytes(b)) for a, b in pairs])
    except PellucidError as error:
        raise PellucidError(f"cannot use the tokenizer of {path}: {error}") from error
    return tokenizer
