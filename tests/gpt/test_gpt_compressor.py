"""Memory-compressed blocks: their parameters, and the convolution that makes their keys."""

from pathlib import Path

import torch
from models import PATTERN_SETS, perturbed

from pellucid.gpt.config_json import read_config
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.directory import load_weights, save_model
from pellucid.gpt.pattern import Compressed


def ids_of(seed: int) -> torch.Tensor:
    return torch.randint(0, 61, (2, 20), generator=torch.Generator().manual_seed(seed))


def test_a_compressed_model_has_the_parameters_and_matrices_that_its_config_counts(tmp_path: Path) -> None:
    model = perturbed(PATTERN_SETS["LMLML"]).float()
    assert sum(p.numel() for p in model.parameters()) == model.config.parameters()
    named = {key.removesuffix(".weight"): p.numel() for key, p in model.named_parameters() if p.dim() == 2}
    assert named == {key: a * b for key, (a, b) in model.config.matrices()}
    save_model(model, tmp_path)
    back = Decoder(read_config(tmp_path))
    load_weights(back, tmp_path)
    assert back.config == model.config
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), back.parameters(), strict=True))


def test_a_compressed_key_is_a_convolution_within_its_head_and_learns() -> None:
    """Written out for one channel; then a step's gradient reaches every new parameter."""
    model = perturbed((Compressed(3, 3),))
    compressor = model.compressor(0)
    k, v = torch.randn(2, 1, 4, 10, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    keys, values = compressor(k, v)
    assert keys.shape == (1, 4, 1 + 3, 6)
    weight = compressor.k_weight.view(4, 6, 6, 3)  # head, channel out, channel in, position
    expected = sum(weight[2, 5, c, t] * k[0, 2, 3 + t, c] for c in range(6) for t in range(3)) + compressor.k_bias[2 * 6 + 5]
    torch.testing.assert_close(keys[0, 2, 2, 5], expected)
    assert torch.equal(values[0, :, 0].flatten(), compressor.nothing_v)
    model(ids_of(3), ids_of(4)).backward()
    # A key's bias moves all scores of a query but that of nothing, so even it matters.
    assert all(p.grad is not None and bool(p.grad.abs().max() > 0) for p in compressor.parameters())


def test_the_first_weights_of_a_compressed_block() -> None:
    model = Decoder(perturbed((Compressed(3, 3),)).config.replace(d_model=96), seed=3)
    for name, parameter in model.compressor(0).named_parameters():
        assert abs(parameter.std().item() - (0.02 if name.endswith("weight") else 0.0)) < 0.001
