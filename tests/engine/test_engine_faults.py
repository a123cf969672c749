"""Faults of a runner and of a drafter at random calls: only what they concern ends, and nothing stays open."""

import random
from collections import abc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from plain_runner import VOCAB, Plain, alone

from pellucid.engine.engine import Engine
from pellucid.engine.options import SamplingOptions
from pellucid.engine.request import Request, SequenceGroup
from pellucid.engine.sequence import Sequence
from pellucid.engine.speculation import Drafter, DraftRequest
from pellucid.errors import PellucidError
from pellucid.runtime.runner import TokenSpan


class Fault(Exception):
    """What the faulty runner and drafter raise."""


class FaultyRunner(Plain):
    """Raises at random from the calls that it is told to."""

    def __init__(self, chance: random.Random, rates: abc.Mapping[str, float]) -> None:
        super().__init__()
        self.chance, self.rates, self.faults = chance, rates, 0

    def may_raise(self, call: str) -> None:
        if self.chance.random() < self.rates.get(call, 0):
            self.faults += 1
            raise Fault(call)

    def open(self, capacity: int) -> int:
        self.may_raise("open")
        return super().open(capacity)

    def copy(self, source: int, target: int, tracks: int) -> None:
        self.may_raise("copy")
        super().copy(source, target, tracks)

    def close(self, sequence: int) -> None:
        super().close(sequence)
        self.may_raise("close")

    def run(self, segments: abc.Sequence[TokenSpan]) -> list[NDArray[np.float32] | None]:
        found = super().run(segments)
        self.may_raise("run")
        return found


class FaultyDrafter(Drafter):
    """Proposes at random, what cannot be read among it, and raises from all its calls."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(4)
        self.chance = chance

    def may_raise(self) -> None:
        if self.chance.random() < 0.1:
            raise Fault("drafter")

    def propose(self, requests: abc.Sequence[DraftRequest]) -> list[list[int]]:
        self.may_raise()
        ids: list[Any] = [*range(14, 40), 1.5, VOCAB]
        return [self.chance.choices(ids, k=asked.max_tokens) for asked in requests]

    def update(self, sequence: Sequence, drafted: int, accepted: int) -> None:
        super().update(sequence, drafted, accepted)
        self.may_raise()

    def release(self, sequence: Sequence) -> None:
        super().release(sequence)
        self.may_raise()


def ask(prompt: Any, tokens: int = 6, seed: int = 1, **others: Any) -> Request:
    return Request(prompt=prompt, options=SamplingOptions(max_tokens=tokens, seed=seed), **others)


def run_schedule(chance: random.Random, runner: FaultyRunner, drafter: Drafter | None) -> list[SequenceGroup]:
    """Submits, cancels and steps at random, until all is done."""
    engine = Engine(
        runner, tokenizer=None, end_of_text=VOCAB - 1, memory=chance.choice([None, 7000]), chunk=chance.choice([1, 5, 100]),
        max_sequences=chance.choice([1, 3, 64]), drafter=drafter,
    )  # fmt: skip
    groups: list[SequenceGroup] = []
    left = 12
    while left or not engine.idle:
        if left and chance.random() < 0.4:
            left -= 1
            prompt = [20, 21, 22, 23, 24, 25][: chance.randrange(1, 7)] * chance.randrange(1, 5)
            # Many tokens asked for and few drawn (end-of-text is likely): what is cached is moved to where it just fits.
            options = SamplingOptions(max_tokens=30, seed=chance.randrange(3), logit_bias=((VOCAB - 1, 100), (30, -1)))
            few = Request(prompt=prompt, options=options)
            groups.append(engine.submit(few if chance.random() < 0.3 else ask(prompt, chance.randrange(9), n=2)))
        elif groups and chance.random() < 0.1:
            engine.cancel(chance.choice(groups))
        else:
            engine.step()
            assert engine.stats.nbytes == runner.held()
    engine.close()
    assert not runner.sequences and engine.stats.nbytes == 0
    return groups


@pytest.mark.long
@pytest.mark.parametrize("calls", ["", "open", "copy", "close", "run", "open copy close run"])
def test_a_fault_ends_only_what_it_concerns_and_nothing_stays_open(calls: str) -> None:
    right = faults = 0
    for seed in range(30):
        chance = random.Random(f"{calls} {seed}")
        runner = FaultyRunner(chance, dict.fromkeys(calls.split(), 0.1))
        groups = run_schedule(chance, runner, FaultyDrafter(chance) if seed % 2 else None)
        faults += runner.faults
        for sequence in (sequence for group in groups for sequence in group.sequences):
            if sequence.error is not None:  # no completion needs a sequence to be closed
                assert isinstance(sequence.error, Fault) and str(sequence.error) in calls.replace("close", "").split()
            elif sequence.finish_reason != "cancelled":
                assert [token.id for token in sequence.tokens] == alone(sequence.prompt, sequence.options, sequence.sample)
                right += 1
    assert right > 100 and bool(faults) == bool(calls)


@pytest.mark.parametrize("prompt", [[1.5], ["a"], [None], [[14]], "abc", 5, None])
def test_a_prompt_of_no_token_ids_is_refused_before_it_can_fail_a_step(prompt: Any) -> None:
    with pytest.raises(PellucidError, match="a list of token ids"):
        ask(prompt)


def test_a_request_holds_plain_integers_of_its_own() -> None:
    prompt = [14, 15]
    request = ask(prompt)
    prompt.append(1.5)  # type: ignore[arg-type]
    assert request.prompt == ask(np.array([14, 15])).prompt == [14, 15]
    assert all(type(token) is int for token in ask(np.array([14, 15])).prompt)


def test_a_request_of_other_types_is_refused() -> None:
    with pytest.raises(PellucidError, match="echo must be true or false, not 'yes'"):
        ask([14], echo="yes")
    with pytest.raises(PellucidError, match=r"options must be SamplingOptions, not \{\}"):
        Request(prompt=[14], options={})  # type: ignore[arg-type]
