"""What a shape costs: parameters, operations, bytes. Plain integer arithmetic, exact, no torch.

With C = d_model, F = d_ff, V = vocab_size, and biases everywhere (GPT-2's layout, which GPT-3 keeps):

    a block     C*3C + 3C   query, key, value          C*F + F   feed-forward, up
                C*C + C     projection                 F*C + C   and down            4C  two LayerNorms
    the rest    V*C         tokens                     n_ctx*C   positions           2C  last LayerNorm

Relatives of GPT-3 differ: 3C less a block without query, key and value biases, 2C less without the last LayerNorm, and with
token embeddings of width E < C, V*E for tokens and 2 C*E for the ways into the stream and out of it.

For F = 4C a block is 12 C^2 + 13 C. The output matrix is the token matrix again (tied), so it is counted once; that is
what makes the totals agree with Table D.1 of the paper.
"""

from typing import TYPE_CHECKING

from pellucid.errors import PellucidError


if TYPE_CHECKING:
    from pellucid.gpt.config import GPTConfig


def matrices(config: "GPTConfig") -> list[tuple[str, tuple[int, int]]]:
    """Every weight matrix as (name, (rows in, columns out)): 2 + 4 a block, 386 at 175B."""
    c, f, e = config.d_model, config.d_ff, config.d_embed
    listed = [("wte", (config.vocab_size, e)), ("wpe", (config.n_ctx, c))]
    if e != c:
        listed += [("project_in", (e, c)), ("project_out", (c, e))]
    for block in range(config.n_layers):
        listed += [
            (f"h.{block}.attn.c_attn", (c, 3 * c)),
            (f"h.{block}.attn.c_proj", (c, c)),
            (f"h.{block}.mlp.c_fc", (c, f)),
            (f"h.{block}.mlp.c_proj", (f, c)),
        ]
    return listed


def block_parameters(config: "GPTConfig") -> int:
    """Parameters of one block."""
    c, f = config.d_model, config.d_ff
    return (3 * c * c + 3 * c * config.qkv_bias) + (c * c + c) + (c * f + f) + (f * c + c) + 4 * c


def parameters(config: "GPTConfig") -> int:
    """Parameters of the whole model."""
    c, e = config.d_model, config.d_embed
    projections = 2 * e * c if e != c else 0
    around = config.vocab_size * e + projections + config.n_ctx * c + 2 * c * config.final_norm
    return config.n_layers * block_parameters(config) + around


def flops(config: "GPTConfig", tokens: int, context: int | None) -> int:
    """Operations of a forward pass over `tokens`, cut into sequences of `context` tokens, the rest as one shorter."""
    if tokens <= 0:
        return 0
    context = min(tokens, config.n_ctx) if context is None else context
    if context < 1:
        raise PellucidError(f"a sequence has at least one token: context must be at least 1, not {context}")
    c, f, e = config.d_model, config.d_ff, config.d_embed
    projections = 2 * e * c if e != c else 0
    per_token = 2 * (config.n_layers * (4 * c * c + 2 * c * f) + config.vocab_size * e + projections)
    whole, rest = divmod(tokens, context)
    # A (query, key) pair costs one product of d_head numbers for the score and one for the value, in every head: 4 C.
    attention = sum(4 * c * (whole * p.pairs(context) + p.pairs(rest)) for p in config.pattern)
    return tokens * per_token + attention


def kv_bytes(config: "GPTConfig", tokens: int, bytes_per_value: int) -> int:
    """Bytes of keys and values kept for one sequence of `tokens`: a banded block keeps its band only."""
    kept = sum(min(tokens, p.reach(config.n_ctx)) for p in config.pattern)
    return 2 * config.d_model * bytes_per_value * kept
