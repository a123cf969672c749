"""Verifying a priming record: texts by the tokenizer, every derived number from the model, in the dtype that it computed in.

P tokens of a prompt, V of the right answer, O of all prompts, H heads, L blocks, B prompts, K candidates of a first token.

Each prompt goes through the model in one forward pass with the right answer, and in another with the likeliest one (teacher
forcing), without a cache. Tolerances follow from the recomputed numbers by the causes that `generation` names: those of its
log-probabilities and attention weights; float16 rounds a weight by 2^-11 of it at most. Tokens, parts, roles and texts have
none. Numbers that determine one another are also compared exactly (`_contradictions`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.generation.model import GPT
from pellucid.generation.prompt import Prompt
from pellucid.interpret.capture import PIECES
from pellucid.interpret.formulas import attention_source, attention_weights
from pellucid.interpret.priming import (
    MOST_SHOTS,
    LabelledPrompt,
    PrimingTokens,
    given_chunks,
    pieces_of,
    prompt_text,
    tokens_of,
)
from pellucid.interpret.verify.activations import Activations, attention_error, logit_error
from pellucid.interpret.verify.difference import (
    Array,
    Difference,
    compare_top_tokens,
    equal,
    equality,
    row_ranges,
    same_json,
)
from pellucid.interpret.verify.identity import NOISE, UPCAST_NOISE
from pellucid.interpret.verify.report import ChunkResult, unknown_chunk
from pellucid.languages import mark
from pellucid.record import Record
from pellucid.record.check import named_specs
from pellucid.strict_json import Fields
from pellucid.text.tokenizer import Tokenizer


_P = "priming/"
_ATTENTION = _P + "attention/"
_GIVEN = ("prompt", "shots", "ids", "starts", "parts", "roles", "answer_ids")
_DERIVED = ("logprobs", "topk_ids", "topk_logprobs", "greedy_ids", "greedy_logprobs")
_FLOAT32 = 2.0**-24  # relative rounding of a float32 number
_QUERIES = 32  # newest queries of a prompt, from which the error of the last one's scores is estimated


@dataclass(frozen=True, slots=True)
class _Computed:
    """One prompt recomputed: (V, vocabulary) log-probabilities by token of an answer, (V,) by how much each may be off."""

    logprobs: Tensor
    nats: Array


class PrimingVerifier:
    """Recomputes what a priming record holds, from its tokens, its texts, its model and the tokenizer.

    Args:
        model: the recorded one, in its dtype. upcast: the same in float32, where that has more bits; else None.
        tokenizer: of the model; None: texts cannot be compared with tokens.

    Raises:
        PellucidError: the record's tokens are not possible: not in the vocabulary, longer than the context.
    """

    def __init__(self, record: Record, model: GPT, upcast: GPT | None, tokenizer: Tokenizer | None) -> None:
        self.record, self.model, self.upcast, self.tokenizer = record, model, upcast, tokenizer
        self.noise = NOISE[record.provenance.dtype] or UPCAST_NOISE
        self.chunks = {name: record[_P + name] for name in (*_GIVEN, *_DERIVED)}
        self.answer: list[int] = self.chunks["answer_ids"].tolist()
        self.prompts = self._prompts()
        self.specs = named_specs(record)
        self.contradictions = self._contradictions()
        self._attention: dict[int, list[tuple[Array, Array]]] = {block: [] for block in range(model.config.n_layers)}
        self.right: list[_Computed] = []
        self.greedy: list[_Computed] = []
        for prompt, greedy in zip(self.prompts, self.chunks["greedy_ids"].tolist(), strict=True):
            self.right.append(self._read(prompt, self.answer, self._attention))
            self.greedy.append(self.right[-1] if greedy == self.answer else self._read(prompt, greedy, None))
        self.by_name: dict[str, Callable[[], Difference]] = {
            "logprobs": lambda: self._logprobs(self.right, [self.answer] * len(self.prompts), "logprobs"),
            "topk_ids": lambda: self._top[0],
            "topk_logprobs": lambda: self._top[1],
            "greedy_ids": self._greedy_ids,
            "greedy_logprobs": lambda: self._logprobs(self.greedy, self.chunks["greedy_ids"].tolist(), "greedy_logprobs"),
        }

    def result(self, name: str) -> ChunkResult:
        """The comparison of one chunk with its recomputed value."""
        truth, short = self.record.entry(name).truth, name.removeprefix(_P)
        if name not in self.specs:
            return unknown_chunk(name, truth)
        if short in self.contradictions:
            return ChunkResult(chunk=name, truth=truth, ok=False, note=f"contradicts the record: {self.contradictions[short]}")
        if name.startswith(_ATTENTION):
            return self._weights(name, int(name.rsplit("/", 1)[1])).result(self.record, name)
        if short in self.by_name:
            return self.by_name[short]().result(self.record, name)
        if self.tokenizer is None:
            note = "unchecked: this model has no tokenizer to compare with"
            return ChunkResult(chunk=name, truth=truth, ok=True, note=note, unchecked=1)
        return self._given(name, short).result(self.record, name)

    def sources(self) -> dict[str, dict[str, object]]:
        """What the record must state as the source of its chunks, by name."""
        config = self.model.config
        return {f"{_ATTENTION}{block}": attention_source(config, block) for block in range(config.n_layers)}

    # Texts and tokens.

    def _prompts(self) -> list[list[int]]:
        """The tokens of each prompt."""
        ids, starts = self.chunks["ids"].tolist(), self.chunks["starts"].tolist()
        config = self.model.config
        if starts[0] != 0 or starts[-1] != len(ids) or any(b <= a for a, b in pairwise(starts)):
            raise PellucidError("the record's prompts do not begin where each other end: it was changed")
        if not self.answer or not 1 < len(starts) <= MOST_SHOTS + 1:
            raise PellucidError("the record has no answer, no prompt or too many prompts: it was changed")
        for token in (*ids, *self.answer, *self.chunks["greedy_ids"].ravel().tolist()):
            if not 0 <= token < config.vocab_size:
                raise PellucidError(f"the record names the token {token}, which its model does not have: it was changed")
        prompts = [ids[a:b] for a, b in pairwise(starts)]
        longest = max(map(len, prompts)) + len(self.answer) - 1
        if longest > config.n_ctx:
            raise PellucidError(f"the record's {longest} tokens do not fit into its model's context of {config.n_ctx}")
        return prompts

    @cached_property
    def _expected(self) -> dict[str, Any] | None:
        """The given chunks as the record's own texts and the tokenizer give them; None where the texts are no prompt."""
        assert self.tokenizer is not None
        shots = self.chunks["shots"].tolist()
        try:
            prompt, answer = _stated_prompt(self.chunks["prompt"])
            if shots != sorted(set(shots)) or len(prompt.examples) != shots[-1]:
                return None
            tokens = tokens_of(prompt, answer, shots, self.tokenizer)
        except PellucidError:
            return None
        return given_chunks(prompt_text(prompt, answer), shots, tokens)

    def _given(self, name: str, short: str) -> Difference:
        if self._expected is None:
            return equality(False)
        if short == "prompt":
            same = [np.array_equal(self.chunks[part], self._expected[part]) for part in _GIVEN[1:]]  # they follow from it
            return equality(all(same) and same_json(self.chunks[short], self._expected[short]))
        if short in _GIVEN:
            return equal(self.chunks[short], self._expected[short])
        assert name in PIECES and self.tokenizer is not None
        named = {int(token) for part in ("topk_ids", "greedy_ids") for token in self.chunks[part].ravel()}
        known = {token for token in named if 0 <= token < self.model.config.vocab_size}
        mine = PrimingTokens([LabelledPrompt(ids, [], []) for ids in self.prompts], self.answer)
        return equal(self.record[name], pieces_of(mine, known, self.tokenizer)[name])

    # Numbers.

    def _read(self, prompt: list[int], answer: list[int], attention: dict[int, list[tuple[Array, Array]]] | None) -> _Computed:
        """One prompt with an answer through the model; `attention` takes the weights of its last token and their errors."""
        ids, end = [*prompt, *answer], len(prompt)
        computed = Activations(self.model, ids, end, len(ids) - 1)
        upcast = None if self.upcast is None else Activations(self.upcast, ids, end, len(ids) - 1)
        if attention is not None:
            for block, rows in attention.items():
                expected = _newest(computed, block, end)
                error = attention_error(expected, None if upcast is None else _newest(upcast, block, end), self.noise)
                rows.append((expected[:, -1], error[:, -1]))
        upcast_logits = None if upcast is None else upcast.logits
        error = logit_error(computed.logits, upcast_logits, self.noise, self.model.wte.weight.dtype).numpy()
        return _Computed(computed.logits.log_softmax(-1), error)

    def _logprobs(self, computed: list[_Computed], answers: list[list[int]], name: str) -> Difference:
        found, allowed, ranges = [], [], []
        for one, answer in zip(computed, answers, strict=True):
            expected = one.logprobs.gather(1, torch.tensor(answer)[:, None])
            found.append(expected[:, 0].numpy())
            allowed.append(one.nats + _FLOAT32 * np.abs(found[-1]))
            ranges.append(row_ranges(torch.cat((_largest(one.logprobs), expected), 1).numpy())[:, 0])
        return Difference(np.abs(self.chunks[name] - np.stack(found)), np.stack(allowed), "nats", np.stack(ranges))

    @cached_property
    def _top(self) -> tuple[Difference, Difference]:
        logprobs = torch.stack([one.logprobs[0] for one in self.right])
        nats = np.array([[one.nats[0]] for one in self.right])
        return compare_top_tokens(logprobs, self.chunks["topk_ids"], self.chunks["topk_logprobs"], nats)

    def _greedy_ids(self) -> Difference:
        """That each token is the likeliest after those before it."""
        below, allowed, ranges = [], [], []
        for one, answer in zip(self.greedy, self.chunks["greedy_ids"].tolist(), strict=True):
            chosen = one.logprobs.gather(1, torch.tensor(answer)[:, None])[:, 0]
            below.append((one.logprobs.amax(-1) - chosen).numpy())
            allowed.append(2 * one.nats)
            ranges.append(row_ranges(_largest(one.logprobs).numpy())[:, 0])
        return Difference(np.stack(below), np.stack(allowed), mark("nats below the likeliest"), np.stack(ranges))

    def _weights(self, name: str, block: int) -> Difference:
        """The attention weights of all prompts' last tokens, in one block."""
        expected, error = (np.concatenate([row[place] for row in self._attention[block]], axis=1) for place in range(2))
        ranges = [np.broadcast_to(row.max(-1, keepdims=True), row.shape) for row, _ in self._attention[block]]
        near = expected + error
        half = np.where(expected == 0, 0.0, 2.0**-11 * near + 2.0**-25)
        rounding = half if self.record.entry(name).dtype == "float16" else _FLOAT32 * near + 2.0**-126
        stored = self.record[name].astype(np.float64)
        return Difference(np.abs(stored - expected), error + rounding, "", np.concatenate(ranges, axis=1))

    @np.errstate(all="ignore")  # the record's numbers may be infinite or NaN; NaN fulfils no condition
    def _contradictions(self) -> dict[str, str]:
        """Chunks with a number that contradicts another one of the record, by the ends of their names, and what is wrong."""
        found: dict[str, str] = {}
        chunks, first = self.chunks, self.answer[0]
        ids, logprobs = chunks["topk_ids"], chunks["topk_logprobs"].astype(np.float64)
        greedy, own = chunks["greedy_logprobs"].astype(np.float64), chunks["logprobs"].astype(np.float64)
        listed, place = (ids == first).any(1), (ids == first).argmax(1)
        rows = np.arange(len(ids))

        def require(holds: Array, name: str, note: str) -> None:
            if not np.all(holds):
                found.setdefault(name, note)

        require((logprobs[:, 1:] <= logprobs[:, :-1]) & (logprobs[:, :1] <= 0), "topk_logprobs", "not the likeliest first")
        require(np.exp(logprobs).sum(1) <= 1.0001, "topk_logprobs", "more than 1 in all")
        require(np.where(listed, own[:, 0] == logprobs[rows, place], own[:, 0] <= logprobs[:, -1]), "logprobs",
                "not what its place among the listed tokens says")  # fmt: skip
        require((own <= 0) & (greedy <= 0), "logprobs", "more likely than certain")
        require(chunks["greedy_ids"][:, 0] == ids[:, 0], "greedy_ids", "not the likeliest first token of the list")
        require(greedy[:, 0] == logprobs[:, 0], "greedy_logprobs", "not what the list says of the likeliest first token")
        # Up to here the likeliest answer is the right one.
        together = np.cumprod(chunks["greedy_ids"] == chunks["answer_ids"], axis=1).astype(bool)
        before = np.concatenate((np.ones((len(ids), 1), bool), together[:, :-1]), axis=1)
        require(~together | (greedy == own), "greedy_logprobs", "not that of the right answer, which it is")
        require(~before | (greedy >= own), "greedy_logprobs", "less likely than the right answer's token at its place")
        return found


def _stated_prompt(value: Any) -> tuple[Prompt, str]:
    """The prompt and the right answer that the chunk `priming/prompt` states. Raises PellucidError where it is none."""
    fields = Fields(value, "the record's prompt")
    examples = [Fields(one, "an example") for one in fields.list("examples")]
    pairs = [(one.text("prompt"), one.text("completion")) for one in examples]
    return Prompt(fields.text("task"), pairs, fields.text("query"), fields.text("format")), fields.text("answer")


def _newest(activations: Activations, block: int, end: int) -> Array:
    """(H, Q, P) float64: the attention weights of a prompt's newest queries on its P = `end` tokens."""
    q, k = activations.tap.queries_and_keys(block)
    model = activations.model
    newest = q[:, max(end - _QUERIES, 0) : end]
    return attention_weights(newest, k[:, :end], model.config.pattern[block], model.compressor(block)).double().cpu().numpy()


def _largest(logprobs: Tensor) -> Tensor:
    """(V, 20) the largest log-probabilities of each list: the range that one number of a list is judged by."""
    return logprobs.topk(min(20, logprobs.shape[1])).values
