"""Story books inside the package: text to train on when the user gives none."""

import json
from collections.abc import Iterator
from pathlib import Path

from pellucid.corpus.documents import Document
from pellucid.errors import PellucidError
from pellucid.files import reading


STORIES = Path(__file__).parent.parent / "assets" / "stories.jsonl.bz2"  # written by tools/stories.py


def story_books() -> Iterator[Document]:
    """Six children's books in English, 1.3 MB in all: a document a book, named by its title.

    Public-domain texts in Standard Ebooks' editions; `THIRD_PARTY.md` names them with their authors and sources.

    Raises:
        PellucidError: this Python was built without bz2.
    """
    try:
        import bz2
    except ImportError:
        raise PellucidError("this Python has no bz2, which reads the story books: name a text of your own") from None
    with reading(STORIES) as file:
        lines = bz2.decompress(file.read()).decode("utf-8").splitlines()
    for line in lines:
        book = json.loads(line)
        yield Document(book["title"], book["text"])
