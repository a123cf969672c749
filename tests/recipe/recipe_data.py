"""Small books and word lists that stand for the real ones in tests of the default model's recipe."""

import csv
from pathlib import Path

from recipes.default_model.books import TEST, VALIDATION
from recipes.default_model.draws import Draws
from recipes.default_model.families_labels import made_up_word
from recipes.default_model.lexicon import Lexicon


def _words(count: int) -> tuple[str, ...]:
    """Words that are in no dictionary, of 2 to 10 letters, some beginning with a vowel."""
    draws, found = Draws(1), dict[str, None]()
    while len(found) < count:
        word = draws.choice(("", "a", "e")) + made_up_word(draws)
        found[word[: draws.between(3, 10)]] = None
    return tuple(found)


WORDS = _words(2200)
LEXICON = Lexicon(WORDS, tuple(f"{WORDS[i].capitalize()} {WORDS[i + 1]} the {WORDS[i + 2]} {WORDS[i + 3]}" for i in range(200)))


def book(seed: int, sentences: int = 40) -> str:
    """Sentences of those words."""
    draws = Draws(2, seed)
    written: list[str] = []
    for _ in range(sentences):
        words = [draws.choice(WORDS) for _ in range(draws.between(4, 9))]
        written.append(" ".join(words).capitalize() + ".")
    return " ".join(written)


def write_corpus(folder: Path) -> None:
    """A corpus folder: the books of the split, three to train on, one that may not be used."""
    paths = [*TEST, *VALIDATION, "books/one.txt", "books/two.txt", "books/three.txt", "books/not-allowed.txt"]
    (folder / "books").mkdir(parents=True)
    with (folder / "index.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "title", "author", "author and translator dead 70 years (believed)"])
        for i, path in enumerate(paths):
            long = path in ("books/one.txt", "books/two.txt", "books/three.txt")
            (folder / path).write_text(book(i, 400 if long else 12), encoding="utf-8")
            writer.writerow([path, f"Title {i}", f"Author {i}", "no" if "not-allowed" in path else "yes"])
