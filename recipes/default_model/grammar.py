"""Measures how well-formed samples are: sentences that pass a local grammar, unknown words, repeated and distinct n-grams.

    python -m recipes.default_model.grammar FILE --data DATA       a text file, a sample a paragraph

Sentences end with `.`, `!` or `?` (and a quotation mark) before a capital letter or the end, but not after `Mr.` and the like.
What is before the first and after the last sentence end of a sample is left out, because a sample begins with its prompt and is
cut off at its end. A sentence parses if all of these hold:

1. It begins with a capital letter, which may follow a quotation mark.
2. Each word occurs at least twice in the training books, or its parts between hyphens do, or it is taken for a name: it has a
   capital letter and does not begin the sentence.
3. It has a finite verb: a form of be, have or do, a modal, a past form of the recipe's table, or a word in -ed or n't.
4. No two consecutive words are of classes that do not follow each other (`FORBIDDEN`), such as an article before a pronoun, a
   preposition, an auxiliary or the end, a preposition before a subject pronoun, or a modal before a past form.
5. `a` and `an` agree with the next letter, except before words such as `hour`, `one` and `use`.
6. No word is repeated at once, except a few such as `had`, `that` and `very`.

This checks for local errors with a closed lexicon of function words and is not a parser: a sentence without meaning may pass,
and a good but unusual one may fail. The share of the test books' own sentences that pass is reported for comparison.

- repeated: the share of words that are in a 4-gram of words which occurred earlier in the same sample.
- distinct-n: different n-grams of words over all n-grams, of all samples together (Li et al. 2016, arXiv 1510.03055).
- unknown: the share of words that are not in the training books at least twice.
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from pellucid.corpus import open_corpus
from pellucid.text import Tokenizer
from recipes.default_model.forms import PAST
from recipes.default_model.words import split


TWICE = 2  # occurrences in the books that make a word a known one
STRETCH = 4  # words: n of the n-grams that count as repeated
_TOKENS_AT_ONCE = 1 << 20
_WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)*(?:-[A-Za-z]+)*")
_END = re.compile(r"(?<!\bMr)(?<!\bMrs)(?<!\bDr)(?<!\bSt)[.!?]+[\"'”’)]*(?=\s+[\"'“‘(]*[A-Z]|\s*$)")
_PIECE = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)*(?:-[A-Za-z]+)*|[,;:.!?—]|--")
CLASSES: dict[str, tuple[str, ...]] = {
    "article": split("a an the"),
    "subject": split("i he she we they"),
    "object": split("me him us them"),
    "possessive": split("my your his their our its"),
    "preposition": split("of at from into with without under upon among between during against toward towards"),
    "conjunction": split("and but or because although"),
    "be": split("am is are was were"),
    "modal": split("can could will would shall should may might must"),
    "auxiliary": split("have has had do does did"),
}  # fmt: skip
_CLASS = {word: name for name, words in CLASSES.items() for word in words}
_PAST = frozenset(past for base, past in PAST if past != base) - frozenset(split("hit cut put set shut read let hurt cost"))
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "article": ("article", "subject", "object", "possessive", "preposition", "conjunction", "be", "modal", "auxiliary", "end"),
    "possessive": ("article", "subject", "object", "possessive", "conjunction", "be", "modal", "auxiliary", "end"),
    "preposition": ("subject", "be", "modal", "auxiliary"),
    "subject": ("article", "subject", "object", "possessive"),
    "modal": ("article", "modal", "be", "past", "object"),
    "be": ("modal", "be", "auxiliary"),
}
_NOT_A_VOWEL = re.compile(r"(?:one|once|use|usual|unit|uni|eu|ewe)", re.IGNORECASE)
_VOWEL = re.compile(r"(?:[aeiou]|hour|honest|honou?r|heir)", re.IGNORECASE)
_MAY_REPEAT = frozenset(split("had that very so no far more"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Grammar:
    """The measures of a set of samples.

    Attributes:
        samples, sentences, words: how many there are.
        parsed: the share of sentences that parse. unknown, repeated: shares of words. distinct: distinct-n by n.
    """

    samples: int
    sentences: int
    words: int
    parsed: float
    unknown: float
    repeated: float
    distinct: dict[int, float]


def known_words(data: Path) -> frozenset[str]:
    """The words that occur at least twice in the training books, in the case in which they occur.

    Args:
        data: the folder that `prepare` made.
    """
    tokenizer, text = Tokenizer.load(data), open_corpus(data / "prose", verify=False).train
    counts: Counter[str] = Counter()
    left = ""
    for first in range(0, len(text), _TOKENS_AT_ONCE):
        ids = text[first : first + _TOKENS_AT_ONCE]
        ids = np.where(ids == tokenizer.eot, tokenizer.encode("\n")[-1], ids)
        whole = left + tokenizer.decode(ids.tolist())
        cut = max(whole.rfind(" "), whole.rfind("\n")) + 1 if first + _TOKENS_AT_ONCE < len(text) else len(whole)
        counts.update(_WORD.findall(whole[:cut]))
        left = whole[cut:]
    return frozenset(word.replace("’", "'") for word, count in counts.items() if count >= TWICE)


def sentences(text: str) -> list[str]:
    """The complete sentences of a sample: those between its first and its last sentence end."""
    ends = [found.end() for found in _END.finditer(text)]
    return [text[a:b].strip() for a, b in pairwise(ends)]


def is_known(word: str, known: frozenset[str]) -> bool:
    """Whether a word, or each of its parts between hyphens, is known as it is written or in lower case."""
    word = word.replace("’", "'")
    return word in known or word.lower() in known or ("-" in word and all(is_known(part, known) for part in word.split("-")))


def parses(sentence: str, known: frozenset[str]) -> bool:
    """Whether a sentence meets the six conditions."""
    pieces = _PIECE.findall(sentence)
    words = [piece for piece in pieces if piece[0].isalpha()]
    if not words or not sentence.lstrip("\"'“‘(")[:1].isupper():
        return False
    if not all(is_known(word, known) or (place and word[0].isupper()) for place, word in enumerate(words)):
        return False
    lower = [word.lower() for word in words]
    if not any(
        _CLASS.get(word) in ("be", "modal", "auxiliary") or word in _PAST or word.endswith(("ed", "n't")) for word in lower
    ):
        return False
    return not any(_clash(one, other) for one, other in pairwise(pieces))


def _clash(one: str, other: str) -> bool:
    """Whether two consecutive words, or a word and a punctuation mark, break condition 4, 5 or 6."""
    a, b = one.lower(), other.lower()
    if not a[0].isalpha():
        return False
    following = _CLASS.get(b, "past" if b in _PAST else "end" if not b[0].isalpha() else "")
    if following in FORBIDDEN.get(_CLASS.get(a, ""), ()):
        return True
    if a in ("a", "an") and b[0].isalpha():
        vowel = bool(_VOWEL.match(b)) and not _NOT_A_VOWEL.match(b)
        return vowel != (a == "an")
    return a == b and a not in _MAY_REPEAT


def measure(samples: Sequence[str], known: frozenset[str]) -> Grammar:
    """The measures of samples."""
    found = [sentence for sample in samples for sentence in sentences(sample)]
    words = [[word.lower() for word in _WORD.findall(sample)] for sample in samples]
    total = sum(map(len, words))
    unknown = sum(not is_known(word, known) for sample in samples for word in _WORD.findall(sample))
    return Grammar(
        samples=len(samples), sentences=len(found), words=total,
        parsed=sum(parses(sentence, known) for sentence in found) / max(1, len(found)), unknown=unknown / max(1, total),
        repeated=sum(repeated(row) for row in words) / max(1, total), distinct={n: distinct(words, n) for n in (1, 2, 3)},
    )  # fmt: skip


def repeated(words: Sequence[str]) -> int:
    """How many words are in an n-gram of `STRETCH` words that occurred before."""
    seen, marked = set[tuple[str, ...]](), set[int]()
    for start in range(len(words) - STRETCH + 1):
        stretch = tuple(words[start : start + STRETCH])
        if stretch in seen:
            marked.update(range(start, start + STRETCH))
        seen.add(stretch)
    return len(marked)


def distinct(samples: Iterable[Sequence[str]], n: int) -> float:
    """distinct-n of samples, lists of words; 0 if there are no n-grams."""
    counts = Counter(tuple(words[i : i + n]) for words in samples for i in range(len(words) - n + 1))
    return len(counts) / counts.total() if counts else 0.0


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    chosen = parser.parse_args()
    samples = chosen.file.read_text(encoding="utf-8").split("\n\n")
    print(json.dumps(asdict(measure(samples, known_words(chosen.data))), indent=1))


if __name__ == "__main__":
    main()
