"""`step`, the article's training step: an example, the prediction, its error, the update, and the same example again.

Everything belongs to one step of the run. Forward: the likeliest next tokens after the features. The error: -log p of the
label. Backward: the norm of each matrix's gradient, from the last block down. The update: how far each matrix moved, against
its own length. Then the same example again, and how often the run did this. `step_parts` draws the boxes.
"""

from dataclasses import dataclass
from math import exp, isfinite
from typing import Self

from pellucid.draw.components.curves import Curves
from pellucid.draw.components.marks import Box
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, animate
from pellucid.draw.figures import step_parts as parts
from pellucid.draw.film.film import Film
from pellucid.draw.film.nodes import Node, Shows
from pellucid.draw.views.labels import Pieces, config, model_name, percent
from pellucid.draw.views.training import Training, optional
from pellucid.record import Record


SHOWN = 5  # of the likeliest tokens; the label makes one more where it is not among them


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A token that could have come next.

    Attributes:
        before, after: its probability before and after the update, and where they stand in the record.
        known: whether the second is. It is not where the token left the likeliest: then it is below `after`, that of the
            last one kept.
    """

    token: int
    before: float
    after: float
    shows: tuple[Shows, Shows]
    label: bool
    known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """The example: the tokens up to its track, the label, the label's loss before and after, the candidates."""

    track: int
    features: list[int]
    label: int
    losses: tuple[float, float]
    candidates: list[Candidate]

    @classmethod
    def of(cls, record: Record) -> "Example | None":
        """The record's, if it has one."""
        if "training/example/ids" not in record:
            return None
        step, track = int(record["training/example/step"]), int(record["training/example/track"])
        ids, losses = record["training/example/ids"].tolist(), record["training/example/loss"].tolist()
        kept, logs = record["training/example/topk_ids"].tolist(), record["training/example/topk_logprobs"].tolist()
        label, before, after = ids[track + 1], losses[0][track], losses[1][track]
        of_loss = tuple(Shows("training/example/loss", (row, track), step, "replayed") for row in (0, 1))
        places = {token: i for i, token in enumerate(kept[1])}
        found = []
        for i, (token, value) in enumerate(zip(kept[0], logs[0], strict=True)):
            if token == label:
                found.append(
                    Candidate(token=token, before=exp(-before), after=exp(-after), shows=(of_loss[0], of_loss[1]), label=True)
                )
            elif i < SHOWN:
                place = places.get(token, len(kept[1]) - 1)
                shows = [Shows("training/example/topk_logprobs", at, step, "replayed") for at in ((0, i), (1, place))]
                found.append(
                    Candidate(
                        token=token, before=exp(value), after=exp(logs[1][place]), shows=(shows[0], shows[1]), label=False,
                        known=token in places,
                    )
                )  # fmt: skip
        if not any(candidate.label for candidate in found):
            found.append(
                Candidate(token=label, before=exp(-before), after=exp(-after), shows=(of_loss[0], of_loss[1]), label=True)
            )
        return cls(track=track, features=ids[: track + 1], label=label, losses=(before, after), candidates=found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Norms:
    """What a step did to each matrix: the norm of its gradient, and of its change over its own; None: not in the record."""

    moment: int
    step: int
    gradients: dict[str, float] | None
    changes: dict[str, float] | None

    @classmethod
    def of(cls, record: Record, step: int | None) -> Self:
        """Those of that step; without one, of the moment nearest to an eighth of the run.

        A moment is named by the steps done before it, so that step s belongs to the moment s - 1.
        """
        moments = record["training/moments/steps"].tolist()
        wanted = max(1, moments[-1] // 8) if step is None else step
        nearest = min(range(len(moments)), key=lambda i: abs(moments[i] + 1 - wanted))
        if step is not None and moments[nearest] + 1 != step:
            return cls(moment=-1, step=step, gradients=None, changes=None)
        names = record["training/matrices"]

        def row(name: str) -> dict[str, float] | None:
            rows = optional(record, f"training/moments/{name}", None)
            if rows is None or not all(map(isfinite, rows[nearest])):
                return None
            return dict(zip(names, rows[nearest].tolist(), strict=True))

        updates, weights = row("updates"), row("weights")
        changes = None if updates is None or weights is None else {name: updates[name] / weights[name] for name in names}
        return cls(moment=nearest, step=moments[nearest] + 1, gradients=row("gradients"), changes=changes)


@dataclass(frozen=True, slots=True)
class _Layout:
    sheet: Sheet
    features: Box
    facts: Box
    grids: Box
    bars: Box
    error: Box
    chart: Box

    @classmethod
    def of(cls, width: float, layers: int) -> "_Layout":
        more = parts.grids_height(layers, 12, 11) - 190  # a phone's sheet is as long as the model is deep
        sheet = Sheet.of(width, narrow_height=870 + more)
        if sheet.wide:
            return cls(
                sheet, Box(24, 66, 240, 190), Box(306, 424, 334, 78), Box(306, 66, 334, 346), Box(686, 66, 250, 250),
                Box(686, 340, 250, 84), Box(24, 282, 244, 220),
            )  # fmt: skip
        return cls(
            sheet, Box(12, 46, 336, 98), Box(12, 594 + more, 336, 62), Box(12, 396, 336, 190 + more), Box(12, 152, 336, 164),
            Box(12, 322, 336, 66), Box(12, 660 + more, 336, 160),
        )  # fmt: skip


def step(record: Record, *, width: float = 960) -> Film:
    """The film of one training step, drawn from a training record.

    Raises:
        MissingChunk: the record holds no losses by step, or no moments. PellucidError: a picture less than 240 wide.
    """
    run, place, pieces, example = (
        Training.of(record),
        _Layout.of(width, config(record).n_layers),
        Pieces.of(record),
        Example.of(record),
    )
    sheet, timeline = place.sheet, Timeline()
    norms = Norms.of(record, int(record["training/example/step"]) if example else None)
    n = norms.step
    nodes: list[Node] = []

    # The timeline, and with each segment what it shows.
    if example:
        likeliest = example.candidates[0]
        _, guess = timeline.segment(
            "The example",
            (0.0, 2.6, f"Step {n:,}. The model is shown only the features: {_tokens(len(example.features))} of one window."),
            (
                0.8,
                2.4,
                f"It predicts the next one. Likeliest: “{pieces.shown(likeliest.token)}” with {percent(likeliest.before)}.",
            ),
        )
        (wrong,) = timeline.segment(
            "The error",
            (0.6, 4.6, f"The label is “{pieces.shown(example.label)}”. It was given {percent(exp(-example.losses[0]))}: "
                       f"the error is −log p = {example.losses[0]:.2f} nats."),
        )  # fmt: skip
    (back,) = timeline.segment(
        "Backward",
        (2.2, 3.4, "The error goes back through the blocks, from the last to the first: a gradient for each matrix."),
    )
    (update,) = timeline.segment(
        "The update", (1.0, 4.2, "Adam moves every matrix a little. Here: by how many hundredths of its own length.")
    )
    if example:
        (again,) = timeline.segment(
            "The same example again",
            (1.2, 4.4, f"The same features again: the label now has {percent(exp(-example.losses[1]))}. No other label of its "
                       "window gained as much."),
        )  # fmt: skip
    first, last = run.training[0].value, run.training[-1].value
    (repeat,) = timeline.segment(
        "Again and again",
        (2.2, 3.8, f"This was step {n:,} of {run.steps:,}; each takes {_examples(record, run)}. From the first to the last, "
                   f"the training loss goes from {first:.2f} to {last:.2f}."),
    )  # fmt: skip

    if example:
        nodes += parts.features(sheet, place.features, pieces, example)
        nodes += parts.candidates(sheet, place.bars, pieces, example, guess, wrong, again)
        nodes += parts.error(sheet, place.error, pieces, example, n, wrong, again)
    else:
        nodes += parts.missing(sheet, place.features, "The example", "not in this record")
        nodes += parts.missing(sheet, place.bars, "Its prediction", "not in this record")
    if sheet.wide:
        nodes += parts.arrows(
            place.grids, place.features.right, place.bars.x, guess if example else None, back if example else None
        )
    nodes += parts.grids(sheet, place.grids, config(record).n_layers, norms, back, update)
    nodes += parts.facts(record, sheet, place.facts, norms, back, update)
    curves = Curves(run, place.chart, sheet.small, short=True)
    nodes += curves.nodes(n, [(repeat, run.steps)])
    nodes += parts.here(curves, run, n, animate(1.0, (repeat, 1.0)))
    return sheet.film(
        record, "One training step", nodes, timeline, alt=_alt(record, run, pieces, example, norms), notes=_notes(example)
    )


def _tokens(count: int) -> str:
    return "1 token" if count == 1 else f"{count:,} tokens"


def _examples(record: Record, run: Training) -> str:
    """How many examples a step takes, if the record's plan says."""
    plan = optional(record, "training/plan", {})
    up_to = "up to " if plan.get("recipe", {}).get("ramp_tokens") else ""
    return f"{up_to}{plan['batch'] * run.shape.n_ctx:,} other examples at once" if plan else "other examples"


def _alt(record: Record, run: Training, pieces: Pieces, example: Example | None, norms: Norms) -> str:
    told = [f"Step {norms.step:,} of {run.steps:,} in the training of {model_name(record)}."]
    if example:
        before, after = (exp(-loss) for loss in example.losses)
        told.append(
            f"After {pieces.sentence(example.features[-8:])!r} the model gives {pieces.told(example.candidates[0].token)} "
            f"{percent(example.candidates[0].before)}, and the label, {pieces.told(example.label)}, {percent(before)}: loss "
            f"{example.losses[0]:.2f}. After the update the label has {percent(after)}: loss {example.losses[1]:.2f}."
        )
    else:
        told.append("The example is not in this record.")
    for values, words in ((norms.gradients, "largest gradient norm"), (norms.changes, "largest change against its own length")):
        if values:
            name = max(values, key=lambda name: values[name])
            size = f"{values[name]:.3g}" if values is norms.gradients else percent(values[name])
            told.append(f"The {words} is that of {name}, {size}.")
    told.append(f"Training loss {run.training[0].value:.2f} at step 1 and {run.training[-1].value:.2f} at step {run.steps:,}.")
    return " ".join(told)


def _notes(example: Example | None) -> tuple[str, ...]:
    notes = [
        "Adam's step follows running means of the gradients, and a little decay, not this gradient alone.",
        "A step learns from every token of a whole batch of windows at once; one of them is followed here. Gradients and "
        "changes are those of the whole batch, gradients before clipping.",
    ]
    if example:
        notes.append(
            "The track is a chosen one: that of the example whose label's probability this update raised most. Others gained "
            "less, or lost."
        )
    return tuple(notes)
