"""Does a record hold what its kind promises?"""

from collections.abc import Iterator

from pellucid.errors import PellucidError
from pellucid.record.reader import Record
from pellucid.record.schema import SCHEMA, ChunkSpec


_FROM_CONFIG = {"L": "n_layers", "H": "n_heads", "C": "d_model"}
_MOST = 1 << 20  # of anything that a shape counts: a damaged header shall not keep us busy
_LISTED = 8
_MATRICES = {"training": "training/matrices", "finetuning": "finetuning/matrices"}


def check(record: Record, *, partial: bool = False) -> dict[str, int]:
    """Compares a record's table with the schema; reads no numbers.

    Args:
        partial: chunks may be missing, as where less was kept; those that are there must be as they should be.

    Returns:
        The sizes by the schema's letters.

    Raises:
        PellucidError: lists the chunks that are missing or not as they should be.
    """
    sizes, problems = _compare(record, partial)
    if problems:
        where = record.path or "in memory"
        more = [f"and {len(problems) - _LISTED:,} more"] if len(problems) > _LISTED else []
        raise PellucidError(f"the {record.kind} record {where} is not complete: {'; '.join(problems[:_LISTED] + more)}")
    return sizes


def _compare(record: Record, partial: bool) -> tuple[dict[str, int], list[str]]:
    sizes: dict[str, int] = {}
    problems: list[str] = []
    config = record.provenance.config
    for letter, key in _FROM_CONFIG.items():
        if type(config.get(key)) is not int or not 0 < config[key] < _MOST:
            problems.append(f"its provenance states no good {key}")
        else:
            sizes[letter] = config[key]
    matrices = _matrices(record, problems)
    if matrices is not None:
        sizes["Q"] = len(matrices)
    if problems:
        return sizes, problems
    pieces = [spec.name in record for spec in SCHEMA[record.kind] if spec.name.startswith("pieces/")]
    if any(pieces) and not all(pieces):
        problems.append("pieces/ids, pieces/starts and pieces/bytes go together")
    for spec in SCHEMA[record.kind]:
        for name in _names(spec, sizes, matrices or []):
            if name in record:
                problems += _mismatches(record, name, spec, sizes)
            elif spec.required and not partial:
                problems.append(f"{name} is missing")
    if {"P", "S", "T"} <= sizes.keys() and sizes["P"] + sizes["S"] - sizes["T"] not in (0, 1):
        problems.append(f"{sizes['T']} tracks cannot come of {sizes['P']} tokens and {sizes['S']} drawn ones")
    return sizes, problems


def _matrices(record: Record, problems: list[str]) -> list[str] | None:
    """The names that `{matrix}` stands for; None where the kind has none."""
    name = _MATRICES.get(record.kind)
    if name is None:
        return None
    if name not in record:
        problems.append(f"{name} is missing")
        return []
    found = record[name]
    if not isinstance(found, list) or not all(isinstance(matrix, str) for matrix in found):
        problems.append(f"{name} is no list of names")
        return []
    return found


def _names(spec: ChunkSpec, sizes: dict[str, int], matrices: list[str]) -> Iterator[str]:
    """The chunks that a row stands for."""
    if "{level}" in spec.name:
        yield from (spec.name.format(level=level) for level in range(sizes["L"] + 1))
    elif "{block}" in spec.name:
        yield from (spec.name.format(block=block) for block in range(sizes["L"]))
    elif "{matrix}" in spec.name:
        yield from (spec.name.format(matrix=matrix) for matrix in matrices)
    else:
        yield spec.name


def _mismatches(record: Record, name: str, spec: ChunkSpec, sizes: dict[str, int]) -> Iterator[str]:
    """What is wrong with one chunk. A letter that is new takes the size found."""
    entry = record.entry(name)
    if entry.dtype not in spec.dtypes:
        yield f"{name} is {entry.dtype}, not {' or '.join(spec.dtypes)}"
        return
    if entry.truth != spec.truth:
        yield f"{name} is {entry.truth}, not {spec.truth}"
    if (entry.scale is not None) != spec.scaled or entry.triangle != spec.triangle:
        yield f"{name} is not stored {'as lower triangles' if spec.triangle else 'in steps' if spec.scaled else 'as it is'}"
    shape = entry.logical_shape
    if len(shape) != len(spec.shape):
        yield f"{name} has shape {shape}, not ({', '.join(map(str, spec.shape))})"
        return
    for size, wanted in zip(shape, spec.shape, strict=True):
        if wanted == "?":
            continue
        letter, more = (wanted[0], int("+1" in wanted)) if isinstance(wanted, str) else ("", 0)
        known = wanted if isinstance(wanted, int) else sizes.setdefault(letter, size - more) + more
        if size != known:
            words = ", ".join(f"{part}" for part in spec.shape)
            yield f"{name} has shape {shape}, where ({words}) has {wanted} = {known}"
            return
