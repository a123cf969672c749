"""Beam search against enumeration and against a plain one; scores of given text; the best of several answers."""

import itertools
import math

import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from models import lively

import pellucid
from pellucid.errors import PellucidError
from pellucid.generation.text_generator import TextGenerator
from pellucid.gpt.pattern import Banded, Dense
from pellucid.runtime.kernel.library import unavailable_reason
from pellucid.runtime.torch_runner import TorchRunner
from pellucid.text.bytes_to_characters import BYTE_ORDER
from pellucid.text.tokenizer import Tokenizer


TOLERANCE = 1e-4  # float32 sums in another order
# (mode, kernel) of a runner
PATHS = [("fast", "off"), ("exact", "off"), *([("exact", "only")] if unavailable_reason() is None else [])]


def make(vocab_size: int, seed: int = 3, tokenizer: Tokenizer | None = None) -> pellucid.GPT:
    pattern = (Banded(5), Dense())
    shape = pellucid.GPTConfig(vocab_size=vocab_size, n_ctx=32, n_layers=2, d_model=24, n_heads=3, pattern=pattern)
    return lively(pellucid.GPT(shape, seed=seed, tokenizer=tokenizer)).eval()


@torch.inference_mode()
def logprobs_after(model: pellucid.GPT, text: list[int]) -> list[float]:
    return model(torch.tensor([text]))[0, -1].log_softmax(-1).tolist()


def score_of(logprobs: list[float], alpha: float) -> float:
    """GNMT, equation 14."""
    return sum(logprobs) / ((5 + len(logprobs)) ** alpha / (5 + 1) ** alpha)


def every_answer(model: pellucid.GPT, prompt: list[int], most: int) -> dict[tuple[int, ...], list[float]]:
    """All answers there are: those that end, and those of the full length."""
    end, found, open_ = model.end_of_text, {}, {(): []}
    for length in range(1, most + 1):
        longer = {}
        for ids, so_far in open_.items():
            for token, logprob in enumerate(logprobs_after(model, [*prompt, *ids])):
                ended = token == end or length == most
                (found if ended else longer)[*ids, token] = [*so_far, logprob]
        open_ = longer
    return found


def plain_beam(model, prompt, width, alpha, most):
    """The rule, without a cache, without an early end."""
    live, done = [((), [])], []
    for length in range(1, most + 1):
        grown = [
            ((*ids, token), [*so_far, logprob])
            for ids, so_far in live
            for token, logprob in enumerate(logprobs_after(model, [*prompt, *ids]))
        ]
        grown.sort(key=lambda one: -sum(one[1]))
        best = grown[: 2 * width]
        done += [one for one in best if one[0][-1] == model.end_of_text]
        live = [one for one in best if one[0][-1] != model.end_of_text][:width]
        if length == most:
            done += live
    return max(done, key=lambda one: score_of(one[1], alpha))


@pytest.mark.parametrize("alpha", [0.0, 0.6, 3.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_beam_as_wide_as_all_answers_finds_the_best_of_them(seed, alpha):
    model = make(5, seed)
    answers = every_answer(model, [1, 2], 4)
    assert len(answers) == 1 + 4 + 16 + 64 * 5
    best = max(answers, key=lambda ids: score_of(answers[ids], alpha))
    found = model.beam([1, 2], width=5**4, length_penalty=alpha, max_tokens=4)
    assert tuple(found.ids) == best
    assert found.logprobs == pytest.approx(answers[best], abs=TOLERANCE)
    assert found.finish_reason == ("stop" if best[-1] == 4 else "length")
    narrow = model.beam([1, 2], width=1, length_penalty=alpha, max_tokens=4)
    assert score_of(narrow.logprobs, alpha) <= score_of(found.logprobs, alpha) + TOLERANCE


@pytest.mark.parametrize("path", PATHS)
@cases(12)
@given(st.integers(0, 9), st.integers(1, 5), st.sampled_from([0.0, 0.6, 1.0, 4.0]), st.integers(1, 9), st.integers(1, 14))
def test_sequences_follow_their_hypotheses(path, seed, width, alpha, most, length):
    """Past the band, with sequences dropped and copied: as a search that reads everything again; no sequence stays open."""
    model, prompt = make(11, seed), [i * 7 % 10 for i in range(length)]
    ids, logprobs = plain_beam(model, prompt, width, alpha, most)
    mode, kernel = path
    runner = model.runner(mode=mode, kernel=kernel)
    found = TextGenerator(runner, None).beam(prompt, width=width, length_penalty=alpha, max_tokens=most)
    assert tuple(found.ids) == ids
    assert found.logprobs == pytest.approx(logprobs, abs=TOLERANCE)
    assert found.prompt_ids == prompt and found.seed == 0
    assert not runner._sequences


def test_sequences_are_closed_when_a_search_fails():
    model = make(11)
    runner = TorchRunner(model)
    with torch.no_grad():
        model.wpe.weight[2] = torch.nan
    with pytest.raises(PellucidError, match="not"):
        TextGenerator(runner, None).beam([1, 2, 3], max_tokens=9)
    assert not runner._sequences


def test_the_defaults_are_the_papers():
    model = make(11)
    assert model.beam([1, 2], max_tokens=8) == model.beam([1, 2], max_tokens=8, width=4, length_penalty=0.6)
    best = {alpha: len(model.beam([1, 2], max_tokens=20, length_penalty=alpha).ids) for alpha in (0.0, 5.0)}
    assert best[0.0] < best[5.0], "a penalty for length is one for short answers"


def test_text_and_stop_strings():
    speaking = make(262, 5, Tokenizer([bytes([b]) for b in BYTE_ORDER] + [b"ab", b"ba", b"\xc3\xa9", b"\xa9a", b" the"]))
    whole = speaking.beam("ab", max_tokens=12)
    assert whole.text == speaking.tokenizer.decode([i for i in whole.ids if i != speaking.end_of_text])
    stops = [speaking.tokenizer.decode([i]) for i in range(0, 256, 2)]
    cut = speaking.beam("ab", max_tokens=12, stop=stops)
    assert not any(stop in cut.text for stop in stops)
    shorter = speaking.tokenizer.decode([i for i in cut.ids if i != speaking.end_of_text])
    assert shorter.startswith(cut.text) and cut.finish_reason in ("stop", "length")
    with pytest.raises(PellucidError, match="no stop strings"):
        make(11).beam([1], stop="x")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be a whole number, 1 or more, not 0"),
        ({"width": 2.5}, "width"),
        ({"length_penalty": -0.1}, "length_penalty must be from 0"),
        ({"length_penalty": math.nan}, "length_penalty"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 99}, "leaves room for"),
        ({"prompt": [11]}, "outside the vocabulary"),
    ],
)
def test_what_cannot_be_searched_is_refused(options, message):
    with pytest.raises(PellucidError, match=message):
        make(11).beam(**({"prompt": [1], "max_tokens": 4} | options))


def test_no_tokens_wanted():
    empty = make(11).beam([1], max_tokens=0)
    assert (empty.ids, empty.finish_reason, empty.mean_logprob) == ([], "length", 0.0)


# Scores.


@pytest.mark.parametrize("length", [1, 2, 12, 33])
def test_a_score_is_what_each_token_had(length):
    model = make(97)
    ids = [(i * i + 3) % 96 for i in range(length)]
    score = model.score(ids, logprobs=3)
    assert score.ids == ids and score.logprobs[0] is None and len(score.logprobs) == length
    assert score.top_logprobs is not None and score.top_logprobs[0] is None and len(score.top_logprobs) == length
    for place in range(1, length):
        expected = logprobs_after(model, ids[:place])
        assert score.logprobs[place] == pytest.approx(expected[ids[place]], abs=TOLERANCE)
        top = sorted(range(97), key=lambda i: -expected[i])[:3]
        assert [i for i, _ in score.top_logprobs[place]] == top
        assert [p for _, p in score.top_logprobs[place]] == pytest.approx([expected[i] for i in top], abs=TOLERANCE)
    assert model.score(ids).top_logprobs is None


def test_an_answer_scored_has_the_log_probabilities_it_was_drawn_with():
    model = make(97)
    drawn = model.generate([5, 6, 7], max_tokens=20, seed=2)
    score = model.score(drawn.prompt_ids + drawn.ids)
    assert score.logprobs[3:] == pytest.approx(drawn.logprobs, abs=TOLERANCE)
    assert model.score(None).logprobs == [None]


def test_texts_of_any_lengths_are_scored_together():
    model = make(97)
    texts = [[(i * i + 3 * length) % 96 for i in range(length)] for length in (12, 1, 33, 2, 30)]
    together = model.score(texts, logprobs=2)
    for text, score in zip(texts, together, strict=True):
        alone = model.score(text, logprobs=2)
        assert score.ids == text and [i for top in score.top_logprobs[1:] for i, _ in top] == [
            i for top in alone.top_logprobs[1:] for i, _ in top
        ]
        assert score.logprobs[1:] == pytest.approx(alone.logprobs[1:], abs=TOLERANCE)
    assert model.score([[]]) == [model.score(None)] and model.score([]) == []
    with pytest.raises(PellucidError, match="can be scored at most"):
        model.score([[1, 2], [1] * 200])


def test_long_texts_are_scored_in_parts():
    shape = pellucid.GPTConfig(vocab_size=31, n_ctx=300, n_layers=1, d_model=12, n_heads=2, pattern=(Dense(),))
    model = lively(pellucid.GPT(shape, seed=1)).eval()
    ids = [i * 5 % 31 for i in range(301)]
    with torch.inference_mode():
        whole = model(torch.tensor([ids[:-1]]))[0].log_softmax(-1)
    expected = whole.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()
    assert model.score(ids).logprobs[1:] == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ([1] * 34, {}, "the text has 34 tokens, but 33 can be scored at most"),
        ([97], {}, "outside the vocabulary"),
        ("text", {}, "no tokenizer"),
        ([1], {"logprobs": -1}, "logprobs must be a whole number"),
        ([1], {"logprobs": 98}, "there are only 97 tokens"),
    ],
)
def test_what_cannot_be_scored_is_refused(text, options, message):
    with pytest.raises(PellucidError, match=message):
        make(97).score(text, **options)


# The best of several.


def test_the_best_are_those_with_the_highest_log_probability_per_token():
    model = make(97)
    prompts = [[1, 2, 3], [4]]
    written = model.generate(prompts, max_tokens=15, seed=3, n=6)
    best = model.generate(prompts, max_tokens=15, seed=3, n=2, best_of=6)
    expected = []
    for group in (written[:6], written[6:]):
        means = [sum(c.logprobs) / len(c.logprobs) for c in group]
        expected += [group[i] for i in sorted(range(6), key=lambda i: -means[i])[:2]]
    assert [c.ids for c in best] == [c.ids for c in expected]
    assert [c.ids for c in best] != [c.ids for c in itertools.chain(written[:2], written[6:8])]
    assert best[0].mean_logprob >= best[1].mean_logprob
    alone = model.generate([1, 2, 3], max_tokens=15, seed=3, best_of=6)
    assert alone.ids == best[0].ids
    assert model.generate([1], max_tokens=5, seed=1, best_of=1) == model.generate([1], max_tokens=5, seed=1)


@pytest.mark.parametrize("best_of", [1, 0, True, 2.0, "3"])
def test_a_best_of_fewer_than_n_is_refused(best_of):
    with pytest.raises(PellucidError, match=r"best_of must be a whole number, n \(2\) or more"):
        make(97).generate([1], n=2, best_of=best_of)
