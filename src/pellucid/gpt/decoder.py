"""The transformer decoder of GPT-2 and GPT-3.

B batch, T positions, C width (d_model), E width of a token's embedding, H heads, D head width, L blocks, V vocabulary.

Pre-normalisation, learned positions, biases everywhere, tanh GELU, output matrix tied to the token matrix: "the same
model and architecture as GPT-2", except that blocks alternate dense and banded attention (GPT-3 paper, section 2.1).
Parameter names are those of GPT-2's published checkpoints, so that files fit without a table. In GPT-3 E is C; what its
relatives do otherwise (`GPTConfig`) is a branch that GPT-3 never takes. What training and evaluation call is the module itself:
`model(ids)` gives logits, `model(ids, targets)` a loss.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pellucid.arguments import one_of, shown
from pellucid.errors import PellucidError
from pellucid.gpt.compressor import Compressor
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.initialization import initial_rows
from pellucid.gpt.kv_cache import KVCache
from pellucid.gpt.loss import IGNORE, linear_cross_entropy
from pellucid.gpt.pattern import Compressed, Pattern
from pellucid.gpt.self_attention import self_attention
from pellucid.gpt.tap import Tap
from pellucid.native.operators import functions
from pellucid.native.operators.library import in_use


INIT_NUMBERS = 1 << 22  # first weights computed at once, in whole rows: 16 MB

# PyTorch's modules initialise themselves when they are made. First weights here come from `init_weights` or from a file, so a
# large model is not filled twice and a model on the meta device costs nothing.
class Linear(nn.Linear):
    """`torch.nn.Linear` without an initialisation of its own."""

    def reset_parameters(self) -> None:
        """Does nothing."""


class Embedding(nn.Embedding):
    """`torch.nn.Embedding` without an initialisation of its own."""

    def reset_parameters(self) -> None:
        """Does nothing."""


class LayerNorm(nn.LayerNorm):
    """`torch.nn.LayerNorm` without an initialisation of its own."""

    before_product = True  # whether only a matrix product reads the output

    def reset_parameters(self) -> None:
        """Does nothing."""

    def forward(self, x: Tensor) -> Tensor:  # (..., C) -> (..., C)
        """As `torch.nn.LayerNorm`; with compiled operators the output is in the bfloat16 that the next product takes."""
        if self.before_product and x.dtype == torch.float32 and in_use(x):
            return functions.layer_norm(x, self.weight, self.bias, self.eps)
        return super().forward(x)


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU in its tanh form."""
    if x.dtype == torch.bfloat16 and in_use(x):
        return functions.gelu_tanh(x)
    return F.gelu(x, approximate="tanh")


ACTIVATION: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu_tanh": gelu_tanh,
    "gelu_erf": F.gelu,
    "relu": F.relu,
}


class Attention(nn.Module):
    """c_attn (queries, keys, values), causal self-attention by the block's pattern, c_proj.

    Attributes:
        n_heads: heads whose rows `c_attn` has here; fewer than the model's where tensor parallelism divides them.
        by_head: whether these rows are head by head, (H, 3, D), and not queries, keys, values, (3, H, D), as in files.
    """

    def __init__(self, config: GPTConfig, block: int) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.by_head = False
        self.block = block
        self.pattern: Pattern = config.pattern[block]
        self.scaled = config.attention_scale
        self.c_attn = Linear(config.d_model, 3 * config.d_model, bias=config.qkv_bias)
        self.c_proj = Linear(config.d_model, config.d_model)
        self.compressor: Compressor | None = None
        if isinstance(self.pattern, Compressed):
            self.compressor = Compressor(self.pattern, config.n_heads, config.d_model)

    def forward(self, x: Tensor, cache: KVCache | None, tap: Tap | None) -> Tensor:  # (B, T, C) -> (B, T, C)
        qkv = self.split_heads(self.c_attn(x))
        heads = self_attention(qkv, self.block, self.pattern, self.compressor, scaled=self.scaled, cache=cache, tap=tap)
        out: Tensor = self.c_proj(heads)
        return out

    def split_heads(self, qkv: Tensor) -> Tensor:  # (B, T, 3 C) -> (B, T, 3, H, D)
        """The output of `c_attn` as queries, keys and values of each head."""
        b, t, _ = qkv.shape
        if self.by_head:
            return qkv.view(b, t, self.n_heads, 3, -1).transpose(2, 3)
        return qkv.view(b, t, 3, self.n_heads, -1)


class MLP(nn.Module):
    """c_fc, activation, c_proj, at each position separately."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.activation = ACTIVATION[config.activation]
        self.c_fc = Linear(config.d_model, config.d_ff)
        self.c_proj = Linear(config.d_ff, config.d_model)

    def forward(self, x: Tensor) -> Tensor:  # (B, T, C) -> (B, T, C)
        out: Tensor = self.c_proj(self.activation(self.c_fc(x)))
        return out


class Block(nn.Module):
    """One decoder layer: x + attention(norm(x)), then x + mlp(norm(x)); each norm after its sum where `norm` is "post".

    Attributes:
        recompute: whether the backward pass computes what is inside again instead of keeping it (activation checkpointing).
    """

    def __init__(self, config: GPTConfig, block: int) -> None:
        super().__init__()
        self.block = block
        self.ln_1 = LayerNorm(config.d_model, eps=config.norm_eps)
        self.attn = Attention(config, block)
        self.ln_2 = LayerNorm(config.d_model, eps=config.norm_eps)
        self.mlp = MLP(config)
        self.post_norm = config.norm == "post"
        self.ln_1.before_product = self.ln_2.before_product = not self.post_norm
        self.dropout = config.dropout
        self.recompute = False

    def forward(  # (B, T, C) -> (B, T, C)
        self, x: Tensor, cache: KVCache | None = None, tap: Tap | None = None
    ) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            out: Tensor = checkpoint(self.layer, x, cache, tap, use_reentrant=False)
            return out
        return self.layer(x, cache, tap)

    def layer(self, x: Tensor, cache: KVCache | None, tap: Tap | None) -> Tensor:  # (B, T, C) -> (B, T, C)
        """What `forward` computes."""
        attention = F.dropout(self.attn(x if self.post_norm else self.ln_1(x), cache, tap), self.dropout, self.training)
        if tap is not None:
            attention = tap.write(self.block, "attention", attention)
        x = x + attention
        x = self.ln_1(x) if self.post_norm else x
        mlp = F.dropout(self.mlp(x if self.post_norm else self.ln_2(x)), self.dropout, self.training)
        if tap is not None:
            mlp = tap.write(self.block, "mlp", mlp)
            tap.writes(self.block, attention, mlp)
        x = x + mlp
        return self.ln_2(x) if self.post_norm else x


class Decoder(nn.Module):
    """Token ids in, logits or loss out (`forward`).

    Args:
        config: the shape.
        seed: of the first weights. The same seed gives the same parameters on any machine.

    Note: `config` is a `GPTConfig`; `.parameters()` of this module are tensors, `.config.parameters()` is their count.
    """

    def __init__(self, config: GPTConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        narrow = config.d_embed != config.d_model
        self.wte = Embedding(config.vocab_size, config.d_embed)
        self.wpe = Embedding(config.n_ctx, config.d_model)
        self.project_in = Linear(config.d_embed, config.d_model, bias=False) if narrow else None
        self.h = nn.ModuleList(Block(config, block) for block in range(config.n_layers))
        self.ln_f = LayerNorm(config.d_model, eps=config.norm_eps) if config.final_norm else None
        self.project_out = Linear(config.d_model, config.d_embed, bias=False) if narrow else None
        if self.wte.weight.device.type != "meta":
            self.init_weights(seed)

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """Sets the first weights, each a function of (seed, parameter name, index): see `initialization`."""
        for name, parameter in self.named_parameters():
            rows = max(1, INIT_NUMBERS * len(parameter) // parameter.numel())
            for start in range(0, len(parameter), rows):
                stop = min(start + rows, len(parameter))
                values = initial_rows(self.config, seed, name, tuple(parameter.shape), start, stop)
                parameter[start:stop] = torch.from_numpy(values)

    def hidden(self, ids: Tensor, cache: KVCache | None = None, tap: Tap | None = None) -> Tensor:
        """Hidden vectors after the last block and the last LayerNorm, which `logits` multiplies by the token matrix.

        Arguments and errors as `forward`.

        Returns:
            (B, T, E).
        """
        t = ids.shape[1]
        longest = t + (max(cache.lengths) if cache is not None else 0)
        if longest > self.config.n_ctx:
            raise PellucidError(f"{longest} tokens do not fit in a context of {self.config.n_ctx}: shorten the text")
        if cache is None or len(set(cache.lengths)) == 1:  # the same positions for all rows
            start = cache.lengths[0] if cache is not None else 0
            positions = torch.arange(start, start + t, device=ids.device)
        else:
            positions = torch.tensor(cache.lengths, device=ids.device)[:, None] + torch.arange(t, device=ids.device)
        x = self.wte(ids)
        if self.project_in is not None:
            x = self.project_in(x)
        x = x + self.wpe(positions)
        x = F.dropout(x, self.config.dropout, self.training)
        for level, block in enumerate(self.h):
            if tap is not None:
                tap.stream(level, x)
            x = block(x, cache, tap)
        if tap is not None:
            tap.stream(len(self.h), x)
        if cache is not None:
            cache.advance(t)
        return self.read_out(x)

    def read_out(self, x: Tensor) -> Tensor:
        """The last LayerNorm, and the projection where embeddings are narrower: (..., C) residual stream -> (..., E)."""
        if self.ln_f is not None:
            x = self.ln_f(x)
        return x if self.project_out is None else self.project_out(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., E) hidden vectors -> (..., V) logits, by the tied token matrix."""
        return F.linear(hidden, self.wte.weight)

    def forward(
        self, ids: Tensor, targets: Tensor | None = None, *, reduction: Literal["mean", "sum"] = "mean",
        cache: KVCache | None = None, tap: Tap | None = None, target_weights: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Logits, or with targets the loss, for which the (B, T, V) logits are never materialised.

        Args:
            ids: (B, T) int64.
            targets: (B, T) int64, the token that follows at each position; `loss.IGNORE` ones do not count.
            reduction: of the loss, as in `torch.nn.functional.cross_entropy`: "mean" over the targets that count, or "sum".
            cache: what attention reads and stores: a `runtime.kv_cache`, or `document_mask.DocumentMask` in training.
            tap: sees the tensors between blocks, and may replace outputs.
            target_weights: (B, T) float32, of the targets' losses; "mean" is then the weighted mean. None: 1 each.

        Returns:
            (B, T, V) logits; or a scalar, the cross-entropy in nats.

        Raises:
            PellucidError: more positions than n_ctx or none, ids that are no (B, T) tensor of whole numbers, targets of another
                shape, or, on the CPU, either outside the vocabulary (other devices stop the program themselves).
        """
        check_ids("ids", ids, self.config.vocab_size)
        if targets is not None:
            check_ids("targets", targets, self.config.vocab_size, shape=ids.shape)
            one_of("reduction", reduction, ("mean", "sum"))
            if target_weights is not None and target_weights.shape != ids.shape:
                raise PellucidError(f"target_weights must have the shape of the ids, {tuple(ids.shape)}: one for each target")
        hidden = self.hidden(ids, cache, tap)
        if targets is None:
            return self.logits(hidden)
        total = self._sum_of_losses(hidden, targets, target_weights)
        if reduction == "sum":
            return total
        counted = targets != IGNORE
        return total / (counted.sum().clamp_min(1) if target_weights is None else target_weights[counted].sum())

    def _sum_of_losses(self, hidden: Tensor, targets: Tensor, target_weights: Tensor | None = None) -> Tensor:
        """(B, T, E) hidden vectors and (B, T) targets -> the sum of their cross-entropies in nats, each times its weight."""
        if torch.is_autocast_enabled(hidden.device.type):
            hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
        weights = None if target_weights is None else target_weights.flatten()
        return linear_cross_entropy(hidden.flatten(0, 1), self.wte.weight, targets.flatten(), weights)

    def compressor(self, block: int) -> Compressor | None:
        """The compressor of a compressed block; None for a block of any other pattern.

        Raises:
            PellucidError: the block was replaced by modules that have none.
        """
        if not isinstance(self.config.pattern[block], Compressed):
            return None
        try:
            return cast(Attention, self.h[block].attn).compressor
        except AttributeError:
            raise PellucidError(f"h.{block}.attn was replaced by a module that has no compressor") from None


def check_ids(name: str, ids: object, vocab_size: int, *, shape: torch.Size | None = None) -> None:
    """Refuses what the model cannot read as ids, or compare with as targets.

    Args:
        shape: that the targets must have, `loss.IGNORE` among them allowed; None: these are ids.

    Raises:
        PellucidError: the message names the argument and what it must be.
    """
    if not isinstance(ids, Tensor):
        raise PellucidError(f"{name} must be a (B, T) tensor of token ids, such as torch.tensor([[1, 2]]), not {shown(ids)}")
    if ids.dim() != 2 or (shape is not None and ids.shape != shape):
        wanted = "(B, T)" if shape is None else f"{tuple(shape)}, as the ids"
        raise PellucidError(f"{name} must have the shape {wanted}, not {tuple(ids.shape)}: a row for each text")
    if not ids.shape[1]:
        raise PellucidError(f"{name} hold no tokens: their shape is {tuple(ids.shape)}; give one token at least")
    if ids.dtype not in (torch.int64, torch.int32) or (shape is not None and ids.dtype != torch.int64):
        raise PellucidError(f"{name} must be int64, not {str(ids.dtype).removeprefix('torch.')}")
    if ids.device.type != "cpu" or torch.compiler.is_compiling() or not ids.numel():
        return  # looking at a number there would wait for the device
    counted = ids if shape is None else ids.masked_fill(ids == IGNORE, 0)
    least, most = (int(one) for one in counted.aminmax())
    if least < 0 or most >= vocab_size:
        outside = least if least < 0 else most
        ignored = "" if shape is None else f"; {IGNORE} is a target that does not count"
        raise PellucidError(f"{name} hold {outside}, outside the vocabulary: ids go from 0 to {vocab_size - 1}{ignored}")


# The methods that a forward pass calls, as they are defined: `runtime.module_changes` sees by them whether one was replaced
# since. A kernel computes what these say, and would not notice.
_CONSTRUCTION = ("__init__", "init_weights", "reset_parameters")
DEFINED_METHODS: dict[type[nn.Module], dict[str, object]] = {
    cls: {name: value for name, value in vars(cls).items() if callable(value) and name not in _CONSTRUCTION}
    for cls in (Decoder, Block, Attention, MLP, Compressor, LayerNorm, Linear, Embedding)
} | {
    nn.Linear: {"forward": nn.Linear.forward},
    nn.Embedding: {"forward": nn.Embedding.forward},
    nn.LayerNorm: {"forward": nn.LayerNorm.forward},
    nn.Module: {name: vars(nn.Module)[name] for name in ("__call__", "_wrapped_call_impl", "_call_impl")},
}
# And the functions, by the module that holds them.
_OF_TORCH = ("linear", "embedding", "layer_norm", "gelu", "relu", "dropout", "conv1d", "pad", "scaled_dot_product_attention")
_OF_THIS_ROOM = ("attention", "attention_tiles", "compressor", "decoder", "self_attention", "sparse")
DEFINED_FUNCTIONS: dict[ModuleType, dict[str, object]] = {
    F: {name: getattr(F, name) for name in _OF_TORCH},
    torch: {name: getattr(torch, name) for name in ("softmax", "bmm", "baddbmm", "cat")},
} | {
    module: {name: value for name, value in vars(module).items() if callable(value)}
    for module in (sys.modules[f"{__package__}.{name}"] for name in _OF_THIS_ROOM)
}
