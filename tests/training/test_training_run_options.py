"""The table of a run's options: keywords, flags, checks and type hints come from it, and agree."""

import argparse
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pellucid
from pellucid.cli.run_options import add_options, given_options
from pellucid.errors import PellucidError
from pellucid.training.option_table import option, table
from pellucid.training.options import FinetuningKeywords, FinetuningOptions, RunOptions, TrainingKeywords, TrainingOptions


KINDS = [(TrainingOptions, TrainingKeywords, pellucid.train), (FinetuningOptions, FinetuningKeywords, pellucid.finetune)]
TEXT = {int: "7", float: "0.5", str: "words", Mapping: "momentum=0.5"}  # what a flag of each kind may be given
READ = {int: 7, float: 0.5, str: "words", Mapping: {"momentum": 0.5}, bool: True}


@pytest.mark.parametrize(("options", "keywords", "function"), KINDS, ids=["train", "finetune"])
def test_type_hints_and_signatures_are_the_table_s(
    options: type[RunOptions], keywords: type, function: Callable[..., Any]
) -> None:
    def hint(kind: object) -> str:  # a typing.ForwardRef or a plain string where a class is imported for type checkers only
        return str(getattr(kind, "__forward_arg__", kind))

    assert {f.name: hint(f.type) for f in fields(options)} == {n: hint(k) for n, k in keywords.__annotations__.items()}
    shown = inspect.signature(function).parameters
    assert {name for name, _ in table(options)} <= set(shown)
    assert all(shown[name].default is None for name, _ in table(options))
    assert not any(parameter.kind is parameter.VAR_KEYWORD for parameter in shown.values())


def flags(options: type[RunOptions]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    add_options(parser, options)
    return parser


@pytest.mark.parametrize("options", [TrainingOptions, FinetuningOptions])
def test_every_option_with_a_flag_is_read_from_it(options: type[RunOptions]) -> None:
    for name, known in table(options):
        if known.kind is None:
            continue
        text = known.choices[0] if known.choices else TEXT.get(known.kind)
        flag = f"--{known.flag or name.replace('_', '-')}"
        chosen = flags(options).parse_args([flag] if known.kind is bool else [flag, str(text)])
        expected = known.choices[0] if known.choices else READ[known.kind]
        found = given_options(chosen, options)
        assert found == {name: [expected] if known.repeated else expected}
        if name not in ("optimizer_settings", "lora_alpha", "lora_targets"):  # which want an optimizer, or a rank, too
            assert options(**found).given() == found


def test_an_option_is_one_line() -> None:
    """A field: its keyword, flag, check and place in the plan follow."""

    @dataclass(frozen=True, kw_only=True)
    class More(RunOptions):
        label_smoothing: float | None = option(float, "of the targets", metavar="X", positive=True, planned=True)

    assert given_options(flags(More).parse_args(["--label-smoothing", "0.1"]), More) == {"label_smoothing": 0.1}
    assert More(label_smoothing=0.1, steps=3).planned() == {"label_smoothing": 0.1}
    with pytest.raises(PellucidError, match="label_smoothing must be a number above 0, not -1"):
        More(label_smoothing=-1)


GROUPED = [
    (options, name, known.group) for options in (TrainingOptions, FinetuningOptions) for name, known in table(options)
    if known.group
]  # fmt: skip
VALUES: dict[str, Any] = {"preset": "tiny", "config": pellucid.GPTConfig.preset("tiny"), "parameters": 10**6}


@given(st.sampled_from(GROUPED), st.sampled_from(GROUPED))
def test_one_answer_to_a_question(one: tuple[Any, str, str], other: tuple[Any, str, str]) -> None:
    options, name, group = one
    another, second, second_group = other
    if options is not another:
        return
    asked = {key: VALUES.get(key, 2) for key in (name, second)}
    if name != second and group == second_group:
        with pytest.raises(PellucidError, match=r"give one of .*, not several"):
            options(**asked)
    else:
        assert options(**asked).given() == asked


@given(st.sampled_from([0, -3, -0.5, float("nan"), float("inf")]), st.data())
def test_numbers_that_cannot_be_are_refused_by_name(value: float, data: st.DataObject) -> None:
    options = data.draw(st.sampled_from([TrainingOptions, FinetuningOptions]))
    name = data.draw(st.sampled_from([name for name, known in table(options) if known.positive]))
    with pytest.raises(PellucidError, match=f"{name} must be a number above 0, not {value}"):
        options(**{name: value})


def test_an_unknown_keyword_is_an_error(tmp_path: Any) -> None:
    with pytest.raises(TypeError, match="learning_rat"):
        pellucid.train([], tmp_path / "run", learning_rat=1.0)
    assert not any(tmp_path.iterdir())
