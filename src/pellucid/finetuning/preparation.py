"""The checks of OpenAI's tool that prepared examples for fine-tuning GPT-3, and their mends.

`openai tools fine_tunes.prepare_data` (openai-python 0.28.1, validators.py) went through a file of prompts and completions and
offered to mend what it found. The checks, their order, their limits and the separators that they propose are that tool's; each
goes by what the mends before it left. Ours also name the lines, see a separator or an ending that only some lines lack, and
count tokens by the model's own tokenizer.

JSON lines are checked as a stream (`row_stream`): memory does not grow with the file, but for some bytes a row.
"""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pellucid.errors import PellucidError
from pellucid.finetuning.example_files import read_rows
from pellucid.finetuning.examples import Example
from pellucid.finetuning.preparation_checks import ENDINGS, SEPARATORS, Checks, Finding, RowList, Rows
from pellucid.finetuning.row_stream import RowStream, begins_json_lines
from pellucid.languages import tr
from pellucid.text import Tokenizer


__all__ = ["ENDINGS", "SEPARATORS", "Finding", "Prepared", "prepare_examples", "preparing"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedExamples:
    """The mended examples, computed anew at each iteration. `len` is how many there are."""

    checks: Checks
    name: object

    def __len__(self) -> int:
        return self.checks.count

    def __iter__(self) -> Iterator[Example]:
        for number, prompt, completion in self.checks:
            try:
                yield Example(prompt, completion)
            except PellucidError as error:
                raise PellucidError(f"{self.name}, line {number}: {error}") from None


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
    examples: PreparedExamples | list[Example]


@contextmanager
def preparing(
    path: Path, *, tokenizer: Tokenizer | None = None, n_ctx: int | None = None, only: Collection[str] | None = None,
    name: object = None, json_lines: bool = False,
) -> Iterator[Prepared]:  # fmt: skip
    """A context manager that checks a file of examples, and mends what can be. The examples are there within the block.

    Args:
        tokenizer, n_ctx: of the model that will be fine-tuned; None: tokens are not counted.
        only: names of the checks whose mends are applied; None: of all. name: what messages call the file.
        json_lines: whether it must be JSON lines.

    Raises:
        PellucidError: as `read_examples`, but for empty completions.
    """
    name = path if name is None else name
    with ExitStack() as stack:
        rows: Rows
        if json_lines or begins_json_lines(path):
            rows, what = stack.enter_context(RowStream(path, name)), tr("JSON lines")
        else:
            found = read_rows(path)
            rows, what = RowList(found.rows, name), found.what
        checks = Checks(rows, tokenizer=tokenizer, n_ctx=n_ctx, only=only)
        kind = checks.run()
        yield Prepared(
            count=len(rows), what=what, kind=kind, findings=tuple(checks.findings),
            examples=PreparedExamples(checks=checks, name=name),
        )  # fmt: skip


def prepare_examples(path: Path, *, tokenizer: Tokenizer | None = None, n_ctx: int | None = None) -> Prepared:
    """The same, with the mended examples in a list. Arguments and errors as `preparing`."""
    with preparing(path, tokenizer=tokenizer, n_ctx=n_ctx) as found:
        return Prepared(
            count=found.count, what=found.what, kind=found.kind, findings=found.findings, examples=list(found.examples)
        )
