"""What a model of the package was made from and how: its books with their hashes, its seeds, its recipe's commands.

No torch here. `assets/recipes.json` (written by `recipes.default_model.manifest`) has an entry for each model.
"""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.arguments import path_of, shown
from pellucid.errors import PellucidError
from pellucid.files import sha256
from pellucid.strict_json import Fields, read_json


RECIPES = Path(__file__).parent.parent / "assets" / "recipes.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeBook:
    """A book that a model was trained or measured on.

    Attributes:
        path: in the corpus folder. part: "train", "validation" or "test". sha256: of the file.
    """

    path: str
    title: str
    author: str
    part: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRecipe:
    """How a model was made.

    Attributes:
        model: its name in the package. fingerprint: of its config and weights (`pellucid.gpt.fingerprint`).
        books: of all parts, in the order in which they are read.
        seeds: by what they are of. commands: in order, with {corpus} and {out} for the folders of books and of results, {train}
            for the paths of the books that are trained on, {held_out} for `--held-out` and the path of each test book.
        notes: what else is to be known, a sentence each.
    """

    model: str
    fingerprint: str
    books: tuple[RecipeBook, ...]
    seeds: Mapping[str, int]
    commands: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "model": self.model, "fingerprint": self.fingerprint, "seeds": dict(self.seeds),
            "commands": list(self.commands), "notes": list(self.notes),
            "books": [{name: getattr(book, name) for name in RecipeBook.__slots__} for book in self.books],
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusCheck:
    """A folder of books against a recipe's.

    Attributes:
        same: books whose file has the recipe's hash. changed: with another. missing: without a file.
    """

    same: tuple[RecipeBook, ...]
    changed: tuple[RecipeBook, ...]
    missing: tuple[RecipeBook, ...]

    @property
    def is_whole(self) -> bool:
        """Whether all books are there as they were."""
        return not self.changed and not self.missing


def model_recipe(model: str) -> ModelRecipe:
    """The recipe of a model of the package.

    Raises:
        PellucidError: no recipe is kept for a model of that name.
    """
    recipes = Fields(read_json(RECIPES), RECIPES)
    if model not in recipes:
        raise PellucidError(f"no recipe is kept for {shown(model)}: name one of {', '.join(sorted(recipes.values))}")
    fields = Fields(recipes.value(model), f"{RECIPES}, {model}")
    listed = fields
    if "books_of" in fields:  # another model's: the same list is written once
        other = fields.text("books_of")
        listed = Fields(recipes.value(other), f"{RECIPES}, {other}")
    return ModelRecipe(
        model=model, fingerprint=fields.text("fingerprint"),
        books=tuple(
            RecipeBook(**{name: Fields(book, listed.where).text(name) for name in RecipeBook.__slots__})
            for book in listed.list("books")
        ),
        seeds={name: Fields(fields.value("seeds"), fields.where).integer(name) for name in fields.value("seeds")},
        commands=tuple(fields.list("commands")), notes=tuple(fields.list("notes")),
    )  # fmt: skip


def check_corpus(recipe: ModelRecipe, corpus: str | Path) -> CorpusCheck:
    """Compares the files of a folder with the recipe's hashes.

    Raises:
        PellucidError: no such folder, or a file that cannot be read.
    """
    folder = path_of("corpus", corpus)
    if not folder.is_dir():
        raise PellucidError(f"there is no folder {folder}: name the one that holds the books (--corpus)")
    found: dict[str, list[RecipeBook]] = {"same": [], "changed": [], "missing": []}
    for book in recipe.books:
        file = folder / book.path
        kind = "missing" if not file.is_file() else "same" if sha256(file) == book.sha256 else "changed"
        found[kind].append(book)
    return CorpusCheck(**{kind: tuple(books) for kind, books in found.items()})


def commands_for(recipe: ModelRecipe, corpus: str | Path, out: str | Path) -> Iterator[str]:
    """The recipe's commands for a POSIX shell, with these folders and all books."""
    train = [str(Path(corpus) / book.path) for book in recipe.books if book.part == "train"]
    held_out = [word for book in recipe.books if book.part == "test" for word in ("--held-out", str(Path(corpus) / book.path))]
    values = {
        "corpus": shlex.quote(str(corpus)), "out": shlex.quote(str(out)), "train": shlex.join(train),
        "held_out": shlex.join(held_out),
    }  # fmt: skip
    for command in recipe.commands:
        yield command.format_map(values)
