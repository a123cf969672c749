"""Tensors of safetensors files, each memory-mapped on its own as a NumPy array. No torch here.

A file is eight bytes with the length of its header, the header (JSON: name to dtype, shape, and the offsets at which its bytes
begin and end), and the bytes (https://huggingface.co/docs/safetensors). Pages are read on first access, and count as memory of
this process until the mapping is closed, which happens with the last array that is a view of it. Each tensor has its own
mapping, so one that is only converted takes no memory afterwards.

A mapped file may be replaced or deleted, but not overwritten in place or truncated. Writing to an array changes this process's
own copy of its pages, never the file.
"""

import math
import mmap
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.file_signatures import HEAD, identify_text
from pellucid.files import reading
from pellucid.gpt.quantize import check_groups
from pellucid.gpt.tensor_names import SCALE, TensorSource
from pellucid.strict_json import Fields, parse_json


Array = NDArray[Any]

# NumPy's type for each dtype of the format, and its name; bfloat16, which NumPy lacks, as its bits.
DTYPES = {
    "F64": ("<f8", "float64"), "F32": ("<f4", "float32"), "F16": ("<f2", "float16"), "BF16": ("<u2", "bfloat16"),
    "I8": ("i1", "int8"), "I16": ("<i2", "int16"), "I32": ("<i4", "int32"), "I64": ("<i8", "int64"),
    "U8": ("u1", "uint8"), "U16": ("<u2", "uint16"), "U32": ("<u4", "uint32"), "U64": ("<u8", "uint64"), "BOOL": ("?", "bool"),
}  # fmt: skip
FLOATS = ("F64", "F32", "F16", "BF16")
INTEGERS = ("I8", "U8")  # with a scale beside them
MAX_HEADER_BYTES = 1 << 24  # bytes, some hundred thousand tensors; the format allows 100 MB
# A mapped file cannot be replaced or deleted on Windows, so an open model would keep its run from saving.
MAPPED = sys.platform != "win32"
MAX_DIMENSIONS = 8
# Each mapping holds a file descriptor until Python 3.13, and macOS allows a process 256 of them. A part of a file is unmapped
# when the last of its tensors is gone, so that a model that is converted while it is read does not stay in memory twice.
MAPPINGS = 32
_PART = 1 << 16  # numbers checked at once: they stay in the processor's cache


@dataclass(frozen=True, slots=True)
class _Location:
    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int  # in the file
    nbytes: int


class _Unreadable(ValueError):
    """A file that is not damaged but of another kind; the message is whole."""


class SafetensorsFiles:
    """The tensors of one safetensors file, or of several (Hugging Face's shards); a context manager that closes the files.

    Args:
        files: the files.
        plain_name: from a name in the file to the name without its prefix; None for what is no weight (masks kept as buffers).

    Raises:
        PellucidError: a file is missing, damaged or truncated, or two hold the same tensor.
    """

    def __init__(self, files: list[Path], plain_name: Callable[[str], str | None]) -> None:
        self._locations: dict[str, _Location] = {}
        self._open: dict[Path, IO[bytes]] = {}  # a file that is replaced meanwhile stays what it was
        self._parts: dict[tuple[Path, int], tuple[int, int]] = {}  # of a file, by the start of each tensor: from, to
        self._mapped: WeakValueDictionary[tuple[Path, int], mmap.mmap] = WeakValueDictionary()  # by the start of the part
        self.files = files
        try:
            for path in files:
                for stored, location in self._read(path).items():
                    name = plain_name(stored)
                    if name in self._locations:
                        raise PellucidError(f"{path} holds the tensor {name!r} that {self._locations[name].path} holds too")
                    if name is not None:
                        self._locations[name] = location
            self._divide()
        except BaseException:
            self.__exit__()
            raise

    def _read(self, path: Path) -> dict[str, _Location]:
        try:
            file = self._open[path] = reading(path)
            return _read_header(path, file)
        except FileNotFoundError:
            raise PellucidError(f"no model in {path.parent}: it has no {path.name}") from None
        except _Unreadable as error:
            raise PellucidError(str(error)) from None
        except OSError as error:
            raise PellucidError(f"cannot read {path}: {error.strerror or error}") from None
        except ValueError as error:
            raise PellucidError(f"{path} is damaged or truncated: {error}; copy or download it again") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._open.values():
            file.close()

    def __contains__(self, name: str) -> bool:
        return name in self._locations

    def rename_tensors(self, names: Mapping[str, str | None]) -> None:
        """Gives all tensors other names, or leaves them out (None). Two of one name must hold the same numbers.

        Raises:
            PellucidError: two of one name differ.
        """
        stored_as: dict[str, str] = {}
        for stored in list(self._locations):
            name = names[stored]
            if name is not None and not self.equal(stored, stored_as.setdefault(name, stored)):
                file = self.file_of(stored)
                raise PellucidError(f"{file} holds {name!r} twice, as {stored_as[name]!r} and {stored!r}, which differ")
        self._locations = {name: self._locations[stored] for name, stored in stored_as.items()}

    def equal(self, one: str, other: str) -> bool:
        """Whether two tensors hold the same numbers, in whichever format."""
        a, b = self._locations[one], self._locations[other]
        if one == other or a.shape != b.shape or a.dtype not in FLOATS or b.dtype not in FLOATS:
            return one == other
        first, second = self.get(one).reshape(-1), self.get(other).reshape(-1)
        for start in range(0, first.size, _PART):
            x, y = first[start : start + _PART], second[start : start + _PART]
            same = a.dtype == b.dtype and x.tobytes() == y.tobytes()
            if not same and not np.array_equal(widened(x, a.dtype), widened(y, b.dtype)):
                return False
        return True

    def names(self) -> set[str]:
        """Names of all weights, without prefix."""
        return set(self._locations)

    def file_of(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self._locations[name].path

    def dtype(self, name: str) -> str:
        """What a tensor's numbers are stored as, in the format's words: "F32", "BF16" ..."""
        return self._locations[name].dtype

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape as it is stored."""
        return self._locations[name].shape

    def discard(self, name: str) -> None:
        """Leaves a tensor out: it is none of the model's own."""
        del self._locations[name]

    def get(self, name: str) -> Array:
        """A tensor: a view of the mapped file (on Windows a copy). bfloat16 comes as uint16, its bits.

        Raises:
            PellucidError: the file is damaged.
        """
        location = self._locations[name]
        dtype = np.dtype(DTYPES[location.dtype][0])
        if not location.nbytes:
            return np.empty(location.shape, dtype)
        try:
            mapped, offset = self._map(location)
        except OSError as error:  # too many open files, no memory
            raise PellucidError(f"cannot read {location.path}: {error.strerror or error}") from None
        except ValueError as error:  # it has become shorter
            raise PellucidError(f"{location.path} is damaged or truncated: {error}") from None
        array = np.frombuffer(mapped, dtype, math.prod(location.shape), location.start - offset).reshape(location.shape)
        return array if MAPPED and array.flags.aligned else array.copy()

    def _divide(self) -> None:
        """Divides the files into parts of neighbouring tensors, about `MAPPINGS` in all, each to be mapped at once."""
        found = sorted(self._locations.values(), key=lambda location: (location.path, location.start))
        smallest = sum(location.nbytes for location in found) // MAPPINGS
        part: list[_Location] = []
        for location in found:
            if part and (location.path != part[0].path or sum(one.nbytes for one in part) >= smallest):
                self._add_part(part)
                part = []
            part.append(location)
        self._add_part(part)

    def _add_part(self, part: list[_Location]) -> None:
        for location in part:
            self._parts[location.path, location.start] = (part[0].start, max(one.start + one.nbytes for one in part))

    def _map(self, location: _Location) -> tuple[mmap.mmap, int]:
        """The mapping that holds a tensor, and where in the file it begins."""
        start, end = self._parts[location.path, location.start]
        offset = start - start % mmap.ALLOCATIONGRANULARITY
        mapped = self._mapped.get((location.path, start))
        if mapped is None:
            file = self._open[location.path]
            mapped = mmap.mmap(file.fileno(), end - offset, access=mmap.ACCESS_COPY, offset=offset)
            self._mapped[location.path, start] = mapped
        return mapped, offset

    def check_names(self, needed: set[str]) -> None:
        """Refuses files without just the tensors of a model; scales of int8 matrices may be there.

        Raises:
            PellucidError: a missing or extra tensor; the message names file and tensor.
        """
        file = self.files[0] if len(self.files) == 1 else self.files[0].parent
        if missing := sorted(needed - self.names()):
            raise PellucidError(f"{file} lacks the tensor {missing[0]!r} ({len(missing)} missing in all)")
        if extra := sorted(n for n in self.names() - needed if not n.endswith(SCALE)):
            where = self.file_of(extra[0])
            raise PellucidError(f"{where} holds a tensor that does not belong: {extra[0]!r} ({len(extra)} in all)")

    def check_shapes(self, sources: Mapping[str, TensorSource], shapes: Iterable[tuple[str, tuple[int, ...]]]) -> None:
        """Compares the headers with a model's parameters, before anything of the model's size is allocated.

        Args:
            sources: of the parameters. shapes: of the parameters, by name.

        Raises:
            PellucidError: a missing or extra tensor, or one of another shape.
        """
        self.check_names({name for source in sources.values() for name in source.names})
        for parameter, shape in shapes:
            source = sources[parameter]
            for name in source.names:
                found, rows = self._locations[name].shape, self._rows(source, shape)
                if self.dtype(name) in INTEGERS and name + SCALE in self and self.dtype(name + SCALE) == "F16":
                    # In groups of numbers: `check_groups` compares the columns.
                    found, rows = found[:1], rows[:1]
                elif source.transposed:
                    rows = rows[::-1]
                if found != rows:
                    raise self._wrong_shape(name, rows)

    @staticmethod
    def _rows(source: TensorSource, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The (out, in) shape of one of the stored tensors that make a parameter."""
        return (shape[0] // len(source.names) + source.skip, *shape[1:])

    def _wrong_shape(self, name: str, wanted: tuple[int, ...]) -> PellucidError:
        found = self._locations[name].shape
        turned = ": it is transposed" if len(found) == 2 and found == wanted[::-1] else ""
        return PellucidError(f"{self.file_of(name)}: {name!r} has shape {found}, but the config asks for {wanted}{turned}")

    def count_numbers(self) -> int:
        """How many numbers all tensors hold; a byte counts as two, as int4 may be stored so."""
        return sum(math.prod(at.shape) * (2 if at.dtype in INTEGERS else 1) for at in self._locations.values())

    def parts(self, source: TensorSource, shape: tuple[int, ...]) -> list[Array]:
        """The checked parts of one of a model's tensors, to be stacked row on row: (out, in), as views where possible.

        int8 and uint8 arrays go with a `scale`; where that is float16 they are groups of numbers, laid as `gpt.directory` says.

        Args:
            shape: of the model's whole tensor.

        Raises:
            PellucidError: wrong shape, numbers that are not finite, or whole ones without a scale.
        """
        return [self._part(name, source, shape) for name in source.names]

    def scale(self, name: str) -> Array:
        """What the whole numbers of a matrix are multiplied by: (out, 1) float32, or (out, groups) float16.

        Raises:
            PellucidError: there is nothing.
        """
        if name + SCALE not in self:
            raise PellucidError(f"{self.file_of(name)} lacks the tensor {name + SCALE!r}")
        return self.get(name + SCALE)

    def _part(self, name: str, source: TensorSource, shape: tuple[int, ...]) -> Array:
        array, path, kind = self.get(name), self.file_of(name), self.dtype(name)
        rows = self._rows(source, shape)
        scale = self.scale(name) if kind in INTEGERS else None
        if scale is not None and scale.dtype == np.float16:
            try:
                check_groups(array, scale, rows)
            except PellucidError as error:
                raise PellucidError(f"{path}: {name!r} {error}") from None
            return array
        wanted = rows[::-1] if source.transposed else rows
        if array.shape != wanted:
            raise self._wrong_shape(name, wanted)
        if kind not in (*FLOATS, "I8"):
            raise PellucidError(f"{path}: {name!r} holds {DTYPES[kind][1]}, not floating-point numbers")
        if scale is not None and (scale.shape != (rows[0], 1) or scale.dtype != np.float32):
            raise PellucidError(f"{path}: {name + SCALE!r} is no float32 scale for each of {rows[0]} rows")
        if not _finite(*((array, kind) if scale is None else (scale, "F32"))):
            raise PellucidError(f"{path}: {name!r} holds NaN or infinite values")
        array = array.T if source.transposed else array
        return array[source.skip :] if source.skip else array


def _read_header(path: Path, file: IO[bytes]) -> dict[str, _Location]:
    """Where a file says that its tensors lie. Raises ValueError where that cannot be."""
    size = path.stat().st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
        file.seek(0)
        if what := identify_text(file.read(HEAD)):
            raise _Unreadable(f"{path} is {what}")
        raise ValueError(f"a header of {length} bytes in a file of {size}")
    header = Fields(parse_json(file.read(length), max_bytes=MAX_HEADER_BYTES), "its header").values
    header.pop("__metadata__", None)
    rows = []
    for name, entry in header.items():
        fields = Fields(entry, shown(name))
        dtype, shape = fields.text("dtype"), fields.integers("shape", maximum=size)
        if dtype not in DTYPES:
            known = ", ".join(FLOATS)
            raise _Unreadable(f"{path}: {shown(name)} is of the dtype {shown(dtype)}, which is not read here ({known} are)")
        offsets = fields.integers("data_offsets", maximum=size)
        if len(offsets) != 2 or len(shape) > MAX_DIMENSIONS:
            raise ValueError(f"{shown(name)} has the shape {shown(shape)} and lies at {shown(offsets)}")
        rows.append((*offsets, name, dtype, shape))
    locations, end = {}, 0
    for first, last, name, dtype, shape in sorted(rows):
        needed = math.prod(shape) * np.dtype(DTYPES[dtype][0]).itemsize
        if first != end or last - first != needed:
            raise ValueError(f"{shown(name)} takes {needed} bytes, but lies at {first} to {last}, after {end}")
        locations[name] = _Location(path, dtype, shape, 8 + length + first, needed)
        end = last
    if 8 + length + end != size:
        raise ValueError(f"tensors of {end} bytes after a header of {length}, in a file of {size}")
    return locations


def widened(array: Array, kind: str) -> Array:
    """Floating-point numbers of a file (`FLOATS`) as float32, or float64 where they are."""
    if kind == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array if kind == "F64" else array.astype(np.float32)


def _finite(array: Array, kind: str) -> bool:
    """Whether all numbers are finite, without a second tensor of this size."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, _PART):
        part = flat[start : start + _PART]
        if kind in ("BF16", "F16"):  # without the sign, infinity and NaN are the largest bits
            if (part.view(np.uint16) & 0x7FFF).max() >= (0x7F80 if kind == "BF16" else 0x7C00):
                return False
        elif not (np.isfinite(part.min()) and np.isfinite(part.max())):  # of NaN and anything, both are NaN
            return False
    return True
