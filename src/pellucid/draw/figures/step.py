"""`step`, the article's training step: an example, the prediction, its error, the update, and the same example again.

Everything belongs to one step of the run. Forward: the likeliest next tokens after the features. The error: -log p of the
label. Backward: the norm of each matrix's gradient, from the last block down. The update: how far each matrix moved, against
its own length. Then the same example again, and how often the run did this. `step_panels` and `step_grids` draw the parts.
"""

from dataclasses import dataclass
from math import exp

from pellucid.draw.components.marks import Box
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, Transition
from pellucid.draw.figures import step_grids as grids
from pellucid.draw.figures import step_panels as panels
from pellucid.draw.film.film import Film
from pellucid.draw.film.nodes import Node
from pellucid.draw.views.labels import percent
from pellucid.draw.views.model_parts import matrix_name
from pellucid.draw.views.step import StepView, TrainingExample
from pellucid.languages import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class _StepLayout:
    """Where the parts stand."""

    sheet: Sheet
    features: Box
    numbers: Box
    grids: Box
    bars: Box
    error: Box
    chart: Box

    @classmethod
    def of(cls, width: float, layers: int) -> "_StepLayout":
        more = grids.grids_height(layers, 12, 11) - 190  # a phone's sheet is as long as the model is deep
        sheet = Sheet.of(width, narrow_height=870 + more)
        if sheet.wide:
            return cls(
                sheet=sheet, features=Box(24, 66, 240, 190), numbers=Box(306, 424, 334, 78), grids=Box(306, 66, 334, 346),
                bars=Box(686, 66, 250, 250), error=Box(686, 340, 250, 84), chart=Box(24, 282, 244, 220),
            )  # fmt: skip
        return cls(
            sheet=sheet, features=Box(12, 46, 336, 98), numbers=Box(12, 594 + more, 336, 62),
            grids=Box(12, 396, 336, 190 + more), bars=Box(12, 152, 336, 164),
            error=Box(12, 322, 336, 66), chart=Box(12, 660 + more, 336, 160),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _ExampleTransitions:
    """When the prediction, the error and the example after the update are shown."""

    predict: Transition
    wrong: Transition
    again: Transition


@dataclass(frozen=True, slots=True, kw_only=True)
class _StepTransitions:
    """When each part is shown. example: None where the record holds no example."""

    example: _ExampleTransitions | None
    back: Transition
    update: Transition
    repeat: Transition


def step(view: StepView, *, width: float = 960) -> Film:
    """The film of one training step. Raises PellucidError for a picture less than 240 wide."""
    layers = view.model.config.n_layers
    layout, timeline = _StepLayout.of(width, layers), Timeline()
    sheet = layout.sheet
    transitions = _on_timeline(view, timeline)
    nodes = _example(view, layout, transitions)
    if sheet.wide:
        predict = transitions.example.predict if transitions.example else None
        back = transitions.back if transitions.example else None
        nodes += panels.arrows(layout.grids, layout.features.right, layout.bars.x, predict, back)
    nodes += grids.grids(sheet, layout.grids, layers, view.norms, transitions.back, transitions.update)
    nodes += panels.numbers(view, sheet, layout.numbers, transitions.back, transitions.update)
    nodes += panels.run_so_far(view, sheet, layout.chart, transitions.repeat)
    return sheet.film(view.model, "One training step", nodes, timeline, alt=_alt(view), notes=_notes(view.example))


def _on_timeline(view: StepView, timeline: Timeline) -> _StepTransitions:
    n, history, example = view.norms.step, view.history, view.example
    if example:
        likeliest, features = example.candidates[0], counted(len(example.features), "token")
        guesses = f"Likeliest: “{view.pieces.shown(likeliest.token)}” with {percent(likeliest.before)}."
        _, predict = timeline.segment(
            "The example",
            (0.0, 2.6, f"Step {n:,}. The model is shown only the features: {features} of one window."),
            (0.8, 2.4, f"It predicts the next one. {guesses}"),
        )
        label = (
            f"The label is “{view.pieces.shown(example.label)}”. It was given {percent(exp(-example.losses[0]))}: "
            f"the error is −log p = {example.losses[0]:.2f} nats."
        )
        (wrong,) = timeline.segment("The error", (0.6, 4.6, label))
    (back,) = timeline.segment(
        "Backward",
        (2.2, 3.4, "The error goes back through the blocks, from the last to the first: a gradient for each matrix."),
    )
    (update,) = timeline.segment(
        "The update", (1.0, 4.2, "Adam moves every matrix a little. Here: by how many hundredths of its own length.")
    )
    of_example = None
    if example:
        (again,) = timeline.segment("The same example again", (1.2, 4.4, _gained_words(example)))
        of_example = _ExampleTransitions(predict=predict, wrong=wrong, again=again)
    first, last = history.training[0].value, history.training[-1].value
    repeats = (
        f"This was step {n:,} of {history.steps:,}; each takes {_examples(view)}. From the first to the last, the training "
        f"loss goes from {first:.2f} to {last:.2f}."
    )
    (repeat,) = timeline.segment("Again and again", (2.2, 3.8, repeats))
    return _StepTransitions(example=of_example, back=back, update=update, repeat=repeat)


def _gained_words(example: TrainingExample) -> str:
    """What the update made of the label that is followed."""
    after = percent(exp(-example.losses[1]))
    if example.corrected:
        return f"The same features again: the label now has {after}. The prediction was wrong before, and is right now."
    return f"The same features again: the label now has {after}. No other label of its window gained as much."


def _examples(view: StepView) -> str:
    """How many examples a step takes, if the record's plan says."""
    if view.batch_tokens is None:
        return "other examples"
    return f"{'up to ' if view.ramps else ''}{view.batch_tokens:,} other examples at once"


def _example(view: StepView, layout: _StepLayout, transitions: _StepTransitions) -> list[Node]:
    """The features, the prediction and the error; words in their places where the record holds no example."""
    sheet, pieces, example, when = layout.sheet, view.pieces, view.example, transitions.example
    if example is None or when is None:
        return [
            *panels.missing(sheet, layout.features, "The example", "not in this record"),
            *panels.missing(sheet, layout.bars, "Its prediction", "not in this record"),
        ]
    return [
        *panels.features(sheet, layout.features, pieces, example),
        *panels.candidates(sheet, layout.bars, pieces, example, predict=when.predict, wrong=when.wrong, again=when.again),
        *panels.error(sheet, layout.error, pieces, example, when.wrong, when.again),
    ]


def _alt(view: StepView) -> str:
    norms, example, pieces, history = view.norms, view.example, view.pieces, view.history
    parts = [f"Step {norms.step:,} of {history.steps:,} in the training of {view.model.name}."]
    if example:
        before, after = (exp(-loss) for loss in example.losses)
        likeliest = example.candidates[0]
        parts.append(
            f"After {pieces.sentence(example.features[-8:])!r} the model gives {pieces.described(likeliest.token)} "
            f"{percent(likeliest.before)}, and the label, {pieces.described(example.label)}, {percent(before)}: loss "
            f"{example.losses[0]:.2f}. After the update the label has {percent(after)}: loss {example.losses[1]:.2f}."
        )
    else:
        parts.append("The example is not in this record.")
    for values, words in ((norms.gradients, "largest gradient norm"), (norms.changes, "largest change against its own length")):
        if values:
            name = max(values, key=lambda name: values[name])
            size = f"{values[name]:.3g}" if values is norms.gradients else percent(values[name])
            parts.append(f"The {words} is {size} ({matrix_name(name)}).")
    first, last = history.training[0].value, history.training[-1].value
    parts.append(f"Training loss {first:.2f} at step 1 and {last:.2f} at step {history.steps:,}.")
    return " ".join(parts)


def _notes(example: TrainingExample | None) -> tuple[str, ...]:
    notes = [
        "Adam's step follows running means of the gradients, and a little decay, not this gradient alone.",
        "A step learns from every token of a whole batch of windows at once; one of them is followed here. Gradients and "
        "changes are those of the whole batch, gradients before clipping.",
    ]
    if example and example.corrected:
        notes.append(
            "The track is a chosen one: of those whose likeliest token was wrong before this update and is the label after it, "
            "that whose label's probability the update raised most. Others stay wrong, gained less, or lost."
        )
    elif example and example.corrected is not None:
        notes.append(
            "In no track of the example did this update turn a wrong prediction into the right one. The track is a chosen one: "
            "that whose label's probability the update raised most. Others gained less, or lost."
        )
    elif example:
        notes.append(
            "The track is a chosen one: that of the example whose label's probability this update raised most. Others gained "
            "less, or lost."
        )
    return tuple(notes)
