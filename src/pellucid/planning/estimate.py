"""`Estimate`: parameters, operations, memory, time and cost of a model, as one object and as plain values for JSON."""

import math
import re
from dataclasses import asdict, dataclass
from typing import Any

from pellucid.errors import PellucidError
from pellucid.gpt.arrangements import all_dense
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.memory import activation_bytes
from pellucid.gpt.published import FLOPS_PER_PARAMETER_AND_TOKEN, PF_DAY, PUBLISHED
from pellucid.planning.devices import DeviceSpec, TimeAndCost, devices_for, duration, published_claim
from pellucid.planning.memory import MATRIX_BITS, STATES, state_bytes, weight_bytes
from pellucid.planning.source import PlannedModel, planned_model


KV_VALUE = 2  # bytes of a cached key or value: 16 bits


@dataclass(frozen=True, kw_only=True, slots=True)
class MatrixGroup:
    """Weight matrices of one name and shape, those of all blocks counted together (`h.*`)."""

    name: str
    shape: tuple[int, int]
    count: int

    @property
    def parameters(self) -> int:
        """Numbers in all of them."""
        return self.shape[0] * self.shape[1] * self.count


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingMemory:
    """Bytes to train with one recipe: the state, and the activations of one micro-batch, kept or recomputed."""

    recipe: str
    bytes_per_parameter: int
    state: int
    activations: int
    activations_recomputed: int
    devices: int | None
    devices_recomputed: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class InferenceMemory:
    """Bytes to generate with weights of one dtype, beside the 16-bit cache of every sequence at full context."""

    dtype: str
    weights: int
    cache: int
    devices: int | None


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The resources that training and generating with one config take.

    Attributes:
        tokens: of training. context: positions of a sequence. batch: sequences at once, for activations and caches.
        device, count, utilisation: what it would run on, how many, and the share of their rate that is reached.
    """

    planned: PlannedModel
    tokens: int
    tokens_reason: str
    context: int
    batch: int
    device: DeviceSpec | None
    count: int
    utilisation: float

    @property
    def config(self) -> GPTConfig:
        """The model's config."""
        return self.planned.config

    def matrices(self) -> list[MatrixGroup]:
        """The weight matrices, blocks folded together."""
        folded: dict[tuple[str, tuple[int, int]], int] = {}
        for name, shape in self.config.matrices():
            key = re.sub(r"^h\.\d+\.", "h.*.", name), shape
            folded[key] = folded.get(key, 0) + 1
        return [MatrixGroup(name=name, shape=shape, count=count) for (name, shape), count in folded.items()]

    @property
    def matrices_qkv_apart(self) -> int:
        """Matrices in all when a block's queries, keys and values are counted as three."""
        return len(self.config.matrices()) + 2 * self.config.n_layers

    @property
    def vectors(self) -> int:
        """Numbers in biases and LayerNorms."""
        return self.config.parameters() - sum(matrix.parameters for matrix in self.matrices())

    @property
    def embeddings(self) -> int:
        """Numbers in the token and position matrices."""
        return sum(matrix.parameters for matrix in self.matrices() if matrix.name in ("wte", "wpe"))

    @property
    def flops_training(self) -> int:
        """The paper's count, 6 N D: six operations a parameter and token, attention left out (appendix D)."""
        return FLOPS_PER_PARAMETER_AND_TOKEN * self.config.parameters() * self.tokens

    @property
    def flops_exact(self) -> int:
        """Every matrix product, attention by each block's pattern: the forward pass, and twice that backward."""
        return 3 * self.config.flops(self.tokens, self.context)

    @property
    def attention_share(self) -> float:
        """The share of `flops_exact` that is scores and weighted sums of values rather than weight matrices."""
        # Positions are only added, and a compressor's convolution is part of its block's attention.
        of_tokens = [one for one in self.matrices() if one.name != "wpe" and ".compressor." not in one.name]
        weights = sum(matrix.parameters for matrix in of_tokens)
        return 1 - 2 * self.tokens * weights / self.config.flops(self.tokens, self.context)

    @property
    def pf_days(self) -> float:
        """`flops_training` in petaflop/s-days."""
        return self.flops_training / PF_DAY

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of keys and values a token, 16-bit, every block counted as dense."""
        return self.config.replace(pattern=all_dense(self.config.n_layers)).kv_bytes(1, bytes_per_value=KV_VALUE)

    @property
    def kv_bytes_dense(self) -> int:
        """Bytes of keys and values of a sequence of `context` tokens, all positions of all blocks: what our runners hold."""
        return self.kv_bytes_per_token * self.context

    @property
    def kv_bytes(self) -> int:
        """The same of an evicting cache, which holds what a later query can read by each block's pattern."""
        return self.config.kv_bytes(self.context, bytes_per_value=KV_VALUE)

    def train_memory(self) -> list[TrainingMemory]:
        """Memory to train, a row a recipe."""
        rows = []
        for recipe in STATES:
            state = state_bytes(self.config, recipe)
            kept, less = (
                activation_bytes(self.config, self.batch, recipe.precision, positions=self.context, recompute=recompute)
                for recompute in (False, True)
            )
            rows.append(TrainingMemory(
                recipe=recipe.name, bytes_per_parameter=recipe.per_parameter, state=state,
                activations=kept, activations_recomputed=less,
                devices=self._devices(state + kept), devices_recomputed=self._devices(state + less),
            ))  # fmt: skip
        return rows

    def run_memory(self) -> list[InferenceMemory]:
        """Memory to generate, a row a dtype of the weights."""
        cache = self.batch * self.kv_bytes
        rows = []
        for dtype in MATRIX_BITS:
            weights = weight_bytes(self.config, dtype)
            rows.append(InferenceMemory(dtype=dtype, weights=weights, cache=cache, devices=self._devices(weights + cache)))
        return rows

    def _devices(self, need: int) -> int | None:
        return None if self.device is None else devices_for(need, self.device)

    def durations(self) -> dict[str, TimeAndCost]:
        """Time on the devices by the paper's count and by the exact one; empty where no rate is known."""
        if self.device is None or self.device.flops is None:
            return {}
        counts = {"flops_training": self.flops_training, "flops_exact": self.flops_exact}
        return {
            name: duration(flops, self.device, count=self.count, utilisation=self.utilisation) for name, flops in counts.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; bytes, seconds, dollars."""
        config, published = self.config, self.planned.published
        return {
            "model": self.planned.name,
            "config": config.to_dict(),
            "parameters": config.parameters(),
            "per_block": config.block_parameters(),
            "matrices": len(config.matrices()),
            "matrices_qkv_apart": self.matrices_qkv_apart,
            "matrix_table": [asdict(m) | {"parameters": m.parameters} for m in self.matrices()],
            "vectors": self.vectors,
            "embeddings": self.embeddings,
            "tokens": self.tokens,
            "context": self.context,
            "batch": self.batch,
            "flops_training": self.flops_training,
            "pf_days": self.pf_days,
            "flops_exact": self.flops_exact,
            "attention_share": self.attention_share,
            "kv_bytes_per_token": self.kv_bytes_per_token,
            "kv_bytes_sequence_dense": self.kv_bytes_dense,
            "kv_bytes_sequence": self.kv_bytes,
            "batch_tokens": self.planned.batch_tokens,
            "learning_rate": self.planned.learning_rate,
            "train_memory": [asdict(row) for row in self.train_memory()],
            "run_memory": [asdict(row) for row in self.run_memory()],
            "device": asdict(self.device) if self.device else None,
            "devices": self.count,
            "utilisation": self.utilisation,
            "time": {name: asdict(took) for name, took in self.durations().items()},
            "published": asdict(published) if published else None,
            "published_claim": [asdict(c) for c in published_claim()] if self.planned.name == "gpt3-175b" else None,
        }


def estimate(
    planned: PlannedModel,
    *,
    tokens: int | None = None,
    context: int | None = None,
    batch: int = 1,
    device: DeviceSpec | None = None,
    count: int = 1,
    utilisation: float = 1.0,
) -> Estimate:
    """Estimates what training and generating with a config take.

    Args:
        tokens: to train on; default: `planned`'s own number.
        context: positions of a sequence; default: n_ctx.
        batch: sequences at once, for activations and caches.
        device, count: the accelerator (`devices.device_spec`) and how many of them.
        utilisation: the share of the devices' rate that is reached, above 0 and at most 1.

    Raises:
        PellucidError: a number out of range; the message names it.
    """
    for name, value in (("tokens", tokens), ("context", context), ("batch", batch), ("devices", count)):
        if value is not None and value < 1:
            raise PellucidError(f"{name} must be at least 1, not {value}")
    n_ctx = planned.config.n_ctx
    if context is not None and context > n_ctx:
        raise PellucidError(f"context {context} is longer than the model's {n_ctx} positions: give at most {n_ctx}")
    if not (math.isfinite(utilisation) and 0 < utilisation <= 1):
        raise PellucidError(f"utilisation is a share of the device's rate, above 0 and at most 1, not {utilisation}")
    return Estimate(
        planned=planned, tokens=planned.tokens if tokens is None else tokens,
        tokens_reason=planned.tokens_reason if tokens is None else "given",
        context=n_ctx if context is None else context, batch=batch, device=device, count=count, utilisation=utilisation,
    )  # fmt: skip


def published_sizes() -> list[Estimate]:
    """The eight sizes of GPT-3, each as trained: 300 billion tokens of full sequences."""
    return [estimate(planned_model(name)) for name in PUBLISHED]
