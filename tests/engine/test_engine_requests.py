"""How the engine schedules: chunks, order, sharing, the budget, errors. What computes is a few plain lines that note all."""

from collections import abc
from itertools import pairwise

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from plain_runner import BROKEN, CONFIG, N_CTX, POSITION_BYTES, VOCAB, Plain, alone, logits_of

from pellucid.engine import kv_memory
from pellucid.engine.driver import EngineDriver
from pellucid.engine.engine import Engine
from pellucid.engine.options import SamplingOptions
from pellucid.engine.prefix_cache import CachedPrefix, PrefixCache, shared_prefix_length
from pellucid.engine.request import Request
from pellucid.engine.sequence import Sequence, check_fits
from pellucid.errors import PellucidError
from pellucid.hashing import mix
from pellucid.runtime.runner import Mode


def engine_on(runner: Plain, *, memory: int | None = None, chunk: int = 8, rows: int = 64, prefix_cache: bool = True) -> Engine:
    return Engine(
        runner, tokenizer=None, end_of_text=VOCAB - 1, memory=memory, chunk=chunk, max_sequences=rows, prefix_cache=prefix_cache
    )


def submit(engine: Engine, prompt: abc.Sequence[int], options: SamplingOptions, sample: int = 0) -> Sequence:
    """One completion, checked as `Engine.submit` checks a request."""
    check_fits(prompt, options, CONFIG)
    row = Sequence(list(prompt), sample, options, None, VOCAB - 1)
    engine.add(row)
    return row


def ids(row: Sequence) -> list[int]:
    return [token.id for token in row.tokens]


def ask(tokens: int = 5, seed: int = 1) -> SamplingOptions:
    return SamplingOptions(max_tokens=tokens, seed=seed)


def prompt_of(length: int, salt: int = 0) -> list[int]:
    return [14 + mix(salt, place, 3) % 30 for place in range(length)]


def drain(engine: Engine) -> None:
    for _ in engine.run_until_idle():
        pass


def test_a_long_prompt_is_read_in_chunks_while_others_go_on() -> None:
    runner = Plain()
    engine = engine_on(runner, chunk=8)
    short = submit(engine, prompt_of(3, salt=1), ask(20))
    engine.step()
    long = submit(engine, prompt_of(30), ask())
    while not long.tokens:
        before = len(short.tokens)
        engine.step()
        assert len(short.tokens) == before + 1, "the short one had to wait"
    assert [[len(s.ids) for s in one] for one in runner.passes] == [[3], [1, 8], [1, 8], [1, 8], [1, 6]]
    assert [s.wanted for one in runner.passes[1:] for s in one[1:]] == ["none", "none", "none", "last"]
    drain(engine)
    assert ids(short) == alone(prompt_of(3, salt=1), ask(20)) and ids(long) == alone(prompt_of(30), ask())


def test_a_chunk_is_what_all_prompts_of_a_step_share_first_come_first_served() -> None:
    runner = Plain()
    engine = engine_on(runner, chunk=10)
    rows = [submit(engine, prompt_of(length, salt=length), ask(1)) for length in (4, 12, 5)]
    order = [row for row, _ in engine.run_until_idle()]
    assert order == rows
    assert [[len(s.ids) for s in one] for one in runner.passes] == [[4, 6], [6, 4], [1]]


def test_answers_to_one_prompt_share_one_reading() -> None:
    for mode in ("exact", "fast"):
        runner = Plain(mode)  # type: ignore[arg-type]
        engine = engine_on(runner, chunk=4)
        rows = [submit(engine, prompt_of(10), ask(), sample) for sample in range(5)]
        drain(engine)
        assert [ids(row) for row in rows] == [alone(prompt_of(10), ask(), sample) for sample in range(5)]
        assert [[len(s.ids) for s in one] for one in runner.passes[:4]] == [[4], [4], [2], [1] * 5]
        assert engine.stats.prompt_tokens == 10 and engine.stats.reused_tokens == 40


def test_answers_to_a_prompt_that_fills_the_window_share_its_reading_and_slide_at_once() -> None:
    runner = Plain()
    engine = engine_on(runner, chunk=N_CTX)
    options = SamplingOptions(max_tokens=40, slide=True, seed=2)
    rows = [submit(engine, prompt_of(N_CTX), options, sample) for sample in range(3)]
    drain(engine)
    assert [ids(row) for row in rows] == [alone_sliding(prompt_of(N_CTX), options, sample) for sample in range(3)]
    assert [[len(s.ids) for s in one] for one in runner.passes[:1]] == [[N_CTX]] and runner.copied[:2] == [N_CTX] * 2


def test_a_beginning_that_was_read_is_copied() -> None:
    header = prompt_of(20)
    runner = Plain()
    engine = engine_on(runner)
    submit(engine, [*header, 5, 6], ask(3))
    drain(engine)
    row = submit(engine, [*header, 7], ask(3))
    drain(engine)
    assert ids(row) == alone([*header, 7], ask(3))
    assert runner.copied == [20] and engine.stats.reused_tokens == 20
    runner.passes.clear()
    again = submit(engine, [*header, 5, 6], ask(3))  # all of it is there: its last token is read for its logits
    drain(engine)
    assert ids(again) == alone([*header, 5, 6], ask(3)) and [len(s.ids) for s in runner.passes[0]] == [1]


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_what_was_drawn_is_copied_only_where_that_gives_the_same_bits(mode: Mode) -> None:
    runner = Plain(mode)
    engine = engine_on(runner)
    first = submit(engine, prompt_of(10), ask(12))
    drain(engine)
    submit(engine, [*prompt_of(10), *ids(first), 3], ask(1))
    drain(engine)
    assert engine.stats.reused_tokens == (10 + 11 if mode == "exact" else 10)  # the last token drawn was never read


def test_without_a_prefix_cache_nothing_is_cached() -> None:
    runner = Plain()
    engine = engine_on(runner, prefix_cache=False)
    for _ in range(2):
        submit(engine, prompt_of(10), ask())
        drain(engine)
        assert not runner.sequences
    assert engine.stats.reused_tokens == 0 and engine.stats.prompt_tokens == 20


def test_what_never_fits_is_refused_and_says_what_would() -> None:
    engine = engine_on(Plain(), memory=20 * POSITION_BYTES)
    with pytest.raises(PellucidError, match="take 2,400 bytes, but the engine's memory is 2,000, which is enough for 21"):
        submit(engine, prompt_of(20), ask(5))
    submit(engine, prompt_of(16), ask(5))
    with pytest.raises(PellucidError, match="enough for 0 tokens"):
        submit(engine_on(Plain(), memory=1), [1], ask())
    for name, value in (("memory", 0), ("chunk", 0), ("max_sequences", True)):
        with pytest.raises(PellucidError, match=f"{name} must be a whole number"):
            Engine(Plain(), tokenizer=None, end_of_text=0, **{name: value})


def test_what_does_not_fit_now_waits_and_nobody_overtakes() -> None:
    runner = Plain()
    engine = engine_on(runner, memory=30 * POSITION_BYTES, chunk=64)
    rows = [submit(engine, prompt_of(length, salt=length), ask(5)) for length in (10, 20, 2)]
    assert engine.stats.waiting == 3
    engine.step()
    assert (engine.stats.running, engine.stats.waiting) == (1, 2), "the short one must not go before the long one"
    ended = [row for row, token in engine.run_until_idle() if token.finish_reason]
    assert ended == rows
    assert engine.stats.peak_nbytes == max(14, 24 + 6) * POSITION_BYTES


def test_cached_texts_are_evicted_the_least_recently_used_first() -> None:
    runner = Plain()
    engine = engine_on(runner, memory=41 * POSITION_BYTES)
    for salt in (1, 2, 3):
        submit(engine, prompt_of(10, salt), ask(1))
        drain(engine)
    submit(engine, [*prompt_of(10, 1), 5], ask(1))  # the first is used again; no kept one must go, and it takes its place
    drain(engine)
    assert engine.stats.cached == 3 and engine.stats.cached_nbytes == engine.stats.nbytes == 31 * POSITION_BYTES
    submit(engine, prompt_of(15, 4), ask(1))
    drain(engine)
    held = sorted(tuple(text) for _, text in runner.sequences.values())
    assert held == sorted(tuple(text) for text in ([*prompt_of(10, 1), 5], prompt_of(10, 3), prompt_of(15, 4)))


def test_an_answer_that_ended_early_keeps_no_more_than_it_wrote() -> None:
    for memory, kept in ((None, 11), (62, 11), (55, 50)):  # without room to move it stays where it is
        runner = Plain()
        engine = engine_on(runner, chunk=64, memory=None if memory is None else memory * POSITION_BYTES)
        row = submit(engine, prompt_of(10), ask(41))
        engine.step()
        engine.step()
        engine.cancel(row)
        assert engine.stats.cached_nbytes == runner.held() == kept * POSITION_BYTES
        assert memory is None or engine.stats.peak_nbytes <= memory * POSITION_BYTES


def test_a_cached_text_may_become_the_sequence_that_continues_it() -> None:
    runner = Plain()
    engine = engine_on(runner, memory=30 * POSITION_BYTES)
    first = submit(engine, prompt_of(10), ask(20))
    drain(engine)
    row = submit(engine, [*prompt_of(10), *ids(first)[:15]], ask(4))
    drain(engine)
    assert ids(row) == alone([*prompt_of(10), *ids(first)[:15]], ask(4))
    assert runner.opened == 1 and engine.stats.reused_tokens == 24


def test_an_error_ends_its_own_request_alone() -> None:
    runner = Plain()
    engine = engine_on(runner, chunk=64)
    good = submit(engine, prompt_of(5), ask(6))
    bad = [submit(engine, [1, BROKEN, 2], ask(6), sample) for sample in range(2)]
    late = submit(engine, [9, 2, 9], ask(6))
    engine.step()
    assert engine.finished == bad and all(row.finish_reason == "error" for row in bad)
    drain(engine)
    assert not any(row.error for row in engine.finished)
    for row in bad:
        with pytest.raises(PellucidError, match="not a number"):
            row.completion()
    assert ids(good) == alone(prompt_of(5), ask(6)) and ids(late) == alone([9, 2, 9], ask(6))
    assert not any(BROKEN in text for _, text in runner.sequences.values()), "nobody must copy from it"


@pytest.mark.parametrize("call", ["run", "open", "copy"])
def test_a_runner_that_raises_ends_the_requests_of_that_step_alone(call: str) -> None:
    runner = Plain()
    engine = engine_on(runner)
    first = submit(engine, prompt_of(12), ask(4))
    drain(engine)  # whose text can be copied
    whole = getattr(runner, call)
    row = submit(engine, [*prompt_of(12), 5], ask(4))
    setattr(runner, call, lambda *given: (_ for _ in ()).throw(MemoryError))
    assert engine.step() == [] and engine.finished == [row] and engine.idle
    setattr(runner, call, whole)
    with pytest.raises(MemoryError):
        row.completion()
    assert runner.held() == engine.stats.nbytes == engine.stats.cached_nbytes
    later = submit(engine, [*prompt_of(12), 5], ask(4))
    drain(engine)
    assert ids(first) == alone(prompt_of(12), ask(4)) and ids(later) == alone([*prompt_of(12), 5], ask(4))


def test_cancelling() -> None:
    runner = Plain()
    engine = engine_on(runner, rows=2, prefix_cache=False)
    rows = [submit(engine, prompt_of(5, salt), ask(6)) for salt in range(4)]
    engine.step()
    for row in (rows[0], rows[3]):  # one runs, one waits
        engine.cancel(row)
        assert row.finish_reason == "cancelled"
    assert rows[0].completion().ids == alone(prompt_of(5, 0), ask(6))[:1]
    drain(engine)
    assert [ids(row) for row in rows[1:3]] == [alone(prompt_of(5, salt), ask(6)) for salt in (1, 2)]
    assert not rows[3].tokens and not runner.sequences
    engine.cancel(rows[1])
    assert rows[1].finish_reason == "length"
    foreign = Sequence([1], 0, ask(), None, VOCAB - 1)
    engine.cancel(foreign)
    assert foreign.finish_reason is None
    submit(engine, prompt_of(3), ask())
    engine.close()
    assert engine.idle and not runner.sequences
    with pytest.raises(PellucidError, match="the engine is closed"):
        submit(engine, [1], ask())


def test_no_tokens_wanted_is_nothing_to_do() -> None:
    engine = engine_on(Plain())
    row = submit(engine, [1], ask(0))
    assert engine.idle and row.finish_reason == "length" and engine.step() == []


def test_an_unfinished_completion_says_so() -> None:
    row = submit(engine_on(Plain()), [1], ask())
    with pytest.raises(PellucidError, match="not finished"):
        row.completion()


def test_an_empty_prompt_is_refused() -> None:
    for make in (lambda: Request(prompt=[], options=ask()), lambda: Sequence([], 0, ask(), None, VOCAB - 1)):
        with pytest.raises(PellucidError, match="the prompt is empty"):
            make()


def test_requests_are_checked() -> None:
    for prompt, options, says in (
        ([VOCAB], ask(), "outside the vocabulary"),
        (prompt_of(N_CTX + 1), ask(), "reads 64 at most"),
        (prompt_of(60), ask(6), "leaves room for 5"),
    ):
        with pytest.raises(PellucidError, match=says):
            submit(engine_on(Plain()), prompt, options)


@pytest.mark.parametrize("what", ["text", [1, 2], None, 5, ask()])
def test_only_requests_and_sequences_are_taken(what: object) -> None:
    engine = engine_on(Plain())
    with pytest.raises(PellucidError, match=r"request must be a Request \(model\.new_request\(prompt, \.\.\.\) makes one\)"):
        engine.submit(what)  # type: ignore[arg-type]
    for method in (engine.add, engine.cancel):
        with pytest.raises(PellucidError, match="what must be a Sequence or a SequenceGroup"):
            method(what)  # type: ignore[arg-type]
    with EngineDriver(engine) as driver:
        for method in (driver.submit, driver.stream, driver.astream):
            with pytest.raises(PellucidError, match="request must be a Request"):
                method(what)
    for closed in (engine, driver):
        with pytest.raises(PellucidError, match="the engine is closed"):
            closed.submit(Request(prompt=[1], options=ask()))


@cases(20)
@given(lengths=st.lists(st.integers(2, 40), min_size=1, max_size=12), limit=st.integers(0, 100))
def test_without_a_memory_limit_finished_texts_take_no_more_than_theirs(lengths: list[int], limit: int) -> None:
    runner = Plain()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kv_memory, "CACHED_BYTES", limit * POSITION_BYTES)
        engine = engine_on(runner)
        for salt, length in enumerate(lengths):
            submit(engine, prompt_of(length, salt), ask(1))
            drain(engine)
            assert engine.stats.cached_nbytes == runner.held() <= limit * POSITION_BYTES
        assert engine.stats.cached or limit < lengths[-1]  # the last one is kept where it fits
    engine.close()
    assert not runner.sequences


request = st.tuples(st.integers(0, 9), st.integers(0, 30), st.integers(0, 3), st.integers(1, 25), st.booleans())


@pytest.mark.long
@cases(50)
@given(
    st.lists(request, min_size=1, max_size=6), st.integers(1, 40), st.integers(1, 5), st.integers(N_CTX, 200) | st.none(),
    st.sampled_from(["exact", "fast"]), st.booleans(),
)  # fmt: skip
def test_whatever_comes_is_answered_within_the_budget(
    asked: list[tuple[int, int, int, int, bool]], chunk: int, rows: int, positions: int | None, mode: Mode, prefix_cache: bool
) -> None:
    runner = Plain(mode)
    memory = None if positions is None else positions * POSITION_BYTES
    engine = engine_on(runner, chunk=chunk, rows=rows, memory=memory, prefix_cache=prefix_cache)
    sent: list[tuple[Sequence, list[int], SamplingOptions]] = []
    for now in range(1000):
        for arrives, shared, salt, tokens, slide in asked:
            if arrives == now:
                prompt = [*prompt_of(shared), *prompt_of(3, salt)]
                options = SamplingOptions(max_tokens=tokens + 40 * slide, slide=slide, seed=salt)
                sent.append((submit(engine, prompt, options), prompt, options))
        engine.step()
        assert memory is None or runner.held() <= memory
        assert engine.stats.nbytes == runner.held() <= engine.stats.peak_nbytes
        if engine.idle and now >= 9:
            break
    for row, prompt, options in sent:
        assert ids(row) == (alone_sliding(prompt, options) if options.slide else alone(prompt, options))
    for one in runner.passes:
        assert sum(len(s.ids) for s in one if len(s.ids) > 1) <= chunk and len(one) <= rows
    engine.close()
    assert not runner.sequences


def alone_sliding(prompt: list[int], options: SamplingOptions, sample: int = 0) -> list[int]:
    row, text, start = Sequence(list(prompt), sample, options, None, VOCAB - 1), list(prompt), 0
    while row.finish_reason is None:
        while len(text) - start > N_CTX:
            start += N_CTX // 2
        text.append(row.append_token(logits_of(text[start:])).id)
    return text[len(prompt) :]


@given(st.lists(st.integers(0, 1), max_size=12), st.lists(st.integers(0, 1), max_size=12))
def test_a_shared_prefix_length(a: list[int], b: list[int]) -> None:
    length = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    assert shared_prefix_length(a, b) == length


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=6), max_size=10), st.lists(st.integers(0, 1), max_size=8))
def test_no_cached_text_is_a_prefix_of_another(texts: list[list[int]], asked: list[int]) -> None:
    prefixes, closed = PrefixCache(), 0
    for number, text in enumerate(texts):
        closed += len(prefixes.add(CachedPrefix(text, number, 9, 1)))
    assert len(prefixes) == prefixes.nbytes == len(texts) - closed
    kept = sorted(one.token_ids for one in prefixes._cached)
    assert all(shared_prefix_length(a, b) < len(a) for a, b in pairwise(kept))  # sorted: a beginning stands right before
    found, shared = prefixes.best(asked)
    assert shared == max((shared_prefix_length(text, asked) for text in texts), default=0)
    assert (found is None) == (shared == 0)


salts = st.sampled_from([None, "a", "b"])
# Arrives, shared tokens, ending, tokens, salt, scored.
salted = st.tuples(st.integers(0, 6), st.integers(0, 30), st.integers(0, 2), st.integers(0, 6), salts, st.booleans())


@cases(12)
@given(st.lists(salted, min_size=1, max_size=6), st.integers(N_CTX, 200) | st.none(), st.sampled_from(["exact", "fast"]))
def test_what_one_asks_changes_nothing_of_what_is_read_for_another(
    asked: list[tuple[int, int, int, int, str | None, bool]], positions: int | None, mode: Mode
) -> None:
    """Of each cache salt as many tokens are copied as if nobody else had asked; with a budget evictions are shared."""

    def served(requests: list[tuple[int, int, int, int, str | None, bool]]) -> tuple[int, list[list[int]]]:
        runner = Plain(mode)
        memory = None if positions is None else positions * POSITION_BYTES
        engine = Engine(runner, tokenizer=None, end_of_text=VOCAB - 1, memory=memory)
        groups, left = [], sorted(requests, key=lambda one: one[0])
        for now in range(1000):
            while left and left[0][0] <= now:
                _, shared, ending, tokens, salt, scored = left.pop(0)
                options = SamplingOptions(max_tokens=tokens, seed=ending)
                prompt = [*prompt_of(shared), *prompt_of(3, ending)]
                groups.append(engine.submit(
                    Request(prompt=prompt, options=options, cache_salt=salt, prompt_logprobs=1 if scored else None)
                ))  # fmt: skip
            engine.step()
            if engine.idle and not left:
                break
        for group in groups:
            row = group.sequences[0]
            assert ids(row) == (alone(row.prompt, row.options) if row.options.max_tokens else [])
        return engine.stats.reused_tokens, [ids(group.sequences[0]) for group in groups]

    together = served(asked)[0]
    apart = sum(served([one for one in asked if one[4] == salt])[0] for salt in (None, "a", "b"))
    assert together == apart if positions is None else True
