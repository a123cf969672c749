"""`pretraining`, the article's second picture: the model from untrained to trained, with its losses, costs and samples.

The frame holds the model, whose colour is measured and not timed: it goes from grey to the gradient as its loss goes from
ln V to 0. Beside it are the losses by step, and a text that the model writes after one prompt, at snapshots of the run that are
spaced by their logarithm. `pretraining_frame` draws what is in the frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.draw.components.curves import LossCurves
from pellucid.draw.components.marks import LEADING, Box
from pellucid.draw.components.parts import circle, frame
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, Transition
from pellucid.draw.figures.pretraining_frame import ShownSnapshot, in_frame
from pellucid.draw.film import palette
from pellucid.draw.film.film import Film
from pellucid.draw.film.font import text_width, wrap
from pellucid.draw.film.keyframes import Keyframes
from pellucid.draw.film.nodes import Group, Node, Path, Rect, Shows, Text
from pellucid.draw.views.labels import in_short, power, readable, start_of
from pellucid.draw.views.pretraining import PretrainingView, TextSample
from pellucid.draw.views.training import GPT3_FLOPS, TrainingHistory
from pellucid.languages import counted, joined, tr


MOVES, RESTS = 1.4, 3.6  # seconds of each segment


@dataclass(frozen=True, slots=True, kw_only=True)
class _PretrainingLayout:
    """Where the parts stand. model: height of the model's box. row: from one number to the next. lines: of a sample."""

    sheet: Sheet
    frame: Box
    chart: Box
    sample: Box
    model: float
    row: float
    lines: int

    @classmethod
    def of(cls, width: float) -> "_PretrainingLayout":
        sheet = Sheet.of(width, narrow_height=760)
        if sheet.wide:
            return cls(
                sheet=sheet, frame=Box(24, 80, 336, 420), chart=Box(388, 66, 548, 258), sample=Box(388, 338, 548, 162),
                model=104, row=31, lines=5,
            )  # fmt: skip
        return cls(
            sheet=sheet, frame=Box(12, 62, 336, 276), chart=Box(12, 348, 336, 200), sample=Box(12, 560, 336, 150), model=50,
            row=20, lines=6,
        )  # fmt: skip


def pretraining(view: PretrainingView, *, width: float = 960) -> Film:
    """The film of a run. Raises PellucidError for a picture less than 240 wide."""
    layout = _PretrainingLayout.of(width)
    sheet, timeline = layout.sheet, Timeline()
    snapshots = _on_timeline(view, timeline)
    nodes = _losses(view, snapshots, layout)
    box = layout.frame
    nodes.append(frame(box.x, box.y, box.w, box.h, tr("Unsupervised pre-training"), sheet.size, kind="pretraining"))
    nodes += in_frame(view, snapshots, box, sheet, model_height=layout.model, row=layout.row)
    nodes += _samples(snapshots, layout)
    return sheet.film(
        view.model,
        tr("Pre-training: predict the next token"),
        nodes,
        timeline,
        alt=_alt(view),
        notes=_notes(view.history),
        measured=view.has_speeds,
    )


def _on_timeline(view: PretrainingView, timeline: Timeline) -> list[ShownSnapshot]:
    """A segment for each snapshot; what belongs to a snapshot is seen from the end of its movement until that of the next."""
    history = view.history
    transitions: list[Transition] = []
    for snapshot in view.snapshots:
        loss = snapshot.loss.value
        if snapshot.step == 0:
            name = tr("Before training")
            caption = tr(
                "Untrained: the weights are random numbers. Its loss is {loss:.2f}; were all tokens equally likely, it would "
                "be ln V = {guessing:.2f}.",
                loss=loss, guessing=history.ln_v,
            )  # fmt: skip
        else:
            name = tr("After {step:,} of {steps:,} steps", step=snapshot.step, steps=history.steps)
            caption = tr(
                "After {steps} and {tokens} tokens its {kind} is {loss:.2f}.", steps=counted(snapshot.step, "step"),
                tokens=in_short(snapshot.tokens), kind=tr(view.loss_kind), loss=loss,
            )  # fmt: skip
        if history.planned and snapshot is view.snapshots[-1]:
            caption = joined([caption, _ended_words(history)])
        transitions += timeline.segment(name, (MOVES if transitions else 0.0, RESTS, caption))
    found = []
    for i, (snapshot, transition) in enumerate(zip(view.snapshots, transitions, strict=True)):
        points: list[tuple[float, float]] = [(0.0, 1.0)] if i == 0 else [(0.0, 0.0), (transition.settled, 1.0)]
        points += [(transitions[i + 1].settled, 0.0)] if i + 1 < len(transitions) else []
        found.append(ShownSnapshot(snapshot, transition, Keyframes(*points) if len(points) > 1 else 1.0))
    return found


def _ended_words(history: TrainingHistory) -> str:
    """That the run was planned longer than this record is."""
    assert history.planned is not None
    steps, tokens = history.planned
    return tr(
        "The plan was {planned} and {tokens} tokens; this record ends after {steps}.", planned=counted(steps, "step"),
        tokens=in_short(tokens), steps=counted(history.steps, "step"),
    )  # fmt: skip


def _losses(view: PretrainingView, snapshots: Sequence[ShownSnapshot], layout: _PretrainingLayout) -> list[Node]:
    """The losses by step, with a ring around the snapshot's."""
    ring = tr(view.loss_kind) if view.loss_kind.endswith("window") else ""
    curves = LossCurves(view.history, layout.chart, layout.sheet.small, ring=ring)
    first, *later = snapshots
    nodes = curves.nodes(first.values.step, [(snapshot.transition, snapshot.values.step) for snapshot in later])
    for snapshot in snapshots:
        loss = snapshot.values.loss
        circled = circle(*curves.point(loss), 5)
        nodes.append(Path(circled, stroke=palette.FOLLOWED, stroke_width=2, opacity=snapshot.visible, shows=loss.shows))
    return nodes


def _samples(snapshots: Sequence[ShownSnapshot], layout: _PretrainingLayout) -> list[Node]:
    """What the model writes: the prompt in green, what follows in pink, monospaced."""
    sheet, box = layout.sheet, layout.sample
    size, small = sheet.size, sheet.small
    nodes: list[Node] = [Rect(box.x, box.y + 1.7 * size, box.w, box.h - 1.7 * size, 8, palette.PANEL, palette.LINE)]
    if not any(snapshot.values.sample for snapshot in snapshots):
        nodes.append(Text(box.x, box.y + size, tr("What it writes"), size, 600))
        missing = tr("not in this record: no samples were taken")
        nodes.append(Text(box.x + size, box.y + 3.4 * size, missing, small, fill=palette.QUIET))
        return nodes
    for snapshot in snapshots:
        step, sample = snapshot.values.step, snapshot.values.sample
        assert sample is not None, "snapshots are those of the samples"
        shows = Shows("training/samples", (sample.place,), step, "derived")
        heading = tr("What it writes untrained")
        if step:
            heading = tr("What it writes after {steps}", steps=counted(step, "step"))
        group: list[Node] = [Text(box.x, box.y + size, heading, size, 600)]
        y = box.y + 1.7 * size + 0.4 * size
        for row, parts in enumerate(_coloured_lines(sample, box.w - 2 * size, size, layout.lines)):
            at = box.x + size
            for words, ink in parts:
                baseline = y + (row * LEADING * 1.05 + 1) * size
                group.append(Text(at, baseline, words, size, family="mono", fill=ink, shows=shows))
                at += text_width(words, size, "mono")
        nodes.append(Group(tuple(group), opacity=snapshot.visible))
    return nodes


def _coloured_lines(sample: TextSample, width: float, size: float, lines: int) -> list[list[tuple[str, str]]]:
    """The prompt and the text after it broken into lines, each as parts (words, colour)."""
    prompt, text = readable(sample.prompt), readable(sample.text)
    left = len(" ".join(prompt.split()))  # characters of the prompt that are still to come
    found = []
    for line in wrap(prompt + text, width, size, "mono", lines=lines):
        cut = min(left, len(line))
        found.append([part for part in ((line[:cut], palette.INPUT), (line[cut:], palette.OUTPUT)) if part[0]])
        left = max(0, left - len(line) - 1)  # the space at which the line was broken
    return found


def _alt(view: PretrainingView) -> str:
    history, first, last = view.history, view.snapshots[0], view.snapshots[-1]
    parts = [
        tr(
            "Pre-training of {model}, {parameters:,} parameters, in {steps} and {tokens:,} tokens. The model's box goes from "
            "grey to its colours as its loss falls: {loss:.2f} nats a token after {first}, {loss_after:.2f} after {last}; "
            "guessing is ln V = {guessing:.2f}.",
            model=view.model.name, parameters=view.model.parameters, steps=counted(history.steps, "step"),
            tokens=history.tokens[-1], loss=first.loss.value, first=counted(first.step, "step"), loss_after=last.loss.value,
            last=counted(last.step, "step"), guessing=history.ln_v,
        )
    ]  # fmt: skip
    if history.planned:
        parts.append(_ended_words(history))
    if history.held_out:
        parts.append(tr("Held-out loss at the end {loss:.2f}.", loss=history.held_out[-1].value))
    for snapshot in (first, last):
        if snapshot.sample is not None:
            written = start_of(readable(snapshot.sample.prompt + snapshot.sample.text), 120)
            parts.append(tr("After {steps} it writes: “{text}”.", steps=counted(snapshot.step, "step"), text=written))
    operations = power(history.operations(history.tokens[-1]))
    parts.append(tr("{count} operations; GPT-3 175B took {published}.", count=operations, published=power(GPT3_FLOPS)))
    return joined(parts)


def _notes(history: TrainingHistory) -> tuple[str, ...]:
    notes = [
        tr(
            "Moments are spaced by the logarithm of their step and shown equally long: early steps are not as slow as they "
            "look."
        ),
        tr("Where a loss is above ln V, 1 - loss / ln V is below 0 and the model is drawn grey."),
        tr(
            "Operations count matrix products only, three times those of the forward pass; GPT-3's are as published (Table "
            "D.1)."
        ),
    ]
    if not history.held_out:
        notes.append(tr("No held-out loss is in this record."))
    return tuple(notes)
