"""What the figure `tokens` shows of a generation record: each step with its distribution, cut, draw, time and cache.

L blocks, S steps, T positions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, isnan
from typing import Any

from pellucid.draw.film.nodes import Shows, given
from pellucid.draw.views.model_info import RecordedModel, read_model
from pellucid.draw.views.pieces import Pieces, read_pieces
from pellucid.languages import listed, mark, plural, tr
from pellucid.record import Record


GREEDY = mark("temperature 0")  # the cut in words
PENALTIES = {
    "repetition_penalty": mark("repetition penalty {value:g}"), "frequency_penalty": mark("frequency penalty {value:g}"),
    "presence_penalty": mark("presence penalty {value:g}"),
}  # fmt: skip
CACHE_BYTES = "generation/cache_bytes"
STEPS = "generation/steps/"
VALUE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationStep:
    """One step of a generation. Unless said otherwise its numbers stand in `generation/steps/*` and are derived.

    Attributes:
        number: from 0. context: tokens before it. read: how many of them went through the model in this step. drawn: its token.
        p, logprob: of the drawn token, in the model's own distribution.
        listed: (token, p, share of what was drawn from) of the candidates, the likeliest first.
        kept: tokens left by the cut. vocabulary: all there are. cut: the options of the cut in words; "" for none.
        draw: u from 0 to 1, NaN at temperature 0. span: the drawn token's part of [0, 1), None if not recorded.
        seconds: it took (`generation/timings/steps`, measured).
        cache, cache_last: bytes of keys and values after it and after the last step, from the model's shape.
        position_states: the state of each position so far (`generation/cells`): its keys and values were computed in this
            step (1), are kept by all blocks (2), or no longer by some of them (3).
    """

    number: int
    context: tuple[int, ...]
    read: int
    drawn: int
    p: float
    logprob: float
    listed: tuple[tuple[int, float, float], ...]
    kept: int
    vocabulary: int
    draw: float
    span: tuple[float, float] | None
    seconds: float
    cache: int
    cache_last: int
    position_states: tuple[int, ...]
    cut: str

    @property
    def greedy(self) -> bool:
        """Whether the token was not drawn at random."""
        return isnan(self.draw)

    @property
    def taken(self) -> str:
        """What a greedy step takes, in words."""
        if self.likeliest:
            return tr("likeliest token")
        return tr("token with the largest logit after penalties and biases")

    @property
    def likeliest(self) -> bool:
        """Whether nothing else changed the distribution of a greedy step."""
        return self.cut == tr(GREEDY)

    @property
    def changed(self) -> bool:
        """Whether the distribution that was drawn from is not the model's own."""
        return bool(self.cut)

    def shows(self, chunk: str, *index: int) -> Shows:
        """Where a number of this step stands in `generation/steps/`."""
        return Shows(f"{STEPS}{chunk}", (self.number, *index), None, "derived")

    def shows_seconds(self) -> Shows:
        """Where its time stands."""
        return Shows("generation/timings/steps", (self.number,), None, "measured")

    def shows_cache(self) -> Shows:
        """Where the shape stands from which the bytes of its cache follow."""
        return Shows("provenance", (), self.number)

    def spans(self) -> list[tuple[int, float, float]]:
        """(token, from, to) on the line from 0 to 1, in the order of ids.

        Those of all tokens that the cut left where the record lists them all, else that of the drawn token alone, if recorded.
        """
        kept = sorted((token, share) for token, _, share in self.listed if share > 0)
        if len(kept) == self.kept:
            total, at, found = sum(share for _, share in kept), 0.0, []
            for token, share in kept:
                found.append((token, at, at + share / total))
                at += share / total
            return found
        return [] if self.span is None else [(self.drawn, *self.span)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensView:
    """The figure's values: the model, the pieces of tokens, how many tokens the prompt has, every step.

    Attributes:
        value_bytes: of each number in the KV cache. cache_bytes: that the runner allocated (measured); None: not recorded.
    """

    model: RecordedModel
    pieces: Pieces
    prompt: int
    steps: tuple[GenerationStep, ...]
    value_bytes: int
    cache_bytes: int | None

    @property
    def ids(self) -> tuple[int, ...]:
        """All tokens: the prompt's and the drawn ones."""
        return (*self.steps[0].context, *(step.drawn for step in self.steps))

    def shows_cache_bytes(self) -> Shows:
        """Where `cache_bytes` stands in the record."""
        return Shows(CACHE_BYTES, (0,), None, "measured")

    def source(self, i: int) -> Shows:
        """Where token i stands in the record: in the prompt (given), or among the drawn ones (derived)."""
        return given("generation/prompt_ids", i) if i < self.prompt else Shows(f"{STEPS}drawn_ids", (i - self.prompt,))


def tokens_view(record: Record) -> TokensView:
    """Reads a generation record. Raises MissingChunk where it lacks a chunk that the figure needs."""
    model = read_model(record)
    prompt = record["generation/prompt_ids"].tolist()
    columns = {
        name: record[f"{STEPS}{name}"].tolist()
        for name in ("drawn_ids", "drawn_logprobs", "topk_ids", "topk_logprobs", "topk_shares", "kept", "draw")
    }
    spans = record[f"{STEPS}drawn_span"].tolist() if f"{STEPS}drawn_span" in record else None
    seconds = record["generation/timings/steps"].tolist()
    drawn = columns["drawn_ids"]
    states = _position_states(record["generation/cells"])
    value_bytes = VALUE_BYTES[model.dtype]
    last = model.config.kv_bytes(len(prompt) + len(drawn) - 1, bytes_per_value=value_bytes)
    cut = _cut(record.provenance.sampling or {})
    steps = []
    for i, token in enumerate(drawn):
        context = (*prompt, *drawn[:i])
        listed = zip(columns["topk_ids"][i], map(exp, columns["topk_logprobs"][i]), columns["topk_shares"][i], strict=True)
        steps.append(
            GenerationStep(
                number=i, context=context, read=len(prompt) if i == 0 else 1, drawn=token,
                p=exp(columns["drawn_logprobs"][i]), logprob=columns["drawn_logprobs"][i], listed=tuple(listed),
                kept=columns["kept"][i], vocabulary=model.config.vocab_size, draw=columns["draw"][i],
                span=None if spans is None else tuple(spans[i]), seconds=seconds[i],
                cache=model.config.kv_bytes(len(context), bytes_per_value=value_bytes), cache_last=last, cut=cut,
                position_states=states[i],
            )
        )  # fmt: skip
    return TokensView(
        model=model, pieces=read_pieces(record), prompt=len(prompt), steps=tuple(steps), value_bytes=value_bytes,
        cache_bytes=int(record[CACHE_BYTES][0]) if CACHE_BYTES in record else None,
    )  # fmt: skip


def _position_states(cells: Any) -> list[tuple[int, ...]]:
    """(S, L, T) states of keys and values -> for each step, of each position so far: computed, kept by all, not by some."""
    by_step = []
    for step in cells:
        there = step[:, (step > 0).any(axis=0)]
        by_step.append(tuple(1 if 1 in states else 3 if 3 in states else 2 for states in there.T.tolist()))
    return by_step


def _cut(options: Mapping[str, Any]) -> str:
    """The sampling options that change the distribution, in words; "" for none."""
    temperature, top_k, top_p = options.get("temperature", 1.0), options.get("top_k"), options.get("top_p")
    parts = [tr(words, value=options[name]) for name, words in PENALTIES.items() if name in options]
    biased = len(options.get("logit_bias", ()))
    parts += [plural(biased, "{count} token biased", "{count} tokens biased")] if biased else []
    if temperature == 0:
        return listed([*parts, tr(GREEDY)])
    parts += [tr("temperature {value:g}", value=temperature)] if temperature != 1 else []
    parts += [f"top-k {top_k}"] if top_k is not None else []
    parts += [f"top-p {top_p:g}"] if top_p is not None and top_p < 1 else []
    parts += [f"min-p {options['min_p']:g}"] if options.get("min_p") else []
    return listed(parts)
