"""Verifying the record of a plan: every estimated number computed again from the recorded inputs."""

from collections.abc import Iterator
from math import isfinite
from typing import Any

import numpy as np

from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.interpret.verify.report import ChunkResult, WordResult, unknown_chunk
from pellucid.interpret.verify.words import chunk_words, provenance_words
from pellucid.planning.cluster.record import plan_values, read_inputs
from pellucid.record import Record


RELATIVE = 1e-9  # of two computations of one formula on different machines: their logarithms and square roots may round apart
INPUTS = "plan/inputs"


class PlanVerifier:
    """Compares each chunk with what the inputs give.

    Raises:
        PellucidError: the record has no inputs, or they are not possible, or nothing fits.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self.config = GPTConfig.from_dict(record.provenance.config)
        inputs = record[INPUTS]
        if not isinstance(inputs, dict):
            raise PellucidError(f"{INPUTS} is no object")
        self.inputs = inputs
        self.values = plan_values(read_inputs(inputs, self.config, INPUTS))

    def results(self) -> tuple[ChunkResult, ...]:
        """A result for each chunk."""
        return tuple(self._result(name) for name in self.record)

    def words(self) -> tuple[WordResult, ...]:
        """A result for each word of the header. The model is a name, of which nothing is known but its shape."""
        sources = {
            "parameters": self.config.parameters(), "config": self.record.provenance.config,
            "dtype": self.inputs.get("dtype"), "model": self.inputs.get("model"),
        }  # fmt: skip
        return (*provenance_words(self.record, sources, self.config), *chunk_words(self.record, {}))

    def _result(self, name: str) -> ChunkResult:
        truth = self.record.entry(name).truth
        if name == INPUTS:
            return ChunkResult(chunk=name, truth=truth, ok=True, note="an input: everything else is computed from it")
        expected = self.values.get(name.removeprefix("plan/"))
        if expected is None or not name.startswith("plan/"):
            return unknown_chunk(name, truth)
        pairs = list(_pairs(self.record[name], expected))
        worst = max(pairs, key=lambda pair: pair[0] / pair[1] if pair[1] else pair[0], default=(0.0, 0.0))
        return ChunkResult(
            chunk=name, truth=truth, ok=all(off <= allowed for off, allowed in pairs), difference=worst[0], tolerance=worst[1],
            unit=self.record.entry(name).unit, numbers=len(pairs),
        )  # fmt: skip


def _pairs(stored: Any, expected: Any) -> Iterator[tuple[float, float]]:
    """(difference, tolerance) of each number; infinite for what is not equal and no number."""
    if isinstance(expected, np.ndarray):
        same = isinstance(stored, np.ndarray) and stored.shape == expected.shape and stored.dtype == expected.dtype
        if not same:
            yield float("inf"), 0.0
        elif expected.dtype.kind == "f":
            off, allowed = np.abs(stored - expected), RELATIVE * np.abs(expected)
            place = int(np.argmax(np.where(np.isfinite(off), off - allowed, np.inf))) if off.size else None
            if place is not None:
                worst = float(off.flat[place])
                yield worst if isfinite(worst) else float("inf"), float(allowed.flat[place])
        else:
            yield float(np.abs(stored.astype(np.int64) - expected.astype(np.int64)).max(initial=0)), 0.0
    elif isinstance(expected, dict):
        if not isinstance(stored, dict) or stored.keys() != expected.keys():
            yield float("inf"), 0.0
        else:
            for key, value in expected.items():
                yield from _pairs(stored[key], value)
    elif isinstance(expected, list | tuple):
        if not isinstance(stored, list) or len(stored) != len(expected):
            yield float("inf"), 0.0
        else:
            for one, value in zip(stored, expected, strict=True):
                yield from _pairs(one, value)
    elif isinstance(expected, float) and isinstance(stored, int | float) and not isinstance(stored, bool):
        off = abs(stored - expected)
        yield off if isfinite(off) else float("inf"), RELATIVE * abs(expected)
    else:
        yield 0.0 if type(stored) is type(expected) and stored == expected else float("inf"), 0.0
