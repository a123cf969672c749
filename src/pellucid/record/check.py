"""Checks that a record holds the chunks that the schema requires of its kind."""

from collections.abc import Iterator

from pellucid.errors import PellucidError
from pellucid.record.reader import Record
from pellucid.record.schema import SCHEMA, ChunkSpec


_FROM_CONFIG = {"L": "n_layers", "H": "n_heads", "C": "d_model"}
_MAX_SIZE = 1 << 20  # of anything that a shape counts, but bytes: a damaged header must not cost much time or memory
_MAX_BLOCKS = 1 << 15
_BYTES = "Y"  # the letter of what counts bytes
_MAX_LISTED = 8  # problems in one message
_MATRICES = {"training": "training/matrices", "finetuning": "finetuning/matrices"}


def check(record: Record, *, partial: bool = False) -> dict[str, int]:
    """Compares a record's table with the schema; reads no numbers.

    Args:
        partial: chunks may be missing (less was kept); those that are there must agree with the schema.

    Returns:
        The sizes by the schema's shape letters.

    Raises:
        PellucidError: lists the chunks that are missing or contradict the schema.
    """
    sizes, problems = _compare(record, partial)
    if problems:
        where = record.path or "in memory"
        more = [f"and {len(problems) - _MAX_LISTED:,} more"] if len(problems) > _MAX_LISTED else []
        raise PellucidError(f"the {record.kind} record {where} is not complete: {'; '.join(problems[:_MAX_LISTED] + more)}")
    return sizes


def named_specs(record: Record) -> dict[str, ChunkSpec]:
    """The row of the schema for each name that a record of this kind and shape may have."""
    sizes = {letter: record.provenance.config[key] for letter, key in _FROM_CONFIG.items()}
    matrices = _matrices(record, []) or []
    return {name: spec for spec in SCHEMA[record.kind] for name in _names(spec, sizes, matrices)}


def _compare(record: Record, partial: bool) -> tuple[dict[str, int], list[str]]:
    sizes: dict[str, int] = {}
    problems: list[str] = []
    config = record.provenance.config
    for letter, key in _FROM_CONFIG.items():
        if type(config.get(key)) is not int or not 0 < config[key] < (_MAX_BLOCKS if letter == "L" else _MAX_SIZE):
            problems.append(f"its provenance states no valid {key}")
        else:
            sizes[letter] = config[key]
    matrices = _matrices(record, problems)
    if matrices is not None:
        sizes["Q"] = len(matrices)
    if problems:
        return sizes, problems
    pieces = [spec.name in record for spec in SCHEMA[record.kind] if spec.name.startswith("pieces/")]
    if any(pieces) and not all(pieces):
        problems.append("pieces/ids, pieces/starts and pieces/bytes must all be there, or none")
    for spec in SCHEMA[record.kind]:
        for name in _names(spec, sizes, matrices or []):
            if name in record:
                problems += _mismatches(record, name, spec, sizes)
            elif spec.required and not partial:
                problems.append(f"{name} is missing")
    vocab_size = config.get("vocab_size")
    if type(vocab_size) is int:
        lists = (("K", 1), ("J", 1), ("I", 0))
        problems += [f"a list of {sizes[letter]:,} of {vocab_size:,} tokens is not possible"
                     for letter, least in lists if letter in sizes and not least <= sizes[letter] <= vocab_size]  # fmt: skip
    if {"P", "S", "T"} <= sizes.keys() and sizes["P"] + sizes["S"] - sizes["T"] not in (0, 1):
        problems.append(f"{sizes['T']} positions cannot come of {sizes['P']} tokens and {sizes['S']} drawn ones")
    if {"P", "S", "A"} <= sizes.keys() and sizes["P"] + sizes["S"] - 1 != sizes["A"]:
        problems.append(f"{sizes['A']} tokens cannot follow in a sequence of {sizes['P']} tokens and {sizes['S']} drawn ones")
    return sizes, problems


def _matrices(record: Record, problems: list[str]) -> list[str] | None:
    """The names that replace `{matrix}`; None where the kind has none."""
    name = _MATRICES.get(record.kind)
    if name is None:
        return None
    if name not in record:
        problems.append(f"{name} is missing")
        return []
    found = record[name]
    if not isinstance(found, list) or not all(isinstance(matrix, str) for matrix in found):
        problems.append(f"{name} is not a list of names")
        return []
    if len(found) > _MAX_SIZE >> 4 or len(set(found)) != len(found):
        problems.append(f"{name} names a matrix twice, or {len(found):,} of them")
        return []
    return found


def _names(spec: ChunkSpec, sizes: dict[str, int], matrices: list[str]) -> Iterator[str]:
    """The names of the chunks that a row of the schema describes."""
    if "{level}" in spec.name:
        yield from (spec.name.format(level=level) for level in range(sizes["L"] + 1))
    elif "{block}" in spec.name:
        yield from (spec.name.format(block=block) for block in range(sizes["L"]))
    elif "{matrix}" in spec.name:
        yield from (spec.name.format(matrix=matrix) for matrix in matrices)
    else:
        yield spec.name


def _mismatches(record: Record, name: str, spec: ChunkSpec, sizes: dict[str, int]) -> Iterator[str]:
    """The contradictions of one chunk with the schema. A letter that is new takes the size found."""
    entry = record.entry(name)
    if entry.dtype not in spec.dtypes:
        yield f"{name} is {entry.dtype}, not {' or '.join(spec.dtypes)}"
        return
    if entry.truth != spec.truth:
        yield f"{name} is {entry.truth}, not {spec.truth}"
    scaled = spec.scaled and entry.dtype == "uint8"
    if (entry.scale is not None) != scaled or entry.triangle != spec.triangle:
        stored = "as lower triangles" if spec.triangle else "as uint8 steps" if scaled else "unchanged"
        yield f"{name} is not stored {stored}"
    shape = entry.logical_shape
    if len(shape) != len(spec.shape):
        yield f"{name} has shape {shape}, not ({', '.join(map(str, spec.shape))})"
        return
    for size, wanted in zip(shape, spec.shape, strict=True):
        if wanted == "?":
            continue
        letter, more = (wanted[0], int("+1" in wanted)) if isinstance(wanted, str) else ("", 0)
        known = wanted if isinstance(wanted, int) else sizes.setdefault(letter, size - more) + more
        if size > _MAX_SIZE and letter != _BYTES:
            yield f"{name} has shape {shape}, larger than any run's"
            return
        if size != known:
            words = ", ".join(f"{part}" for part in spec.shape)
            yield f"{name} has shape {shape}, where ({words}) has {wanted} = {known}"
            return
