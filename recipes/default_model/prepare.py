"""Books to training data: tokenizer, word lists and token shards, in a new folder.

    python -m recipes.default_model.prepare CORPUS --out DATA
    python -m recipes.default_model.prepare CORPUS --out DATA --tokenizer MODEL     for a run that begins with that model

DATA then holds `tokenizer.json`, `lexicon.json`, `prose/` (the books as token shards: train; validation and test as held out)
and `data.json` (what was made from what: titles, SHA-256, counts).
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pellucid.corpus import Document, build_corpus
from pellucid.files import sha256, write_whole
from pellucid.text import Tokenizer, train_tokenizer
from recipes.default_model.books import Book, read_index
from recipes.default_model.draws import Draws
from recipes.default_model.groups import markup_group, task_group
from recipes.default_model.lexicon import FILE as LEXICON
from recipes.default_model.lexicon import Lexicon


VOCABULARY = 4096
SEED = 2026
# Groups that the tokenizer learns from beside the books: about 3 % of all its text, so that `=>`, `Q:` and tags become tokens.
TASK_GROUPS, MARKUP_GROUPS = 16_000, 3_000
_TOKENIZER = 7  # what these groups' hashes are for: none of them is a training window's (`windows` numbers its own 1 to 6)
DATA = "data.json"


def task_text(lexicon: Lexicon, seed: int, tasks: int, markup: int) -> Iterator[str]:
    """Groups for the tokenizer, from the training families alone."""
    for i in range(tasks):
        yield task_group(Draws(seed, _TOKENIZER, 0, i), lexicon).text + "\n\n"
    for i in range(markup):
        yield markup_group(Draws(seed, _TOKENIZER, 1, i), lexicon).text + "\n\n"


def prepare(
    corpus: Path, out: Path, *, vocabulary: int = VOCABULARY, seed: int = SEED, books: int | None = None,
    task_groups: int = TASK_GROUPS, markup_groups: int = MARKUP_GROUPS, tokenizer: Tokenizer | None = None,
) -> Tokenizer:  # fmt: skip
    """Writes the data folder.

    Args:
        corpus: a folder with `index.csv` and the books (`books`).
        out: is made; what is there already is replaced but for `prose/`, which must not be there.
        books: of the training part, only the first so many (for trying things out).
        task_groups, markup_groups: text for the tokenizer beside the books.
        tokenizer: taken as it is; by default a new one is trained.
    """
    index = read_index(corpus)
    train = list(islice((book for book in index if book.part == "train"), books))
    held_out = [book for book in index if book.part != "train"]
    out.mkdir(parents=True, exist_ok=True)
    lexicon = Lexicon.from_texts(book.read(corpus) for book in train)
    lexicon.save(out)
    print(f"{len(train)} books to train on, {len(lexicon.words)} words, {len(lexicon.sentences)} sentences", flush=True)

    def texts() -> Iterator[str]:
        yield from (book.read(corpus) for book in train)
        yield from task_text(lexicon, seed, task_groups, markup_groups)

    tokenizer = tokenizer or train_tokenizer(texts(), vocabulary)
    tokenizer.save(out)
    print(f"tokenizer of {tokenizer.vocab_size} tokens: {tokenizer.fingerprint}", flush=True)
    built = build_corpus(_documents(train, corpus), tokenizer, out / "prose", held_out=_documents(held_out, corpus))
    described = {
        "seed": seed,
        "tokenizer": tokenizer.fingerprint,
        "lexicon": sha256(out / LEXICON),
        "train_tokens": len(built.train),
        "train_bytes": built.train.n_bytes,
        "held_out_tokens": len(built.held_out),
        "books": [
            {"path": b.path, "title": b.title, "author": b.author, "part": b.part, "sha256": _sha256(b, corpus)}
            for b in (*train, *held_out)
        ],
    }
    write_whole(out / DATA, json.dumps(described, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(built.train):,} tokens to train on, {built.train.n_bytes / len(built.train):.3f} bytes a token", flush=True)
    return tokenizer


def _documents(books: list[Book], corpus: Path) -> Iterator[Document]:
    return (Document(book.path, book.read(corpus)) for book in books)


def _sha256(book: Book, corpus: Path) -> str:
    return hashlib.sha256((corpus / book.path).read_bytes()).hexdigest()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--books", type=int, help="of the training part, only the first so many")
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY)
    parser.add_argument("--tokenizer", type=Path, metavar="MODEL", help="a model directory whose tokenizer is taken")
    chosen = parser.parse_args()
    tokenizer = Tokenizer.load(chosen.tokenizer) if chosen.tokenizer else None
    prepare(chosen.corpus, chosen.out, vocabulary=chosen.vocabulary, books=chosen.books, tokenizer=tokenizer)


if __name__ == "__main__":
    main()
