"""Converting a model into another format, and comparing the logits of both on the same prompts.

The result is written to a temporary place, read back by another program's reader where there is one (`transformers`), compared
with the model, and only then moved to its destination.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from pellucid.arguments import path_of
from pellucid.errors import PellucidError
from pellucid.files import check_target, make_folder
from pellucid.folders import move_new, temporary_folder
from pellucid.formats import hf_config, hf_read, hf_write
from pellucid.formats.target import Logits, Target
from pellucid.gpt.bits_per_byte import text_loss
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.directory import STORAGES, save_model
from pellucid.gpt.torch_defaults import torch_defaults
from pellucid.text.tokenizer import Tokenizer


LENGTHS = (1, 64, 512)  # tokens of the prompts that both are run on, limited by the context
SEED = 0
# Both sum the same float32 numbers in different orders, over all blocks: some 1e-6 of the largest logit. A wrong conversion
# differs by the order of the logits.
TOLERANCE = 1e-3
MAX_MEASURED = 16_384  # tokens of a text that bits per byte are measured on


@dataclass(frozen=True, kw_only=True, slots=True)
class BitsPerByteComparison:
    """How well the model and its conversion predict a text.

    Attributes:
        text: a description of it. tokens: how many were predicted. text_bytes: their bytes of UTF-8 text.
        before, after: bits per byte of the model, and of the result as it was read back.
    """

    text: str
    tokens: int
    text_bytes: int
    before: float
    after: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversion:
    """What a conversion wrote and how far its logits differ from the model's.

    Attributes:
        lost: what the result computes differently, a line each.
        read_by: the reader that the result was read back with.
        prompts: tokens of each random prompt that both were run on.
        largest_difference: of the logits.
        largest_logit: of the model, in absolute value, to compare that difference with.
        same_likeliest: the share of positions at which both have the same likeliest next token.
        bytes: of all written files. float32_bytes: of the weights alone, as float32.
        measured: bits per byte of both on a text, if one was given.
    """

    target: str
    path: str
    quantize: str | None
    lost: list[str]
    read_by: str
    prompts: list[int]
    largest_difference: float
    largest_logit: float
    same_likeliest: float
    bytes: int
    float32_bytes: int
    measured: BitsPerByteComparison | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@torch_defaults()
def convert(
    model: Decoder,
    tokenizer: Tokenizer | None,
    destination: str | Path,
    *,
    to: str,
    quantize: str | None = None,
    allow_lossy: bool = False,
    measure: str | Sequence[Sequence[int]] | None = None,
    measure_name: str = "the text given",
) -> Conversion:
    """Writes `model` to `destination` in the format `to`, reads it back and compares.

    Args:
        to: one of `TARGETS`.
        quantize: "int8", "int4", "float16" or "bfloat16", where the target has it. The loss by rounding needs no `allow_lossy`.
        allow_lossy: also write a model that the format computes differently.
        measure: a text to measure both on, in bits per byte: its first `MAX_MEASURED` tokens, window by window; or several
            texts as token ids.
        measure_name: the description of that text in the result.

    Raises:
        PellucidError: an unknown target, a destination that exists, a model that the target cannot hold, a loss that is
            not allowed, or a result that differs although nothing should be lost.
    """
    place = path_of("destination", destination)
    target = target_named(to)
    if quantize is not None and quantize not in target.quantizes:
        has = f"one of {', '.join(target.quantizes)}" if target.quantizes else "none"
        raise PellucidError(f"{to} has no {quantize} storage (it has {has})")
    if os.path.lexists(place):
        raise PellucidError(f"{place} exists already: name a path that does not exist")
    lost = target.losses(model, quantize)
    if lost and not allow_lossy:
        raise PellucidError(
            f"{to} would not compute the same: {'; '.join(lost)}. To write it anyway: --allow-lossy (allow_lossy=True)"
        )
    if measure is not None and tokenizer is None:
        raise PellucidError("a model without a tokenizer cannot be measured on text: leave that out")
    make_folder(place.parent)
    check_target(destination if target.is_file else place)
    with temporary_folder(place.parent) as private:
        part = private / place.name
        if not target.is_file:
            part.mkdir()
        target.write(model, tokenizer, part, quantize)
        logits, read_by = target.read(part)
        done = _compare(
            model, logits, target=to, path=str(place), quantize=quantize, lost=lost, read_by=read_by, bytes=_size(part),
            float32_bytes=4 * model.config.parameters(),
        )  # fmt: skip
        if not lost and quantize is None and not done.largest_difference <= TOLERANCE * max(1.0, done.largest_logit):
            raise PellucidError(
                f"the {to} written, as {read_by} reads it, differs by {done.largest_difference:.3g} in logits of up to "
                f"{done.largest_logit:.3g}, where nothing should be lost: it was not kept"
            )
        if measure is not None and tokenizer is not None:
            done = replace(done, measured=_measure(model, logits, tokenizer, measure, measure_name))
        del logits  # it may map the file, and Windows moves no mapped file
        move_new(part, place)
    return done


@torch.inference_mode()
def _compare(model: Decoder, logits: Logits, **fields: Any) -> Conversion:
    config, was_training = model.config, model.training
    model.eval()
    lengths = sorted({min(length, config.n_ctx) for length in LENGTHS})
    generator = torch.Generator().manual_seed(SEED)
    difference, largest, same = 0.0, 0.0, 0
    for length in lengths:
        ids = torch.randint(0, config.vocab_size, (1, length), generator=generator)
        mine = model(ids.to(model.wte.weight.device)).float().cpu()
        theirs = logits(ids).float().cpu()
        if theirs.shape != mine.shape:
            raise PellucidError(f"the result gives logits of shape {tuple(theirs.shape)}, the model {tuple(mine.shape)}")
        difference = max(difference, float((mine - theirs).abs().max()))
        largest = max(largest, float(mine.abs().max()))
        same += int((mine.argmax(-1) == theirs.argmax(-1)).sum())
    model.train(was_training)
    return Conversion(
        **fields,
        prompts=lengths,
        largest_difference=difference,
        largest_logit=largest,
        same_likeliest=same / sum(lengths),
    )


def _measure(
    model: Decoder, logits: Logits, tokenizer: Tokenizer, text: str | Sequence[Sequence[int]], name: str
) -> BitsPerByteComparison:
    was_training, place, lengths = model.training, model.wte.weight.device, tokenizer.byte_lengths
    model.eval()
    texts = [tokenizer.encode(text)[: MAX_MEASURED + 1]] if isinstance(text, str) else text
    before = text_loss(lambda read: model(read.to(place)), texts, lengths, model.config.n_ctx)
    after = text_loss(logits, texts, lengths, model.config.n_ctx)
    model.train(was_training)
    return BitsPerByteComparison(
        text=name, tokens=before.tokens, text_bytes=before.text_bytes, before=before.bits_per_byte, after=after.bits_per_byte
    )


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()))


def by_transformers(directory: Path) -> tuple[Logits, str]:
    """Reads a directory with `transformers` where that is installed, else with our own reader."""
    if find_spec("transformers") is None:
        return by_pellucid(directory)
    transformers = import_module("transformers")
    was, bars = transformers.utils.logging.get_verbosity(), transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        theirs = transformers.AutoModelForCausalLM.from_pretrained(directory, local_files_only=True).eval()
    finally:
        transformers.utils.logging.set_verbosity(was)
        if bars:
            transformers.utils.logging.enable_progress_bar()
    return lambda ids: theirs(ids).logits, f"transformers {transformers.__version__}"


def by_pellucid(directory: Path) -> tuple[Logits, str]:
    """Reads a directory with our own reader."""
    with torch.device("meta"):
        model = Decoder(hf_config.read_config(directory))
    hf_read.load_weights(model, directory)
    return model.eval(), "pellucid"


def _own_losses(model: Decoder, quantize: str | None) -> list[str]:
    rounded = quantize is None and model.wte.weight.dtype == torch.float64
    return ["float64 weights are rounded to float32"] if rounded else []


def _own_write(model: Decoder, tokenizer: Tokenizer | None, directory: Path, quantize: str | None) -> None:
    save_model(model, directory, storage=quantize or "float32")
    if tokenizer is not None:
        tokenizer.save(directory)


def _hugging_face(name: str) -> Target:
    family = hf_write.WRITTEN[name]
    return Target(
        losses=lambda model, _: hf_write.losses(model, family),
        write=lambda model, tokenizer, directory, _: hf_write.write(model, tokenizer, directory, family),
        read=by_transformers,
    )


def _gguf() -> Target:
    from pellucid.formats.gguf import TARGET  # other targets need none of it

    return TARGET


# By name, constructed on request. A further format is a further line.
TARGETS: dict[str, Callable[[], Target]] = {
    "pellucid": lambda: Target(
        losses=_own_losses,
        write=_own_write,
        read=by_pellucid,
        quantizes=tuple(storage for storage in STORAGES if storage != "float32"),
    ),
    **{name: (lambda name=name: _hugging_face(name)) for name in hf_write.WRITTEN},  # type: ignore[misc]
    "gguf": _gguf,
}


def target_named(name: str) -> Target:
    """The target of that name.

    Raises:
        PellucidError: there is none; the message lists them.
    """
    if name not in TARGETS:
        raise PellucidError(f"unknown format {name!r}: choose from {', '.join(TARGETS)}")
    return TARGETS[name]()
