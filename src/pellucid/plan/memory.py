"""How much memory a shape takes, to train and to run, by formulas with names. Bytes throughout.

T tokens at once (sequences x context), C width (d_model), E of a token's embedding, F = d_ff, H heads, L blocks,
V vocabulary.

    state         weights + gradients + Adam's two moments (+ float32 master weights): a fixed number a parameter
    a block       T * (9C + 2F) values and T * (H + 4) float32 statistics, kept for the backward pass:
                      C  into ln_1      C  into c_attn     3C  query, key, value     C  attention's output, by heads
                      C  into c_proj    C  into ln_2        C  into c_fc             F  into GELU    F  into mlp.c_proj
                      H  a row's softmax, in attention      4  mean and deviation of two LayerNorms
    the end       T * 3C values (into ln_f, out of it, its gradient), T * 2 statistics, the output matrix's gradient (V * E
                  float32) and one chunk of logits, which the loss makes and drops (`gpt/loss.py`)
    all kept      L blocks and the end
    recomputed    L * T * C values (each block's input), one block, and the end: a third more operations, far less memory

Attention keeps no scores: its fused kernels make them again. A banded block is counted as a dense one; copies that one
kernel or another makes on the way are not counted, nor is what the allocator wastes.
"""

from dataclasses import dataclass

from pellucid.gpt.config import GPTConfig


LOGITS_ALIVE = 2**24  # values of one chunk of logits, as gpt/loss.py cuts them
FLOAT32 = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class StateRecipe:
    """Bytes a parameter that stay for the whole of a training run.

    Attributes:
        name: what the plan calls it.
        weights, gradients, moments, master: bytes a parameter; `moments` are Adam's two, `master` a float32 copy of
            16-bit weights.
        activation: bytes of one activation.
    """

    name: str
    weights: int
    gradients: int
    moments: int
    master: int
    activation: int

    @property
    def per_parameter(self) -> int:
        """Bytes a parameter in all."""
        return self.weights + self.gradients + self.moments + self.master


STATES = (
    StateRecipe(name="float32", weights=4, gradients=4, moments=8, master=0, activation=4),
    StateRecipe(name="16-bit, float32 master", weights=2, gradients=2, moments=8, master=4, activation=2),
)

# Bits of one number of a weight matrix. The quantised kinds keep a 16-bit scale for every 32 numbers, and the position
# matrix, biases and LayerNorms in float32: GGUF's Q8_0 and Q4_0, as `pellucid convert --to gguf` writes them.
MATRIX_BITS = {"float32": 32.0, "float16": 16.0, "bfloat16": 16.0, "int8": 8.5, "int4": 4.5}
QUANTISED = ("int8", "int4")


def weight_bytes(config: GPTConfig, dtype: str) -> int:
    """Bytes of the weights alone, stored as `dtype` (a key of MATRIX_BITS)."""
    bits = MATRIX_BITS[dtype]
    if dtype not in QUANTISED:
        return int(config.parameters() * bits) // 8
    matrices = sum(rows * columns for name, (rows, columns) in config.matrices() if name != "wpe")
    return int(matrices * bits) // 8 + FLOAT32 * (config.parameters() - matrices)


def state_bytes(config: GPTConfig, recipe: StateRecipe) -> int:
    """Bytes of weights, gradients, moments and master weights."""
    return recipe.per_parameter * config.parameters()


def block_activation_bytes(config: GPTConfig, tokens: int, value: int) -> int:
    """What one block keeps of `tokens` for the backward pass, in values of `value` bytes.

    Of its vectors as wide as the stream, float32 attention leaves one less: its answer lies as the next product reads it.
    """
    wide = 8 if value == FLOAT32 else 9
    return tokens * ((wide * config.d_model + 2 * config.d_ff) * value + (config.n_heads + 4) * FLOAT32)


def end_activation_bytes(config: GPTConfig, tokens: int, value: int) -> int:
    """What the last LayerNorm and the loss keep, or hold for a moment."""
    logits = min(LOGITS_ALIVE, tokens * config.vocab_size)
    output = config.vocab_size * config.d_embed
    return tokens * (3 * config.d_model * value + 2 * FLOAT32) + (output + logits) * FLOAT32


def activation_bytes(config: GPTConfig, tokens: int, value: int, *, recompute: bool) -> int:
    """What a forward pass over `tokens` keeps until its backward pass, everything or block inputs only."""
    block, end = block_activation_bytes(config, tokens, value), end_activation_bytes(config, tokens, value)
    if recompute:
        return config.n_layers * tokens * config.d_model * value + block + end
    return config.n_layers * block + end
