"""Export, rounding, model card and manifest of a tiny run: every number of the card is one that was measured."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pellucid.api import reproduce
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.gpt.fingerprint import fingerprint
from pellucid.text import Tokenizer
from recipes.default_model import card_numbers, checkpoints, manifest
from recipes.default_model.books import TEST, VALIDATION
from recipes.default_model.card import render
from recipes.default_model.card_numbers import clear_gains, measure, passages, shared_with_training
from recipes.default_model.evaluate import bits_per_byte, open_corpus
from recipes.default_model.export import export
from recipes.default_model.grammar import known_words
from recipes.default_model.grammar import measure as grammar_of
from recipes.default_model.prepare import DATA
from recipes.default_model.rounding import bits_of_books, losses, open_model
from recipes.default_model.settings import Settings, shape


@pytest.fixture(scope="module")
def checkpoint(recipe_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of no training: weights as they are drawn."""
    run = tmp_path_factory.mktemp("run")
    tokenizer = Tokenizer.load(recipe_data)
    config = shape("tiny", tokenizer.vocab_size, n_ctx=64)
    settings = Settings(config=config.to_dict(), data=str(recipe_data), tokenizer=tokenizer.fingerprint, batch=4)
    settings = replace(settings, decay_from=512, decay_tokens=256)
    settings.save(run)
    model = GPT(config, tokenizer=tokenizer, seed=1)
    average = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters())
    return checkpoints.save(run, model, average, optimizer, step=3, tokens=768, kept=True)


def test_a_compact_export_is_the_same_model_but_for_positions(checkpoint: Path, recipe_data: Path, tmp_path: Path) -> None:
    for name, compact in (("plain", False), ("compact", True)):
        export(checkpoint, recipe_data, tmp_path / name, storage="int4", compact=compact)
    plain, compact = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "compact"))
    for name, tensor in plain.items():
        expected = tensor.half() if name.endswith("wpe.weight") else tensor
        assert torch.equal(compact[name], expected) and compact[name].dtype == expected.dtype
    models = [load(tmp_path / name) for name in ("plain", "compact")]
    assert models[0].require_tokenizer().fingerprint == models[1].require_tokenizer().fingerprint
    assert models[1].generate("the", max_tokens=5, seed=1).text
    sizes = [sum(file.stat().st_size for file in (tmp_path / name).iterdir()) for name in ("plain", "compact")]
    assert sizes[1] < sizes[0] - 64 * 64 * 2
    training = json.loads((tmp_path / "compact" / "training.json").read_text(encoding="utf-8"))
    assert (training["tokens"], training["step"], training["storage"], training["compact"]) == (768, 3, "int4", True)
    assert str(recipe_data) not in json.dumps(training)


@pytest.mark.long
def test_rounding_is_measured_on_the_books(checkpoint: Path, recipe_data: Path, recipe_corpus: Path) -> None:
    model = open_model(str(checkpoint), recipe_data)
    found = losses(model, recipe_corpus)
    assert list(found) == ["float32", "int8", "int4"]
    corpus = open_corpus(recipe_data / "prose")
    assert bits_of_books(model, recipe_corpus, VALIDATION) == pytest.approx(bits_per_byte(model, corpus, VALIDATION), rel=1e-6)
    assert found["int4"]["bytes"] < found["int8"]["bytes"] < found["float32"]["bytes"]
    for row in found.values():
        assert row["lost"] == pytest.approx(row["bits_per_byte"] - found["float32"]["bits_per_byte"], abs=1e-4)
    with pytest.raises(ValueError, match="name the data"):
        open_model(str(checkpoint), None)


@pytest.mark.long
def test_the_card_states_what_was_measured(
    checkpoint: Path, recipe_data: Path, recipe_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_numbers, "PASSAGES_A_BOOK", 2)
    export(checkpoint, recipe_data, tmp_path / "m", storage="int8")
    model, known = load(tmp_path / "m"), known_words(recipe_data)
    numbers = measure(model, recipe_data, recipe_corpus, known, queries=3, seeds=2)
    training = json.loads((tmp_path / "m" / "training.json").read_text(encoding="utf-8"))
    books = json.loads((recipe_data / DATA).read_text(encoding="utf-8"))
    whole = {
        "model": numbers, "beside": numbers, "beside_name": "other", "rounding": losses(model, recipe_corpus),
        "people": asdict(grammar_of(passages(recipe_data), known)),
    }  # fmt: skip
    text = render(whole, training, books, name="tiny")
    begun = render(whole, training | {"begun_with": "f" * 64}, books, name="tiny", begun_with="second")
    assert f"earlier model (fingerprint `{'f' * 16}`, `pellucid reproduce second`)" in begun and "Begun with" not in text
    for path, bits in numbers["bits_per_byte"].items():
        assert f"| {Path(path).stem if path != 'all' else 'all five'} | {bits:.4f} | {bits:.4f} |" in text
    scores = {name: score for part in numbers["families"].values() for name, score in part.items()}
    assert len(scores) == 8 + 12 + 2
    for name, score in scores.items():
        row = re.search(rf"^\| {name} \| (\d+)% \| (\d+)% \| (\d+)% \| ([-+\d.]+) ± ([\d.]+) \|$", text, re.MULTILINE)
        assert row is not None
        assert [int(row[i]) for i in (1, 2, 3)] == [round(100 * score["accuracy"][shots]) for shots in (0, 1, 8)]
        assert (float(row[4]), float(row[5])) == pytest.approx((score["gain"], score["gain_interval"]), abs=0.006)
    assert text.count(". `") == 2 * 2 * 3  # both models' samples, each in a line
    assert all(f"*{book['title']}*" in text for book in books["books"])
    assert f"{training['tokens']:,} tokens; of every 20 windows 15 of books" in text and "linear fall to 10%; products" in text
    stopped = render(whole, training | {"tokens": 700, "eot_from": 512}, books, name="tiny", titles=False)
    assert "a linear fall to 10% at token 768, before which it was stopped" in stopped
    assert "descriptions with code (both begin with end-of-text from token 512 on)." in stopped and "end-of-text" not in text
    assert set(numbers["bits_per_byte"]) == {*TEST, "all"}
    assert clear_gains({"a": {"gain": 1, "gain_interval": 0.5}, "b": {"gain": 1, "gain_interval": 1.5}}) == ["a"]


def test_a_sample_out_of_the_books_is_found(recipe_data: Path, checkpoint: Path) -> None:
    model = open_model(str(checkpoint), recipe_data)
    train = open_corpus(recipe_data / "prose").train
    planted = train[100:120].tolist()
    samples = [{"prompt": "a", "seed": seed, "text": "b", "ids": ids} for seed, ids in enumerate(([5, 6, 7], planted))]
    (found,) = shared_with_training(model, samples, recipe_data)
    tokenizer = model.require_tokenizer()
    assert (found["seed"], found["tokens"], found["text"]) == (1, 20, tokenizer.decode(planted))


def test_the_manifest_names_books_and_commands(
    checkpoint: Path, recipe_data: Path, recipe_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(checkpoint, recipe_data, tmp_path / "m", storage="int4", compact=True)
    training, books = (
        json.loads(file.read_text(encoding="utf-8")) for file in (tmp_path / "m" / "training.json", recipe_data / DATA)
    )
    made = manifest.entry(training, books, fingerprint=fingerprint(load(tmp_path / "m")), compact=True)
    file = tmp_path / "recipes.json"
    monkeypatch.setattr(reproduce, "RECIPES", file)
    file.write_text(json.dumps(manifest.with_entry({}, "tiny", made)), encoding="utf-8")
    recipe = reproduce.model_recipe("tiny")
    assert len(recipe.books) == 3 + 5 + 16 and dict(recipe.seeds) == {"data": books["seed"], "run": training["seed"]}
    assert reproduce.check_corpus(recipe, recipe_corpus).is_whole
    commands = list(reproduce.commands_for(recipe, "C", "O"))
    assert commands[0].endswith("prepare C --out O/data") and "--tokens 512" in commands[1] and "--tokens 256" in commands[2]
    assert commands[3].endswith("--storage int4 --compact") and all("{" not in command for command in commands)


def test_a_model_begun_with_another_keeps_its_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of(books: str, number: int, begun_with: str | None = None) -> dict[str, Any]:
        training = asdict(Settings(config={"name": "tiny"}, data="", tokenizer="t", begun_with=begun_with))
        data = {"seed": 1, "books": [dict.fromkeys(("path", "title", "author", "part", "sha256"), books)]}
        training |= {"tokens": 9, "storage": "int8"}
        return manifest.entry(training, data, fingerprint=f"model {number}", compact=False, begun_with=begun_with)

    entries: dict[str, Any] = {}
    for name, made, keep_as in (
        ("default", of("a", 1), None),
        ("small", of("b", 2), None),
        ("default", of("b", 3, "first"), "first"),
        ("default", of("b", 4, "second"), "second"),
    ):  # fmt: skip
        entries = manifest.with_entry(entries, name, made, keep_as=keep_as)
    assert set(entries) == {"first", "small", "second", "default"}
    assert [("books" in entries[name], entries[name].get("books_of")) for name in ("small", "second", "default")] == [
        (True, None), (False, "small"), (False, "small"),
    ]  # fmt: skip
    file = tmp_path / "recipes.json"
    file.write_text(json.dumps(entries), encoding="utf-8")
    monkeypatch.setattr(reproduce, "RECIPES", file)
    found = {name: reproduce.model_recipe(name) for name in entries}
    assert {name: (one.fingerprint, one.books[0].path) for name, one in found.items()} == {
        "first": ("model 1", "a"), "small": ("model 2", "b"), "second": ("model 3", "b"), "default": ("model 4", "b"),
    }  # fmt: skip
    assert found["default"].commands[0].startswith("pellucid reproduce second --corpus")
    assert manifest.name_of("model 1", entries) == "first"
    with pytest.raises(ValueError, match="has no entry of the model"):
        manifest.name_of("another", entries)
    for name, keep_as in (("default", "small"), ("none", "new")):
        with pytest.raises(ValueError, match="cannot be kept"):
            manifest.with_entry(entries, name, of("a", 5), keep_as=keep_as)
