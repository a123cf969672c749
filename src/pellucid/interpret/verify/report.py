"""The result of verifying a record: one line a chunk, and a verdict."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import inf, isfinite
from typing import Any

from pellucid.record import Truth


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkResult:
    """The comparison of one chunk with its recomputed value.

    Attributes:
        chunk, truth: the chunk's name and truth class.
        ok: every number is within its tolerance, or nothing could be recomputed.
        difference: |stored - recomputed| of the number with the largest difference / tolerance, in `unit`; None where nothing
            was compared, infinite for NaN or an impossible value.
        tolerance: of that same number; 0 where equality is required.
        unit: of both.
        note: why nothing was compared, or which parts were not.
        unchecked: how many of its parts (steps, or recorded steps of a training run) could not be recomputed.
    """

    chunk: str
    truth: Truth
    ok: bool
    difference: float | None = None
    tolerance: float | None = None
    unit: str = ""
    note: str = ""
    unchecked: int = 0

    @property
    def ratio(self) -> float:
        """difference / tolerance: 1 is just within."""
        if not self.difference or self.tolerance is None:
            return 0.0
        return self.difference / self.tolerance if self.tolerance else inf

    @property
    def summary(self) -> str:
        """The difference and its tolerance as text."""
        assert self.difference is not None and self.tolerance is not None
        if self.tolerance:
            return f"{self.difference:.2g} of {self.tolerance:.2g} {self.unit}".rstrip()
        return f"not equal: off by {self.difference:.3g} {self.unit}".rstrip() if self.difference else "equal"

    def __str__(self) -> str:
        mark = "BAD " if not self.ok else "part" if self.unchecked else "ok  "
        if self.difference is None or self.tolerance is None:
            return f"{mark} {self.truth:<9} {self.chunk:<34} {self.note}"
        return f"{mark} {self.truth:<9} {self.chunk:<34} {self.summary}{f'; {self.note}' if self.note else ''}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The comparison of a record with its model or run.

    Attributes:
        record: its file, or "in memory".
        model: the fingerprint that the record names.
        dtype: in which the recorded model computed.
        chunks: one result a chunk, in the record's order.
    """

    record: str
    model: str
    dtype: str
    chunks: tuple[ChunkResult, ...]

    @property
    def ok(self) -> bool:
        """Whether every recomputed chunk is within its tolerance."""
        return all(one.ok for one in self.chunks)

    @property
    def complete(self) -> bool:
        """Whether every chunk but the measured ones could be recomputed in full."""
        return not any(one.unchecked for one in self.chunks)

    def worst(self) -> Iterator[ChunkResult]:
        """For each truth class the compared chunk with the largest ratio of difference to tolerance."""
        for truth in dict.fromkeys(one.truth for one in self.chunks):
            compared = [one for one in self.chunks if one.truth == truth and one.difference is not None]
            if compared:
                yield max(compared, key=lambda one: (not one.ok, one.ratio))

    def to_dict(self) -> dict[str, Any]:
        """For JSON, in which an infinite difference is the text "inf"."""
        chunks = [asdict(one) for one in self.chunks]
        for one in chunks:
            if one["difference"] is not None and not isfinite(one["difference"]):
                one["difference"] = "inf"
        plain = {"ok": self.ok, "complete": self.complete, "record": self.record, "model": self.model, "dtype": self.dtype}
        return plain | {"chunks": chunks}

    def __str__(self) -> str:
        bad = sum(not one.ok for one in self.chunks)
        compared = sum(one.difference is not None for one in self.chunks)
        count = f"{compared} chunks compared"
        if bad:
            count = f"{bad} of {len(self.chunks)} chunks differ from what this model gives"
        lines = [*map(str, self.chunks), ""]
        lines += [f"largest difference, {one.truth}: {one.chunk}: {one.summary}" for one in self.worst()]
        partial = sum(one.unchecked > 0 for one in self.chunks)
        note = f"; {partial} of them only at the steps whose checkpoints still exist" if partial else ""
        verdict = "not verified" if bad else "verified in part" if partial else "verified"
        return "\n".join([*lines, f"{verdict}: {self.record}: {count} ({self.dtype}){note}"])
