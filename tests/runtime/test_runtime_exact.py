"""Exact mode, bit for bit: whatever else an engine does meanwhile, an answer is what a fresh engine gives its prompt alone."""

from collections import Counter, abc
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from models import lively
from numpy.typing import NDArray

import pellucid
from pellucid.engine.completion import Token
from pellucid.engine.engine import Engine
from pellucid.engine.options import SamplingOptions
from pellucid.engine.prefix_cache import shared_prefix_length
from pellucid.engine.sampling import adjusted, candidates, uniform
from pellucid.engine.sequence import Sequence, window_start
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.pattern import parse
from pellucid.runtime.kernel.runner import unavailable_reason
from pellucid.runtime.runner import Runner, TokenSpan
from pellucid.runtime.runner_selection import Kernel
from pellucid.runtime.torch_runner import TOLERANCE, TorchRunner


VOCAB, N_CTX = 61, 28
PATTERNS = {
    "gpt3": "banded(5) dense banded(11) dense",
    "sparse": "strided(6) fixed(9,2) local(7) column(5)",
    "other": "compressed(3,3) heads(local(8),column(8)) summary(5,2) compressed(5,2)",
    "relative": "dense banded(9)",
    "narrow": "dense banded(3)",  # so that no pass of several tokens is whole vectors: one by one
}
CHANGES = {
    "narrow": {"d_model": 6, "n_heads": 2},
    "relative": {"d_embed": 12, "norm": "post", "activation": "relu", "attention_scale": False, "qkv_bias": False},
}


@cache
def make(name: str, dtype: torch.dtype = torch.float32) -> pellucid.GPT:
    pattern = tuple(map(parse, PATTERNS[name].split()))
    config = GPTConfig(vocab_size=VOCAB, n_ctx=N_CTX, n_layers=len(pattern), d_model=24, n_heads=4, pattern=pattern)
    return lively(pellucid.GPT(config.replace(**CHANGES.get(name, {})), seed=3)).to(dtype)


@cache
def runner_of(name: str, dtype: torch.dtype = torch.float32, kernel: Kernel = "off", cache: str | None = None) -> Runner:
    return make(name, dtype).runner(mode="exact", kernel=kernel, cache=cache)


RUNNERS: dict[str, tuple[str, torch.dtype, Kernel, str | None]] = {
    **{name: (name, torch.float32, "off", None) for name in PATTERNS},
    "bfloat16": ("gpt3", torch.bfloat16, "off", None),
    "float64": ("other", torch.float64, "off", None),
}
if unavailable_reason(make("gpt3").config) is None:
    RUNNERS |= {
        "kernel": ("gpt3", torch.float32, "only", "float32"),
        "kernel bfloat16": ("gpt3", torch.bfloat16, "only", "float16"),
        "kernel bfloat16, float32 cache": ("gpt3", torch.bfloat16, "only", "float32"),
    }
each = pytest.mark.parametrize("name", RUNNERS)


def engine_on(runner: Runner, **options: int) -> Engine:
    return Engine(runner, tokenizer=None, end_of_text=VOCAB - 1, **options)


def add(engine: Engine, prompt: abc.Sequence[int], options: SamplingOptions, sample: int = 0) -> Sequence:
    row = Sequence(list(prompt), sample, options, engine.tokenizer, engine.end_of_text)
    engine.add(row)
    return row


@dataclass(frozen=True)
class Asked:
    """A request: when it comes, when it is cancelled (if it still runs), and what it asks."""

    arrives: int
    cancelled: int | None
    prompt: tuple[int, ...]
    options: SamplingOptions
    sample: int


@cache
def alone(runner: Runner, prompt: tuple[int, ...], options: SamplingOptions, sample: int) -> list[Token]:
    """The oracle: a fresh engine with nothing else to do, its prompt read as a whole."""
    engine = engine_on(runner, chunk=2 * N_CTX)
    row = add(engine, prompt, options, sample)
    for _ in engine.run_until_idle():
        pass
    engine.close()
    return row.tokens


@st.composite
def requests(draw: st.DrawFn) -> list[Asked]:
    """Requests whose prompts often begin alike, some of them several answers to one prompt."""
    base = tuple((7 * place + 3) % VOCAB for place in range(N_CTX))
    found = []
    for _ in range(draw(st.integers(1, 3))):
        shared = draw(st.integers(0, 18))
        own = draw(st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=6))
        prompt = (*base[:shared], *own)
        slide = draw(st.booleans())
        options = SamplingOptions(
            max_tokens=draw(st.integers(1, 20 if slide else min(14, N_CTX + 1 - len(prompt)))), slide=slide,
            seed=draw(st.integers(0, 3)),
            temperature=draw(st.sampled_from([0.0, 1.0])), logprobs=draw(st.sampled_from([None, 2])),
            frequency_penalty=draw(st.sampled_from([0.0, 0.5])),
        )  # fmt: skip
        arrives = draw(st.integers(0, 12))
        cancelled = draw(st.none() | st.integers(0, 25))
        found += [Asked(arrives, cancelled, prompt, options, sample) for sample in range(draw(st.integers(1, 3)))]
    return found


def serve(engine: Engine, asked: abc.Sequence[Asked]) -> list[tuple[Asked, Sequence]]:
    """Submits each request at its step, cancels each at its own, and goes on until all are done."""
    rows: list[tuple[Asked, Sequence]] = []
    for now in range(10_000):
        for one in asked:
            if one.arrives == now:
                rows.append((one, add(engine, one.prompt, one.options, one.sample)))
        for one, row in rows:
            if one.cancelled == now:
                engine.cancel(row)
        engine.step()
        stats = engine.stats
        assert engine.memory is None or stats.nbytes <= stats.peak_nbytes <= engine.memory
        if len(rows) == len(asked) and engine.idle:
            return rows
    raise AssertionError("it never ends")


@pytest.mark.long
@each
@cases(12)
@given(requests(), st.integers(1, 30), st.integers(1, 8), st.booleans(), st.none() | st.integers(1, 4))
def test_any_company_is_none(
    name: str, asked: list[Asked], chunk: int, rows: int, prefix_cache: bool, sequences: int | None
) -> None:
    runner = runner_of(*RUNNERS[name])
    memory = None if sequences is None else sequences * runner.sequence_bytes(N_CTX)
    engine = Engine(
        runner, tokenizer=None, end_of_text=VOCAB - 1, chunk=chunk, max_sequences=rows, prefix_cache=prefix_cache, memory=memory
    )
    for one, row in serve(engine, asked):
        expected = alone(runner, one.prompt, one.options, one.sample)
        if row.finish_reason == "cancelled":
            assert row.tokens == expected[: len(row.tokens)]
        else:
            assert row.tokens == expected  # ids, log-probabilities and those of the runners-up, to the bit
    engine.close()


@each
@cases(25)
@given(st.data())
def test_positions_taken_back_and_written_again_leave_no_trace(name: str, data: st.DataObject) -> None:
    """As speculation does: guesses are read beside others, some are taken back; logits are those of the text alone."""
    runner = runner_of(*RUNNERS[name])
    token = st.integers(0, VOCAB - 1)
    text = data.draw(st.lists(token, min_size=1, max_size=N_CTX))
    whole, pieces, other = runner.open(N_CTX), runner.open(len(text)), runner.open(N_CTX)
    (expected,) = runner.run([TokenSpan(whole, 0, text, "all")])
    assert expected is not None
    read, others = 0, 0
    while read < len(text):
        good = data.draw(st.integers(1, len(text) - read))
        bad = data.draw(st.lists(token, max_size=min(4, len(text) - read - good)))
        company = data.draw(st.lists(token, min_size=1, max_size=9))
        if others + len(company) > N_CTX:
            others = 0
        found, _ = runner.run(
            [TokenSpan(pieces, read, [*text[read : read + good], *bad], "all"), TokenSpan(other, others, company, "none")]
        )
        assert found is not None and np.array_equal(found[:good], expected[read : read + good])
        read, others = read + good, others + len(company)
    for sequence in (whole, pieces, other):
        runner.close(sequence)


@pytest.mark.parametrize(
    ("kernel", "cache"), [("off", None), *[("only", cache) for cache in ("float32", "float16") if "kernel" in RUNNERS]]
)
def test_long_prompts_are_read_in_large_passes_to_the_same_bits(kernel: Kernel, cache: str | None) -> None:
    """Passes of every size that exact mode knows, none of them by chance."""
    shape = GPTConfig(vocab_size=97, n_ctx=300, n_layers=2, d_model=48, n_heads=3, pattern=("banded(33)", "dense"))
    runner = lively(pellucid.GPT(shape, seed=1)).runner(kernel=kernel, cache=cache)
    text = [(17 * place * place + 5) % 97 for place in range(300)]

    def read(cuts: abc.Sequence[int]) -> NDArray[np.float32]:
        sequence, other = runner.open(300), runner.open(9)
        parts = []
        for first, end in pairwise([0, *cuts, 300]):
            company = TokenSpan(other, 0, text[: end % 9 + 1], "none")
            found, _ = runner.run([TokenSpan(sequence, first, text[first:end], "all"), company])
            assert found is not None
            parts.append(found)
        runner.close(sequence)
        runner.close(other)
        return np.concatenate(parts)

    whole = read([])
    for cuts in ([1], [255], [100, 101, 103, 107, 115, 131, 163, 227], range(7, 300, 7), range(64, 300, 64)):
        assert np.array_equal(read(cuts), whole)


@each
def test_what_is_no_number_harms_no_other(name: str) -> None:
    """From position 15 on nothing is a number: who gets there fails, at once or while writing; the others notice nothing."""
    pattern, dtype, kernel, cache = RUNNERS[name]
    model = make(pattern, dtype).copy()
    with torch.no_grad():
        model.wpe.weight[15] = torch.nan
    engine = engine_on(model.runner(kernel=kernel, cache=cache), chunk=64)
    options = SamplingOptions(max_tokens=8, seed=1, temperature=0)
    rows = [add(engine, range(3, 3 + length), options) for length in (4, 18, 6, 10)]
    for _ in engine.run_until_idle():
        pass
    assert [row.finish_reason for row in rows] == ["length", "error", "length", "error"]
    assert [len(row.tokens) for row in rows] == [8, 0, 8, 6]
    for row in rows:
        assert row.tokens == alone(runner_of(pattern, dtype, kernel, cache), tuple(row.prompt), options, 0)[: len(row.tokens)]
    add(engine, range(3, 20), options)  # begins like one that failed
    engine.step()
    assert [row.finish_reason for row in engine.finished] == ["error"]
    engine.close()


@each
def test_exact_is_right(name: str) -> None:
    """Equal bits are worth nothing if they are the wrong ones: beside the whole text read by the plain model."""
    model, runner = make(*RUNNERS[name][:2]), runner_of(*RUNNERS[name])
    text = [(11 * place + 5) % VOCAB for place in range(N_CTX)]
    sequence = runner.open(N_CTX)
    (found,) = runner.run([TokenSpan(sequence, 0, text, "all")])
    assert found is not None
    expected = model(torch.tensor([text]))[0].float().numpy()
    assert np.abs(found - expected).max() <= TOLERANCE[model.wte.weight.dtype] * np.abs(expected).max()
    runner.close(sequence)


@pytest.mark.long
@each
@cases(6)
@given(asked=requests(), chunk=st.integers(1, 30))
def test_fast_is_exact_but_for_rounding(name: str, asked: list[Asked], chunk: int) -> None:
    """Logits within the tolerance that fast states; so ids are equal up to the first near tie."""
    key = RUNNERS[name]
    exact, fast = runner_of(*key), TorchRunner(make(*key[:2]), mode="fast")
    for one in asked:
        first, second = exact.open(N_CTX), fast.open(N_CTX)
        ids = list(one.prompt)
        (expected,) = exact.run([TokenSpan(first, 0, ids, "all")])
        assert expected is not None
        for start in range(0, len(ids), chunk):
            part = ids[start : start + chunk]
            (found,) = fast.run([TokenSpan(second, start, part, "all")])
            error = np.abs(found - expected[start : start + chunk]).max()
            assert error <= TOLERANCE[key[1]] * np.abs(expected).max()
        exact.close(first)
        fast.close(second)
    for one, row in serve(engine_on(fast, chunk=chunk), asked):
        written = [token.id for token in row.tokens]
        expected_ids = [token.id for token in alone(exact, one.prompt, one.options, one.sample)]
        same = shared_prefix_length(written, expected_ids)
        if same < len(written):
            assert same < len(expected_ids) and is_a_near_tie(exact, one, written[:same], TOLERANCE[key[1]])


def is_a_near_tie(exact: Runner, one: Asked, before: list[int], tolerance: float) -> bool:
    """Whether logits that are off by so much, as a share of the largest, can draw another token than the exact ones."""
    text = [*one.prompt, *before]
    start = window_start(len(text), N_CTX) if one.options.slide else 0
    sequence = exact.open(N_CTX)
    (logits,) = exact.run([TokenSpan(sequence, 0, text[start:], "last")])
    exact.close(sequence)
    assert logits is not None
    error = tolerance * float(np.abs(logits).max())
    scores = adjusted(logits, one.options, Counter(before) if one.options.uses_counts else None)
    if one.options.temperature == 0:
        second, first = np.sort(scores)[-2:]
        return bool(first - second <= 2 * error)
    borders = candidates(scores, one.options)[1].cumsum()
    u = uniform(one.options.seed, one.sample, len(text))
    return bool(np.abs(borders / borders[-1] - u).min() <= np.expm1(2 * error / one.options.temperature))
