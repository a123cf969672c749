"""Verifying the sampling options that a generation record states: only those that its numbers depend on can be.

An option is verified if no neighbouring value of it could have given the recorded steps. If one could (another top_k where
nothing was cut off, another bias of a token of negligible probability, any cut at temperature 0), the record's numbers do not
depend on the option, and it is reported as unverified.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pellucid.engine.detokenizer import TextAssembler
from pellucid.engine.options import SAMPLING_OPTIONS, option_named
from pellucid.errors import PellucidError
from pellucid.generation.model import GPT
from pellucid.interpret.capture import SAMPLE_INDEX
from pellucid.interpret.verify.report import WordResult
from pellucid.interpret.verify.steps import StepVerifier
from pellucid.interpret.verify.words import compared
from pellucid.record import Record


_SAMPLING = "provenance/sampling/"
_NO_EFFECT = "the recorded numbers do not depend on it"
_NEAR = 1.1  # a neighbouring value: 10 % more or less
_KNOWN = {option.name for option in SAMPLING_OPTIONS if option.recorded in ("always", "when changed")}


def sampling_words(record: Record, model: GPT, steps: StepVerifier) -> Iterator[WordResult]:
    """The result for each sampling option that the provenance states, and for the seed."""
    options = steps.options
    drawn = options.temperature > 0
    yield _word("provenance/seed", drawn, "nothing was drawn at temperature 0")
    for name, value in (record.provenance.sampling or {}).items():
        word = _SAMPLING + name
        if name == "sample":
            yield compared(word, value, SAMPLE_INDEX, note=f"not {SAMPLE_INDEX}")
        elif name not in _KNOWN:
            yield WordResult(word=word, status="unverified", note="no option that this Pellucid records")
        elif name in ("max_tokens", "stop"):
            yield _end(word, model, steps)
        else:
            yield _word(word, (name == "temperature" and not drawn) or (drawn and is_determined(steps, name)), _NO_EFFECT)


def _word(word: str, verified: bool, note: str) -> WordResult:
    return WordResult(word=word, status="equal" if verified else "unverified", note="" if verified else note)


def is_determined(steps: StepVerifier, name: str) -> bool:
    """Whether no neighbouring value of the option could have given the recorded steps."""
    for value in neighbours(steps, name):
        try:
            other = steps.with_options(replace(steps.options, **{name: value}))
        except PellucidError:  # outside of the option's range
            continue
        if all(other.agrees(i) for i in range(steps.steps)):
            return False
    return True


def neighbours(steps: StepVerifier, name: str) -> list[Any]:
    """Other values of an option, the nearest that could matter."""
    value, default = getattr(steps.options, name), option_named(name).default
    match name:
        case "top_k":
            if value is None:
                return [min(int(steps.chunks["kept"].max()), steps.vocab_size - 1)]
            return [value + 1, value - 1, None]
        case "top_p" | "min_p":
            if value is None:
                return [1 / _NEAR if name == "top_p" else 1e-3]
            return [value * _NEAR, value / _NEAR, None]
        case "logit_bias":
            pairs = list(value)
            changed = [[*pairs[:i], *pairs[i + 1 :]] for i in range(len(pairs))]
            for i, (token, bias) in enumerate(pairs):
                for other in (bias * _NEAR, bias / _NEAR):
                    changed.append([*pairs[:i], (token, other), *pairs[i + 1 :]])
            return changed
        case _:
            if value == default and name != "temperature":
                return [default + 0.5, default - 0.5]
            return [value * _NEAR, value / _NEAR, default] if value != default else [value * _NEAR, value / _NEAR]


def _end(word: str, model: GPT, steps: StepVerifier) -> WordResult:
    """max_tokens and stop, by where the text ends: before max_tokens tokens only after end-of-text or a stop string."""
    options, drawn = steps.options, steps.drawn
    readable = model.tokenizer is not None or not options.stop
    text = TextAssembler(model.tokenizer, options.stop)
    ends = []
    for i, token in enumerate(drawn):
        ended = token in model.end_ids
        if not ended:
            text.push(token)
        if ended or text.stopped:
            ends.append(i)
    if ends and ends[0] < len(drawn) - 1:
        return WordResult(word=word, status="differs", note=f"the text should end after {ends[0] + 1} tokens, but continues")
    if not ends and readable and len(drawn) < options.max_tokens:
        return WordResult(word=word, status="differs", note=f"nothing ended the text after {len(drawn)} tokens")
    if word.endswith("stop"):
        return WordResult(word=word, status="unverified", note="other strings could have ended it at the same place")
    return _word(word, not ends and len(drawn) == options.max_tokens, "the text was ended by something else")
