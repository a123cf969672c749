"""Frequent words and short sentences of the training books, from which tasks are made."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from pellucid.files import write_whole
from pellucid.hashing import mix


FILE = "lexicon.json"
MOST_WORDS = 3000
MOST_SENTENCES = 10_000
# Words that should not be in examples drawn at random.
LEFT_OUT = frozenset(
    (
        "slave",
        "slaves",
        "savage",
        "savages",
        "devil",
        "devils",
        "negro",
        "negroes",
        "heathen",
        "damn",
        "damned",
        "breast",
        "breasts",
    )
)
_WORD = re.compile(r"[A-Za-z]+")
_SENTENCE = re.compile(r"(?<=[.!?] )[A-Z][a-z]*(?: [a-z]+){3,8}(?=\. )")


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The words and sentences that families draw from.

    Attributes:
        words: lower-case words of 3 to 9 letters, without names, the most frequent first.
        sentences: of 4 to 9 words, without punctuation and without the full stop.
    """

    words: tuple[str, ...]
    sentences: tuple[str, ...]

    def save(self, folder: Path) -> None:
        """Writes `lexicon.json`."""
        write_whole(folder / FILE, json.dumps(asdict(self), indent=0) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The inverse of `save`."""
        values = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return cls(tuple(values["words"]), tuple(values["sentences"]))

    @classmethod
    def from_texts(cls, texts: Iterable[str], *, most_words: int = MOST_WORDS, most_sentences: int = MOST_SENTENCES) -> Self:
        """The lexicon of some texts: their most frequent words, and sentences of frequent words, in the order of a hash."""
        lower: Counter[str] = Counter()
        capital: Counter[str] = Counter()
        sentences: set[str] = set()
        for text in texts:
            for word, count in Counter(_WORD.findall(text)).items():
                if word.islower():
                    lower[word] += count
                elif word[1:].islower():
                    capital[word.lower()] += count
            sentences.update(_SENTENCE.findall(text.replace("\n", " ")))
        ranked = sorted(lower, key=lambda word: (-lower[word], word))
        common = [word for word in ranked if lower[word] > 2 * capital[word] and word not in LEFT_OUT]
        known = set(common[:most_words])
        plain = [s for s in sentences if all(word in known for word in s.split()[1:])]
        chosen = sorted(sorted(plain), key=lambda s: mix(*s.encode()))[:most_sentences]
        return cls(tuple([word for word in common[:most_words] if 3 <= len(word) <= 9]), tuple(chosen))
