"""The page's proof of a generation record says what `verify` says, of honest records and of every part of a forged one."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cases import TIMES
from models import lively
from page_model import page_session
from tampering import leaves, other_array, other_value, replaced_leaf, signed_again, with_header
from tokenizer_directories import STORY

import pellucid
from pellucid.errors import PellucidError
from pellucid.generation.text_generator import open_text_generator
from pellucid.gpt.pattern import Banded, Dense
from pellucid.interpret import Report
from pellucid.record import StoredArray
from pellucid.serve.model_page.page_model import embedded_model
from pellucid.text import train_tokenizer


pytestmark = pytest.mark.long


CONFIG = pellucid.GPTConfig(
    vocab_size=289, n_ctx=40, n_layers=2, d_model=24, n_heads=3, pattern=(Banded(5), Dense()), name="small"
)
# Attention is compared without the zeros above its diagonal, so that fewer numbers are.
COMPARED = ("generation/steps/", "generation/block_inputs/", "generation/lens/", "generation/writes/", "generation/cells")
OPTIONS: dict[str, dict[str, Any]] = {
    "cut": {"top_k": 40, "top_p": 0.85, "temperature": 1.08, "stop": ("zzzz", "yyy")},
    "adjusted": {"presence_penalty": 0.7, "frequency_penalty": 0.4, "repetition_penalty": 1.3, "min_p": 0.03,
                 "temperature": 1.1, "logit_bias": {5: 2.5, 11: -100.0}},
    "greedy": {"temperature": 0},
    "plain": {"record_dtype": "float32"},
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[pellucid.GPT, Path]:
    folder = tmp_path_factory.mktemp("proof") / "small"
    made = lively(pellucid.GPT(CONFIG, seed=3, tokenizer=train_tokenizer([STORY], 289)))
    made.save(folder)
    return pellucid.load(folder), folder


@pytest.fixture(scope="module")
def ask(model: tuple[pellucid.GPT, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Any], Any]]:
    with page_session(tmp_path_factory.mktemp("page"), embedded_model(model[1])) as asked:
        yield asked


def proof(ask: Callable[[Any], Any], record: bytes) -> Any:
    """The page's report; None where it refuses the record."""
    found = ask({"verify": base64.b64encode(record).decode()})
    return None if "error" in found else found


def verified(model: pellucid.GPT, record: bytes) -> Report | None:
    try:
        with pellucid.open(record) as opened:
            return opened.verify(model)
    except PellucidError:
        return None


@pytest.mark.parametrize("part", ["weights", "kernel"])
def test_a_page_whose_parts_are_damaged_says_so(model: tuple[pellucid.GPT, Path], tmp_path: Path, part: str) -> None:
    whole = embedded_model(model[1])
    if part == "weights":
        damaged = whole._replace(weights=whole.weights[:-1] + bytes([whole.weights[-1] ^ 1]))
    else:
        damaged = whole._replace(page={**whole.page, "kernels": dict.fromkeys(whole.page["kernels"], "0" * 64)})
    with pytest.raises(AssertionError, match="not what was written into this page"), page_session(tmp_path, damaged):
        pass


def test_a_page_that_names_another_model_writes_no_record(model: tuple[pellucid.GPT, Path], tmp_path: Path) -> None:
    whole = embedded_model(model[1])
    honest = whole.page["fingerprint"]
    forged = whole._replace(page={**whole.page, "fingerprint": honest[:-1] + ("0" if honest[-1] != "0" else "1")})
    with page_session(tmp_path, forged) as ask:
        found = ask({"generate": {"prompt": "the", "max_tokens": 2, "seed": "1"}})
        assert "the page was changed" in found["error"]


@pytest.mark.parametrize("name", OPTIONS)
def test_an_honest_record_is_proved_number_by_number(
    ask: Callable[[Any], Any], model: tuple[pellucid.GPT, Path], name: str
) -> None:
    record = pellucid.xray(model[0], "the fox", max_tokens=8, seed=5, candidates=12, **OPTIONS[name])
    expected = record.verify(model[0])
    found = ask({"verify": base64.b64encode(record.to_bytes()).decode()})
    assert expected.ok and found.get("ok"), (found.get("error"), [one for one in found.get("chunks", ()) if not one["ok"]])
    by_name = {one["chunk"]: one for one in found["chunks"]}
    assert list(by_name) == [one.chunk for one in expected.chunks]
    for one in expected.chunks:
        ours = by_name[one.chunk]
        if one.chunk.startswith(COMPARED):
            assert (ours["numbers"], ours["coarse"]) == (one.numbers, one.coarse), one.chunk
    words = {one["word"]: one["status"] for one in found["words"]}
    assert {word for word, status in words.items() if status == "unverified"} == set(expected.unverified)
    assert not expected.differing and "differs" not in words.values()


def forgeries(record: pellucid.Record, random: Random) -> Iterator[tuple[str, bytes]]:
    """Each chunk with another number, and each value of the header changed, with good checksums."""
    for name in record:
        entry = record.entry(name)
        array = other_array(record.stored(name), random)
        yield name, signed_again(record, {name: StoredArray(array, entry.dtype, entry.scale, entry.triangle)}).to_bytes()
    for path, value in leaves(record.header):
        if path[0] == "chunks" and path[-1] in ("encoding", "offset", "stored_bytes", "plain_bytes", "sha256"):
            continue
        header = replaced_leaf(record.header, path, other_value(value, random))
        yield "/".join(map(str, path)), with_header(record, header)


@pytest.mark.parametrize("name", ["cut", "adjusted"])
def test_every_forged_part_is_found_that_verify_finds(
    ask: Callable[[Any], Any], model: tuple[pellucid.GPT, Path], name: str
) -> None:
    record = pellucid.xray(model[0], "the fox", max_tokens=8, seed=5, candidates=12, **OPTIONS[name])
    random = Random(name)
    every = list(forgeries(record, random))
    some = every if TIMES > 1 else [one for one in every if not one[0].startswith("chunks/")][:40] + random.sample(every, 12)
    refused = 0
    for what, forged in some:
        expected, found = verified(model[0], forged), proof(ask, forged)
        bad = expected is None or not expected.ok
        refused += bad
        assert (found is None or not found["ok"]) == bad, (what, found)
    assert refused >= 40


@pytest.mark.parametrize("by", ["zero", "mean"])
def test_the_page_leaves_parts_out_and_proves_that_it_did(
    ask: Callable[[Any], Any], model: tuple[pellucid.GPT, Path], by: str
) -> None:
    request = {"prompt": "the fox", "max_tokens": 8, "seed": 5, "temperature": 0.9}
    parts = [[0, 1], [1, "mlp"]]
    plain = ask({"generate": request})
    changed = ask({"generate": {**request, "ablation": {"parts": parts, "by": by}}})
    assert "error" not in changed, changed
    texts = [[event["data"]["logprob"] for event in one["events"] if event["event"] == "token"] for one in (plain, changed)]
    assert texts[0] != texts[1]
    record = base64.b64decode(changed["record"])
    found = proof(ask, record)
    assert found is not None and found["ok"]
    assert {one["word"]: one["status"] for one in found["words"]}["provenance/ablation"] == "equal"
    expected = open_text_generator(model[1]).generate(
        "the fox", max_tokens=8, seed=5, temperature=0.9, ablate=[(0, 1), (1, "mlp")], ablate_with=by
    )
    with pellucid.open(record) as opened:
        assert opened["generation/steps/drawn_ids"].tolist() == expected.ids
        assert opened["generation/steps/drawn_logprobs"].tolist() == expected.logprobs
        assert opened.verify(model[0]).ok
        for other in ({"parts": [[0, 0], [1, "mlp"]], "by": by}, {"parts": [[7, 0]], "by": by}, {"parts": [], "by": by}):
            header = replaced_leaf(opened.header, ("provenance", "ablation"), other)
            forged = proof(ask, with_header(opened, header))
            assert forged is None or not forged["ok"], other
