"""Verifying a plan's record: whole, and with any one number of any chunk changed."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as some
from plan_records import plan_record, small_plan

from pellucid.cli import main
from pellucid.errors import PellucidError
from pellucid.interpret.verify.verify import verify
from pellucid.planning.cluster.record import plan_inputs, plan_values, read_inputs, write_plan
from pellucid.record import Record, RecordWriter, check, describe


def changed(record: Record, name: str, value: Any) -> Record:
    """The record with another value in one chunk."""
    buffer = BytesIO()
    with RecordWriter(buffer, "plan", record.provenance) as writer:
        for one in record:
            writer.add(one, value if one == name else record[one], **describe("plan", one))
    buffer.seek(0)
    return Record.open(buffer)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all numbers and texts in a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    return [found for key, one in pairs for found in leaves(one, (*path, key))] if pairs else [path]


def with_leaf(value: Any, path: tuple[Any, ...]) -> Any:
    """The value with one leaf changed."""
    if not path:
        return value * 1.001 + 1 if isinstance(value, int | float) and not isinstance(value, bool) else "another"
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = with_leaf(copy[path[0]], path[1:])
    return copy


def test_a_plan_s_record_is_complete_and_verified() -> None:
    record = plan_record()
    check(record)
    report = verify(record)
    assert report.ok and report.complete
    assert {one.truth for one in report.chunks} == {"given", "estimated"}
    assert report.unverified == ("provenance/pellucid",)


@pytest.mark.long
@cases(25)
@given(some.data())
def test_a_changed_number_is_found_wherever_it_is(data: some.DataObject) -> None:
    record = plan_record()
    name = data.draw(some.sampled_from([one for one in record if one != "plan/inputs"]))
    value = record[name]
    if isinstance(value, np.ndarray):
        value = value.copy()
        place = data.draw(some.integers(0, value.size - 1))
        value.flat[place] = 1 - value.flat[place] if value.dtype == np.uint8 else value.flat[place] * 2 + 1
    else:
        value = with_leaf(value, data.draw(some.sampled_from(leaves(value))))
    report = verify(changed(record, name, value))
    assert not report.ok
    assert [one.chunk for one in report.chunks if not one.ok] == [name]


@cases(25)
@given(some.data())
def test_other_inputs_give_other_numbers_or_are_refused(data: some.DataObject) -> None:
    record = plan_record()
    inputs = record["plan/inputs"]
    path = data.draw(some.sampled_from([one for one in leaves(inputs) if one[-1] not in ("source", "name", "power", "price")]))
    other = with_leaf(inputs, path)
    try:
        report = verify(changed(record, "plan/inputs", other))
    except PellucidError:
        return
    # A figure that does not bind changes nothing, such as memory of which there is more than enough.
    assert report.ok == (plan_values_of(other, record) == plan_values_of(inputs, record)) or report.differing


def plan_values_of(inputs: dict[str, Any], record: Record) -> str:
    from pellucid.gpt.config import GPTConfig

    return repr(plan_values(read_inputs(inputs, GPTConfig.from_dict(record.provenance.config), "inputs")))


def test_the_command_writes_a_record_that_verify_and_figures_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plan.pellucid"
    asked = ["plan", "gpt3-125m", "--gpus", "8", "--gpu", "h100", "--mesh", "pp=2,tp=2,cp=1", "--record", str(path), "--json"]
    assert main(asked) == 0
    assert main(["verify", str(path)]) == 0
    assert "verified" in capsys.readouterr().out
    with pytest.raises(PellucidError, match="nothing fits"):
        write_plan(small_plan_that_does_not_fit(), BytesIO())


def small_plan_that_does_not_fit() -> Any:
    from dataclasses import replace

    plan = small_plan()
    return replace(plan, ranked=())


def test_inputs_that_are_not_possible_are_named() -> None:
    plan = small_plan()
    config = plan.workload.config
    for change, words in (
        ({"devices": 0}, "devices"), ({"dtype": "int3"}, "dtype is none of"), ({"sequences": "many"}, "sequences"),
        ({"device": {"name": "x", "source": "y"}}, "lacks"),
        ({"device": {"name": "x", "source": "y", "flops": -1}}, "flops is no number above 0"),
    ):  # fmt: skip
        with pytest.raises(PellucidError, match=words):
            read_inputs(plan_inputs(plan) | change, config, "inputs")
