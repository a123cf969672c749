"""The formulas of a generation record's derived numbers: attention weights, logit lens, cache states, step distributions.

T positions, A of them with a token after them, C width, H heads, D head width, L blocks, V vocabulary, S steps, K candidates of
a step, J of the lens.

Computed in float32 (draws in float64, as sampling does), whatever the model's dtype.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pellucid.engine.options import SamplingOptions
from pellucid.engine.sampling import adjusted, candidates, largest, log_softmax
from pellucid.gpt.attention import visible_mask
from pellucid.gpt.compressor import Compressor
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.pattern import Compressed, Pattern
from pellucid.gpt.sparse import LOWEST
from pellucid.interpret.vectors import read_out, read_out_source
from pellucid.runtime import draw_arithmetic


_POSITIONS_AT_ONCE = 64  # of logits: 13 MB for GPT-3's vocabulary

NOT_YET, COMPUTED, CACHED, DROPPED = range(4)  # as the schema says of generation/cells


def attention_weights(q: Tensor, k: Tensor, pattern: Pattern, compressor: Compressor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(D) where the pattern sees): Vaswani et al. 2017 (arXiv 1706.03762), section 3.2.1, masked.

    The fused kernels that the model runs on never materialize these numbers. They are computed from the same queries and keys
    by the definition that those kernels are tested against (`gpt.attention.masked_attention`), and agree up to rounding.

    Args:
        q: (H, Q, D), of the newest Q positions. k: (H, T, D), of all positions from the first.
        compressor: the block's own, where its pattern is compressed. The weight of a key made of several positions stands at
            the last of them; the rest of a row's sum of 1 is the weight of the empty key.

    Returns:
        (H, Q, T) float32, query by key.
    """
    mask = visible_mask(pattern, q.shape[-2], k.shape[-2], q.device, heads=len(q))
    empty = torch.full((*q.shape[:2], 1), LOWEST, device=q.device)  # the score of a key that is masked everywhere
    if isinstance(pattern, Compressed):
        assert compressor is not None
        made, _ = compressor.keys(k[None].to(compressor.k_weight.dtype), k[None].to(compressor.k_weight.dtype))
        ends = torch.arange(made.shape[2], device=k.device) * pattern.stride + pattern.kernel - 1
        k = torch.zeros_like(k, dtype=torch.float32).index_copy(1, ends, made[0].float())
        empty = (q.float() @ compressor.null_key_value(1)[0][0].float().transpose(-2, -1)) / math.sqrt(q.shape[-1])
    scores = (q.float() @ k.float().transpose(-2, -1)) / math.sqrt(q.shape[-1])
    return torch.cat((scores.masked_fill(~mask, -math.inf), empty), -1).softmax(-1)[..., :-1]


def lens_logits(model: Decoder, stream: Tensor) -> Iterator[Tensor]:
    """The logit lens: LayerNorm_f(x) W_te^T for the residual stream x at any level, some positions at a time.

    The next-token distribution if the blocks above changed nothing (nostalgebraist 2020, "interpreting GPT: the logit lens");
    at the last level, the model's own. The raw lens is biased at low levels (Belrose et al. 2023, arXiv 2303.08112);
    nothing is fitted here.

    Args:
        stream: (T, C).

    Yields:
        (t, V) float32.
    """
    matrix = model.wte.weight.float()
    for part in torch.split(read_out(model, stream), _POSITIONS_AT_ONCE):
        yield F.linear(part, matrix)


def lens_source(model: Decoder) -> dict[str, Any]:
    """The `source` of a lens chunk: the tensors by name, and the formula as text."""
    tensors, formula = read_out_source(model)
    return {"tensors": [*tensors, "wte.weight"], "formula": f"log_softmax({formula} wte^T)"}


def block_input_source(config: GPTConfig, level: int) -> dict[str, Any]:
    """The `source` of a chunk of block inputs; the last level is the last block's output."""
    return {"input_of": f"h.{level}"} if level < config.n_layers else {"output_of": f"h.{level - 1}"}


def attention_source(config: GPTConfig, block: int) -> dict[str, Any]:
    """The `source` of a chunk of attention weights: the block, its pattern, and the formula as text."""
    formula = "softmax(q k^T / sqrt(d_head))" if config.attention_scale else "softmax(q k^T)"
    return {"tensor": f"h.{block}.attn", "pattern": str(config.pattern[block]), "formula": formula}


@dataclass(frozen=True, slots=True)
class LensLevel:
    """The logit lens at one level.

    Attributes:
        ids, logprobs: (T, J) the likeliest next tokens, likeliest first, and their log-probabilities in nats.
        next_ranks: (A,) how many tokens are likelier than the one that follows. next_logprobs: (A,) its log-probability.
    """

    ids: Tensor
    logprobs: Tensor
    next_ranks: Tensor
    next_logprobs: Tensor


def lens(model: Decoder, stream: Tensor, count: int, following: Tensor) -> LensLevel:
    """The logit lens at one level.

    Args:
        stream: (T, C). count: J. following: (A,) the token after each of the first A positions, A at most T.
    """
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    start = 0
    for logits in lens_logits(model, stream):
        logprobs = logits.log_softmax(-1)
        top = logprobs.topk(count)
        wanted = following[start : start + len(logprobs)]
        known = logprobs[: len(wanted)]
        own = known.gather(1, wanted[:, None])
        parts.append((top.indices, top.values, (known > own).sum(-1), own[:, 0]))
        start += len(logprobs)
    ids, logprobs, ranks, own = (torch.cat(each) for each in zip(*parts, strict=True))
    return LensLevel(ids, logprobs, ranks, own)


def cache_cells(patterns: Sequence[Pattern], prompt: int, steps: int, *, cached: bool = True) -> Tensor:
    """Which keys and values each step computes, and which it finds in the KV cache.

    Args:
        patterns: of the blocks. prompt: tokens that the first step reads; each later step reads one more.
        cached: False for a runner without a cache: each step computes every position again.

    Returns:
        (S, L, T) uint8 of NOT_YET, COMPUTED (in this step), CACHED (by an earlier one), DROPPED (outside of the pattern of
        every later query, in every head).
    """
    position = torch.arange(prompt + steps - 1)
    newest = prompt - 1 + torch.arange(steps)[:, None]  # the position whose logits are drawn from
    first_new = torch.where(torch.arange(steps)[:, None] == 0, 0, newest) if cached else torch.zeros_like(newest)
    blocks = []
    for pattern in patterns:
        state = torch.where(pattern.still_readable(position, newest), CACHED, DROPPED)
        state = torch.where(position >= first_new, COMPUTED, state)
        blocks.append(torch.where(position > newest, NOT_YET, state))
    return torch.stack(blocks, dim=1).to(torch.uint8)


@dataclass(frozen=True, slots=True)
class StepDistribution:
    """One step's distribution, cut and draw; the fields are those of the schema's `generation/steps/`."""

    topk_ids: list[int]
    topk_logprobs: list[float]
    topk_shares: list[float]
    kept: int
    draw: float
    drawn_span: tuple[float, float]


def step_distribution(
    logits: NDArray[np.float32], options: SamplingOptions, u: float, drawn: int, count: int,
    counts: Mapping[int, int] | None = None,
) -> StepDistribution:  # fmt: skip
    """The distribution that a step drew from.

    Args:
        logits: (V,) of the next token. u: the draw in [0, 1). drawn: the token that was drawn.
        count: candidates to list (K), the likeliest in the model's own distribution.
        counts: how often each token was drawn before, for penalties (`engine.sampling.adjusted`).
    """
    top = largest(logits, count)
    logprobs = log_softmax(logits)[top].tolist()
    if options.temperature == 0:
        shares = [float(token == drawn) for token in top.tolist()]
        return StepDistribution(top.tolist(), logprobs, shares, 1, math.nan, (0.0, 1.0))
    kept, weights = candidates(adjusted(logits, options, counts), options)
    summed = weights.cumsum()
    ends = summed / summed[-1]
    place = drawn if kept is None else int(np.searchsorted(kept, drawn))
    all_shares = weights / draw_arithmetic.total(weights)
    if kept is not None:
        kept_shares, all_shares = all_shares, np.zeros(len(logits))
        all_shares[kept] = kept_shares
    span = (float(ends[place - 1]) if place else 0.0, float(ends[place]))
    return StepDistribution(top.tolist(), logprobs, all_shares[top].tolist(), len(weights), u, span)
