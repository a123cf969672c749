"""Comparing a chunk with its recomputed value: differences, tolerances, and the number that is furthest out."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.interpret.verify.report import MATERIAL, ChunkResult
from pellucid.record import Record


Array = Any


@dataclass(frozen=True, slots=True)
class Difference:
    """|stored - recomputed| of every number of a chunk, the tolerance of each, and the range that the tolerance is judged by.

    Attributes:
        unit: of difference and tolerance.
        value_range: range of the recomputed values of the number's row (`row_ranges`): where a tolerance is more than
            `MATERIAL` of it, the number is unchecked. Never taken from what the file states.
    """

    difference: Array
    tolerance: Array
    unit: str = ""
    value_range: Array = math.inf

    def result(self, record: Record, name: str) -> ChunkResult:
        """The chunk's result, stated by the number with the largest difference / tolerance."""
        shaped = np.broadcast_arrays(self.difference, self.tolerance, self.value_range)
        found, allowed, value_range = (np.asarray(a, np.float64).ravel() for a in shaped)
        found = np.where(np.isnan(found), np.inf, found)
        allowed = np.where(np.isnan(allowed), np.inf, allowed)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(found > 0, found / allowed, 0.0)  # 1 / 0 is infinite
            ratio = np.where(np.isinf(found), np.inf, ratio)  # no tolerance allows an impossible value
            coverage = np.where(allowed > 0, allowed / value_range, 0.0)
        coverage = np.where(np.isnan(coverage), np.inf, coverage)  # inf / inf
        worst = int(ratio.argmax()) if ratio.size else -1
        return ChunkResult(
            chunk=name, truth=record.entry(name).truth, ok=bool(ratio.size == 0 or ratio[worst] <= 1), unit=self.unit,
            difference=float(found[worst]) if ratio.size else 0.0, tolerance=float(allowed[worst]) if ratio.size else 0.0,
            coverage=float(coverage.max()) if allowed.any() else None, coarse=int((coverage > MATERIAL).sum()),
            numbers=ratio.size,
        )  # fmt: skip


def range_of(recomputed: Array) -> float:
    """The range of the recomputed values of one row (of any shape), as `row_ranges` defines it."""
    return float(row_ranges(np.asarray(recomputed).reshape(1, -1))[0, 0])


def row_ranges(recomputed: Array, axis: int | tuple[int, ...] = -1) -> Array:
    """(..., 1) the range of each row's values, largest less smallest; where all are equal (or there is one), their size.

    A row is what is read as one: a position's vector, a step's list, a moment's picture. The range of all rows together would
    hide that a tolerance covers one of them.
    """
    values = np.asarray(recomputed, np.float64)
    finite = np.isfinite(values)
    low, high = (values.min(axis, keepdims=True, initial=np.inf, where=finite),
                 values.max(axis, keepdims=True, initial=-np.inf, where=finite))  # fmt: skip
    some = low <= high
    low, high = np.where(some, low, 0.0), np.where(some, high, 0.0)
    ranges: Array = np.where(low < high, high - low, np.abs(high))
    return ranges


def equality(same: bool) -> Difference:
    """A difference of 0, or an infinite one, for what is not compared number by number: text, lists, shapes."""
    return Difference(0.0 if same else np.inf, 0.0)


def equal(stored: Array, expected: Array) -> Difference:
    """The difference of numbers that are stored without rounding: they must be equal, and so must the shapes."""
    if stored.shape != expected.shape:
        return Difference(np.array([math.inf]), 0.0)
    return Difference(np.abs(stored.astype(np.float64) - expected.astype(np.float64)), 0.0)


def absolute_difference(stored: Array, expected: Array) -> Array:
    """|stored - expected|; 0 where both are NaN."""
    with np.errstate(invalid="ignore"):  # inf - inf
        return np.where((stored == expected) | (np.isnan(stored) & np.isnan(expected)), 0.0, np.abs(stored - expected))


def valid_ids(ids: Array, vocab_size: int) -> Array:
    """Which of the ids are in the vocabulary."""
    return (ids >= 0) & (ids < vocab_size)


def compare_top_tokens(
    logprobs: Tensor, ids: Array, stored: Array, nats: Array, *, unit: str = "nats"
) -> tuple[Difference, Difference]:
    """A stored list of the likeliest tokens, likeliest first, against recomputed log-probabilities.

    The difference of an id is how much less likely its token is than the one at its place in the recomputed list: of two
    tokens that are equally likely up to rounding, either may come first. A repeated id is wrong.

    Args:
        logprobs: (N, V) recomputed, float64; or other numbers by which tokens are ordered, in another unit.
        ids, stored: (N, K) token ids and their log-probabilities as the record holds them.
        nats: (N, 1) tolerance of a log-probability.

    Returns:
        The differences of the ids and of the log-probabilities.
    """
    valid = valid_ids(ids, logprobs.shape[1])
    expected = logprobs.topk(ids.shape[1]).values.numpy()
    found = logprobs.gather(1, torch.from_numpy(np.where(valid, ids, 0).astype(np.int64))).numpy()
    found[~valid] = np.inf
    repeated = np.array([len(set(row)) < len(row) for row in ids.tolist()], bool)
    found[repeated] = np.inf
    rounding = 2.0**-24 * np.abs(expected)
    return (
        Difference(np.abs(found - expected), 2 * nats + rounding, unit, row_ranges(expected)),
        Difference(np.abs(stored - np.where(valid, found, expected)), nats + rounding, unit, row_ranges(expected)),
    )


def stacked(parts: Sequence[Difference]) -> Difference:
    """Several differences of one shape as one, along a new first axis."""
    shaped = [np.broadcast_arrays(part.difference, part.tolerance, part.value_range) for part in parts]
    one, two, three = (np.stack([each[place] for each in shaped]) for place in range(3))
    return Difference(one, two, parts[0].unit, three)


def same_json(one: object, other: object) -> bool:
    """Whether two JSON values are equal, 1 and true (which are equal in Python) told apart; 1 and 1.0 are one number."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_json(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_json, one, other))
    return one == other


def concatenated(*parts: Difference) -> Difference:
    """Several differences of different shapes as one, flattened."""
    shaped = [np.broadcast_arrays(part.difference, part.tolerance, part.value_range) for part in parts]
    one, two, three = (np.concatenate([each[place].ravel() for each in shaped]) for place in range(3))
    return Difference(one, two, parts[0].unit, three)


def compare_rows(
    record: Record, name: str, logged: Array | None, recomputed: Mapping[int, Array],
    allowed: Callable[[Array], Array | float], steps: Sequence[int], unit: str = "",
) -> ChunkResult:  # fmt: skip
    """The result for a chunk with one row a step, of which some rows could be recomputed.

    Args:
        logged: the same chunk made from the run's own log, which all rows must equal; None without a log.
        recomputed: the recomputed rows by their index along the first axis.
        allowed: the tolerance of a recomputed row.
        steps: the step of each row.
        unit: of the numbers.
    """
    stored = record[name].astype(np.float64)
    wrong = equality(False).result(record, name)
    if len(stored) != len(steps) or any(expected.shape != stored.shape[1:] for expected in recomputed.values()):
        return wrong
    if logged is not None and (logged.shape != stored.shape or absolute_difference(stored, logged.astype(np.float64)).any()):
        return dataclasses.replace(wrong, note="not what the run's own log says")
    difference, tolerance = np.zeros_like(stored), np.zeros_like(stored)
    for row, expected in recomputed.items():
        difference[row] = absolute_difference(stored[row], expected)
        tolerance[row] = np.nan_to_num(allowed(expected))
    value_range: Array = math.inf
    if recomputed:  # a row is a step's numbers; where a step has one, all steps'
        rows = np.stack(list(recomputed.values()))
        value_range = np.full_like(stored, range_of(rows))
        if rows.ndim > 1:
            value_range[list(recomputed)] = row_ranges(rows, tuple(range(1, rows.ndim)))
    found = Difference(difference, tolerance, unit, value_range)
    where = [steps[row] for row in recomputed]
    return partial_result(record, found, name, where, len(steps) - len(where), logged is not None)


def partial_result(
    record: Record, found: Difference, name: str, steps: Sequence[int], unchecked: int, logged: bool
) -> ChunkResult:
    """A result with a note: at which steps the chunk was recomputed, and what was done about the rest.

    Args:
        steps: those at which something was recomputed. unchecked: how many others there are. logged: whether the whole chunk
            equals the run's log.
    """
    result = found.result(record, name)
    if not unchecked:
        return result
    where = f"recomputed at {', '.join(map(str, steps))}; " if steps else ""
    how = "only compared with the run's own log" if logged else "not checked"
    note = f"{where}{unchecked} {'others ' if steps else ''}{how}: their checkpoints are gone"
    compared = steps or logged
    return dataclasses.replace(
        result, note=note, unchecked=unchecked, difference=result.difference if compared else None,
        tolerance=result.tolerance if compared else None,
    )  # fmt: skip
