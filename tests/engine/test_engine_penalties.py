"""Penalties, biases and min-p: the order that `sampling` states, in plain Python beside the real thing."""

import json
import math

import numpy as np
import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from models import lively

import pellucid
from pellucid.cli import main
from pellucid.engine.options import SamplingOptions
from pellucid.engine.sampling import adjusted, candidates, draw, uniform
from pellucid.errors import PellucidError
from pellucid.gpt.pattern import Banded, Dense


VOCAB = 97
STEERED = {
    "temperature": 0.9, "min_p": 0.02, "presence_penalty": 0.7, "frequency_penalty": 0.4, "repetition_penalty": 1.3,
    "logit_bias": {5: 2.5, 11: -100.0, 40: 1.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def model() -> pellucid.GPT:
    shape = pellucid.GPTConfig(vocab_size=VOCAB, n_ctx=48, n_layers=2, d_model=24, n_heads=3, pattern=(Banded(5), Dense()))
    return lively(pellucid.GPT(shape, seed=3)).eval()


def scores_of(logits: list[float], options: SamplingOptions, drawn: list[int]) -> list[float]:
    """The oracle of steps 1 to 3: each logit on its own."""
    scores = []
    for token, logit in enumerate(logits):
        c = drawn.count(token)
        if c > 0:
            logit = logit / options.repetition_penalty if logit > 0 else logit * options.repetition_penalty
            logit = logit - c * options.frequency_penalty - options.presence_penalty
        scores.append(logit + dict(options.logit_bias).get(token, 0.0))
    return scores


def kept_of(scores: list[float], options: SamplingOptions) -> list[int]:
    """The oracle of the cuts: which ids are left, ascending."""
    weights = [math.exp((score - max(scores)) / options.temperature) for score in scores]
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[: options.top_k or len(scores)]
    if options.top_p is not None and options.top_p < 1:
        total, reached, count = math.fsum(weights[i] for i in order), 0.0, 0
        while reached < options.top_p * total:
            reached += weights[order[count]]
            count += 1
        order = order[:count]
    return sorted(i for i in order if weights[i] >= (options.min_p or 0.0) * weights[order[0]])


LOGITS = st.lists(st.integers(-8, 8).map(lambda x: x / 2), min_size=2, max_size=20)
PENALTY = st.sampled_from([-2.0, -0.5, 0.0, 0.25, 2.0])


@pytest.mark.long
@cases(200)
@given(LOGITS, PENALTY, PENALTY, st.sampled_from([0.5, 1.0, 1.25, 2.0]), st.data())
def test_what_is_drawn_from_is_what_the_order_says(logits, presence, frequency, repetition, data):
    token = st.integers(0, len(logits) - 1)
    drawn = data.draw(st.lists(token, max_size=12))
    options = SamplingOptions(
        presence_penalty=presence, frequency_penalty=frequency, repetition_penalty=repetition, seed=0,
        logit_bias=tuple(data.draw(st.dictionaries(token, st.integers(-6, 6).map(float), max_size=3)).items()),
        temperature=data.draw(st.sampled_from([0.5, 1.0, 2.0])), top_k=data.draw(st.none() | st.integers(1, 9)),
        top_p=data.draw(st.none() | st.just(0.8137)), min_p=data.draw(st.sampled_from([None, 0.0, 0.0513, 0.3371, 1.0])),
    )  # fmt: skip
    counts = {i: drawn.count(i) for i in drawn} if options.uses_counts else None
    expected = scores_of(logits, options, drawn)
    scores = adjusted(np.array(logits, np.float32), options, counts)
    assert scores.tolist() == pytest.approx(expected, abs=1e-12)
    left = kept_of(scores.tolist(), options)  # of the same numbers: of equals a last bit would decide
    kept, weights = candidates(scores, options)
    assert (list(range(len(logits))) if kept is None else kept.tolist()) == left
    assert len(weights) == len(left)
    u = data.draw(st.floats(0, 1, exclude_max=True))
    chosen = draw(np.array(logits, np.float32), options, u, counts)
    assert chosen.id in left
    own = torch.tensor(logits).double().log_softmax(-1)[chosen.id]
    assert chosen.logprob == pytest.approx(float(own), abs=2e-6), "the model's own"
    shares = [math.exp((expected[i] - max(expected)) / options.temperature) for i in left]
    ends = [math.fsum(shares[: i + 1]) / math.fsum(shares) for i in range(len(shares))]
    place = left.index(chosen.id)
    assert (ends[place - 1] if place else 0.0) - 1e-9 <= u <= ends[place] + 1e-9


def test_the_neutral_values_do_nothing():
    logits = torch.randn(30, generator=torch.Generator().manual_seed(0)).numpy()
    plain = SamplingOptions(seed=0)
    neutral = SamplingOptions(
        seed=0, min_p=0.0, presence_penalty=0.0, frequency_penalty=0, repetition_penalty=1, logit_bias=()
    )  # fmt: skip
    assert not neutral.uses_counts and adjusted(logits, neutral, None) is logits
    assert all(draw(logits, plain, u) == draw(logits, neutral, u) for u in (0.0, 0.3, 0.77, 0.999))


def test_min_p_of_one_keeps_all_equals_and_a_bias_bans():
    logits = np.array([0.0, 3.0, 3.0, 1.0], np.float32)
    assert draw(logits, SamplingOptions(min_p=1.0, seed=0), 0.999).id == 2
    assert draw(logits, SamplingOptions(temperature=0, logit_bias=((1, -100.0),), seed=0), 0.0).id == 2
    assert draw(logits, SamplingOptions(temperature=0, logit_bias=((3, 2.0),), seed=0), 0.0).id == 1, "of equals the lower"


@torch.inference_mode()
def naive(model, prompt, sample, options):
    """The oracle: the whole text read again for every token, penalties counted over the answer alone."""
    drawn: list[int] = []
    while len(drawn) < options.max_tokens and model.end_of_text not in drawn:
        text = prompt + drawn
        scores = torch.tensor(scores_of(model(torch.tensor([text]))[0, -1].tolist(), options, drawn), dtype=torch.float64)
        if options.temperature == 0:
            drawn.append(int(scores.argmax()))
            continue
        left = kept_of(scores.tolist(), options)
        shares = ((scores[left] - scores.max()) / options.temperature).exp().cumsum(0)
        u = uniform(options.seed, sample, len(text))
        drawn.append(left[int(torch.searchsorted(shares, u * shares[-1], right=True))])
    return drawn


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_together_is_alone_is_the_whole_text_read_again(model, temperature):
    steered = STEERED | {"temperature": temperature}
    prompts = [[5, 5, 40, 7], [3], [8, 9, 10, 11, 12, 13, 14]]
    together = model.generate(prompts, max_tokens=30, seed=4, n=2, **steered)
    options = SamplingOptions(max_tokens=30, seed=4, **(steered | {"logit_bias": tuple(STEERED["logit_bias"].items())}))
    for index, completion in enumerate(together):
        prompt, sample = prompts[index // 2], index % 2
        assert completion.ids == naive(model, prompt, sample, options)
        alone = model.generate(prompt, max_tokens=30, seed=4, n=2, **steered)
        assert completion.ids == alone[sample].ids
        assert [t.id for t in model.stream(prompt, max_tokens=30, seed=4, **steered)] == alone[0].ids
    assert all(11 not in completion.ids for completion in together)
    plain = model.generate(prompts, max_tokens=30, seed=4, n=2, temperature=temperature)
    assert [c.ids for c in plain] != [c.ids for c in together]


def test_penalties_count_what_was_drawn_and_not_the_prompt(model):
    prompt = [7] * 6
    plain = model.generate(prompt, max_tokens=1, seed=0)
    assert model.generate(prompt, max_tokens=1, seed=0, frequency_penalty=2.0, presence_penalty=2.0) == plain
    assert plain == model.generate(prompt, max_tokens=1, seed=0, repetition_penalty=100.0)
    loop = model.generate(prompt, max_tokens=30, seed=1, logit_bias={60: 100.0})
    assert set(loop.ids) == {60}
    broken = model.generate(prompt, max_tokens=30, seed=1, logit_bias={60: 30.0}, frequency_penalty=2.0)
    assert broken.ids[0] == 60 and 4 < broken.ids.count(60) < 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_p": 1.5}, "min_p must be from 0 to 1, not 1.5"),
        ({"min_p": "x"}, "min_p"),
        ({"min_p": math.nan}, "min_p"),
        ({"presence_penalty": 2.1}, "presence_penalty must be from -2 to 2, not 2.1"),
        ({"frequency_penalty": -3}, "frequency_penalty must be from -2 to 2"),
        ({"frequency_penalty": None}, "frequency_penalty"),
        ({"repetition_penalty": 0}, "repetition_penalty must be from 0.01 to 100, not 0"),
        ({"repetition_penalty": True}, "repetition_penalty"),
        ({"logit_bias": {3: 101}}, "the logit_bias of token 3 must be from -100 to 100, not 101"),
        ({"logit_bias": {"3": 1}}, "a token id of logit_bias must be a whole number"),
        ({"logit_bias": [(3, 1), (3, 2)]}, "names a token twice"),
        ({"logit_bias": 3}, "gives token ids their biases"),
        ({"logit_bias": {VOCAB: 1}}, f"names token {VOCAB}, but ids go from 0 to {VOCAB - 1}"),
    ],
)
def test_bad_options_are_refused(model, options, message):
    with pytest.raises(PellucidError, match=message):
        model.generate([1], max_tokens=1, **options)
    with pytest.raises(PellucidError, match=message):
        model.stream([1], max_tokens=1, **options)


def test_the_command_takes_them(tiny_run, capsys):
    steer = ["--min-p", "0.05", "--presence-penalty", "0.5", "--frequency-penalty", "0.5", "--repetition-penalty", "1.2"]
    bias = ["--logit-bias", "5=-100", "--logit-bias", "7=2.5"]
    common = ["generate", "a", "-m", str(tiny_run), "--max-tokens", "8", "--seed", "1", "--json"]
    assert main([*common, *steer, *bias]) == 0
    told = json.loads(capsys.readouterr().out)
    expected = pellucid.load(tiny_run).generate(
        "a", max_tokens=8, seed=1, min_p=0.05, presence_penalty=0.5, frequency_penalty=0.5, repetition_penalty=1.2,
        logit_bias={5: -100.0, 7: 2.5},
    )  # fmt: skip
    assert told["ids"] == expected.ids and 5 not in expected.ids
    assert main([*common, "--logit-bias", "5=1", "--logit-bias", "5=2"]) == 1
    assert "names a token twice" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*common, "--logit-bias", "5"])
    assert "no token id and number" in capsys.readouterr().err
