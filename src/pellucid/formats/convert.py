"""Converting a model into another format, and proving it: both sides are run on the same prompts.

The result appears whole at its place, or not at all: it is written beside, read back by another program's reader where
there is one (`transformers`), compared, and only then put there.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from pellucid.errors import PellucidError
from pellucid.formats import hf_config, hf_read, hf_write
from pellucid.formats.target import Logits, Target
from pellucid.gpt.bits_per_byte import predicted
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.directory import STORAGES, save_model
from pellucid.text.tokenizer import Tokenizer


LENGTHS = (1, 64, 512)  # tokens of the prompts that both sides are run on, as far as the context goes
SEED = 0
# Both sides sum the same float32 numbers in different orders, over all blocks: some 1e-6 of the largest logit. A mistake in
# a conversion is of the order of the logits.
TOLERANCE = 1e-3
MEASURED = 16_384  # tokens of a text that bits a byte are measured on, at most


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """How well both sides predict a text.

    Attributes:
        text: what it is, in words. tokens: how many were predicted, and the bytes of text they are.
        before, after: bits a byte, of the model and of the result as it was read back.
    """

    text: str
    tokens: int
    text_bytes: int
    before: float
    after: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversion:
    """What a conversion did and how far apart the two sides are.

    Attributes:
        lost: what the result computes otherwise, a line each.
        read_by: who read the result back.
        prompts: tokens of each random prompt that both sides were run on.
        largest_difference: between the two sides' logits.
        largest_logit: in size, of the original: what that difference is to be seen against.
        same_likeliest: the share of places at which both sides find the same next token likeliest.
        bytes: of all that was written. float32_bytes: of the weights alone, as float32.
        measured: both sides on a text, if one was given.
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
    measured: Measured | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


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
    """Writes `model` at `destination` in the format `to`, and compares what was written with it.

    Args:
        to: one of `TARGETS`.
        quantize: "int8", "int4", "float16" or "bfloat16", where the target has it. To ask for it is to allow what rounding
            costs.
        allow_lossy: write also what the format computes otherwise.
        measure: a text on which both sides are measured, in bits a byte: its first `MEASURED` tokens, window by window; or
            several texts as token ids.
        measure_name: what the result calls it.

    Raises:
        PellucidError: an unknown target, a destination that exists, a model that the target cannot hold, a loss that was
            not allowed, or a result that differs although nothing should be lost.
    """
    destination = Path(destination)
    target = target_named(to)
    if quantize is not None and quantize not in target.quantizes:
        has = f"one of {', '.join(target.quantizes)}" if target.quantizes else "none"
        raise PellucidError(f"{to} has no {quantize} storage (it has {has})")
    if destination.exists():
        raise PellucidError(f"{destination} exists already: name a place where nothing is")
    lost = target.losses(model, quantize)
    if lost and not allow_lossy:
        raise PellucidError(
            f"{to} would not compute the same: {'; '.join(lost)}. To write it all the same: --allow-lossy (allow_lossy=True)"
        )
    if measure is not None and tokenizer is None:
        raise PellucidError("a model without a tokenizer reads no text: leave out what is to be measured")
    part = destination.with_name(f".{destination.name}.part")
    with _absent(part):
        if target.a_file:
            part.parent.mkdir(parents=True, exist_ok=True)
        else:
            part.mkdir(parents=True)
        target.write(model, tokenizer, part, quantize)
        logits, read_by = target.read(part)
        done = _compare(
            model, logits, target=to, path=str(destination), quantize=quantize, lost=lost, read_by=read_by, bytes=_size(part),
            float32_bytes=4 * model.config.parameters(),
        )  # fmt: skip
        if not lost and quantize is None and not done.largest_difference <= TOLERANCE * max(1.0, done.largest_logit):
            raise PellucidError(
                f"the {to} written, as {read_by} reads it, differs by {done.largest_difference:.3g} in logits of up to "
                f"{done.largest_logit:.3g}, where nothing should be lost: it was not kept"
            )
        if measure is not None and tokenizer is not None:
            done = replace(done, measured=_measure(model, logits, tokenizer, measure, measure_name))
        del logits  # it may be a view of the file, and Windows moves none that is mapped
        os.replace(part, destination)
    return done


@contextmanager
def _absent(part: Path) -> Iterator[None]:
    """Nothing is left at `part`, before or after."""
    _remove(part)
    try:
        yield
    finally:
        _remove(part)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@torch.inference_mode()
def _compare(model: Decoder, logits: Logits, **said: Any) -> Conversion:
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
        **said,
        prompts=lengths,
        largest_difference=difference,
        largest_logit=largest,
        same_likeliest=same / sum(lengths),
    )


def _measure(
    model: Decoder, logits: Logits, tokenizer: Tokenizer, text: str | Sequence[Sequence[int]], name: str
) -> Measured:
    was_training, place, lengths = model.training, model.wte.weight.device, tokenizer.byte_lengths
    model.eval()
    texts = [tokenizer.encode(text)[: MEASURED + 1]] if isinstance(text, str) else text
    before = predicted(lambda read: model(read.to(place)), texts, lengths, model.config.n_ctx)
    after = predicted(logits, texts, lengths, model.config.n_ctx)
    model.train(was_training)
    return Measured(
        text=name, tokens=before.tokens, text_bytes=before.text_bytes, before=before.bits_per_byte, after=after.bits_per_byte
    )


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()))


def by_transformers(directory: Path) -> tuple[Logits, str]:
    """A directory's logits by `transformers`, where it is installed; else by our own reader."""
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
    """A directory's logits by our own reader."""
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


# By name, made when asked for. One more format is one more line.
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
