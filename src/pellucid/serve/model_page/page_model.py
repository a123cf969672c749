"""A model as a page has it: its weight file as it is, its tokenizer, and the words of the records that the page will write."""

import tempfile
from collections.abc import Mapping
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from pellucid.engine.options import recordable_options
from pellucid.errors import PellucidError
from pellucid.files import reading
from pellucid.folders import temporary_folder
from pellucid.formats.hf_config import listed_shards
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.generation.prompt import FORMATS
from pellucid.generation.resolve import DEFAULT, gguf_file, resolve
from pellucid.gpt.config_json import WEIGHTS, read_json
from pellucid.gpt.directory import save_model
from pellucid.gpt.fingerprint import fingerprint, shape_line
from pellucid.gpt.quantize import BITS
from pellucid.gpt.torch_defaults import torch_defaults
from pellucid.record.schema import SCHEMA
from pellucid.runtime.kernel.packed import unsupported
from pellucid.serve.model_page.kernels import KERNELS, kernel
from pellucid.serve.model_page.tokenizer import page_tokenizer
from pellucid.serve.page_wire import ChunkText, PageModel, PagePriming, PageWeights, PromptFormat
from pellucid.serve.wire import OptionField


MOST_BYTES = 40_000_000  # of a weight file: a browser holds the page's text, the file and the packed weights at once
LARGE_BYTES = 9_000_000  # from here on a page is slow to send and to open
QUANTIZED = tuple(BITS)
COUNTED = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")  # of priming
_OWN_TYPES = ("gpt2", "pellucid")  # whose tensors have the names and the layout that a page reads
_PER_BLOCK = "scale_attn_by_inverse_layer_idx"  # GPT-2's option that divides scores by the block's number


class EmbeddedModel(NamedTuple):
    """A model for a page.

    Attributes:
        page: what the page says and knows of it. weights: the bytes of its weight file.
        converted: whether the file was written for the page, since the model's own has another form.
    """

    page: PageModel
    weights: bytes
    converted: bool


@torch_defaults()
def embedded_model(source: str | Path = DEFAULT, *, quantize: str | None = None) -> EmbeddedModel:
    """Reads a model for a page.

    Args:
        source: what `load` takes. quantize: "int8" (8.5 bits a weight) or "int4" (4.5): the weights are rounded to that first.

    Raises:
        PellucidError: a model whose shape, pattern or dtype the page cannot run, or without a tokenizer; one that is too
            large; or what `load` raises.
    """
    if quantize is not None and quantize not in QUANTIZED:
        raise PellucidError(f"unknown quantization {quantize!r}: use {' or '.join(QUANTIZED)}")
    own = None if quantize else _own_file(source)
    if own is not None:  # before the model is loaded
        _check_size(own.stat().st_size, quantize)
    model = load(source)
    if (reason := unsupported(model.config)) is not None:
        raise PellucidError(f"a page cannot run this model, since it has {reason}: the kernel does not compute that")
    if model.tokenizer is None:
        raise PellucidError(f"a page needs a tokenizer, to read what is typed: {model.no_tokenizer}")
    tokenizer = page_tokenizer(model.tokenizer)
    if own is not None:
        with reading(own) as file:
            weights = file.read()
    else:
        bits = BITS[quantize] if quantize else 32  # of most of the numbers; the file is checked, too
        _check_size(int(model.config.parameters() * bits / 8), quantize)
        with temporary_folder(Path(tempfile.gettempdir())) as folder:
            save_model(model, folder, storage=quantize or "float32")
            if quantize:
                model = _reloaded(folder, model)
            with reading(folder / WEIGHTS) as file:
                weights = file.read()
    _check_size(len(weights), quantize)
    name = DEFAULT if str(source) == DEFAULT else Path(source).resolve().name
    parameters = model.config.parameters()
    page = PageModel(
        title=name,
        config=model.config.to_dict(),
        shape=shape_line(model.config),
        fingerprint=fingerprint(model),
        parameters=parameters,
        weights=PageWeights(
            name=WEIGHTS, bytes=len(weights), sha256=sha256(weights).hexdigest(), bits=8 * len(weights) / parameters
        ),
        kernels={name: sha256(kernel(name)).hexdigest() for name in KERNELS},
        tokenizer=tokenizer,
        start_ids=model.new_sequence(None, max_tokens=1).prompt,
        end_ids=list(model.end_ids),
        options=[OptionField(**option.wire()) for option in recordable_options()],  # type: ignore[typeddict-item]
        chunks={spec.name: ChunkText(truth=spec.truth, meaning=spec.meaning, unit=spec.unit) for spec in SCHEMA["generation"]},
        prompt="Once upon a time",
        formats={
            name: PromptFormat(before=one.before, between=one.between, separator=one.separator) for name, one in FORMATS.items()
        },
        priming=_priming(),
    )
    return EmbeddedModel(page, weights, converted=own is None)


def _check_size(size: int, quantize: str | None) -> None:
    """Raises PellucidError for a weight file that is too large for a page."""
    if size > MOST_BYTES:
        smaller = "take a smaller model" if quantize == "int4" else "round its weights (--quantize int8 or int4)"
        raise PellucidError(f"the model's weights are {size:,} bytes, and a page holds {MOST_BYTES:,} at most: {smaller}")


def _priming() -> PagePriming:
    """Which number follows: of short questions the one where examples move the embedded model most."""
    pairs = [[one, following] for one, following in pairwise(COUNTED)]
    (question,) = (pair for pair in pairs if pair[0] == "four")
    examples = [pair for pair in pairs if pair is not question]
    return PagePriming(task="", examples=examples, query=question[0], answer=question[1], format="equals")


def _reloaded(folder: Path, model: GPT) -> GPT:
    """The model with the numbers that its rounded weights stand for."""
    rounded = load(folder)
    found = GPT(model.config, tokenizer=model.tokenizer)
    found.load_state_dict(rounded.state_dict())
    return found.eval().requires_grad_(False)


def _own_file(source: str | Path) -> Path | None:
    """The model's weight file, where a page reads it as it is; else None."""
    if gguf_file(source) is not None:
        return None
    directory = resolve(source)
    values: Mapping[str, Any] = read_json(directory)
    if values.get("model_type") not in _OWN_TYPES or values.get(_PER_BLOCK) or listed_shards(directory):
        return None
    return directory / WEIGHTS if (directory / WEIGHTS).is_file() else None
