"""`TorchRunner`: a runner on PyTorch, for every pattern, device and dtype.

N tokens of all spans together, C width, V vocabulary.

fast    one forward pass over all tokens, each a row of the matrix products; attention sequence by sequence.
exact   the same in passes of a fixed number of rows (`SIZES`), padded when there are too few tokens, and attention in fixed
        tiles (`kv_cache`). That a row's bits do not depend on its place, nor on which of the sizes was taken, is a property of
        the matrix library: it is not assumed but tried, with the model's own weights, before a size is used. Where no size has
        it, one token at a time has it by itself. On the CPU only; on other devices nothing is promised, and exact is refused.

All positions of a sequence stay cached, in all blocks: a span may begin before the end of what was read.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.gpt.ablation import MeanOutputs, Replacements
from pellucid.gpt.compressor import Compressor
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.tap import Tap, WritingPart
from pellucid.runtime.inference_mode import inference_mode
from pellucid.runtime.kv_cache import SequenceKVCache, kv_cache_bytes
from pellucid.runtime.runner import Mode, TokenSpan
from pellucid.runtime.torch_ablation import AblationTap, OutputsTap


# How far the logits of "fast" may lie from those of "exact", as a share of the largest of them: sums in another order.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 0.05, torch.float16: 0.01}
SIZES = (4, 8, 16, 32, 64, 128, 256)  # rows of a pass in exact mode
LOGIT_ROWS = 64  # hidden vectors turned into logits together: 13 MB for GPT-3's vocabulary
_SMALL = 16  # rows up to which a pass takes about the same time
_TRIAL_TOKENS = 4  # different tokens of a trial
# PyTorch computes activations in vectors of this many elements, those left over one by one and to other bits, and gives chunks
# of `_PARALLEL_GRAIN` elements or more to other threads.
_VECTOR, _PARALLEL_GRAIN = 64, 32768


def check_exact(mode: Mode, model: Decoder) -> None:
    """Refuses exact mode on another device than the CPU."""
    if mode == "exact" and (device := model.wte.weight.device.type) != "cpu":
        raise PellucidError(f'equal bits are promised on the CPU only, not on {device}: use mode="fast"')


class TorchRunner:
    """See `runner.Runner`.

    Args:
        model: the decoder. Its weights must not change while a sequence that was read with them is in use.
        mode: "exact" or "fast".
        tap: sees the tensors of the forward pass, as if all tokens of a pass were one sequence; "fast" only.
        one_sequence: a pass reads the span of one sequence, so that every module sees (1, T, C); "fast" only. Otherwise the N
            tokens of all spans are a batch of sequences of one token.

    Raises:
        PellucidError: exact mode on another device than the CPU.
    """

    cached = True

    def __init__(self, model: Decoder, *, mode: Mode = "fast", tap: Tap | None = None, one_sequence: bool = False) -> None:
        weight = model.wte.weight
        check_exact(mode, model)
        assert (tap is None and not one_sequence) or mode == "fast"
        self.model = model
        self.config = model.config
        self.mode: Mode = mode
        self.path = f"PyTorch {str(weight.dtype).removeprefix('torch.')}"
        if weight.device.type != "cpu":
            self.path += f" on {weight.device.type}"
        self._one_sequence = one_sequence
        self._tap = tap if tap is None or one_sequence else _TapAsOneSequence(tap)
        compressors = ((block, model.compressor(block)) for block in range(self.config.n_layers))
        self._compressors = {block: compressor for block, compressor in compressors if compressor is not None}
        self._sequences: dict[int, SequenceKVCache] = {}
        self._ablations: dict[int, Replacements] = {}
        self._numbers = itertools.count()  # whose next number is taken at once: two threads never get the same
        # Results of the trials of exact mode, for `_threads` threads: the smallest size, its outputs, and which sizes agree.
        self._threads = 0
        self._base: int | None = None
        self._expected = torch.empty(0)
        self._agree: dict[int, bool] = {}

    def sequence_bytes(self, capacity: int) -> int:
        """Bytes of a sequence of up to `capacity` positions: all positions in all blocks, whatever their patterns."""
        return kv_cache_bytes(self.config, capacity, self.model.wte.weight.element_size())

    def open(self, capacity: int) -> int:
        """A new, empty sequence of up to `capacity` positions; its number."""
        assert 0 < capacity <= self.config.n_ctx
        number = next(self._numbers)
        with torch.inference_mode():
            like = self.model.wte.weight.new_empty(0)
            self._sequences[number] = SequenceKVCache(self.config, capacity, self._compressors, like)
        return number

    def close(self, sequence: int) -> None:
        """Frees a sequence."""
        del self._sequences[sequence]
        self._ablations.pop(sequence, None)

    def ablate(self, sequence: int, what: Replacements) -> None:
        """See `runner.AblatingRunner`."""
        self._ablations[sequence] = what

    def mean_outputs(self, ids: Sequence[int]) -> MeanOutputs:
        """See `runner.AblatingRunner`."""
        sequence, outputs, counts = self.open(len(ids)), OutputsTap(self.config.n_layers), []
        try:
            with inference_mode(self.model):
                for part, size in self._passes([_CachedSpan(self._sequences[sequence], 0, list(ids))], len(ids)):
                    self._forward(part, size, outputs)
                    counts.append(sum(len(span.ids) for span in part))
        finally:
            self.close(sequence)
        return outputs.means(counts)

    def copy(self, source: int, target: int, positions: int) -> None:
        """Makes the first `positions` positions of `target` those of `source`, as if they had been read there."""
        with torch.inference_mode():
            self._sequences[target].copy_prefix(self._sequences[source], positions)

    def run(self, spans: Sequence[TokenSpan]) -> list[NDArray[np.float32] | None]:
        """Reads all spans, of different sequences, together. See `runner.Runner.run`."""
        assert len({span.sequence for span in spans}) == len(spans), "one span per sequence"
        cached = [
            _CachedSpan(self._sequences[s.sequence], s.first, list(s.ids), self._ablations.get(s.sequence)) for s in spans
        ]
        rows: list[int] = []  # of all tokens: whose logits are wanted
        counts = []
        first = 0
        for span in spans:
            tokens = len(span.ids)
            count = {"none": 0, "last": 1, "all": tokens}[span.wanted]
            first += tokens
            rows += range(first - count, first)
            counts.append(count)
        with inference_mode(self.model):
            hidden = torch.cat([self._forward(part, size, self._tap) for part, size in self._passes(cached, first)])
            logits = self._logits(hidden[rows])
        results: list[NDArray[np.float32] | None] = []
        for span, count, end in zip(spans, counts, accumulate(counts), strict=True):
            own = logits[end - count : end]
            results.append(None if span.wanted == "none" else own[0] if span.wanted == "last" else own)
        return results

    def _forward(self, spans: "list[_CachedSpan]", size: int, tap: Tap | None) -> Tensor:
        """One forward pass of `size` rows -> (N, E) hidden vectors."""
        ablation = _ablation_tap(spans, tap)
        hidden = self._hidden(spans, size, tap if ablation is None else ablation)
        if ablation is not None:
            ablation.check_seen()
        return hidden

    def _hidden(self, spans: "list[_CachedSpan]", size: int, tap: Tap | None) -> Tensor:
        ids = [token for span in spans for token in span.ids]
        tokens = torch.tensor(ids + [0] * (size - len(ids)), device=self.model.wte.weight.device)
        if self._one_sequence:
            (span,) = spans
            return self.model.hidden(tokens[None], _OneSpanKVCache(span), tap)[0]
        cache = _SpansKVCache(spans, size, exact=self.mode == "exact")
        return self.model.hidden(tokens[:, None], cache, tap)[: len(ids), 0]

    def _logits(self, hidden: Tensor) -> NDArray[np.float32]:
        """(N, E) -> (N, V) logits."""
        if self.mode == "fast":
            return _to_numpy(self.model.logits(hidden))
        out = np.empty((len(hidden), self.config.vocab_size), np.float32)
        first = 0
        while first < len(hidden):
            size = self._size(len(hidden) - first, LOGIT_ROWS)
            rows = hidden[first : first + size]
            padded = torch.cat((rows, rows.new_zeros(size - len(rows), rows.shape[1])))
            out[first : first + size] = _to_numpy(self.model.logits(padded)[: len(rows)])
            first += size
        return out

    # Exact mode: how tokens are divided into passes.

    def _passes(self, spans: "list[_CachedSpan]", tokens: int) -> "Iterator[tuple[list[_CachedSpan], int]]":
        """The spans of each pass and its number of rows; a span that does not fit continues in the next."""
        if self._one_sequence:
            yield from (([span], len(span.ids)) for span in spans)
            return
        if self.mode == "fast":
            yield spans, tokens
            return
        left = list(spans)
        while left:
            size = room = self._size(sum(len(span.ids) for span in left), SIZES[-1])
            part = []
            while left and room:
                now, later = left[0].split(room)
                part.append(now)
                room -= len(now.ids)
                left[:1] = [later] if later.ids else []
            yield part, size

    def _size(self, tokens: int, most: int) -> int:
        """The number of rows of the next pass, with `tokens` left."""
        if self._threads != torch.get_num_threads():  # products are divided differently
            self._threads, self._base, self._agree = torch.get_num_threads(), None, {}
        if self._base is None:
            self._base = next((size for size in SIZES if size <= _SMALL and self._is_place_independent(size)), 1)
        best = self._base
        for size in SIZES if self._base > 1 else ():
            # A larger pass is worth it if it costs no more than the smaller one again, or is well filled.
            worth = best < tokens and size <= min(most, max(_SMALL, tokens * 4 // 3))
            if size > self._base and worth and self._agrees(size):
                best = size
        return best

    def _is_place_independent(self, size: int) -> bool:
        """Whether the rows of a pass of this size can change places: tries it, and keeps the outputs for `_agrees`."""
        if not self._has_whole_vectors(size):
            return False
        outputs, rolled = self._trial(size, 0), self._trial(size, 1)
        self._expected = outputs[:_TRIAL_TOKENS]
        return torch.equal(outputs, rolled.roll(-1, 0))

    def _agrees(self, size: int) -> bool:
        """Whether every row of a larger pass gives the bits that it gives in the smallest."""
        if size not in self._agree:
            self._agree[size] = False
            if self._has_whole_vectors(size):
                outputs = self._trial(size, 0)
                expected = self._expected[:, : outputs.shape[1]].repeat(size // _TRIAL_TOKENS, 1)
                self._agree[size] = torch.equal(outputs, expected)
        return self._agree[size]

    def _trial(self, size: int, rolled: int) -> Tensor:
        """The outputs of a pass of `size` sequences of one token each; a few tokens repeat."""
        ids = (torch.arange(size) - rolled) % size % _TRIAL_TOKENS * 7919 % self.config.vocab_size
        hidden = self.model.hidden(ids[:, None], _SingleTokenKVCache(size))[:, 0]
        return torch.cat((hidden, self.model.logits(hidden)), 1) if size <= LOGIT_ROWS else hidden

    def _has_whole_vectors(self, size: int) -> bool:
        """Whether each thread computes the MLP's activations of such a pass in whole vectors: elsewhere the bits differ."""
        elements = size * self.config.d_ff
        threads = min(self._threads, -(-elements // _PARALLEL_GRAIN))
        return -(-elements // threads) % _VECTOR == 0


@dataclass(frozen=True, slots=True)
class _CachedSpan:
    """Neighbouring tokens of one sequence, the sequence's cache, and what is replaced in it."""

    cache: SequenceKVCache
    first: int
    ids: list[int]
    replaced: Replacements | None = None

    def split(self, tokens: int) -> "tuple[_CachedSpan, _CachedSpan]":
        return (
            _CachedSpan(self.cache, self.first, self.ids[:tokens], self.replaced),
            _CachedSpan(self.cache, self.first + tokens, self.ids[tokens:], self.replaced),
        )


def _ablation_tap(spans: list[_CachedSpan], inner: Tap | None) -> AblationTap | None:
    """The tap of a pass in which something is replaced; None where nothing is."""
    rows, first = [], 0
    for span in spans:
        end = first + len(span.ids)
        if span.replaced is not None:
            rows.append((first, end, span.replaced))
        first = end
    return AblationTap(rows, inner) if rows else None


class _SpansKVCache:
    """The `gpt.kv_cache.KVCache` of a pass over spans of several sequences: each token is a batch row of one position.

    Args:
        spans: in the order of the rows.
        size: rows, padding included.
    """

    def __init__(self, spans: list[_CachedSpan], size: int, *, exact: bool) -> None:
        self.spans = spans
        self.exact = exact
        self.lengths = [position for span in spans for position in range(span.first, span.first + len(span.ids))]
        self.lengths += [0] * (size - len(self.lengths))

    def attend(self, block: int, q: Tensor, k: Tensor, v: Tensor, compressor: Compressor | None = None) -> Tensor:
        """(N, H, 1, D) of the new tokens -> (N, H, 1, D)."""
        keys, values = k.flatten(1), v.flatten(1)  # (N, C)
        out = torch.zeros_like(q)
        first = 0
        for span in self.spans:
            end = first + len(span.ids)
            span.cache.write(block, span.first, keys[first:end], values[first:end], compressor, exact=self.exact)
            # (T, H, 1, D) -> (H, T, D), and back
            outputs = span.cache.attend(block, span.first, q[first:end].transpose(0, 2)[0], exact=self.exact)
            out[first:end] = outputs.transpose(0, 1)[:, :, None]
            first = end
        return out

    def advance(self, tokens: int) -> None:
        """Nothing to do: spans state their positions."""


class _OneSpanKVCache:
    """The `gpt.kv_cache.KVCache` of a pass over the T tokens of one span: a batch of one sequence."""

    def __init__(self, span: _CachedSpan) -> None:
        self.span = span
        self.lengths = [span.first]

    def attend(self, block: int, q: Tensor, k: Tensor, v: Tensor, compressor: Compressor | None = None) -> Tensor:
        """(1, H, T, D) of the new tokens -> (1, H, T, D)."""
        keys, values = (x[0].transpose(0, 1).flatten(1) for x in (k, v))  # (T, C)
        self.span.cache.write(block, self.span.first, keys, values, compressor, exact=False)
        return self.span.cache.attend(block, self.span.first, q[0], exact=False)[None]

    def advance(self, tokens: int) -> None:
        """Nothing to do: the span states its positions."""


class _SingleTokenKVCache:
    """For sequences of one token: each sees itself alone, so the output of attention is its value."""

    def __init__(self, size: int) -> None:
        self.lengths = [0] * size

    def attend(self, block: int, q: Tensor, k: Tensor, v: Tensor, compressor: Compressor | None = None) -> Tensor:
        """The values."""
        return v

    def advance(self, tokens: int) -> None:
        """Nothing is stored."""


class _TapAsOneSequence:
    """Shows a tap the rows of a pass as the positions of one sequence."""

    def __init__(self, tap: Tap) -> None:
        self._tap = tap

    def stream(self, level: int, x: Tensor) -> None:
        """(N, 1, C) -> (1, N, C)."""
        self._tap.stream(level, x.transpose(0, 1))

    def attention(self, block: int, q: Tensor, k: Tensor) -> None:
        """(N, H, 1, D) -> (1, H, N, D)."""
        self._tap.attention(block, q.permute(2, 1, 0, 3), k.permute(2, 1, 0, 3))

    def writes(self, block: int, attention: Tensor, mlp: Tensor) -> None:
        """(N, 1, C) each -> (1, N, C)."""
        self._tap.writes(block, attention.transpose(0, 1), mlp.transpose(0, 1))

    def heads(self, block: int, out: Tensor) -> Tensor:
        """(N, 1, C) -> (1, N, C), and back."""
        return self._tap.heads(block, out.transpose(0, 1)).transpose(0, 1)

    def write(self, block: int, part: WritingPart, out: Tensor) -> Tensor:
        """(N, 1, C) -> (1, N, C), and back."""
        return self._tap.write(block, part, out.transpose(0, 1)).transpose(0, 1)


def _to_numpy(logits: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = logits.float().cpu().numpy()
    return array
