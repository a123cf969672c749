"""The shape of a model, and everything that follows from the shape alone. No torch here.

Names are those of Table 2.1 of the GPT-3 paper (arXiv 2005.14165): n_layers blocks of width d_model, n_heads heads of
d_head each, n_ctx tracks.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

from pellucid.errors import PellucidError
from pellucid.gpt import costs
from pellucid.gpt.pattern import Pattern, alternating, parse
from pellucid.gpt.presets import preset as find_preset


ACTIVATIONS = ("gelu_tanh", "gelu")  # GPT-2's tanh form; the exact (erf) form


@dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """The shape of a GPT: frozen, checked, and the source of every derived number.

    Attributes:
        vocab_size: tokens in the vocabulary (V).
        n_ctx: tracks; the longest sequence the model reads.
        n_layers: blocks (L).
        d_model: width of the residual stream (C).
        n_heads: attention heads (H); must divide d_model.
        pattern: one attention pattern a block, as an object or as text ("dense", "banded(128)"). Default: alternating,
            block 0 banded(128) (a choice, see `pattern`).
        d_ff: width of the feed-forward layer. Default 4 * d_model (paper, section 2.1).
        activation: "gelu_tanh" (GPT-2) or "gelu" (erf).
        norm_eps: LayerNorm's epsilon. 1e-5 as in GPT-2's code.
        dropout: on the embeddings and on each branch before it joins the residual stream. Default 0 (a choice: the
            paper does not say; it passes over most of its data less than once).
    """

    vocab_size: int = 50257
    n_ctx: int = 2048
    n_layers: int
    d_model: int
    n_heads: int
    pattern: tuple[Pattern, ...] = ()
    d_ff: int = 0
    activation: str = "gelu_tanh"
    norm_eps: float = 1e-5
    dropout: float = 0.0
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for key in ("vocab_size", "n_ctx", "n_layers", "d_model", "n_heads"):
            if getattr(self, key) < 1:
                raise PellucidError(f"{key} must be at least 1, not {getattr(self, key)}")
        if self.d_model % self.n_heads:
            raise PellucidError(f"n_heads must divide d_model: {self.d_model} / {self.n_heads} is not a whole number")
        if any(isinstance(p, str) for p in self.pattern):
            object.__setattr__(self, "pattern", tuple(parse(p) if isinstance(p, str) else p for p in self.pattern))
        if not self.pattern:
            object.__setattr__(self, "pattern", alternating(self.n_layers))
        if len(self.pattern) != self.n_layers:
            raise PellucidError(f"pattern names {len(self.pattern)} blocks, but n_layers is {self.n_layers}")
        if not self.d_ff:
            object.__setattr__(self, "d_ff", 4 * self.d_model)
        if self.activation not in ACTIVATIONS:
            raise PellucidError(f"unknown activation {self.activation!r}: use one of {', '.join(ACTIVATIONS)}")
        if not 0.0 <= self.dropout < 1.0:
            raise PellucidError(f"dropout must lie in [0, 1), not {self.dropout}")

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Self:
        """The named shape (`presets.PRESETS`), with any field changed: `GPTConfig.preset("tiny", vocab_size=512)`.

        Raises:
            PellucidError: no such preset; the message lists them.
        """
        chosen = find_preset(name)
        shape: dict[str, Any] = {
            "vocab_size": chosen.vocab_size, "n_ctx": chosen.n_ctx, "n_layers": chosen.n_layers,
            "d_model": chosen.d_model, "n_heads": chosen.n_heads, "name": name,
        }  # fmt: skip
        n_layers = changes.get("n_layers", chosen.n_layers)
        shape["pattern"] = chosen.pattern(n_layers)
        return cls(**(shape | changes))

    @property
    def d_head(self) -> int:
        """Width of one head."""
        return self.d_model // self.n_heads

    def parameters(self) -> int:
        """How many numbers the model holds, the tied output matrix counted once."""
        return costs.parameters(self)

    def block_parameters(self) -> int:
        """How many of them one block holds (1,812,099,072 at 175B: the article's "1.8B")."""
        return costs.block_parameters(self)

    def matrices(self) -> list[tuple[str, tuple[int, int]]]:
        """The weight matrices by name, each (rows in, columns out): the article's "hundreds of matrices"."""
        return costs.matrices(self)

    def flops(self, tokens: int, context: int | None = None) -> int:
        """Floating-point operations of a forward pass over `tokens`, in sequences of `context` (default min(tokens, n_ctx)).

        Counts matrix products only (a multiply and an add are two), attention by each block's pattern.
        """
        return costs.flops(self, tokens, context)

    def kv_bytes(self, tokens: int, *, bytes_per_value: int = 2) -> int:
        """Bytes of keys and values that generating must keep for one sequence of `tokens`, by each block's pattern."""
        return costs.kv_bytes(self, tokens, bytes_per_value)

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed; `d_ff` stays four widths if it was and is not given."""
        if "d_model" in changes and self.d_ff == 4 * self.d_model:
            changes = {"d_ff": 0} | changes
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the inverse of `from_dict`."""
        return asdict(self) | {"pattern": [str(p) for p in self.pattern]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Builds a config from `to_dict`'s values.

        Raises:
            PellucidError: a key is missing or unknown.
        """
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise PellucidError(f"unknown config key {unknown[0]!r}: was this written by a newer version?")
        if missing := sorted({"n_layers", "d_model", "n_heads"} - set(values)):
            raise PellucidError(f"config lacks {missing[0]!r}")
        return cls(**{**values, "pattern": tuple(parse(p) for p in values.get("pattern", ()))})
