"""Models as `transformers` makes them, read here: the same numbers, the same tokens."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hugging_face import MODELS, N_CTX, Pair, ids_of, published, their_greedy

import pellucid
from pellucid.runtime.runner import TokenSpan
from pellucid.runtime.torch_runner import TorchRunner


# Float32 through three or four blocks, logits of 10 to 20: sums in another order move them by 1e-5 at most (seen: 8e-6).
CLOSE = {"rtol": 0.0, "atol": 1e-4}
PROMPTS = [ids_of(length) for length in (1, 5, 17, 30)]


@pytest.fixture(scope="module", params=MODELS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    path = tmp_path_factory.mktemp("published") / request.param
    theirs = published(request.param, path)
    return Pair(theirs, pellucid.load(path), path)


def test_logits_are_theirs(pair: Pair) -> None:
    ids = torch.tensor([ids_of(N_CTX, seed) for seed in range(3)])
    torch.testing.assert_close(pair.mine(ids), pair.theirs(ids).logits, **CLOSE)


def test_every_parameter_is_counted(pair: Pair) -> None:
    config = pair.mine.config
    unused = 2 * config.d_model if config.activation == "relu" else 0  # OPT's positions begin in row 2 of their matrix
    assert config.parameters() == sum(p.numel() for p in pair.theirs.parameters()) - unused
    assert config.parameters() == sum(p.numel() for p in pair.mine.parameters())
    named = {key.removesuffix(".weight"): p.numel() for key, p in pair.mine.named_parameters() if p.dim() == 2}
    assert named == {key: a * b for key, (a, b) in config.matrices()}
    matmul = sum(a * b for key, (a, b) in config.matrices() if key != "wpe")
    pairs = sum(p.pairs(N_CTX) for p in config.pattern)
    assert config.flops(N_CTX) == 2 * N_CTX * matmul + 4 * config.d_model * pairs


@pytest.mark.parametrize("cache", [True, False])
def test_greedy_tokens_are_theirs_in_a_batch_padded_on_the_left(pair: Pair, cache: bool) -> None:
    written = pair.mine.generate(PROMPTS, max_tokens=18, temperature=0)
    assert [done.ids for done in written] == their_greedy(pair.theirs, PROMPTS, 18, cache=cache)


def test_a_batch_padded_on_the_right_has_the_logits_of_each_row_alone(pair: Pair) -> None:
    longest = max(map(len, PROMPTS))
    ids = torch.tensor([p + [1] * (longest - len(p)) for p in PROMPTS])
    mask = torch.tensor([[1] * len(p) + [0] * (longest - len(p)) for p in PROMPTS])
    logits = pair.theirs(ids, attention_mask=mask).logits
    for prompt, row in zip(PROMPTS, logits, strict=True):
        torch.testing.assert_close(pair.mine(torch.tensor([prompt]))[0], row[: len(prompt)], **CLOSE)


def test_a_batch_padded_on_the_left_has_the_logits_of_each_row_alone(pair: Pair) -> None:
    longest = max(map(len, PROMPTS))
    ids = torch.tensor([[1] * (longest - len(p)) + p for p in PROMPTS])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in PROMPTS])
    # OPT takes positions from the mask by itself; the others are told them, as their own `generate` does.
    positions = {} if pair.mine.config.activation == "relu" else {"position_ids": (mask.cumsum(1) - 1).clamp_min(0)}
    logits = pair.theirs(ids, attention_mask=mask, **positions).logits
    for prompt, row in zip(PROMPTS, logits, strict=True):
        torch.testing.assert_close(pair.mine(torch.tensor([prompt]))[0], row[longest - len(prompt) :], **CLOSE)


def test_cached_is_uncached_and_batched_is_alone(pair: Pair) -> None:
    ids, runner = ids_of(N_CTX, 7), TorchRunner(pair.mine)
    sequence = runner.open(N_CTX)
    edges = (0, 20, 21, 40, N_CTX)
    parts = [runner.run([TokenSpan(sequence, a, ids[a:b], "all")])[0] for a, b in pairwise(edges)]
    torch.testing.assert_close(torch.from_numpy(np.concatenate(parts)), pair.mine(torch.tensor([ids]))[0], **CLOSE)


def test_saved_here_it_is_the_same_model(pair: Pair, tmp_path: Path) -> None:
    pair.mine.save(tmp_path)
    again = pellucid.load(tmp_path)
    assert again.config == pair.mine.config
    for p, q in zip(pair.mine.parameters(), again.parameters(), strict=True):
        assert torch.equal(p, q)


def test_training_goes_on_from_it(pair: Pair) -> None:
    """Every parameter learns, and the token matrix, through which all gradients pass twice, learns what theirs would."""
    ids = torch.tensor([ids_of(20, 3), ids_of(20, 4)])
    mine = pair.mine.copy().requires_grad_(True)
    mine(ids[:, :-1], ids[:, 1:]).backward()
    embedding = pair.theirs.requires_grad_(True).get_input_embeddings().weight
    (expected,) = torch.autograd.grad(pair.theirs(ids, labels=ids).loss, embedding)
    pair.theirs.requires_grad_(False)
    torch.testing.assert_close(mine.wte.weight.grad, expected, rtol=1e-3, atol=1e-4)
    assert all(p.grad is not None for p in mine.parameters())


def test_a_lens_of_the_last_level_is_what_the_model_says(pair: Pair, tmp_path: Path) -> None:
    record = pellucid.xray(pair.mine, ids_of(6), max_tokens=5, seed=1, keep=("block_inputs", "lens", "attention"))
    report = pellucid.verify(record, pair.mine)
    assert report.ok, str(report)
