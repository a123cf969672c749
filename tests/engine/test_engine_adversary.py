"""The engine under requests, cancellations and failures in any order, on a runner that checks every call.

The runner's logits are a hash of the text before them, so an answer tells at once whether the engine lost, mixed up or copied
too much of a text. V = 6 and a context of 16: texts begin alike, slide and run into the budget all the time.
"""

import zlib

import numpy as np
import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

from pellucid.engine.engine import Engine
from pellucid.engine.options import SamplingOptions
from pellucid.engine.sequence import Sequence, check_fits, window_start
from pellucid.errors import PellucidError
from pellucid.gpt.arrangements import all_dense
from pellucid.gpt.config import GPTConfig
from pellucid.runtime.runner import TokenSpan


V, N_CTX, POSITION_BYTES = 6, 16, 10
CONFIG = GPTConfig(vocab_size=V, n_ctx=N_CTX, n_layers=1, d_model=4, n_heads=1, pattern=all_dense(1))


class Lost(RuntimeError):
    """What the runner raises when it is told to."""


def hashed(ids: list[int]) -> np.ndarray:
    """The (V,) logits after a text; of one text in sixteen they are no numbers."""
    seed = zlib.crc32(bytes(ids))
    if seed % 16 == 0:
        return np.full(V, np.nan, np.float32)
    return np.random.default_rng(seed).normal(0, 2, V).astype(np.float32)


def all_hashed(text: list[int], first: int) -> np.ndarray:
    """The (T, V) logits after each token from position `first` on."""
    return np.array([hashed(text[: end + 1]) for end in range(first, len(text))])


class Checking:
    """A runner that holds texts themselves, and refuses a call that the protocol does not allow."""

    config, mode, path, cached = CONFIG, "exact", "hash", True

    def __init__(self, budget: int | None) -> None:
        self.budget, self.texts, self.capacity, self.opened, self.fails = budget, {}, {}, 0, False

    def sequence_bytes(self, capacity: int) -> int:
        return POSITION_BYTES * capacity

    def held(self) -> int:
        return sum(POSITION_BYTES * capacity for capacity in self.capacity.values())

    def open(self, capacity: int) -> int:
        assert 1 <= capacity <= N_CTX
        self.opened += 1
        self.texts[self.opened], self.capacity[self.opened] = [], capacity
        assert self.budget is None or self.held() <= self.budget
        return self.opened

    def close(self, sequence: int) -> None:
        del self.texts[sequence], self.capacity[sequence]

    def copy(self, source: int, target: int, positions: int) -> None:
        assert source != target
        assert 0 < positions <= min(len(self.texts[source]), self.capacity[target])
        self.texts[target] = self.texts[source][:positions]

    def run(self, segments):
        assert segments
        assert len({segment.sequence for segment in segments}) == len(segments)
        if self.fails:
            self.fails = False
            raise Lost
        return [self._read(segment) for segment in segments]

    def _read(self, segment: TokenSpan):
        before = self.texts[segment.sequence]
        assert segment.ids
        assert segment.first <= len(before)
        text = before[: segment.first] + list(segment.ids)
        assert len(text) <= self.capacity[segment.sequence]
        self.texts[segment.sequence] = text
        if segment.wanted == "all":
            return all_hashed(text, segment.first)
        return hashed(text) if segment.wanted == "last" else None


def alone(prompt: list[int], options: SamplingOptions, sample: int, top: int | None) -> Sequence:
    """The oracle: nothing is kept, copied or read together."""
    row = Sequence(list(prompt), sample, options, None, V - 1, prompt_logprobs=top)
    try:
        for place in range(1, len(prompt) if top is not None else 1):
            assert row.prompt_logprobs is not None
            row.prompt_logprobs.extend(hashed(prompt[:place])[None], [prompt[place]])
    except PellucidError as error:
        row.fail(error)
    if row.finish_reason is None and options.max_tokens == 0:
        row.finish_reason = "length"
    while row.finish_reason is None:
        text = prompt + [token.id for token in row.tokens]
        start = window_start(len(text), N_CTX) if options.slide else 0
        try:
            row.append_token(hashed(text[start:]))
        except PellucidError as error:
            row.fail(error)
    return row


def assert_alone(row: Sequence) -> None:
    top = None if row.prompt_logprobs is None else row.prompt_logprobs.top
    expected = alone(row.prompt, row.options, row.sample, top)
    if row.finish_reason != "cancelled" and not isinstance(row.error, Lost):
        assert row.finish_reason == expected.finish_reason
        assert row.tokens == expected.tokens
        assert row.error is not None or row.prompt_logprobs == expected.prompt_logprobs
    else:
        assert row.tokens == expected.tokens[: len(row.tokens)]


REQUEST = st.tuples(
    st.just("submit"), st.lists(st.integers(0, 1), min_size=1, max_size=20), st.integers(0, 24), st.integers(0, 3),
    st.booleans(), st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0]), st.none() | st.integers(0, 2),
)  # fmt: skip
WHAT_HAPPENS = st.lists(
    st.one_of(REQUEST, REQUEST, st.just(("step",)), st.just(("fail",)), st.tuples(st.just("cancel"), st.integers(0, 30))),
    max_size=40,
)  # fmt: skip
BUDGET = st.one_of(st.none(), st.integers(1, 4 * N_CTX * POSITION_BYTES))
LENGTHS = st.lists(st.tuples(st.integers(1, 16), st.integers(1, 4)), min_size=1, max_size=12)


@cases(150)
@given(WHAT_HAPPENS, BUDGET, st.integers(1, 20), st.integers(1, 5), st.booleans())
def test_whatever_happens_each_answer_is_what_it_is_alone(happens, budget, chunk, rows, prefix_cache):
    """Bits, the budget at every moment, first come first served, an end in a bounded number of steps, and nothing left over."""
    runner = Checking(budget)
    engine = Engine(
        runner, tokenizer=None, end_of_text=V - 1, memory=budget, chunk=chunk, max_sequences=rows, prefix_cache=prefix_cache
    )  # fmt: skip
    asked: list[Sequence] = []

    def step():
        failing = runner.fails
        before = [(len(row.tokens), row.finish_reason) for row in asked]
        drawn = engine.step()
        ended = [(row, tokens) for row, (tokens, reason) in zip(asked, before, strict=True) if row.finish_reason != reason]
        assert {id(row) for row, _ in ended} == {id(row) for row in engine.finished}
        if failing and not runner.fails:  # it ran, and raised: the sequences of this step end as they were, and no other
            assert ended and drawn == []
            assert all(isinstance(row.error, Lost) and len(row.tokens) == tokens for row, tokens in ended)
            assert engine.stats.nbytes == runner.held()
            return
        for row, token in drawn:
            assert row.tokens[-1] is token  # one token of a row a step
        assert len({id(row) for row, _ in drawn}) == len(drawn)
        now = engine.stats
        assert now.nbytes == runner.held()
        assert now.running <= rows
        assert budget is None or max(now.nbytes, now.peak_nbytes) <= budget

    for name, *details in happens:
        if name == "submit":
            prompt, most, sample, slide, temperature, penalty, top = details
            options = SamplingOptions(
                max_tokens=most, seed=7, slide=slide, temperature=temperature, presence_penalty=penalty
            )  # fmt: skip
            try:
                check_fits(prompt, options, CONFIG, top)
                new = Sequence(list(prompt), sample, options, None, V - 1, prompt_logprobs=top)
                engine.add(new)
                asked.append(new)
            except PellucidError:
                continue
        elif name == "cancel" and asked:
            engine.cancel(asked[details[0] % len(asked)])
        elif name == "fail":
            runner.fails = True
        elif name == "step":
            step()
    # Alone, one after the other, with nothing copied and every window read anew, they take this many steps at most.
    bound = 1 + sum((1 + row.options.max_tokens) * (1 + N_CTX) for row in asked)
    while not engine.idle:
        bound -= 1
        assert bound >= 0, "somebody starves"
        step()
    for row in asked:
        assert_alone(row)
    engine.close()
    assert engine.stats.nbytes == runner.held() == 0


@cases(60)
@given(LENGTHS, st.integers(1, 3), st.integers(1, 20))
def test_nobody_overtakes_into_the_model(requests, rows, chunk):
    """However small those behind are, the first of the queue goes in first."""
    runner = Checking(N_CTX * POSITION_BYTES)
    engine = Engine(runner, tokenizer=None, end_of_text=V - 1, memory=N_CTX * POSITION_BYTES, chunk=chunk, max_sequences=rows)
    waiting: list[Sequence] = []
    for length, most in requests:
        most = min(most, N_CTX + 1 - length)
        waiting.append(Sequence([0] * length, 0, SamplingOptions(max_tokens=most, seed=1), None, V - 1))
        engine.add(waiting[-1])
    while not engine.idle:
        engine.step()
        still = engine.stats.waiting
        let_in, not_yet = waiting[: len(waiting) - still], waiting[len(waiting) - still :]
        assert all(row.finish_reason is None and not row.tokens for row in not_yet)
        assert sum(row.finish_reason is None for row in let_in) == engine.stats.running
    engine.close()
    assert runner.held() == 0


def test_the_runner_here_refuses_what_the_protocol_does():
    runner = Checking(None)
    sequence = runner.open(2)
    with pytest.raises(AssertionError):
        runner.run([TokenSpan(sequence, 1, [0])])
    with pytest.raises(AssertionError):
        runner.run([TokenSpan(sequence, 0, [0, 0, 0])])
