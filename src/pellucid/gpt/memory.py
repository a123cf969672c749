"""The memory of a training step, by formulas with named terms. Bytes throughout; no torch here.

B windows at once, T positions of each, C width (d_model), E of a token's embedding, F = d_ff, H heads, L blocks, V vocabulary,
N parameters.

    stays         weights + gradients + optimizer state: float32, 4 N + 4 N + 8 N for Adam's two moments
    a block       for each of the B T tokens, kept for the backward pass (`Terms` says how wide a number is):
                      C  into ln_1      C  into c_attn     3C  query, key, value     C  attention's output, by heads
                      C  into c_proj    C  into ln_2        C  into c_fc             F  into GELU    F  into mlp.c_proj
                      H  a row's softmax, in attention      4  mean and deviation of two LayerNorms
    copies        of the blocks' matrices in the products' dtype, where that is not the weights'
    the end       for each token 3C (into ln_f, out of it, its gradient) and 2 statistics; the gradient of the output matrix,
                  V E in float32; and a chunk of logits, which the loss makes and drops (`gpt/loss.py`)
    the peak      blocks, copies and the end, beside weights and optimizer; or, where that is more, all gradients and the token
                  matrix's twice more (through the output, and through the input), when the backward pass ends
    holes         a share of all that comes and goes: freed memory is used again for what is smaller (measured: docs/log.md)
    recomputed    only each block's input, one block, copies and the end: a third more operations, far less memory

`benchmarks/training_memory.py` compares it with a process; a test holds it to 15 % of that. The process itself, an interpreter
with PyTorch, takes some 250 MB beside.
"""

from dataclasses import dataclass

from pellucid.gpt.config import GPTConfig
from pellucid.gpt.pattern import Dense, Pattern


CHUNK_LOGITS = 2**24  # logits of one chunk, as gpt/loss.py cuts them; four times as many for the compiled operators
SHORT = 256  # positions up to which every pattern is computed as dense under a mask, as in gpt/attention.py
FLOAT32 = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What one numeric path (a key of `TERMS`) keeps for the backward pass.

    Attributes:
        value: bytes of an activation.
        vectors: as wide as the stream, of `value`, that a block keeps; stream: more of them, in float32 whatever `value` is.
        by_parts: further vectors where attention is computed by parts, or under a mask (`gpt/attention.py`).
        pairs: whether attention that is not by parts keeps a number of `value` for each pair of positions and each head.
        copies: bytes a number of the blocks' matrices.
        chunk, logit: logits that the loss makes at once, and bytes of each, their log-softmax beside them included.
        holes: share of what comes and goes that is lost to the heap's holes; holes_between: where a step has several
            micro-batches, and gradients come to lie between what the first one leaves free.
    """

    value: int
    vectors: int
    stream: int = 0
    by_parts: int = 0
    pairs: bool = False
    copies: int = 0
    chunk: int = CHUNK_LOGITS
    logit: int = 2 * FLOAT32
    holes: float = 0.0
    holes_between: float = 0.0


TERMS = {
    # PyTorch's fused kernel; its answer lies as the next product reads it, so it is kept once.
    "float32": Terms(value=4, vectors=8, by_parts=1, holes=0.2, holes_between=0.5),
    # Autocast on a CPU: the stream, and so what goes into LayerNorms, stays float32; softmax is kept (`_with_saved_weights`).
    "bfloat16": Terms(value=2, vectors=6, stream=2, by_parts=1, pairs=True, copies=2, holes=0.3, holes_between=0.42),
    # The same with the operators of `pellucid.native.operators`: their logits are bfloat16, in place.
    "bfloat16, compiled": Terms(
        value=2, vectors=6, stream=2, by_parts=1, pairs=True, copies=2, chunk=4 * CHUNK_LOGITS, logit=2,
        holes=0.3, holes_between=0.42,
    ),
    # Everything in 16 bits on a device with fused attention; never run here.
    "16-bit": Terms(value=2, vectors=9),
}


def way_of(dtype: str, *, compiled: bool) -> str:
    """The key of `TERMS` for products in `dtype`, with or without the compiled operators."""
    return f"{dtype}, compiled" if compiled else dtype


def _dense(pattern: Pattern, positions: int) -> bool:
    """Whether a block's attention over so many positions is computed for all pairs at once."""
    return isinstance(pattern, Dense) or positions <= SHORT


def block_bytes(config: GPTConfig, pattern: Pattern, windows: int, positions: int, way: str) -> int:
    """Activations that one block keeps of `windows` x `positions` tokens for the backward pass.

    `way` is a key of `TERMS`.
    """
    terms, c, heads = TERMS[way], config.d_model, config.n_heads
    vectors = terms.vectors
    if not isinstance(pattern, Dense) and not (terms.pairs and positions <= SHORT):
        vectors += terms.by_parts
    a_token = (vectors * c + 2 * config.d_ff) * terms.value + (terms.stream * c + heads + 4) * FLOAT32
    if terms.pairs and _dense(pattern, positions):
        a_token += heads * positions * terms.value
    return windows * positions * a_token


def end_bytes(config: GPTConfig, tokens: int, way: str) -> int:
    """What the last LayerNorm and the loss keep, or hold for a moment."""
    terms, output = TERMS[way], config.vocab_size * config.d_embed
    logits = min(terms.chunk, tokens * config.vocab_size) * terms.logit
    copy = output * terms.copies
    return tokens * (3 * config.d_model * terms.value + 2 * FLOAT32) + output * FLOAT32 + logits + copy


def copies_bytes(config: GPTConfig, way: str) -> int:
    """Copies of the blocks' matrices that a pass makes for its products."""
    return TERMS[way].copies * sum(rows * columns for name, (rows, columns) in config.matrices() if name.startswith("h."))


def activation_bytes(
    config: GPTConfig, windows: int, way: str, *, positions: int | None = None, recompute: bool = False,
    accumulates: bool = False,
) -> int:
    """What a pass over `windows` of `positions` (n_ctx) takes when its loss is made, beside what stays; holes included.

    `accumulates` says that it is one of several in a step.
    """
    positions = config.n_ctx if positions is None else positions
    blocks = [block_bytes(config, pattern, windows, positions, way) for pattern in config.pattern]
    kept = sum(blocks)
    if recompute:
        inputs = config.n_layers * windows * positions * config.d_model * (FLOAT32 if TERMS[way].stream else TERMS[way].value)
        kept = inputs + max(blocks)
    taken = kept + copies_bytes(config, way) + end_bytes(config, windows * positions, way)
    return round(taken * (1 + _holes(way, accumulates)))


def _holes(way: str, accumulates: bool) -> float:
    return TERMS[way].holes_between if accumulates else TERMS[way].holes


@dataclass(frozen=True, kw_only=True, slots=True)
class StepMemory:
    """Bytes of a training step.

    Attributes:
        weights, gradients, remembered: of the parameters, float32, and of the optimizer.
        activations: what a micro-batch adds when its loss is made, holes included; backward: what the end of its backward pass
            adds to weights, gradients and optimizer.
        accumulates: whether a step has several micro-batches, whose gradients are there when the next loss is made.
    """

    weights: int
    gradients: int
    remembered: int
    activations: int
    backward: int
    accumulates: bool

    @property
    def stays(self) -> int:
        """Weights, gradients and the optimizer's."""
        return self.weights + self.gradients + self.remembered

    @property
    def peak(self) -> int:
        """The most that is there at once."""
        at_loss = self.stays + self.activations - (0 if self.accumulates else self.gradients)
        return max(at_loss, self.stays + self.backward)


def step_memory(
    config: GPTConfig, windows: int, way: str, *, accumulates: bool = False, remembered: int | None = None
) -> StepMemory:
    """What a step takes whose micro-batches have `windows` full windows.

    Args:
        way: how it computes (`way_of`).
        remembered: bytes of the optimizer's; None: Adam's two moments.
    """
    n, output = config.parameters(), config.vocab_size * config.d_embed
    activations, share = activation_bytes(config, windows, way, accumulates=accumulates), _holes(way, accumulates)
    holes = round(activations * share / (1 + share))
    return StepMemory(
        weights=FLOAT32 * n, gradients=FLOAT32 * n, remembered=2 * FLOAT32 * n if remembered is None else remembered,
        activations=activations, backward=2 * output * FLOAT32 + holes, accumulates=accumulates,
    )  # fmt: skip
