"""The result of verifying a record: one line a chunk, the words that could not be compared, and a verdict."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import inf, isfinite
from typing import Any, Literal

from pellucid.languages import listed, mark, tr
from pellucid.record import Truth
from pellucid.text.graphemes import padded


LEGEND = mark(
    "columns: result (ok; part: some numbers unchecked; none: all unchecked; BAD: differs), truth class, chunk, |recorded - "
    "recomputed| of its tolerance for the number nearest to or furthest past it, largest tolerance in % of the recomputed range"
)
BAD, OK, PART, NONE = mark("BAD"), mark("ok"), mark("part"), mark("none")
TRUTHS = mark("given"), mark("measured"), mark("derived"), mark("replayed"), mark("estimated")
VERIFIED, IN_PART, NOT_VERIFIED = mark("verified"), mark("verified in part"), mark("not verified")
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
            return BAD
        if self.complete:
            return OK
        return NONE if self.difference is None or 0 < self.numbers == self.coarse else PART

    @property
    def summary(self) -> str:
        """The difference and its tolerance as text."""
        assert self.difference is not None and self.tolerance is not None
        if not self.tolerance:
            amount = self._with_unit(f"{self.difference:.3g}")
            return tr("not equal: off by {amount}", amount=amount) if self.difference else tr("equal")
        part = "" if self.coverage is None else tr(", at most {part:.2g} % of the range", part=100 * self.coverage)
        tolerance = self._with_unit(f"{self.tolerance:.2g}")
        return tr("{difference:.2g} of {tolerance}", difference=self.difference, tolerance=tolerance) + part

    def _with_unit(self, number: str) -> str:
        return f"{number} {tr(self.unit)}" if self.unit else number

    def __str__(self) -> str:
        parts = [] if self.difference is None or self.tolerance is None else [self.summary]
        if self.coarse:
            text = mark("unchecked: the tolerance of {coarse:,} of {numbers:,} numbers covers their range")
            parts.append(tr(text, coarse=self.coarse, numbers=self.numbers))
        parts += [tr(self.note)] if self.note else []
        return f"{padded(tr(self.mark), 4)} {padded(tr(self.truth), 9)} {self.chunk:<34} {tr('; ').join(parts)}"


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
        word = f"{padded(tr(BAD), 4)} {padded(tr('word'), 9)}"
        lines = [tr(LEGEND), *map(str, self.chunks), *(f"{word} {one.word}: {tr(one.note)}" for one in self.differing), ""]
        for one in self.worst():
            values = {"truth": tr(one.truth), "chunk": one.chunk, "summary": one.summary}
            lines.append(tr("largest difference, {truth}: {chunk}: {summary}", **values))
        if measured := [one.chunk for one in self.chunks if one.truth == "measured"]:
            lines.append(tr("measured, cannot be recomputed: {chunks}", chunks=listed(measured)))
        if self.unverified:
            lines.append(tr("unverified words, with no source here: {words}", words=listed(self.unverified)))
        return "\n".join([*lines, self._verdict()])

    def _verdict(self) -> str:
        bad = sum(not one.ok for one in self.chunks)
        differing, unverified = len(self.differing), len(self.unverified)
        count = tr("{count} chunks compared", count=sum(one.difference is not None for one in self.chunks))
        if bad or differing:
            chunks = len(self.chunks)
            parts = [tr("{bad} of {chunks} chunks differ from what this model gives", bad=bad, chunks=chunks)] if bad else []
            parts += [tr("{count} words differ from their source", count=differing)] if differing else []
            count = tr(" and ").join(parts)
        coarse = sum(one.coarse > 0 for one in self.chunks)
        gone = sum(one.unchecked > 0 for one in self.chunks)
        notes = [tr("{count} only as far as their source still exists", count=gone)] if gone else []
        text = mark("{count} unchecked, wholly or in part, for tolerances that cover their range")
        notes += [tr(text, count=coarse)] if coarse else []
        notes += [tr("{count} words unverified", count=unverified)] if unverified else []
        verdict = NOT_VERIFIED if not self.ok else VERIFIED if self.complete else IN_PART
        found = tr("; ").join([tr("{count} ({dtype})", count=count, dtype=self.dtype), *notes])
        return tr("{verdict}: {record}: {found}", verdict=tr(verdict), record=self.record, found=found)


def _as_json(plain: dict[str, Any]) -> dict[str, Any]:
    return {key: "inf" if isinstance(value, float) and not isfinite(value) else value for key, value in plain.items()}
