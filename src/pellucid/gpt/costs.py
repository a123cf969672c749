"""Parameters, FLOPs and bytes of a model, in exact integer arithmetic. No torch here.

With C = d_model, F = d_ff, V = vocab_size, and biases everywhere (GPT-2's layout, which GPT-3 keeps):

    a block     C*3C + 3C   query, key, value          C*F + F   feed-forward, up
                C*C + C     projection                 F*C + C   and down            4C  two LayerNorms
    the rest    V*C         tokens                     n_ctx*C   positions           2C  last LayerNorm

Relatives of GPT-3 differ: 3C less a block without query, key and value biases, 2C less without the last LayerNorm, and with
token embeddings of width E < C, V*E for tokens and 2 C*E for the projections into the stream and out of it.

For F = 4C a block is 12 C^2 + 13 C. The output matrix is the token matrix again (tied), so it is counted once; that is
what makes the totals agree with Table D.1 of the paper. Patterns have no parameters of their own, but for compressed ones:
2 * (C * K * d_head + C) for the convolutions over keys and values, K positions wide, and 2C for the null key and value.
"""

from collections.abc import Iterator
from typing import Protocol

from pellucid.errors import PellucidError
from pellucid.gpt.pattern import Compressed, Pattern


class _ModelShape(Protocol):
    """What these functions need of a `config.GPTConfig`; the attributes are described there."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def n_ctx(self) -> int: ...
    @property
    def n_layers(self) -> int: ...
    @property
    def d_model(self) -> int: ...
    @property
    def n_heads(self) -> int: ...
    @property
    def d_head(self) -> int: ...
    @property
    def pattern(self) -> tuple[Pattern, ...]: ...
    @property
    def d_ff(self) -> int: ...
    @property
    def d_embed(self) -> int: ...
    @property
    def qkv_bias(self) -> bool: ...
    @property
    def final_norm(self) -> bool: ...


def matrices(config: _ModelShape) -> list[tuple[str, tuple[int, int]]]:
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
        if isinstance(pattern := config.pattern[block], Compressed):
            wide = pattern.kernel * config.d_head
            listed += [(f"h.{block}.attn.compressor.{name}_weight", (wide, c)) for name in ("k", "v")]
    return listed


def parameter_shapes(config: _ModelShape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every parameter of `decoder.Decoder` by its name, with its shape: matrices as PyTorch has them, (out, in)."""
    c, f, e = config.d_model, config.d_ff, config.d_embed
    yield from (("wte.weight", (config.vocab_size, e)), ("wpe.weight", (config.n_ctx, c)))
    if e != c:
        yield "project_in.weight", (c, e)
    for block, pattern in enumerate(config.pattern):
        h = f"h.{block}."
        yield from ((f"{h}ln_1.weight", (c,)), (f"{h}ln_1.bias", (c,)), (f"{h}attn.c_attn.weight", (3 * c, c)))
        if config.qkv_bias:
            yield f"{h}attn.c_attn.bias", (3 * c,)
        yield from ((f"{h}attn.c_proj.weight", (c, c)), (f"{h}attn.c_proj.bias", (c,)))
        if isinstance(pattern, Compressed):
            wide = pattern.kernel * config.d_head
            yield from ((f"{h}attn.compressor.{name}_weight", (c, wide)) for name in ("k", "v"))
            yield from ((f"{h}attn.compressor.{name}", (c,)) for name in ("k_bias", "v_bias", "nothing_k", "nothing_v"))
        yield from ((f"{h}ln_2.weight", (c,)), (f"{h}ln_2.bias", (c,)))
        yield from ((f"{h}mlp.c_fc.weight", (f, c)), (f"{h}mlp.c_fc.bias", (f,)))
        yield from ((f"{h}mlp.c_proj.weight", (c, f)), (f"{h}mlp.c_proj.bias", (c,)))
    if config.final_norm:
        yield from (("ln_f.weight", (c,)), ("ln_f.bias", (c,)))
    if e != c:
        yield "project_out.weight", (e, c)


def block_parameters(config: _ModelShape) -> int:
    """Parameters of one block, its pattern's own left out (`compressor_parameters`)."""
    c, f = config.d_model, config.d_ff
    return (3 * c * c + 3 * c * config.qkv_bias) + (c * c + c) + (c * f + f) + (f * c + c) + 4 * c


def parameters(config: _ModelShape) -> int:
    """Parameters of the whole model."""
    c, e = config.d_model, config.d_embed
    projections = 2 * e * c if e != c else 0
    outside_blocks = config.vocab_size * e + projections + config.n_ctx * c + 2 * c * config.final_norm
    compressors = sum(compressor_parameters(config, p) for p in config.pattern)
    return config.n_layers * block_parameters(config) + compressors + outside_blocks


def compressor_parameters(config: _ModelShape, pattern: Pattern) -> int:
    """Parameters of a block's compressor: 0 unless its pattern is compressed."""
    if not isinstance(pattern, Compressed):
        return 0
    return 2 * config.d_model * (pattern.kernel * config.d_head + 1) + 2 * config.d_model


def flops(config: _ModelShape, tokens: int, context: int | None) -> int:
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
    attention = sum(whole * attention_flops(config, p, context) + attention_flops(config, p, rest) for p in config.pattern)
    return tokens * per_token + attention


def attention_flops(config: _ModelShape, pattern: Pattern, tokens: int) -> int:
    """Operations of one block's attention over one sequence, projections left out.

    A (query, key) pair costs one product of d_head numbers for the score and one for the value: 4 d_head in each head.
    A compressed key costs its convolution, and as much again for its value.
    """
    pairs = sum(pattern.of_head(head).pairs(tokens) for head in range(config.n_heads))
    convolutions = 0
    if isinstance(pattern, Compressed):
        convolutions = 2 * 2 * int(pattern.count(tokens)) * pattern.kernel * config.d_head * config.d_model
    return 4 * config.d_head * pairs + convolutions


def attention_bytes(config: _ModelShape, pattern: Pattern, tokens: int, bytes_per_value: int) -> int:
    """Bytes of one block's attention that a forward pass over one sequence saves for the backward pass.

    Queries, keys, values and the output, and one float32 for each query and head of each key subset: no pattern saves a number
    for each pair. (Two exceptions, on a CPU in bfloat16: dense blocks, and sequences of `attention.SHORT` or fewer.)
    """
    keys = 1 + int(pattern.count(tokens)) if isinstance(pattern, Compressed) else tokens
    return config.d_model * (2 * tokens + 2 * keys) * bytes_per_value + 4 * config.n_heads * tokens


def kv_bytes(config: _ModelShape, tokens: int, bytes_per_value: int, *, all_dense: bool = False) -> int:
    """Bytes of keys and values of an evicting cache for one sequence: what each block's pattern lets a later query read."""
    if all_dense:
        cached = tokens * config.n_layers * config.n_heads
    else:
        cached = sum(p.of_head(head).cached_keys(tokens) for p in config.pattern for head in range(config.n_heads))
    return 2 * config.d_head * bytes_per_value * cached
