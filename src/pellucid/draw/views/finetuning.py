"""What the figure `finetuning` shows of a fine-tuning record: what changed in the model, its answers, its losses, forgetting.

Q weight matrices, L blocks, N steps, E evaluations, Z windows of G targets.
"""

from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

import numpy as np

from pellucid.draw.film.nodes import Shows
from pellucid.draw.views.model_info import RecordedModel, optional_chunk, read_model
from pellucid.draw.views.training import LossPoint
from pellucid.languages import tr
from pellucid.record import Record


KINDS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")  # a block's matrices that are drawn
EMBEDDINGS = ("wte", "wpe")


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixChange:
    """One weight matrix.

    Attributes:
        place: among the record's matrices. name: its own.
        change, weights: L2 norms of its change and of itself before (`finetuning/change`, `finetuning/weights`, derived).
        tiles: (rows, columns) mean |change| by tile (`finetuning/thumbnails/{matrix}`, derived); None where not recorded.
    """

    place: int
    name: str
    change: float
    weights: float
    tiles: Any

    @property
    def moved(self) -> float | None:
        """The change's norm over the matrix's; None where the matrix was all zeros."""
        return self.change / self.weights if self.weights > 0 else None

    @property
    def shows(self) -> Shows:
        """Where the norm of its change stands."""
        return Shows("finetuning/change", (self.place,))


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutAnswer:
    """An example that was not trained on, with both models' likeliest answers (`finetuning/answers`, derived)."""

    place: int
    prompt: str
    expected: str
    before: str
    after: str

    def is_right(self, when: str) -> bool:
        """Whether the answer "before" or "after" is the expected one, to the character."""
        return bool(getattr(self, when) == self.expected)

    @property
    def shows(self) -> Shows:
        """Where it stands."""
        return Shows("finetuning/answers", (self.place,))


@dataclass(frozen=True, slots=True, kw_only=True)
class RightAnswers:
    """How many examples are answered exactly.

    Attributes:
        before, after: by the two models, of `count`.
        all_held_out: whether of all held-out examples (`finetuning/held_out/right` and `.../examples`), or only of those whose
            answers the record holds. shows: where the two numbers stand (derived).
    """

    before: int
    after: int
    count: int
    all_held_out: bool
    shows: tuple[Shows, Shows]


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneralLoss:
    """The mean loss on general text, nats a token (`finetuning/general/loss`, derived), and where the text comes from."""

    before: float
    after: float
    tokens: int
    origin: str

    @property
    def shows(self) -> tuple[Shows, Shows]:
        """Where the losses before and after stand."""
        return Shows("finetuning/general/loss", (0,)), Shows("finetuning/general/loss", (1,))


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuningView:
    """The figure's values.

    Attributes:
        blocks: for each drawn kind of matrix, that of each block in order; None where a block has none of the kind.
        embeddings: those of the token and of the position matrix that the model has.
        others: how many more matrices the record names. most: the change per number that the darkest colour shows.
        answers: none for a run on plain text. right: None where no answer is known.
        training: the loss of each step (`finetuning/steps/loss`, replayed). held_out: at each evaluation
            (`finetuning/held_out/loss`, derived). rights: exact answers after so many steps, where known.
        steps, batch: of the run (plan, given). kept: the step whose model was kept (provenance). trained_on: how many examples,
            if the plan says.
        general: None where the record has no general text.
    """

    model: RecordedModel
    blocks: dict[str, tuple[MatrixChange | None, ...]]
    embeddings: tuple[MatrixChange, ...]
    others: int
    most: float
    total_moved: float
    answers: tuple[HeldOutAnswer, ...]
    right: RightAnswers | None
    training: tuple[LossPoint, ...]
    held_out: tuple[LossPoint, ...]
    rights: dict[int, int]
    steps: int
    batch: int
    kept: int
    trained_on: int | None
    general: GeneralLoss | None

    @property
    def drawn(self) -> list[MatrixChange]:
        """Every matrix that is drawn."""
        return [one for row in self.blocks.values() for one in row if one is not None] + list(self.embeddings)

    @property
    def most_moved(self) -> MatrixChange | None:
        """The drawn matrix that moved most against its own length; None where none moved."""
        moved = [one for one in self.drawn if one.moved]
        return max(moved, key=lambda one: one.moved or 0.0) if moved else None


def finetuning_view(record: Record) -> FinetuningView:
    """Reads a fine-tuning record. Raises MissingChunk where it lacks norms or the plan."""
    model, plan = read_model(record), record["finetuning/plan"]
    names = record["finetuning/matrices"]
    norms = [record[f"finetuning/{name}"].tolist() for name in ("change", "weights")]
    matrices = {
        name: MatrixChange(
            place=place, name=name, change=change, weights=weights,
            tiles=optional_chunk(record, f"finetuning/thumbnails/{name}", None),
        )
        for place, (name, change, weights) in enumerate(zip(names, *norms, strict=True))
    }  # fmt: skip
    blocks = {
        kind: tuple(matrices.get(f"h.{block}.{kind}") for block in range(model.config.n_layers)) for kind in KINDS
    }
    answers = tuple(HeldOutAnswer(place=i, **one) for i, one in enumerate(record["finetuning/answers"]))
    embeddings = tuple(matrices[name] for name in EMBEDDINGS if name in matrices)
    drawn = [one for row in blocks.values() for one in row if one is not None] + list(embeddings)
    held_out_steps = optional_chunk(record, "finetuning/held_out/steps", np.empty(0)).tolist()
    rights = optional_chunk(record, "finetuning/held_out/right", None)
    length = sqrt(sum(one.weights**2 for one in matrices.values()))
    kept = plan["total_steps"] if model.step is None else model.step
    return FinetuningView(
        model=model, blocks=blocks, embeddings=embeddings, others=len(names) - len(drawn), most=_range(drawn),
        total_moved=sqrt(sum(one.change**2 for one in matrices.values())) / length if length else 0.0,
        answers=answers,
        right=_right(record, answers, held_out_steps, kept),
        training=_points(record, "finetuning/steps/loss", None, "replayed"),
        held_out=_points(record, "finetuning/held_out/loss", held_out_steps, "derived"),
        rights={} if rights is None else dict(zip(held_out_steps, rights.tolist(), strict=True)),
        steps=plan["total_steps"], batch=plan["batch"], kept=kept,
        trained_on=plan.get("source", {}).get("train_examples"), general=_general(record),
    )  # fmt: skip


def _points(record: Record, chunk: str, steps: list[int] | None, truth: str) -> tuple[LossPoint, ...]:
    losses = optional_chunk(record, chunk, np.empty(0)).tolist()
    at = range(1, len(losses) + 1) if steps is None else steps
    rows = enumerate(zip(at, losses, strict=True))
    return tuple(LossPoint(step, loss, Shows(chunk, (i,), step, truth)) for i, (step, loss) in rows if isfinite(loss))


def _right(
    record: Record, answers: tuple[HeldOutAnswer, ...], steps: list[int], kept: int
) -> RightAnswers | None:
    chunk = "finetuning/held_out/right"
    if chunk in record and "finetuning/held_out/examples" in record and kept in steps:
        row, found = steps.index(kept), record[chunk].tolist()
        return RightAnswers(
            before=found[0], after=found[row], count=int(record["finetuning/held_out/examples"]), all_held_out=True,
            shows=(Shows(chunk, (0,), 0), Shows(chunk, (row,), kept)),
        )  # fmt: skip
    if not answers:
        return None
    before, after = (sum(one.is_right(when) for one in answers) for when in ("before", "after"))
    shows = Shows("finetuning/answers")
    return RightAnswers(before=before, after=after, count=len(answers), all_held_out=False, shows=(shows, shows))


def _general(record: Record) -> GeneralLoss | None:
    chunk = "finetuning/general/loss"
    if chunk not in record:
        return None
    losses = record[chunk].astype(np.float64)
    if not (losses.size and np.isfinite(losses).all()):  # no target, or no number: nothing was measured
        return None
    before, after = losses.mean(axis=(1, 2)).tolist()
    ids = "finetuning/general/ids"
    source = record.entry(ids).source if ids in record else None
    return GeneralLoss(before=before, after=after, tokens=losses[0].size, origin=tr(str((source or {}).get("text", ""))))


def _range(drawn: list[MatrixChange]) -> float:
    """The mean |change| that all but 1 % of the tiles stay below, in two digits; 0 where nothing changed or is recorded."""
    tiles = [one.tiles.ravel() for one in drawn if one.tiles is not None]
    if not tiles:
        return 0.0
    values = np.sort(np.concatenate(tiles))
    return float(f"{float(values[int((len(values) - 1) * 0.99)]) or float(values[-1]):.1e}")
