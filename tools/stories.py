"""The story books inside the package (`pellucid/assets/stories.jsonl.bz2`), which `pellucid demo` trains on.

    python tools/stories.py BOOKS_DIR

BOOKS_DIR holds the texts as `<author>__<title>.txt` in UTF-8: Standard Ebooks' editions read in spine order, without front and
back matter, with ASCII quotes and dashes. A line of the file is one book: its title, author, source and text.
"""

import bz2
import json
import sys
from pathlib import Path


OUTPUT = Path(__file__).resolve().parent.parent / "src/pellucid/assets/stories.jsonl.bz2"
LARGEST = 400_000  # bytes
# (file, title, author), chosen for ease of reading (Flesch) among books whose authors died more than 70 years ago.
BOOKS = (
    ("e-nesbit__the-railway-children", "The Railway Children", "E. Nesbit"),
    ("george-macdonald__the-princess-and-the-goblin", "The Princess and the Goblin", "George MacDonald"),
    ("l-frank-baum__the-wonderful-wizard-of-oz", "The Wonderful Wizard of Oz", "L. Frank Baum"),
    ("lewis-carroll__alices-adventures-in-wonderland", "Alice's Adventures in Wonderland", "Lewis Carroll"),
    ("lewis-carroll__through-the-looking-glass", "Through the Looking-Glass", "Lewis Carroll"),
    ("mary-de-morgan__on-a-pincushion", "On a Pincushion", "Mary De Morgan"),
)


def main(folder: Path) -> None:
    """Writes the file: the same bytes from the same texts."""
    lines = []
    for file, title, author in BOOKS:
        text = (folder / f"{file}.txt").read_text(encoding="utf-8").strip()
        source = "https://standardebooks.org/ebooks/" + file.replace("__", "/")
        lines.append(json.dumps({"title": title, "author": author, "source": source, "text": text}, ensure_ascii=False) + "\n")
    packed = bz2.compress("".join(lines).encode())
    if len(packed) > LARGEST:
        sys.exit(f"{len(packed):,} bytes, more than {LARGEST:,}")
    OUTPUT.write_bytes(packed)
    print(f"{OUTPUT.name}: {len(packed):,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
