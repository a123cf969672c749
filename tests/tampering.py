"""Records with other numbers and good checksums, as somebody who wants to deceive would make them."""

from collections.abc import Iterator, Mapping
from io import BytesIO
from random import Random
from typing import Any

import numpy as np

from pellucid.api.records import Record
from pellucid.record import Provenance, RecordWriter, StoredArray
from pellucid.record.container import PREAMBLE_BYTES, aligned, pack_header, unpack_preamble


Array = Any
Path = tuple[str | int, ...]  # keys and indices from the root of a JSON tree


def signed_again(record: Record, changes: Mapping[str, Any], provenance: Provenance | None = None, **words: Any) -> Record:
    """The record with `changes` in place of its chunks of those names, and every checksum right.

    words: what else is said of the changed chunks: truth, meaning, unit, source.
    """
    buffer = BytesIO()
    with RecordWriter(buffer, record.kind, provenance or record.provenance) as writer:
        for name in record:
            entry = record.entry(name)
            said = {"truth": entry.truth, "meaning": entry.meaning, "unit": entry.unit, "source": entry.source}
            if name in changes:
                writer.add(name, changes[name], **(said | words))
            elif entry.dtype == "json":
                writer.add(name, record[name], **said)
            else:
                value = StoredArray(record.stored(name), entry.dtype, entry.scale, entry.triangle)
                writer.add(name, value, encoding=entry.encoding, **said)
    return Record.open(buffer.getvalue())


def with_header(record: Record, header: Mapping[str, Any]) -> bytes:
    """The record's bytes with another header and its checksum right; the chunks stay as they are."""
    whole = record.to_bytes()
    start = aligned(PREAMBLE_BYTES + unpack_preamble(whole[:PREAMBLE_BYTES], len(whole)))
    return pack_header(header) + whole[start:]


def leaves(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Each value of a JSON tree that is no object and no list (or an empty one), with its keys and indices from the root."""
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    found = list(items)
    if not found:
        yield path, node
    for key, value in found:
        yield from leaves(value, (*path, key))


def replaced_leaf(node: Any, path: Path, value: Any) -> Any:
    """A copy of a JSON tree with another value at `path`; a new key is added."""
    if not path:
        return value
    copy: Any = dict(node) if isinstance(node, Mapping) else list(node)
    copy[path[0]] = replaced_leaf(node[path[0]], path[1:], value) if len(path) > 1 else value
    return copy


def other_value(value: Any, random: Random) -> Any:
    """Another value of a leaf's kind; of a number, off by a quarter at least."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return random.choice([value + 1, value - 1, 2 * value + 3, -value - 1, 0 if value else 7])
    if isinstance(value, float):
        return random.choice([value * 1.25 + 1e-3, value * 0.7 - 1e-3, -value - 1, 0.0 if value else 0.5])
    if isinstance(value, str):
        if value.lstrip("-").isdigit():
            return str(int(value) + random.choice([1, -1, 1000]))
        return random.choice([value + "x", "another", value[:-1] or "x", value.swapcase() + "."])
    return {"another": 1} if isinstance(value, Mapping) else ["another"] if isinstance(value, list) else 5


def other_array(stored: Array, random: Random) -> Array:
    """An array of the same shape and dtype, of which at least one number is off by a quarter of the range (or is none)."""
    array = stored.copy()
    flat = array.reshape(-1)
    at = random.randrange(flat.size)
    if flat.dtype.kind == "f":
        finite = flat[np.isfinite(flat)]
        spread = float(np.ptp(finite)) or float(np.abs(finite).max()) or 1.0 if finite.size else 1.0
        value = 0.5 if np.isnan(flat[at]) else flat[at] + random.choice([-1, 1]) * spread * random.uniform(0.25, 1.5)
        flat[at] = random.choice([value, value, value, np.nan if np.isfinite(flat[at]) else 0.0, np.inf])
    else:
        spread = max(int(flat.max()) - int(flat.min()), 4)
        off = random.randrange(spread // 4 + 1, spread + 2)
        now, low, high = int(flat[at]), int(np.iinfo(flat.dtype).min), int(np.iinfo(flat.dtype).max)
        possible = [value for value in (now - off, now + off) if low <= value <= high]
        flat[at] = random.choice(possible or [low if now > high // 2 else high])
    return array
