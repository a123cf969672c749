"""A chunk against what it should be: differences, tolerances, and the one that stands out."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.interpret.verify.report import Row
from pellucid.record import Record


Array = Any


@dataclass(frozen=True, slots=True)
class Difference:
    """Between a chunk and what it should be: |difference| and tolerance by number, and the unit of both."""

    difference: Array
    tolerance: Array
    unit: str = ""

    def row(self, record: Record, name: str) -> Row:
        """Its worst number."""
        found, allowed = (np.asarray(a, np.float64).ravel() for a in np.broadcast_arrays(self.difference, self.tolerance))
        found = np.where(np.isnan(found), np.inf, found)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(found > 0, found / allowed, 0.0)  # 1 / 0 is infinite
        worst = int(share.argmax()) if share.size else -1
        return Row(
            chunk=name, truth=record.entry(name).truth, ok=bool(share.size == 0 or share[worst] <= 1), unit=self.unit,
            difference=float(found[worst]) if share.size else 0.0, tolerance=float(allowed[worst]) if share.size else 0.0,
        )  # fmt: skip


def listed(logprobs: Tensor, ids: Array, stored: Array, nats: Array) -> tuple[Difference, Difference]:
    """A list of the likeliest tokens, the likeliest first, against (N, V) log-probabilities: its ids, and its numbers.

    An id is off by how much less likely its token is than the one that belongs there: of two that are equally likely but
    for rounding, either may come first. None may come twice.
    """
    there = known(ids, logprobs.shape[1])
    right = logprobs.topk(ids.shape[1]).values.numpy()
    found = logprobs.gather(1, torch.from_numpy(np.where(there, ids, 0).astype(np.int64))).numpy()
    found[~there] = np.inf
    twice = np.array([len(set(row)) < len(row) for row in ids.tolist()], bool)
    found[twice] = np.inf
    rounded = 2.0**-24 * np.abs(right)
    return (
        Difference(np.abs(found - right), 2 * nats + rounded, "nats"),
        Difference(np.abs(stored - np.where(there, found, right)), nats + rounded, "nats"),
    )


def known(ids: Array, vocab_size: int) -> Array:
    """Which of the ids are tokens at all."""
    return (ids >= 0) & (ids < vocab_size)


def equal(stored: Array, right: Array) -> Difference:
    """Numbers that no rounding has touched."""
    if stored.shape != right.shape:
        return Difference(np.array([math.inf]), 0.0)
    return Difference(np.abs(stored.astype(np.float64) - right.astype(np.float64)), 0.0)


def stack(parts: Sequence[Difference]) -> Difference:
    """Several of one shape as one, along a new first axis."""
    shaped = [np.broadcast_arrays(part.difference, part.tolerance) for part in parts]
    return Difference(np.stack([one for one, _ in shaped]), np.stack([two for _, two in shaped]), parts[0].unit)


def off(stored: Array, right: Array) -> Array:
    """|stored - right|; numbers that are both none agree."""
    return np.where(np.isnan(stored) & np.isnan(right), 0.0, np.abs(stored - right))


def partly(
    record: Record, noted: Record | None, name: str, again: Mapping[int, Array],
    allowed: Callable[[Array], Array | float], labels: Sequence[int],
) -> Row:  # fmt: skip
    """A chunk of which some parts could be computed again.

    Args:
        noted: what the run wrote down itself, with which the other parts are compared; None if that is gone.
        again: what the parts should be, by their place along the first axis. allowed: the tolerance of such a part.
        labels: what each place is called: its step.
    """
    stored = record[name].astype(np.float64)
    wrong = Difference(np.inf, 0.0).row(record, name)
    if len(stored) != len(labels) or any(right.shape != stored.shape[1:] for right in again.values()):
        return wrong
    difference, tolerance = np.zeros_like(stored), np.zeros_like(stored)
    rest = [place for place in range(len(labels)) if place not in again]
    notes = noted[name].astype(np.float64) if noted is not None and name in noted else None
    if notes is not None:
        if notes.shape != stored.shape:
            return wrong
        difference[rest] = off(stored[rest], notes[rest])
    for place, right in again.items():
        difference[place] = off(stored[place], right)
        tolerance[place] = np.nan_to_num(allowed(right))
    found = Difference(difference, tolerance)
    return said(record, found, name, [labels[place] for place in again], len(rest), notes is not None)


def said(record: Record, found: Difference, name: str, again: Sequence[int], rest: int, noted: bool) -> Row:
    """A row that says at which steps there was something to compute again, and what became of the `rest`."""
    row = found.row(record, name)
    if not rest:
        return row
    where = f"computed again at {', '.join(map(str, again))}; " if again else ""
    how = "only compared with the run's own notes" if noted else "not checked"
    note = f"{where}{rest} {'others ' if again else ''}{how}: checkpoints gone"
    compared = again or noted
    return Row(
        chunk=name, truth=row.truth, ok=row.ok, unit=row.unit, note=note, unchecked=rest,
        difference=row.difference if compared else None, tolerance=row.tolerance if compared else None,
    )  # fmt: skip
