"""The split of the books, by path: training, validation (to choose between recipes) and test (to measure the result).

The corpus is a folder with an `index.csv`. Its columns are path, title, author ...; the last one says whether author and
translator are believed to have been dead for 70 years. Only rows with yes are used, because a wheel is distributed worldwide.
"""

import csv
from dataclasses import dataclass
from pathlib import Path


# The five books that the embedded model has always been measured on; other books by some of their authors are trained on.
TEST = (
    "books/beatrix-potter__short-fiction.txt",
    "books/g-k-chesterton__the-man-who-was-thursday.txt",
    "books/joseph-jacobs__celtic-fairy-tales.txt",
    "books/l-m-montgomery__emily-of-new-moon.txt",
    "books/susan-coolidge__what-katy-did.txt",
)
# Their authors have no other book in the index, so that recipes are compared on authors that were not trained on.
VALIDATION = (
    "books/alfred-ollivant__bob-son-of-battle.txt",
    "books/amy-le-feuvre__probable-sons.txt",
    "books/arabella-b-buckley__through-magic-glasses.txt",
    "books/b-m-bower__chip-of-the-flying-u.txt",
    "books/earl-derr-biggers__the-house-without-a-key.txt",
    "books/frank-gee-patchin__the-pony-rider-boys-in-the-rockies.txt",
    "books/george-bernard-shaw__pygmalion.txt",
    "books/helen-nicolay__the-boys-life-of-abraham-lincoln.txt",
    "books/james-otis__toby-tyler.txt",
    "books/john-meade-falkner__moonfleet.txt",
    "books/lucretia-p-hale__the-peterkin-papers.txt",
    "books/marshall-saunders__beautiful-joe.txt",
    "books/mary-mapes-dodge__hans-brinker.txt",
    "books/thomas-bailey-aldrich__the-story-of-a-bad-boy.txt",
    "books/yei-theodora-ozaki__japanese-fairy-tales.txt",
    "books/zitkala-sa__old-indian-legends.txt",
)


@dataclass(frozen=True, slots=True)
class Book:
    """A row of the index.

    Attributes:
        path: relative to the corpus folder, with forward slashes.
        part: "train", "validation" or "test".
    """

    path: str
    title: str
    author: str
    part: str

    def read(self, corpus: Path) -> str:
        """Its text."""
        return (corpus / self.path).read_text(encoding="utf-8")


def read_index(corpus: Path) -> list[Book]:
    """The books that may be used, in the order of the index.

    Args:
        corpus: the folder.

    Raises:
        ValueError: a test or validation book is missing or may not be used.
    """
    with (corpus / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if list(row.values())[-1] == "yes"]
    paths = {row["path"] for row in rows}
    if missing := sorted({*TEST, *VALIDATION} - paths):
        raise ValueError(f"{corpus / 'index.csv'} has no row {missing[0]} that says yes: the split names books by path")
    part = dict.fromkeys(TEST, "test") | dict.fromkeys(VALIDATION, "validation")
    return [Book(row["path"], row["title"], row["author"], part.get(row["path"], "train")) for row in rows]
