"""`GPT`: a decoder with a tokenizer and the methods of `GenerationMixin`."""

from copy import deepcopy
from pathlib import Path
from typing import Self

from pellucid.arguments import flag, instance, path_of, text_of, whole_number
from pellucid.engine.engine import CHUNK, MAX_SEQUENCES, Engine
from pellucid.generation.compatibility import check_vocabulary_size
from pellucid.generation.mixin import Draft, GenerationMixin
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.directory import load_weights, save_model
from pellucid.runtime.runner import Mode, Runner
from pellucid.runtime.runner_selection import Kernel, default_runner, make_runner
from pellucid.text.tokenizer import Tokenizer
from pellucid.text.tokenizer_files import TOKENIZER


class GPT(GenerationMixin, Decoder):
    """A GPT with its tokenizer. As a module: `model(ids)` -> logits, `model(ids, targets)` -> loss (see `Decoder`).

    Args:
        config: the shape.
        tokenizer: None for a model that is given token ids only.
        seed: of the random first weights.

    Raises:
        PellucidError: the tokenizer has another vocabulary than the config.
    """

    def __init__(self, config: GPTConfig, *, tokenizer: Tokenizer | None = None, seed: int = 0) -> None:
        instance("config", config, GPTConfig, "a GPTConfig, such as GPTConfig.preset(\"tiny\")")
        if tokenizer is not None:
            instance("tokenizer", tokenizer, Tokenizer, "a Tokenizer or None")
        check_vocabulary_size(tokenizer, config)
        super().__init__(config, seed=whole_number("seed", seed, -(2**63), 2**63 - 1))
        self.tokenizer = tokenizer
        self.no_tokenizer = "this model has no tokenizer"

    def make_runner(self) -> Runner:
        """The runner of `generate` (`runner_selection.default_runner`)."""
        return default_runner(self)

    def runner(
        self, *, mode: Mode = "exact", kernel: Kernel = "auto", weights: str | None = None, cache: str | None = None
    ) -> Runner:
        """A runner over this model's present weights, hooks and modules; after a change of any, a new one is needed.

        Args:
            mode: "exact": a completion's bits depend on its own prompt and options only; "fast": they may differ by rounding
                with what else is in the batch (`torch_runner.TOLERANCE`). The kernel is exact in either.
            kernel: "auto" takes the kernel where it can compute this model, PyTorch elsewhere; "off" always takes PyTorch,
                "only" nothing but the kernel. The environment variable PELLUCID_KERNEL replaces "auto" by one of the others.
            weights: the dtype that the kernel computes with, if not the model's own: "float32", "bfloat16", "int8", "int4".
            cache: the kernel's format of keys and values, "float32" or "float16"; None: float16 beside weights of 16 bits and
                fewer.

        Raises:
            PellucidError: an unknown choice, no kernel where only one will do, or exact mode off the CPU.
        """
        for name, value in (("mode", mode), ("kernel", kernel), ("weights", weights), ("cache", cache)):
            if value is not None or name in ("mode", "kernel"):
                text_of(name, value)
        return make_runner(self, mode=mode, kernel=kernel, weights=weights, cache=cache)

    def engine(
        self, *, mode: Mode = "exact", kernel: Kernel = "auto", weights: str | None = None, cache: str | None = None,
        memory: int | None = None, chunk: int = CHUNK, max_sequences: int = MAX_SEQUENCES, prefix_cache: bool = True,
        draft: Draft = None,
    ) -> Engine:  # fmt: skip
        """An engine for many requests, with this model as it is now. Arguments as `runner`, `Engine` and (draft) `generate`.

        It keeps the weights, hooks and modules that the model has at this call: after a change of any, make another engine.
        """
        return Engine(
            self.runner(mode=mode, kernel=kernel, weights=weights, cache=cache), tokenizer=self.tokenizer,
            end_of_text=self.end_ids, memory=memory, chunk=chunk, max_sequences=max_sequences, prefix_cache=prefix_cache,
            drafter=self.drafter(draft),
        )  # fmt: skip

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """As `torch.nn.Module.requires_grad_`; parameters that are transposed views of a file become contiguous first.

        Optimizer states then have the same layout as those of a model that was never in a file.
        """
        flag("requires_grad", requires_grad)
        for parameter in self.parameters() if requires_grad else ():
            parameter.data = parameter.data.contiguous()
        return super().requires_grad_(requires_grad)

    def save(self, directory: str | Path, *, storage: str = "float32") -> None:
        """Writes a model directory that `load` reads: config, weights and tokenizer, if there is one.

        Args:
            storage: as `gpt.directory.save_model` takes it: "float32", "bfloat16", "float16" or "int8".
        """
        directory = path_of("directory", directory)
        save_model(self, directory, storage=text_of("storage", storage))
        if self.tokenizer is not None:
            self.tokenizer.save(directory)
        else:
            (directory / TOKENIZER).unlink(missing_ok=True)  # of another model that was saved here before

    def restore(self, directory: str | Path) -> None:
        """Reads the weights that `save` wrote into the parameters that are there, on their devices.

        Raises:
            PellucidError: a file is missing or damaged, or of another model.
        """
        load_weights(self, path_of("directory", directory))

    def copy(self) -> Self:
        """A deep copy with weights of its own; the tokenizer, which is immutable, is shared."""
        return deepcopy(self, {id(self.tokenizer): self.tokenizer})
