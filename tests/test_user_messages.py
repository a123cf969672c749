"""Messages that a user meets: they say what to do in the words of whoever asks, and hold no Python of ours."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from serving import ask
from tampering import signed_again

import pellucid
from pellucid.cli import main
from pellucid.corpus.documents import read_documents
from pellucid.draw.figure_files import draw_figures, find_records
from pellucid.draw.figures import FIGURES
from pellucid.engine.request import Request
from pellucid.errors import PellucidError
from pellucid.record import Record
from pellucid.serve import Studio
from pellucid.serve.studio import sources
from pellucid.training.prepare import new_run


CONFIG = pellucid.GPTConfig(vocab_size=61, n_ctx=32, n_layers=2, d_model=24, n_heads=3)
PYTHON = ("Error(", "Unknown format", "cannot convert", "NoneType", "object is not")


@pytest.fixture(scope="module")
def model() -> pellucid.GPT:
    return pellucid.GPT(CONFIG, seed=2).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def record(model: pellucid.GPT) -> Record:
    return pellucid.xray(model, [1, 2, 3], max_tokens=3, seed=1)


SEVERAL = (["a", "b"], [[1, 2], [3]], [[1]], torch.tensor([[1, 2]]), np.array([[1, 2], [3, 4]]))


@pytest.mark.parametrize("method", ["xray", "stream", "beam", "new_request"])
@pytest.mark.parametrize("prompt", SEVERAL, ids=repr)
def test_where_one_prompt_is_taken_several_are_refused_as_such(model: pellucid.GPT, method: str, prompt: Any) -> None:
    call: Callable[..., Any] = getattr(model, method, lambda prompt: pellucid.xray(model, prompt))
    with pytest.raises(PellucidError, match=r"^give one prompt only"):
        call(prompt)


@pytest.mark.parametrize("ids", [[True, False], [3, True], np.array([True]), torch.tensor([False, True])], ids=repr)
def test_booleans_are_no_token_ids(model: pellucid.GPT, ids: Any) -> None:
    for call in (model.score, model.generate, model.new_request, lambda ids: model.score([1, 2], completion=ids)):
        with pytest.raises(PellucidError, match="token ids"):
            call(ids)
    if isinstance(ids, list):
        with pytest.raises(PellucidError, match="token ids"):
            Request(prompt=ids, options=model.new_request([1]).options)


def test_a_score_names_its_own_argument(model: pellucid.GPT) -> None:
    with pytest.raises(PellucidError, match=r"^logprobs must be"):
        model.score([1, 2], logprobs=-1)


@cases(20)
@given(st.one_of(st.floats(max_value=239.9), st.floats(min_value=8192.1), st.sampled_from([math.nan, 10**9, 10**400, -3, 0])))
def test_a_figure_s_width_has_one_range(record: Record, width: float) -> None:
    for name in ("tokens", "xray"):
        with pytest.raises(PellucidError, match=r"^width must be a finite number, 240 to 8192"):
            record.figure(name, width=width)


@pytest.mark.parametrize("width", [0, -3, 8193])
def test_pictures_too(record: Record, tmp_path: Path, width: int) -> None:
    record.save(tmp_path / "a.pellucid")
    for formats in (["svg"], ["png"], ["svg", "html"]):
        with pytest.raises(PellucidError, match=r"^width must be a whole number, 1 to 8192"):
            draw_figures([tmp_path / "a.pellucid"], tmp_path / "out", formats, width=width)
    with pytest.raises(PellucidError, match="a width is of png, gif, webp and mp4, and svg and html have none"):
        draw_figures([tmp_path / "a.pellucid"], tmp_path / "out", ["svg", "html"], width=500)


VALUES = st.sampled_from(["hot", None, [], {}, True, -1, 1e308, "1"])


@cases(20)
@given(st.sampled_from(["temperature", "top_k", "top_p", "min_p", "presence_penalty", "max_tokens", "stop"]), VALUES)
def test_impossible_options_are_told_in_words(record: Record, option: str, value: Any) -> None:
    stated = {**(record.provenance.sampling or {}), option: value}
    drawn(signed_again(record, {}, dataclasses.replace(record.provenance, sampling=stated)))


@cases(10)
@given(st.sampled_from([math.inf, -math.inf, math.nan, 1e308, -1.0]))
def test_impossible_times_are_told_in_words(record: Record, seconds: float) -> None:
    drawn(signed_again(record, {"generation/timings/steps": np.full(3, seconds)}))


def drawn(record: Record) -> None:
    for name in ("tokens", "xray"):
        try:
            record.figure(name)
        except PellucidError as error:
            assert not any(word in str(error) for word in PYTHON), error


def test_what_is_not_drawn_is_told_once_with_advice_that_helps(record: Record, model: pellucid.GPT, tmp_path: Path) -> None:
    record.save(tmp_path / "whole.pellucid")
    pellucid.xray(model, [1, 2], max_tokens=2, keep=()).save(tmp_path / "less.pellucid")
    signed_again(record, {"generation/timings/steps": np.full(3, np.inf)}).save(tmp_path / "impossible.pellucid")
    (tmp_path / "damaged.pellucid").write_bytes(record.to_bytes()[:99])
    _, absent = draw_figures(find_records([tmp_path]), tmp_path / "out", ["svg"])
    lines = {lack.figure: str(lack) for lack in absent}
    assert all(line.count("make one") <= 1 for line in lines.values())
    assert lines["xray-less"].endswith(f"; make one with: {FIGURES['xray'].command}")
    assert lines["loss"].endswith(f"; make one with: {FIGURES['loss'].command}")
    for name in (str(tmp_path / "damaged.pellucid"), "tokens-impossible"):
        assert "make one" not in lines[name]


def test_nothing_drawn_is_a_failure(record: Record, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.pellucid").write_bytes(record.to_bytes()[:99])
    assert main(["figures", str(tmp_path), "--out", str(tmp_path / "out")]) == 1


def test_a_record_is_verified_by_its_path(record: Record, model: pellucid.GPT, tmp_path: Path) -> None:
    record.save(tmp_path / "a.pellucid")
    for path in (tmp_path / "a.pellucid", str(tmp_path / "a.pellucid")):
        assert pellucid.verify(path, model).ok
    with pytest.raises(PellucidError, match="is verified with its model") as caught:
        record.verify()
    assert "-m" not in str(caught.value)


def test_a_folder_for_a_record_and_a_file_for_a_run(record: Record, tmp_path: Path, tiny_run: Path) -> None:
    record.save(tmp_path / "a.pellucid")
    for call in (pellucid.open, pellucid.verify):
        with pytest.raises(PellucidError, match=r"is a folder: name a record in it, such as .*a\.pellucid"):
            call(tmp_path)
    file = next(tiny_run.glob("*.json"))
    with pytest.raises(PellucidError, match="is a file, and a run is a folder: open "):
        pellucid.open_run(file)
    with pytest.raises(PellucidError, match=r"is a file, and a run is a folder: one with run\.json"):
        pellucid.open_run(tmp_path / "a.pellucid")
    with pytest.raises(PellucidError, match="is a file, and a run is a folder: choose"), new_run(file):
        pass


@cases(8)
@given(st.text(min_size=1, max_size=3000))
def test_a_text_for_a_path_is_not_printed_whole(text: str) -> None:
    with pytest.raises(PellucidError) as caught:
        list(read_documents([f"no such {text} "]))
    assert len(str(caught.value)) < 300
    assert ("corpus.Document" in str(caught.value)) >= (text.count(" ") > 1 and "there is no" in str(caught.value))


def test_verifying_a_run_says_where_it_is(tiny_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    lines: list[str] = []
    record = tiny_run / "training.pellucid"
    assert pellucid.verify(record, on_progress=lines.append).ok
    assert len(lines) > 1 and lines[-1].endswith(f"{len(lines)} of {len(lines)} that the run still has")
    monkeypatch.setattr("pellucid.cli.verify.QUIET_SECONDS", 0.0)
    assert main(["verify", str(record)]) == 0
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [f"verifying: {line}" for line in lines] and "verifying:" not in printed.out


def test_a_studio_without_the_embedded_model_lists_those_that_it_has(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sources, "_DEFAULT", tmp_path)  # a build that carries none
    with Studio([tiny_run], port=0) as studio:
        for model in ({}, {"model": "model-7"}):
            answer = ask(studio, "/api/generate", method="POST", body={"prompt": "a"} | model)
            assert answer.status == 400 and answer.error.endswith("there are model-1")
