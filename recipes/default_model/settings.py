"""The settings of a training run, written once into its folder, and its learning rate as a function of tokens."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from pellucid.files import write_whole
from pellucid.gpt.config import GPTConfig


FILE = "run.json"
# Blocks, width, heads. Context and vocabulary are the same; banded(128) and dense blocks alternate.
SHAPES = {"default": (6, 384, 6), "small": (4, 192, 6), "megabyte": (4, 128, 4), "tiny": (2, 64, 2)}


def shape(name: str, vocab_size: int, *, n_ctx: int = 512) -> GPTConfig:
    """The model of that name in `SHAPES`."""
    blocks, width, heads = SHAPES[name]
    pattern: Any = tuple("dense" if block % 2 else f"banded({n_ctx // 4})" for block in range(blocks))
    return GPTConfig(
        vocab_size=vocab_size, n_ctx=n_ctx, n_layers=blocks, d_model=width, n_heads=heads, pattern=pattern, name=name
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The settings of a run.

    Attributes:
        config: the shape, as `GPTConfig.to_dict` has it.
        data: the folder that `prepare` made. tokenizer: the fingerprint of its tokenizer.
        begun_with: fingerprint of the model whose weights the run began with; None: it began with random weights.
        tasks, markup: windows of every 20 (`windows.Shares`).
        eot_from: the training token from which on windows of tasks and code begin with end-of-text (`windows.Mixture`); None:
            they never do.
        batch: windows in a step. micro_batch: windows that are computed at a time.
        learning_rate: the peak, which stays constant until the decay. warmup_tokens: over which it rises linearly.
        decay_from, decay_tokens: the tokens at which the linear decay to `final_fraction` begins, and its length; None: no
            decay has been decided on yet, and the run has no end.
        average: the decay of the exponential moving average of the weights, per step.
        dtype: of the matrix products. threads: of the process.
        evaluate_every, keep_every: tokens between evaluations, and between checkpoints that are never removed.
        checkpoint_seconds: between the other checkpoints, of which the newest three are kept.
    """

    config: dict[str, Any]
    data: str
    tokenizer: str
    begun_with: str | None = None
    seed: int = 1
    tasks: int = 4
    markup: int = 1
    eot_from: int | None = None
    batch: int = 32
    micro_batch: int = 2
    learning_rate: float = 2e-3
    warmup_tokens: int = 1_000_000
    decay_from: int | None = None
    decay_tokens: int = 0
    final_fraction: float = 0.1
    weight_decay: float = 0.1
    betas: tuple[float, float] = field(default=(0.9, 0.95))
    clip: float = 1.0
    average: float = 0.997
    dtype: str = "float32"
    threads: int = 1
    evaluate_every: int = 2_000_000
    keep_every: int = 10_000_000
    checkpoint_seconds: float = 480.0

    def learning_rate_at(self, tokens: int) -> float:
        """The rate of the step that begins after so many tokens: linear warm-up, constant, linear decay if one is set."""
        if tokens < self.warmup_tokens:
            return self.learning_rate * max(0.01, (tokens + self.batch_tokens) / (self.warmup_tokens + self.batch_tokens))
        if self.decay_from is None or tokens < self.decay_from:
            return self.learning_rate
        fallen = min(1.0, (tokens - self.decay_from) / max(1, self.decay_tokens))
        return self.learning_rate * (1 - (1 - self.final_fraction) * fallen)

    def average_at(self, step: int) -> float:
        """The decay of the moving average at step 0, 1, ...: lower at first, so that the initial weights vanish from it."""
        return min(self.average, (1 + step) / (10 + step))

    @property
    def batch_tokens(self) -> int:
        """Tokens of a step."""
        return self.batch * int(self.config["n_ctx"])

    @property
    def end(self) -> int | None:
        """The tokens at which the decay, and so the run, is over; None without a decay."""
        return None if self.decay_from is None else self.decay_from + self.decay_tokens

    def save(self, run: Path) -> None:
        """Writes `run.json`."""
        write_whole(run / FILE, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, run: Path) -> Self:
        """The inverse of `save`."""
        values = json.loads((run / FILE).read_text(encoding="utf-8"))
        return cls(**(values | {"betas": tuple(values["betas"])}))
