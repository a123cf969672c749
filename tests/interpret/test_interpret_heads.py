"""Known heads: their scores against plain loops, and constructed heads that must get their names and no other."""

import dataclasses

import pytest
import torch
from models import lively
from torch import Tensor

import pellucid
from pellucid.errors import PellucidError
from pellucid.gpt.attention import visible_mask
from pellucid.interpret import heads
from pellucid.interpret.heads import KINDS, head_scores


N = 7
CONFIG = pellucid.GPTConfig(vocab_size=61, n_ctx=32, n_layers=2, d_model=24, n_heads=3, pattern=("dense", "banded(6)"))


def test_scores_are_the_means_of_weights() -> None:
    model = lively(pellucid.GPT(CONFIG, seed=2))
    found = head_scores(model, length=N, sequences=2, seed=3)
    drawn = [heads._repeated(model, N, heads.mix(3, number)) for number in range(2)]
    assert all((ids[0, :N] == ids[0, N:]).all() and ids.max() < 61 for ids in drawn) and not torch.equal(*drawn)
    seen: dict[tuple[int, int, str], list[float]] = {}
    losses: tuple[list[float], list[float]] = ([], [])
    with torch.no_grad():
        for ids in drawn:
            logprobs = model(ids)[0].log_softmax(-1)
            for place in range(2 * N - 1):
                if place != N - 1:  # the first token of the second half is told by nothing
                    losses[place >= N].append(-logprobs[place, ids[0, place + 1]].item())
            x = model.wte(ids) + model.wpe(torch.arange(2 * N))
            for block, module in enumerate(model.h):
                q, k, _ = (t.view(2 * N, 3, 8) for t in module.attn.c_attn(module.ln_1(x))[0].split(24, -1))
                mask = visible_mask(CONFIG.pattern[block], 2 * N, 2 * N)
                for head in range(3):
                    weights = (q[:, head] @ k[:, head].T / 8**0.5).masked_fill(~mask, -torch.inf).softmax(-1)
                    for i in range(1, 2 * N):
                        seen.setdefault((block, head, "previous_token"), []).append(weights[i, i - 1].item())
                        if i >= N:
                            seen.setdefault((block, head, "duplicate_token"), []).append(weights[i, i - N].item())
                            seen.setdefault((block, head, "induction"), []).append(weights[i, i - N + 1].item())
                x = module(x)
    scores = {(one.block, one.head, one.kind): one.score for one in found.scores}
    # The band of 6 sees the token before, and not 6 or 7 back.
    assert set(scores) == {
        (b, h, kind) for b in (0, 1) for h in range(3) for kind in KINDS if b == 0 or kind == "previous_token"
    }
    for key, score in scores.items():
        assert score == pytest.approx(sum(seen[key]) / len(seen[key]), abs=1e-5)
    assert found.loss_first == pytest.approx(sum(losses[0]) / len(losses[0]), abs=1e-4)
    assert found.loss_second == pytest.approx(sum(losses[1]) / len(losses[1]), abs=1e-4)
    assert found.highest("induction").block == 0


def test_constructed_heads_get_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def constructed(q: Tensor, k: Tensor, *_: object) -> Tensor:
        """Head 0 attends to the token before, 1 to the same token before, 2 to the token after that one; else to itself."""
        weights = torch.zeros(3, 2 * N, 2 * N)
        for i in range(2 * N):
            for head, key in enumerate((i - 1, i - N, i - N + 1)):
                weights[head, i, key if 0 <= key < i else i] = 1
        return weights

    monkeypatch.setattr(heads, "attention_weights", constructed)
    found = head_scores(pellucid.GPT(dataclasses.replace(CONFIG, n_layers=1, pattern=("dense",)), seed=1), length=N)
    assert [(one.kind, one.head, round(one.score, 5)) for one in found.named()] == [
        (kind, head, 1) for head, kind in enumerate(KINDS)
    ]
    monkeypatch.setattr(heads, "attention_weights", lambda q, k, *_: torch.ones(3, 2 * N, 2 * N).tril().softmax(-1))
    assert head_scores(pellucid.GPT(CONFIG, seed=1), length=N).named() == []


def test_what_cannot_be_scored_is_said() -> None:
    short = pellucid.GPT(pellucid.GPTConfig(vocab_size=11, n_ctx=3, n_layers=1, d_model=8, n_heads=1))
    with pytest.raises(PellucidError, match="holds no sequence twice"):
        head_scores(short)
    with pytest.raises(PellucidError, match="no head sees far enough for induction"):
        head_scores(pellucid.GPT(dataclasses.replace(CONFIG, pattern=("banded(4)",) * 2)), length=N).highest("induction")
