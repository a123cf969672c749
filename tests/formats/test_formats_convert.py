"""`pellucid convert`: what is written is what was there, or it is said what is not."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from hugging_face import library, published, shake

import pellucid
from pellucid.cli import convert as command
from pellucid.cli import main
from pellucid.errors import PellucidError
from pellucid.formats import convert as room
from pellucid.formats.convert import TARGETS, convert
from pellucid.formats.target import Target
from pellucid.gpt.arrangements import all_dense, alternating
from pellucid.gpt.config import GPTConfig
from pellucid.text import train_tokenizer


@pytest.fixture(scope="module")
def banded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "banded"
    tokenizer = train_tokenizer(["the fox ran over the hill and the fox sang"], 280)
    config = GPTConfig(
        vocab_size=tokenizer.vocab_size, n_ctx=48, n_layers=2, d_model=32, n_heads=4, pattern=alternating(2, band=8)
    )
    shake(pellucid.GPT(config, tokenizer=tokenizer)).save(path)
    return path


def run(*arguments: str | Path) -> int:
    return main(["convert", *map(str, arguments)])


def test_the_shell_offers_every_target() -> None:
    assert set(TARGETS) <= set(command.FORMATS)


@pytest.mark.parametrize("target", ["hf-gpt-neo", "pellucid"])
def test_a_banded_model_is_written_whole_and_compared(
    target: str, banded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library()
    assert run(banded, tmp_path / "new" / "out", "--to", target, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["lost"] == [] and said["prompts"] == [1, 48] and said["same_likeliest"] == 1
    assert said["largest_difference"] < 1e-4 < 1 < said["largest_logit"]
    assert said["read_by"].split()[0] == {"hf-gpt-neo": "transformers", "pellucid": "pellucid"}[target]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]
    models = [pellucid.load(path) for path in (banded, tmp_path / "new" / "out")]
    one, other = (model.generate("the fox", max_tokens=20, temperature=0) for model in models)
    assert one.ids == other.ids and one.text == other.text


def test_a_loss_is_refused_until_it_is_allowed(banded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "gpt2"
    assert run(banded, out, "--to", "hf-gpt2") == 1
    said = capsys.readouterr().err
    assert "banded(8) attention of block 0 becomes dense (texts of up to 8 tokens stay exact)" in said
    assert "--allow-lossy" in said
    assert list(tmp_path.iterdir()) == []
    assert run(banded, out, "--to", "hf-gpt2", "--allow-lossy") == 0
    said = capsys.readouterr().out
    assert "lost: banded(8) attention" in said and "largest difference" in said
    model, dense = pellucid.load(banded), pellucid.load(out)
    ids = torch.arange(48)[None]
    torch.testing.assert_close(dense(ids[:, :8]), model(ids[:, :8]), rtol=0, atol=1e-4)
    assert (dense(ids) - model(ids)).abs().max() > 0.1


@pytest.mark.parametrize(
    ("name", "target"), [("opt-350m", "hf-opt"), ("opt", "hf-gpt2"), ("gpt_neo", "hf-gpt-neo"), ("gpt2-erf", "hf-gpt-neo")]
)
def test_foreign_models_go_on_to_where_they_fit(name: str, target: str, tmp_path: Path) -> None:
    published(name, tmp_path / "theirs")
    done = convert(pellucid.load(tmp_path / "theirs"), None, tmp_path / "out", to=target)
    assert done.lost == [] and done.largest_difference < 1e-4 and done.read_by.startswith("transformers")
    assert not (tmp_path / "out" / "tokenizer.json").exists()


def test_rounding_that_was_asked_for_is_measured(banded: Path, tmp_path: Path) -> None:
    model = pellucid.load(banded)
    done = convert(model, model.tokenizer, tmp_path / "small", to="pellucid", quantize="int8")
    assert 0 < done.largest_difference < 0.2 * done.largest_logit
    small, large = ((path / "model.safetensors").stat().st_size for path in (tmp_path / "small", banded))
    assert small < 0.5 * large
    with pytest.raises(PellucidError, match=r"hf-gpt2 has no int8 storage \(it has none\)"):
        convert(model, None, tmp_path / "other", to="hf-gpt2", quantize="int8")


@pytest.mark.parametrize("target", ["pellucid", "gguf"])
@pytest.mark.parametrize("quantize", ["int8", "int4"])
def test_what_rounding_costs_is_said_in_bits_a_byte(
    target: str, quantize: str, banded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "the fox sang over the hill; the hill ran over the fox. " * 3
    (tmp_path / "held-out.txt").write_text(text, encoding="utf-8")
    words = ("--to", target, "--quantize", quantize, "--allow-lossy", "--json")
    assert run(banded, tmp_path / "a", *words, "--measure", tmp_path / "held-out.txt") == 0
    said = json.loads(capsys.readouterr().out)
    measured = said["measured"]
    model = pellucid.load(banded)
    ids = model.require_tokenizer().encode(text)
    # Window by window, each token but the first once, from those before it in its window.
    nats = sum(
        -logprob for first in range(0, len(ids) - 1, 48)
        for logprob in model.score(ids[first : first + 49]).logprobs if logprob is not None
    )  # fmt: skip
    text_bytes = len(text) - len(model.require_tokenizer().token_bytes(ids[0]))
    assert (measured["tokens"], measured["text_bytes"]) == (len(ids) - 1, text_bytes)
    assert measured["before"] == pytest.approx(nats / math.log(2) / text_bytes, rel=1e-5)
    assert measured["after"] != measured["before"] == pytest.approx(measured["after"], rel=0.1)
    written = tmp_path / "a"
    assert said["bytes"] == sum(f.stat().st_size for f in ([written] if written.is_file() else written.iterdir()))
    assert said["float32_bytes"] == 4 * model.config.parameters()
    again = convert(
        model, model.tokenizer, tmp_path / "b", to=target, quantize=quantize, allow_lossy=True, measure=text,
        measure_name=measured["text"],
    )  # fmt: skip
    assert again.to_dict()["measured"] == measured

    assert run(banded, tmp_path / "c", *words[:-1]) == 0
    said = capsys.readouterr().out
    assert re.search(r"bits per byte, .* before .*, on [\d,]+ tokens of text that the model generates", said)


def test_a_text_is_measured_by_models_that_read_text(banded: Path, tmp_path: Path) -> None:
    model = pellucid.load(banded)
    with pytest.raises(PellucidError, match="a model without a tokenizer cannot be measured on text"):
        convert(model, None, tmp_path / "out", to="pellucid", quantize="int8", measure="the fox")
    with pytest.raises(PellucidError, match="too little text to measure on"):
        convert(model, model.tokenizer, tmp_path / "out", to="pellucid", quantize="int8", measure="")
    assert list(tmp_path.iterdir()) == []


def test_float64_weights_are_not_rounded_in_silence(tmp_path: Path) -> None:
    config = GPTConfig(vocab_size=20, n_ctx=8, n_layers=1, d_model=8, n_heads=2, pattern=all_dense(1))
    for target in ("pellucid", "hf-gpt2", "hf-gpt-neo"):
        with pytest.raises(PellucidError, match="float64 weights are rounded to float32"):
            convert(shake(pellucid.GPT(config)).double(), None, tmp_path / "out", to=target)


def test_without_transformers_our_own_reader_compares(banded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "find_spec", lambda _: None)
    model = pellucid.load(banded)
    assert convert(model, None, tmp_path / "out", to="hf-gpt-neo").read_by == "pellucid"


def test_what_differs_without_a_reason_is_not_kept(banded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer with a mistake in it: the comparison finds it, and nothing is left."""
    honest = TARGETS["pellucid"]()

    def mistaken(model: pellucid.GPT, tokenizer: object, path: Path, quantize: str | None) -> None:
        changed = model.copy()
        changed.wpe.weight[3, 0] += 0.5
        honest.write(changed, None, path, quantize)

    target = Target(losses=honest.losses, write=mistaken, read=honest.read)
    monkeypatch.setitem(room.TARGETS, "mistaken", lambda: target)
    with pytest.raises(PellucidError, match=r"differs by .* where nothing should be lost: it was not kept"):
        convert(pellucid.load(banded), None, tmp_path / "out", to="mistaken")
    assert list(tmp_path.iterdir()) == []


def test_wrong_use_is_said(banded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there").mkdir()
    assert run(banded, tmp_path / "there", "--to", "pellucid") == 1
    assert "exists already" in capsys.readouterr().err
    with pytest.raises(PellucidError, match="unknown format 'onnx': choose from pellucid, hf-gpt2, hf-gpt-neo"):
        convert(pellucid.load(banded), None, tmp_path / "out", to="onnx")
    with pytest.raises(SystemExit) as caught:
        run(banded, tmp_path / "out", "--to", "onnx")
    assert caught.value.code == 2
