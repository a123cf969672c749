"""The checks of OpenAI's tool that prepared examples for fine-tuning GPT-3, and their mends.

`openai tools fine_tunes.prepare_data` (openai-python 0.28.1, validators.py) went through a file of prompts and completions and
offered to mend what it found. The checks, their order, their limits and the separators that they propose are that tool's; each
goes by what the mends before it left. Ours also name the lines, see a separator or an ending that only some lines lack, and
count tokens by the model's own tokenizer.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pellucid.errors import PellucidError
from pellucid.finetuning.example_files import Row, read_rows
from pellucid.finetuning.examples import Example
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
MOST_HAVE = 0.8  # choice: an ending that so large a share of the texts has is meant for all


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        check: its name. problem: in words. mend: what `Prepared.examples` have in its place, in words; "" where a person must.
        lines: the numbers of the lines (of a JSON array: items) that it is about; empty where it is about the file.
    """

    check: str
    problem: str
    mend: str
    lines: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A file that was checked.

    Attributes:
        count: the examples in it. what: its format, in words. kind: "open-ended" (all prompts are empty), "classification"
            (few different completions) or "conditional".
        findings: in the order of the checks. examples: the mended ones.
    """

    count: int
    what: str
    kind: str
    findings: tuple[Finding, ...]
    examples: list[Example]


def prepare_examples(path: Path, *, tokenizer: Tokenizer | None = None, n_ctx: int | None = None) -> Prepared:
    """Checks a file of examples, and mends what can be.

    Args:
        tokenizer, n_ctx: of the model that will be fine-tuned; None: tokens are not counted.

    Raises:
        PellucidError: as `read_examples`, but for empty completions.
    """
    found = read_rows(path)
    for row in found.rows:
        if not isinstance(row.prompt, str) or not isinstance(row.completion or "", str):
            raise PellucidError(f"{path}, {row.where}: prompt and completion must be text")
    check = _Check(found.rows)
    check.columns_and_empty()
    kind = check.kind()
    check.duplicates()
    if kind != "open-ended":
        check.long()
    if tokenizer is not None and n_ctx is not None:
        check.tokens(tokenizer, n_ctx)
    check.upper_case("prompt")
    check.upper_case("completion")
    if kind != "open-ended":
        check.ending("prompt", tr("the prompts"))
        check.prefix("prompt", tr("the prompts"))
    check.prefix("completion", tr("the completions"))
    if kind == "conditional":
        check.ending("completion", tr("the completions"))
    check.leading_space()
    check.duplicates()  # that the mends made, as they may have made some too long
    if tokenizer is not None and n_ctx is not None:
        check.tokens(tokenizer, n_ctx)
    if tokenizer is not None and n_ctx is not None:
        check.tokens(tokenizer, n_ctx)
    try:
        examples = [Example(row.prompt, row.completion) for row in check.rows]
    except PellucidError as error:
        raise PellucidError(f"{path}: {error}") from None
    return Prepared(count=len(found.rows), what=found.what, kind=kind, findings=tuple(check.findings), examples=examples)


class _Check:
    """Rows on their way through the checks."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = [row if row.completion is not None else replace(row, completion="") for row in rows]
        self.findings: list[Finding] = []

    def _find(self, check: str, problem: str, mend: str, rows: Iterable[Row] = ()) -> None:
        self.findings.append(Finding(check=check, problem=problem, mend=mend, lines=tuple(row.number for row in rows)))

    def _drop(self, check: str, problem: str, dropped: Sequence[Row]) -> None:
        """Leaves rows out, if there are any."""
        if dropped:
            self._find(check, problem, tr("left out"), dropped)
            gone = {row.number for row in dropped}
            self.rows = [row for row in self.rows if row.number not in gone]

    def _change(self, column: str, change: Callable[[str], str]) -> None:
        if column == "prompt":
            self.rows = [replace(row, prompt=change(row.prompt)) for row in self.rows]
        else:
            self.rows = [replace(row, completion=change(row.completion)) for row in self.rows]

    def _texts(self, column: str) -> list[str]:
        return [getattr(row, column) for row in self.rows]

    def columns_and_empty(self) -> None:
        """Few examples, further columns, empty completions."""
        if len(self.rows) < FEW:
            few = plural(
                len(self.rows), "{count:,} example is little: some hundreds make a model that can be relied on",
                "{count:,} examples are few: some hundreds make a model that can be relied on",
            )  # fmt: skip
            self._find("count", few, "")
        with_others = [row for row in self.rows if row.others]
        if with_others:
            names = ", ".join(map(repr, dict.fromkeys(name for row in with_others for name in row.others)))
            self._find("columns", tr("there are further columns: {names}", names=names), tr("left out"), with_others)
        empty = [row for row in self.rows if not row.completion.strip()]
        self._drop("empty", tr("the completion is empty"), empty)

    def kind(self) -> str:
        """What the examples look like."""
        if not any(self._texts("prompt")):
            return "open-ended"
        return "classification" if len(set(self._texts("completion"))) < len(self.rows) / 3 else "conditional"

    def duplicates(self) -> None:
        """The same prompt with the same completion as before."""
        seen, again = set[tuple[str, str]](), []
        for row in self.rows:
            (again.append(row) if (row.prompt, row.completion) in seen else seen.add((row.prompt, row.completion)))
        self._drop("duplicates", tr("prompt and completion are those of an earlier line"), again)

    def long(self) -> None:
        """More characters than the tool let pass."""
        rows = [row for row in self.rows if len(row.prompt) + len(row.completion) > MAX_CHARACTERS]
        self._drop("long", tr("longer than {most:,} characters", most=MAX_CHARACTERS), rows)

    def upper_case(self, column: str) -> None:
        """More than a third of a column's letters are capitals."""
        letters = [character for text in self._texts(column) for character in text if character.isalpha()]
        if not letters or sum(map(str.isupper, letters)) / len(letters) <= UPPER_SHARE:
            return
        rows = [row for row in self.rows if _is_upper(getattr(row, column))]
        problem = tr("more than a third of the letters of the prompts are capitals")
        if column == "completion":
            problem = tr("more than a third of the letters of the completions are capitals")
        self._find(f"upper-{column}", problem, tr("written in lower case"), rows)
        self._change(column, str.lower)

    def ending(self, column: str, name: str) -> None:
        """The separator after the prompts, or the ending of the completions: the same in all, and nowhere else."""
        texts, check = self._texts(column), "separator" if column == "prompt" else "ending"
        if len(texts) < 2:
            return
        if len(set(texts)) == 1:
            self._find(f"same-{column}", tr("{texts} are all the same", texts=name), "", self.rows)
            return
        ending = _common_ending(texts)
        if not ending:
            ending = self._add_ending(column, name, check)
        elif len(ending) > LONG_SEPARATOR:
            self._find(f"long-{check}", tr("{texts} end with a very long text: {ending}", texts=name, ending=repr(ending)), "")
        inside = [row for row in self.rows if ending in getattr(row, column)[: -len(ending)]]
        if column == "prompt" and inside:
            problem = tr("the separator {ending} is inside the prompt, too", ending=repr(ending))
            self._find("separator-inside", problem, "", inside)

    def _add_ending(self, column: str, name: str, check: str) -> str:
        """Gives the texts without the ending that most have, or else all of them, one."""
        texts = self._texts(column)
        usual = _usual_ending(texts)
        lacking = [row for row in self.rows if not (usual and getattr(row, column).endswith(usual))]
        ending = usual or _proposed(texts, column)
        if usual:
            problem = tr("{texts} end with {ending}, but not here", texts=name, ending=repr(ending))
        else:
            problem = tr("{texts} have no common end", texts=name)
        self._find(check, problem, tr("{ending} is put there", ending=repr(ending)), lacking)
        self._change(column, lambda text: text if usual and text.endswith(usual) else text + ending)
        return ending

    def prefix(self, column: str, name: str) -> None:
        """A long beginning that all texts of a column share: the model would only learn it by heart."""
        texts = self._texts(column)
        shared = _common_beginning(texts) if len(texts) > 1 else ""
        shared = shared[: max(shared.rfind(space) for space in " \n") + 1]  # whole words
        if len(shared.strip()) < LONG_PREFIX[column] or any(not text[len(shared) :].strip() for text in texts):
            return
        problem = tr("{texts} all begin with {beginning}", texts=name, beginning=repr(shared))
        self._find(f"prefix-{column}", problem, tr("the beginning is taken away"), self.rows)
        space = " " if column == "completion" and shared[:1].isspace() else ""
        self._change(column, lambda text: space + text[len(shared) :])

    def leading_space(self) -> None:
        """Completions that do not begin with white space: words are written as tokens with the space before them."""
        rows = [row for row in self.rows if not row.completion[0].isspace()]
        if rows:
            problem = tr("the completion does not begin with a space, as words do when they are written as tokens")
            self._find("space", problem, tr("a space is put there"), rows)
            self._change("completion", lambda text: text if text[0].isspace() else f" {text}")

    def tokens(self, tokenizer: Tokenizer, n_ctx: int) -> None:
        """More tokens than the model reads, the end of the text included."""
        rows = []
        for row in self.rows:
            prompt = tokenizer.encode_prompt(row.prompt) or [tokenizer.eot]
            if len(prompt) + len(tokenizer.encode(row.completion, continued=True)) > n_ctx:
                rows.append(row)
        self._drop("tokens", tr("more tokens than the model reads, {most:,}", most=n_ctx), rows)


def _is_upper(text: str) -> bool:
    letters = [character for character in text if character.isalpha()]
    return bool(letters) and sum(map(str.isupper, letters)) / len(letters) > UPPER_SHARE


def _common_beginning(texts: Sequence[str]) -> str:
    """What all texts begin with: what the first and the last of them in order share."""
    first, last = min(texts), max(texts)
    return first[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def _common_ending(texts: Sequence[str]) -> str:
    """What all texts end with; "" where that is a part of a word."""
    ending = _common_beginning([text[::-1] for text in texts])[::-1]
    return ending if re.search(r"\W", ending) else ""


def _usual_ending(texts: Sequence[str]) -> str:
    """The ending of most texts, the longest of those that the most have; "" where that is a word's or a sentence's end."""
    best, most = "", max(2, MOST_HAVE * len(texts))
    for length in range(1, LONG_SEPARATOR + 3):
        counts = Counter(text[-length:] for text in texts if len(text) >= length)
        for ending, count in counts.most_common(3):
            if count >= most and re.search(r"[^\w\s.?!,;\"')]|\n", ending):
                best, most = ending, count
                break
    return best


def _proposed(texts: Sequence[str], column: str) -> str:
    """The first ending of the tool's list that is in none of the texts."""
    known: tuple[str, ...] = SEPARATORS if column == "prompt" else ENDINGS
    if column == "prompt" and any("\n" in text for text in texts):
        known = known[1:]
    last = LAST_SEPARATOR if column == "prompt" else LAST_ENDING
    return next((ending for ending in known if not any(ending in text for text in texts)), last)
