"""`pellucid reproduce`: what it names, a folder of books that differs, and the script that it writes and runs."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from pellucid.api import reproduce
from pellucid.api.reproduce import RECIPES, check_corpus, commands_for, model_recipe
from pellucid.cli import main
from pellucid.errors import PellucidError
from pellucid.files import sha256
from pellucid.generation.load import load
from pellucid.generation.resolve import DEFAULT_FINGERPRINT
from pellucid.gpt.fingerprint import fingerprint


BOOKS = ("books/a b.txt", "books/c'd.txt", "books/e.txt")


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three books, and a recipe of them that writes down its arguments."""
    folder = tmp_path / "my books"
    (folder / "books").mkdir(parents=True)
    for path in BOOKS:
        (folder / path).write_text(f"text of {path}", encoding="utf-8")
    listed = [
        {"path": path, "title": path, "author": "A", "part": part, "sha256": sha256(folder / path)}
        for path, part in zip(BOOKS, ("train", "train", "test"), strict=True)
    ]
    entry: dict[str, Any] = {
        "fingerprint": "f1", "seeds": {"run": 3}, "notes": ["A note."], "books": listed,
        "commands": ["printf '%s\\n' {train} {held_out} > {out}/words", "false"],
    }  # fmt: skip
    recipes = tmp_path / "recipes.json"
    recipes.write_text(json.dumps({"default": entry}), encoding="utf-8")
    monkeypatch.setattr(reproduce, "RECIPES", recipes)
    return folder


def ran(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capfd.readouterr()
    return main(["reproduce", *map(str, arguments)]), *capfd.readouterr()


def test_it_names_compares_writes_and_runs(corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, said, _ = ran(capfd, "default")
    assert status == 0 and all(f"{sha256(corpus / path)}  {path}  A: {path}" in said for path in BOOKS)
    assert "train: 2 books" in said and "test: 1 book" in said and "fingerprint: f1\nseeds: run 3" in said and "A note." in said
    out = tmp_path / "made here"
    status, said, _ = ran(capfd, "default", "--corpus", corpus, "--out", out)
    assert status == 0 and "all 3 books are there" in said and not (out / "words").exists()  # it is written, not run
    assert (out / "reproduce.sh").read_text(encoding="utf-8").splitlines()[2:] == list(
        commands_for(model_recipe("default"), corpus, out)
    )
    assert ran(capfd, "default", "--corpus", corpus, "--out", out, "--run")[0] == 1  # the second command's status
    words = (out / "words").read_text(encoding="utf-8").splitlines()
    assert words == [str(corpus / BOOKS[0]), str(corpus / BOOKS[1]), "--held-out", str(corpus / BOOKS[2])]
    (corpus / BOOKS[0]).write_text("another", encoding="utf-8")
    (corpus / BOOKS[2]).unlink()
    status, _, errors = ran(capfd, "default", "--corpus", corpus, "--out", out, "--run")
    assert status == 1 and f"{BOOKS[2]} missing" in errors and f"{BOOKS[0]} changed" in errors and "2 of 3 books" in errors
    status, said, _ = ran(capfd, "default", "--corpus", corpus, "--json")
    assert status == 1 and json.loads(said)["corpus"] == {"same": [BOOKS[1]], "changed": [BOOKS[0]], "missing": [BOOKS[2]]}


def test_what_is_wrong_is_said(corpus: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for words, status, line in (
        (("other",), 1, "no recipe is kept for 'other': name one of default"),
        (("default", "--out", "x"), 2, "--out needs --corpus"),
        (("default", "--corpus", corpus, "--run"), 2, "--run needs --out"),
        (("default", "--corpus", "none"), 1, "there is no folder"),
    ):  # fmt: skip
        found, _, errors = ran(capfd, *words)
        assert (found, line in errors) == (status, True), errors


def test_the_packages_models_have_a_recipe() -> None:
    for name in json.loads(RECIPES.read_text(encoding="utf-8")):
        recipe = model_recipe(name)
        assert {book.part for book in recipe.books} >= {"train", "test"} and recipe.commands and recipe.seeds
        assert len({book.path for book in recipe.books}) == len(recipe.books)
        for command in commands_for(recipe, "the books", "out"):
            shlex.split(command)
    assert model_recipe("default").fingerprint == DEFAULT_FINGERPRINT
    assert model_recipe("small").fingerprint == fingerprint(load("small"))
    with pytest.raises(PellucidError, match="there is no folder"):
        check_corpus(model_recipe("default"), "none")
