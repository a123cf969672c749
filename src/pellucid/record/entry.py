"""A row of the chunk table: a chunk's dtype and shape, its place in the file, and its meaning."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite, prod
from re import fullmatch
from typing import Any, Literal, Self, get_args

from pellucid.arguments import shown
from pellucid.record.encoding import (
    ENCODINGS,
    MAX_CHUNK_BYTES,
    MAX_TEXT_BYTES,
    NUMBERS,
    TEXTS,
    affordable,
    allowed,
    plausible,
)
from pellucid.record.values import triangle_side


Truth = Literal["given", "derived", "replayed", "measured", "estimated"]
TRUTHS: tuple[Truth, ...] = get_args(Truth)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkEntry:
    """One row of the chunk table.

    Attributes:
        name: a path such as `generation/steps/topk_ids`.
        dtype, shape: of the numbers as stored (`encoding.NUMBERS`); shape is () for "json" and "utf8".
        encoding: `encoding.ENCODINGS`.
        offset: of the first stored byte, counted from D.
        stored_bytes, plain_bytes: length in the file, and after decoding.
        sha256: of the stored bytes, in hexadecimal.
        truth: "given" (input: ids, texts), "derived" (recomputable from the named checkpoint), "replayed" (by running
            one step again from its checkpoint), "measured" (time, throughput: cannot be recomputed) or "estimated" (predicted
            from recorded inputs, and recomputable from them).
        meaning: what it is, as text; unit: "nats", "s", ... or "".
        source: what it was computed from, such as {"tensor": "h.3", "step": 12}.
        scale: (lo, hi) if uint8 codes stand for lo + code * (hi - lo) / 255, rounded to float32.
        triangle: the last axis, of T (T + 1) / 2, is the lower triangle of a (T, T) matrix, row by row; above are zeros.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    encoding: str
    offset: int
    stored_bytes: int
    plain_bytes: int
    sha256: str
    truth: Truth
    meaning: str
    unit: str = ""
    source: Mapping[str, Any] | None = None
    scale: tuple[float, float] | None = None
    triangle: bool = False

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise ValueError(f"chunk {shown(self.name)} {problem}")

    def _problem(self) -> str | None:
        """Why the entry is not valid; None where it is."""
        sizes = (*self.shape, self.offset, self.stored_bytes, self.plain_bytes)
        if not valid_name(self.name):
            return "has no valid name"
        if self.dtype not in NUMBERS and self.dtype not in TEXTS:
            return f"has the unknown dtype {shown(self.dtype)}"
        if self.encoding not in ENCODINGS or not allowed(self.encoding, self.dtype, self.shape):
            return f"cannot have the encoding {shown(self.encoding)}"
        if self.truth not in TRUTHS:
            return f"has the unknown truth class {shown(self.truth)}"
        if not all(type(size) is int and size >= 0 for size in sizes) or len(self.shape) > 32:
            return "has no valid shape or size"
        if self.dtype in TEXTS:
            if self.shape:
                return "is text with a shape"
        elif self.plain_bytes != prod(self.shape) * NUMBERS[self.dtype].itemsize:
            return f"states {self.plain_bytes:,} plain bytes, which its shape does not give"
        if self.plain_bytes > MAX_CHUNK_BYTES or prod(size or 1 for size in self.shape) > MAX_CHUNK_BYTES:
            return f"is larger than {MAX_CHUNK_BYTES:,} bytes"
        if not plausible(self.encoding, self.stored_bytes, self.plain_bytes):
            return f"states {self.plain_bytes:,} plain bytes, which {self.stored_bytes:,} stored ones cannot hold"
        if not fullmatch("[0-9a-f]{64}", self.sha256):
            return "has no valid SHA-256"
        if self.scale is not None and (
            self.dtype != "uint8" or not all(isfinite(end) for end in self.scale) or self.scale[0] > self.scale[1]
        ):
            return "has no valid scale"
        if self.triangle:
            try:
                triangle_side(self.shape)
            except ValueError as error:
                return f"is not a triangle: {error}"
        if self.dtype in TEXTS and self.plain_bytes > MAX_TEXT_BYTES:
            return f"is text of more than {MAX_TEXT_BYTES:,} bytes"
        if not affordable(self.stored_bytes, self.value_bytes):
            return f"states a value of {self.value_bytes:,} bytes, which {self.stored_bytes:,} stored ones cannot hold"
        return None

    @property
    def value_bytes(self) -> int:
        """Bytes in memory of the array that reading gives; of text, of the text."""
        if self.dtype in TEXTS:
            return self.plain_bytes
        as_float32 = self.scale is not None or self.dtype == "bfloat16"
        return prod(self.logical_shape) * (4 if as_float32 else NUMBERS[self.dtype].itemsize)

    @property
    def logical_shape(self) -> tuple[int, ...]:
        """The shape that reading gives: (..., T, T) for a triangle."""
        if not self.triangle:
            return self.shape
        side = triangle_side(self.shape)
        return (*self.shape[:-1], side, side)

    def to_dict(self) -> dict[str, Any]:
        """For the header; fields that are None or False are left out."""
        plain = {key: value for key, value in asdict(self).items() if value is not None and value is not False}
        return plain | {key: list(plain[key]) for key in ("shape", "scale") if key in plain}

    @classmethod
    def from_dict(cls, plain: Any) -> Self:
        """The inverse; fields of newer minor versions are skipped. Raises ValueError where something is wrong."""
        if not isinstance(plain, dict):
            raise ValueError("a row of its chunk table is not an object")
        known = {key: value for key, value in plain.items() if key in cls.__dataclass_fields__}
        name = known.get("name")
        texts = ("name", "dtype", "encoding", "sha256", "truth", "meaning", "unit")
        good = (
            all(isinstance(known.get(key, ""), str) for key in texts)
            and isinstance(known.get("shape"), list)
            and isinstance(known.get("source", {}), dict)
            and isinstance(known.get("triangle", False), bool)
            and _is_scale(known.get("scale"))
        )
        if not good:
            raise ValueError(f"chunk {shown(name)} has a field of the wrong type")
        try:
            known["shape"] = tuple(known["shape"])
            if known.get("scale") is not None:
                known["scale"] = tuple(float(end) for end in known["scale"])
            return cls(**known)
        except (TypeError, OverflowError) as error:  # a field without a default is missing; a number past all floats
            raise ValueError(f"chunk {shown(name)} lacks a field") from error


def _is_scale(value: Any) -> bool:
    return value is None or (isinstance(value, list) and len(value) == 2 and all(type(end) in (int, float) for end in value))


def valid_name(name: str) -> bool:
    """Parts of letters, digits, `_`, `.` and `-`, joined by `/`; no part is empty or made of dots."""
    return len(name) <= 200 and fullmatch(r"(?:(?!\.+(?:/|$))[A-Za-z0-9_.-]+/)*(?!\.+$)[A-Za-z0-9_.-]+", name) is not None
