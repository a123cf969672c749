"""The peak memory of a training step, by formulas with named terms. Bytes throughout; no torch here.

B windows at once, T positions of each, C width (d_model), E of a token's embedding, F = d_ff, H heads, L blocks, V vocabulary,
N parameters.

    persistent    weights + gradients + optimizer state: float32, 4 N + 4 N + 8 N for Adam's two moments
    a block       for each of the B T tokens, saved for the backward pass (`ActivationTerms` says how wide a number is):
                      C  into ln_1      C  into c_attn     3C  query, key, value     C  attention's output, by heads
                      C  into c_proj    C  into ln_2        C  into c_fc             F  into GELU    F  into mlp.c_proj
                      H  a row's softmax, in attention      4  mean and deviation of two LayerNorms
    copies        of the blocks' matrices in the products' dtype, where that is not the weights'
    the end       for each token 3C (into ln_f, out of it, its gradient) and 2 statistics; the gradient of the output matrix,
                  V E in float32; and a chunk of logits, which the loss makes and drops (`gpt/loss.py`)
    the peak      blocks, copies and the end, beside weights and optimizer; or, where that is more, all gradients and the token
                  matrix's twice more (through the output, and through the input), when the backward pass ends
    fragmentation a share of what is allocated and freed within a step: freed memory is reused for smaller tensors (docs/log.md)
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
class ActivationTerms:
    """What a pass in one precision (a key of `TERMS`) saves for the backward pass.

    Attributes:
        value: bytes of an activation.
        vectors: as wide as the stream, of `value`, that a block saves; stream: more of them, in float32 whatever `value` is.
        by_subsets: further vectors where attention is computed by key subsets, or under a mask (`gpt/attention.py`).
        pairs: whether attention that is not by subsets saves a number of `value` for each pair of positions and each head.
        copies: bytes a number of the blocks' matrices.
        chunk, logit: logits that the loss makes at once, and bytes of each, their log-softmax beside them included.
        fragmentation: share of what is allocated and freed within a step that the heap loses to fragmentation;
            accumulating_fragmentation: the same where a step has several micro-batches, and gradients are allocated between
            what the first one leaves free.
    """

    value: int
    vectors: int
    stream: int = 0
    by_subsets: int = 0
    pairs: bool = False
    copies: int = 0
    chunk: int = CHUNK_LOGITS
    logit: int = 2 * FLOAT32
    fragmentation: float = 0.0
    accumulating_fragmentation: float = 0.0


TERMS = {
    # PyTorch's fused kernel; its output has the layout that the next product reads, so it is saved once.
    "float32": ActivationTerms(value=4, vectors=8, by_subsets=1, fragmentation=0.2, accumulating_fragmentation=0.5),
    # Autocast on a CPU: the stream, and so what goes into LayerNorms, stays float32; softmax is saved (`_with_saved_weights`).
    "bfloat16": ActivationTerms(
        value=2, vectors=6, stream=2, by_subsets=1, pairs=True, copies=2, fragmentation=0.3, accumulating_fragmentation=0.42,
    ),
    # The same with the operators of `pellucid.native.operators`: their logits are bfloat16, in place.
    "bfloat16, compiled": ActivationTerms(
        value=2, vectors=6, stream=2, by_subsets=1, pairs=True, copies=2, chunk=4 * CHUNK_LOGITS, logit=2,
        fragmentation=0.3, accumulating_fragmentation=0.42,
    ),
    # Everything in 16 bits on a device with fused attention; never run here.
    "16-bit": ActivationTerms(value=2, vectors=9),
}


def precision_of(dtype: str, *, compiled: bool) -> str:
    """The key of `TERMS` for products in `dtype`, with or without the compiled operators."""
    return f"{dtype}, compiled" if compiled else dtype


def _dense(pattern: Pattern, positions: int) -> bool:
    """Whether a block's attention over so many positions is computed for all pairs at once."""
    return isinstance(pattern, Dense) or positions <= SHORT


def block_bytes(config: GPTConfig, pattern: Pattern, windows: int, positions: int, precision: str) -> int:
    """Bytes of activations that one block saves of `windows` x `positions` tokens for the backward pass.

    `precision` is a key of `TERMS`.
    """
    terms, c, heads = TERMS[precision], config.d_model, config.n_heads
    vectors = terms.vectors
    if not isinstance(pattern, Dense) and not (terms.pairs and positions <= SHORT):
        vectors += terms.by_subsets
    a_token = (vectors * c + 2 * config.d_ff) * terms.value + (terms.stream * c + heads + 4) * FLOAT32
    if terms.pairs and _dense(pattern, positions):
        a_token += heads * positions * terms.value
    return windows * positions * a_token


def end_bytes(config: GPTConfig, tokens: int, precision: str) -> int:
    """Bytes that the last LayerNorm and the loss save for the backward pass or need while the loss is computed."""
    terms, output = TERMS[precision], config.vocab_size * config.d_embed
    logits = min(terms.chunk, tokens * config.vocab_size) * terms.logit
    copy = output * terms.copies
    return tokens * (3 * config.d_model * terms.value + 2 * FLOAT32) + output * FLOAT32 + logits + copy


def copies_bytes(config: GPTConfig, precision: str) -> int:
    """Bytes of the copies of the blocks' matrices that a pass makes for its products."""
    return TERMS[precision].copies * sum(rows * columns for name, (rows, columns) in config.matrices() if name.startswith("h."))


def activation_bytes(
    config: GPTConfig, windows: int, precision: str, *, positions: int | None = None, recompute: bool = False,
    accumulates: bool = False,
) -> int:
    """Bytes of a pass over `windows` of `positions` (n_ctx) when its loss is computed, beside what is persistent.

    Fragmentation is included. `accumulates` says that the pass is one of several in a step.
    """
    positions = config.n_ctx if positions is None else positions
    blocks = [block_bytes(config, pattern, windows, positions, precision) for pattern in config.pattern]
    saved = sum(blocks)
    if recompute:
        value = FLOAT32 if TERMS[precision].stream else TERMS[precision].value
        saved = config.n_layers * windows * positions * config.d_model * value + max(blocks)
    taken = saved + copies_bytes(config, precision) + end_bytes(config, windows * positions, precision)
    return round(taken * (1 + _fragmentation(precision, accumulates)))


def _fragmentation(precision: str, accumulates: bool) -> float:
    return TERMS[precision].accumulating_fragmentation if accumulates else TERMS[precision].fragmentation


@dataclass(frozen=True, kw_only=True, slots=True)
class StepMemory:
    """Bytes of a training step.

    Attributes:
        weights, gradients, optimizer_state: of the parameters, float32, and of the optimizer.
        activations: what a micro-batch adds when its loss is computed, fragmentation included; backward: what the end of its
            backward pass adds to weights, gradients and optimizer.
        accumulates: whether a step has several micro-batches, whose gradients exist when the next loss is computed.
    """

    weights: int
    gradients: int
    optimizer_state: int
    activations: int
    backward: int
    accumulates: bool

    @property
    def persistent(self) -> int:
        """Bytes of weights, gradients and optimizer state, which exist for the whole step."""
        return self.weights + self.gradients + self.optimizer_state

    @property
    def peak(self) -> int:
        """The largest sum that is allocated at once."""
        at_loss = self.persistent + self.activations - (0 if self.accumulates else self.gradients)
        return max(at_loss, self.persistent + self.backward)


def step_memory(
    config: GPTConfig, windows: int, precision: str, *, accumulates: bool = False, optimizer_state: int | None = None
) -> StepMemory:
    """The memory of a step whose micro-batches have `windows` full windows.

    Args:
        precision: a key of `TERMS` (`precision_of`).
        optimizer_state: bytes of the optimizer's state; None: Adam's two moments.
    """
    n, output = config.parameters(), config.vocab_size * config.d_embed
    activations = activation_bytes(config, windows, precision, accumulates=accumulates)
    share = _fragmentation(precision, accumulates)
    fragmented = round(activations * share / (1 + share))
    return StepMemory(
        weights=FLOAT32 * n, gradients=FLOAT32 * n,
        optimizer_state=2 * FLOAT32 * n if optimizer_state is None else optimizer_state,
        activations=activations, backward=2 * output * FLOAT32 + fragmented, accumulates=accumulates,
    )  # fmt: skip
