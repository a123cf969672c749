"""`finetuning`, the article's last picture: a trained model is trained on, on a task, and comes out with other numbers.

Above, the model goes through the dashed frame. Below, what changed in it, its answers to examples that it was not trained on,
its losses on the task, and its loss on general text: `finetuning_changes` and `finetuning_panels` draw these.
"""

from dataclasses import dataclass
from typing import Any

from pellucid.draw.components.marks import Box
from pellucid.draw.components.parts import arrow, centred, frame
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, Transition, animate
from pellucid.draw.figures.finetuning_changes import changes
from pellucid.draw.figures.finetuning_panels import answers, general, losses
from pellucid.draw.film import palette
from pellucid.draw.film.film import Film
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.nodes import Gradient, Group, Node, Rect, Shows, Text, given
from pellucid.draw.views.finetuning import FinetuningView
from pellucid.draw.views.labels import percent, readable, start_of
from pellucid.draw.views.model_parts import SHORT, matrix_name
from pellucid.languages import counted, joined, plural, tr


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where the parts stand: the model's three places, the frame, what is written in it, and the four panels below."""

    sheet: Sheet
    before: Box
    inside: Box
    after: Box
    frame: Box
    task: Box
    changes: Box
    answers: Box
    losses: Box
    general: Box

    @classmethod
    def of(cls, width: float, *, answers: bool) -> "_Layout":
        table = 226.0 if answers else 40.0  # of a phone's sheet, which is as long as what is on it
        sheet = Sheet.of(width, narrow_height=924 + table)
        if sheet.wide:
            return cls(
                sheet=sheet, before=Box(24, 88, 180, 62), inside=Box(250, 88, 180, 62), after=Box(666, 88, 270, 62),
                frame=Box(234, 74, 402, 88), task=Box(446, 82, 180, 76), changes=Box(24, 178, 380, 322),
                answers=Box(430, 178, 506, 160), losses=Box(430, 350, 326, 150), general=Box(790, 350, 146, 150),
            )  # fmt: skip
        return cls(
            sheet=sheet, before=Box(12, 46, 196, 44), inside=Box(26, 114, 150, 48), after=Box(12, 188, 260, 44),
            frame=Box(12, 104, 336, 70), task=Box(188, 110, 152, 60), changes=Box(12, 252, 336, 330),
            answers=Box(12, 598, 336, table), losses=Box(12, 614 + table, 336, 150), general=Box(12, 780 + table, 336, 84),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuningTransitions:
    """When the model goes in, learns and comes out; when its answers and its loss on general text after are shown."""

    enter: Transition
    learn: Transition
    out: Transition
    answer: Transition
    forget: Transition | None


def finetuning(view: FinetuningView, *, width: float = 960) -> Film:
    """The film of a fine-tuning run. Raises PellucidError for a picture less than 240 wide."""
    layout, timeline = _Layout.of(width, answers=bool(view.answers)), Timeline()
    sheet, when = layout.sheet, _on_timeline(view, timeline)
    nodes = _frame(view, layout)
    nodes += _stays(view, layout, when)
    nodes += _model(view, layout, when)
    nodes += changes(view, sheet, layout.changes, when.out)
    nodes += answers(view, sheet, layout.answers, when.answer)
    nodes += losses(view, sheet, layout.losses, when.learn)
    nodes += general(view, sheet, layout.general, when.forget)
    title = tr("Fine-tuning: the same model, one task")
    return sheet.film(view.model, title, nodes, timeline, alt=_alt(view), notes=_notes(view))


def _on_timeline(view: FinetuningView, timeline: Timeline) -> FinetuningTransitions:
    timeline.segment(tr("A trained model"), (0.0, 5.0, _task_words(view)))
    further = tr("It is trained further, as before, but on examples of the task only.")
    if not view.answers:
        further = tr("It is trained further, as before, but on this text only.")
    enter, learn = timeline.segment(
        tr("Fine-tuning"),
        (1.4, 1.1, further),
        (2.0, 2.2, _learned_words(view)),
    )
    (out,) = timeline.segment(tr("Other numbers"), (1.4, 4.8, _changed_words(view)))
    (answer,) = timeline.segment(tr("Its answers"), (0.4, 5.2, _right_words(view)))
    forget = None
    if view.general is not None:
        (forget,) = timeline.segment(tr("What it forgot"), (0.8, 4.6, _general_words(view)))
    return FinetuningTransitions(enter=enter, learn=learn, out=out, answer=answer, forget=forget)


def _frame(view: FinetuningView, layout: _Layout) -> list[Node]:
    """The dashed frame, and in it the task: an example, how many there are, how many steps."""
    sheet, box, task = layout.sheet, layout.frame, layout.task
    nodes: list[Node] = [frame(box.x, box.y, box.w, box.h, tr("Fine-tuning"), sheet.small, kind="finetuning")]
    if sheet.wide:
        middle = box.y + box.h / 2 + 2
        nodes.append(arrow(layout.before.right + 4, middle, box.x - 4, middle))
        nodes.append(arrow(box.right + 5, middle, layout.after.x - 4, middle))
    else:
        down = layout.inside.middle
        nodes.append(arrow(down, layout.before.bottom + 1, down, box.y - 1, head=6))
        nodes.append(arrow(down, box.bottom + 1, down, layout.after.y - 1, head=6))
    lines: list[tuple[str, str, str]] = []
    if view.answers:
        one = view.answers[0]
        prompt, completion = (start_of(readable(text), 200) for text in (one.prompt, one.expected))
        lines.append((prompt, palette.INPUT, tr("prompt of an example: {text!r}", text=one.prompt)))
        lines.append((completion, palette.OUTPUT, tr("its completion: {text!r}", text=one.expected)))
    else:
        lines.append((tr("plain text"), palette.INK, tr("the run learned from plain text, not from examples")))
    steps = counted(view.steps, "step")
    counts = tr("{steps} of {batch:,}", steps=steps, batch=view.batch)
    if view.trained_on is not None:
        examples = counted(view.trained_on, "example")
        counts = tr("{examples}, {steps} of {batch:,}", examples=examples, steps=steps, batch=view.batch)
        if text_width(counts, sheet.small) > task.w:
            counts = tr("{examples}, {steps}", examples=examples, steps=steps)
    each = counted(view.batch, "example") if view.answers else counted(view.batch, "window")
    lines.append((counts, palette.QUIET, tr("{steps}, each of {examples}", steps=steps, examples=each)))
    size, pitch = sheet.small, task.h / len(lines)
    for i, (words, ink, label) in enumerate(lines):
        family = "mono" if ink in (palette.INPUT, palette.OUTPUT) else "sans"
        shows = given("finetuning/plan") if ink == palette.QUIET else view.answers[0].shows if view.answers else None
        base, line = centred(task.y + i * pitch, pitch, size), fit(words, task.w, size, family)
        nodes.append(Text(task.x, base, line, size, 400, family, fill=ink, label=label, shows=shows))
    return nodes


def _stays(view: FinetuningView, layout: _Layout, when: FinetuningTransitions) -> list[Node]:
    """What is left where the model was: the model before, which is kept, and in the frame what the training did to its loss."""
    sheet, box, inside = layout.sheet, layout.before, layout.inside
    name = fit(view.model.name, box.w - sheet.size, sheet.size, "sans", 600)
    count = fit(tr("{count:,} parameters", count=view.model.parameters), box.w - sheet.size, sheet.small)
    given_model, middle = given("provenance"), box.y + box.h / 2
    kept = (
        Rect(box.x, box.y, box.w, box.h, 10, Gradient(palette.TRAINED), palette.FOLLOWED, 1.5),
        Text(box.middle, middle, name, sheet.size, 600, anchor="middle", shows=given_model),
        Text(box.middle, middle + 1.5 * sheet.small, count, sheet.small, anchor="middle", shows=given_model),
    )
    nodes: list[Node] = [Group(kept, opacity=animate(0, (when.enter, 1, "linear")))]
    kind, points = (tr("training loss"), view.training) if view.training else (tr("held-out loss"), view.held_out)
    if points:
        there, middle = animate(0, (when.out, 1, "settle")), inside.y + inside.h / 2
        first, last = points[0].value, points[-1].value
        whole = Shows(points[0].shows.chunk, (), None, points[0].shows.truth)
        nodes += [
            Text(inside.middle, middle - 0.3 * sheet.small, kind, sheet.small, anchor="middle", fill=palette.QUIET,
                 opacity=there),
            Text(inside.middle, middle + 1.2 * sheet.size, f"{first:.2f} → {last:.2f}", sheet.size, 600, anchor="middle",
                 opacity=there, label=tr("nats a token, at the first and at the last step"), shows=whole),
        ]  # fmt: skip
    return nodes


def _model(view: FinetuningView, layout: _Layout, when: FinetuningTransitions) -> list[Node]:
    """The model, which goes into the frame and comes out of it with another name."""
    sheet, places = layout.sheet, (layout.before, layout.inside, layout.after)

    def through(values: tuple[float, float, float]) -> Any:
        return animate(values[0], (when.enter, values[1], "move"), (when.out, values[2], "move"))

    x, y, w, h = (through((a, b, c)) for a, b, c in zip(*((box.x, box.y, box.w, box.h) for box in places), strict=True))
    narrowest = min(box.w for box in places)
    size = sheet.size
    name = fit(view.model.name, narrowest - size, size, "sans", 600)
    second = fit(tr("{count:,} parameters", count=view.model.parameters), narrowest - size, sheet.small)
    renamed = fit(tr("{model}, fine-tuned", model=view.model.name), layout.after.w - size, size, "sans", 600)
    moved = fit(tr("its weights moved by {share}", share=percent(view.total_moved)), layout.after.w - size, sheet.small)
    stroke = animate(palette.FOLLOWED, (when.out, palette.FINETUNING))
    inner, tall = layout.before.h / 2, sheet.size
    middle = animate(
        layout.before.w / 2, (when.enter, layout.inside.w / 2, "move"), (when.out, layout.after.w / 2, "move")
    )
    old, new = animate(1, (when.out, 0)), animate(0, (when.out, 1))
    texts = (
        Text(middle, inner, name, tall, 600, anchor="middle", opacity=old, shows=given("provenance")),
        Text(middle, inner + 1.5 * sheet.small, second, sheet.small, anchor="middle", fill=palette.INK, opacity=old,
             shows=given("provenance")),
        Text(middle, inner, renamed, tall, 600, anchor="middle", opacity=new, shows=given("provenance")),
        Text(middle, inner + 1.5 * sheet.small, moved, sheet.small, anchor="middle", fill=palette.INK, opacity=new,
             label=tr("the norm of the change of all weight matrices, against that of the matrices"),
             shows=Shows("finetuning/change")),
    )  # fmt: skip
    box = Rect(0, 0, w, h, 10, Gradient(palette.TRAINED), stroke, 1.5, id="model")
    return [Group((box, *texts), x, y)]


def _task_words(view: FinetuningView) -> str:
    if not view.answers:
        return tr("{model} has been trained on text. Now it is to learn from one text more.", model=view.model.name)
    one, name = view.answers[0], view.model.name
    prompt, expected = start_of(readable(one.prompt), 60), start_of(readable(one.expected), 60)
    return tr(
        "{model} has been trained on text. Now it is to learn a task: after “{prompt}” it should write “{expected}”.",
        model=name, prompt=prompt, expected=expected,
    )  # fmt: skip


def _learned_words(view: FinetuningView) -> str:
    steps = counted(view.steps, "step")
    if not view.training:
        return tr("It takes {steps}. Their losses are not in this record.", steps=steps)
    first, last = view.training[0].value, view.training[-1].value
    return tr(
        "In {steps} the training loss goes from {first:.2f} to {last:.2f}. The model after step {kept:,} is kept.",
        steps=steps, first=first, last=last, kept=view.kept,
    )  # fmt: skip


def _changed_words(view: FinetuningView) -> str:
    most = view.most_moved
    if most is None:
        return tr("The model before training was the best on the held-out examples: it is kept, and no number has changed.")
    name, share, whole = matrix_name(most.name), percent(most.moved or 0.0), percent(view.total_moved)
    return tr(
        "The same model has other numbers: together they moved by {whole} of their length, most of all {matrix}: {share}.",
        whole=whole, matrix=name, share=share,
    )  # fmt: skip


def _right_words(view: FinetuningView) -> str:
    right = view.right
    if right is None:
        return tr("It learned from plain text, so there is no question with a right answer.")
    before, after, count = right.before, right.after, right.count
    if right.all_held_out:
        return tr(
            "Of {count:,} examples that it was never trained on, it answered {before:,} right before and {after:,} after.",
            count=count, before=before, after=after,
        )  # fmt: skip
    return tr(
        "Of the {count:,} held-out examples in this record it answered {before:,} right before and {after:,} after.",
        count=count, before=before, after=after,
    )  # fmt: skip


def _general_words(view: FinetuningView) -> str:
    assert view.general is not None
    before, after = view.general.before, view.general.after
    change = abs(after - before)
    if change < 0.005:
        return tr(
            "On general text its loss stays {after:.2f} nats a token: nothing that shows there is forgotten.", after=after
        )
    if after > before:
        return tr(
            "On general text its loss rises by {change:.2f} to {after:.2f} nats a token: some of what it knew is forgotten.",
            change=change, after=after,
        )  # fmt: skip
    return tr(
        "On general text its loss falls by {change:.2f} to {after:.2f} nats a token: nothing that shows there is forgotten.",
        change=change, after=after,
    )  # fmt: skip


def _alt(view: FinetuningView) -> str:
    model = view.model
    parts = [tr("Fine-tuning of {model}, {parameters:,} parameters.", model=model.name, parameters=model.parameters)]
    parts += [_task_words(view), _learned_words(view), _changed_words(view)]
    for kind, row in view.blocks.items():
        if moved := [one.moved for one in row if one is not None and one.moved is not None]:
            low, high, name = percent(min(moved)), percent(max(moved)), tr(SHORT[kind])
            parts.append(
                tr("Change of {matrix} by block, against its own length: {low} to {high}.", matrix=name, low=low, high=high)
            )
    parts.append(_right_words(view))
    for one in view.answers[:4]:
        prompt, expected, before, after = (
            start_of(readable(text), 60) for text in (one.prompt, one.expected, one.before, one.after)
        )
        parts.append(
            tr(
                "After “{prompt}”, where “{expected}” is right: “{before}” before, “{after}” after.",
                prompt=prompt, expected=expected, before=before, after=after,
            )
        )  # fmt: skip
    if view.held_out:
        first, last = view.held_out[0].value, view.held_out[-1].value
        parts.append(tr("The held-out loss goes from {first:.2f} to {last:.2f}.", first=first, last=last))
    parts.append(_general_words(view) if view.general is not None else tr("Its loss on general text is not in this record."))
    return joined(parts)


def _notes(view: FinetuningView) -> list[str]:
    notes = [
        tr("A map shows at most 32 x 32 tiles, each the mean size of the changes in it, up or down. Shapes are not to scale."),
        tr(
            "Bars are the length of a matrix's change (its L2 norm) in percent of the matrix's own length before. Biases and "
            "LayerNorms are not drawn and not counted."
        ),
    ]
    if view.answers:
        notes.append(
            tr("An answer is made of the likeliest tokens (temperature 0). It is right if it is the expected text exactly.")
        )
    if view.right is not None and view.right.all_held_out:
        notes.append(tr("The right answers to all held-out examples are counted token by token, in one pass."))
    if view.general is not None:
        tokens = counted(view.general.tokens, "token")
        notes.append(tr("General text: {tokens} of {origin}.", tokens=tokens, origin=view.general.origin))
    if view.others:
        notes.append(
            plural(
                view.others, "This model has {count:,} more matrix of other kinds, not drawn.",
                "This model has {count:,} more matrices of other kinds, not drawn.",
            )
        )  # fmt: skip
    return notes
