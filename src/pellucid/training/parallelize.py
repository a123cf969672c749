"""The sharding plan: which tensor of the decoder is divided along which dimension, and the modules prepared for it.

B rows, T positions, C width, V vocabulary. Keyed by tensor names: `TENSOR_DIMENSIONS` is all that is known of a tensor. Along
`tp` the matrices of attention and MLP are divided by heads and by hidden units, the token matrix by tokens of the vocabulary;
between them each rank has a part of the positions (sequence parallelism). Along `dp` and `cp` every tensor is divided by its
rows (FSDP2), along `replicate` copied.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_module, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from pellucid.gpt.compressor import Compressor
from pellucid.gpt.decoder import Attention
from pellucid.gpt.pattern import Heads
from pellucid.training.distributed.stage import Stage, Stages
from pellucid.training.distributed.vocabulary import VocabularyParallelLoss
from pellucid.training.mesh import Mesh


# The dimension along which `tp` divides a tensor, by the end of its name; any other is whole on every rank.
TENSOR_DIMENSIONS = {
    "wte.weight": 0,
    "attn.c_attn.weight": 0, "attn.c_attn.bias": 0, "attn.c_proj.weight": 1,
    "mlp.c_fc.weight": 0, "mlp.c_fc.bias": 0, "mlp.c_proj.weight": 1,
    "attn.compressor.k_weight": 0, "attn.compressor.v_weight": 0, "attn.compressor.k_bias": 0, "attn.compressor.v_bias": 0,
    "attn.compressor.nothing_k": 0, "attn.compressor.nothing_v": 0,
}  # fmt: skip
SEQUENCE = Shard(1)  # of (B, T, C) between the divided matrices


def device_mesh(mesh: Mesh, device: torch.device) -> DeviceMesh:
    """The mesh of FSDP and tensor parallelism: `cp` shards parameters as `dp` does."""
    return init_device_mesh(
        device.type, (mesh.pp, mesh.replicate, mesh.dp * mesh.cp, mesh.tp), mesh_dim_names=("pp", "replicate", "shard", "tp")
    )


def parallelize(stages: Stages, mesh: Mesh, devices: DeviceMesh) -> None:
    """Divides the parameters of a rank's stages, on the meta device, and makes their forward passes exchange tensors."""
    for stage in stages:
        assert isinstance(stage, Stage)
        if mesh.tp > 1:
            divide_matrices(stage, devices["tp"])
        shards = devices["replicate", "shard"] if mesh.replicate > 1 else devices["shard"]
        # A stage of a pipeline runs many micro-batches between updates: gathering its blocks for each would cost more.
        settings: dict[str, Any] = {"mesh": shards, "reshard_after_forward": mesh.pp == 1}
        for block in stage.blocks():
            fully_shard(block, **settings)
        fully_shard(stage, **settings)
        assert isinstance(stage, FSDPModule)
        for module in stage.modules():
            if isinstance(module, FSDPModule):  # sums, not means: losses are divided by the targets of the whole batch
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)


def divide_matrices(stage: Stage, ranks: DeviceMesh) -> None:
    """Tensor and sequence parallelism of a stage."""
    for block in stage.blocks():
        divide_heads(block.attn, ranks.get_local_rank(), ranks.size())
    if stage.last:
        stage.sum_of_losses = VocabularyParallelLoss(ranks.get_group())
    styles: dict[str, ParallelStyle] = {}
    for name, _ in stage.named_modules():
        if style := _style(name):
            styles[name] = style
    parallelize_module(stage, ranks, styles)


def divide_heads(attn: Attention, rank: int, ranks: int) -> None:
    """Leaves a rank its share of the heads of a block, each with its own pattern."""
    attn.n_heads //= ranks
    if isinstance(attn.pattern, Heads):  # head h of the model has pattern h modulo their number
        every = attn.pattern.patterns
        first = rank * attn.n_heads % len(every)
        attn.pattern = Heads(every[first:] + every[:first])
    if attn.compressor is not None:
        attn.compressor = ShardedCompressor(attn.compressor, attn.n_heads)


def _style(name: str) -> ParallelStyle | None:
    """How a module's parameters are divided, and what it reads and writes: between modules each rank has some positions."""
    last = name.rpartition(".")[2]
    match TENSOR_DIMENSIONS.get(".".join(name.split(".")[-2:]) + ".weight", TENSOR_DIMENSIONS.get(f"{last}.weight")):
        case 0 if last == "wte":
            return RowwiseParallel(input_layouts=Replicate(), output_layouts=SEQUENCE)
        case 0:
            return ColwiseParallel(input_layouts=SEQUENCE)
        case 1:
            return RowwiseParallel(output_layouts=SEQUENCE)
    if last == "compressor":
        return _ByRows()
    if last == "wpe":
        return _PositionEmbedding()
    if last.startswith("ln_") or last in ("project_in", "project_out"):
        return SequenceParallel(use_local_output=True)
    return None


class _ByRows(ParallelStyle):
    """Parameters divided by their rows, which a module reads by itself (`ShardedCompressor`)."""

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        def divide(name: str, module: nn.Module, mesh: DeviceMesh) -> None:
            for key, parameter in module.named_parameters(recurse=False):
                module.register_parameter(key, nn.Parameter(distribute_tensor(parameter, mesh, [Shard(0)])))

        return distribute_module(module, device_mesh, divide)


class ShardedCompressor(Compressor):
    """A compressor of some of the heads: its parameters are divided tensors, of which it computes with the rank's part.

    Args:
        whole: of all heads, on the meta device. n_heads: of this rank.
    """

    def __init__(self, whole: Compressor, n_heads: int) -> None:
        nn.Module.__init__(self)
        self.pattern, self.n_heads = whole.pattern, n_heads
        for name, parameter in whole.named_parameters():
            self.register_parameter(name, parameter)

    def keys(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """As `Compressor.keys`, of this rank's heads."""
        k_weight, v_weight, k_bias, v_bias = map(_own, (self.k_weight, self.v_weight, self.k_bias, self.v_bias))
        return self._convolve(k, k_weight, k_bias), self._convolve(v, v_weight, v_bias)

    def null_key_value(self, rows: int) -> tuple[Tensor, Tensor]:
        """As `Compressor.null_key_value`, of this rank's heads."""
        return self._as_key(_own(self.nothing_k), rows), self._as_key(_own(self.nothing_v), rows)


def _own(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


class _PositionEmbedding(ParallelStyle):
    """The whole position matrix on each rank, read at its own part of the positions: (B, T) ids -> (B, T / tp, C)."""

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        def read(module: nn.Module, inputs: tuple[Tensor, ...], mesh: DeviceMesh) -> DTensor:
            return DTensor.from_local(inputs[0], mesh, [Replicate()], run_check=False).redistribute(mesh, [SEQUENCE])

        def write(module: nn.Module, output: DTensor, mesh: DeviceMesh) -> Tensor:
            return output.to_local()

        return distribute_module(module, device_mesh, None, read, write)
