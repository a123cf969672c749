"""Verifying: what is true passes, and whatever is changed and signed again is caught."""

import dataclasses
import json
import math
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import lively
from tampering import signed_again

import pellucid
from pellucid.cli import main
from pellucid.errors import PellucidError
from pellucid.gpt.fingerprint import fingerprint
from pellucid.gpt.pattern import Banded, Dense
from pellucid.interpret import ChunkResult, Report
from pellucid.record import SCHEMA, Chunk, RecordWriter, StoredArray, as_bfloat16, check, extend
from pellucid.runtime import draw_arithmetic


CONFIG = pellucid.GPTConfig(vocab_size=300, n_ctx=48, n_layers=2, d_model=24, n_heads=3, pattern=(Banded(5), Dense()))
PROMPT = [7, 42, 7, 299, 0, 13, 13, 250]
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cut": {"top_k": 40, "top_p": 0.85, "temperature": 1.08},  # leaves more tokens than are listed, and fewer
    "greedy": {"temperature": 0},
    "steered": {"min_p": 0.04, "presence_penalty": 0.7, "frequency_penalty": 0.4, "repetition_penalty": 1.3,
                "logit_bias": {5: 2.5, 11: -100.0}, "top_p": 0.99, "temperature": 1.1},
}
Change = Callable[[Any], Any]


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> pellucid.GPT:
    return lively(pellucid.GPT(CONFIG, seed=3, tokenizer=pellucid.load(tiny_run).tokenizer))


@pytest.fixture(scope="module")
def records(model: pellucid.GPT) -> dict[str, pellucid.Record]:
    return {name: pellucid.xray(model, PROMPT, max_tokens=12, seed=5, **options) for name, options in OPTIONS.items()}


def bad(report: Report) -> set[str]:
    return {row.chunk for row in report.chunks if not row.ok}


@pytest.mark.parametrize("name", list(OPTIONS))
def test_the_truth_passes(model: pellucid.GPT, records: dict[str, pellucid.Record], name: str) -> None:
    report = records[name].verify(model)
    assert report.ok and [row.chunk for row in report.chunks] == list(records[name])
    assert pellucid.verify(records[name], model) == report
    assert all(row.difference is not None for row in report.chunks if row.truth != "measured")
    assert {row.truth for row in report.worst()} == {"given", "derived"}
    json.dumps(report.to_dict(), allow_nan=False)
    assert str(report).splitlines()[-1].startswith("verified: in memory")
    same = signed_again(records[name], {})  # the helper itself changes nothing
    assert same.verify(model).ok and [same.entry(n).sha256 for n in same] == [records[name].entry(n).sha256 for n in same]


@pytest.mark.parametrize("name", list(OPTIONS))
def test_records_with_the_exp_of_the_recording_machine_verify(
    model: pellucid.GPT, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before `draw_arithmetic` weights were NumPy's float32 exponentials, and log-probabilities differed in their last bits."""
    with monkeypatch.context() as before:
        before.setattr(draw_arithmetic, "exp", lambda x: np.exp(x.astype(np.float32)).astype(np.float64))
        before.setattr(draw_arithmetic, "log", math.log)

        def weights(logits: Any) -> tuple[Any, float]:
            powers = np.exp(logits - logits.max()).astype(np.float64)
            return powers, float(powers.sum())

        before.setattr(draw_arithmetic, "weights", weights)
        record = pellucid.xray(model, PROMPT, max_tokens=12, seed=5, **OPTIONS[name])
    assert record.verify(model).ok


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", list(OPTIONS))
def test_other_dtypes(model: pellucid.GPT, dtype: torch.dtype, name: str) -> None:
    record = pellucid.xray(model.copy().to(dtype), PROMPT, max_tokens=12, seed=5, **OPTIONS[name])
    converted, own = record.verify(model), record.verify(model.copy().to(dtype))  # made from the same weights
    assert converted.ok and own.ok
    assert "provenance/dtype" in converted.unverified and "provenance/dtype" not in own.unverified
    changed = record["generation/steps/drawn_logprobs"] * 1.0
    changed[3] -= 40.0
    assert bad(signed_again(record, {"generation/steps/drawn_logprobs": changed}).verify(model))


DERIVED = [
    spec.name.format(**{key: part})
    for spec in SCHEMA["generation"]
    if spec.truth == "derived"
    for key, parts in (("level", range(3)), ("block", range(2)))
    if f"{{{key}}}" in spec.name or ("{" not in spec.name and key == "level")
    for part in (parts if "{" in spec.name else [0])
]


def test_every_derived_chunk_is_tampered_with_below(records: dict[str, pellucid.Record]) -> None:
    kept = records["cut"]["generation/steps/kept"]
    assert kept.min() < 20 < kept.max() <= 40
    for record in records.values():
        assert sorted(DERIVED) == sorted(name for name in record if record.entry(name).truth == "derived")


def tampered(record: pellucid.Record, name: str, place: int) -> Any:
    """The chunk with one number changed, as little as no rounding would."""
    entry, array = record.entry(name), record.stored(name).copy()
    at = np.unravel_index(place % array.size, array.shape)
    if entry.dtype == "bfloat16":
        numbers = record[name].copy()
        numbers[at] += 0.02 * np.abs(numbers).max()
        return as_bfloat16(numbers)
    if entry.triangle:
        array[at] += 0.0045 if array[at] < 0.5 else -0.0045  # more than a whole step of 2^-8
        return StoredArray(array, entry.dtype, triangle=True)
    if name.endswith("drawn_ids"):
        array[at] = (array[at] + 150) % 300
    elif name.endswith("ids"):
        array[at] = next(t for t in range(300) if t not in array[at[:-1]])  # a token that is not listed
    elif name.endswith("cells"):
        array[at] = (array[at] + 1) % 4
    elif name.endswith("kept"):
        array[at] += 1
    elif name.endswith("ranks"):
        array[at] += 3  # of tokens that are equally likely up to rounding either may come first
    elif name.endswith("draw"):
        array[at] = 0.5 if np.isnan(array[at]) else np.nextafter(array[at], 1)
    else:
        array[at] += 0.002
    return array


# What is not of a step does not depend on the sampling options.
TAMPERED = [(name, option) for name in DERIVED for option in (OPTIONS if "/steps/" in name else ("cut",))]


@pytest.mark.parametrize(("name", "option"), TAMPERED)
def test_tampering_is_caught(model: pellucid.GPT, records: dict[str, pellucid.Record], name: str, option: str) -> None:
    record = records[option]
    size = record.stored(name).size
    for place in {0, size // 2, size - 1}:
        liar = signed_again(record, {name: tampered(record, name, place)})
        check(liar)
        report = liar.verify(model)
        assert name in bad(report), (place, str(report))
        assert not report.ok and f"BAD  derived   {name} " in str(report)
        assert "not verified" in str(report)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_caught(model: pellucid.GPT, records: dict[str, pellucid.Record], number: float) -> None:
    for name in DERIVED:
        entry, numbers = records["plain"].entry(name), records["plain"][name].copy()
        if numbers.dtype.kind == "f":
            if entry.triangle:
                numbers = records["plain"].stored(name).copy()
            numbers[-1] = number
            value = as_bfloat16(numbers) if entry.dtype == "bfloat16" else numbers
            value = StoredArray(numbers, entry.dtype, triangle=True) if entry.triangle else value
            report = signed_again(records["plain"], {name: value}).verify(model)
            assert name in bad(report)
            json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize("token", [-1, 300, 2**31 - 1])
def test_tokens_that_are_none(model: pellucid.GPT, records: dict[str, pellucid.Record], token: int) -> None:
    for name in ("generation/steps/topk_ids", "generation/lens/ids"):
        ids = records["cut"][name].copy()
        ids[0, 0] = token
        assert name in bad(signed_again(records["cut"], {name: ids}).verify(model))
    drawn = records["cut"]["generation/steps/drawn_ids"].copy()
    drawn[2] = token
    with pytest.raises(PellucidError, match=f"names the token {token}, which its model does not have"):
        signed_again(records["cut"], {"generation/steps/drawn_ids": drawn}).verify(model)


def test_one_token_twice(model: pellucid.GPT) -> None:
    """Where all tokens are equally likely any order would do, but no token stands for two."""
    level = model.copy()
    level.wte.weight[:] = level.wte.weight[:1].clone()
    record = pellucid.xray(level, PROMPT, max_tokens=3, seed=5)
    for name in ("generation/steps/topk_ids", "generation/lens/ids"):
        ids = record[name].copy()
        ids[..., 1] = ids[..., 0]
        assert bad(signed_again(record, {name: ids}).verify(level)) >= {name}
        swapped = record[name].copy()
        swapped[..., :2] = swapped[..., 1::-1]
        assert name not in bad(signed_again(record, {name: swapped}).verify(level))


def test_the_tolerance_is_what_it_says(model: pellucid.GPT, records: dict[str, pellucid.Record]) -> None:
    """Off by less than the tolerance passes; off by a little more does not."""
    record, name = records["plain"], "generation/lens/logprobs"

    def off_by(difference: float) -> ChunkResult:
        changed = record[name] * 1.0
        changed[0, 0, 0] += difference
        return next(row for row in signed_again(record, {name: changed}).verify(model).chunks if row.chunk == name)

    tolerance = off_by(1.0).tolerance  # of the number that is off
    assert tolerance is not None and 0 < tolerance < 1e-3
    assert off_by(0.7 * tolerance).ok and not off_by(1.3 * tolerance).ok


def test_times_cannot_be_computed_again(model: pellucid.GPT, records: dict[str, pellucid.Record]) -> None:
    name = "generation/timings/steps"
    others = signed_again(records["plain"], {name: records["plain"][name] * 3})
    assert others.verify(model).ok
    broken = signed_again(records["plain"], {name: records["plain"][name] * np.nan})
    assert bad(broken.verify(model)) == {name}


def test_pieces_are_compared_with_the_tokenizer(model: pellucid.GPT, records: dict[str, pellucid.Record]) -> None:
    for name in ("pieces/ids", "pieces/starts", "pieces/bytes"):
        array = records["plain"].stored(name).copy()
        array[3] += 1
        assert name in bad(signed_again(records["plain"], {name: array}).verify(model))
    bare = lively(pellucid.GPT(CONFIG, seed=3))  # the same weights, without a tokenizer
    assert records["plain"].verify(bare).ok


def test_a_class_cannot_be_changed_to_escape(model: pellucid.GPT, records: dict[str, pellucid.Record]) -> None:
    name = "generation/steps/kept"
    liar = signed_again(records["plain"], {name: records["plain"][name] + 1}, truth="measured")
    with pytest.raises(PellucidError, match="kept is measured, not derived"):
        liar.verify(model)


def test_unknown_chunks_are_not_reported_as_verified(model: pellucid.GPT, records: dict[str, pellucid.Record]) -> None:
    for truth in ("derived", "replayed", "given"):
        more = extend(records["plain"], BytesIO(), [Chunk(name="views/mine", value=np.ones(3), truth=truth, meaning="ones")])
        assert bad(more.verify(model)) == {"views/mine"}
        assert "cannot recompute it" in str(more.verify(model))


def replaced(record: pellucid.Record, **fields: Any) -> pellucid.Record:
    return signed_again(record, {}, dataclasses.replace(record.provenance, **fields))


def sampling(record: pellucid.Record, **fields: Any) -> pellucid.Record:
    assert record.provenance.sampling is not None
    return replaced(record, sampling=dict(record.provenance.sampling) | fields)


REFUSED: dict[str, Callable[[pellucid.Record, pellucid.GPT], object]] = {
    "made with another model: it names 0000": lambda r, m: replaced(r, model="0" * 64).verify(m),
    "give the recorded one": lambda r, m: r.verify(lively(pellucid.GPT(CONFIG, seed=4, tokenizer=m.tokenizer))),
    "and this one is .* in bfloat16": lambda r, m: replaced(r, dtype="bfloat16").verify(m),
    "made in 'int8': verify knows": lambda r, m: replaced(r, dtype="int8").verify(m),
    "states another shape": lambda r, m: replaced(r, config=CONFIG.replace(n_ctx=47).to_dict()).verify(m),
    "states 5 parameters": lambda r, m: replaced(r, parameters=5).verify(m),
    "another tokenizer": lambda r, m: replaced(r, tokenizer="0" * 64).verify(m),
    "another prompt than its provenance": lambda r, m: replaced(r, prompt_ids=(1, *PROMPT[1:])).verify(m),
    "another seed: its draws are not those of seed 6": lambda r, m: replaced(r, seed=6).verify(m),
    "names no seed": lambda r, m: replaced(r, seed=None).verify(m),
    "sampling options lack 'top_k'": lambda r, m: replaced(r, sampling={"max_tokens": 1, "temperature": 1.0}).verify(m),
    "sampling options are not valid: stop is a text": lambda r, m: sampling(r, stop=3).verify(m),
    "drew 12 tokens, more than its max_tokens of 4": lambda r, m: sampling(r, max_tokens=4).verify(m),
    "temperature must be": lambda r, m: sampling(r, temperature=-1).verify(m),
}


@pytest.mark.parametrize("says", list(REFUSED))
def test_another_model_seed_or_prompt_is_refused(model: pellucid.GPT, records: dict[str, pellucid.Record], says: str) -> None:
    with pytest.raises(PellucidError, match=says):
        REFUSED[says](records["cut"], model)


def test_a_record_of_another_dtype_is_not_vouched_for(model: pellucid.GPT, records: dict[str, pellucid.Record]) -> None:
    """Relabelled as float16, with the fingerprint of the model's copy in float16: its numbers are within that tolerance."""
    liar = replaced(records["plain"], dtype="float16", model=fingerprint(model.copy().half()))
    report = liar.verify(model)
    assert not report.ok or "provenance/dtype" in report.unverified
    assert "provenance/dtype" not in records["plain"].verify(model).unverified


def test_another_prompt_throughout_is_caught(model: pellucid.GPT, records: dict[str, pellucid.Record]) -> None:
    other = [1, *PROMPT[1:]]
    named = dataclasses.replace(records["plain"].provenance, prompt_ids=tuple(other))
    liar = signed_again(records["plain"], {"generation/prompt_ids": np.array(other, np.int32)}, named)
    assert {"generation/block_inputs/0", "generation/steps/topk_logprobs", "generation/lens/ids"} <= bad(liar.verify(model))


@pytest.mark.parametrize("fields", [{"temperature": 0.9}, {"top_k": 39}, {"top_k": None}, {"top_p": 0.5}, {"top_p": None}])
def test_other_sampling_options_are_caught(
    model: pellucid.GPT, records: dict[str, pellucid.Record], fields: dict[str, Any]
) -> None:
    assert bad(sampling(records["cut"], **fields).verify(model)) & {"generation/steps/kept", "generation/steps/topk_shares"}


def test_other_kinds_are_refused(model: pellucid.GPT, records: dict[str, pellucid.Record]) -> None:
    buffer = BytesIO()
    with RecordWriter(buffer, "training", records["plain"].provenance):
        pass
    with pytest.raises(PellucidError, match="training/matrices is missing"):
        pellucid.open(buffer.getvalue()).verify(model)


def test_incomplete_records_are_named(model: pellucid.GPT, records: dict[str, pellucid.Record]) -> None:
    buffer = BytesIO()
    with RecordWriter(buffer, "generation", records["plain"].provenance) as writer:
        writer.add("generation/prompt_ids", np.array(PROMPT, np.int32), truth="given", meaning="ids")
    with pytest.raises(PellucidError, match="generation/steps/draw is not in this record"):
        pellucid.open(buffer.getvalue()).verify(model)


# The commands.


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


def test_commands(tiny_run: Path, model: pellucid.GPT, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "fox.pellucid"
    status, out, _ = run(capsys, "xray", "the fox", "-m", tiny_run, "--max-tokens", 6, "--seed", 3, "--out", file)
    assert status == 0 and out.startswith("the fox") and f"{file.stat().st_size:,} bytes" in out
    assert f"pellucid verify {file}" in out.replace("'", "")
    with pellucid.open(file) as record:
        written = pellucid.load(tiny_run).generate("the fox", max_tokens=6, seed=3)
        assert record["generation/steps/drawn_ids"].tolist() == written.ids
    status, out, _ = run(capsys, "verify", file, "-m", tiny_run)
    assert status == 0 and out.splitlines()[-1].startswith(f"verified: {file}")
    status, out, err = run(capsys, "verify", file, "-m", tiny_run, "--json")
    assert status == 0 and json.loads(out)["ok"] is True and "verified" in err
    status, out, err = run(capsys, "xray", "the fox", "-m", tiny_run, "--seed", 3, "--out", file, "--json", "--max-tokens", 2)
    made = json.loads(out)
    assert status == 0 and made["bytes"] == file.stat().st_size and made["seed"] == 3 and len(made["ids"]) == 2

    other = tmp_path / "other"
    model.save(other)
    status, out, err = run(capsys, "verify", file, "-m", other)
    assert status == 1 and err.count("\n") == 1 and "made with another model" in err
    with pellucid.open(file) as record:
        changed = record["generation/steps/topk_logprobs"] * 1.01
        signed_again(record, {"generation/steps/topk_logprobs": changed}).save(tmp_path / "liar.pellucid")
    status, out, _ = run(capsys, "verify", tmp_path / "liar.pellucid", "-m", tiny_run)
    assert status == 1 and "BAD  derived   generation/steps/topk_logprobs" in out
    status, out, _ = run(capsys, "verify", tmp_path / "liar.pellucid", "-m", tiny_run, "--json")
    assert status == 1 and json.loads(out)["ok"] is False


def test_commands_refuse_in_one_line(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, cut = tmp_path / "a.pellucid", tmp_path / "cut.pellucid"
    xray = ("xray", "the fox", "-m", tiny_run, "--max-tokens", 2)
    assert run(capsys, *xray, "--out", file, "--keep", "lens")[0] == 0
    cut.write_bytes(file.read_bytes()[:-100])
    for arguments, says in (
        (("verify", cut, "-m", tiny_run), "truncated"),
        (("verify", tmp_path / "none.pellucid"), "cannot read the record"),
        (("verify", tiny_run / "run.json", "-m", tiny_run), "not a Pellucid record"),
        (("verify", file, "-m", tmp_path / "none"), "no such directory"),
        (("xray", "the fox", "-m", tiny_run, "--max-tokens", 1, "--out", tmp_path), "cannot write the record"),
        (
            ("xray", "the fox", "-m", tiny_run, "--max-tokens", 1, "--out", tmp_path / "no" / "a.pellucid"),
            "cannot write the record",
        ),
        (("xray", "the fox", "-m", tiny_run, "--out", file, "--keep", "lens,mlp"), "unknown group to keep 'mlp'"),
    ):
        status, out, err = run(capsys, *arguments)
        assert (status, out, err.count("\n")) == (1, "", 1) and says in err, err


def test_the_fingerprint_is_that_of_the_weights(model: pellucid.GPT, records: dict[str, pellucid.Record]) -> None:
    assert records["plain"].provenance.model == fingerprint(model) != fingerprint(lively(pellucid.GPT(CONFIG, seed=4)))


ABLATIONS: dict[str, dict[str, Any]] = {
    "a head": {"ablate": [(0, 1)]},
    "an MLP by its mean": {"ablate": [(1, "mlp")], "ablate_with": "mean"},
    "a block and heads": {"ablate": [(0, None), (1, 0), (1, 2)], "ablate_with": "mean"},
}


@pytest.mark.parametrize("name", list(ABLATIONS))
def test_an_ablation_is_recorded_and_recomputed(model: pellucid.GPT, name: str) -> None:
    record = pellucid.xray(model, PROMPT, max_tokens=8, seed=5, **ABLATIONS[name])
    stated = record.provenance.ablation
    assert stated is not None and stated["by"] == ABLATIONS[name].get("ablate_with", "zero")
    assert sorted(map(tuple, stated["parts"]), key=str) == sorted(ABLATIONS[name]["ablate"], key=str)
    assert pellucid.open(BytesIO(record.to_bytes())).provenance == record.provenance
    report = record.verify(model)
    assert report.ok and "provenance/ablation" not in report.unverified
    assert record["generation/steps/drawn_ids"].tolist() == model.generate(PROMPT, max_tokens=8, seed=5, **ABLATIONS[name]).ids
    changes: list[Any] = [None, stated | {"by": "zero" if stated["by"] == "mean" else "mean"}, stated | {"parts": [[1, 1]]}]
    for change in changes:
        assert bad(stating(record, change).verify(model)), change


def test_an_ablation_that_does_nothing_or_is_none_is_seen(model: pellucid.GPT) -> None:
    plain = pellucid.xray(model, PROMPT, max_tokens=4, seed=5)
    assert bad(stating(plain, {"parts": [[0, 1]], "by": "zero"}).verify(model))
    idle = model.copy()
    idle.h[0].attn.c_proj.weight[:, :8] = 0  # head 0 of block 0 is read by nothing
    record = pellucid.xray(idle, PROMPT, max_tokens=4, seed=5, ablate=[(0, 0)])
    report = record.verify(idle)
    assert report.ok and "provenance/ablation" in report.unverified
    for parts in ([[9, 1]], [[0, 3]], [], 3, [[0]], [[0, "attn"]]):
        with pytest.raises(PellucidError, match="ablation is not valid"):
            stating(plain, {"parts": parts, "by": "zero"}).verify(model)
    with pytest.raises(PellucidError, match="ablation is not valid"):
        stating(plain, {"parts": [[0, 1]]}).verify(model)


def stating(record: pellucid.Record, ablation: Any) -> pellucid.Record:
    """The record with another ablation in its provenance."""
    return signed_again(record, {}, dataclasses.replace(record.provenance, ablation=ablation))
