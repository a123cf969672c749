"""Tasks of your own from JSONL files. No torch here.

A line is a query with its right answer. With "choices" it is multiple choice; of a list of answers each is right:

    {"prompt": "France", "completion": "Paris"}
    {"prompt": "the river in London", "completion": ["Thames", "the Thames"]}
    {"prompt": "7 > 9?", "choices": ["True", "False"], "completion": "False"}

A query may have examples of its own, in order, and its own description and format (all in one line):

    {"task": "Reverse:", "format": "equals", "examples": [{"prompt": "a b", "completion": "b a"}],
     "prompt": "c d", "completion": "d c"}

A line with "example": true is never asked: the examples in prompts are drawn from such lines, or, if there are none, from the
other queries. The first line may hold the settings of the task, each of them optional:

    {"task": "Answer with the capital:", "format": "qa", "choices": [...], "answer_context": "Answer:", "max_tokens": 16,
     "compare": "html"}

Its "choices" are the classes of a classification: each must be the right answer of some line. The default "format" is "plain"
where a completion begins with white space, as in files for fine-tuning, else "arrow" (`generation.prompt.FORMATS`).
"""

import codecs
from pathlib import Path
from typing import Any

from pellucid.arguments import path_of, shown
from pellucid.errors import PellucidError
from pellucid.evaluation.task import ANSWER_CONTEXT, Query, Task, check_query
from pellucid.generation.prompt import FORMATS
from pellucid.strict_json import Fields, parse_json, read_named_file


MAX_TASK_BYTES = 1 << 28
_HEADER = frozenset(("task", "format", "choices", "answer_context", "max_tokens", "compare"))
_LINE = frozenset(("prompt", "completion", "choices", "example", "examples", "task", "format"))
_EXAMPLE = '{"prompt": "...", "completion": "..."}'


def read_task(path: str | Path) -> Task:
    """The task that a file holds, named by the file's name without its ending.

    Raises:
        PellucidError: no such file, a line that is not a query (the message has its number), no query at all, or a class that
            is no line's right answer.
    """
    path = path_of("a file of queries", path)
    header, rows = _split(path)
    format = header.text("format", None)
    if format is None:
        given = (completion for row, _ in rows for completion in _texts(row, "completion"))
        format = "plain" if any(text[:1].isspace() for text in given) else "arrow"
    if format not in FORMATS:
        raise PellucidError(f"{header.where}: unknown prompt format {shown(format)}: use one of {', '.join(FORMATS)}")
    classes = tuple(text.strip() for text in _texts(header, "choices", ()))
    queries, examples = list[Query](), list[Query]()
    is_choice: bool | None = None
    for row, is_example in rows:
        query = Query(
            prompt=row.text("prompt"), answers=tuple(text.strip() for text in _texts(row, "completion")),
            choices=tuple(text.strip() for text in _texts(row, "choices", classes)), examples=_own_examples(row),
            description=row.text("task", None), format=row.text("format", None),
        )  # fmt: skip
        check_query(query, format, str(row.where))
        if queries and not is_example and bool(query.examples) != bool(queries[0].examples):
            raise PellucidError(f"{row.where}: it {'has' if query.examples else 'has no'} examples, unlike the lines before it")
        if is_choice not in (None, bool(query.choices)):
            raise PellucidError(f"{row.where}: it {'has no' if is_choice else 'has'} choices, unlike the lines before it")
        is_choice = bool(query.choices)
        (examples if is_example else queries).append(query)
    if not queries:
        raise PellucidError(f"{path} holds no queries: a line each, {_EXAMPLE}")
    right = {answer for query in queries for answer in query.answers}
    if empty := [name for name in classes if name not in right]:
        raise PellucidError(
            f"{path}: the class {shown(empty[0])} is empty: no query has it as its answer; add one, or take it out of choices"
        )
    return Task(
        name=path.stem, queries=queries, examples=examples, description=header.text("task", ""), format=format,
        answer_context=header.text("answer_context", ANSWER_CONTEXT),
        max_tokens=header.integer("max_tokens", None, minimum=1, maximum=1 << 20), compare=header.text("compare", "text"),
    )  # fmt: skip


def _split(path: Path) -> tuple[Fields, list[tuple[Fields, bool]]]:
    """(the fields of the first line, if it is not a query, else no fields; each query, and whether it is only an example)."""
    data = read_named_file(path, MAX_TASK_BYTES)
    header = Fields({}, path)
    rows = list[tuple[Fields, bool]]()
    first = True
    for number, line in enumerate(data.removeprefix(codecs.BOM_UTF8).split(b"\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            fields = Fields(parse_json(line), where)
        except PellucidError:
            raise
        except ValueError as error:
            raise PellucidError(f"{where}: {error}") from None
        if first and "prompt" not in fields:
            fields.only(_HEADER, f"a first line without a prompt may have {', '.join(sorted(_HEADER))}")
            header = fields
        else:
            fields.only(_LINE, f"a query reads {_EXAMPLE}, and may have {', '.join(sorted(_LINE))}")
            rows.append((fields, fields.flag("example", False)))
        first = False
    return header, rows


def _own_examples(row: Fields) -> tuple[tuple[str, str], ...]:
    """The (input, output) pairs of a line's own examples."""
    pairs = list[tuple[str, str]]()
    for number, example in enumerate(row.list("examples", []), start=1):
        fields = Fields(example, f"{row.where}, example {number}")
        fields.only(frozenset(("prompt", "completion")), f"an example reads {_EXAMPLE}")
        pairs.append((fields.text("prompt"), fields.text("completion").strip()))
    return tuple(pairs)


def _texts(fields: Fields, name: str, default: Any = None) -> tuple[str, ...]:
    """A field that is a text or a list of texts."""
    if default is not None and name not in fields:
        return tuple(default)
    found = fields.value(name)
    listed = [found] if isinstance(found, str) else found
    if not isinstance(listed, list) or not listed or not all(isinstance(text, str) for text in listed):
        raise fields.wrong(name, "text or a list of texts, and not empty")
    return tuple(listed)
