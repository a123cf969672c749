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
from pellucid.languages import counted, joined, tr


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
    return sheet.film(view.model, tr("One training step"), nodes, timeline, alt=_alt(view), notes=_notes(view))


def _on_timeline(view: StepView, timeline: Timeline) -> _StepTransitions:
    n, history, example = view.norms.step, view.history, view.example
    if example:
        likeliest, features = example.candidates[0], counted(len(example.features), "token")
        guesses = tr(
            "It predicts the next one. Likeliest: “{word}” with {share}.", word=view.pieces.shown(likeliest.token),
            share=percent(likeliest.before),
        )  # fmt: skip
        shown = tr("Step {step:,}. The model is shown only the features: {features} of one window.", step=n, features=features)
        _, predict = timeline.segment(tr("The example"), (0.0, 2.6, shown), (0.8, 2.4, guesses))
        label = tr(
            "The label is “{word}”. It was given {share}: the error is −log p = {loss:.2f} nats.",
            word=view.pieces.shown(example.label), share=percent(exp(-example.losses[0])), loss=example.losses[0],
        )  # fmt: skip
        (wrong,) = timeline.segment(tr("The error"), (0.6, 4.6, label))
    backward = tr("The error goes back through the blocks, from the last to the first: a gradient for each matrix.")
    (back,) = timeline.segment(tr("Backward"), (2.2, 3.4, backward))
    (update,) = timeline.segment(tr("The update"), (1.0, 4.2, _update_words(view)))
    of_example = None
    if example:
        (again,) = timeline.segment(tr("The same example again"), (1.2, 4.4, _gained_words(example)))
        of_example = _ExampleTransitions(predict=predict, wrong=wrong, again=again)
    first, last = history.training[0].value, history.training[-1].value
    falls = tr("From the first to the last, the training loss goes from {first:.2f} to {last:.2f}.", first=first, last=last)
    repeats = joined((_examples(view), falls))
    (repeat,) = timeline.segment(tr("Again and again"), (2.2, 3.8, repeats))
    return _StepTransitions(example=of_example, back=back, update=update, repeat=repeat)


def _update_words(view: StepView) -> str:
    if view.optimizer == "adamw":
        return tr("Adam moves every matrix a little. Here: by how many hundredths of its own length.")
    return tr(
        "The optimizer, {name}, moves every matrix a little. Here: by how many hundredths of its own length.",
        name=view.optimizer,
    )


def _gained_words(example: TrainingExample) -> str:
    """What the update made of the label that is followed."""
    after = percent(exp(-example.losses[1]))
    if example.corrected:
        return tr(
            "The same features again: the label now has {share}. The prediction was wrong before, and is right now.",
            share=after,
        )  # fmt: skip
    return tr(
        "The same features again: the label now has {share}. No other label of its window gained as much.", share=after
    )


def _examples(view: StepView) -> str:
    """Which step this is, and how many examples a step takes, if the record's plan says."""
    step, steps, examples = view.norms.step, view.history.steps, view.batch_tokens
    if examples is None:
        return tr("This was step {step:,} of {steps:,}; each takes other examples.", step=step, steps=steps)
    if view.ramps:
        return tr(
            "This was step {step:,} of {steps:,}; each takes up to {examples:,} other examples at once.",
            step=step, steps=steps, examples=examples,
        )  # fmt: skip
    return tr(
        "This was step {step:,} of {steps:,}; each takes {examples:,} other examples at once.",
        step=step, steps=steps, examples=examples,
    )  # fmt: skip


def _example(view: StepView, layout: _StepLayout, transitions: _StepTransitions) -> list[Node]:
    """The features, the prediction and the error; words in their places where the record holds no example."""
    sheet, pieces, example, when = layout.sheet, view.pieces, view.example, transitions.example
    if example is None or when is None:
        return [
            *panels.missing(sheet, layout.features, tr("The example"), tr("not in this record")),
            *panels.missing(sheet, layout.bars, tr("Its prediction"), tr("not in this record")),
        ]
    return [
        *panels.features(sheet, layout.features, pieces, example),
        *panels.candidates(sheet, layout.bars, pieces, example, predict=when.predict, wrong=when.wrong, again=when.again),
        *panels.error(sheet, layout.error, pieces, example, when.wrong, when.again),
    ]


def _alt(view: StepView) -> str:
    norms, example, pieces, history = view.norms, view.example, view.pieces, view.history
    parts = [
        tr(
            "Step {step:,} of {steps:,} in the training of {model}.", step=norms.step, steps=history.steps,
            model=view.model.name,
        )
    ]  # fmt: skip
    if example:
        before, after = (exp(-loss) for loss in example.losses)
        likeliest = example.candidates[0]
        parts.append(
            tr(
                "After {features!r} the model gives {likeliest} {share}, and the label, {label}, {before}: loss {loss:.2f}. "
                "After the update the label has {after}: loss {loss_after:.2f}.",
                features=pieces.sentence(example.features[-8:]), likeliest=pieces.described(likeliest.token),
                share=percent(likeliest.before), label=pieces.described(example.label), before=percent(before),
                loss=example.losses[0], after=percent(after), loss_after=example.losses[1],
            )
        )  # fmt: skip
    else:
        parts.append(tr("The example is not in this record."))
    if norms.gradients:
        name, norm = max(norms.gradients.items(), key=lambda pair: pair[1])
        parts.append(tr("The largest gradient norm is {norm:.3g} ({matrix}).", norm=norm, matrix=matrix_name(name)))
    if norms.changes:
        name, share = max(norms.changes.items(), key=lambda pair: pair[1])
        matrix = matrix_name(name)
        parts.append(
            tr("The largest change against its own length is {share} ({matrix}).", share=percent(share), matrix=matrix)
        )
    first, last = history.training[0].value, history.training[-1].value
    parts.append(
        tr(
            "Training loss {first:.2f} at step 1 and {last:.2f} at step {steps:,}.", first=first, last=last,
            steps=history.steps,
        )
    )  # fmt: skip
    return joined(parts)


def _notes(view: StepView) -> tuple[str, ...]:
    example = view.example
    notes = [
        _optimizer_note(view.optimizer),
        tr(
            "A step learns from every token of a whole batch of windows at once; one of them is followed here. Gradients and "
            "changes are those of the whole batch, gradients before clipping."
        ),
    ]
    if example and example.corrected:
        notes.append(
            tr(
                "The position is a chosen one: of those whose likeliest token was wrong before this update and is the label "
                "after it, that whose label's probability the update raised most. Others stay wrong, gained less, or lost."
            )
        )
    elif example and example.corrected is not None:
        notes.append(
            tr(
                "In no position of the example did this update turn a wrong prediction into the right one. The position is a "
                "chosen one: that whose label's probability the update raised most. Others gained less, or lost."
            )
        )
    elif example:
        notes.append(
            tr(
                "The position is a chosen one: that of the example whose label's probability this update raised most. Others "
                "gained less, or lost."
            )
        )
    return tuple(notes)


def _optimizer_note(name: str) -> str:
    """What a step depends on besides this step's gradient."""
    if name == "adamw":
        return tr("Adam's step follows running means of the gradients, and a little decay, not this gradient alone.")
    if name == "muon":
        return tr(
            "Muon's step follows a running mean of the gradients, made orthogonal, and a little decay, not this gradient "
            "alone. It moves the matrices of the blocks; Adam moves the embeddings."
        )
    return tr("A step may follow more than this gradient: means of earlier ones, and decay.")
