"""Generation without PyTorch: a runner and a tokenizer, opened from a model directory, on the C kernel where it can be used.

Importing PyTorch takes a second or two, generating from a small model a fraction of one. `pellucid generate` therefore opens a
`TextGenerator`; whoever needs the model's weights (to inspect or train it) loads a `GPT`. Both have the methods of
`mixin.GenerationMixin`, and the same seed gives the same text: draws do not depend on the runner, and logits of the two runners
agree to rounding (about 1e-6 in a log-probability), which changes a token only where its draw falls into such a gap.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import PellucidError
from pellucid.formats.hf_config import read_config
from pellucid.formats.tokenizers import read_tokenizer
from pellucid.formats.weights import Arrays, opened
from pellucid.generation.mixin import GenerationMixin, check_belongs
from pellucid.generation.resolve import DEFAULT, resolve
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.config_json import read_json
from pellucid.gpt.costs import tensors
from pellucid.runtime.runner import ONE_THREAD, Runner
from pellucid.runtime.runner_selection import Kernel, chosen_kernel
from pellucid.text.tokenizer import Tokenizer


if TYPE_CHECKING:
    from pellucid.runtime.kernel.packed import Packed

WEIGHTS = ("float32", "bfloat16", "int8", "int4")
IN_TORCH = ("float32", "bfloat16")


class KernelUnavailable(PellucidError):
    """The kernel cannot be had, or does not know this model."""


class TextGenerator(GenerationMixin):
    """Writes as a `GPT` does, and holds no model to look into.

    Args:
        runner: what computes.
        tokenizer: None for a model that is given token ids only. no_tokenizer: why, where there is none.
        no_kernel: why PyTorch computes where the kernel was to be taken if it could.

    Raises:
        PellucidError: the tokenizer has another vocabulary than the model.
    """

    def __init__(
        self, runner: Runner, tokenizer: Tokenizer | None, no_tokenizer: str = "this model has no tokenizer", *,
        no_kernel: str | None = None,
    ) -> None:  # fmt: skip
        check_belongs(tokenizer, runner.config)
        self.runner = runner
        self.config = runner.config
        self.tokenizer = tokenizer
        self.no_tokenizer = no_tokenizer
        self.no_kernel = no_kernel

    def make_runner(self) -> Runner:
        """The runner."""
        return self.runner


def open_text_generator(
    source: str | Path = DEFAULT, *, kernel: Kernel = "auto", weights: str | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> TextGenerator:  # fmt: skip
    """A writer of a model.

    Args:
        source: as `load` takes it.
        kernel: "auto" takes the kernel where it can compute this model (compiled now, if it was not yet) and PyTorch elsewhere;
            "off", "only". The environment variable PELLUCID_KERNEL decides for "auto".
        weights: what is computed with: "float32" (None), "bfloat16", or with the kernel "int8" or "int4" (`gpt.quantize`).
        tell: is told, in a line, what takes a while.

    Raises:
        PellucidError: nothing there that this can read, a damaged file, an unknown choice, or no kernel where only it will do.
    """
    if weights is not None and weights not in WEIGHTS:
        raise PellucidError(f"unknown weights {weights!r}: use one of {', '.join(WEIGHTS)}")
    kernel = chosen_kernel(kernel)
    if kernel == "off":
        return _by_torch(source, weights, otherwise="leave out --kernel off")
    directory = resolve(source)
    values = read_json(directory)
    config = read_config(directory, values)
    try:
        packed = _packed(directory, config, values, weights or "float32", tell)
    except KernelUnavailable as reason:
        if kernel == "only":
            raise
        return _by_torch(source, weights, no_kernel=str(reason), otherwise=str(reason))
    from pellucid.runtime.kernel.runner import KernelRunner

    tokenizer, why_none = read_tokenizer(directory, config)
    return TextGenerator(KernelRunner(packed), tokenizer, why_none)


def _packed(
    directory: Path, config: GPTConfig, values: dict[str, Any], weights: str, tell: Callable[[str], None]
) -> "Packed":
    from pellucid.runtime.kernel.library import KERNEL
    from pellucid.runtime.kernel.packed import Packed, unsupported
    from pellucid.runtime.kernel.runner import why_not

    if unsupported(config) is None and KERNEL.would_compile():
        tell("compiling the kernel, once for this machine (--kernel off does without it)")
    if why := why_not(config):
        raise KernelUnavailable(f"no kernel here: {why}")
    with opened(directory, (name for name, _ in tensors(config)), values) as (stored, sources):
        return Packed(config, Arrays(config, stored, sources), weights=weights)


def _by_torch(source: str | Path, weights: str | None, *, otherwise: str, no_kernel: str | None = None) -> TextGenerator:
    if weights not in (None, *IN_TORCH):
        usual = " or ".join(IN_TORCH)
        raise PellucidError(f"only the kernel computes with {weights} weights, PyTorch with {usual}: {otherwise}")
    import torch

    from pellucid.generation.load import load
    from pellucid.runtime.torch_runner import TorchRunner

    model = load(source, dtype=weights)
    if model.config.parameters() < ONE_THREAD:
        torch.set_num_threads(1)
    return TextGenerator(TorchRunner(model), model.tokenizer, model.no_tokenizer, no_kernel=no_kernel)
