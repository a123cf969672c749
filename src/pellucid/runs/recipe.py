"""GPT-3's training recipe as data: optimizer constants, learning rate and batch size as functions of tokens.

Source of every figure that has no "choice" beside it: GPT-3 paper (arXiv 2005.14165), appendix B. Torch-free.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Self

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.gpt.published import DECAY_TOKENS, PUBLISHED, RAMP_FROM_TOKENS, RAMP_OVER_TOKENS, TOTAL_TOKENS, WARMUP_TOKENS
from pellucid.strict_json import REQUIRED, Fields


MAX_TOKENS = 2**62
MAX_NUMBER = 1e9  # of a rate, a norm, a weight decay
DEFAULT_OPTIMIZER = "adamw"  # the optimizer that the recipe's numbers are for
# Choices: without a budget a run sees 20 tokens a parameter, a rule of thumb from after GPT-3, which had 2 (175B) to 2,400
# (125M); but no text more than 8 times.
TOKENS_PER_PARAMETER = 20
MAX_EPOCHS = 8
# Choice: 375M of 300B tokens is an eighth of a percent, less than one step of a run of minutes. Small runs need longer.
SMALL_RUN_WARMUP = 0.05
# The ramp's proportions: 32k tokens are this share of the smallest size's batch. Choice: the longest ramp, 12B of 300B tokens,
# since which size has which is not said.
RAMP_FROM = RAMP_FROM_TOKENS / PUBLISHED["gpt3-125m"].batch_tokens
RAMP_OVER = RAMP_OVER_TOKENS[1] / TOTAL_TOKENS


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained.

    Attributes:
        learning_rate: the peak.
        total_tokens: training tokens in all; the schedule is stretched to them in the paper's proportions.
        warmup_tokens, decay_tokens: where the linear rise ends; where the cosine reaches its floor.
        min_lr_fraction: that floor, as a share of the peak.
        beta1, beta2, eps: Adam's.
        weight_decay: decoupled (AdamW). Decays matrices only, not biases, gains or LayerNorms (a choice: not stated).
        clip: global norm that gradients are scaled down to.
        ramp_from, ramp_tokens: tokens in the first step's batch, and the tokens over which the batch grows linearly to its
            full size; 0: no ramp, and `to_dict` leaves both out.
    """

    learning_rate: float
    total_tokens: int
    warmup_tokens: int
    decay_tokens: int
    min_lr_fraction: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1
    clip: float = 1.0
    ramp_from: int = 0
    ramp_tokens: int = 0

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise PellucidError(f"learning_rate must be above 0, not {self.learning_rate}")
        if self.total_tokens < 1:
            raise PellucidError(f"a run needs at least one token, not {self.total_tokens}")

    @classmethod
    def scaled(cls, learning_rate: float, total_tokens: int, **changes: Any) -> Self:
        """GPT-3's proportions for a run of `total_tokens`: cosine over 260/300 of it, warm-up at least 5 % (a choice)."""
        proportions = {
            "warmup_tokens": round(total_tokens * max(WARMUP_TOKENS / TOTAL_TOKENS, SMALL_RUN_WARMUP)),
            "decay_tokens": round(total_tokens * DECAY_TOKENS / TOTAL_TOKENS),
        }
        return cls(learning_rate=learning_rate, total_tokens=total_tokens, **(proportions | changes))

    @staticmethod
    def ramp(full_tokens: int, batch_tokens: int) -> dict[str, int]:
        """GPT-3's batch ramp in proportion, as fields of a `Recipe`: from 32k of 500k tokens, over 12 of 300 billion.

        Args:
            full_tokens: training tokens if every batch were full. batch_tokens: tokens in a full batch.
        """
        return {"ramp_from": round(batch_tokens * RAMP_FROM), "ramp_tokens": round(full_tokens * RAMP_OVER)}

    def learning_rate_at(self, tokens: int) -> float:
        """The rate of the step that starts after `tokens`: linear rise (from a tenth), cosine to the floor, then flat."""
        if tokens < self.warmup_tokens:
            # Not from 0: that step would change nothing.
            return self.learning_rate * max(tokens, 0.1 * self.warmup_tokens) / self.warmup_tokens
        span = max(1, self.decay_tokens - self.warmup_tokens)
        along = min(1.0, (tokens - self.warmup_tokens) / span)
        floor = self.min_lr_fraction
        return self.learning_rate * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * along)))

    def windows_at(self, tokens: int, full: int, n_ctx: int) -> int:
        """Windows of n_ctx tokens in the batch of the step that starts after `tokens`: whole ones, at least one.

        Args:
            full: windows in a full batch.
        """
        if tokens >= self.ramp_tokens:
            return full
        grown = (full * n_ctx - self.ramp_from) * tokens // self.ramp_tokens
        return max(1, (self.ramp_from + grown) // n_ctx)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `run.json`."""
        return {name: value for name, value in asdict(self).items() if value or not name.startswith("ramp_")}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            PellucidError: a key this version does not know, or a value of another type or out of range.
        """
        found = Fields(dict(values), "recipe")
        known = {f.name: f for f in fields(cls)}
        if unknown := sorted(set(values) - set(known)):
            raise PellucidError(f"unknown recipe key {shown(unknown[0])}: was this run written by a newer version?")
        for name, field in known.items():
            default = REQUIRED if field.default is MISSING else field.default
            if field.type == "int" or field.type is int:
                found.integer(name, default, maximum=MAX_TOKENS)
            else:
                found.number(name, default, minimum=0, maximum=1.0 if name.startswith("beta") else MAX_NUMBER)
        made = cls(**values)
        if made.ramp_tokens > made.total_tokens:
            raise PellucidError(f"ramp_tokens is {made.ramp_tokens:,}, more than the {made.total_tokens:,} tokens of the run")
        return made
