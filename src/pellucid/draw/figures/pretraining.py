"""`pretraining`, the article's second picture: the untrained model goes into the frame, and what happens to it there.

The frame holds the model, whose colour is measured and not timed: it goes from grey to the gradient as its loss goes from
ln V to 0. Beside it stand the losses by step, and what the model itself writes after one prompt, at moments of the run that
are spaced by their logarithm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10
from typing import Any

from pellucid.draw.components.curves import Curves
from pellucid.draw.components.marks import LEADING, Box
from pellucid.draw.components.parts import circle, frame, given, measured
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, Transition, animate
from pellucid.draw.film import palette
from pellucid.draw.film.film import Film
from pellucid.draw.film.font import fit, text_width, wrap
from pellucid.draw.film.keyframes import Keyframes
from pellucid.draw.film.nodes import Gradient, Group, Node, Path, Rect, Shows, Text
from pellucid.draw.views.labels import in_short, model_name, percent, start_of
from pellucid.draw.views.training import GPT3_FLOPS, Loss, Training, optional, power, readable, spread
from pellucid.record import Record


MOMENTS = 7  # segments, at most
WHOLE = 10_000_000  # up to so many tokens every digit is written
MOVES, RESTS = 1.4, 3.6  # seconds of each


@dataclass(frozen=True, slots=True)
class _Moment:
    """A moment of the run on the film: steps done, the loss then, the sample then (None: none was kept), when it comes."""

    step: int
    loss: Loss
    sample: tuple[int, dict[str, Any]] | None  # its place in the list of samples
    transition: Transition


@dataclass(frozen=True, slots=True)
class _Layout:
    sheet: Sheet
    frame: Box
    chart: Box
    sample: Box
    model: float  # height of the model's box
    row: float  # from one number to the next
    lines: int  # of a sample

    @classmethod
    def of(cls, width: float) -> "_Layout":
        sheet = Sheet.of(width, narrow_height=760)
        if sheet.wide:
            return cls(sheet, Box(24, 80, 336, 420), Box(388, 66, 548, 258), Box(388, 338, 548, 162), 104, 31, 5)
        return cls(sheet, Box(12, 62, 336, 276), Box(12, 348, 336, 200), Box(12, 560, 336, 150), 50, 20, 6)


def pretraining(record: Record, *, width: float = 960) -> Film:
    """The film of a run, drawn from its training record.

    Raises:
        MissingChunk: the record holds no losses by step, or no moments. PellucidError: a picture less than 240 wide.
    """
    run, place = Training.of(record), _Layout.of(width)
    sheet, timeline = place.sheet, Timeline()
    moments, kind = _moments(record, run, timeline)
    curves = Curves(run, place.chart, sheet.small, ring=kind if kind.endswith("window") else "")
    first, *later = moments
    nodes: list[Node] = curves.nodes(first.step, [(moment.transition, moment.step) for moment in later])
    for moment in moments:
        ring, there = circle(*curves.point(moment.loss), 5), _on(moment, moments)
        nodes.append(Path(ring, stroke=palette.TRACK, stroke_width=2, opacity=there, shows=moment.loss.shows))
    frame_box = place.frame
    nodes.append(
        frame(frame_box.x, frame_box.y, frame_box.w, frame_box.h, "Unsupervised pre-training", sheet.size, kind="pretraining")
    )
    nodes += _in_frame(record, run, place, moments, kind)
    nodes += _samples(place, moments)
    return sheet.film(
        record,
        "Pre-training: predict the next token",
        nodes,
        timeline,
        alt=_alt(record, run, moments),
        notes=_notes(run),
        measured="training/steps/tokens_per_s" in record,
    )


def _moments(record: Record, run: Training, timeline: Timeline) -> tuple[list[_Moment], str]:
    """Those that are shown, and which loss is theirs: steps with a sample if there are any, evenly picked."""
    samples = optional(record, "training/samples", [])
    known = {sample["step"]: (i, sample) for i, sample in enumerate(samples) if sample["step"] <= run.steps}
    steps = sorted(known) or [step for step in record["training/moments/steps"].tolist() if step <= run.steps]
    found: list[_Moment] = []
    picked = spread(steps, MOMENTS)
    losses, kind = run.losses_after(picked)
    for step, loss in zip(picked, losses, strict=True):
        name = "Before training" if step == 0 else f"After {step:,} of {run.steps:,} steps"
        if step == 0:
            said = (
                f"Untrained: the weights are random numbers. Its loss is {loss.value:.2f}; were all tokens equally likely, it "
                f"would be ln V = {run.ln_v:.2f}."
            )
        else:
            said = f"After {_steps(step)} and {in_short(run.tokens_after(step))} tokens its {kind} is {loss.value:.2f}."
        (transition,) = timeline.segment(name, (MOVES if found else 0.0, RESTS, said))
        found.append(_Moment(step, loss, known.get(step), transition))
    return found, kind


def _on(moment: _Moment, moments: Sequence[_Moment]) -> float | Keyframes:
    """The opacity of what stands for a moment: there from the end of its movement until the next one's."""
    at = moments.index(moment)
    points = [(0.0, 1.0)] if at == 0 else [(0.0, 0.0), (moment.transition.settled, 1.0)]
    if at + 1 < len(moments):
        points.append((moments[at + 1].transition.settled, 0.0))
    return Keyframes(*points) if len(points) > 1 else 1.0


def _in_frame(record: Record, run: Training, place: _Layout, moments: Sequence[_Moment], kind: str) -> list[Node]:
    """The model in its colour, and the run's numbers below it."""
    sheet = place.sheet
    size, small = sheet.size, sheet.small
    x, w, right = place.frame.x + 16, place.frame.w - 32, place.frame.right - 16
    y = place.frame.y + 1.3 * size
    nodes: list[Node] = []
    shares = [min(1.0, max(0.0, run.share(moment.loss))) for moment in moments]  # what lies outside is said in a note

    def moved(values: Sequence[float]) -> Any:
        return animate(values[0], *((m.transition, value, "linear") for m, value in zip(moments[1:], values[1:], strict=True)))

    # The model: grey, and over it the gradient, as much of it as the share says.
    box = Box(x, y, w, place.model)
    nodes.append(Rect(box.x, box.y, box.w, box.h, 10, palette.UNTRAINED_FILL, palette.UNTRAINED, 1.5))
    shows = moments[0].loss.shows
    nodes.append(
        Rect(box.x, box.y, box.w, box.h, 10, Gradient(palette.TRAINED), palette.TRACK, 1.5, opacity=moved(shares), id="model",
             label=f"colour: 1 - {kind} / ln V", shows=Shows(shows.chunk, (), None, shows.truth))
    )  # fmt: skip
    middle = box.y + box.h / 2
    name = fit(model_name(record), w - size, size * 1.15, "sans", 600)
    nodes.append(Text(box.middle, middle - 2, name, size * 1.15, 600, anchor="middle"))
    told = f"{record.provenance.parameters:,} parameters"
    nodes.append(Text(box.middle, middle + 1.25 * small, told, small, anchor="middle", shows=given("provenance")))
    y = box.bottom + 1.5 * small
    nodes.append(Text(x, y, fit(f"colour: 1 − {kind} / ln V", w - 3 * small, small), small))
    for moment in moments:
        nodes.append(
            Text(right, y, _signed(run.share(moment.loss)), small, 600, anchor="end",
                 opacity=_on(moment, moments), shows=moment.loss.shows)
        )  # fmt: skip
    y += 0.5 * small
    nodes.append(Rect(x, y, w, 6, 3, Gradient((palette.UNTRAINED_FILL, *palette.TRAINED), 0), palette.LINE))
    at = [x + w * share for share in shares]
    nodes.append(
        Rect(animate(at[0] - 1.5, *((m.transition, to - 1.5, "linear") for m, to in zip(moments[1:], at[1:], strict=True))),
             y - 2, 3, 10, 1, palette.TRACK)
    )  # fmt: skip
    y += 8 + 1.1 * small
    nodes.append(Text(x, y, "0: guessing", small, fill=palette.QUIET))
    nodes.append(Text(right, y, "1: certain", small, anchor="end", fill=palette.QUIET))

    # Numbers, one a row.
    y += place.row
    nodes.append(Text(x, y, "steps", size))
    nodes += _changing(moments, lambda m: Text(
        right, y, f"{m.step:,} of {run.steps:,}", size, 600, anchor="end",
        shows=Shows("training/moments/steps", (), m.step, "given"),
    ))  # fmt: skip
    y += place.row
    nodes.append(Text(x, y, "tokens seen", size))
    seen = [run.tokens_after(moment.step) for moment in moments]
    written = in_short if run.target > WHOLE else "{:,}".format  # both numbers in the same way
    nodes += _changing(moments, lambda m: Text(
        right, y, f"{written(run.tokens_after(m.step))} of {written(run.target)}", size, 600, anchor="end",
        shows=Shows("training/steps/tokens", (m.step - 1,) if m.step else (), m.step, "given"),
    ))  # fmt: skip
    y += 0.5 * size
    nodes.append(Rect(x, y, w, 5, 2, palette.LINE))
    nodes.append(
        Rect(x, y, moved([w * tokens / run.target for tokens in seen]), 5, 2, palette.PRETRAINING, id="tokens-seen",
             label="tokens seen, of those the run is to see", shows=Shows("training/steps/tokens", (), None, "given"))
    )  # fmt: skip
    y += 5 + place.row
    nodes += _operations(run, place, moments, x, y, w)
    y += 0.5 * size + 10 + 1.1 * small + place.row
    if "training/steps/tokens_per_s" in record:
        rates = record["training/steps/tokens_per_s"].tolist()
        nodes.append(Text(x, y, "speed of that step", size))
        for moment in moments:
            there = _on(moment, moments)
            if moment.step:
                rate = Text(
                    right, y, f"{rates[moment.step - 1]:,.0f} tokens/s", size, 600, anchor="end",
                    shows=Shows("training/steps/tokens_per_s", (moment.step - 1,), moment.step, "measured"),
                )  # fmt: skip
                nodes.append(Group((measured(rate),), opacity=there))
            else:
                nodes.append(Text(right, y, "no step yet", size, anchor="end", fill=palette.QUIET, opacity=there))
    else:
        nodes.append(Text(x, y, "speed: not in this record", size, fill=palette.QUIET))
    if "train_tokens" in run.source:
        y += place.row
        nodes.append(Text(x, y, "text", size))
        through = run.target / run.source["train_tokens"]
        told = f"{through:.1f} times through" if through >= 0.995 else f"{percent(through)} of it"
        told = f"{in_short(run.source['train_tokens'])} tokens, {told}"
        nodes.append(Text(right, y, told, size, 600, anchor="end", shows=given("training/plan")))
    return nodes


def _operations(run: Training, place: _Layout, moments: Sequence[_Moment], x: float, y: float, w: float) -> list[Node]:
    """Operations so far on a logarithmic scale that ends at GPT-3's."""
    size, small = place.sheet.size, place.sheet.small
    nodes: list[Node] = [Text(x, y, "operations", size)]
    done = [run.operations(run.tokens_after(moment.step)) for moment in moments]
    nodes += _changing(moments, lambda m: Text(
        x + w, y, power(run.operations(run.tokens_after(m.step))), size, 600, anchor="end",
        label="floating-point operations so far: 3 times those of the forward pass over the tokens seen",
        shows=Shows("training/steps/tokens", (m.step - 1,) if m.step else (), m.step, "given"),
    ))  # fmt: skip
    line, end = y + 0.5 * size + 4, x + w - 4
    low = 3 * (int(log10(min(count for count in [*done, GPT3_FLOPS] if count))) // 3)
    high = log10(GPT3_FLOPS)

    def where(count: float) -> float:
        return x + 4 + (end - x - 4) * (log10(count) - low) / (high - low)

    nodes.append(Path((("M", x + 4, line), ("L", end, line)), stroke=palette.QUIET))
    for power_of_ten in range(low, 24, 3):
        at = where(10.0**power_of_ten)
        nodes.append(Path((("M", at, line - 3), ("L", at, line + 3)), stroke=palette.QUIET))
    places = [where(max(count, 10.0**low)) for count in done]
    goes = animate(places[0], *((m.transition, to, "linear") for m, to in zip(moments[1:], places[1:], strict=True)))
    there = 1.0 if done[0] else Keyframes((0.0, 0.0), (moments[1].transition.start, 1.0)) if len(moments) > 1 else 0.0
    dot = Path(circle(0, 0, 4.5), fill=palette.PRETRAINING, shows=Shows("training/steps/tokens", (), None, "given"))
    nodes.append(Group((dot,), goes, line, opacity=there))
    nodes.append(Path(circle(end, line, 4.5), fill=palette.INK, label="GPT-3 175B: 3.14e23", shows=given("gpt3/table-d.1")))
    told = f"GPT-3 175B: {power(GPT3_FLOPS)}"
    nodes.append(Text(x + w, line + 6 + 1.1 * small, told, small, anchor="end", shows=given("gpt3/table-d.1")))
    if x + text_width("× 1000 a mark", small) + size < x + w - text_width(told, small):
        nodes.append(Text(x, line + 6 + 1.1 * small, "× 1000 a mark", small, fill=palette.QUIET))
    return nodes


def _changing(moments: Sequence[_Moment], text: Any) -> list[Node]:
    """One text for each moment, each there in its time."""
    return [Group((text(moment),), opacity=_on(moment, moments)) for moment in moments]


def _samples(place: _Layout, moments: Sequence[_Moment]) -> list[Node]:
    """What the model writes: the prompt in green, what follows in pink, in the sheet's monospace."""
    sheet, box = place.sheet, place.sample
    size, small = sheet.size, sheet.small
    nodes: list[Node] = [Rect(box.x, box.y + 1.7 * size, box.w, box.h - 1.7 * size, 8, palette.PANEL, palette.LINE)]
    if not any(moment.sample for moment in moments):
        nodes.append(Text(box.x, box.y + size, "What it writes", size, 600))
        told = "not in this record: no samples were taken"
        nodes.append(Text(box.x + size, box.y + 3.4 * size, told, small, fill=palette.QUIET))
        return nodes
    for moment in moments:
        assert moment.sample is not None, "moments are those of the samples"
        index, sample = moment.sample
        shows = Shows("training/samples", (index,), moment.step, "derived")
        heading = "What it writes untrained" if moment.step == 0 else f"What it writes after {_steps(moment.step)}"
        group: list[Node] = [Text(box.x, box.y + size, heading, size, 600)]
        y = box.y + 1.7 * size + 0.4 * size
        for row, parts in enumerate(_coloured(sample, box.w - 2 * size, size, place.lines)):
            at = box.x + size
            for words, ink in parts:
                baseline = y + (row * LEADING * 1.05 + 1) * size
                group.append(Text(at, baseline, words, size, family="mono", fill=ink, shows=shows))
                at += text_width(words, size, "mono")
        nodes.append(Group(tuple(group), opacity=_on(moment, moments)))
    return nodes


def _coloured(sample: dict[str, Any], width: float, size: float, lines: int) -> list[list[tuple[str, str]]]:
    """The prompt and the text after it in lines, each line in parts of one colour."""
    prompt, text = readable(sample["prompt"]), readable(sample["text"])
    left = len(" ".join(prompt.split()))  # characters of the prompt that are still to come
    found = []
    for line in wrap(prompt + text, width, size, "mono", lines=lines):
        cut = min(left, len(line))
        found.append([part for part in ((line[:cut], palette.INPUT), (line[cut:], palette.OUTPUT)) if part[0]])
        left = max(0, left - len(line) - 1)  # the space at which the line was broken
    return found


def _signed(share: float) -> str:
    """Two decimals, with a minus only where they are not all zero."""
    told = f"{abs(share):.2f}"
    return f"−{told}" if share < 0 and told != "0.00" else told


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count:,} steps"


def _alt(record: Record, run: Training, moments: Sequence[_Moment]) -> str:
    first, last = moments[0], moments[-1]
    parts = [
        f"Pre-training of {model_name(record)}, {record.provenance.parameters:,} parameters, in {_steps(run.steps)} and "
        f"{run.tokens[-1]:,} tokens. The model's box goes from grey to its colours as its loss falls: "
        f"{first.loss.value:.2f} nats a token after {_steps(first.step)}, {last.loss.value:.2f} after {_steps(last.step)}; "
        f"guessing is ln V = {run.ln_v:.2f}."
    ]
    if run.held_out:
        parts.append(f"Held-out loss at the end {run.held_out[-1].value:.2f}.")
    for moment in (first, last):
        if moment.sample is not None:
            sample = moment.sample[1]
            written = start_of(readable(sample["prompt"] + sample["text"]), 120)
            parts.append(f"After {_steps(moment.step)} it writes: “{written}”.")
    parts.append(f"{power(run.operations(run.tokens[-1]))} operations; GPT-3 175B took {power(GPT3_FLOPS)}.")
    return " ".join(parts)


def _notes(run: Training) -> tuple[str, ...]:
    notes = [
        "Moments are spaced by the logarithm of their step and shown equally long: early steps are not as slow as they look.",
        "Where a loss is above ln V, 1 - loss / ln V is below 0 and the model is drawn grey.",
        "Operations count matrix products only, three times those of the forward pass; GPT-3's are as published (Table D.1).",
    ]
    if not run.held_out:
        notes.append("No held-out loss is in this record.")
    return tuple(notes)
