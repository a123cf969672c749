"""Verifying the words of a record: those of its header against their sources, those of its chunk table against the schema.

A word without a source is unverified: of a record's provenance the version that recorded, the date, a generation's machine.
A model's name is no part of its fingerprint, since nothing is computed from it: it is compared where the model has one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from pellucid.generation.model import GPT
from pellucid.gpt.config import GPTConfig
from pellucid.interpret.verify.difference import same_json
from pellucid.interpret.verify.report import WordResult
from pellucid.record import ChunkEntry, Provenance, Record
from pellucid.record.check import named_specs
from pellucid.record.versions import SCHEMA_VERSION
from pellucid.runtime.module_changes import find_change


_HEADER = ("format", "schema", "kind", "provenance", "chunks")
_COMPARED_APART = ("sampling", "seed", "ablation")  # of a generation: `sampling_words`, `GenerationVerifier.ablation_words`


def header_words(record: Record) -> Iterator[WordResult]:
    """The schema's version, and fields that this Pellucid does not know."""
    schema = list(record.header["schema"])
    yield compared("schema", schema, list(SCHEMA_VERSION), otherwise="unverified", note="another version of the schema")
    unknown = [name for name in record.header if name not in _HEADER]
    known = Provenance.__dataclass_fields__
    unknown += [f"provenance/{name}" for name in record.header["provenance"] if name not in known]
    known = ChunkEntry.__dataclass_fields__
    unknown += [f"{row['name']}: {field}" for row in record.header["chunks"] for field in row if field not in known]
    for word in unknown:
        yield WordResult(word=word, status="unverified", note="not known to this Pellucid")


def provenance_words(record: Record, sources: Mapping[str, Any], config: GPTConfig) -> Iterator[WordResult]:
    """The fields of the provenance that are stated.

    Args:
        sources: what each field must be, by name; a field that is not in it is unverified. config: the model's.
    """
    for field in fields(Provenance):
        value = getattr(record.provenance, field.name)
        if value is None or (record.kind == "generation" and field.name in _COMPARED_APART):
            continue
        word = f"provenance/{field.name}"
        if field.name in sources:
            yield compared(word, _listed(value), _listed(sources[field.name]))
        else:
            yield WordResult(word=word, status="unverified", note="nothing here to compare it with")
    name = record.provenance.config.get("name", "")
    known = bool(config.name and name)
    yield compared("provenance/config/name", name, config.name, otherwise="differs" if known else "unverified")


def chunk_words(record: Record, sources: Mapping[str, Mapping[str, Any]]) -> Iterator[WordResult]:
    """Meaning and unit of each chunk against the schema, and its source.

    Args:
        sources: of each chunk that has one, by name.
    """
    specs = named_specs(record)
    other_schema = list(record.header["schema"]) != list(SCHEMA_VERSION)  # whose words may be others
    for name in record:
        entry, spec = record.entry(name), specs.get(name)
        if spec is None:
            continue  # reported as a chunk
        otherwise = "unverified" if other_schema else "differs"
        yield compared(f"{name}: meaning", entry.meaning, spec.meaning, otherwise=otherwise)
        yield compared(f"{name}: unit", entry.unit, spec.unit, otherwise=otherwise)
        source = None if entry.source is None else dict(entry.source)
        yield compared(f"{name}: source", source, sources.get(name), otherwise=otherwise)


def change_words(record: Record, model: GPT) -> Iterator[WordResult]:
    """What was changed of the model beside its parameters, where the record or the model states something."""
    stated, found = (record.provenance.machine or {}).get("model_change"), find_change(model)
    reason = None if found is None else found.reason
    if stated is not None or reason is not None:
        yield compared("provenance/machine/model_change", stated, reason)


def compared(word: str, stated: Any, expected: Any, *, otherwise: Any = "differs", note: str = "") -> WordResult:
    """The result for one word: "equal", or `otherwise`."""
    if same_json(stated, expected):
        return WordResult(word=word, status="equal")
    return WordResult(word=word, status=otherwise, note=note or f"it says {_short(stated)}, its source {_short(expected)}")


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
