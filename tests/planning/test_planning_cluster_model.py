"""Plans of clusters against the real model: what each rank of a fake world holds, on the meta device, to the byte."""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest
import torch
import torch.distributed as dist
from cases import TIMES
from torch.distributed.tensor import DTensor

from pellucid.gpt.config import GPTConfig
from pellucid.gpt.costs import parameter_shapes
from pellucid.gpt.pattern import Compressed, Dense
from pellucid.planning.cluster.layout import Layout
from pellucid.planning.cluster.memory import rank_memory
from pellucid.planning.cluster.model import Model
from pellucid.planning.cluster.shards import held
from pellucid.runs.recipe import Recipe
from pellucid.training.distributed.stage import Stage, Stages
from pellucid.training.mesh import Mesh
from pellucid.training.optimizers import make_optimizer
from pellucid.training.parallelize import device_mesh, parallelize


@contextmanager
def fake_world(size: int, rank: int) -> Iterator[None]:
    """This process as one rank of many: collectives return at once, without the others."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", rank=rank, world_size=size, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()


def stages_of_rank(config: GPTConfig, layout: Layout, rank: int) -> Stages:
    """The stages of a rank, divided by training's own code, on the meta device."""
    mesh = layout.mesh
    place = mesh.coordinates(rank)["pp"]
    own = [layout.blocks_of(stage, config.n_layers) for stage in range(place, layout.stages, mesh.pp)]
    stages = Stages(Stage(config, blocks) for blocks in own)
    parallelize(stages, mesh, device_mesh(mesh, torch.device("cpu")))
    return stages


def local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def shown_bytes(stages: Stages) -> tuple[int, int, int]:
    """Bytes of parameters, gradients and AdamW's moments on this rank, each read from the tensor that is there."""
    recipe = Recipe(total_tokens=1, learning_rate=1e-3, warmup_tokens=0, decay_tokens=1)
    optimizer = make_optimizer(stages, recipe, settings={"foreach": False, "fused": False})
    for parameter in stages.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    moments = [state[key] for state in optimizer.state.values() for key in ("exp_avg", "exp_avg_sq")]
    parameters = list(stages.parameters())
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    one, two, three = (sum(local(t).numel() * t.element_size() for t in all_of) for all_of in (parameters, gradients, moments))
    return one, two, three


def planned_bytes(config: GPTConfig, layout: Layout, rank: int) -> tuple[int, int, int]:
    """The same by the plan's formulas, for any rank."""
    mesh, place = layout.mesh, layout.mesh.coordinates(rank)
    own = {b for s in range(place["pp"], layout.stages, mesh.pp) for b in layout.blocks_of(s, config.n_layers)}
    shapes = []
    for name, shape in parameter_shapes(config):
        outside = not name.startswith("h.")
        first = place["pp"] == 0 and not name.startswith(("ln_f", "project_out"))
        last = place["pp"] == mesh.pp - 1 and name.startswith(("ln_f", "project_out", "wte"))
        if (outside and (first or last)) or (not outside and int(name.split(".")[1]) in own):
            shapes.append((name, shape))
    numbers = held(shapes, mesh.tp, layout.shard_ranks, tp_rank=place["tp"], rank=place["dp"] * mesh.cp + place["cp"]).shard
    return 4 * numbers, 4 * numbers, 8 * numbers


def drawn_case(seed: int) -> tuple[GPTConfig, Layout]:
    draw = Random(seed)
    heads, layers = draw.choice([2, 4, 6]), draw.choice([2, 4])
    config = GPTConfig(
        vocab_size=draw.randint(31, 400), n_ctx=48, n_layers=layers, n_heads=heads, d_model=heads * 6,
        pattern=draw.choice([(), (Dense(),) * 4, (Compressed(3, 3),) * 4])[:layers], d_embed=draw.choice([0, 10]),
        final_norm=draw.random() < 0.8, qkv_bias=draw.random() < 0.8,
    )  # fmt: skip
    mesh = Mesh(
        pp=draw.choice([1, 2]), replicate=draw.choice([1, 2]), dp=draw.choice([1, 2, 3]), cp=draw.choice([1, 2]),
        tp=draw.choice([1, 2]),
    )  # fmt: skip
    chunks = draw.choice([1, 2]) if mesh.pp == 2 and config.n_layers == 4 else 1
    layout = Layout(
        mesh=mesh, shard="parameters" if mesh.dp * mesh.cp > 1 else "none", schedule="interleaved" if chunks > 1 else "1f1b",
        chunks=chunks, micro_batch=1, micro_batches=2, recompute="none",
    )  # fmt: skip
    return config, layout


@pytest.mark.parametrize("seed", [3, 7, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(10, 22 * TIMES))])
def test_each_rank_holds_what_is_planned(seed: int) -> None:
    config, layout = drawn_case(seed)
    mesh, most = layout.mesh, (0, 0, 0)
    ranks = sorted({0, mesh.size - 1, Random(seed).randrange(mesh.size)})
    for rank in ranks:
        with fake_world(mesh.size, rank):
            found = shown_bytes(stages_of_rank(config, layout, rank))
        assert found == planned_bytes(config, layout, rank)
        most = max(most, found)
    # The plan's rank is the one with the most.
    memory = rank_memory(Model(config, 48, 4), layout, 0)
    assert (memory.parameters, memory.gradients, memory.optimizer) == planned_bytes(config, layout, 0)
    assert most <= max(planned_bytes(config, layout, 0), planned_bytes(config, layout, mesh.size // mesh.pp * (mesh.pp - 1)))


def test_gpt3_175b_over_1024_ranks_is_the_plan_to_the_byte() -> None:
    config = GPTConfig.preset("gpt3-175b")
    layout = Layout(
        mesh=Mesh(pp=8, dp=16, tp=8), shard="optimizer", schedule="1f1b", chunks=1, micro_batch=1, micro_batches=96,
        recompute="none",
    )  # fmt: skip
    for rank in (0, 1023):
        with fake_world(1024, rank):
            stages = stages_of_rank(config, layout, rank)
            found = sum(local(parameter).numel() for parameter in stages.parameters())
        assert (4 * found, 4 * found, 8 * found) == planned_bytes(config, layout, rank)
    memory = rank_memory(Model(config, 2048, 2), layout, 0)
    assert memory.optimizer == planned_bytes(config, layout, 0)[2]
