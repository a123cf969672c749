"""Makes the training data from the books: tokenizer, word lists and token shards, in a new folder.

    python -m recipes.default_model.prepare CORPUS --out DATA
    python -m recipes.default_model.prepare CORPUS --out DATA --tokenizer MODEL     for a run that begins with that model

DATA then holds `tokenizer.json`, `lexicon.json`, `prose/` (the books as token shards: the training books, and validation and
test books as held-out text) and `data.json` (titles and SHA-256 of the books, counts).
"""

import argparse
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
# Groups that the tokenizer is trained on, besides the books: about 3 % of its text, so that `=>`, `Q:` and tags become tokens.
TASK_GROUPS, MARKUP_GROUPS = 16_000, 3_000
_TOKENIZER = 7  # the purpose in the key of these draws, so that they are not those of training windows (`windows`: 1 to 6)
DATA = "data.json"


def task_text(lexicon: Lexicon, seed: int, tasks: int, markup: int) -> Iterator[str]:
    """The groups that the tokenizer is trained on, of trained families only."""
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
        out: the data folder. Files in it are replaced, but `prose/` must not exist.
        vocabulary: tokens of a new tokenizer. seed: of the groups for the tokenizer.
        books: take only the first so many training books, to try things out; None: all.
        task_groups, markup_groups: how many groups the tokenizer is trained on, besides the books.
        tokenizer: a tokenizer to use; None: a new one is trained.
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
            {"path": b.path, "title": b.title, "author": b.author, "part": b.part, "sha256": sha256(corpus / b.path)}
            for b in (*train, *held_out)
        ],
    }
    write_whole(out / DATA, json.dumps(described, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(built.train):,} tokens to train on, {built.train.n_bytes / len(built.train):.3f} bytes a token", flush=True)
    return tokenizer


def _documents(books: list[Book], corpus: Path) -> Iterator[Document]:
    return (Document(book.path, book.read(corpus)) for book in books)



def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--books", type=int, help="take only the first so many training books")
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY)
    parser.add_argument("--tokenizer", type=Path, metavar="MODEL", help="use the tokenizer of this model directory")
    chosen = parser.parse_args()
    tokenizer = Tokenizer.load(chosen.tokenizer) if chosen.tokenizer else None
    prepare(chosen.corpus, chosen.out, vocabulary=chosen.vocabulary, books=chosen.books, tokenizer=tokenizer)


if __name__ == "__main__":
    main()
