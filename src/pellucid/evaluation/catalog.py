"""Finds the tasks that a user names: a task or a group of tasks of the package, or a file. No torch here."""

from collections.abc import Iterable
from pathlib import Path

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.evaluation import arithmetic, families, react, words
from pellucid.evaluation.perplexity import TextTask, read_text_task
from pellucid.evaluation.task import Task
from pellucid.evaluation.task_file import read_task


GROUPS: dict[str, tuple[str, ...]] = {"arithmetic": arithmetic.NAMES, "words": words.NAMES} | families.GROUPS
NAMES = (*dict.fromkeys(name for names in GROUPS.values() for name in names), react.NAME)
AnyTask = Task | TextTask


def find_tasks(given: object, *, seed: int = 0) -> list[AnyTask]:
    """The named tasks, in the order given.

    Args:
        given: one or several of: a name in `NAMES` or `GROUPS`, several joined by commas, the path of a file (.jsonl: queries
            as in `task_file`; .txt: a text, for its perplexity), or a task.
        seed: of the paper's tasks, which are generated from it.

    Raises:
        PellucidError: no such task or file, a file without a task, or two tasks of one name.
    """
    single = isinstance(given, str | Path | Task | TextTask)
    if not single and not isinstance(given, Iterable):
        raise PellucidError(f"tasks must be names, files or tasks, not {shown(given)}")
    found = list[AnyTask]()
    for item in [given] if single else list(given):  # type: ignore[call-overload]
        parts = [part.strip() for part in item.split(",")] if isinstance(item, str) else [item]
        for part in parts:
            found += _tasks(part, seed)
    if not found:
        raise PellucidError(f"name at least one task: {_known()}")
    names = [task.name for task in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise PellucidError(f"two tasks are called {twice[0]}: name each once, or give the files other names")
    return found


def _tasks(item: object, seed: int) -> list[AnyTask]:
    if isinstance(item, Task | TextTask):
        return [item]
    if isinstance(item, str) and item in GROUPS:
        return [_named_task(name, seed) for name in GROUPS[item]]
    if isinstance(item, str) and item in NAMES:
        return [_named_task(item, seed)]
    if isinstance(item, str | Path) and Path(item).suffix.lower() in (".jsonl", ".txt"):
        return [read_text_task(item) if Path(item).suffix.lower() == ".txt" else read_task(item)]
    raise PellucidError(f"no task is called {shown(str(item) if isinstance(item, Path) else item)}: {_known()}")


def _named_task(name: str, seed: int) -> Task:
    if name == react.NAME:
        return react.react_task()
    if name in families.NAMES:
        return families.family_task(name)
    make = arithmetic.arithmetic_task if name in arithmetic.NAMES else words.word_task
    return make(name, seed=seed)


def _known() -> str:
    single = ", ".join((*GROUPS, *arithmetic.NAMES, *words.NAMES, react.NAME, *families.HELD_OUT))
    return f"tasks are {single} and more families (docs/evaluating.md), files that end in .jsonl (queries) or .txt (a text)"
