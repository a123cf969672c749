"""The article's React example as a task: from a description in words to the code that it asks for. No torch here.

`assets/react.jsonl` (written by `recipes.default_model.react_file`) has 400 examples and 60 queries in the article's format,
`description:` and `code:`. Each query has a pair of element and colour (a purple button) that no example has, though the
examples have each of the two in other pairs: a right answer combines what they show. Answers are compared as trees.
"""

from pathlib import Path

from pellucid.evaluation.task import Task
from pellucid.evaluation.task_file import read_task


NAME = "react"
FILE = Path(__file__).parent.parent / "assets" / f"{NAME}.jsonl"


def react_task() -> Task:
    """The task: 60 queries, and 400 examples for prompts and fine-tuning."""
    return read_task(FILE)
