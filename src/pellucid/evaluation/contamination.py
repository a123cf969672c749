"""Contamination: queries that share an n-gram of words with the training text (appendix C of the GPT-3 paper). No torch here.

Words are lower case, delimited by white space and without punctuation. A query is its prompt with the right answer, and it is
dirty if N consecutive words of it are in one document. N is the length in words that 5 % of the task's queries fall below, at
least 8 and at most 13; a query of fewer words than N cannot be checked. An n-gram that is in more than 10 documents is
boilerplate and is ignored.
"""

import string
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.arguments import path_of
from pellucid.corpus.documents import read_documents
from pellucid.corpus.shards import open_corpus
from pellucid.errors import PellucidError
from pellucid.evaluation.task import Query, Task
from pellucid.languages import tr
from pellucid.runs.files import CORPUS, RUN_FILE
from pellucid.text.tokenizer import Tokenizer


SHORTEST, LONGEST = 8, 13  # words
SHARE = 0.05  # of the queries: so many may be shorter than N
BOILERPLATE = 10  # documents
_BLOCK = 1 << 20  # tokens read at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Which queries of a task are in a text.

    Attributes:
        length: N, in words. queries: how many were checked.
        dirty: the numbers, from 0, of the queries that share an n-gram with the text. too_short: of those shorter than N.
        boilerplate: how many n-grams of the queries were ignored, being in more than `BOILERPLATE` documents.
    """

    task: str
    length: int
    queries: int
    dirty: tuple[int, ...]
    too_short: tuple[int, ...]
    boilerplate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contamination:
    """An overlap, and the mean of a metric over all queries and over the clean ones, which are not in the text.

    Attributes:
        score: over all queries. clean_score: over those that are not dirty; None where there are none.
    """

    overlap: Overlap
    metric: str
    shots: int
    score: float
    clean_score: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = asdict(self)
        overlap: dict[str, Any] = values.pop("overlap")
        return overlap | values


def training_documents(path: str | Path, *, report: Callable[[str], None] = lambda line: None) -> Iterator[str]:
    """The documents that a run was trained on, or those of a text file or a folder.

    Args:
        path: of the run, the file or the folder.
        report: called with a line about each file of a folder that is not read.

    Raises:
        PellucidError: a run without a corpus, or no such file.
    """
    path = path_of("contamination (a run or a text)", path)
    if not (path / RUN_FILE).is_file():

        def skipped(file: Path, reason: str) -> None:
            report(tr("not read: {path}: {reason}", path=file, reason=reason))

        return (document.text for document in read_documents([path], on_skip=skipped))
    if not (path / CORPUS).is_dir():
        raise PellucidError(f"{path} keeps no training text, as runs on examples do: name the run or text that came before it")
    return _of_corpus(path / CORPUS)


def _of_corpus(folder: Path) -> Iterator[str]:
    """The training documents of a corpus, decoded; each ends with end-of-text."""
    tokens, tokenizer = open_corpus(folder, verify=False).train, Tokenizer.load(folder)
    begun = list[int]()  # tokens of a document whose end is in a later block
    for first in range(0, len(tokens), _BLOCK):
        block, begin = tokens[first : first + _BLOCK], 0
        for end in np.flatnonzero(block == tokenizer.eot).tolist():
            yield tokenizer.decode([*begun, *block[begin:end].tolist()])
            begun, begin = [], end + 1
        begun += block[begin:].tolist()
    if begun:
        yield tokenizer.decode(begun)


def overlaps(tasks: Sequence[Task], documents: Iterable[str], *, queries: int | None = None) -> list[Overlap]:
    """The overlap of each task with the documents, which are read once.

    Args:
        queries: how many of each task are checked, the first ones; None: all.
    """
    words = [[[words_of(text) for text in query_texts(query)] for query in task.queries[:queries]] for task in tasks]
    lengths = [length_of([len(some[0]) for some in each]) for each in words]
    wanted: dict[int, set[tuple[str, ...]]] = {length: set() for length in lengths}
    for length, each in zip(lengths, words, strict=True):
        wanted[length].update(gram for texts in each for some in texts for gram in grams(some, length))
    counts = {length: dict.fromkeys(some, 0) for length, some in wanted.items()}  # documents that hold each
    for document in documents:
        text = words_of(document)
        for length, count in counts.items():
            for gram in {gram for gram in grams(text, length) if gram in count}:
                count[gram] += 1
    return [_overlap(task.name, length, each, counts[length]) for task, length, each in zip(tasks, lengths, words, strict=True)]


def _overlap(
    name: str, length: int, queries: Sequence[Sequence[Sequence[str]]], counts: Mapping[tuple[str, ...], int]
) -> Overlap:
    """Of queries, each of which has the words of one text or more."""
    of_query = [{gram for some in texts for gram in grams(some, length)} for texts in queries]
    return Overlap(
        task=name, length=length, queries=len(queries),
        dirty=tuple(i for i, found in enumerate(of_query) if any(0 < counts[gram] <= BOILERPLATE for gram in found)),
        too_short=tuple(i for i, found in enumerate(of_query) if not found),
        boilerplate=len({gram for found in of_query for gram in found if counts[gram] > BOILERPLATE}),
    )  # fmt: skip


def words_of(text: str) -> list[str]:
    """The words of a text: lower case, without punctuation, also that of print (curly quotes, dashes)."""
    dropped = {ord(c): None for c in set(text) if c in string.punctuation or unicodedata.category(c).startswith("P")}
    return text.lower().translate(dropped).split()


def query_texts(query: Query) -> list[str]:
    """What is looked for of a query: its prompt with each right answer, the first of which counts for the length of N-grams."""
    return [f"{query.prompt} {answer}" for answer in query.answers]


def length_of(lengths: Sequence[int]) -> int:
    """N for queries of these lengths in words."""
    return min(max(sorted(lengths)[int(SHARE * len(lengths))], SHORTEST), LONGEST)


def grams(words: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    """All n-grams of `length` words."""
    return zip(*(words[start:] for start in range(length)), strict=False)
