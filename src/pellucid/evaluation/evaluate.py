"""`evaluate`: a model's scores on tasks, with no, one and several examples in the prompt."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.arguments import instance, path_of, shown, whole_number
from pellucid.errors import PellucidError
from pellucid.evaluation.catalog import AnyTask, find_tasks
from pellucid.evaluation.contamination import Contamination, Overlap, overlaps, training_documents
from pellucid.evaluation.intervals import bootstrap
from pellucid.evaluation.measure import BATCH, Examiner
from pellucid.evaluation.metrics import metrics_of
from pellucid.evaluation.perplexity import TextScore, TextTask, windows
from pellucid.evaluation.samples import FINETUNED, SAMPLES, SampleLog, open_log, read_result, request_fields, result_fields
from pellucid.evaluation.scores import ScoreCell, Scores, ShotsDifference
from pellucid.evaluation.shots import Sample, samples_of
from pellucid.evaluation.task import Task
from pellucid.generation.mixin import GenerationMixin
from pellucid.generation.model import GPT
from pellucid.generation.text_generator import TextGenerator
from pellucid.gpt.fingerprint import fingerprint
from pellucid.hashing import mix
from pellucid.languages import counted, tr
from pellucid.runtime.inference_mode import inference_mode
from pellucid.strict_json import Fields


SHOTS = (0, 1, 8)
QUERIES, ORDERS = 100, 3  # choices
MOST_SHOTS = 1_000
Values = dict[str, NDArray[np.float64]]  # by metric: (Q, O) values of the samples of a task with one number of examples


def evaluate(
    model: GPT, tasks: Any, *, shots: int | Iterable[int] = SHOTS, queries: int | None = QUERIES, orders: int = ORDERS,
    seed: int = 0, out: str | Path | None = None, contamination: str | Path | None = None, finetuned: GPT | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Scores:  # fmt: skip
    """The scores of a model on tasks, by the metrics of the GPT-3 paper.

    All prompts are made before the model computes anything, so that errors in a task are reported at once.

    Args:
        tasks: one or several of: names ("arithmetic", "words", "two_digit_addition" ...), paths of .jsonl files (queries,
            `evaluation.task_file`) and .txt files (a text's perplexity and bits per byte), `evaluation.task.Task`s.
        shots: numbers of examples in the prompt. Examples that do not fit into the context are left out, and counted.
        queries: how many of each task at most, the first ones; None: all.
        orders: how many times examples are drawn for each query, where there are examples.
        seed: of the paper's tasks, of the examples that are drawn, and of the intervals.
        out: a folder for every sample (samples.jsonl), the scores, their table and chart. Samples that are in it are not
            measured again.
        contamination: a run, or its training text: finds the queries that are in it, and adds the scores without them.
        finetuned: the same model fine-tuned on the tasks' examples. It is asked without examples in the prompt; the result has
            its scores, and its gain over the model with the most examples, query by query. Its samples are in `out`/finetuned.
        report: called with a line of progress after each task and number of examples.

    Raises:
        PellucidError: a model without a tokenizer, no such task, a bad line of a file, fewer examples than shots, a query that
            does not fit, a folder with other samples.
    """
    instance("model", model, GPT, "a model (pellucid.load(...))")
    model.require_tokenizer()
    numbers = _shots(shots)
    queries = None if queries is None else whole_number("queries", queries, 1)
    orders, seed = whole_number("orders", orders, 1, 1_000), whole_number("seed", seed, -(2**63), 2**63 - 1)
    folder = None if out is None else path_of("out", out)
    if finetuned is not None:
        instance("finetuned", finetuned, GPT, "a model (pellucid.load(...))").require_tokenizer()
    found = find_tasks(tasks, seed=seed)
    documents = None if contamination is None else training_documents(contamination, report=report)
    with inference_mode(model):
        # One runner for all samples: the model's own methods make a new one at each call, which packs the weights again.
        asked_model = TextGenerator(model.make_runner(), model.tokenizer)
        parts = _samples(found, asked_model, numbers, orders, queries, seed)
        overlap = [] if documents is None else overlaps(_with_queries(found), documents, queries=queries)
        encoded = {task.name: _encoded(task, asked_model) for task in found if isinstance(task, TextTask)}
        cells, differences, values = list[ScoreCell](), list[ShotsDifference](), dict[str, dict[int, Values]]()
        texts = list[TextScore]()
        with open_log(folder, fingerprint(model)) as log:
            for sample in chain.from_iterable(parts.values()):
                log.find(sample.key, request_fields(sample))  # raises for another request before anything is computed
            examiner = Examiner(asked_model)
            for task in found:
                if isinstance(task, TextTask):
                    texts.append(_read_text(task, encoded[task.name], asked_model, log, report))
                    continue
                by_shots = {count: _ask(parts[task.name, count], examiner, log, report) for count in numbers}
                values[task.name] = by_shots
                cells += _cells(task, by_shots, parts, seed)
                differences += _differences(task, by_shots, seed)
            scores = Scores(
                model=fingerprint(model), seed=seed, cells=cells, differences=differences, texts=texts,
                contamination=[_contamination(one, values[one.task]) for one in overlap],
            )  # fmt: skip
            if finetuned is not None:
                scores = _with_finetuned(scores, finetuned, _with_queries(found), values, queries, folder, report)
            if folder is not None:
                scores.save(folder)
    return scores


def _with_finetuned(
    scores: Scores, model: GPT, tasks: Sequence[Task], values: dict[str, dict[int, Values]], queries: int | None,
    folder: Path | None, report: Callable[[str], None],
) -> Scores:  # fmt: skip
    """The scores with those of a fine-tuned model, which is asked without examples."""
    seed, cells, gains = scores.seed, list[ScoreCell](), list[ShotsDifference]()
    with inference_mode(model), open_log(None if folder is None else folder / FINETUNED, fingerprint(model)) as log:
        asked_model = TextGenerator(model.make_runner(), model.tokenizer)
        parts = _samples(tasks, asked_model, [0], 1, queries, seed)
        examiner = Examiner(asked_model)
        for task in tasks:
            report(tr("{task}, fine-tuned:", task=task.name))
            by_shots = {0: _ask(parts[task.name, 0], examiner, log, report)}
            cells += _cells(task, by_shots, parts, seed)
            most = max(values[task.name])
            gains += [
                ShotsDifference(
                    task=task.name, metric=metric, shots=most, queries=len(by_shots[0][metric]),
                    interval=bootstrap(by_shots[0][metric] - values[task.name][most][metric], seed=mix(seed, most, 2)),
                )
                for metric in by_shots[0]
            ]
    return replace(scores, finetuned=cells, finetuned_gains=gains)


def _shots(given: int | Iterable[int]) -> list[int]:
    """The numbers of examples in ascending order, each once."""
    if isinstance(given, str | bytes) or (not isinstance(given, Iterable) and not hasattr(given, "__index__")):
        raise PellucidError(f"shots must be numbers of examples, such as (0, 1, 8), not {shown(given)}")
    listed = list(given) if isinstance(given, Iterable) else [given]
    if not listed:
        raise PellucidError("name a number of examples in shots, such as (0, 1, 8)")
    return sorted({whole_number("shots", count, 0, MOST_SHOTS) for count in listed})


def _with_queries(tasks: Sequence[AnyTask]) -> list[Task]:
    return [task for task in tasks if isinstance(task, Task)]


def _samples(
    tasks: Sequence[AnyTask], model: GenerationMixin, numbers: Sequence[int], orders: int, queries: int | None, seed: int
) -> dict[tuple[str, int], list[Sample]]:
    """The samples by task and number of examples, order by order. Errors as `samples_of`."""
    return {
        (task.name, count): samples_of(task, model, shots=count, orders=orders, queries=queries, seed=seed)
        for task in _with_queries(tasks) for count in numbers
    }  # fmt: skip


def _ask(samples: Sequence[Sample], examiner: Examiner, log: SampleLog, report: Callable[[str], None]) -> Values:
    """Measures the samples that are not in the log, and logs them. Returns the (Q, O) values of each metric."""
    before = [log.find(sample.key, request_fields(sample)) for sample in samples]
    measured = {sample.key: read_result(line, sample) for sample, line in zip(samples, before, strict=True) if line is not None}
    new = [sample for sample in samples if sample.key not in measured]
    for first in range(0, len(new), BATCH):
        batch = new[first : first + BATCH]
        for sample, result in zip(batch, examiner.measure(batch), strict=True):
            counts = {"examples": len(sample.prompt.examples), "dropped": len(sample.prompt.dropped)}
            metrics = metrics_of(sample.query, result, sample.task.compare)
            log.add(sample.key, request_fields(sample) | counts | result_fields(result) | {"metrics": metrics})
            measured[sample.key] = result
    orders = 1 + max(sample.order for sample in samples)
    rows = [metrics_of(sample.query, measured[sample.key], sample.task.compare) for sample in samples]
    done = f"{samples[0].task.name}, {counted(samples[0].shots, 'shot')}: {counted(len(samples), 'sample')}"
    kept = len(samples) - len(new)
    report(tr("{done}, {kept:,} of them kept from before", done=done, kept=kept) if kept else done)
    return {name: np.array([row[name] for row in rows]).reshape(orders, -1).T for name in rows[0]}


def _cells(task: Task, by_shots: dict[int, Values], parts: dict[tuple[str, int], list[Sample]], seed: int) -> list[ScoreCell]:
    return [
        ScoreCell(
            task=task.name, metric=metric, shots=count, interval=bootstrap(by_shots[count][metric], seed=mix(seed, count)),
            queries=by_shots[count][metric].shape[0], orders=by_shots[count][metric].shape[1],
            asked=count * len(parts[task.name, count]), dropped=sum(len(one.prompt.dropped) for one in parts[task.name, count]),
        )
        for metric in next(iter(by_shots.values())) for count in by_shots
    ]  # fmt: skip


def _differences(task: Task, by_shots: dict[int, Values], seed: int) -> list[ShotsDifference]:
    """Few-shot minus zero-shot, query by query; [] without zero-shot scores."""
    if 0 not in by_shots:
        return []
    return [
        ShotsDifference(
            task=task.name, metric=metric, shots=count, queries=len(by_shots[0][metric]),
            interval=bootstrap(by_shots[count][metric] - by_shots[0][metric], seed=mix(seed, count, 1)),
        )
        for metric in by_shots[0] for count in by_shots if count
    ]  # fmt: skip


def _encoded(task: TextTask, model: GenerationMixin) -> list[int]:
    """The tokens of a text. Raises PellucidError, which names it, where the model has none for a part of it."""
    try:
        return model.require_tokenizer().encode(task.text)
    except PellucidError as error:
        raise PellucidError(f"{task.name}: {error}") from None


def _read_text(
    task: TextTask, ids: Sequence[int], model: GenerationMixin, log: SampleLog, report: Callable[[str], None]
) -> TextScore:
    """The loss of a text, window by window; windows that are in the log are not computed again."""
    nats = 0.0
    for number, (context, predicted) in enumerate(windows(ids, model.config.start_id, model.config.n_ctx)):
        key, question = (task.name, 0, 0, number), {"context": context, "predicted": predicted}
        line = log.find(key, question)
        if line is None:
            line = question | {"logprob": model.score(context, completion=predicted).total}
            log.add(key, line)
        nats -= Fields(line, f"{SAMPLES}, {task.name}, window {number + 1}").number("logprob")
    report(f"{task.name}: {counted(len(ids), 'token')}")
    return TextScore(task=task.name, nats=nats, tokens=len(ids), text_bytes=len(task.text.encode()))


def _contamination(overlap: Overlap, by_shots: dict[int, Values]) -> Contamination:
    """The task's first metric, with the most examples, over all queries and over those that are not in the text."""
    shots = max(by_shots)
    metric, values = next(iter(by_shots[shots].items()))
    clean = np.delete(values, overlap.dirty, axis=0)
    return Contamination(
        overlap=overlap, metric=metric, shots=shots, score=float(values.mean()),
        clean_score=float(clean.mean()) if clean.size else None,
    )  # fmt: skip
