"""Past the context window: refused, unless the window may slide; then as if the text were cut and read again each time."""

import json
from functools import cache

import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from models import lively

import pellucid
from pellucid.cli import main
from pellucid.engine.options import SamplingOptions
from pellucid.engine.sampling import draw, uniform
from pellucid.engine.sequence import window_start
from pellucid.errors import PellucidError
from pellucid.gpt.pattern import Banded, Dense


VOCAB = 97
SEED = st.integers(0, 9)
TOLERANCE = 1e-4  # float32 sums in another order


@cache
def make(n_ctx: int) -> pellucid.GPT:
    pattern = (Banded(3), Dense())
    shape = pellucid.GPTConfig(vocab_size=VOCAB, n_ctx=n_ctx, n_layers=2, d_model=24, n_heads=3, pattern=pattern)
    return lively(pellucid.GPT(shape, seed=3)).eval()


@torch.inference_mode()
def naive(model, prompt, options, sample=0):
    """The oracle: no cache; for every token the text's last part is read again, moved on by halves until it fits."""
    n_ctx, ids, logprobs, start = model.config.n_ctx, list(prompt), [], 0
    while len(ids) < len(prompt) + options.max_tokens and (len(ids) == len(prompt) or ids[-1] != VOCAB - 1):
        while len(ids) - start > n_ctx:
            start += n_ctx // 2
        drawn = draw(model(torch.tensor([ids[start:]]))[0, -1].numpy(), options, uniform(options.seed, sample, len(ids)))
        ids.append(drawn.id)
        logprobs.append(drawn.logprob)
    return ids[len(prompt) :], logprobs, start


@cases(15)
@given(st.sampled_from([2, 3, 8, 13]), st.lists(st.integers(1, 30), min_size=1, max_size=3), st.integers(1, 25), SEED)
def test_a_sliding_window_is_the_text_cut_and_read_again(n_ctx, lengths, max_tokens, seed):
    model = make(n_ctx)
    prompts = [[(7 * i + length) % 96 for i in range(length)] for length in lengths]
    completions = model.generate(prompts, max_tokens=max_tokens, seed=seed, n=2, slide=True)
    options = SamplingOptions(max_tokens=max_tokens, seed=seed)
    for index, completion in enumerate(completions):
        ids, logprobs, start = naive(model, prompts[index // 2], options, index % 2)
        assert completion.ids == ids
        assert completion.logprobs == pytest.approx(logprobs, abs=TOLERANCE)
        assert completion.slid == start


@given(st.integers(2, 50), st.integers(1, 400))
def test_a_window_holds_more_than_half_of_what_it_can(n_ctx, length):
    read = length - window_start(length, n_ctx)
    assert read == length if length <= n_ctx else n_ctx - n_ctx // 2 < read <= n_ctx


def test_what_fits_is_what_it_was():
    model = make(13)
    assert model.generate([1, 2], max_tokens=12, seed=1, slide=True) == model.generate([1, 2], max_tokens=12, seed=1)


def test_without_it_the_end_of_the_window_stays_an_error():
    model = make(13)
    with pytest.raises(PellucidError, match=r"set max_tokens to 12 or less, or generate with slide=True"):
        model.generate([1, 2], max_tokens=13)
    with pytest.raises(PellucidError, match="13 at most: shorten the prompt, or generate with slide=True"):
        model.generate([1] * 14, max_tokens=1)
    with pytest.raises(PellucidError, match="a window of one token cannot slide"):
        make(1).generate([1], max_tokens=5, slide=True)
    with pytest.raises(PellucidError, match=r"an x-ray records one window.*leave out slide"):
        pellucid.xray(model, [1], max_tokens=3, slide=True)


def test_the_command_says_that_it_slid(tiny_run, capsys):
    config = pellucid.load(tiny_run).config
    n_ctx, never = config.n_ctx, f"{config.end_id}=-100"
    common = ["generate", "a", "-m", str(tiny_run), "--seed", "1", "--logit-bias", never]
    assert main([*common, "--max-tokens", str(n_ctx + 20)]) == 1
    assert "slide=True (--slide)" in capsys.readouterr().err
    said = f"the window of {n_ctx} tokens slid: at the end the first {n_ctx // 2} tokens were no longer read\n"
    assert main([*common, "--slide", "--max-tokens", str(n_ctx + 20)]) == 0
    shown = capsys.readouterr()
    assert shown.err == said
    assert main([*common, "--slide", "--json", "--max-tokens", str(n_ctx + 20)]) == 0
    answer = capsys.readouterr()
    told = json.loads(answer.out)
    assert told["slid"] == n_ctx // 2 and answer.err == said and shown.out == f"a{told['text']}\n"
    assert main([*common, "--slide", "--json", "--max-tokens", "5"]) == 0
    answer = capsys.readouterr()
    assert "slid" not in json.loads(answer.out) and answer.err == ""
