"""`overview`, the article's first picture: a prompt goes in, the blocks light up in their order, an answer comes out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.draw.components.marks import Box, colour, earlier, flow, token_boxes
from pellucid.draw.components.parts import arrow, centred, measured, token, token_width
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, Transition, animate
from pellucid.draw.figures.tokens_panels import heading, panel
from pellucid.draw.film import palette
from pellucid.draw.film.film import Film
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.keyframes import Keyframes
from pellucid.draw.film.nodes import Gradient, Group, Node, Rect, Shows, Text
from pellucid.draw.views.labels import end_of, in_seconds, percent, start_of, three_digits
from pellucid.draw.views.model_parts import block_name, pattern_name
from pellucid.draw.views.overview import OverviewView
from pellucid.languages import counted, joined, listed, plural, tr


JUMPS = 9  # in which the blocks light up while the prompt is read
ONE_BY_ONE = 10  # groups in which the answer's tokens appear
LIT, DARK = palette.FOLLOWED, palette.PAPER


@dataclass(frozen=True, slots=True, kw_only=True)
class _Panels:
    """The boxes of the picture: the prompt's, the model's, the answer's."""

    prompt: Box
    model: Box
    answer: Box

    @classmethod
    def of(cls, sheet: Sheet) -> "_Panels":
        top, low = sheet.top, sheet.bottom - 6
        if sheet.wide:
            return cls(
                prompt=Box(24, top, 240, low - top), model=Box(304, top, 200, low - top), answer=Box(544, top, 392, low - top)
            )
        return cls(prompt=Box(12, 44, 336, 112), model=Box(12, 178, 336, 110), answer=Box(12, 310, 336, low - 310))


def overview(view: OverviewView, *, width: float = 960) -> Film:
    """The film of an answer from outside. Raises PellucidError for a picture less than 240 wide."""
    sheet, timeline = Sheet.of(width), Timeline()
    places = _Panels.of(sheet)
    enter, read = timeline.segment(
        tr("The prompt goes in"),
        (0.8, 1.6, tr("The prompt: {tokens}.", tokens=counted(len(view.prompt), "token"))),
        (1.6, 2.4, _reading_words(view)),
    )
    groups = _groups(len(view.answer))
    saying = tr("Each step gives one token, and reads it in the next step. Below a token: its probability in the model.")
    pace = 8.0 / len(groups)
    writes = timeline.segment(tr("The answer comes out"), *((0.3 * pace, 0.7 * pace, saying) for _ in groups))
    (whole,) = timeline.segment(tr("All of it"), (0.0, 5.0, _total_words(view)))
    when: list[Transition] = [transition for transition, count in zip(writes, groups, strict=True) for _ in range(count)]
    nodes: list[Node] = [
        *_prompt(view, places.prompt, sheet),
        *_model(view, places.model, sheet, read, writes),
        *_answer(view, places.answer, sheet, when),
        *_arrows(places, sheet, enter, writes[0]),
        *_times(view, places.model, sheet, read, whole),
    ]
    return sheet.film(
        view.model, tr("A prompt goes in, an answer comes out"), nodes, timeline, alt=_alt(view), notes=_notes(view),
        measured=True,
    )  # fmt: skip


def _groups(count: int) -> list[int]:
    """The tokens of the answer in a few groups, as equal as can be; the first token alone."""
    groups = min(count, ONE_BY_ONE)
    return [count * (i + 1) // groups - count * i // groups for i in range(groups)]


def _prompt(view: OverviewView, box: Box, sheet: Sheet) -> list[Node]:
    """The prompt's tokens."""
    size, high = (14.0, 26.0) if sheet.wide else (12.0, 21.0)
    pad = sheet.pad / 2
    top = box.y + 2.2 * sheet.size
    rows = int((box.bottom - pad - top + 4) // (high + 4))
    words, left = [view.pieces.shown(ident) for ident in view.prompt], box.x + pad
    places, hidden = flow(words, left, top, box.w - 2 * pad, high, size, rows=rows)
    sources = [view.prompt_source(i) for i in range(len(view.prompt))]
    boxes = token_boxes(view.pieces, view.prompt, places, size, roles=["input"] * len(view.prompt), sources=sources)
    if hidden:
        boxes.append(Text(left, centred(top, high, size), earlier(hidden), size, fill=palette.QUIET))
    return [panel(box), heading(tr("Prompt"), box, sheet), *boxes]


def _model(
    view: OverviewView, box: Box, sheet: Sheet, read: Transition, writes: Sequence[Transition]
) -> list[Node]:
    """The model with a bar for each block: lit from the first to the last while the prompt is read, then all at each step."""
    heading = tr("{name}: {value}", name=view.model.name, value=counted(view.blocks, "block"))
    name = fit(heading, box.w - sheet.size, sheet.size, "sans", 600)
    nodes: list[Node] = [
        Rect(box.x, box.y, box.w, box.h, 10, Gradient(palette.TRAINED), palette.FOLLOWED, 1.5),
        Text(box.middle, box.y + 1.5 * sheet.size, name, sheet.size, 600, "sans", "middle", label=heading,
             shows=Shows("provenance", (), None, "given")),
    ]  # fmt: skip
    inner = _block_area(box, sheet)
    count, jumps = view.blocks, min(JUMPS, view.blocks)
    pitch = (inner.h if sheet.wide else inner.w) / count
    thick = max(pitch * 0.72, min(pitch, 1.0))
    for block in range(count):
        if sheet.wide:  # the first at the bottom
            place = Box(inner.x, inner.bottom - (block + 1) * pitch + (pitch - thick) / 2, inner.w, thick)
        else:  # from left to right
            place = Box(inner.x + block * pitch + (pitch - thick) / 2, inner.y, thick, inner.h)
        pattern = pattern_name(view.model.config.pattern[block])
        label = tr("{block} ({pattern})", block=block_name(block), pattern=pattern)
        fill, ink = (
            _lights(block * jumps // count, jumps, read, writes, lit, dark) for lit, dark in ((LIT, DARK), (DARK, palette.INK))
        )
        shows = Shows("provenance", (), None, "given")
        nodes.append(Rect(place.x, place.y, place.w, place.h, min(3.0, thick / 3), fill, label=label, shows=shows))
        if words := _block_words(block, pattern, place, sheet):
            base = centred(place.y, place.h, sheet.small)
            nodes.append(Text(place.middle, base, words, sheet.small, anchor="middle", fill=ink, label=label, shows=shows))
    return nodes


def _block_words(block: int, pattern: str, place: Box, sheet: Sheet) -> str:
    """A block's name on its bar, with its attention pattern where both have room; "" where not even its number has."""
    name = tr("{block} ({pattern})", block=block_name(block), pattern=pattern)
    if place.h < 1.2 * sheet.small:
        return ""
    each = (name, block_name(block), tr("b {number}", number=block + 1), f"{block + 1}")
    return next((words for words in each if text_width(words, sheet.small) + 6 <= place.w), "")


def _block_area(box: Box, sheet: Sheet) -> Box:
    """Where the blocks of the model stand."""
    if sheet.wide:
        return Box(box.x + 24, box.y + 40, box.w - 48, box.h - 40 - 74)
    return Box(box.x + 14, box.y + 28, box.w - 28, box.h - 28 - 34)


def _lights(
    jump: int, jumps: int, read: Transition, writes: Sequence[Transition], lit: str, dark: str
) -> Keyframes:
    """A colour of a block: lit at its turn while the prompt is read, and in each step after that while the step moves."""
    span = (read.settled - read.start) / jumps
    points: list[tuple[Any, ...]] = [(0.0, dark), (read.start + jump * span, lit), (read.start + (jump + 1) * span, dark)]
    for transition in writes[1:]:
        points += [(transition.start, lit), (transition.settled, dark)]
    return Keyframes(*points)


def _answer(view: OverviewView, box: Box, sheet: Sheet, when: Sequence[Transition]) -> list[Node]:
    """The answer's tokens, each with its probability below it."""
    size, high = (14.0, 24.0) if sheet.wide else (12.0, 20.0)
    small, pad = sheet.small, sheet.pad / 2
    top, row = box.y + 2.2 * sheet.size, high + 1.5 * small
    chances = [percent(p) for p in view.probabilities]
    widest = [
        word if token_width(word, size) >= text_width(chance, small) + 4 else "0" * len(chance)
        for word, chance in zip(map(view.pieces.shown, view.answer), chances, strict=True)
    ]
    rows = int((box.bottom - 6 - top + 4) // (row + 4))
    places, hidden = flow(widest, box.x + pad, top, box.w - 2 * pad, row, size, gap=5, rows=rows)
    nodes: list[Node] = [panel(box), heading(tr("Answer"), box, sheet)]
    if hidden:
        nodes.append(Text(box.x + pad, centred(top, high, size), earlier(hidden), size, fill=palette.QUIET))
    for i, place in enumerate(places):
        if place is None:
            continue
        there, word, p = animate(0, (when[i], 1, "settle")), view.pieces.shown(view.answer[i]), view.probabilities[i]
        w = min(token_width(word, size), place.w)
        label = tr(
            "{token}, step {step}: {time} measured",
            token=view.pieces.described(view.answer[i]), step=i + 1, time=in_seconds(view.seconds[i]),
        )  # fmt: skip
        shade = colour("sequential", min(p, 1.0))
        nodes += [
            token(word, place.middle - w / 2, place.y, high, size, role="output", w=w, opacity=there, label=label,
                  shows=view.answer_source(i)),
            Rect(place.x, place.y + high + 1.5 * small - 2, place.w, 3, 1, shade, palette.LINE, 0.5, opacity=there,
                 shows=view.probability_source(i)),
            Text(place.middle, place.y + high + 1.05 * small, chances[i], small, anchor="middle", fill=palette.QUIET,
                 opacity=there, shows=view.probability_source(i)),
        ]  # fmt: skip
    return nodes


def _arrows(places: _Panels, sheet: Sheet, enter: Transition, write: Transition) -> list[Node]:
    """From the prompt to the model, and from the model to the answer, each when it is its turn."""
    into, out = ({"opacity": animate(0, (transition, 1))} for transition in (enter, write))
    if sheet.wide:
        y = places.model.y + places.model.h / 2
        return [
            arrow(places.prompt.right + 4, y, places.model.x - 4, y, palette.INPUT, **into),
            arrow(places.model.right + 4, y, places.answer.x - 4, y, palette.OUTPUT, **out),
        ]
    x = places.model.middle
    return [
        arrow(x, places.prompt.bottom + 3, x, places.model.y - 3, palette.INPUT, head=8, **into),
        arrow(x, places.model.bottom + 3, x, places.answer.y - 3, palette.OUTPUT, head=8, **out),
    ]


def _times(view: OverviewView, box: Box, sheet: Sheet, read: Transition, whole: Transition) -> list[Node]:
    """The measured times, in the lower part of the model's box."""
    small = sheet.small
    first = tr("prompt {time}", time=in_seconds(view.seconds[0]))
    nodes: list[Node] = []
    lines = [(first, view.time_source(0), read)]
    if len(view.seconds) > 1:
        mean = sum(view.seconds[1:]) / (len(view.seconds) - 1)
        lines.append((tr("a token {time}", time=in_seconds(mean)), view.time_source(), whole))
    for i, (string, shows, transition) in enumerate(lines):
        if sheet.wide:
            x, y = box.middle, box.bottom - 46 + i * 1.7 * small
        else:
            x, y = box.x + box.w * (0.27 if i == 0 else 0.73), box.bottom - 12
        text = Text(x, y, string, small, anchor="middle", shows=shows)
        nodes.append(Group((measured(text),), opacity=animate(0, (transition, 1, "settle"))))
    return nodes


def _reading_words(view: OverviewView) -> str:
    return plural(
        len(view.prompt),
        "It goes through {blocks}, one block after the other, in {time} (measured).",
        "All {count:,} go through {blocks}, one block after the other, in {time} (measured).",
        blocks=counted(view.blocks, "block"),
        time=in_seconds(view.seconds[0]),
    )


def _total_words(view: OverviewView) -> str:
    values = {
        "read": counted(len(view.prompt), "token"), "written": len(view.answer), "time": in_seconds(sum(view.seconds)),
        "model": view.model.fingerprint,
    }  # fmt: skip
    if len(view.seconds) > 1 and (later := sum(view.seconds[1:])) > 0:
        return tr(
            "{read} read and {written:,} written in {time} (measured): {rate} tokens a second after the first, by the model "
            "{model}.", rate=three_digits((len(view.seconds) - 1) / later), **values,
        )  # fmt: skip
    return tr("{read} read and {written:,} written in {time} (measured), by the model {model}.", **values)


def _alt(view: OverviewView) -> str:
    prompt, answer = end_of(view.pieces.sentence(view.prompt)), start_of(view.pieces.sentence(view.answer))
    first = listed(
        tr("“{token}” {number}", token=view.pieces.shown(ident), number=percent(p))
        for ident, p in list(zip(view.answer, view.probabilities, strict=True))[:8]
    )
    given = tr(
        "{name} is given “{prompt}” and answers “{answer}”. The tokens with their probabilities: {first}.",
        name=view.model.name, prompt=prompt, answer=answer, first=f"{first} …" if len(view.answer) > 8 else first,
    )  # fmt: skip
    return joined([given, _reading_words(view), _total_words(view)])


def _notes(view: OverviewView) -> list[str]:
    return [
        tr("Blocks light up in their true order while the prompt is read; in later steps they do, too, but are shown at once."),
        tr(
            "A probability is the model's own, at temperature 1 and before any cut. The film's pace is not that of the model: "
            "the times are written."
        ),
        tr("What happens in the model is opened by the figures embedding, stack, context and xray."),
    ]
