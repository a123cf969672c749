"""Verify against forgers: every chunk, header field and word of every kind of record is changed and signed again.

Nothing lists fields by hand: the header's tree and the chunk table of real records are walked, so what is added to records is
covered. A change must be refused, or found, or be of something that the report names as unverified, unchecked or measured.
By default each chunk, and each field of it, is changed in one of the records of its kind (they differ in dtype and options),
and every other field in all. `PELLUCID_TEST_CASES` more than 1 changes everything in all of them, that many times.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from cases import TIMES
from models import lively
from tampering import leaves, other_array, other_value, replaced_leaf, signed_again, with_header

import pellucid
from pellucid import Example
from pellucid.corpus import Document
from pellucid.errors import PellucidError
from pellucid.gpt.pattern import Banded, Dense
from pellucid.interpret import Report
from pellucid.interpret.verify import finetuning, training
from pellucid.record import StoredArray, bfloat16_bits


pytestmark = pytest.mark.long


SMALL = pellucid.GPTConfig(vocab_size=300, n_ctx=16, n_layers=1, d_model=16, n_heads=2)
STORED = ("encoding", "offset", "stored_bytes", "plain_bytes", "sha256")  # how a chunk lies in the file: nothing shows them


@dataclass(frozen=True)
class Subject:
    """A record, and what it is verified with."""

    record: pellucid.Record
    source: pellucid.GPT | Path

    def verify(self, liar: pellucid.Record) -> Report | None:
        """The report; None where the record is refused."""
        try:
            return liar.verify(self.source)
        except PellucidError:
            return None


@pytest.fixture(scope="module")
def remembered() -> Iterator[None]:
    """What verifying recomputes of a run does not depend on the record's numbers: it is computed once."""
    with pytest.MonkeyPatch.context() as patch:
        memory: dict[Any, Any] = {}

        def once(module: Any, name: str, key: Callable[..., Any]) -> None:
            real = getattr(module, name)

            @functools.wraps(real)
            def recall(*arguments: Any) -> Any:
                place = (name, key(*arguments))
                if place not in memory:
                    found = real(*arguments)
                    memory[place] = list(found) if name == "replay" else found
                return memory[place].copy() if name == "load" else memory[place]  # a step that is replayed trains its model

            patch.setattr(module, name, recall)

        once(training, "replay", lambda run, plan, batches, tokenizer, until, stretch, position, *_: (run, until, position))
        once(training.TrainingVerifier, "_read_log", lambda verifier: (verifier.run, verifier.steps))
        once(finetuning, "load", lambda path: path)
        once(finetuning, "answers", lambda base, tuned, examples: float(tuned.wte.weight.double().sum()))
        once(finetuning, "change_maps", lambda base, tuned: float(tuned.wte.weight.double().sum()))
        once(finetuning, "general_losses", lambda base, tuned, general, plan: float(tuned.wte.weight.double().sum()))
        once(finetuning, "measure_saved", lambda run, plan, tuned: run)
        yield


@pytest.fixture(scope="module")
def subjects(
    documents: list[Document], tmp_path_factory: pytest.TempPathFactory, remembered: None
) -> dict[str, Callable[[], Subject]]:
    """One record of each kind and dtype, made where it is asked for."""

    @functools.cache
    def base(dtype: str) -> Path:
        out = tmp_path_factory.mktemp("forged") / "run"
        options = {"config": SMALL, "steps": 3, "batch_tokens": 32, "checkpoint_every": 2, "seed": 7, "dtype": dtype}
        return pellucid.train(documents[:2], out, learning_rate=1e-2, **options).path

    @functools.cache
    def tuned(dtype: str) -> Path:
        examples = [Example(f"{number} =>", f" {'one ' * (number % 3)}bird") for number in range(12)]
        out = tmp_path_factory.mktemp("forged") / "tuned"
        options = {"steps": 2, "batch": 2, "learning_rate": 1e-2, "seed": 3, "dtype": dtype}
        return pellucid.finetune(examples, out, model=base("float32"), **options).path

    def generation(dtype: str, tokenizer: bool = True, **options: Any) -> Subject:
        config = SMALL.replace(n_ctx=40, n_layers=2, d_model=24, n_heads=3, pattern=(Banded(5), Dense()))
        known = pellucid.load(base("float32")).tokenizer if tokenizer else None
        model = lively(pellucid.GPT(config, seed=3, tokenizer=known)).to(getattr(torch, dtype))
        return Subject(pellucid.xray(model, [7, 42, 7, 299, 0], max_tokens=8, seed=5, candidates=12, **options), model)

    def priming(dtype: str) -> Subject:
        known = pellucid.load(base("float32")).tokenizer
        config = SMALL.replace(n_ctx=48, n_layers=2, d_model=24, n_heads=3, pattern=(Banded(5), Dense()))
        model = lively(pellucid.GPT(config, seed=3, tokenizer=known)).to(getattr(torch, dtype))
        prompt = pellucid.Prompt("Do:", [("the fox", "a river"), ("day", "on")], "fox")
        return Subject(pellucid.prime(model, prompt, answer="the king", shots=(0, 1, 2), candidates=6), model)

    def of_run(run: Path, name: str) -> Subject:
        return Subject(pellucid.open((run / name).read_bytes()), run)

    cut = {"top_k": 40, "top_p": 0.85, "temperature": 1.08, "stop": ("zzzz", "yyy")}
    adjusted = {"presence_penalty": 0.7, "frequency_penalty": 0.4, "repetition_penalty": 1.3, "min_p": 0.03, "temperature": 1.1,
               "logit_bias": {5: 2.5, 11: -100.0}}  # fmt: skip
    return {
        "generation": functools.cache(lambda: generation("float32", **cut)),
        "generation bfloat16": functools.cache(lambda: generation("bfloat16", **cut)),
        "generation adjusted": functools.cache(lambda: generation("float32", tokenizer=False, **adjusted)),
        "generation greedy": functools.cache(lambda: generation("bfloat16", temperature=0)),
        "generation frozen": functools.cache(lambda: generation("bfloat16", temperature=1e-9)),
        "priming": functools.cache(lambda: priming("float32")),
        "priming bfloat16": functools.cache(lambda: priming("bfloat16")),
        "training": functools.cache(lambda: of_run(base("float32"), "training.pellucid")),
        "training bfloat16": functools.cache(lambda: of_run(base("bfloat16"), "training.pellucid")),
        "finetuning": functools.cache(lambda: of_run(tuned("float32"), "finetuning.pellucid")),
        "finetuning bfloat16": functools.cache(lambda: of_run(tuned("bfloat16"), "finetuning.pellucid")),
    }


KINDS = (
    "generation", "generation bfloat16", "generation adjusted", "generation greedy", "generation frozen", "priming",
    "priming bfloat16", "training", "training bfloat16", "finetuning", "finetuning bfloat16",
)  # fmt: skip


def is_due(kind: str, place: object) -> bool:
    """Whether a place of the chunk table is changed in this record, or in another one of its kind."""
    variants = [one for one in KINDS if one.split()[0] == kind.split()[0]]
    return TIMES > 1 or Random(str(place)).choice(variants) == kind


def confessed(report: Report) -> set[str]:
    """What the report does not vouch for: by the names of words and chunks."""
    rows = {row.chunk for row in report.chunks if not row.ok or not row.complete or row.truth == "measured"}
    return rows | set(report.unverified) | {one.word for one in report.differing}


def names_of(header: dict[str, Any], path: Sequence[str | int]) -> set[str]:
    """The names under which a report may speak of a place in the header."""
    if path[0] == "chunks":
        name = header["chunks"][path[1]]["name"]
        words = {f"{name}: {path[2]}"}
        return words if path[2] in ("meaning", "unit", "source") else words | {name}
    return {"/".join(map(str, path[:length])) for length in range(1, len(path) + 1)}


def reads_the_same(record: pellucid.Record, liar: pellucid.Record) -> bool:
    """Whether all that is read of two records is the same, however it lies in their files."""

    def rows(one: pellucid.Record) -> list[dict[str, Any]]:
        return [{key: value for key, value in row.items() if key not in STORED} for row in one.header["chunks"]]

    tops = [{key: value for key, value in one.header.items() if key != "chunks"} for one in (record, liar)]
    if tops[0] != tops[1] or rows(record) != rows(liar):
        return False
    return all(record.stored_bytes(n) == liar.stored_bytes(n) or np.array_equal(record[n], liar[n]) for n in record)


def check_headers(subject: Subject, changes: list[tuple[Sequence[str | int], Any]]) -> None:
    """Makes all the changes at once; what is not found then, and all of them if the record is refused, in smaller parts."""
    header = subject.record.header
    changed = header
    for path, value in changes:
        changed = replaced_leaf(changed, tuple(path), value)
    try:
        liar = pellucid.open(with_header(subject.record, changed))
        report = None if reads_the_same(subject.record, liar) else subject.verify(liar)
        same = report is None and len(changes) == 1
    except PellucidError:
        report, same = None, True
    if report is None:
        if not same and len(changes) > 1:
            check_headers(subject, changes[: len(changes) // 2])
            check_headers(subject, changes[len(changes) // 2 :])
        elif same and len(changes) > 1:
            for change in changes:
                check_headers(subject, [change])
        return
    missed = [(path, value) for path, value in changes if not names_of(header, path) & confessed(report)]
    for path, value in missed:
        assert len(changes) > 1 or not report.ok, f"{path} = {value!r} was not noticed:\n{report}"
        if len(changes) > 1:
            check_headers(subject, [(path, value)])


@pytest.mark.parametrize("kind", KINDS)
def test_every_header_field_and_word(subjects: dict[str, Callable[[], Subject]], kind: str) -> None:
    subject = subjects[kind]()
    header = subject.record.header
    for case in range(TIMES):
        groups: dict[Any, list[tuple[Sequence[str | int], Any]]] = {}
        for path, value in leaves(header):
            random = Random(f"{case} {path}")
            field = path[2] if path[0] == "chunks" else path
            if path[0] == "chunks" and not is_due(kind, (header["chunks"][path[1]]["name"], path[2:])):
                continue
            groups.setdefault(field, []).append((path, other_value(value, random)))
        for row in range(len(header["chunks"])):
            groups.setdefault("new", []).append((("chunks", row, "shown"), "a word"))
        for place in ((), ("provenance",), ("provenance", "sampling"), ("provenance", "machine")):
            if place[1:] and place[1] not in header["provenance"]:
                continue
            groups[place, "new"] = [((*place, "shown"), "a word")]
        for changes in groups.values():
            check_headers(subject, changes)


@pytest.mark.parametrize("kind", KINDS)
def test_every_chunk(subjects: dict[str, Callable[[], Subject]], kind: str) -> None:
    subject = subjects[kind]()
    record = subject.record
    for case in range(TIMES):
        for name in record:
            if not is_due(kind, name):
                continue
            random, entry = Random(f"{case} {name}"), record.entry(name)
            if entry.dtype == "json":
                path, value = random.choice(list(leaves(record[name])))
                changed: Any = replaced_leaf(record[name], path, other_value(value, random))
            elif entry.dtype == "bfloat16":
                numbers = torch.from_numpy(other_array(record[name], random)).bfloat16()
                changed = bfloat16_bits(numbers.view(torch.uint16).numpy())
            elif not record.stored(name).size:
                continue
            else:
                changed = StoredArray(other_array(record.stored(name), random), entry.dtype, entry.scale, entry.triangle)
            report = subject.verify(signed_again(record, {name: changed}))
            assert report is None or not report.ok or name in confessed(report), f"{case} {name}:\n{report}"


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_chunk_is_refused(subjects: dict[str, Callable[[], Subject]], kind: str) -> None:
    subject = subjects[kind]()
    record = subject.record
    header = record.header
    row = header["chunks"][-1]
    for name in ("views/mine", f"{record.kind}/mine", f"{record.kind}/steps/9", "pieces/more", "generation/block_inputs/99"):
        for truth in ("given", "derived", "replayed", "measured"):
            if not is_due(kind, (name, truth)):
                continue
            rows = [*header["chunks"][:-1], row | {"name": name, "truth": truth}]
            report = subject.verify(pellucid.open(with_header(record, header | {"chunks": rows})))
            assert report is None or name in {one.chunk for one in report.chunks if not one.ok}, (name, truth)


@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_passes(subjects: dict[str, Callable[[], Subject]], kind: str) -> None:
    subject = subjects[kind]()
    report = subject.verify(subject.record)
    assert report is not None and report.ok, report
    assert subject.verify(signed_again(subject.record, {})) == report
