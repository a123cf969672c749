"""`compare_with_finetuning`: scores with no, one and more examples in the prompt, and after fine-tuning on all of them."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pellucid.api.runs import finetune
from pellucid.arguments import path_of
from pellucid.errors import PellucidError
from pellucid.evaluation.catalog import find_tasks
from pellucid.evaluation.evaluate import ORDERS, QUERIES, SHOTS, evaluate
from pellucid.evaluation.scores import Scores
from pellucid.evaluation.shots import samples_of
from pellucid.evaluation.task import Task
from pellucid.events import Observer
from pellucid.finetuning.examples import Example
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.interpret.priming import prime
from pellucid.languages import tr


RUN, RECORD = "run", "priming.pellucid"  # in the folder


def compare_with_finetuning(
    model: str | Path | GPT, task: Any, out: str | Path, *, shots: int | Iterable[int] = SHOTS, queries: int | None = QUERIES,
    orders: int = ORDERS, seed: int = 0, report: Callable[[str], None] = lambda line: None, observers: Sequence[Observer] = (),
    stop: Callable[[], bool] = lambda: False, **options: Any,
) -> Scores:  # fmt: skip
    """The scores of a model on a task with examples in the prompt, and of the same model fine-tuned on the task's examples.

    `out` then holds what `pellucid.evaluate` writes, the fine-tuning run (`run/`, with the record for the figure `finetuning`)
    and a record of the first query after no, one and more examples (`priming.pellucid`, for the figure `priming`). The same
    call resumes what was interrupted.

    Args:
        model: anything `load` takes, or a model.
        task: one task, as `pellucid.evaluate` takes it, with examples that are not among its queries.
        out: the folder. shots, queries, orders, seed, report: as in `pellucid.evaluate`.
        observers, stop: of the fine-tuning run, as in `pellucid.finetune`. options: likewise, such as epochs=4.

    Raises:
        PellucidError: several tasks, no examples apart from the queries, a run that was stopped before its end, or as
            `pellucid.evaluate` and `pellucid.finetune`.
    """
    folder = path_of("out", out)
    found = find_tasks(task, seed=seed)
    if len(found) != 1 or not isinstance(found[0], Task):
        raise PellucidError("fine-tuning takes one task with queries: name one")
    chosen = found[0]
    if not chosen.examples or chosen.has_own_examples:
        raise PellucidError(
            f'{chosen.name} has no examples apart from its queries to fine-tune on: give lines with "example": true'
        )
    base = model if isinstance(model, GPT) else load(model)
    asked: dict[str, Any] = {
        "shots": shots, "queries": queries, "orders": orders, "seed": seed, "out": folder, "report": report,
    }  # fmt: skip
    evaluate(base, chosen, **asked)
    examples = [Example(chosen.prompt((), one).text, f" {one.answers[0]}") for one in chosen.examples]
    run = finetune(
        examples, folder / RUN, model=base, seed=seed, resume=True, observers=observers, stop=stop, **options
    )  # fmt: skip
    if run.step < run.plan.total_steps:
        raise PellucidError(f"{folder / RUN} was stopped at step {run.step}: the same command resumes it")
    scores = evaluate(base, chosen, finetuned=load(folder / RUN), **asked)
    try:
        _record_priming(base, chosen, max(cell.shots for cell in scores.cells), seed, folder / RECORD)
    except PellucidError as error:  # such as an answer whose first letters are in the prompt's last token
        report(tr("{path} was not recorded: {reason}", path=folder / RECORD, reason=error))
    return scores


def _record_priming(model: GPT, task: Task, shots: int, seed: int, path: Path) -> None:
    """Records the first query with no example, one, and as many as `evaluate` gave it."""
    query = task.queries[0]
    sample = samples_of(task, model, shots=shots, orders=1, queries=1, seed=seed)[0]
    counts = {0, min(1, len(sample.prompt.examples)), len(sample.prompt.examples)}
    prime(model, sample.prompt, answer=query.answers[0], shots=counts).save(path)
