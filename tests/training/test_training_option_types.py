"""Options of another type are refused when they are given, before anything is prepared."""

from pathlib import Path
from typing import Any

import pytest

import pellucid
from pellucid.errors import PellucidError
from pellucid.training.option_table import table
from pellucid.training.options import FinetuningOptions, TrainingOptions


CASES = [
    (options, name, value)
    for options in (TrainingOptions, FinetuningOptions)
    for name, known in table(options)
    for value in {int: ["5", 1.5, True, [1]], float: ["5", True, [1]], bool: ["yes", 1]}.get(known.kind or str, [])
]


@pytest.mark.parametrize(("options", "name", "value"), CASES)
def test_a_number_or_a_switch_of_another_type_is_refused_by_name(options: Any, name: str, value: Any) -> None:
    with pytest.raises(PellucidError, match=f"^{name} must be a (whole )?number, not|^{name} must be true or false, not"):
        options(**{name: value})


def test_train_refuses_it_before_it_makes_a_run(tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match=r"checkpoint_every must be a whole number, not 1\.5"):
        pellucid.train(tmp_path / "text", tmp_path / "run", checkpoint_every=1.5)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("run", [pellucid.train, pellucid.finetune])
@pytest.mark.parametrize(
    "given", [{"stop": True}, {"stop": 0}, {"observers": print}, {"observers": [3]}, {"observers": "text"}, {"observers": {3}}]
)
def test_what_is_called_must_be_a_function(run: Any, given: dict[str, Any], tmp_path: Path) -> None:
    (name,) = given
    with pytest.raises(PellucidError, match=f"^(an observer|{name}) must be a "):
        run(tmp_path / "text", tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()
