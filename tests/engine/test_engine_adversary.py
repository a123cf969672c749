"""The engine under requests, cancellations and failures in any order, on a runner that checks every call.

The runner's logits are a hash of the text before them, so an answer tells at once whether the engine lost, mixed up or copied
too much of a text. V = 6 and a context of 16: texts begin alike, slide and run into the budget all the time.
"""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.engine.engine import Engine
from pellucid.engine.sampling import SamplingOptions
from pellucid.engine.sequence import Sequence, check_fits, window_start
from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.pattern import all_dense
from pellucid.runtime.runner import TokenSpan


V, N_CTX, TRACK = 6, 16, 10
CONFIG = GPTConfig(vocab_size=V, n_ctx=N_CTX, n_layers=1, d_model=4, n_heads=1, pattern=all_dense(1))


class Lost(RuntimeError):
    """What the runner raises when it is told to."""


def hashed(ids: list[int]) -> np.ndarray:
    """The (V,) logits after a text; of one text in sixteen they are no numbers."""
    seed = zlib.crc32(bytes(ids))
    if seed % 16 == 0:
        return np.full(V, np.nan, np.float32)
    return np.random.default_rng(seed).normal(0, 2, V).astype(np.float32)


class Checking:
    """A runner that holds texts themselves, and refuses a call that the protocol does not allow."""

    config, mode, path = CONFIG, "exact", "hash"

    def __init__(self, budget: int | None) -> None:
        self.budget, self.texts, self.capacity, self.opened, self.fails = budget, {}, {}, 0, False

    def sequence_bytes(self, capacity: int) -> int:
        return TRACK * capacity

    def held(self) -> int:
        return sum(TRACK * capacity for capacity in self.capacity.values())

    def open(self, capacity: int) -> int:
        assert 1 <= capacity <= N_CTX
        self.opened += 1
        self.texts[self.opened], self.capacity[self.opened] = [], capacity
        assert self.budget is None or self.held() <= self.budget
        return self.opened

    def close(self, sequence: int) -> None:
        del self.texts[sequence], self.capacity[sequence]

    def copy(self, source: int, target: int, tracks: int) -> None:
        assert source != target
        assert 0 < tracks <= min(len(self.texts[source]), self.capacity[target])
        self.texts[target] = self.texts[source][:tracks]

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
        return {"none": lambda: None, "last": lambda: hashed(text)}[segment.wanted]()


def alone(prompt: list[int], options: SamplingOptions, sample: int) -> Sequence:
    """The oracle: nothing is kept, copied or read together."""
    row = Sequence(list(prompt), sample, options, None, V - 1)
    while row.finish_reason is None:
        text = prompt + [token.id for token in row.tokens]
        start = window_start(len(text), N_CTX) if options.slide else 0
        try:
            row.take(hashed(text[start:]))
        except PellucidError as error:
            row.fail(error)
    return row


def assert_alone(row: Sequence) -> None:
    expected = alone(row.prompt, row.options, row.sample)
    if row.finish_reason != "cancelled":
        assert row.finish_reason == expected.finish_reason
        assert row.tokens == expected.tokens
    else:
        assert row.tokens == expected.tokens[: len(row.tokens)]


REQUEST = st.tuples(
    st.just("submit"), st.lists(st.integers(0, 1), min_size=1, max_size=20), st.integers(0, 24), st.integers(0, 3),
    st.booleans(), st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0]),
)  # fmt: skip
WHAT_HAPPENS = st.lists(
    st.one_of(REQUEST, REQUEST, st.just(("step",)), st.just(("fail",)), st.tuples(st.just("cancel"), st.integers(0, 30))),
    max_size=40,
)  # fmt: skip
BUDGET = st.one_of(st.none(), st.integers(1, 4 * N_CTX * TRACK))
LENGTHS = st.lists(st.tuples(st.integers(1, 16), st.integers(1, 4)), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(WHAT_HAPPENS, BUDGET, st.integers(1, 20), st.integers(1, 5), st.booleans())
def test_whatever_happens_each_answer_is_what_it_is_alone(happens, budget, chunk, rows, prefix_cache):
    """Bits, the budget at every moment, first come first served, an end in a bounded number of steps, and nothing left over."""
    runner = Checking(budget)
    engine = Engine(
        runner, tokenizer=None, end_of_text=V - 1, memory=budget, chunk=chunk, rows=rows, prefix_cache=prefix_cache
    )  # fmt: skip
    asked: list[Sequence] = []

    def step():
        failing = runner.fails
        before = [(len(row.tokens), row.finish_reason) for row in asked]
        try:
            drawn = engine.step()
        except Lost:
            assert failing
            assert [(len(row.tokens), row.finish_reason) for row in asked] == before
            return
        for row, token in drawn:
            assert row.tokens[-1] is token  # one token of a row a step
        assert len({id(row) for row, _ in drawn}) == len(drawn)
        now = engine.statistics
        assert now.bytes == runner.held()
        assert now.running <= rows
        assert budget is None or max(now.bytes, now.peak_bytes) <= budget

    for name, *details in happens:
        if name == "submit":
            prompt, most, sample, slide, temperature, penalty = details
            options = SamplingOptions(
                max_tokens=most, seed=7, slide=slide, temperature=temperature, presence_penalty=penalty
            )  # fmt: skip
            try:
                check_fits(prompt, options, CONFIG)
                asked.append(engine.submit(prompt, options, sample=sample))
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
    assert engine.statistics.bytes == runner.held() == 0


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(1, 3), st.integers(1, 20))
def test_nobody_overtakes_into_the_model(requests, rows, chunk):
    """However small those behind are, the first of the queue goes in first."""
    runner = Checking(N_CTX * TRACK)
    engine = Engine(runner, tokenizer=None, end_of_text=V - 1, memory=N_CTX * TRACK, chunk=chunk, rows=rows)
    waiting: list[Sequence] = []
    for length, most in requests:
        most = min(most, N_CTX + 1 - length)
        waiting.append(engine.submit([0] * length, SamplingOptions(max_tokens=most, seed=1)))
    while not engine.idle:
        engine.step()
        still = engine.statistics.waiting
        let_in, not_yet = waiting[: len(waiting) - still], waiting[len(waiting) - still :]
        assert all(row.finish_reason is None and not row.tokens for row in not_yet)
        assert sum(row.finish_reason is None for row in let_in) == engine.statistics.running
    engine.close()
    assert runner.held() == 0


def test_the_runner_here_refuses_what_the_protocol_does():
    runner = Checking(None)
    sequence = runner.open(2)
    with pytest.raises(AssertionError):
        runner.run([TokenSpan(sequence, 1, [0])])
    with pytest.raises(AssertionError):
        runner.run([TokenSpan(sequence, 0, [0, 0, 0])])
