"""Reading a GGUF file of the `gpt2` architecture: config, tokenizer and, one at a time, tensors."""

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.files import reading
from pellucid.formats.gguf_blocks import decode
from pellucid.formats.gguf_container import GgufHeader, TensorEntry, Value, read_header
from pellucid.formats.gguf_names import ARCHITECTURE, PATTERN, gguf_name
from pellucid.formats.gguf_vocabulary import KEY, end_ids, read_tokenizer
from pellucid.gpt.arrangements import all_dense
from pellucid.gpt.config import MAX_LAYERS, MAX_NAME_LENGTH, GPTConfig
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.pattern import parse
from pellucid.text.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class GgufFile:
    """A GGUF file whose header has been read and checked.

    Attributes:
        tokenizer: None where the file has none that can be used. no_tokenizer: the reason.
        entries: the tensor table by our parameter names.
    """

    path: Path
    config: GPTConfig
    tokenizer: Tokenizer | None
    no_tokenizer: str
    entries: Mapping[str, TensorEntry] = field(repr=False)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Each parameter by our name, as float32, one at a time; in the order of the model.

        Raises:
            PellucidError: the file has changed since, or holds NaN or infinite values.
        """
        with reading(self.path) as file:
            for name, entry in self.entries.items():
                tensor = _load(file, entry, self.path)
                if not torch.isfinite(tensor).all():
                    raise PellucidError(f"{self.path}: {entry.name!r} holds NaN or infinite values")
                yield name, tensor

    def fill(self, model: Decoder, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> None:
        """Gives `model`, of this file's config and on the meta device, the file's weights: quantised ones are dequantised.

        Args:
            dtype: of the parameters; None is float32. They ask for no gradients, and the model is in eval mode afterwards.

        Raises:
            PellucidError: as `tensors`.
        """
        weights = {name: tensor.to(device, dtype or torch.float32) for name, tensor in self.tensors()}
        model.load_state_dict(weights, assign=True)
        model.eval().requires_grad_(False)


def _load(file: Any, entry: TensorEntry, path: Path) -> Tensor:
    raw = bytearray(entry.bytes)
    file.seek(entry.start)
    if file.readinto(raw) != entry.bytes:
        raise PellucidError(f"{path} ends inside {entry.name!r}")
    return decode(torch.frombuffer(raw, dtype=torch.uint8), entry.kind).view(entry.shape)


def read(path: str | Path) -> GgufFile:
    """Opens a GGUF file of the `gpt2` architecture and checks its header.

    Raises:
        PellucidError: not a GGUF file, damaged, of another architecture or with an unsupported tensor type, a tensor
            missing, extra or of the wrong shape, or a damaged tokenizer; the message names the file.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with reading(path) as file:
            header = read_header(file, size, path)
            config = _config(header.values, path)
            entries = _entries(header, config, path)
            tied, output = header.tensors["token_embd.weight"], header.tensors.get("output.weight")
            if output and not torch.equal(_load(file, output, path), _load(file, tied, path)):
                raise PellucidError(f"{path} has an output matrix of its own, which is not GPT-2's shape")
    except OSError as error:
        raise PellucidError(f"cannot read {path}: {error.strerror or error}") from None
    tokenizer, no_tokenizer = read_tokenizer(header.values, config, path)
    return GgufFile(path=path, config=config, tokenizer=tokenizer, no_tokenizer=no_tokenizer, entries=entries)


def _config(values: Mapping[str, Value], path: Path) -> GPTConfig:
    architecture = values.get("general.architecture")
    if architecture != ARCHITECTURE:
        raise PellucidError(f"{path} is a model of architecture {architecture!r}: only {ARCHITECTURE} is read")

    def number(key: str, of: type, default: Any = None) -> Any:
        value = values.get(f"{ARCHITECTURE}.{key}", default)
        if not isinstance(value, of) or isinstance(value, bool):
            raise PellucidError(f"{path}: the key {ARCHITECTURE}.{key} must be {of.__name__}, and is {value!r}")
        return value

    layers, pattern, tokens = number("block_count", int), values.get(PATTERN), values.get(f"{KEY}tokens")
    eps, name = number("attention.layer_norm_epsilon", float), values.get("general.name", "")
    if layers > MAX_LAYERS or not 0 < eps < 1:  # a pattern is made for each block; they are compared with the tensors later
        raise PellucidError(f"{path} says that it has {layers:,} blocks, with LayerNorms of epsilon {eps}")
    vocab_size = number("vocab_size", int, len(tokens) if isinstance(tokens, list) else None)

    start = values.get(f"{KEY}bos_token_id")
    start = start if type(start) is int and 0 <= start < vocab_size else None  # as a config has it: the last id

    try:
        return GPTConfig(
            vocab_size=vocab_size, start_of_text=start, end_of_text=end_ids(values, vocab_size) or None,
            n_ctx=number("context_length", int), n_layers=layers, d_model=number("embedding_length", int),
            n_heads=number("attention.head_count", int), d_ff=number("feed_forward_length", int, 0), norm_eps=_shortest(eps),
            pattern=tuple(parse(str(p)) for p in pattern) if isinstance(pattern, list) else all_dense(layers),
            name=name[:MAX_NAME_LENGTH] if isinstance(name, str) else "",
        )  # fmt: skip
    except PellucidError as error:
        raise PellucidError(f"{path}: {error}") from None


def _shortest(value: float) -> float:
    """The shortest decimal that rounds to this float32: 1e-05 rather than 9.999999747378752e-06."""
    readings = (float(f"{value:.{digits}g}") for digits in range(1, 18))
    return next(reading for reading in readings if struct.pack("<f", reading) == struct.pack("<f", value))


def _entries(header: GgufHeader, config: GPTConfig, path: Path) -> dict[str, TensorEntry]:
    stored_numbers = sum(math.prod(entry.shape) for entry in header.tensors.values())
    if len(header.tensors) < 6 * config.n_layers or config.parameters() > 16 * stored_numbers:  # before the meta model is built
        raise PellucidError(
            f"{path} says {config.parameters():,} parameters in {config.n_layers} blocks, and has {stored_numbers:,}"
        )
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
        raise PellucidError(f"{path} holds a tensor that does not belong to it: {extra[0]!r} ({len(extra)} in all)")
    return entries
