"""Opening a runner for a stored model, with its tokenizer: on the C kernel if possible, else on PyTorch, imported only then."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import PellucidError
from pellucid.formats.hf_config import read_config
from pellucid.formats.tokenizers import read_tokenizer
from pellucid.formats.weights import WeightArrays, open_weights
from pellucid.generation.resolve import gguf_file, resolve
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.config_json import read_json
from pellucid.runtime.runner import ONE_THREAD, Runner
from pellucid.runtime.runner_selection import Kernel, chosen_kernel, make_runner
from pellucid.text.tokenizer import Tokenizer


if TYPE_CHECKING:
    from pellucid.runtime.kernel.packed import PackedWeights

WEIGHTS = ("float32", "bfloat16", "int8", "int4")
TORCH_WEIGHTS = ("float32", "bfloat16")


class KernelUnavailable(PellucidError):
    """The kernel cannot be used on this machine, or cannot compute this model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedModel:
    """A runner of a stored model.

    Attributes:
        config: the model's shape.
        tokenizer: None for a model that takes token ids only. no_tokenizer: the reason, if there is none.
        no_kernel: the reason why PyTorch is used although the kernel was preferred; None otherwise.
    """

    runner: Runner
    config: GPTConfig
    tokenizer: Tokenizer | None
    no_tokenizer: str
    no_kernel: str | None = None


def open_runner(
    source: str | Path, *, kernel: Kernel = "auto", weights: str | None = None,
    notify: Callable[[str], None] = lambda line: None,
) -> OpenedModel:  # fmt: skip
    """Opens a model for generation. Arguments and errors as `text_generator.open_text_generator`."""
    if weights is not None and weights not in WEIGHTS:
        raise PellucidError(f"unknown weights {weights!r}: use one of {', '.join(WEIGHTS)}")
    kernel = chosen_kernel(kernel)
    if (file := gguf_file(source)) is not None:
        return _open_gguf(file, kernel, weights)
    directory = resolve(source)
    values = read_json(directory)
    config = read_config(directory, values)
    if kernel == "off":
        return _open_torch_runner(directory, config, values, weights, remedy="leave out --kernel off")
    try:
        packed = _pack(directory, config, values, weights or "float32", notify)
    except KernelUnavailable as reason:
        if kernel == "only":
            raise
        return _open_torch_runner(directory, config, values, weights, no_kernel=str(reason), remedy=str(reason))
    from pellucid.runtime.kernel.runner import KernelRunner

    tokenizer, no_tokenizer = read_tokenizer(directory, config, values)
    return OpenedModel(runner=KernelRunner(packed), config=config, tokenizer=tokenizer, no_tokenizer=no_tokenizer)


def _open_gguf(path: Path, kernel: Kernel, weights: str | None) -> OpenedModel:
    """A GGUF file is read with PyTorch, which decodes its blocks, then computed with as any other model."""
    import torch

    from pellucid.formats import gguf_read
    from pellucid.gpt.decoder import Decoder

    file = gguf_read.read(path)
    with torch.device("meta"):
        model = Decoder(file.config)
    by_either = weights is None or weights in TORCH_WEIGHTS
    file.fill(model, dtype=getattr(torch, weights or "float32") if by_either else None)
    runner = make_runner(model, mode="fast", kernel=kernel, weights=None if by_either else weights)
    return OpenedModel(runner=runner, config=file.config, tokenizer=file.tokenizer, no_tokenizer=file.no_tokenizer)


def _pack(
    directory: Path, config: GPTConfig, values: dict[str, Any], weights: str, notify: Callable[[str], None]
) -> "PackedWeights":
    from pellucid.runtime.kernel.library import KERNEL
    from pellucid.runtime.kernel.packed import PackedWeights, unsupported
    from pellucid.runtime.kernel.runner import unavailable_reason

    if unsupported(config) is None and KERNEL.would_compile():
        notify("compiling the kernel, once for this machine (--kernel off does without it)")
    if why := unavailable_reason(config):
        raise KernelUnavailable(f"no kernel here: {why}")
    with open_weights(directory, config, values) as (stored, sources):
        return PackedWeights(config, WeightArrays(config, stored, sources), weights=weights)


def _open_torch_runner(
    directory: Path, config: GPTConfig, values: dict[str, Any], weights: str | None, *, remedy: str,
    no_kernel: str | None = None,
) -> OpenedModel:
    if weights not in (None, *TORCH_WEIGHTS):
        supported = " or ".join(TORCH_WEIGHTS)
        raise PellucidError(f"only the kernel computes with {weights} weights, PyTorch with {supported}: {remedy}")
    import torch

    from pellucid.gpt.decoder import Decoder
    from pellucid.gpt.weights import fill_parameters
    from pellucid.runtime.threads import limit_threads
    from pellucid.runtime.torch_runner import TorchRunner

    with open_weights(directory, config, values) as (tensors, sources):  # bounds the vocabulary and the model
        tokenizer, no_tokenizer = read_tokenizer(directory, config, values)
        with torch.device("meta"):  # no memory and no random numbers, only to be overwritten
            model = Decoder(config)
        fill_parameters(model, tensors, sources, dtype=getattr(torch, weights or "float32"))
    model.eval().requires_grad_(False)
    if config.parameters() < ONE_THREAD:
        torch.set_num_threads(1)
    else:
        limit_threads()
    return OpenedModel(
        runner=TorchRunner(model), config=config, tokenizer=tokenizer, no_tokenizer=no_tokenizer, no_kernel=no_kernel
    )
