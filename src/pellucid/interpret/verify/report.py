"""What verifying found, chunk by chunk."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import inf, isfinite
from typing import Any

from pellucid.record import Truth


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One chunk.

    Attributes:
        chunk, truth: its name and class.
        ok: within the tolerance, or nothing that could be computed again.
        difference: at the number where difference / tolerance is largest, in `unit`; None where nothing was compared,
            infinite for what is no number, or not one that could stand there.
        tolerance: at that same number; 0 where numbers must be equal.
        unit: of both.
        note: why nothing was compared, or which parts were not.
        unchecked: how many of its parts (moments, steps) could not be computed again.
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
    def share(self) -> float:
        """difference / tolerance: 1 is just within."""
        if not self.difference or self.tolerance is None:
            return 0.0
        return self.difference / self.tolerance if self.tolerance else inf

    @property
    def found(self) -> str:
        """The difference in words."""
        assert self.difference is not None and self.tolerance is not None
        if self.tolerance:
            return f"{self.difference:.2g} of {self.tolerance:.2g} {self.unit}".rstrip()
        return f"not equal: off by {self.difference:.3g} {self.unit}".rstrip() if self.difference else "equal"

    def __str__(self) -> str:
        mark = "BAD " if not self.ok else "part" if self.unchecked else "ok  "
        if self.difference is None or self.tolerance is None:
            return f"{mark} {self.truth:<9} {self.chunk:<34} {self.note}"
        return f"{mark} {self.truth:<9} {self.chunk:<34} {self.found}{f'; {self.note}' if self.note else ''}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A record against its model.

    Attributes:
        record: its file, or "in memory". model: the model's fingerprint. dtype: in which the record's model computed.
        rows: one a chunk, in the record's order.
    """

    record: str
    model: str
    dtype: str
    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        """Whether every chunk that can be computed again is what it should be."""
        return all(row.ok for row in self.rows)

    @property
    def complete(self) -> bool:
        """Whether all of it could be computed again, what was measured aside."""
        return not any(row.unchecked for row in self.rows)

    def worst(self) -> Iterator[Row]:
        """The compared chunk of each class that comes nearest to its tolerance, or goes furthest beyond."""
        for truth in dict.fromkeys(row.truth for row in self.rows):
            compared = [row for row in self.rows if row.truth == truth and row.difference is not None]
            if compared:
                yield max(compared, key=lambda row: (not row.ok, row.share))

    def to_dict(self) -> dict[str, Any]:
        """For JSON, in which an infinite difference is the text "inf"."""
        rows = [asdict(row) for row in self.rows]
        for row in rows:
            if row["difference"] is not None and not isfinite(row["difference"]):
                row["difference"] = "inf"
        said = {"ok": self.ok, "complete": self.complete, "record": self.record, "model": self.model, "dtype": self.dtype}
        return said | {"chunks": rows}

    def __str__(self) -> str:
        bad = sum(not row.ok for row in self.rows)
        compared = sum(row.difference is not None for row in self.rows)
        said = f"{bad} of {len(self.rows)} chunks are not what this model gives" if bad else f"{compared} chunks compared"
        lines = [*map(str, self.rows), ""]
        lines += [f"largest difference, {row.truth}: {row.chunk}: {row.found}" for row in self.worst()]
        parts = sum(row.unchecked > 0 for row in self.rows)
        so_far = f"; {parts} of them in part only, where checkpoints are left" if parts else ""
        verdict = "not verified" if bad else "verified in part" if parts else "verified"
        return "\n".join([*lines, f"{verdict}: {self.record}: {said} ({self.dtype}){so_far}"])
