"""`pretraining`, the article's second picture: the untrained model goes into the frame, and what training makes of it.

The frame holds the model, whose colour is measured and not timed: it goes from grey to the gradient as its loss goes from
ln V to 0. Beside it are the losses by step, and a text that the model writes after one prompt, at moments of the run that are
spaced by their logarithm. `pretraining_frame` draws what is in the frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.draw.components.curves import LossCurves
from pellucid.draw.components.marks import LEADING, Box
from pellucid.draw.components.parts import circle, frame
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, Transition
from pellucid.draw.figures.pretraining_frame import ShownMoment, in_frame
from pellucid.draw.film import palette
from pellucid.draw.film.film import Film
from pellucid.draw.film.font import text_width, wrap
from pellucid.draw.film.keyframes import Keyframes
from pellucid.draw.film.nodes import Group, Node, Path, Rect, Shows, Text
from pellucid.draw.views.labels import counted, in_short, power, readable, start_of
from pellucid.draw.views.pretraining import PretrainingView, TextSample
from pellucid.draw.views.training import GPT3_FLOPS, TrainingHistory


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
    moments = _on_timeline(view, timeline)
    nodes = _losses(view, moments, layout)
    box = layout.frame
    nodes.append(frame(box.x, box.y, box.w, box.h, "Unsupervised pre-training", sheet.size, kind="pretraining"))
    nodes += in_frame(view, moments, box, sheet, model_height=layout.model, row=layout.row)
    nodes += _samples(moments, layout)
    return sheet.film(
        view.model,
        "Pre-training: predict the next token",
        nodes,
        timeline,
        alt=_alt(view),
        notes=_notes(view.history),
        measured=view.has_speeds,
    )


def _on_timeline(view: PretrainingView, timeline: Timeline) -> list[ShownMoment]:
    """A segment for each moment; what belongs to a moment is seen from the end of its movement until that of the next."""
    history = view.history
    transitions: list[Transition] = []
    for moment in view.moments:
        loss = moment.loss.value
        if moment.step == 0:
            name = "Before training"
            caption = (
                f"Untrained: the weights are random numbers. Its loss is {loss:.2f}; were all tokens equally likely, it "
                f"would be ln V = {history.ln_v:.2f}."
            )
        else:
            name = f"After {moment.step:,} of {history.steps:,} steps"
            caption = (
                f"After {counted(moment.step, 'step')} and {in_short(moment.tokens)} tokens its {view.loss_kind} is {loss:.2f}."
            )
        transitions += timeline.segment(name, (MOVES if transitions else 0.0, RESTS, caption))
    found = []
    for i, (moment, transition) in enumerate(zip(view.moments, transitions, strict=True)):
        points: list[tuple[float, float]] = [(0.0, 1.0)] if i == 0 else [(0.0, 0.0), (transition.settled, 1.0)]
        points += [(transitions[i + 1].settled, 0.0)] if i + 1 < len(transitions) else []
        found.append(ShownMoment(moment, transition, Keyframes(*points) if len(points) > 1 else 1.0))
    return found


def _losses(view: PretrainingView, moments: Sequence[ShownMoment], layout: _PretrainingLayout) -> list[Node]:
    """The losses by step, with a ring around the moment's."""
    ring = view.loss_kind if view.loss_kind.endswith("window") else ""
    curves = LossCurves(view.history, layout.chart, layout.sheet.small, ring=ring)
    first, *later = moments
    nodes = curves.nodes(first.values.step, [(moment.transition, moment.values.step) for moment in later])
    for moment in moments:
        loss = moment.values.loss
        circled = circle(*curves.point(loss), 5)
        nodes.append(Path(circled, stroke=palette.TRACK, stroke_width=2, opacity=moment.visible, shows=loss.shows))
    return nodes


def _samples(moments: Sequence[ShownMoment], layout: _PretrainingLayout) -> list[Node]:
    """What the model writes: the prompt in green, what follows in pink, monospaced."""
    sheet, box = layout.sheet, layout.sample
    size, small = sheet.size, sheet.small
    nodes: list[Node] = [Rect(box.x, box.y + 1.7 * size, box.w, box.h - 1.7 * size, 8, palette.PANEL, palette.LINE)]
    if not any(moment.values.sample for moment in moments):
        nodes.append(Text(box.x, box.y + size, "What it writes", size, 600))
        missing = "not in this record: no samples were taken"
        nodes.append(Text(box.x + size, box.y + 3.4 * size, missing, small, fill=palette.QUIET))
        return nodes
    for moment in moments:
        step, sample = moment.values.step, moment.values.sample
        assert sample is not None, "moments are those of the samples"
        shows = Shows("training/samples", (sample.place,), step, "derived")
        heading = "What it writes untrained" if step == 0 else f"What it writes after {counted(step, 'step')}"
        group: list[Node] = [Text(box.x, box.y + size, heading, size, 600)]
        y = box.y + 1.7 * size + 0.4 * size
        for row, parts in enumerate(_coloured_lines(sample, box.w - 2 * size, size, layout.lines)):
            at = box.x + size
            for words, ink in parts:
                baseline = y + (row * LEADING * 1.05 + 1) * size
                group.append(Text(at, baseline, words, size, family="mono", fill=ink, shows=shows))
                at += text_width(words, size, "mono")
        nodes.append(Group(tuple(group), opacity=moment.visible))
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
    history, first, last = view.history, view.moments[0], view.moments[-1]
    parts = [
        f"Pre-training of {view.model.name}, {view.model.parameters:,} parameters, in {counted(history.steps, 'step')} and "
        f"{history.tokens[-1]:,} tokens. The model's box goes from grey to its colours as its loss falls: "
        f"{first.loss.value:.2f} nats a token after {counted(first.step, 'step')}, {last.loss.value:.2f} after "
        f"{counted(last.step, 'step')}; guessing is ln V = {history.ln_v:.2f}."
    ]
    if history.held_out:
        parts.append(f"Held-out loss at the end {history.held_out[-1].value:.2f}.")
    for moment in (first, last):
        if moment.sample is not None:
            written = start_of(readable(moment.sample.prompt + moment.sample.text), 120)
            parts.append(f"After {counted(moment.step, 'step')} it writes: “{written}”.")
    parts.append(f"{power(history.operations(history.tokens[-1]))} operations; GPT-3 175B took {power(GPT3_FLOPS)}.")
    return " ".join(parts)


def _notes(history: TrainingHistory) -> tuple[str, ...]:
    notes = [
        "Moments are spaced by the logarithm of their step and shown equally long: early steps are not as slow as they look.",
        "Where a loss is above ln V, 1 - loss / ln V is below 0 and the model is drawn grey.",
        "Operations count matrix products only, three times those of the forward pass; GPT-3's are as published (Table D.1).",
    ]
    if not history.held_out:
        notes.append("No held-out loss is in this record.")
    return tuple(notes)
