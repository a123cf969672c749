"""X-rays of models with every pattern: attention weights and cache_cells are those of the definition, and verify agrees."""

import numpy as np
import torch
from models import PATTERN_SETS as MODELS

import pellucid
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.pattern import Compressed
from pellucid.interpret.formulas import attention_weights


def test_records_of_every_pattern_verify() -> None:
    for name in ("all", "heads"):
        config = GPTConfig(vocab_size=300, n_ctx=40, n_layers=len(MODELS[name]), d_model=24, n_heads=4, pattern=MODELS[name])
        model = pellucid.GPT(config, seed=1).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
        record = pellucid.xray(model, list(range(9)), max_tokens=20, temperature=0.9, seed=3)
        report = record.verify(model)
        assert report.ok, report
        cache_cells = record["generation/cells"]  # (S, L, T)
        for block, pattern in enumerate(config.pattern):
            for step in range(len(cache_cells)):
                newest = 8 + step
                for track in range(newest):
                    later = any(pattern.visible(q, track) for q in range(newest, newest + 60))
                    if not isinstance(pattern, Compressed) and track < (9 if step == 0 else newest) and step > 0:
                        assert (cache_cells[step, block, track] == 2) == later


def test_weights_of_a_compressed_block_stand_on_the_last_position_of_their_key() -> None:
    config = GPTConfig(vocab_size=50, n_ctx=20, n_layers=1, d_model=8, n_heads=2, pattern=(Compressed(3, 3),))
    model = pellucid.GPT(config, seed=1).eval()
    compressor = model.compressor(0)
    q, k = torch.randn(2, 2, 11, 4, generator=torch.Generator().manual_seed(5))
    weights = attention_weights(q, k, config.pattern[0], compressor)
    keys, _ = compressor(k[None], k[None])
    for query in range(11):
        finished = (query + 1) // 3
        expected = (keys[0, :, : 1 + finished] @ q[:, query, :, None]).squeeze(-1).div(2.0).softmax(-1)  # (H, 1 + finished)
        row = weights[:, query]
        np.testing.assert_allclose(row[:, 2 : 3 * finished : 3].detach(), expected[:, 1:].detach(), atol=1e-6)
        np.testing.assert_allclose(row.sum(-1).detach(), 1 - expected[:, 0].detach(), atol=1e-6)
