"""`GPTConfig`: the shape of a model, and its parameters, FLOPs and bytes. No torch here.

Names are those of Table 2.1 of the GPT-3 paper (arXiv 2005.14165): n_layers blocks of width d_model, n_heads heads of
d_head each, n_ctx positions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

from pellucid.arguments import flag, number, plain, shown, text_of, whole_number
from pellucid.errors import PellucidError
from pellucid.gpt import costs
from pellucid.gpt.arrangements import alternating
from pellucid.gpt.config_values import MAX_TOKENS
from pellucid.gpt.pattern import Pattern, parse
from pellucid.gpt.presets import preset as find_preset
from pellucid.strict_json import Fields


ACTIVATIONS = ("gelu_tanh", "gelu_erf", "relu")  # GPT-2's and GPT-3's tanh form; Cerebras-GPT's exact form; OPT's
NORMS = ("pre", "post")
# Sizes beyond these are no model's: they are refused before anything of their size is made.
MAX_LAYERS, MAX_SIZE = 2**16, 2**31 - 1
MAX_NAME_LENGTH = 200

# Fields in which relatives of GPT-3 differ from it. `to_dict` leaves them out where they have GPT-3's value, so that a shape is
# written, and fingerprinted, as before these fields existed.
RELATIVES = (
    "qkv_bias", "attention_scale", "norm", "final_norm", "d_embed", "start_of_text", "end_of_text",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """The shape of a GPT: frozen, checked, and the source of every derived number.

    Attributes:
        vocab_size: tokens in the vocabulary (V).
        n_ctx: context window: the maximum sequence length, in positions.
        n_layers: blocks (L).
        d_model: width of the residual stream (C).
        n_heads: attention heads (H); must divide d_model.
        pattern: one attention pattern a block, as an object or as text ("dense", "banded(128)", see `pattern`); a single one is
            that of every block. Default: alternating, block 0 banded(128) (a choice, see `arrangements`).
        d_ff: width of the feed-forward layer. Default 4 * d_model (paper, section 2.1).
        activation: "gelu_tanh" (GPT-2, GPT-3), "gelu_erf" (Cerebras-GPT) or "relu" (OPT).
        norm_eps: LayerNorm's epsilon. 1e-5 as in GPT-2's code.
        dropout: on the embeddings and on each branch before it joins the residual stream. Default 0 (a choice: the
            paper does not say; it passes over most of its data less than once).

    In the following, relatives differ from GPT-3, whose value is the default (arXiv 2205.01068 is OPT's paper; GPT-Neo is
    documented by its code, EleutherAI/gpt-neo):
        qkv_bias: whether queries, keys and values have biases. GPT-Neo's have none.
        attention_scale: whether scores are divided by sqrt(d_head). GPT-Neo's are not.
        norm: LayerNorm on what goes into a branch ("pre") or on the stream after it joined ("post", OPT-350m).
        final_norm: whether a LayerNorm follows the last block. OPT-350m has none.
        d_embed: width of a token's embedding; if not d_model (OPT-350m), a matrix leads into the stream and one out of it.
            Default d_model.
        start_of_text: id from which a text starts where there is no prompt; None is the last id, as GPT-2's.
        end_of_text: id that ends a text, or several of which any does (the first is written where a text is to end); None is
            the last id. An id outside the vocabulary, which files may name, never comes.
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
    qkv_bias: bool = True
    attention_scale: bool = True
    norm: str = "pre"
    final_norm: bool = True
    d_embed: int = 0
    start_of_text: int | None = None
    end_of_text: int | tuple[int, ...] | None = None
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for key, least in (("vocab_size", 1), ("n_ctx", 1), ("d_model", 1), ("n_heads", 1), ("d_ff", 0), ("d_embed", 0)):
            object.__setattr__(self, key, whole_number(key, getattr(self, key), least, MAX_SIZE))
        object.__setattr__(self, "n_layers", whole_number("n_layers", self.n_layers, 1, MAX_LAYERS))
        if self.start_of_text is not None:
            object.__setattr__(self, "start_of_text", whole_number("start_of_text", self.start_of_text, 0, MAX_SIZE))
        object.__setattr__(self, "end_of_text", _ends(self.end_of_text))
        for key in ("qkv_bias", "attention_scale", "final_norm"):
            object.__setattr__(self, key, flag(key, getattr(self, key)))
        if len(text_of("name", self.name)) > MAX_NAME_LENGTH:
            raise PellucidError(f"name must be text of at most {MAX_NAME_LENGTH} characters, not {shown(self.name)}")
        object.__setattr__(self, "norm_eps", number("norm_eps", self.norm_eps, 0))
        if self.d_model % self.n_heads:
            raise PellucidError(f"n_heads must divide d_model: {self.d_model} / {self.n_heads} is not a whole number")
        object.__setattr__(self, "pattern", _patterns(self.pattern, self.n_layers))
        if not self.pattern:
            object.__setattr__(self, "pattern", alternating(self.n_layers))
        if len(self.pattern) != self.n_layers:
            raise PellucidError(f"pattern names {len(self.pattern)} blocks, but n_layers is {self.n_layers}")
        if not self.d_ff:
            object.__setattr__(self, "d_ff", 4 * self.d_model)
        if not self.d_embed:
            object.__setattr__(self, "d_embed", self.d_model)
        if not isinstance(self.activation, str) or self.activation not in ACTIVATIONS:
            raise PellucidError(f"unknown activation {shown(self.activation)}: use one of {', '.join(ACTIVATIONS)}")
        if not isinstance(self.norm, str) or self.norm not in NORMS:
            raise PellucidError(f"unknown norm {shown(self.norm)}: use one of {', '.join(NORMS)}")
        for key in ("start_of_text", "end_of_text"):
            if getattr(self, key) == self.vocab_size - 1:  # said in one way only, so that equal shapes are equal
                object.__setattr__(self, key, None)
        object.__setattr__(self, "dropout", plain(self.dropout))
        if number("dropout", self.dropout, 0, 1) == 1:
            raise PellucidError("dropout must be less than 1, not 1: nothing would be left")

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
        n_layers = whole_number("n_layers", changes.get("n_layers", chosen.n_layers), 1, MAX_LAYERS)
        shape["pattern"] = chosen.pattern(n_layers)
        return cls(**(shape | changes))

    @property
    def d_head(self) -> int:
        """Width of one head."""
        return self.d_model // self.n_heads

    @property
    def start_id(self) -> int:
        """The id from which a text starts."""
        return self.vocab_size - 1 if self.start_of_text is None else self.start_of_text

    @property
    def end_id(self) -> int:
        """The id that ends a text; of several, the first."""
        return self.end_ids[0]

    @property
    def end_ids(self) -> tuple[int, ...]:
        """All ids that end a text."""
        if isinstance(self.end_of_text, tuple):
            return self.end_of_text
        return (self.vocab_size - 1 if self.end_of_text is None else self.end_of_text,)

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
        context = None if context is None else whole_number("context", context, 1)
        return costs.flops(self, whole_number("tokens", tokens, 0), context)

    def kv_bytes(self, tokens: int, *, bytes_per_value: int = 2, all_dense: bool = False) -> int:
        """Bytes of keys and values of an evicting cache for one sequence of `tokens`: what a later query can still read.

        By each block's pattern: a banded block counts its band only. Our own runners keep every position of every block, so
        that prefixes can be reused (`Runner.sequence_bytes`). `all_dense` counts every block as dense: 4,718,592 bytes a token
        at 175B.
        """
        tokens, bytes_per_value = whole_number("tokens", tokens, 0), whole_number("bytes_per_value", bytes_per_value, 1)
        return costs.kv_bytes(self, tokens, bytes_per_value, all_dense=flag("all_dense", all_dense))

    def attention_bytes(self, tokens: int, *, bytes_per_value: int = 2) -> int:
        """Bytes that attention in all blocks leaves for the backward pass of one sequence (`costs.attention_bytes`)."""
        tokens, bytes_per_value = whole_number("tokens", tokens, 0), whole_number("bytes_per_value", bytes_per_value, 1)
        return sum(costs.attention_bytes(self, p, tokens, bytes_per_value) for p in self.pattern)

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed; `d_ff` stays four widths and `d_embed` one if they were and are not given."""
        if "d_model" in changes and self.d_ff == 4 * self.d_model:
            changes = {"d_ff": 0} | changes
        if "d_model" in changes and self.d_embed == self.d_model:
            changes = {"d_embed": 0} | changes
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, those of `RELATIVES` only where they are not GPT-3's; the inverse of `from_dict`."""
        as_gpt3 = {f.name: f.default for f in fields(self) if f.name in RELATIVES} | {"d_embed": self.d_model}
        values = {key: value for key, value in asdict(self).items() if key not in as_gpt3 or value != as_gpt3[key]}
        return values | {"pattern": [str(p) for p in self.pattern]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Builds a config from `to_dict`'s values.

        Raises:
            PellucidError: a key is missing or unknown.
        """
        found = Fields(values, "config")
        if unknown := sorted(set(values) - {f.name for f in fields(cls)}):
            raise PellucidError(f"unknown config key {shown(unknown[0])}: was this written by a newer version?")
        for key in ("n_layers", "d_model", "n_heads"):
            found.value(key)
        return cls(**{**values, "pattern": tuple(parse(p) for p in found.list("pattern", [], max_length=MAX_LAYERS))})


def _ends(given: Any) -> int | tuple[int, ...] | None:
    """The ids that end a text, said in one way only: several are a tuple in which each is there once.

    Raises:
        PellucidError: what is no id, or no list of ids.
    """
    if not isinstance(given, list | tuple):
        return None if given is None else whole_number("end_of_text", given, 0, MAX_SIZE)
    if not 0 < len(given) <= MAX_TOKENS:
        raise PellucidError(f"end_of_text must be a token id, or 1 to {MAX_TOKENS} of them, not {shown(given)}")
    ids = tuple(dict.fromkeys(whole_number("end_of_text", one, 0, MAX_SIZE) for one in given))
    return ids[0] if len(ids) == 1 else ids


def _patterns(given: Any, n_layers: int) -> tuple[Pattern, ...]:
    """The pattern of each block; a single one is that of every block.

    Raises:
        PellucidError: what is no pattern.
    """
    if isinstance(given, str | Pattern):
        return (parse(given) if isinstance(given, str) else given,) * n_layers
    if not isinstance(given, Sequence) or not all(isinstance(one, str | Pattern) for one in given):
        raise PellucidError(f'pattern must be an attention pattern, such as "dense", or one for each block, not {shown(given)}')
    return tuple(parse(one) if isinstance(one, str) else one for one in given)
