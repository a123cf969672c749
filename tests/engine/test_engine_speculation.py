"""Speculation: what is drafted decides how many passes an answer takes, and never what it is, to the bit."""

from collections import Counter, abc
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from models import lively

import pellucid
from pellucid.engine.engine import Engine
from pellucid.engine.options import SamplingOptions
from pellucid.engine.sequence import Sequence
from pellucid.engine.speculation import Drafter, DraftModel, DraftRequest, PromptLookup
from pellucid.errors import PellucidError
from pellucid.generation.compatibility import check_draft_model
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.pattern import parse
from pellucid.runtime.kernel.runner import unavailable_reason
from pellucid.runtime.runner import Runner
from pellucid.text.bytes_to_characters import BYTE_ORDER
from pellucid.text.tokenizer import Tokenizer


VOCAB, N_CTX = 23, 28
PATTERNS = {"torch": "banded(5) dense", "torch sparse": "compressed(3,3) local(7)", "kernel": "dense banded(5)"}
if unavailable_reason(GPTConfig(vocab_size=VOCAB, n_ctx=N_CTX, n_layers=2, d_model=24, n_heads=3)) is not None:
    del PATTERNS["kernel"]


@cache
def make(name: str, seed: int = 3) -> pellucid.GPT:
    pattern = tuple(map(parse, PATTERNS[name].split()))
    config = GPTConfig(vocab_size=VOCAB, n_ctx=N_CTX, n_layers=2, d_model=24, n_heads=3, pattern=pattern)
    return lively(pellucid.GPT(config, seed=seed))


@cache
def runner_of(name: str) -> Runner:
    return make(name).runner(mode="exact", kernel="only" if name == "kernel" else "off")


class Foretold(Drafter):
    """Knows the answers, and is wrong at some places: every mixture of right and wrong drafts occurs."""

    def __init__(self, answers: dict[int, list[int]], wrong: set[int], length: int = 6) -> None:
        super().__init__(length)
        self.answers, self.wrong = answers, wrong

    def propose(self, asks: abc.Sequence[DraftRequest]) -> list[list[int]]:
        found = []
        for ask in asks:
            first = len(ask.sequence.tokens)
            some = self.answers[ask.sequence.sample][first : first + ask.max_tokens]
            found.append([(t + 1) % VOCAB if first + i in self.wrong else t for i, t in enumerate(some)])
        return found


def written(
    runner: Runner, prompts: abc.Sequence[list[int]], options: SamplingOptions, drafter: Drafter | None
) -> list[Sequence]:
    engine = Engine(runner, tokenizer=None, end_of_text=VOCAB - 1, chunk=5, drafter=drafter)
    rows = [Sequence(list(prompt), sample, options, None, VOCAB - 1) for sample, prompt in enumerate(prompts)]
    for row in rows:
        engine.add(row)
    for _ in engine.run_until_idle():
        pass
    statistics = engine.stats
    if drafter:
        assert (statistics.drafted_tokens, statistics.accepted_tokens) == (drafter.drafted, drafter.accepted)
        assert drafter.accepted <= drafter.drafted and drafter.passes <= drafter.drafted
        assert drafter._lengths == {}
    assert statistics.drawn_tokens == sum(len(row.tokens) for row in rows)
    engine.close()
    assert engine.stats.nbytes == 0
    return rows


prompts = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=12), min_size=1, max_size=3)
options = st.builds(
    SamplingOptions, max_tokens=st.integers(1, 16), temperature=st.sampled_from([0.0, 0.7, 1.0]), seed=st.integers(0, 99),
    top_k=st.sampled_from([None, 3]), top_p=st.sampled_from([None, 0.8]), frequency_penalty=st.sampled_from([0.0, 0.9]),
    repetition_penalty=st.sampled_from([1.0, 1.3]), logprobs=st.sampled_from([None, 2]),
    logit_bias=st.sampled_from([(), ((VOCAB - 1, 5.0),), ((3, 9.0), (4, 9.0))]),
)  # fmt: skip


@pytest.mark.parametrize("name", PATTERNS)
@cases(7)
@given(prompts, options, st.booleans(), st.sets(st.integers(0, 30), max_size=8))
def test_an_answer_is_the_same_to_the_bit_with_any_drafter(
    name: str, prompts: list[list[int]], options: SamplingOptions, slides: bool, wrong: set[int]
) -> None:
    if slides:
        options = SamplingOptions(**{n: getattr(options, n) for n in options.__slots__} | {"slide": True, "max_tokens": 40})
    runner = runner_of(name)
    plain = written(runner, prompts, options, None)
    answers = {row.sample: [token.id for token in row.tokens] for row in plain}
    other = DraftModel(make(name, seed=4).runner())
    for drafter in (PromptLookup(), PromptLookup(1), DraftModel(runner, 3), other, Foretold(answers, wrong)):
        rows = written(runner, prompts, options, drafter)
        assert [row.tokens for row in rows] == [row.tokens for row in plain]
        assert [row.finish_reason for row in rows] == [row.finish_reason for row in plain]
        assert [row.start for row in rows] == [row.start for row in plain]
    assert other._sequences == {}


@pytest.mark.parametrize("name", PATTERNS)
def test_right_drafts_save_passes(name: str) -> None:
    options = SamplingOptions(max_tokens=17, temperature=1.0, seed=5, logit_bias=((VOCAB - 1, -100.0),))
    runner, prompt = runner_of(name), [1, 2, 3]
    plain = written(runner, [prompt], options, None)
    right = Foretold({0: [token.id for token in plain[0].tokens]}, set(), length=5)
    assert written(runner, [prompt], options, right)[0].tokens == plain[0].tokens
    # The first token comes from the prompt's pass; of the 16 left six, six and four, the last of each not drafted.
    assert (right.passes, right.drafted, right.accepted) == (3, 13, 13)
    itself = DraftModel(runner, 5)  # the same model draws with the same u: every draft is right, sampled ones too
    assert written(runner, [prompt], options, itself)[0].tokens == plain[0].tokens
    assert (itself.passes, itself.drafted, itself.accepted) == (3, 13, 13)
    wrong = Foretold(right.answers, set(range(30)), length=5)
    assert written(runner, [prompt], options, wrong)[0].tokens == plain[0].tokens
    assert wrong.accepted == 0 and wrong.drafted == 5 + 14, "one draft a pass after the first were wrong"


@pytest.mark.long
def test_sampled_tokens_are_distributed_as_the_model_says() -> None:
    """A chi-squared test over 600 seeds, fixed: of such tests one in 10,000 would fail for a right program."""
    config = GPTConfig(vocab_size=4, n_ctx=8, n_layers=1, d_model=8, n_heads=2)
    model = lively(pellucid.GPT(config, seed=1))
    options = {"max_tokens": 3, "logit_bias": {3: -100.0}}
    seen: Counter[tuple[int, ...]] = Counter()
    accepted = 0
    other = lively(pellucid.GPT(config, seed=1))
    with torch.no_grad():
        other.wpe.weight += 0.3 * torch.sin(torch.arange(64.0)).view(8, 8)  # drafts are often right, and often wrong
    for seed in range(600):
        drafter = DraftModel(other.make_runner(), 2)
        seen[tuple(model.generate([0, 1], seed=seed, draft=drafter, **options).ids)] += 1
        accepted += drafter.accepted
    chi, cells, rest, rest_seen = 0.0, 0, 0.0, 0
    for ids in np.ndindex(3, 3, 3):
        chance = 1.0
        for place in range(3):
            logits = model(torch.tensor([[0, 1, *ids[:place]]]))[0, -1, :3].double()
            chance *= float(logits.softmax(0)[ids[place]])
        if 600 * chance >= 5:
            chi, cells = chi + (seen[ids] - 600 * chance) ** 2 / (600 * chance), cells + 1
        else:
            rest, rest_seen = rest + 600 * chance, rest_seen + seen[ids]
    chi += (rest_seen - rest) ** 2 / rest if rest else 0.0
    freedom = cells - (0 if rest else 1)
    # Wilson and Hilferty's approximation of the quantile at 1 - 1e-4, where a normal number is 3.719
    most = freedom * (1 - 2 / (9 * freedom) + 3.719 * (2 / (9 * freedom)) ** 0.5) ** 3
    assert freedom >= 4 and 120 < accepted < 1140
    assert chi < most, f"chi-squared {chi:.1f} of {freedom} degrees of freedom, {most:.1f} at most"


def asked(ids: list[int], most: int) -> DraftRequest:
    return DraftRequest(Sequence(ids, 0, SamplingOptions(max_tokens=9), None, VOCAB - 1), ids, most)


@pytest.mark.parametrize(
    ("ids", "most", "draft"),
    [
        ([1, 2, 3, 4, 5, 1, 2, 3], 2, [4, 5]),
        ([1, 2, 7, 1, 2, 8, 1, 2], 1, [8]),  # the latest
        ([9, 1, 2, 7, 1, 2, 8, 9, 1, 2], 1, [7]),  # the longer before the later
        ([5, 6, 5, 6, 5, 6], 5, [5, 6, 5, 6, 5]),  # a loop goes on
        ([4, 4, 4], 3, [4, 4, 4]),
        ([1, 2, 3, 4], 4, []),
        ([7], 4, []),
    ],
)
def test_lookup_drafts_what_followed(ids: list[int], most: int, draft: list[int]) -> None:
    assert PromptLookup().drafts([asked(ids, most)]) == [draft]


@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.integers(1, 9))
def test_a_lookup_that_follows_a_text_drafts_as_a_new_one(ids: list[int], most: int) -> None:
    following, row = PromptLookup(), asked(ids, most).sequence
    for end in range(1, len(ids) + 1):
        ask = DraftRequest(row, ids[:end], most)
        assert following.propose([ask]) == PromptLookup().propose([ask])


@cases(10)
@given(st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=9), min_size=1, max_size=4))
def test_a_draft_model_that_follows_a_text_drafts_as_a_new_one(texts: list[list[int]]) -> None:
    runner, row = runner_of("torch"), Sequence([1], 0, SamplingOptions(max_tokens=20, temperature=0.0), None, VOCAB - 1)
    following = DraftModel(runner)
    for ids in texts:  # each takes back what the one before does not share
        new, ask = DraftModel(runner), DraftRequest(row, ids, 3)
        assert following.propose([ask]) == new.propose([ask])
        new.release(row)
    following.release(row)


def speaking(*tokens: bytes) -> pellucid.GPT:
    tokenizer = Tokenizer([bytes([b]) for b in BYTE_ORDER] + list(tokens))
    config = GPTConfig(vocab_size=tokenizer.vocab_size, n_ctx=40, n_layers=1, d_model=24, n_heads=3)
    return lively(pellucid.GPT(config, tokenizer=tokenizer, seed=3))


def test_stop_strings_and_n_are_as_without(tmp_path: Path) -> None:
    model = speaking(b"ab", b"cd")
    model.save(tmp_path / "model")
    whole = model.generate("abab", max_tokens=30, temperature=0, seed=1)
    cuts = [whole.text[place : place + 2] for place in range(0, len(whole.text) - 2, 5)]
    for stop in ["\x00never", *cuts]:
        for draft in ("lookup", model, tmp_path / "model"):
            for temperature in (0.0, 1.0):
                options = {"max_tokens": 30, "n": 3, "temperature": temperature, "stop": stop, "seed": 1}
                assert model.generate("abab", draft=draft, **options) == model.generate("abab", **options)
    some = list(model.stream("abab", max_tokens=9, seed=2))
    assert list(model.stream("abab", max_tokens=9, seed=2, draft=model)) == some
    engine = model.engine(draft="lookup")
    assert isinstance(engine.drafter, PromptLookup)


def test_a_draft_model_of_other_tokens_is_refused(tmp_path: Path) -> None:
    model, none = speaking(b"ab", b"cd"), make("torch")
    bare = pellucid.GPT(model.config)
    for draft, says in (
        (speaking(b"ab"), "the draft model has 258 tokens, but the model 259: draft with a model of the same tokenizer"),
        (speaking(b"ab", b"ce"), "the two tokenizers differ first at token 257, which is b'ce' to the draft model and"),
        (bare, "the model has a tokenizer, but the draft model none"),
        (none, "the draft model has 23 tokens"),
        (7, 'draft is "lookup", a model or its directory, not 7'),
        (str(tmp_path / "away"), "no such directory"),
    ):
        with pytest.raises(PellucidError) as raised:
            model.generate("a", draft=draft)
        assert str(raised.value).startswith(says)
    with pytest.raises(PellucidError, match="the draft model has a tokenizer, but the model none"):
        check_draft_model(model, bare)
    for length in (0, True, 2.5):
        with pytest.raises(PellucidError, match="length must be a whole number, 1 or more"):
            PromptLookup(length)


class Raises(Drafter):
    """Fails for one sample from its third token on, and is right or wrong for the others."""

    def __init__(self, sample: int) -> None:
        super().__init__(3)
        self.sample = sample

    def propose(self, asks: abc.Sequence[DraftRequest]) -> list[list[int]]:
        if any(ask.sequence.sample == self.sample and len(ask.sequence.tokens) > 2 for ask in asks):
            raise RuntimeError("no idea")
        return [[1] * ask.max_tokens for ask in asks]


def test_a_drafter_that_fails_ends_its_drafts_alone() -> None:
    options = SamplingOptions(max_tokens=12, seed=2, logit_bias=((VOCAB - 1, -100.0),))
    prompts = [[1, 2], [3], [4, 5]]
    plain = written(runner_of("torch"), prompts, options, None)
    drafter = Raises(1)
    rows = written(runner_of("torch"), prompts, options, drafter)
    assert [row.tokens for row in rows] == [row.tokens for row in plain]
    assert [row.drafting for row in rows] == [True, False, True] and drafter.failures == 1
    assert "drafting was stopped 1 times: no idea" in drafter.summary()


def test_a_broken_draft_model_leaves_the_answer_as_it_is() -> None:
    model, broken = make("torch"), pellucid.GPT(make("torch").config).requires_grad_(False)
    broken.wte.weight.fill_(float("nan"))
    options = {"max_tokens": 9, "seed": 1, "logit_bias": {VOCAB - 1: -100.0}}
    drafter = DraftModel(broken.make_runner())
    assert model.generate([1, 2], draft=drafter, **options) == model.generate([1, 2], **options)
    assert "the draft model cannot propose tokens: " in drafter.summary() and drafter._sequences == {}


def test_an_answer_that_is_left_leaves_nothing_in_the_draft_model() -> None:
    drafter = DraftModel(make("torch", seed=4).make_runner())
    stream = make("torch").stream([1, 2], max_tokens=20, seed=2, logit_bias={VOCAB - 1: -100.0}, draft=drafter)
    assert [next(stream).position for _ in range(5)] == [2, 3, 4, 5, 6]
    assert len(drafter._sequences) == 1
    del stream
    assert drafter._sequences == {} and drafter._lengths == {}


def test_a_draft_model_drafts_only_within_its_window() -> None:
    config = GPTConfig(vocab_size=VOCAB, n_ctx=8, n_layers=1, d_model=24, n_heads=3)
    small = DraftModel(lively(pellucid.GPT(config, seed=3)).runner(), 4)
    options = SamplingOptions(max_tokens=20, seed=2, logit_bias=((VOCAB - 1, -100.0),))
    prompts = [[1, 2], list(range(9))]
    plain = written(runner_of("torch"), prompts, options, None)
    assert [row.tokens for row in written(runner_of("torch"), prompts, options, small)] == [row.tokens for row in plain]
    assert 0 < small.drafted <= 7 + 6 + 5
