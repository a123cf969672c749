"""What a machine's products are timed by: the run's own shapes, a bounded time, and each shape at its quickest."""

import pytest
import torch

from pellucid.gpt.config import GPTConfig
from pellucid.planning.measure import measure
from pellucid.training import matmul_rate
from pellucid.training.matmul_rate import TIMED_OPERATIONS, block_products, matmul_flops_per_s, time_products


def test_the_products_timed_are_those_of_a_block() -> None:
    assert block_products(GPTConfig.preset("cpu-2m"), 512) == [
        (512, 192, 576), (512, 192, 192), (512, 192, 768), (512, 768, 192),
    ]  # fmt: skip
    compressed = GPTConfig(vocab_size=30, n_ctx=12, n_layers=1, d_model=16, n_heads=2, pattern=("compressed(3,3)",))
    assert len(block_products(compressed, 12)) == 4


@pytest.mark.parametrize("name", ["tiny", "cpu-30m", "gpt2-xl", "gpt3-175b"])
def test_however_large_a_block_its_products_are_quickly_timed(name: str) -> None:
    shapes = block_products(GPTConfig.preset(name), 4096)
    operations = sum(2 * m * k * n for m, k, n in shapes)
    assert operations <= TIMED_OPERATIONS or {m for m, _, _ in shapes} == {1}
    assert min(shapes)[0] >= 1


def test_each_shape_counts_at_its_quickest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul_rate, "time_products", lambda *_, **__: [[2.0, 1.0], [4.0, 5.0]])
    assert matmul_flops_per_s(torch.float32, [(2, 3, 5), (7, 3, 5)]) == (2 * 2 * 3 * 5 + 2 * 7 * 3 * 5) / (1 + 4)


def test_the_plan_s_measurement_is_the_same_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def three(dtype: torch.dtype, shapes: list[tuple[int, int, int]], *, seconds: float, least: int) -> list[list[float]]:
        assert shapes == [(1024, 1024, 1024)] and least == 3
        return [[0.5, 0.25, 2.0]]

    monkeypatch.setattr(matmul_rate, "time_products", three)
    found = measure(seconds=0.0)
    assert (found.flops, found.times) == (2 * 1024**3 / 0.5, 3)


def test_the_first_timing_is_left_out() -> None:
    assert [len(times) for times in time_products(torch.float32, [(2, 2, 2), (3, 2, 2)], seconds=0.0, minimum=3)] == [3, 3]
