"""`Checks`: the checks of `preparation`. Each iterates over the rows again, so that they need not be in memory.

A check keeps a count, a text, or a few bytes a row; a mend is a function of a row, applied at each iteration.
"""

import re
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import compress
from operator import itemgetter
from typing import Literal, Protocol

import numpy as np

from pellucid.finetuning.row_stream import Texts, texts_of
from pellucid.generation.example_tables import Row
from pellucid.languages import plural, tr
from pellucid.text import Tokenizer


FEW = 100  # examples
MAX_CHARACTERS = 10_000  # of prompt and completion
UPPER_SHARE = 1 / 3  # of the letters
LONG_SEPARATOR = 10
LONG_PREFIX = {"prompt": 12, "completion": 5}
SEPARATORS = (" ->", "\n\n###\n\n", "\n\n===\n\n", "\n\n---\n\n", "\n\n===>\n\n", "\n\n--->\n\n")
LAST_SEPARATOR = "\n\n### =>\n\n"
ENDINGS = ("\n", ".", " END", "***", "+++", "&&&", "$$$", "@@@", "%%%")
LAST_ENDING = " [END]"
MOST_HAVE = 0.8  # choice: if this share of the texts has an ending, it is missing from the others
MOST_LISTED = 10_000  # line numbers that a finding lists
MOST_NAMES, MOST_QUOTED = 20, 80  # names of columns, and characters of a text, that a finding quotes
_PLACES: dict[str, Literal[1, 2]] = {"prompt": 1, "completion": 2}  # in `Texts`
_NO_UPPER = bytes(set(range(256)) - set(range(65, 91)))
_NO_LETTER = bytes(set(range(256)) - set(range(65, 91)) - set(range(97, 123)))


class Rows(Protocol):
    """Rows to iterate over repeatedly. `others`: the names of further columns; `with_others`: 1 for each row that has some."""

    others: dict[str, None]
    with_others: bytearray

    def __iter__(self) -> Iterator[Texts]: ...
    def __len__(self) -> int: ...


class RowList:
    """Rows in memory.

    Raises:
        PellucidError: a prompt or a completion is not text.
    """

    def __init__(self, rows: Sequence[Row], name: object) -> None:
        self._rows = [texts_of(row, name) for row in rows]
        self.others = dict.fromkeys(name for row in rows for name in row.others)
        self.with_others = bytearray(bool(row.others) for row in rows)

    def __iter__(self) -> Iterator[Texts]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        check: its name. problem: in words. mend: what was changed, in words; "" where a person has to decide.
        lines: the numbers of the lines (of a JSON array: items) that it is about, the first `MOST_LISTED`; empty if it is
            about the whole file. count: how many lines there are in all.
    """

    check: str
    problem: str
    mend: str
    lines: tuple[int, ...]
    count: int


class Checks:
    """Checks rows and mends them. Iterating gives the rows as mended so far.

    Args:
        rows: of the file. tokenizer, n_ctx: of the model; None: tokens are not counted.
        only: names of the checks whose mends are applied; None: all.

    Attributes:
        findings: so far. count: how many rows are left.
    """

    def __init__(
        self, rows: Rows, *, tokenizer: Tokenizer | None = None, n_ctx: int | None = None, only: Collection[str] | None = None
    ) -> None:
        self._rows, self._tokenizer, self._n_ctx, self._only = rows, tokenizer, n_ctx, only
        self._kept = bytearray(b"\1") * len(rows)
        self._changes: list[tuple[int, Callable[[str], str]]] = []
        self.findings: list[Finding] = []
        self.count = len(rows)

    def __iter__(self) -> Iterator[Texts]:
        rows = compress(self._rows, self._kept)
        return map(self._changed, rows) if self._changes else rows

    def _changed(self, row: Texts) -> Texts:
        number, *texts = row
        for column, change in self._changes:
            texts[column] = change(texts[column])
        return number, texts[0], texts[1]

    def run(self) -> str:
        """Runs all checks in their order; returns the kind of the examples."""
        self.columns_and_empty()
        kind = self.kind()
        self.duplicates()
        if kind != "open-ended":
            self.long()
        self.tokens()
        self.upper_case("prompt")
        self.upper_case("completion")
        if kind != "open-ended":
            self.ending("prompt", tr("the prompts"))
            self.prefix("prompt", tr("the prompts"))
        self.prefix("completion", tr("the completions"))
        if kind == "conditional":
            self.ending("completion", tr("the completions"))
        self.leading_space()
        if self._changes:
            self.duplicates()  # mends may have made rows equal, or too long
            self.tokens()
        return kind

    def _find(self, check: str, problem: str, mend: str, rows: Iterable[Texts] = ()) -> bool:
        """Adds a finding about these rows. Returns whether its mend is to be applied."""
        lines, count = array("q"), 0
        for number, _, _ in rows:
            count += 1
            if count <= MOST_LISTED:
                lines.append(number)
        self.findings.append(Finding(check=check, problem=problem, mend=mend, lines=tuple(lines), count=count))
        return bool(mend) and (self._only is None or check in self._only)

    def _where(self, column: str, wanted: Callable[[str], bool]) -> Iterator[Texts]:
        place = _PLACES[column]
        return (row for row in self if wanted(row[place]))

    def _drop(self, check: str, problem: str, flags: Iterable[bool]) -> None:
        """Leaves out those of the remaining rows whose flag is set, with a finding if there are any."""
        places = np.flatnonzero(np.frombuffer(self._kept, np.uint8))
        dropped = places[np.fromiter(flags, bool, count=len(places))]
        if not len(dropped):
            return
        chosen = np.zeros(len(self._kept), np.uint8)
        chosen[dropped] = 1
        if self._find(check, problem, tr("left out"), compress(self._rows, chosen.tolist())):
            for place in dropped.tolist():
                self._kept[place] = 0
            self.count -= len(dropped)

    def _change(self, column: str, change: Callable[[str], str]) -> None:
        self._changes.append((_PLACES[column] - 1, change))

    def _texts(self, column: str) -> Iterator[str]:
        return map(itemgetter(_PLACES[column]), self)

    def columns_and_empty(self) -> None:
        """Few examples, further columns, empty completions."""
        if self.count < FEW:
            few = plural(
                self.count, "{count:,} example is little: some hundreds make a model that can be relied on",
                "{count:,} examples are few: some hundreds make a model that can be relied on",
            )  # fmt: skip
            self._find("count", few, "")
        if any(self._rows.with_others):
            others = list(self._rows.others)
            names = ", ".join(map(_quoted, others[:MOST_NAMES])) + (", ..." if len(others) > MOST_NAMES else "")
            rows = compress(self._rows, self._rows.with_others)
            self._find("columns", tr("there are further columns: {names}", names=names), tr("left out"), rows)
        self._drop("empty", tr("the completion is empty"), (not text.strip() for text in self._texts("completion")))

    def kind(self) -> str:
        """What the examples look like."""
        if not any(self._texts("prompt")):  # also of no rows at all
            return "open-ended"
        different = self.count - int(_repeated(self._texts("completion")).sum())
        return "classification" if different < self.count / 3 else "conditional"

    def duplicates(self) -> None:
        """Rows with the prompt and the completion of an earlier row."""
        again = _repeated(f"{len(prompt)}:{prompt}{completion}" for _, prompt, completion in self)
        self._drop("duplicates", tr("prompt and completion are those of an earlier line"), again.tolist())

    def long(self) -> None:
        """Rows of more characters than the tool accepted."""
        flags = (len(prompt) + len(completion) > MAX_CHARACTERS for _, prompt, completion in self)
        self._drop("long", tr("longer than {most:,} characters", most=MAX_CHARACTERS), flags)

    def upper_case(self, column: str) -> None:
        """More than a third of a column's letters are capitals."""
        upper = letters = 0
        for text in self._texts(column):
            capitals, of = _letters(text)
            upper, letters = upper + capitals, letters + of
        if not letters or upper / letters <= UPPER_SHARE:
            return
        rows = self._where(column, _is_upper)
        problem = tr("more than a third of the letters of the prompts are capitals")
        if column == "completion":
            problem = tr("more than a third of the letters of the completions are capitals")
        if self._find(f"upper-{column}", problem, tr("written in lower case"), rows):
            self._change(column, str.lower)

    def ending(self, column: str, name: str) -> None:
        """The separator after the prompts, or the ending of the completions: the same in all, and nowhere else."""
        check = "separator" if column == "prompt" else "ending"
        if self.count < 2:
            return
        if self._all_same(column):
            self._find(f"same-{column}", tr("{texts} are all the same", texts=name), "", self)
            return
        ending = _common_ending(self._texts(column))
        if not ending:
            ending = self._add_ending(column, name, check)
        elif len(ending) > LONG_SEPARATOR:
            problem = tr("{texts} end with a very long text: {ending}", texts=name, ending=_quoted(ending))
            self._find(f"long-{check}", problem, "")
        if column == "prompt" and any(ending in text[: -len(ending)] for text in self._texts(column)):
            problem = tr("the separator {ending} is inside the prompt, too", ending=_quoted(ending))
            self._find("separator-inside", problem, "", self._where("prompt", lambda text: ending in text[: -len(ending)]))

    def _all_same(self, column: str) -> bool:
        texts = self._texts(column)
        first = next(texts)
        return all(text == first for text in texts)

    def _add_ending(self, column: str, name: str, check: str) -> str:
        """Adds an ending: to the texts that lack the usual one, or, if there is no usual one, to all texts."""
        usual = usual_ending(lambda: self._texts(column), self.count)
        lacking = self._where(column, lambda text: not (usual and text.endswith(usual)))
        ending = usual or _proposed(self._texts(column), column)
        if usual:
            problem = tr("{texts} end with {ending}, but not here", texts=name, ending=repr(ending))
        else:
            problem = tr("{texts} have no common end", texts=name)
        if self._find(check, problem, tr("{ending} is put there", ending=repr(ending)), lacking):
            self._change(column, lambda text: text if usual and text.endswith(usual) else text + ending)
        return ending

    def prefix(self, column: str, name: str) -> None:
        """A long beginning that all texts of a column share: it tells the model nothing."""
        shared = _common_beginning(self._texts(column)) if self.count > 1 else ""
        shared = shared[: max(shared.rfind(space) for space in " \n") + 1]  # whole words
        if len(shared.strip()) < LONG_PREFIX[column]:
            return
        if any(not text[len(shared) :].strip() for text in self._texts(column)):
            return
        problem = tr("{texts} all begin with {beginning}", texts=name, beginning=_quoted(shared))
        space = " " if column == "completion" and shared[:1].isspace() else ""
        if self._find(f"prefix-{column}", problem, tr("the beginning is taken away"), self):
            self._change(column, lambda text: space + text[len(shared) :])

    def leading_space(self) -> None:
        """Completions that do not begin with white space: tokens of words include the space before the word."""
        if all(text[:1].isspace() for text in self._texts("completion") if text):
            return
        problem = tr("the completion does not begin with a space, as words do when they are written as tokens")
        rows = self._where("completion", lambda text: bool(text) and not text[0].isspace())
        if self._find("space", problem, tr("a space is put there"), rows):
            self._change("completion", lambda text: text if text[:1].isspace() or not text else f" {text}")

    def tokens(self) -> None:
        """Rows of more tokens than the model reads."""
        if self._tokenizer is None or self._n_ctx is None:
            return
        flags = (_more_tokens(prompt, completion, self._tokenizer, self._n_ctx) for _, prompt, completion in self)
        self._drop("tokens", tr("more tokens than the model reads, {most:,}", most=self._n_ctx), flags)


def _quoted(text: str) -> str:
    """A text for a finding, as a Python literal; only its beginning if it is long, since a text may have megabytes."""
    return repr(text) if len(text) <= MOST_QUOTED else f"{text[:MOST_QUOTED]!r}..."


def _more_tokens(prompt: str, completion: str, tokenizer: Tokenizer, n_ctx: int) -> bool:
    if len(prompt.encode()) + len(completion.encode()) < n_ctx:  # a token has at least one byte; one more may begin the text
        return False
    first = tokenizer.encode_prompt(prompt) or [tokenizer.eot]
    return len(first) + len(tokenizer.encode(completion, continued=True)) > n_ctx


def _repeated(texts: Iterable[str]) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """(N,) bool: whether each text equals an earlier one, compared by 128-bit digests."""
    data = bytearray()
    for text in texts:
        data += blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    digests = np.frombuffer(data, np.uint64).reshape(-1, 2)
    order = np.lexsort((digests[:, 0], digests[:, 1]))  # equal ones keep their order
    same = (digests[order[1:]] == digests[order[:-1]]).all(1)
    repeated = np.zeros(len(digests), bool)
    repeated[order[1:][same]] = True
    return repeated


def _letters(text: str) -> tuple[int, int]:
    """(capitals, letters)."""
    if text.isascii():
        data = text.encode()
        return len(data.translate(None, _NO_UPPER)), len(data.translate(None, _NO_LETTER))
    letters = [character for character in text if character.isalpha()]
    return sum(map(str.isupper, letters)), len(letters)


def _is_upper(text: str) -> bool:
    upper, letters = _letters(text)
    return letters > 0 and upper / letters > UPPER_SHARE


def _common_beginning(texts: Iterable[str]) -> str:
    """The longest common prefix of all texts."""
    texts = iter(texts)
    shared = next(texts)
    for text in texts:
        if not text.startswith(shared):
            shared = shared[: next((i for i, (a, b) in enumerate(zip(shared, text, strict=False)) if a != b), len(text))]
        if not shared:
            break
    return shared


def _common_ending(texts: Iterable[str]) -> str:
    """The longest common suffix of all texts; "" if it consists of word characters only."""
    ending = _common_beginning(text[::-1] for text in texts)[::-1]
    return ending if re.search(r"\W", ending) else ""


def usual_ending(texts: Callable[[], Iterator[str]], count: int) -> str:
    """The ending that most texts have, the longest of equally frequent ones; "" if it is merely the end of words or sentences.

    More than half of the texts have it, so for each length the majority vote of Boyer and Moore finds the only candidate, and a
    second pass counts it.
    """
    lengths = range(1, LONG_SEPARATOR + 3)
    leading, votes, counts = [""] * len(lengths), [0] * len(lengths), [0] * len(lengths)
    for text in texts():
        for place, length in enumerate(lengths):
            if votes[place] and text.endswith(leading[place]):
                votes[place] += 1
            elif votes[place]:
                votes[place] -= 1
            elif len(text) >= length:
                leading[place], votes[place] = text[-length:], 1
    leading = [ending for ending, length in zip(leading, lengths, strict=True) if len(ending) == length]
    for text in texts():
        for place, ending in enumerate(leading):
            if not text.endswith(ending):
                break  # a longer candidate either ends with this one, or has no majority
            counts[place] += 1
    best, most = "", max(2, MOST_HAVE * count)
    for ending, having in zip(leading, counts, strict=False):
        if having >= most and re.search(r"[^\w\s.?!,;\"')]|\n", ending):
            best, most = ending, having
    return best


def _proposed(texts: Iterable[str], column: str) -> str:
    """The first ending of the tool's list that occurs in none of the texts."""
    known = list(SEPARATORS if column == "prompt" else ENDINGS)
    lines = False
    for text in texts:
        lines = lines or "\n" in text
        known = [ending for ending in known if ending not in text]
    if column == "prompt" and lines:
        known = [ending for ending in known if ending != SEPARATORS[0]]
    last = LAST_SEPARATOR if column == "prompt" else LAST_ENDING
    return next(iter(known), last)
