"""`Scores`: the results of an evaluation, as values, JSON and a Markdown table. No torch here."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from pellucid.draw import Film, ScorePanel, score_chart
from pellucid.evaluation.contamination import Contamination
from pellucid.evaluation.intervals import LEVEL, Interval
from pellucid.evaluation.perplexity import TextScore
from pellucid.evaluation.published import curve
from pellucid.evaluation.samples import CHART, SCORES, TABLE
from pellucid.files import make_folder, write_whole
from pellucid.languages import counted, tr


# A few queries may all differ alike by chance, and the bootstrap interval of equal values has no width. With five the sign test
# has p = 2 / 2^5 > 0.05, with six it has 0.03.
LEAST_QUERIES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCell:
    """A metric of a task with one number of examples.

    Attributes:
        shots: examples asked for. queries, orders: how many of each; without examples there is one order.
        asked: examples asked for, in all prompts together. dropped: how many of them did not fit.
    """

    task: str
    metric: str
    shots: int
    interval: Interval
    queries: int
    orders: int
    asked: int
    dropped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShotsDifference:
    """A metric with `shots` examples minus the same without any, query by query.

    Attributes:
        queries: how many there are.
    """

    task: str
    metric: str
    shots: int
    interval: Interval
    queries: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0, of `LEAST_QUERIES` queries or more."""
        return self.queries >= LEAST_QUERIES and (self.interval.low > 0 or self.interval.high < 0)


Row = TypeVar("Row", ScoreCell, ShotsDifference)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The results of an evaluation.

    Attributes:
        model: its fingerprint. seed: of everything that was drawn.
        cells: by task, metric and shots, in this order; the first metric is the main one of its task.
        differences: few-shot minus zero-shot, where there are zero-shot scores.
        texts: one for each text. contamination: one for each task, where a training text was given.
        finetuned: the cells of a fine-tuned model, which was asked without examples. finetuned_gains: its metrics minus those
            of the model with `shots` examples, the largest number asked for.
    """

    model: str
    seed: int
    cells: Sequence[ScoreCell] = ()
    differences: Sequence[ShotsDifference] = ()
    texts: Sequence[TextScore] = ()
    contamination: Sequence[Contamination] = ()
    finetuned: Sequence[ScoreCell] = ()
    finetuned_gains: Sequence[ShotsDifference] = ()

    def cell(self, task: str, metric: str, shots: int) -> ScoreCell:
        """One of the cells. Raises KeyError where there is none."""
        return _only(self.cells, task, metric, shots)

    def difference(self, task: str, metric: str, shots: int) -> ShotsDifference:
        """One of the differences. Raises KeyError where there is none."""
        return _only(self.differences, task, metric, shots)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "model": self.model, "seed": self.seed, "level": LEVEL,
            "cells": [_flat(cell) for cell in self.cells],
            "differences": [_flat(one) | {"clear": one.is_clear} for one in self.differences],
            "texts": [
                asdict(text) | {"perplexity": text.perplexity, "bits_per_byte": text.bits_per_byte} for text in self.texts
            ],
            "contamination": [one.to_dict() for one in self.contamination],
        } | ({
            "finetuned": [_flat(cell) for cell in self.finetuned],
            "finetuned_gains": [_flat(one) | {"clear": one.is_clear} for one in self.finetuned_gains],
        } if self.finetuned else {})  # fmt: skip

    def markdown(self) -> str:
        """Tables of the scores, of the differences, of GPT-3's scores (a row a task and metric), of texts and contamination."""
        parts = list[str]()
        if self.cells:
            parts += [_cell_table(self.cells, self.finetuned), _notes(self)]
        if self.differences or self.finetuned_gains:
            parts.append(_difference_table(self.differences, self.finetuned_gains))
        if published := _published_table(dict.fromkeys(cell.task for cell in self.cells)):
            parts.append(published)
        if self.texts:
            parts.append(_text_table(self.texts))
        if self.contamination:
            parts.append(_contamination_table(self.contamination))
        return "\n\n".join(parts) + "\n"

    def chart(self) -> Film:
        """The main metric of each task by number of examples, a panel a task, with GPT-3's published curve where there is one.

        Raises:
            PellucidError: there are no cells, only texts.
        """
        first = dict[str, str]()  # the main metric of each task
        for cell in self.cells:
            first.setdefault(cell.task, cell.metric)
        return score_chart([
            ScorePanel(
                task=task, published=curve(task),
                points=[
                    (cell.shots, cell.interval.mean, cell.interval.low, cell.interval.high)
                    for cell in self.cells if (cell.task, cell.metric) == (task, metric)
                ],
            )
            for task, metric in first.items()
        ])  # fmt: skip

    def save(self, folder: str | Path) -> None:
        """Writes scores.json, scores.md and, if there are cells, scores.svg into a folder.

        Raises:
            PellucidError: they cannot be written.
        """
        folder = Path(folder)
        make_folder(folder)
        write_whole(folder / SCORES, json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n", what="the scores")
        write_whole(folder / TABLE, self.markdown(), what="the table")
        if self.cells:
            self.chart().save(folder / CHART)


def _only(listed: Sequence[Row], task: str, metric: str, shots: int) -> Row:
    for one in listed:
        if (one.task, one.metric, one.shots) == (task, metric, shots):
            return one
    raise KeyError((task, metric, shots))


def _flat(row: ScoreCell | ShotsDifference) -> dict[str, Any]:
    values = asdict(row)
    interval: dict[str, float] = values.pop("interval")
    return values | interval


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 2) -> str:
    """A Markdown table, aligned in plain text, too: the first `left` columns to the left, the others, numbers, to the right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        padded = enumerate(zip(row, widths, strict=True))
        return f"| {' | '.join(t.ljust(w) if i < left else t.rjust(w) for i, (t, w) in padded)} |"

    rule = [("-" * width if i < left else "-" * (width - 1) + ":") for i, width in enumerate(widths)]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def _shown(metric: str, value: float, *, sign: bool = False) -> str:
    """A share in percent, a log-probability in nats."""
    form = "+" if sign else ""
    return f"{value:{form}.2f}" if metric.startswith("logprob") else f"{100 * value:{form}.1f}"


def _with_interval(metric: str, interval: Interval, *, sign: bool = False) -> str:
    low, high = (_shown(metric, value, sign=sign) for value in (interval.low, interval.high))
    return f"{_shown(metric, interval.mean, sign=sign)} [{low}, {high}]"


def _cell_table(cells: Sequence[ScoreCell], finetuned: Sequence[ScoreCell]) -> str:
    shots = sorted({cell.shots for cell in cells})
    head = [tr("task"), tr("metric"), tr("queries"), *(counted(count, "shot") for count in shots)]
    head += [tr("fine-tuned")] if finetuned else []
    rows = dict[tuple[str, str], list[str]]()
    for cell in (*cells, *finetuned):
        row = rows.setdefault((cell.task, cell.metric), [cell.task, cell.metric, f"{cell.queries:,}"])
        row.append(_with_interval(cell.metric, cell.interval))
    return _table(head, list(rows.values()))


def _difference_table(differences: Sequence[ShotsDifference], gains: Sequence[ShotsDifference]) -> str:
    shots = sorted({one.shots for one in differences})
    head = [tr("task"), tr("metric"), *(tr("{shots} - 0 shots", shots=count) for count in shots)]
    head += [tr("fine-tuned - {shots}", shots=counted(gains[0].shots, "shot"))] if gains else []
    rows = dict[tuple[str, str], list[str]]()
    for one in (*differences, *gains):
        row = rows.setdefault((one.task, one.metric), [one.task, one.metric])
        row.append(_with_interval(one.metric, one.interval, sign=True) + (" *" if one.is_clear else ""))
    said = tr("What the examples add, query by query (* the interval excludes 0):")
    if gains:
        said = tr("What the examples and fine-tuning add, query by query (* the interval excludes 0):")
    return f"{said}\n\n{_table(head, list(rows.values()))}"


def _published_table(tasks: Iterable[str]) -> str:
    """GPT-3's scores on those of the tasks that the paper has; "" for none."""
    rows = [[task, ", ".join(f"{count}: {100 * share:.3g}" for count, share in curve(task))] for task in tasks if curve(task)]
    said = tr("GPT-3 175B by number of examples, exact match in percent (its paper, tables 3.9 and 3.10):")
    return f"{said}\n\n{_table([tr('task'), 'GPT-3 175B'], rows)}" if rows else ""


def _notes(scores: Scores) -> str:
    orders = max(cell.orders for cell in scores.cells)
    lines = [
        tr(
            "In percent, logprob_... in nats; in brackets {level:.0f} % intervals (bootstrap over queries and orders).",
            level=100 * LEVEL,
        ),
        tr("Orders of examples for each query: {orders:,}. Seed {seed}.", orders=orders, seed=scores.seed),
    ]
    for task, count, asked, dropped in dict.fromkeys((c.task, c.shots, c.asked, c.dropped) for c in scores.cells):
        if dropped:
            lines.append(tr(
                "{task}, {shots:,} shots: {dropped:,} of {asked:,} examples did not fit into the context and were left out.",
                task=task, shots=count, dropped=dropped, asked=asked,
            ))  # fmt: skip
    return "\n".join(f"- {line}" for line in lines)


def _text_table(texts: Sequence[TextScore]) -> str:
    head = [tr("text"), tr("tokens"), tr("bytes"), tr("perplexity"), tr("bits per byte")]
    rows = [
        [text.task, f"{text.tokens:,}", f"{text.text_bytes:,}", f"{text.perplexity:.2f}", f"{text.bits_per_byte:.3f}"]
        for text in texts
    ]
    return _table(head, rows, left=1)


def _contamination_table(found: Sequence[Contamination]) -> str:
    head = [
        tr("task"), tr("metric"), tr("shots"), tr("words"), tr("queries"), tr("in the text"), tr("too short"), tr("all"),
        tr("not in the text"),
    ]  # fmt: skip
    rows = [
        [
            one.overlap.task, one.metric, str(one.shots), str(one.overlap.length), f"{one.overlap.queries:,}",
            f"{len(one.overlap.dirty):,}", f"{len(one.overlap.too_short):,}", _shown(one.metric, one.score),
            "-" if one.clean_score is None else _shown(one.metric, one.clean_score),
        ]
        for one in found
    ]  # fmt: skip
    title = tr("Contamination: queries that share so many consecutive words with the training text.")
    return f"{title}\n\n{_table(head, rows)}"
