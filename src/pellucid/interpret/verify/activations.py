"""A model's activations and logits for a record's tokens, recomputed in one forward pass, and by how much they may be off.

T positions, C width, H heads, L blocks, V vocabulary, S steps.
"""

import numpy as np
import torch
from torch import Tensor

from pellucid.generation.model import GPT
from pellucid.gpt.ablation import Replacements
from pellucid.interpret.formulas import attention_weights, lens_logits
from pellucid.interpret.tap import ActivationTap
from pellucid.interpret.verify.difference import Array, row_ranges
from pellucid.runtime.runner import AblatingRunner, TokenSpan
from pellucid.runtime.runner_selection import torch_runner
from pellucid.runtime.torch_ablation import AblationTap


_FEW = 8  # positions: of fewer, the largest error of a channel is no measure of it


class Activations:
    """The activations of one forward pass without a cache.

    A model whose hooks may treat positions in any way (`runtime.uncached_runner`) is read as it was recorded: the prompt, then
    as many tokens as each step had, since what it computes at a position may depend on those after it.

    Args:
        ids: the record's tokens. prompt: how many of them were given. positions: T. what: is replaced in the model.

    Attributes:
        logits: (S, V) float64. cached: whether a runner of this model caches keys and values.
    """

    def __init__(self, model: GPT, ids: list[int], prompt: int, positions: int, what: Replacements | None = None) -> None:
        self.model = model
        self.tap = ActivationTap(model.config.n_layers, ("block_inputs", "attention", "writes"), clock=False)
        runner = torch_runner(model, self.tap)
        self.cached = runner.cached
        if self.cached:
            ablation = None if what is None else AblationTap([(0, positions, what)], self.tap)
            tokens = torch.tensor([ids[:positions]], device=model.wte.weight.device)
            hidden = model.hidden(tokens, tap=ablation or self.tap)
            if ablation is not None:
                ablation.check_seen()
            self.logits = model.logits(hidden[0, prompt - 1 : len(ids) - 1]).double().cpu()  # (S, V)
            return
        sequence = runner.open(positions)
        if what is not None:
            assert isinstance(runner, AblatingRunner)
            runner.ablate(sequence, what)
        spans = [TokenSpan(sequence, 0, ids[:prompt], "last")]
        spans += [TokenSpan(sequence, place, ids[place : place + 1], "last") for place in range(prompt, positions)]
        logits = [part for span in spans for part in runner.run([span]) if part is not None]
        self.logits = torch.from_numpy(np.stack(logits[: len(ids) - prompt])).double()

    def block_input(self, level: int) -> Array:
        """(T, C) float64."""
        return self.tap.block_input(level).double().cpu().numpy()

    def attention(self, block: int) -> Array:
        """(H, T, T) float64."""
        pattern, compressor = self.model.config.pattern[block], self.model.compressor(block)
        return attention_weights(*self.tap.queries_and_keys(block), pattern, compressor).double().cpu().numpy()

    def lens(self, level: int) -> Tensor:
        """(T, V) logits, float64."""
        return torch.cat([part.cpu() for part in lens_logits(self.model, self.tap.block_input(level))]).double()

    def written(self, part: int) -> Array:
        """(L, T, C) float64: what attention (0) or the MLP (1) of each block adds to the stream."""
        blocks = [self.tap.written(block)[part] for block in range(self.model.config.n_layers)]
        return torch.stack(blocks).double().cpu().numpy()


def stream_error(expected: Array, upcast: Array | None, noise: float, unit: float) -> Array:
    """By how much each number of (..., T, C) vectors of the residual stream may be off.

    Four times the smaller of what its position and its channel allow, and two units in the last place. A channel that is
    larger than the others, as trained models have, says nothing of them, and neither does a position. What a channel allows
    is at least three times the median of the number's position.

    Args:
        upcast: the same computed in float32; None where `expected` was. noise: the relative error of float32.
        unit: one in the last place of 1 in the dtype that `expected` was computed in.
    """
    size, own = (noise * np.abs(expected), noise) if upcast is None else (np.abs(expected - upcast), unit / 2)
    largest = _root_mean_square if upcast is None else np.max
    allowed = largest(size, axis=-1, keepdims=True)
    if expected.shape[-2] >= _FEW:
        by_channel = largest(size, axis=-2, keepdims=True)
        allowed = np.minimum(allowed, np.maximum(by_channel, 3 * np.median(size, axis=-1, keepdims=True)))
    error: Array = 4 * allowed + 4 * own * np.abs(expected)
    return error


def stream_ranges(expected: Array) -> Array:
    """(T, C) the range that a number of (T, C) vectors of the residual stream is judged by.

    The range of its position's vector, or the largest size of its channel where that is smaller; the median channel's at least.
    """
    size = np.abs(expected).max(0, keepdims=True)
    ranges: Array = np.minimum(row_ranges(expected), np.maximum(size, np.median(size)))
    return ranges


def attention_error(expected: Array, upcast: Array | None, noise: float) -> Array:
    """By how much each of (H, T, T) attention weights may be off.

    An error e of a score moves its weight w by w (1 - w) e. In fewer bits than float32, e is the largest of the query's scores,
    as far as the weights tell it; the median query's twice at least, and no more than the largest of the head.

    Args:
        upcast: the same computed in float32; None where `expected` was. noise: the relative error of float32.
    """
    flexible = expected * (1 - expected)
    error: Array = 16 * noise * flexible
    if upcast is None:
        return error
    moved, known = np.abs(expected - upcast), flexible > 0.01
    scores = np.divide(moved, flexible, out=np.zeros_like(moved), where=known)
    by_query = scores.max(2, keepdims=True)  # (H, T, 1)
    for head, tells in enumerate(known.any(2)):
        typical = np.median(by_query[head][tells]) if tells.any() else 0.0
        by_query[head] = np.clip(by_query[head], min(2 * typical, by_query[head].max()), None)
    allowed: Array = error + 4 * np.maximum(by_query * flexible, moved)
    return allowed


def _root_mean_square(array: Array, axis: int, keepdims: bool) -> Array:
    return np.sqrt((array**2).mean(axis, keepdims=keepdims))


def logit_error(logits: Tensor, upcast: Tensor | None, noise: float, dtype: torch.dtype) -> Tensor:
    """(N,) by how much each of (N, V) logits may be off.

    Args:
        upcast: the same computed in float32; None where `logits` were. noise: the relative error of float32.
        dtype: that `logits` were computed in; one unit in its last place is added.
    """
    error = noise * logits.abs().amax(-1).clamp_min(1)
    if upcast is None:
        return error
    moved = torch.maximum((logits - upcast).abs().amax(-1), (logits.log_softmax(-1) - upcast.log_softmax(-1)).abs().amax(-1))
    unit = torch.finfo(dtype).eps * 2.0 ** logits.abs().amax(-1).clamp_min(1).log2().floor()
    return error + 3 * moved + unit
