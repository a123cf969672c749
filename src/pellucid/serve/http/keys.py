"""API keys: a file of their hashes with the limits of each, and who a request comes from.

The file is JSON: `{"keys": [{"name": "ada", "sha256": "...", "requests_per_minute": 60}]}`. It holds SHA-256 hashes only. A key
is 256 random bits, so that neither salt nor a slow hash adds anything. A key that is given is hashed and compared with all
hashes, each in constant time: how long that takes says nothing about any of them.
"""

import hmac
import json
import secrets
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from pellucid.errors import PellucidError
from pellucid.files import write_whole
from pellucid.serve.http.limits import KeyLimits, RateLimits
from pellucid.strict_json import MAX_BYTES, Fields, parse_json, read_named_file


PREFIX = "sk-"
ANONYMOUS = "anonymous"  # the name of everybody, where no keys are needed
MAX_LIMIT = 2**31 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredKey:
    """A key as the file holds it.

    Attributes:
        name: of its owner: in logs, and for the prefix cache. sha256: of the key, in hexadecimal. limits: of its requests.
    """

    name: str
    sha256: str
    limits: KeyLimits


class Client:
    """Who requests come from: the owner of a key, or everybody where no keys are needed.

    Attributes:
        name: of the owner. limits: of rate and concurrency, with what is used of them.
        id: of the key, under which its files, jobs and models are kept: lower-case letters and digits. It follows from the
            key's hash and tells neither.
    """

    def __init__(self, name: str, limits: KeyLimits, id: str = ANONYMOUS) -> None:
        self.name, self.id = name, id
        self.limits = RateLimits(limits)


class KeyRing:
    """The keys of a server; None needs none."""

    def __init__(self, keys: Iterable[StoredKey] | None) -> None:
        self._clients = None if keys is None else [
            (bytes.fromhex(key.sha256), Client(key.name, key.limits, key_id(key.sha256))) for key in keys
        ]
        self._anonymous = Client(ANONYMOUS, KeyLimits())

    @property
    def clients(self) -> list[Client]:
        """Everybody who may ask."""
        return [self._anonymous] if self._clients is None else [client for _, client in self._clients]

    @property
    def needed(self) -> bool:
        """Whether requests need a key."""
        return self._clients is not None

    def client(self, headers: Mapping[str, str]) -> Client | None:
        """Who sends a request with these headers; None: its key is none of these, or there is none."""
        if self._clients is None:
            return self._anonymous
        digest, found = sha256((given_key(headers) or "").encode("utf-8", "surrogatepass")).digest(), None
        for stored, client in self._clients:  # all of them, whichever it is
            if hmac.compare_digest(stored, digest):
                found = client
        return found


def key_id(digest: str) -> str:
    """The id of a key by the hexadecimal SHA-256 of it."""
    return f"key{sha256(b'owner ' + bytes.fromhex(digest)).hexdigest()[:24]}"


def given_key(headers: Mapping[str, str]) -> str | None:
    """The key of a request: `Authorization: Bearer KEY`, `api-key: KEY` as for Azure's paths, or the password of
    `Authorization: Basic`, for which a browser asks its user."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return value.strip() or None
        case "basic":
            try:
                return b64decode(value.strip(), validate=True).decode("utf-8").partition(":")[2] or None
            except ValueError:  # not Base64, not ASCII, not UTF-8
                return None
        case _:
            return headers.get("api-key") or None


def masked(key: str) -> str:
    """A key for a message: as much of it as tells its owner which one it is."""
    return f"{key[:3]}…{key[-3:]}" if len(key) > 12 and key.isascii() and key.isprintable() else "…"


def read_keys(path: Path) -> list[StoredKey]:
    """The keys of a file.

    Raises:
        PellucidError: no such file, damaged, no key in it, or a name or hash twice.
    """
    try:
        values = parse_json(read_named_file(path, MAX_BYTES))
    except ValueError as error:
        raise PellucidError(f"{path}: {error}") from None
    keys = [_stored_key(Fields(entry, f"{path}: key {i + 1}")) for i, entry in enumerate(Fields(values, path).list("keys"))]
    for what in ("name", "sha256"):
        if len({getattr(key, what) for key in keys}) != len(keys):
            raise PellucidError(f"{path}: two keys have the same {what}")
    if not keys:
        raise PellucidError(f"{path} holds no key: add one with `pellucid serve --new-key NAME --keys {path}`")
    return keys


def add_key(path: Path, name: str) -> str:
    """Adds a new key to a file, which is made if it is not there. Returns the key, which nothing stores.

    Raises:
        PellucidError: the file cannot be read or written, or has a key of this name.
    """
    keys = read_keys(path) if path.exists() else []
    if any(key.name == name for key in keys):
        raise PellucidError(f"{path} has a key named {name!r}: choose another name, or remove that one from the file")
    key = PREFIX + secrets.token_urlsafe(32)
    keys.append(_stored_key(Fields({"name": name, "sha256": sha256(key.encode()).hexdigest()}, "the new key")))
    listed = [
        {"name": one.name, "sha256": one.sha256, **{k: v for k, v in asdict(one.limits).items() if v is not None}}
        for one in keys
    ]
    write_whole(path, json.dumps({"keys": listed}, indent=2) + "\n", what="the keys")
    return key


def _stored_key(fields: Fields) -> StoredKey:
    limits = {name: fields.integer(name, None, minimum=1, maximum=MAX_LIMIT) for name in KeyLimits.__dataclass_fields__}
    fields.only(frozenset({"name", "sha256", *limits}), f"there are name, sha256, {', '.join(limits)}")
    name, digest = fields.text("name", max_length=64), fields.text("sha256").lower()
    if not (name.isascii() and name.isprintable() and name.strip()) or name == ANONYMOUS:
        raise fields.wrong("name", f"printable ASCII, and not {ANONYMOUS!r}")
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise fields.wrong("sha256", "64 hexadecimal digits")
    return StoredKey(name=name, sha256=digest, limits=KeyLimits(**limits))
