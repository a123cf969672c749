"""The result of verifying a record: one line a chunk, the words that could not be compared, and a verdict."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import inf, isfinite
from typing import Any, Literal

from pellucid.record import Truth


LEGEND = (
    "columns: result (ok; part: some numbers unchecked; none: all unchecked; BAD: differs), truth class, chunk, |recorded - "
    "recomputed| of its tolerance for the number nearest to or furthest past it, largest tolerance in % of the recomputed range"
)
MATERIAL = 0.1  # a tolerance of more than this part of the recomputed values' range checks nothing

Status = Literal["equal", "differs", "unverified"]


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
        coverage: the largest tolerance as a part of the range of the recomputed values; None where all are 0.
        coarse, numbers: how many of its numbers have a tolerance of more than `MATERIAL` of that range, of how many: these are
            unchecked too.
    """

    chunk: str
    truth: Truth
    ok: bool
    difference: float | None = None
    tolerance: float | None = None
    unit: str = ""
    note: str = ""
    unchecked: int = 0
    coverage: float | None = None
    coarse: int = 0
    numbers: int = 0

    @property
    def ratio(self) -> float:
        """difference / tolerance: 1 is just within."""
        if not self.difference or self.tolerance is None:
            return 0.0
        return self.difference / self.tolerance if self.tolerance else inf

    @property
    def complete(self) -> bool:
        """Whether all of it was checked; measured numbers cannot be, and are not counted."""
        return not (self.unchecked or self.coarse)

    @property
    def mark(self) -> str:
        """The first column: BAD, ok, part (some of it is unchecked) or none (all of it is)."""
        if not self.ok:
            return "BAD"
        if self.complete:
            return "ok"
        return "none" if self.difference is None or 0 < self.numbers == self.coarse else "part"

    @property
    def summary(self) -> str:
        """The difference and its tolerance as text."""
        assert self.difference is not None and self.tolerance is not None
        if not self.tolerance:
            return f"not equal: off by {self.difference:.3g} {self.unit}".rstrip() if self.difference else "equal"
        part = "" if self.coverage is None else f", at most {100 * self.coverage:.2g} % of the range"
        return f"{self.difference:.2g} of {self.tolerance:.2g} {self.unit}".rstrip() + part

    def __str__(self) -> str:
        parts = [] if self.difference is None or self.tolerance is None else [self.summary]
        if self.coarse:
            parts.append(f"unchecked: the tolerance of {self.coarse:,} of {self.numbers:,} numbers covers their range")
        parts += [self.note] if self.note else []
        return f"{self.mark:<4} {self.truth:<9} {self.chunk:<34} {'; '.join(parts)}"


def unknown_chunk(name: str, truth: Truth) -> ChunkResult:
    """The result for a chunk that the schema does not know: it fails."""
    return ChunkResult(chunk=name, truth=truth, ok=False, note="this Pellucid cannot recompute it")


@dataclass(frozen=True, kw_only=True, slots=True)
class WordResult:
    """The comparison of a word of the header (a name, a step, a seed, an option, a meaning) with its source.

    Attributes:
        word: where it stands: `provenance/seed`, `provenance/sampling/top_k`, `CHUNK: meaning`.
        status: "equal"; "differs"; or "unverified": there is nothing to compare it with, or the numbers do not depend on it.
        note: why, unless equal.
    """

    word: str
    status: Status
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The comparison of a record with its model or run.

    Attributes:
        record: its file, or "in memory".
        model: the fingerprint that the record names.
        dtype: in which the recorded model computed.
        chunks: one result a chunk, in the record's order.
        words: one result a word of the header.
    """

    record: str
    model: str
    dtype: str
    chunks: tuple[ChunkResult, ...]
    words: tuple[WordResult, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every recomputed chunk is within its tolerance, and no word differs from its source."""
        return all(one.ok for one in self.chunks) and not self.differing

    @property
    def complete(self) -> bool:
        """Whether every chunk but the measured ones could be recomputed in full."""
        return all(one.complete for one in self.chunks)

    @property
    def differing(self) -> tuple[WordResult, ...]:
        """The words that differ from their source."""
        return tuple(one for one in self.words if one.status == "differs")

    @property
    def unverified(self) -> tuple[str, ...]:
        """The words that could not be compared."""
        return tuple(one.word for one in self.words if one.status == "unverified")

    def worst(self) -> Iterator[ChunkResult]:
        """For each truth class the compared chunk with the largest ratio of difference to tolerance."""
        for truth in dict.fromkeys(one.truth for one in self.chunks):
            compared = [one for one in self.chunks if one.truth == truth and one.difference is not None]
            if compared:
                yield max(compared, key=lambda one: (not one.ok, one.ratio))

    def to_dict(self) -> dict[str, Any]:
        """For JSON, in which an infinite number is the text "inf"."""
        chunks = [_as_json(asdict(one)) for one in self.chunks]
        plain = {"ok": self.ok, "complete": self.complete, "record": self.record, "model": self.model, "dtype": self.dtype}
        lists = {"unverified": list(self.unverified), "differing": [asdict(one) for one in self.differing]}
        return plain | lists | {"chunks": chunks}

    def __str__(self) -> str:
        lines = [LEGEND, *map(str, self.chunks), *(f"BAD  word      {one.word}: {one.note}" for one in self.differing), ""]
        lines += [f"largest difference, {one.truth}: {one.chunk}: {one.summary}" for one in self.worst()]
        if measured := [one.chunk for one in self.chunks if one.truth == "measured"]:
            lines.append(f"measured, cannot be recomputed: {', '.join(measured)}")
        if self.unverified:
            lines.append(f"unverified words, with no source here: {', '.join(self.unverified)}")
        return "\n".join([*lines, self._verdict()])

    def _verdict(self) -> str:
        bad = sum(not one.ok for one in self.chunks)
        count = f"{sum(one.difference is not None for one in self.chunks)} chunks compared"
        if bad or self.differing:
            parts = [f"{bad} of {len(self.chunks)} chunks differ from what this model gives"] if bad else []
            parts += [f"{len(self.differing)} words differ from their source"] if self.differing else []
            count = " and ".join(parts)
        coarse = sum(one.coarse > 0 for one in self.chunks)
        gone = sum(one.unchecked > 0 for one in self.chunks)
        notes = f"; {gone} only as far as their source still exists" if gone else ""
        notes += f"; {coarse} unchecked, wholly or in part, for tolerances that cover their range" if coarse else ""
        notes += f"; {len(self.unverified)} words unverified" if self.unverified else ""
        verdict = "not verified" if not self.ok else "verified" if self.complete else "verified in part"
        return f"{verdict}: {self.record}: {count} ({self.dtype}){notes}"


def _as_json(plain: dict[str, Any]) -> dict[str, Any]:
    return {key: "inf" if isinstance(value, float) and not isfinite(value) else value for key, value in plain.items()}
