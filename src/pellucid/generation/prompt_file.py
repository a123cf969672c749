"""Reading few-shot prompts with their right answers from files: JSON, JSONL or a table (CSV). No torch here.

A JSON object states everything:

    {"task": "Translate English to French:", "format": "arrow",
     "examples": [{"prompt": "sea otter", "completion": "loutre de mer"}], "query": "cheese", "answer": "fromage"}

`task`, `format` and `examples` may be left out. Lines of examples (JSONL, as for fine-tuning), or a JSON array of them, have no
task, and the last one is the query with its right answer (`read_prompt_examples` takes it as an example, too):

    {"prompt": "sea otter", "completion": "loutre de mer"}
    {"prompt": "cheese", "completion": "fromage"}

So are the rows of a table with two columns (`example_tables`), where the file is called .csv or .tsv.

Whitespace around completions is left out: the format writes the space before one and the separator after it. Without `format`
it is "plain" where a completion begins with whitespace, as those of fine-tuning files do, whose prompts bring their own
separator ("cheese =>"); else "arrow".
"""

import codecs
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.arguments import path_of, shown
from pellucid.errors import PellucidError
from pellucid.generation.example_tables import SUFFIXES, read_table
from pellucid.generation.prompt import Prompt
from pellucid.languages import tr
from pellucid.strict_json import MAX_BYTES, Fields, parse_json, read_named_file


_FIELDS = frozenset(("task", "examples", "query", "answer", "format"))
_EXAMPLE = '{"prompt": "...", "completion": "..."}'
_OBJECT = f'{{"task": "...", "examples": [{_EXAMPLE}, ...], "query": "...", "answer": "..."}}'


def read_prompt(
    path: str | Path, *, format: str | None = None, tell: Callable[[str], None] = lambda _: None
) -> tuple[Prompt, str]:
    """The prompt of a file with all its examples, and the right answer to its query.

    Args:
        format: a name in `FORMATS`, in place of the file's.
        tell: called with what the file is, in words, where that is a JSON array or a table.

    Raises:
        PellucidError: no such file, not one of the forms above (the message names the line or the field), or as `Prompt`.
    """
    values, rows, path = _contents(path, tell)
    return _of_examples(rows, path, format) if values is None else _of_object(values, path, format)


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptExamples:
    """Examples for prompts.

    Attributes:
        task: in words; "" where the file has none. examples: (input, output) pairs. format: a name in `FORMATS`.
    """

    task: str
    examples: tuple[tuple[str, str], ...]
    format: str


def read_prompt_examples(path: str | Path, *, format: str | None = None) -> PromptExamples:
    """The examples of a file, all of them: of lines none is the query, and an object's query is not read.

    Arguments and errors as `read_prompt`.
    """
    values, rows, path = _contents(path)
    if values is None:
        pairs, task = [_pair(row, where) for row, where in rows], ""
    else:
        pairs, task, format = _examples_of(values, path), values.text("task", ""), format or values.text("format", None)
    if not pairs:
        raise PellucidError(f"{path} holds no examples: a line each, {_EXAMPLE}")
    format = _usual_format([output for _, output in pairs]) if format is None else format
    stripped = tuple((given, output.strip()) for given, output in pairs)
    try:
        Prompt(task, stripped, "a query", format)  # refuses what cannot be written in that format
    except PellucidError as error:
        raise PellucidError(f"{path}: {error}") from None
    return PromptExamples(task=task, examples=stripped, format=format)


def _contents(
    path: str | Path, tell: Callable[[str], None] = lambda _: None
) -> tuple[Fields | None, list[tuple[Any, str]], Path]:
    """The object that states everything, or None and the rows of examples, each with where it stands; and the path."""
    path = path_of("a file of examples", path)
    data = read_named_file(path, MAX_BYTES)
    text = data.removeprefix(codecs.BOM_UTF8)
    if path.suffix.lower() in SUFFIXES and text.lstrip()[:1] not in (b"{", b"["):
        table = read_table(text, path)
        tell(table.what)
        rows = [({"prompt": row.prompt, "completion": row.completion}, f"{path}, {row.where}") for row in table.rows]
        return None, rows, path
    try:
        whole, problem = parse_json(data), None
    except ValueError as error:
        whole, problem = None, error
    if isinstance(whole, dict) and not {"prompt", "completion"} & set(whole):
        fields = Fields(whole, path)
        fields.only(_FIELDS, f"it should read {_OBJECT}")
        return fields, [], path
    if isinstance(whole, dict):
        return None, [(whole, f"{path}")], path
    if isinstance(whole, list):
        tell(tr("a JSON array"))
        return None, [(row, f"{path}, example {number}") for number, row in enumerate(whole, start=1)], path
    return None, _lines(data, path, problem), path


def _lines(data: bytes, path: Path, problem: ValueError | None) -> list[tuple[Any, str]]:
    """The value of each line that is not empty, and where it stands."""
    rows = list[tuple[Any, str]]()
    for number, line in enumerate(data.removeprefix(codecs.BOM_UTF8).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            rows.append((parse_json(line), where))
        except ValueError as error:
            if not rows and problem is not None:  # the first line is no JSON: the file is none of lines
                raise PellucidError(f"{path}: {problem}; it should hold {_OBJECT}, or a line each, {_EXAMPLE}") from None
            raise PellucidError(f"{where}: {error}") from None
    return rows


def _of_examples(rows: list[tuple[Any, str]], path: Path, format: str | None) -> tuple[Prompt, str]:
    """Examples, of which the last is the query."""
    if not rows:
        raise PellucidError(f"{path} holds no examples: a line each, {_EXAMPLE}, the last one being the query")
    pairs = [_pair(row, where) for row, where in rows]
    *examples, (query, answer) = pairs
    return _prompt("", examples, query, answer, format, path)


def _of_object(fields: Fields, path: Path, format: str | None) -> tuple[Prompt, str]:
    query, answer = fields.text("query"), fields.text("answer")
    chosen = format or fields.text("format", None)
    return _prompt(fields.text("task", ""), _examples_of(fields, path), query, answer, chosen, path)


def _examples_of(fields: Fields, path: Path) -> list[tuple[str, str]]:
    listed = fields.list("examples", [])
    return [_pair(row, f"{path}, example {number}") for number, row in enumerate(listed, start=1)]


def _usual_format(completions: Iterable[str]) -> str:
    """The format of a file that names none."""
    return "plain" if any(output[:1].isspace() for output in completions) else "arrow"


def _pair(row: Any, where: str) -> tuple[str, str]:
    """(input, output) of an example, as the file has it."""
    fields = Fields(row, where)
    fields.only(frozenset(("prompt", "completion")), f"an example reads {_EXAMPLE}")
    return fields.text("prompt"), fields.text("completion")


def _prompt(
    task: str, examples: list[tuple[str, str]], query: str, answer: str, format: str | None, path: Path
) -> tuple[Prompt, str]:
    usual = _usual_format([answer, *(output for _, output in examples)])
    stripped = [(given, output.strip()) for given, output in examples]
    try:
        prompt = Prompt(task, stripped, query, usual if format is None else format)
        if not answer.strip() or prompt.stop in answer.strip():
            raise PellucidError(f"the answer {shown(answer)} is empty, or holds {prompt.stop!r}, which ends an answer")
    except PellucidError as error:
        raise PellucidError(f"{path}: {error}") from None
    return prompt, answer.strip()
