"""Saving a model that a user changed: what is written can be loaded, or nothing is written and the message says why."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from cases import cases
from changed_models import EDITS, NAMES, Doubled, Wrapped, changed, original
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize, prune

import pellucid
from pellucid.errors import PellucidError


@cases(40)
@given(st.sampled_from(NAMES), st.sampled_from(sorted(EDITS)))
def test_what_is_saved_can_be_loaded(name: str, edit: str) -> None:
    model = changed(name, edit)
    with TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        try:
            model.save(place)
        except PellucidError as error:
            assert (str(error).startswith(name) and "saving" in str(error)) or "missing" in str(error)
            assert not place.exists()
            return
        loaded = pellucid.load(place)
        for parameter, value in model.named_parameters():
            assert torch.equal(loaded.get_parameter(parameter), value)


def tie(model: pellucid.GPT) -> None:
    model.h[1].mlp = model.h[0].mlp


def test_shared_modules_are_saved_as_often_as_they_are_used(tmp_path: Path) -> None:
    model = original().copy()
    tie(model)
    model.save(tmp_path)
    ids = torch.tensor([[1, 2, 3]])
    assert torch.allclose(pellucid.load(tmp_path)(ids), model(ids), atol=1e-4)


CHANGES: dict[str, tuple[Callable[[pellucid.GPT], Any], str]] = {
    "wrapped": (lambda m: setattr(m.h[1].mlp, "c_fc", Wrapped(m.h[1].mlp.c_fc)), "h.1.mlp.c_fc was replaced by a Wrapped"),
    "parametrized": (
        lambda m: parametrize.register_parametrization(m.h[1].attn.c_proj, "weight", Doubled()),
        r"h.1.attn.c_proj is parametrized: call .*remove_parametrizations\(module, 'weight'\)",
    ),
    "pruned": (
        lambda m: prune.identity(m.h[0].mlp.c_proj, "bias"), r"h.0.mlp.c_proj is pruned: call .*prune.remove\(module, 'bias'\)"
    ),
    "cut": (lambda m: setattr(m, "h", nn.ModuleList(m.h[:1])), "h.1 is missing"),
    "another shape": (lambda m: setattr(m.h[0].mlp, "c_fc", nn.Linear(3, 4)), r"h.0.mlp.c_fc.weight has the shape \(4, 3\)"),
    "no bias": (lambda m: setattr(m.h[0].mlp.c_fc, "bias", None), "h.0.mlp.c_fc.bias is missing"),
    "one more": (lambda m: setattr(m, "extra", nn.Linear(2, 2)), "extra is a module that a decoder does not have"),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_what_could_not_be_loaded_is_named(change: str, tmp_path: Path) -> None:
    edit, message = CHANGES[change]
    model = original().copy().requires_grad_(True)
    edit(model)
    with pytest.raises(PellucidError, match=f"^{message}"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()
