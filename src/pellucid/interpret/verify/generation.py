"""Verifying a generation record: every derived number recomputed from the model, in the dtype that it computed in.

T positions, C width, H heads, L blocks, V vocabulary, S steps, K candidates of a step, J of the lens.

The generation is not repeated: the record's tokens go through the model in one forward pass without a cache (teacher forcing),
and each step is derived from the logits at its position (`steps`). Recomputed and recorded values take different routes, so
they differ by rounding. Tolerances follow from the recomputed numbers, by the cause of the error:

    compute   float32: NOISE x the largest logit, for log-probabilities and what follows from them; 4 x NOISE x (the root mean
              square of position or channel + the number), for block inputs; 16 x NOISE x w (1 - w), for an attention weight w.
              Sums were taken in another order
              fewer bits: by the differences between computing in that dtype and in float32: three times the largest of the
              position and one unit in the last place, for logits; four times the smaller of the position's and the channel's
              largest, for block inputs; four times the query's, for attention (`activations`)
    bfloat16  half a unit in the last place: 2^-8 of the number at most
    float16   of attention, half a step of the recomputed row (`record.triangle`); sums of a row's weights and of their errors
              by what that rounding allows
    uint8     of attention in schema 1.0, half a step, 1/510
    float32   2^-24 of the number
    draws, cells, given numbers: none

The last bits of a step's log-probabilities and shares were once those of NumPy's float32 `exp` on the recording machine (now of
`runtime.draw_arithmetic`): by at most 64 x 2^-24 of a share, which the tolerance of compute covers. Such records verify.

A tolerance is judged by the range of its row: of a position's vector (block inputs also by channel), of a query's weights, from
0, of a list of candidates; a number that stands alone, by its size or its list's range.
"""

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pellucid.engine.options import SamplingOptions
from pellucid.generation.model import GPT
from pellucid.gpt.ablation import Ablation
from pellucid.interpret.capture import PIECES, piece_table
from pellucid.interpret.formulas import (
    attention_source,
    block_input_source,
    cache_cells,
    lens_source,
)
from pellucid.interpret.verify.ablation import ablation_word, neighbours, replacements_of
from pellucid.interpret.verify.activations import (
    Activations,
    attention_error,
    logit_error,
    stream_error,
    stream_ranges,
)
from pellucid.interpret.verify.difference import (
    Array,
    Difference,
    compare_top_tokens,
    concatenated,
    equal,
    equality,
    row_ranges,
    stacked,
)
from pellucid.interpret.verify.identity import NOISE, UPCAST_NOISE
from pellucid.interpret.verify.report import ChunkResult, WordResult, unknown_chunk
from pellucid.interpret.verify.steps import STEPS, StepVerifier
from pellucid.interpret.verify.vectors import NEAREST_IDS, VectorVerifier
from pellucid.interpret.verify.words import compared
from pellucid.record import Record
from pellucid.record.check import named_specs
from pellucid.record.triangle import SUM_ERROR, TOTAL_ERROR, rounding_error
from pellucid.runtime.kv_cache import kv_cache_bytes


_LENS = tuple(f"generation/lens/{name}" for name in ("ids", "logprobs", "next_ranks", "next_logprobs"))


class GenerationVerifier:
    """Recomputes what a generation record holds, from its tokens and its model alone.

    Args:
        model: the recorded one, in its dtype. upcast: the same in float32, where that has more bits; else None.
        ids: of prompt and drawn tokens. options: those that the tokens were drawn with. ablation: that of its provenance.
    """

    def __init__(
        self, record: Record, model: GPT, upcast: GPT | None, ids: list[int], options: SamplingOptions,
        ablation: Ablation | None = None,
    ) -> None:  # fmt: skip
        self.record, self.model, self.noise = record, model, NOISE[record.provenance.dtype] or UPCAST_NOISE
        self.prompt = len(record["generation/prompt_ids"])
        self.positions = max([len(ids) - 1, *(record.entry(name).logical_shape[axis] for name, axis in _positions(record))])
        self.ids, self.ablation = ids, ablation
        self.computed = self._activations(model, ablation)
        self.upcast = None if upcast is None else self._activations(upcast, ablation)
        logits = self.computed.logits
        upcast_logits = None if self.upcast is None else self.upcast.logits
        error = self.logit_error = logit_error(logits, upcast_logits, self.noise, model.wte.weight.dtype).numpy()
        self.vectors = VectorVerifier(record, self.computed, self.upcast, self.noise, ids[: self.prompt])
        self.following = np.array(ids[1:])  # (A,) the token after each position
        self.steps = StepVerifier(record, logits, error, upcast_logits, options, self.prompt)
        self.specs = named_specs(record)
        self.contradictions = self.steps.contradictions()
        self.by_name: dict[str, Callable[[], Difference]] = {
            "generation/prompt_ids": lambda: Difference(0.0, 0.0),  # checked by `tokens_and_options`
            "generation/lens/ids": lambda: self._lens[0],
            "generation/lens/logprobs": lambda: self._lens[1],
            "generation/lens/next_ranks": lambda: self._next[0],
            "generation/lens/next_logprobs": lambda: self._next[1],
            "generation/cells": self._cells,
            STEPS + "drawn_ids": self.steps.drawn_ids,
            STEPS + "drawn_logprobs": self.steps.drawn_logprobs,
            STEPS + "topk_ids": lambda: self.steps.top[0],
            STEPS + "topk_logprobs": lambda: self.steps.top[1],
            STEPS + "topk_shares": self.steps.shares,
            STEPS + "kept": self.steps.kept,
            STEPS + "draw": self.steps.draws,
            STEPS + "drawn_span": self.steps.spans,
            **self.vectors.by_name,
        }

    def result(self, name: str) -> ChunkResult:
        """The comparison of one chunk with its recomputed value."""
        truth = self.record.entry(name).truth
        if name not in self.specs:
            return unknown_chunk(name, truth)
        if name in self.contradictions:
            return ChunkResult(chunk=name, truth=truth, ok=False, note=f"contradicts the record: {self.contradictions[name]}")
        if truth == "measured":
            return self._measured(name)
        if name.startswith("pieces/"):
            return self._pieces(name)
        if name.startswith("generation/block_inputs/"):
            return self._block_input(name).result(self.record, name)
        if name.startswith("generation/attention/"):
            return self._attention(name).result(self.record, name)
        return self.by_name[name]().result(self.record, name)

    def _activations(self, model: GPT, ablation: Ablation | None) -> Activations:
        what = replacements_of(ablation, model, self.ids[: self.prompt])
        return Activations(model, self.ids, self.prompt, self.positions, what)

    def ablation_words(self) -> Iterator[WordResult]:
        """The ablation, where there is one: whether another one, near it, would have given other logits."""
        if self.ablation is not None:
            others = (self._activations(self.model, other).logits for other in neighbours(self.ablation))
            moved = ((other - self.computed.logits).abs().amax(-1).numpy() for other in others)
            yield ablation_word(determined=all(bool((each > 2 * self.logit_error).any()) for each in moved))

    def sources(self) -> dict[str, dict[str, object]]:
        """What the record must state as the source of its chunks, by name."""
        config = self.model.config
        found = {f"generation/block_inputs/{level}": block_input_source(config, level) for level in range(config.n_layers + 1)}
        found |= {f"generation/attention/{block}": attention_source(config, block) for block in range(config.n_layers)}
        return found | self.vectors.sources() | dict.fromkeys(_LENS, lens_source(self.model))

    def scale_words(self) -> Iterator[WordResult]:
        """The range of attention weights that are stored as steps of one: from 0 to 1."""
        for name in self.record.names("generation/attention/"):
            if (scale := self.record.entry(name).scale) is not None:
                yield compared(f"{name}: scale", scale, (0.0, 1.0))

    # Inside the model.

    def _block_input(self, name: str) -> Difference:
        level = int(name.rsplit("/", 1)[1])
        expected = self.computed.block_input(level)  # (T, C)
        unit = torch.finfo(self.model.wte.weight.dtype).eps
        noise = stream_error(expected, None if self.upcast is None else self.upcast.block_input(level), self.noise, unit)
        rounding = 2.0**-8 if self.record.entry(name).dtype == "bfloat16" else 2.0**-24
        tolerance = noise + rounding * (np.abs(expected) + noise)
        return Difference(np.abs(self.record[name] - expected), tolerance, "", stream_ranges(expected))

    def _attention(self, name: str) -> Difference:
        block = int(name.rsplit("/", 1)[1])
        expected = self.computed.attention(block)  # (H, T, T)
        noise = attention_error(expected, None if self.upcast is None else self.upcast.attention(block), self.noise)
        difference, dtype = self.record[name] - expected, self.record.entry(name).dtype
        value_range = expected.max(-1, keepdims=True)
        if dtype == "uint8":
            return Difference(np.abs(difference), noise + 1 / 510 + 2.0**-22, "", value_range)
        if dtype == "float32":
            return Difference(np.abs(difference), noise + 2.0**-24 * expected + 2.0**-126, "", value_range)
        rows, noise_of_row = expected.reshape(-1, expected.shape[-1]), noise.sum(-1) + 2.0**-20
        half = rounding_error(rows, noise.reshape(rows.shape)).reshape(expected.shape)
        return concatenated(  # single weights; then sums of rows, whose tolerances bound no single weight
            Difference(np.abs(difference), noise + half, "", value_range),
            Difference(np.abs(difference.sum(-1)), noise_of_row + SUM_ERROR),
            Difference(np.abs(difference).sum(-1), noise_of_row + TOTAL_ERROR),
        )

    def _lens_logprobs(self, level: int) -> tuple[Tensor, Array]:
        """(T, V) recomputed log-probabilities at one level, and (T, 1) by how much they may be off."""
        logits = self.computed.lens(level)
        upcast = None if self.upcast is None else self.upcast.lens(level)
        return logits.log_softmax(-1), logit_error(logits, upcast, self.noise, torch.float32)[:, None].numpy()

    @cached_property
    def _next(self) -> tuple[Difference, Difference]:
        ranks, stored = self.record["generation/lens/next_ranks"], self.record["generation/lens/next_logprobs"]
        shape = (self.model.config.n_layers + 1, len(self.following))
        if ranks.shape != shape or stored.shape != shape:
            return equality(False), equality(False)
        by_rank, by_number = [], []
        for level in range(len(ranks)):
            logprobs, nats = (part[: len(self.following)] for part in self._lens_logprobs(level))
            expected = logprobs.gather(1, torch.from_numpy(self.following)[:, None])
            allowed = torch.from_numpy(2 * nats)
            least, most = ((logprobs > expected + allowed).sum(-1), (logprobs >= expected - allowed).sum(-1) - 1)
            middle = (least + most).double().numpy() / 2
            # One place, or a tenth of the rank, is no material part.
            by_rank.append(Difference(np.abs(ranks[level] - middle), most.numpy() - middle, "tokens", np.maximum(middle, 10)))
            number = expected[:, 0].numpy()
            list_of = torch.cat((logprobs.topk(min(20, logprobs.shape[1])).values, expected), 1).numpy()
            error = nats[:, 0] + 2.0**-24 * np.abs(number)
            by_number.append(Difference(np.abs(stored[level] - number), error, "nats", row_ranges(list_of)[:, 0]))
        return stacked(by_rank), stacked(by_number)

    @cached_property
    def _lens(self) -> tuple[Difference, Difference]:
        ids, stored = self.record["generation/lens/ids"], self.record["generation/lens/logprobs"]
        by_id, by_number = [], []
        for level in range(len(ids)):
            logprobs, nats = self._lens_logprobs(level)
            first, second = compare_top_tokens(logprobs, ids[level], stored[level], nats)
            by_id.append(first)
            by_number.append(second)
        return stacked(by_id), stacked(by_number)

    def _cells(self) -> Difference:
        steps = self.steps.steps
        cells = cache_cells(self.model.config.pattern, self.prompt, steps, cached=self.computed.cached)
        return equal(self.record["generation/cells"], cells.numpy())

    # Measured and given.

    def _measured(self, name: str) -> ChunkResult:
        values = self.record[name]
        sound, note = bool(np.all(np.isfinite(values)) and np.all(values >= 0)), "measured"
        if name == "generation/cache_bytes":
            model, width = self.model, self.model.wte.weight.element_size()
            least, most = (kv_cache_bytes(model.config, positions, width) for positions in (self.positions, model.config.n_ctx))
            if not self.computed.cached:
                least = most = 0
            sound = sound and bool(np.all((values >= least) & (values <= max(least, most))))
            note = f"measured; {least:,} bytes are needed at least, {most:,} for the whole context"
        return ChunkResult(chunk=name, truth="measured", ok=sound, note=note if sound else f"{note}: not possible")

    def _pieces(self, name: str) -> ChunkResult:
        named = {"generation/prompt_ids", STEPS + "drawn_ids", STEPS + "topk_ids", "generation/lens/ids", NEAREST_IDS}
        tokens = {int(token) for chunk in named if chunk in self.record for token in self.record[chunk].ravel()}
        tokens = {token for token in tokens if 0 <= token < self.model.config.vocab_size}
        if self.model.tokenizer is not None:
            table = piece_table(self.model.tokenizer, tokens)
            return equal(self.record[name], table[PIECES.index(name)]).result(self.record, name)
        if name == "pieces/ids":
            return equal(self.record[name], np.array(sorted(tokens), np.int32)).result(self.record, name)
        return ChunkResult(
            chunk=name, truth="given", ok=True, note="unchecked: this model has no tokenizer to compare with", unchecked=1
        )


def _positions(record: Record) -> list[tuple[str, int]]:
    """The chunks with a row for each position, and which axis that is; `record.check` has compared them with each other."""
    axes = {"generation/cells": 2, "generation/block_inputs/0": 0, "generation/attention/0": 1, "generation/lens/ids": 1}
    return [(name, axis) for name, axis in axes.items() if name in record]
