"""Records of models that a user changed: what they say of the cache is true, and they verify; else one clear line."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import cases
from changed_models import CONFIG, EDITS, NAMES, Wrapped, changed, original
from hypothesis import given
from hypothesis import strategies as st
from tampering import signed_again
from torch import Tensor, nn

import pellucid
from pellucid.errors import PellucidError
from pellucid.interpret import KEEP
from pellucid.interpret.formulas import cache_cells
from pellucid.record import check
from pellucid.runtime.module_changes import find_change
from pellucid.runtime.runner_selection import torch_runner


TEXTS = st.lists(st.integers(0, 59), min_size=3, max_size=12)
STEPS = 5
KEEPABLE = st.sets(st.sampled_from(KEEP))


def record_of(model: pellucid.GPT, ids: list[int], **options: Any) -> pellucid.Record:
    return pellucid.xray(model, ids, max_tokens=STEPS, seed=3, temperature=1.3, logit_bias={model.end_of_text: -100}, **options)


def checked(model: pellucid.GPT, ids: list[int], **options: Any) -> None:
    """The record says what ran, and verifies; or one line says which module hides what."""
    try:
        record = record_of(model, ids, **options)
    except PellucidError as error:
        assert "h." in str(error) or "tap" in str(error)
        return
    cached, change = torch_runner(model).cached, find_change(model)
    cells = record["generation/cells"]
    assert (cells == cache_cells(CONFIG.pattern, len(ids), STEPS, cached=cached).numpy()).all()
    assert bool((cells[-1] == 1).all()) != cached and bool(record["generation/cache_bytes"][0]) == cached
    machine = record.provenance.machine or {}
    assert machine.get("model_change") == (None if change is None else change.reason)
    check(record, partial=True)
    report = record.verify(model)
    assert report.ok, str(report)
    if "lens" in options.get("keep", KEEP):
        record.figure("xray")


@cases(5)
@given(st.sampled_from(NAMES), st.sampled_from(sorted(EDITS)), TEXTS)
def test_the_record_of_a_changed_model_is_true_and_verifies(name: str, edit: str, ids: list[int]) -> None:
    checked(changed(name, edit), ids)


@pytest.mark.long
@pytest.mark.parametrize("edit", sorted(EDITS))
def test_so_does_that_of_every_edit_of_every_module(edit: str) -> None:
    for name in NAMES:
        checked(changed(name, edit), [5, 9, 2, 44, 17])


@cases(3)
@given(st.sampled_from(NAMES), st.sampled_from(["hook", "patched forward", "averaging"]), TEXTS)
def test_what_a_record_says_of_the_cache_or_the_change_cannot_be_forged(name: str, edit: str, ids: list[int]) -> None:
    model = changed(name, edit)
    if edit == "averaging" and torch_runner(model).cached:
        return
    record = record_of(model, ids, keep=())
    forged: dict[str, Any] = {
        "generation/cells": cache_cells(CONFIG.pattern, len(ids), STEPS).numpy(),
        "generation/cache_bytes": np.array([CONFIG.kv_bytes(CONFIG.n_ctx)]),
    }
    for chunk, value in forged.items():
        report = signed_again(record, {chunk: value}).verify(model)
        assert [row.chunk for row in report.chunks if not row.ok] == [chunk]
    machine = {**(record.provenance.machine or {}), "model_change": "nothing"}
    report = signed_again(record, {}, dataclasses.replace(record.provenance, machine=machine)).verify(model)
    assert [one.word for one in report.differing] == ["provenance/machine/model_change"]


class Hiding(nn.Module):
    """An attention around another that hands it no tap."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, cache: Any, tap: Any) -> Tensor:
        return self.inner(x, cache, None)


class PlainForward(pellucid.GPT):
    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids)


def drop_block(model: pellucid.GPT) -> None:
    model.h = nn.ModuleList(model.h[:1])


def hide_attention(model: pellucid.GPT) -> None:
    model.h[1].attn = Hiding(model.h[1].attn)


def own_forward(model: pellucid.GPT) -> None:
    model.__class__ = PlainForward


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop_block, "h holds 1 blocks, but the config states n_layers 2"),
        (hide_attention, r"h.1.attn is a Hiding that hands nothing to the tap .* 'attention' cannot be recorded"),
        (own_forward, "the forward method of this PlainForward takes no `tap`"),
    ],
)
def test_what_cannot_be_seen_is_named(edit: Callable[[pellucid.GPT], None], message: str) -> None:
    model = original().copy()
    edit(model)
    model.generate([1, 2, 3], max_tokens=2)
    with pytest.raises(PellucidError, match=message):
        record_of(model, [1, 2, 3])


@cases(4)
@given(KEEPABLE, TEXTS)
def test_what_can_be_seen_is_recorded(keep: set[str], ids: list[int]) -> None:
    model = original().copy()
    model.ln_f, model.h[0].attn = nn.Identity(), Wrapped(model.h[0].attn)
    checked(model, ids, keep=keep)
    hide_attention(model)
    checked(model, ids, keep=keep - {"attention"})
    if "attention" not in keep:
        assert record_of(model, ids, keep=keep).verify(model).ok
    assert find_change(model) is not None
