"""Checks and mends files of examples as OpenAI's data preparation tool for GPT-3 did.

`openai tools fine_tunes.prepare_data` (openai-python 0.28.1, validators.py) checked a file of prompts and completions and
offered to mend what it found. The checks, their order, their limits and the separators that they propose are that tool's; each
check sees the examples as the mends before it left them. Ours also name the lines, notice a separator or an ending that only
some lines lack, and count tokens with the model's own tokenizer.

JSON lines are checked as a stream (`row_stream`): memory does not grow with the file, except for some bytes a row.
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
    """The mended examples, computed again at each iteration. `len` is their number."""

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
    """The result of checking a file.

    Attributes:
        count: the number of examples in the file. what: its format, in words. kind: "open-ended" (all prompts are empty),
            "classification" (few different completions) or "conditional".
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
    """A context manager that checks a file of examples, and mends it where it can. The examples are available in the block.

    Args:
        tokenizer, n_ctx: of the model that will be fine-tuned; None: tokens are not counted.
        only: names of the checks whose mends are applied; None: all. name: the name of the file in messages.
        json_lines: whether the file must be JSON lines.

    Raises:
        PellucidError: as `read_examples`, except for empty completions, which are findings.
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
    """`preparing` with the mended examples in a list, without a context manager. Arguments and errors as there."""
    with preparing(path, tokenizer=tokenizer, n_ctx=n_ctx) as found:
        return Prepared(
            count=found.count, what=found.what, kind=found.kind, findings=found.findings, examples=list(found.examples)
        )
