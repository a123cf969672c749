"""Verifying chunks of other shapes and JSON of another structure, signed again: refused or found, never another exception."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from cases import TIMES
from models import lively
from tampering import leaves, replaced_leaf, signed_again

import pellucid
from pellucid.corpus import Document
from pellucid.errors import PellucidError
from pellucid.interpret import Report
from pellucid.record import StoredArray, as_bfloat16
from pellucid.record.check import named_specs


VALUES: list[Any] = [
    None, True, 0, -1, 5, 2**40, 1e300, 0.5, "abc", [], {}, [1], [[1]], ["abc"], {"step": 1}, [5], [{"step": 1}],
]  # fmt: skip


@pytest.fixture(scope="module")
def model() -> pellucid.GPT:
    config = pellucid.GPTConfig(vocab_size=60, n_ctx=16, n_layers=2, d_model=12, n_heads=2)
    return lively(pellucid.GPT(config, seed=3))


@pytest.fixture(scope="module")
def run(documents: list[Document], tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = pellucid.GPTConfig(vocab_size=300, n_ctx=16, n_layers=1, d_model=16, n_heads=2)
    out = tmp_path_factory.mktemp("shapes") / "run"
    options = {"config": config, "steps": 3, "batch_tokens": 32, "checkpoint_every": 2, "seed": 7}
    return pellucid.train(documents[:2], out, learning_rate=1e-2, **options).path


def verdict(liar: pellucid.Record, source: pellucid.GPT | Path) -> Report | None:
    """The report; None where the record is refused."""
    try:
        return liar.verify(source)
    except PellucidError:
        return None


def resized(record: pellucid.Record, letters: dict[str, int], only: str = "") -> dict[str, Any]:
    """The chunks whose shape has one of these letters of the schema, with that many there: cut, or filled with zeros."""
    changes = {}
    for name, spec in named_specs(record).items():
        counted = [str(part)[:1] for part in spec.shape]
        if name not in record or (only and name != only) or not set(counted) & set(letters):
            continue
        entry, array = record.entry(name), record[name]
        sizes = zip(array.shape, spec.shape, strict=True)
        shape = tuple(letters.get(str(part)[:1], size - ("+1" in str(part))) + ("+1" in str(part)) for size, part in sizes)
        made = np.zeros(shape, array.dtype)
        common = tuple(slice(min(pair)) for pair in zip(shape, array.shape, strict=True))
        made[common] = array[common]
        if entry.triangle:
            lower = [made[..., t, : t + 1] for t in range(shape[-2])]
            packed = np.concatenate(lower, -1) if lower else np.zeros((*shape[:-2], 0))
            changes[name] = StoredArray(packed.astype("<f2"), "float16", triangle=True)
        elif entry.dtype == "bfloat16":
            changes[name] = as_bfloat16(made)
        else:
            changes[name] = StoredArray(made.astype(record.stored(name).dtype), entry.dtype, entry.scale)
    return changes


def shapes(record: pellucid.Record, vocab_size: int) -> Iterator[dict[str, Any]]:
    """Records whose chunks agree in another size, and those in which one chunk has a size of its own."""
    letters: dict[str, int] = {}
    for name, spec in named_specs(record).items():
        if name in record and record.entry(name).dtype != "json":
            for size, part in zip(record[name].shape, spec.shape, strict=True):
                if isinstance(part, str):
                    letters.setdefault(part[:1], size - ("+1" in part))
    for letter, size in letters.items():
        for other in {0, 1, size - 1, size + 1, vocab_size, vocab_size + 5} - {size}:
            yield resized(record, {letter: other})
    random = Random(len(letters))
    for name in record:
        if record.entry(name).dtype != "json":
            letter = random.choice(sorted(letters))
            yield resized(record, {letter: random.choice((0, 1, letters[letter] + 1))}, only=name)


@pytest.mark.long
@pytest.mark.parametrize("options", [{}, {"temperature": 0}, {"logit_bias": {5: 2.0}, "top_p": 0.9}])
def test_other_shapes_of_a_generation(model: pellucid.GPT, options: dict[str, Any]) -> None:
    record = pellucid.xray(model, [1, 2, 3], max_tokens=4, seed=2, candidates=6, **options)
    for number, changes in enumerate(shapes(record, 60)):
        if TIMES == 1 and options and number % 6:
            continue
        try:
            liar = signed_again(record, changes)
        except PellucidError:
            continue  # the writer takes no such chunk
        report = verdict(liar, model)
        if report is not None and changes and report.ok:  # fewer candidates than were recorded are true all the same
            more = ("generation/steps/topk", "generation/embedding/nearest", "generation/lens/")
            assert all(name.startswith(more) for name in changes)


@pytest.mark.long
def test_other_shapes_of_a_training(run: Path) -> None:
    record = pellucid.open((run / "training.pellucid").read_bytes())
    for number, changes in enumerate(shapes(record, 300)):
        if TIMES == 1 and number % 12:
            continue
        try:
            liar = signed_again(record, changes)
        except PellucidError:
            continue
        report = verdict(liar, run)
        assert report is None or not changes or not report.ok or all("topk" in name for name in changes), sorted(changes)


@pytest.mark.long
def test_other_structures_of_json(run: Path) -> None:
    record = pellucid.open((run / "training.pellucid").read_bytes())
    assert record["training/samples"]
    for name in record:
        if record.entry(name).dtype != "json":
            continue
        random, value = Random(name), record[name]
        places = [(), *{path[:length] for path, _ in leaves(value) for length in range(1, len(path) + 1)}]
        for path in random.sample(sorted(places, key=str), min(len(places), 5 * TIMES)):
            for other in random.sample(VALUES, 2 * TIMES if path else len(VALUES)):
                changed = replaced_leaf(value, path, other)
                report = verdict(signed_again(record, {name: changed}), run)
                assert report is None or not report.ok or changed == value, (name, path, other)
