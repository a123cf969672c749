"""The plain chart of scores by number of examples: a panel a task, a published curve beside the measured one. A still."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pellucid.draw.components.axes import grid_lines, in_rows, polyline, step_axis
from pellucid.draw.components.parts import circle
from pellucid.draw.components.scales import LinearScale
from pellucid.draw.film import palette
from pellucid.draw.film.film import Caption, Film, FilmSegment
from pellucid.draw.film.font import fit, text_width, wrap
from pellucid.draw.film.keyframes import rounded
from pellucid.draw.film.nodes import Node, Path, Text, given
from pellucid.errors import PellucidError
from pellucid.languages import counted, tr


SIZE = 14.0  # of the text
COLUMNS, PLOT = 3, 132.0  # panels in a row; height of a panel's plot
RESTS = 6.0  # seconds of the one segment, in which nothing moves
MEASURED, PUBLISHED = palette.SERIES[0], palette.SERIES[1]
_DASH = (6.0, 4.0)
_CHUNK = "scores"
_HEADING = 2.1 * SIZE  # from a panel's top to its plot
_LegendEntry = tuple[str, str, tuple[float, ...]]  # words, colour and dashes of the line that they name


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorePanel:
    """The scores of one task, as shares from 0 to 1.

    Attributes:
        points: (examples, mean, low, high) by number of examples. published: (examples, share) by number of examples.
    """

    task: str
    points: Sequence[tuple[int, float, float, float]]
    published: Sequence[tuple[int, float]] = ()


def score_chart(panels: Sequence[ScorePanel], *, published: str = "GPT-3 175B", width: float = 960) -> Film:
    """The film of scores by number of examples, which is a still.

    Args:
        published: whose scores the panels' published ones are. width: in film units.

    Raises:
        PellucidError: no panels, or one without points.
    """
    if not panels or any(not panel.points for panel in panels):
        raise PellucidError("a chart of scores needs a task, and a score of each: name a number of examples at least")
    columns = min(COLUMNS, len(panels))
    gap, pad = 1.6 * SIZE, SIZE
    each = (width - 2 * pad - (columns - 1) * gap) / columns
    entries: list[_LegendEntry] = [(tr("this model, with its interval"), MEASURED, ())]
    if any(panel.published for panel in panels):
        entries.append((tr("{name}, as published", name=published), PUBLISHED, _DASH))
    title = tr("Right answers by number of examples, in percent")
    nodes, top = _head(title, entries, width, pad)
    row = _HEADING + PLOT + 4.8 * SIZE
    for number, panel in enumerate(panels):
        left, y = pad + (number % columns) * (each + gap), top + (number // columns) * row
        nodes += _panel(panel, number, left, y, each)
    height = rounded(top + (1 + (len(panels) - 1) // columns) * row + 0.5 * pad)
    return Film(
        title=title, width=width, height=height, nodes=tuple(nodes),
        segments=(FilmSegment(title, 0.0, RESTS, ((0.0, RESTS),)),), captions=(Caption(0.0, RESTS, _sentence(panels[0])),),
        alt=" ".join([f"{title}.", *map(_sentence, panels)]),
        notes=(tr("Numbers of examples stand side by side, not to scale."),),
    )  # fmt: skip


def _head(title: str, entries: Sequence[_LegendEntry], width: float, pad: float) -> tuple[list[Node], float]:
    """The title and the legend, and the position below them."""
    nodes: list[Node] = []
    y, big = pad, SIZE * 1.25
    for line in wrap(title, width - 2 * pad, big, "sans", 600, lines=2):
        nodes.append(Text(pad, y + big, line, big, 600))
        y += big * 1.3
    swatch, gap = 1.8 * SIZE, 0.6 * SIZE
    widths = [swatch + gap + text_width(words, SIZE) for words, _, _ in entries]
    *places, (_, last) = in_rows(widths, pad, y + 0.4 * SIZE, pad, width - pad, 1.4 * SIZE, 1.5 * SIZE)
    for (words, colour, dash), (x, y) in zip(entries, places, strict=True):
        ends = ((x, y + 0.75 * SIZE), (x + swatch, y + 0.75 * SIZE))
        nodes.append(Path(polyline(ends), stroke=colour, stroke_width=2.0, dash=dash))
        nodes.append(Text(x + swatch + gap, y + 1.1 * SIZE, words, SIZE))
    return nodes, last + 2.6 * SIZE


def _panel(panel: ScorePanel, number: int, left: float, top: float, width: float) -> list[Node]:
    """A task's name, its axes, the published line and the measured one over it."""
    scale = LinearScale(0.0, 100.0, top + _HEADING + PLOT, top + _HEADING)
    begin, end = left + text_width("100", SIZE) + 0.6 * SIZE, left + width
    shots = sorted({point[0] for point in panel.points} | {count for count, _ in panel.published})
    between = (end - begin) / len(shots)
    places = {count: rounded(begin + (i + 0.5) * between) for i, count in enumerate(shots)}
    nodes: list[Node] = [Text(left, top + SIZE * 0.8, fit(panel.task, width, SIZE, weight=600), SIZE, 600)]
    nodes += grid_lines(scale, [(value, f"{value:.0f}") for value in (0.0, 50.0, 100.0)], begin, end, SIZE)
    ticks = [(places[count], f"{count:,}") for count in shots]
    nodes += step_axis(ticks, begin, end, scale.start, SIZE, name=tr("examples in the prompt"), name_lines=2.7)
    line = [(places[count], scale.place(100 * share)) for count, share in panel.published]
    if line:
        shows = given("published", number)
        nodes.append(Path(polyline(line), stroke=PUBLISHED, stroke_width=2.0, dash=_DASH, shows=shows))
        nodes += [Path(circle(x, rounded(y), 3.5), fill=palette.PAPER, stroke=PUBLISHED, shows=shows) for x, y in line]
    shows = given(_CHUNK, number)
    means = [(places[count], scale.place(100 * mean)) for count, mean, _, _ in panel.points]
    for a, b in pairwise(means):
        nodes.append(Path(polyline((a, b)), stroke=MEASURED, stroke_width=2.0, shows=shows))
    for (x, y), (count, mean, low, high) in zip(means, panel.points, strict=True):
        bar = [(x, scale.place(100 * low)), (x, scale.place(100 * high))]
        label = _point(count, mean, low, high)
        nodes.append(Path(polyline(bar), stroke=MEASURED, stroke_width=1.5, shows=shows))
        nodes.append(Path(circle(x, rounded(y), 4.0), fill=MEASURED, stroke=palette.PAPER, label=label, shows=shows))
    return nodes


def _point(count: int, mean: float, low: float, high: float) -> str:
    examples = counted(count, "example")
    return tr(
        "{examples}: {mean:.1f} % [{low:.1f}, {high:.1f}]", examples=examples, mean=100 * mean, low=100 * low, high=100 * high
    )


def _sentence(panel: ScorePanel) -> str:
    """A panel in words."""
    return f"{panel.task}: {'; '.join(_point(*point) for point in panel.points)}."
