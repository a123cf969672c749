"""Which model a record is of, in words: its size and its shape, and what it was trained on where that is known."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pellucid.corpus.shards import DOCUMENTS
from pellucid.errors import PellucidError
from pellucid.files import reading
from pellucid.generation.resolve import DEFAULT_FINGERPRINT
from pellucid.languages import counted, listed, tr
from pellucid.record import Record
from pellucid.runs.files import CORPUS
from pellucid.serve.wire import RecordInfo
from pellucid.strict_json import Fields, parse_json, read_lines
from pellucid.text.graphemes import first_columns


NAMED = 3  # documents by name
_NAME = 60  # columns of a document's name
_LINE = 1 << 12  # bytes of a document's line
_LINES = 64  # documents that are looked at


@dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """What the model of a run learned from.

    Attributes:
        run: name of the run's folder; None of a record that lies in none.
        base: name of the shape of the model that it began from; "" where it is not named, None where the run began from random
            numbers.
        tokens, examples: in the training part; 0 where it is of the other kind.
        documents: names of the first ones, where the run's folder has them. all_named: whether there are no others.
    """

    run: str | None
    base: str | None
    tokens: int
    examples: int
    documents: tuple[str, ...] = ()
    all_named: bool = True


def read_learned(record: Record, run: Path | None) -> Learned | None:
    """What the model of a training or fine-tuning record learned from, by the record's plan; None of other records.

    Args:
        run: the folder of the run that the record lies in.
    """
    name = f"{record.kind}/plan"
    if record.kind not in ("training", "finetuning") or name not in record:
        return None
    with suppress(PellucidError):
        source = Fields(record[name], name).object("source")
        documents, all_named = _documents(run) if run is not None else ((), True)
        base = source.text("base", "", max_length=200)
        return Learned(
            run=None if run is None else run.name, base=base if record.kind == "finetuning" else None,
            tokens=source.integer("train_tokens", 0), examples=source.integer("train_examples", 0), documents=documents,
            all_named=all_named,
        )  # fmt: skip
    return None


def _documents(run: Path) -> tuple[tuple[str, ...], bool]:
    """The names of the first documents that a run was trained on, and whether these are all."""
    names = list[str]()
    try:
        with reading(run / CORPUS / DOCUMENTS) as file:
            for number, line in enumerate(read_lines(file, _LINE), start=1):
                found = Fields(parse_json(line, max_bytes=_LINE), DOCUMENTS)
                if found.text("part", "train") == "train":
                    names.append(first_columns(found.text("name"), _NAME))
                if len(names) > NAMED or number == _LINES:
                    return tuple(names[:NAMED]), False
    except (OSError, ValueError):
        return (), True
    return tuple(names), True


def model_words(info: RecordInfo, learned: Mapping[str, Learned]) -> str:
    """A sentence about the model of a record.

    Args:
        info: of the record, with `model`, `shape` and `parameters`. learned: by the model's fingerprint.
    """
    shape = info["shape"]
    size = tr(
        "{count:,} parameters, {blocks} of width {width}", count=info["parameters"],
        blocks=counted(shape["n_layers"] or 0, "block"), width=shape["d_model"],
    )  # fmt: skip
    if shape["name"]:
        size = tr("{size}: the shape {name}", size=size, name=shape["name"])
    if info["model"] == DEFAULT_FINGERPRINT:
        return tr(
            "the embedded model ({size}), which comes with Pellucid and was trained before on old stories and small tasks",
            size=size,
        )  # fmt: skip
    found = learned.get(info["model"])
    if found is None:
        return tr("a model ({size}) of which this record does not say what it was trained on", size=size)
    model = tr("a model ({size})", size=size)
    if found.run is not None:
        model = tr('the model of the run "{run}" ({size})', run=found.run, size=size)
    if found.base is None:
        return tr("{model}, which began as random numbers and was trained on {text}", model=model, text=_text(found))
    return tr(
        "{model}, which began as a trained one ({base}) and was trained further on {text}", model=model,
        base=found.base or tr("unknown"), text=_text(found),
    )  # fmt: skip


def _text(found: Learned) -> str:
    if found.examples:
        return counted(found.examples, "example")
    tokens = tr("a text of {count:,} tokens", count=found.tokens)
    if not found.documents:
        return tokens
    names = listed(found.documents)
    if not found.all_named:
        names = tr("{names} and others", names=names)
    return tr("{tokens}: {names}", tokens=tokens, names=names)
