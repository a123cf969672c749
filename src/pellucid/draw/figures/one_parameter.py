"""`one-parameter`: the model that the article begins from, fitted to points step by step, and how many numbers ours has.

The points with the line of the present w, the error as a curve over w with the slope, the steps as a table; at the end the
table gives way to the number of parameters of the embedded model. `one_parameter_panels` draws the parts. Between two steps
nothing moves: every w that is shown was computed.
"""

from dataclasses import dataclass
from typing import Any

from pellucid.draw.components.marks import Box
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline
from pellucid.draw.figures import one_parameter_panels as panels
from pellucid.draw.figures.one_parameter_panels import FitTransitions
from pellucid.draw.film.film import Film
from pellucid.draw.film.nodes import given
from pellucid.draw.views.labels import four_digits, percent
from pellucid.draw.views.one_parameter import STEPS, OneParameterView, one_parameter_view
from pellucid.draw.views.points import point_table
from pellucid.gpt.config import GPTConfig
from pellucid.languages import counted, listed, mark, tr


TITLE = mark("A model with one number")
PACE = 1.1  # seconds of each step after the first
EXACT = 1e-9  # of mean(y²): a least error below it is that of points on a line


@dataclass(frozen=True, slots=True, kw_only=True)
class _FitLayout:
    """Where the parts stand."""

    sheet: Sheet
    points: Box
    curve: Box
    table: Box

    @classmethod
    def of(cls, width: float) -> "_FitLayout":
        sheet = Sheet.of(width, narrow_height=702)
        if sheet.wide:
            return cls(sheet=sheet, points=Box(24, 62, 480, 438), curve=Box(532, 62, 404, 246), table=Box(532, 322, 404, 178))
        return cls(sheet=sheet, points=Box(12, 42, 336, 228), curve=Box(12, 280, 336, 188), table=Box(12, 478, 336, 176))


def one_parameter_film(points: Any, config: GPTConfig, *, x: str = "x", y: str = "y", width: float = 960) -> Film:
    """The film of the points that `point_table` takes, which ends with the parameters of a model: the embedded one.

    Raises:
        PellucidError: as `point_table`; a picture less than 240 wide.
    """
    view = one_parameter_view(point_table(points, x=x, y=y), model=config.name, parameters=config.parameters())
    return one_parameter(view, width=width)


def one_parameter(view: OneParameterView, *, width: float = 960) -> Film:
    """The film of a fit. Raises PellucidError for a picture less than 240 wide."""
    layout, timeline = _FitLayout.of(width), Timeline()
    sheet = layout.sheet
    when = _on_timeline(view, timeline)
    nodes = [
        *panels.points(view, sheet, layout.points, when),
        *panels.error_curve(view, sheet, layout.curve, when),
        *panels.steps_table(view, sheet, layout.table, when),
        *panels.parameters(view, sheet, layout.table, when),
    ]
    return sheet.film(view, tr(TITLE), nodes, timeline, alt=_alt(view), notes=_notes(view), source=given("points"))


def _on_timeline(view: OneParameterView, timeline: Timeline) -> FitTransitions:
    start, first, last = view.steps[0], view.steps[1], view.steps[-1]
    count, x, y, source = len(view.points), view.table.x, view.table.y, view.table.source
    rate, slope = four_digits(view.rate), four_digits(start.slope)
    before, after, error_before, error_after = map(four_digits, (start.w, first.w, start.error, first.error))
    dots, line = timeline.segment(
        tr("The points and the model"),
        (0.0, 2.8, tr("{count:,} points ({source}). Across: {x}. Upwards: {y}.", count=count, source=source, x=x, y=y)),
        (0.0, 2.8, tr("The model is one number, w. It predicts y = w x: a line through 0. It begins with w = {w}.", w=before)),
    )
    residuals, curve = timeline.segment(
        tr("The error"),
        (0.0, 3.0, tr("The orange lines: by how much each prediction is wrong. The mean of their squares is the error: "
                      "{error}.", error=error_before)),
        (0.0, 3.0, tr("Another w has another error. The curve is the error of every w; the dot is the present one.")),
    )  # fmt: skip
    tangent, move = timeline.segment(
        tr("One step along the slope"),
        (0.0, 3.0, tr("Here the curve has the slope {slope}: how the error changes with w. The step goes against the slope.",
                      slope=slope)),
        (0.0, 3.4, tr("The learning rate, {rate}, times the slope is the step: w goes from {before} to {after}, and the error "
                      "from {error_before} to {error_after}.", rate=rate, before=before, after=after,
                      error_before=error_before, error_after=error_after)),
    )  # fmt: skip
    again = tr("Again: the slope at the new w, and a step against it. The slope gets smaller, and so do the steps.")
    moves = timeline.segment(tr("Step by step"), *((0.0, PACE, again) for _ in range(STEPS - 1)))
    (best,) = timeline.segment(tr("The best number"), (0.0, 5.0, _best_words(view)))
    (many,) = timeline.segment(
        tr("Now {count:,} of them", count=view.parameters),
        (0.0, 5.5, tr("Now {count:,} of them: the numbers of the model in this package. Each has a slope of its own, and "
                      "moves against it.", count=view.parameters)),
    )  # fmt: skip
    assert len(moves) + 1 == len(view.steps) - 1 and last.w != start.w
    return FitTransitions(
        points=dots, line=line, residuals=residuals, curve=curve, tangent=tangent, moves=(move, *moves), best=best, many=many
    )


def _best_words(view: OneParameterView) -> str:
    steps, last, best = counted(len(view.steps) - 1, "step"), four_digits(view.steps[-1].w), four_digits(view.best.w)
    error = four_digits(view.best.error)
    if _on_a_line(view):
        return tr(
            "After {steps} w is {last}. The best w can also be computed at once, from sums: {best}. There no error is left.",
            steps=steps, last=last, best=best,
        )  # fmt: skip
    return tr(
        "After {steps} w is {last}. The best w can also be computed at once, from sums: {best}. An error of {error} is left "
        "there: no line through 0 meets all points.",
        steps=steps, last=last, best=best, error=error,
    )  # fmt: skip


def _on_a_line(view: OneParameterView) -> bool:
    """Whether the points lie on a line through 0, as far as double precision tells."""
    return view.best.error <= EXACT * view.error(0.0)


def _alt(view: OneParameterView) -> str:
    first, last = view.steps[0], view.steps[-1]
    start, end, error_start, error_end = map(four_digits, (first.w, last.w, first.error, last.error))
    return tr(
        "{count:,} points: {y}, against {x} ({source}). A line through 0 with one number, w, is fitted to them. With w = "
        "{start} the mean of the squared errors is {error_start}. Gradient descent with the learning rate {rate} makes w "
        "{steps}; with w = {end} the error is {error_end}. {best} The model {model} has {parameters:,} numbers.",
        count=len(view.points), y=view.table.y, x=view.table.x, source=view.table.source,
        start=start, error_start=error_start, rate=four_digits(view.rate),
        steps=listed(four_digits(step.w) for step in view.steps[1:]), end=end, error_end=error_end, best=_best_words(view),
        model=view.model, parameters=view.parameters,
    )  # fmt: skip


def _notes(view: OneParameterView) -> list[str]:
    rate, halved = four_digits(view.rate), percent(abs(view.steps[-1].w - view.best.w) / abs(view.steps[0].w - view.best.w))
    notes = [
        tr(
            "The learning rate {rate} is chosen so that every step goes half of the rest of the way: it is 1 / (4 · mean of "
            "x²). After the last step {left} of the way is left. With more than four times this rate the steps would grow.",
            rate=rate, left=halved,
        ),
        tr(
            "Every w, error and slope is computed from all points, in double precision, and rounded only where it is written. "
            "No value between two steps is shown."
        ),
        tr("The model has no second number: its line always goes through 0."),
        tr(
            "Here a step uses all points. A language model's step uses a part of its text, and its error is the mean of −log p."
        ),
    ]  # fmt: skip
    if view.steps[0].w:
        start = four_digits(view.steps[0].w)
        notes.append(
            tr(
                "The best w is nearly 0, so that w begins at {start}, the root of mean y² over mean x², and not at 0.",
                start=start,
            )
        )
    if len(view.drawn) < len(view.points):
        notes.append(
            tr(
                "{drawn:,} of {count:,} points are drawn, evenly chosen by their place; all are fitted.",
                drawn=len(view.drawn), count=len(view.points),
            )
        )  # fmt: skip
    return [*notes, *view.table.remarks]
