"""`GPT`: a decoder with a tokenizer and the methods of `GenerationMixin`."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Self

from pellucid.arguments import flag, instance, path_of, text_of, whole_number
from pellucid.engine.completion import Completion
from pellucid.engine.engine import CHUNK, MAX_SEQUENCES, Engine
from pellucid.generation.beam import BEAM_WIDTH, LENGTH_PENALTY, beam
from pellucid.generation.mixin import Draft, GenerationMixin, OnePrompt, check_vocabulary_size
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.directory import save_model
from pellucid.runtime.runner import Mode, Runner
from pellucid.runtime.runner_selection import Kernel, default_runner, make_runner
from pellucid.text.tokenizer import Tokenizer
from pellucid.text.tokenizer_json import FILE_NAME as TOKENIZER


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
        whole_number("seed", seed, -(2**63), 2**63 - 1)
        super().__init__(config, seed=seed)
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
            kernel: "auto" takes the kernel where it can compute this model, PyTorch elsewhere; "off", "only". The environment
                variable PELLUCID_KERNEL decides for "auto".
            weights: the kernel's number format, if not the model's own dtype.
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
        """An engine for many requests with this model as it is now: see `runner`, `Engine`, and `generate` of draft.

        It keeps the weights, hooks and modules that the model has at this call: after a change of any, make another engine.
        """
        return Engine(
            self.runner(mode=mode, kernel=kernel, weights=weights, cache=cache), tokenizer=self.tokenizer,
            end_of_text=self.end_of_text, memory=memory, chunk=chunk, max_sequences=max_sequences, prefix_cache=prefix_cache,
            drafter=self.drafter(draft),
        )  # fmt: skip

    def beam(
        self, prompt: OnePrompt = None, *, width: int = BEAM_WIDTH, length_penalty: float = LENGTH_PENALTY,
        max_tokens: int = 64, stop: str | Sequence[str] = (),
    ) -> Completion:  # fmt: skip
        """The likeliest completion that a beam search finds, as for the paper's free-form tasks (section 2.4): see `beam`.

        Args:
            prompt, max_tokens, stop: as `generate` takes them.
            width: hypotheses extended at each step. 1 takes the likeliest token each time, and may still end earlier.
            length_penalty: alpha, 0 to 10: log-probabilities are compared after division by ((5 + tokens) / 6) ** alpha.

        Raises:
            PellucidError: as `generate`; a width or length penalty out of range.
        """
        return beam(self, prompt, width=width, length_penalty=length_penalty, max_tokens=max_tokens, stop=stop)

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

    def copy(self) -> Self:
        """A deep copy with weights of its own; the tokenizer, which is immutable, is shared."""
        return deepcopy(self, {id(self.tokenizer): self.tokenizer})
