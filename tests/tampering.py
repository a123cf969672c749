"""Records with other numbers and good checksums, as somebody who wants to deceive would make them."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from pellucid.api.records import Record
from pellucid.record import Provenance, RecordWriter, StoredArray


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
