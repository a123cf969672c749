"""Requests that score their prompt, echo it, or choose among several completions."""

from collections import abc
from functools import cache

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from models import lively
from plain_runner import BROKEN, Plain, alone, logits_of
from test_engine_requests import ask, drain, engine_on, ids, prompt_of, submit

import pellucid
from pellucid.engine.engine import Engine
from pellucid.engine.options import SamplingOptions
from pellucid.engine.request import Request
from pellucid.engine.sampling import log_softmax
from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.runtime.runner import Mode, Runner
from pellucid.text.bytes_to_characters import BYTE_ORDER
from pellucid.text.tokenizer import Tokenizer


def scored(prompt: abc.Sequence[int]) -> list[float | None]:
    """The oracle: each prefix of the text read alone."""
    found: list[float | None] = [None]
    for place in range(1, len(prompt)):
        found.append(float(log_softmax(logits_of(prompt[:place]))[prompt[place]]))
    return found


def scoring(prompt: abc.Sequence[int], top: int = 0, tokens: int = 0) -> Request:
    return Request(prompt=prompt, options=ask(tokens), prompt_logprobs=top)


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_a_prompt_is_scored_at_every_position_and_what_is_known_is_not_read_again(mode: Mode) -> None:
    runner = Plain(mode)
    engine = engine_on(runner, chunk=64)
    context = prompt_of(30)
    choices = [engine.submit(scoring([*context, a, b], top=2)) for a in (20, 21) for b in (30, 31)]
    drain(engine)
    for group in choices:
        score = group.score()
        assert score.ids == list(group.request.prompt) and score.logprobs == scored(score.ids)
        assert score.top_logprobs is not None and [len(top or ()) for top in score.top_logprobs] == [0] + [2] * 31
    read = engine.stats.prompt_tokens
    assert read < 31 + 3 * 3, "only the last tokens are read for the other choices"
    fewer = engine.submit(scoring([*context, 22, 23], top=1))
    more = engine.submit(scoring([*context, 22, 24], top=3))  # more than is known: all is read again
    drain(engine)
    assert engine.stats.prompt_tokens <= read + 2 + 31
    assert fewer.score().logprobs == scored([*context, 22, 23]) and more.score().logprobs == scored([*context, 22, 24])


def test_a_text_that_was_generated_is_scored_where_nothing_is_known_of_it() -> None:
    engine = engine_on(Plain())
    first = submit(engine, prompt_of(10), ask(9))
    drain(engine)
    whole = [*prompt_of(10), *ids(first)]
    group = engine.submit(scoring(whole))
    drain(engine)
    assert group.score().logprobs == scored(whole)
    assert group.score().logprobs[10:] == [token.logprob for token in first.tokens]


def test_completions_of_one_request_share_the_scores_of_their_prompt() -> None:
    runner = Plain()
    engine = engine_on(runner, chunk=4)
    options = SamplingOptions(max_tokens=5, seed=1, logprobs=2)
    group = engine.submit(Request(prompt=prompt_of(10), options=options, n=3, echo=True))
    drain(engine)
    found = group.completions()
    assert [c.ids for c in found] == [alone(prompt_of(10), options, sample) for sample in range(3)]
    assert all(c.prompt_logprobs == scored(prompt_of(10)) for c in found) and engine.stats.prompt_tokens == 10
    assert found[0].prompt_top_logprobs is not None and len(found[0].prompt_top_logprobs[1] or ()) == 2


def test_the_best_of_several_are_chosen_by_the_request() -> None:
    engine = engine_on(Plain())
    group = engine.submit(Request(prompt=prompt_of(4), options=ask(6), n=2, best_of=5))
    drain(engine)
    means = sorted((s.completion().mean_logprob for s in group.sequences), reverse=True)
    assert [c.mean_logprob for c in group.completions()] == means[:2] and len(group.sequences) == 5
    for wrong, says in (({"n": 0}, "n must be"), ({"n": 2, "best_of": 1}, "best_of must be a whole number, n"),
                        ({"best_of": True}, "best_of"), ({"prompt_logprobs": -1}, "logprobs must be")):  # fmt: skip
        with pytest.raises(PellucidError, match=says):
            Request(prompt=[1], options=ask(), **wrong)  # type: ignore[arg-type]


def test_what_is_not_a_number_in_a_prompt_ends_its_score_alone() -> None:
    engine = engine_on(Plain(), chunk=64)
    bad, good = engine.submit(scoring([1, BROKEN, 2, 3])), engine.submit(scoring([1, 2, 3]))
    drain(engine)
    assert bad.error is not None and good.score().logprobs == scored([1, 2, 3])
    with pytest.raises(PellucidError, match="not a number"):
        bad.score()
    with pytest.raises(PellucidError, match="did not ask"):
        engine.submit(Request(prompt=[1], options=ask(0))).score()


@cases(15)
@given(st.data())
def test_scores_are_the_same_bits_whatever_is_reused(data: st.DataObject) -> None:
    """On a real model in exact mode: texts that begin alike, scored and continued, in chunks, beside each other, and later."""
    runner = exact_runner()
    engine = Engine(runner, tokenizer=None, end_of_text=30, chunk=data.draw(st.integers(1, 30)))
    groups = []
    for _ in range(data.draw(st.integers(2, 7))):
        shared = [(7 * place + 3) % 31 for place in range(data.draw(st.integers(0, 14)))]
        prompt = [*shared, *data.draw(st.lists(st.integers(0, 30), min_size=1, max_size=5))]
        top, tokens = data.draw(st.none() | st.integers(0, 3)), data.draw(st.integers(0, 4))
        options = SamplingOptions(max_tokens=tokens, seed=1)
        n = data.draw(st.integers(1, 2))
        groups.append(engine.submit(Request(prompt=prompt, options=options, n=n, prompt_logprobs=top)))
        for _ in range(data.draw(st.integers(0, 6))):
            engine.step()
    drain(engine)
    for group in groups:
        fresh = Engine(runner, tokenizer=None, end_of_text=30, chunk=99)
        alone_group = fresh.submit(group.request)
        drain(fresh)
        fresh.close()
        assert group.completions() == alone_group.completions()
    engine.close()


@cache
def exact_runner() -> Runner:
    config = GPTConfig(vocab_size=31, n_ctx=28, n_layers=2, d_model=24, n_heads=3, pattern=("banded(5)", "dense"))
    return lively(pellucid.GPT(config, seed=3)).runner(mode="exact", kernel="off")


def test_an_echoed_prompt_comes_before_the_text_and_with_its_scores() -> None:
    tokenizer = Tokenizer([bytes([b]) for b in BYTE_ORDER] + [b"ab"])
    config = GPTConfig(vocab_size=tokenizer.vocab_size, n_ctx=16, n_layers=1, d_model=24, n_heads=3)
    model = lively(pellucid.GPT(config, tokenizer=tokenizer, seed=3))
    plain = model.generate("abc", max_tokens=4, seed=1, n=2)
    for logprobs in (None, 2):
        group = model.new_group(model.new_request("abc", max_tokens=4, seed=1, n=2, echo=True, logprobs=logprobs))
        for _ in model.run(group.sequences):
            pass
        found = group.completions()
        assert [c.text for c in found] == ["abc" + c.text for c in plain] and [c.ids for c in found] == [c.ids for c in plain]
        score = model.score("abc", logprobs=logprobs)
        for completion in found:
            assert completion.prompt_logprobs == (None if logprobs is None else pytest.approx(score.logprobs, abs=1e-5))
