"""One table of sampling options: what is written out for type checkers equals it, and one more row reaches every place."""

import argparse
import dataclasses
import inspect
import math
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.cli import generate, generate_modes, parser, xray
from pellucid.engine import options as option_table
from pellucid.engine.options import REQUEST_OPTIONS, SAMPLING_OPTIONS, SamplingOption, SamplingOptions
from pellucid.errors import PellucidError
from pellucid.generation.mixin import GenerationMixin, Options
from pellucid.serve.studio.generate_request import option_fields, parse_generate_request


NAMES = [option.name for option in SAMPLING_OPTIONS]
NEW = SamplingOption(
    name="typical_mass", type="float", default=1.0, minimum=0, maximum=1, help="a rule that nobody has written yet"
)


def test_what_is_written_out_is_the_table() -> None:
    fields = {field.name: field for field in dataclasses.fields(SamplingOptions)}
    assert set(fields) == set(NAMES) == set(get_type_hints(Options)) and len(NAMES) == len(set(NAMES))
    keywords = inspect.signature(GenerationMixin.generate).parameters
    for option in (*SAMPLING_OPTIONS, *REQUEST_OPTIONS):
        assert keywords[option.name].default == (None if option.type == "biases" else option.default), option.name
        if option.name in fields and option.name != "seed":  # a new one is drawn where none is given
            assert fields[option.name].default == option.default, option.name
    others = {"self", "prompt", "draft", "ablate", "ablate_with"}
    assert set(keywords) == {*others, *NAMES, *(option.name for option in REQUEST_OPTIONS)}


def test_every_default_passes_its_own_check_and_every_limit_is_one() -> None:
    for option in (*SAMPLING_OPTIONS, *REQUEST_OPTIONS):
        if option.name != "seed":
            assert option.check(option.default) == option.default
        if option.type not in ("int", "float"):
            continue
        step = 1 if option.type == "int" else 1e-9
        for limit, beyond in ((option.minimum, -step), (option.maximum, step)):
            if limit is not None:
                value = limit + step if option.above_minimum and limit == option.minimum else limit
                assert option.check(type(step)(value)) == value
                with pytest.raises(PellucidError, match=f"{option.name} must be .*, not "):
                    option.check(type(step)(limit) + beyond)
        for wrong in (True, "1", [1], math.nan, math.inf):
            with pytest.raises(PellucidError, match=f"{option.name} must be "):
                option.check(wrong)
        assert option.nullable == (option.default is None and option.name != "seed")


def test_what_a_record_names_changes_what_is_drawn() -> None:
    assert all(option.draws for option in option_table.recordable_options())
    assert not any(option.draws for option in SAMPLING_OPTIONS if option.name == "logprobs")


options = st.builds(
    SamplingOptions, max_tokens=st.integers(0, 9), temperature=st.floats(0, 5), top_k=st.none() | st.integers(1, 9),
    top_p=st.none() | st.floats(0.1, 1), min_p=st.none() | st.floats(0, 1),
    stop=st.lists(st.text(min_size=1), max_size=2).map(tuple),
    presence_penalty=st.floats(-2, 2), frequency_penalty=st.floats(-2, 2), repetition_penalty=st.floats(0.01, 100),
    logit_bias=st.dictionaries(st.integers(0, 99), st.floats(-100, 100), max_size=3), seed=st.integers(-(2**63), 2**63 - 1),
)  # fmt: skip


@given(options)
def test_a_record_s_columns_give_the_options_again(options: SamplingOptions) -> None:
    named = options.recorded()
    assert {"max_tokens", "temperature", "top_k", "top_p", "stop"} <= set(named) <= set(NAMES) - {"seed", "slide", "logprobs"}
    assert SamplingOptions.from_record(named, options.seed) == options
    for name in set(NAMES) - set(named) - {"seed", "slide", "logprobs"}:
        assert getattr(options, name) == next(option.default for option in SAMPLING_OPTIONS if option.name == name)


def flags_of(command: Any) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    command.add_arguments(made)
    return made


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Extended(SamplingOptions):
    """The options with the attribute that a new row needs beside its line in the table."""

    typical_mass: float = 1.0


def test_one_more_row_is_a_flag_a_field_a_column_and_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(option_table, "SAMPLING_OPTIONS", (*SAMPLING_OPTIONS, NEW))
    chosen = flags_of(generate).parse_args(["a", "--typical-mass", "0.5"])
    assert chosen.typical_mass == 0.5 and generate.sampling(chosen)["typical_mass"] == 0.5
    assert flags_of(generate).parse_args(["a"]).typical_mass == 1.0
    assert "a rule that nobody has written yet (default 1)" in " ".join(flags_of(generate).format_help().split())
    assert generate.sampling(flags_of(xray).parse_args(["a", "--out", "x", "--typical-mass", "0.5"]))["typical_mass"] == 0.5
    scored = flags_of(generate).parse_args(["a", "--score", "--typical-mass", "0.5"])
    assert generate_modes.wrong_use(scored) == "--score writes nothing: leave out --typical-mass"
    assert parse_generate_request(b'{"typical_mass": 0.25}').options["typical_mass"] == 0.25
    with pytest.raises(PellucidError, match="typical_mass must be from 0 to 1, not 2"):
        parse_generate_request(b'{"typical_mass": 2}')
    assert NEW.wire() in option_fields()
    assert "typical_mass" not in Extended(seed=1).recorded()
    changed = Extended(typical_mass=0.5, seed=1)
    assert changed.recorded()["typical_mass"] == 0.5 and Extended.from_record(changed.recorded(), 1) == changed
    with pytest.raises(PellucidError, match="typical_mass must be from 0 to 1"):
        Extended(typical_mass=-1.0, seed=1)


def test_flags_read_as_keywords() -> None:
    chosen = parser("generate").parse_args(["generate", "a", "--stop", "x", "--stop", "y", "--logit-bias", "3=-1.5", "--slide"])
    found = generate.sampling(chosen)
    assert (found["stop"], found["logit_bias"], found["slide"]) == (("x", "y"), {3: -1.5}, True)
    assert SamplingOptions(**(found | {"seed": 0})).logit_bias == ((3, -1.5),)
    plain = generate.sampling(parser("generate").parse_args(["generate", "a"]))
    assert SamplingOptions(**(plain | {"seed": 0})) == SamplingOptions(seed=0)


@pytest.mark.parametrize("option", [one for one in (*SAMPLING_OPTIONS, *REQUEST_OPTIONS) if one.type == "float"])
def test_a_whole_number_that_no_float_holds_is_out_of_range(option: Any) -> None:
    for value in (10**400, -(10**400)):
        with pytest.raises(PellucidError, match=f"^{option.name} must be"):
            option.check(value)
