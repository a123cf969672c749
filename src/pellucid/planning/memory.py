"""Memory of a model by dtype, in bytes: the state of a training run, and the weights alone.

The activations of a training step are in `gpt.memory`, which training itself uses too.
"""

from dataclasses import dataclass

from pellucid.gpt.config import GPTConfig
from pellucid.gpt.memory import FLOAT32


@dataclass(frozen=True, kw_only=True, slots=True)
class StateRecipe:
    """Bytes per parameter of the state of a training run.

    Attributes:
        name: as printed.
        weights, gradients, moments, master: bytes per parameter; `moments` are Adam's two, `master` a float32 copy of
            16-bit weights.
        precision: key of `gpt.memory.TERMS`.
    """

    name: str
    weights: int
    gradients: int
    moments: int
    master: int
    precision: str

    @property
    def per_parameter(self) -> int:
        """Bytes a parameter in all."""
        return self.weights + self.gradients + self.moments + self.master


STATES = (
    StateRecipe(name="float32", weights=4, gradients=4, moments=8, master=0, precision="float32"),
    StateRecipe(name="16-bit, float32 master", weights=2, gradients=2, moments=8, master=4, precision="16-bit"),
)

# Bits per number of a weight matrix. The quantized types keep a 16-bit scale for every 32 numbers, and the position
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
