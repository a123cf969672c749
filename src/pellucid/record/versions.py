"""Schema versions of a record's header, and reading older ones.

A minor version adds chunks and header fields, which older readers skip, and may store a chunk in another of the dtypes that
they know. A new dtype, encoding or meaning is a new major version, which older readers refuse. Older majors are migrated by
`MIGRATIONS`, one major at a time: pure functions of the header. They may rename, describe and fill in; the chunks' bytes stay
as they are.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pellucid.errors import PellucidError


# 1.1: attention in float16 or float32; in 1.0 it was uint8 in steps of 1/255. 1.2: vectors of the followed position, norms of
# what blocks add, rank and log-probability of the token that follows at each level; held-out and general losses of fine-tuning;
# records of the kind "priming". 1.3: records of the kind "plan", whose numbers are "estimated".
SCHEMA_VERSION = (1, 3)

Migration = Callable[[dict[str, Any]], dict[str, Any]]
MIGRATIONS: dict[int, Migration] = {}  # from this major to the next; 1 is the first


def migrate(
    header: dict[str, Any], migrations: Mapping[int, Migration] = MIGRATIONS, newest: int = SCHEMA_VERSION[0]
) -> dict[str, Any]:
    """The header as this version would have written it.

    Raises:
        PellucidError: from a newer major version, or one without a migration; the message says what to do.
        ValueError: it states no version.
    """
    major, minor = version_of(header)
    if major > newest:
        raise PellucidError(f"its schema {major}.{minor} is newer than this Pellucid, which reads {newest}.x: update Pellucid")
    while major < newest:
        if major not in migrations:
            raise PellucidError(f"it has schema {major}.{minor}, which this Pellucid cannot read: record it again")
        header = migrations[major](header)
        before, (major, minor) = major, version_of(header)
        assert major == before + 1, "a migration goes up by one major version"
    return header


def version_of(header: Mapping[str, Any]) -> tuple[int, int]:
    """(major, minor)."""
    version = header.get("schema")
    if not (isinstance(version, list) and len(version) == 2 and all(type(part) is int and part >= 0 for part in version)):
        raise ValueError("its header states no schema version")
    return version[0], version[1]
