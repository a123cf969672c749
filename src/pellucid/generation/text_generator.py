"""`TextGenerator`: generation without PyTorch, from a stored model's runner and tokenizer.

Importing PyTorch takes a second or two, generating from a small model a fraction of one. `pellucid generate` therefore opens a
`TextGenerator`; to inspect or train the weights, load a `GPT`. Both have the methods of `mixin.GenerationMixin`, and the same
seed gives the same text: draws do not depend on the runner, and the log-probabilities of the two runners agree to rounding
(about 1e-6), which changes a token only where its draw is as close as that to the end of the token's share.
"""

from collections.abc import Callable
from pathlib import Path

from pellucid.generation.compatibility import check_vocabulary_size
from pellucid.generation.mixin import GenerationMixin
from pellucid.generation.open_runner import open_runner
from pellucid.generation.resolve import DEFAULT
from pellucid.runtime.runner import Runner
from pellucid.runtime.runner_selection import Kernel
from pellucid.text.tokenizer import Tokenizer


class TextGenerator(GenerationMixin):
    """Generates as a `GPT` does, without a model whose weights can be inspected.

    Args:
        runner: computes the logits.
        tokenizer: None for a model that takes token ids only. no_tokenizer: the reason, if there is none.
        no_kernel: the reason why PyTorch is used although the kernel was preferred; None otherwise.

    Raises:
        PellucidError: the tokenizer has another vocabulary than the model.
    """

    def __init__(
        self, runner: Runner, tokenizer: Tokenizer | None, no_tokenizer: str = "this model has no tokenizer", *,
        no_kernel: str | None = None,
    ) -> None:  # fmt: skip
        check_vocabulary_size(tokenizer, runner.config)
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
    notify: Callable[[str], None] = lambda line: None,
) -> TextGenerator:  # fmt: skip
    """A `TextGenerator` of a stored model.

    Args:
        source: as `load` takes it.
        kernel: "auto" takes the kernel where it can compute this model (compiled now, if it was not yet) and PyTorch elsewhere;
            "off", "only". The environment variable PELLUCID_KERNEL decides for "auto".
        weights: the number format to compute with: "float32" (None), "bfloat16", or with the kernel "int8" or "int4"
            (`gpt.quantize`).
        notify: called with a message before anything that takes long.

    Raises:
        PellucidError: nothing there that this can read, a damaged file, an unknown choice, or kernel="only" without one.
    """
    opened = open_runner(source, kernel=kernel, weights=weights, notify=notify)
    return TextGenerator(opened.runner, opened.tokenizer, opened.no_tokenizer, no_kernel=opened.no_kernel)
