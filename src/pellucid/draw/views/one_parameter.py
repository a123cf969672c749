"""What the film `one-parameter` shows of a table of points: one number w, fitted by gradient descent, step by step.

This film alone is drawn from data that is given, not from a record. n points (x, y); the model predicts w x.
"""

from dataclasses import dataclass
from math import fsum, sqrt

from pellucid.draw.film.nodes import Shows, given
from pellucid.draw.views.points import Point, PointTable
from pellucid.languages import tr


STEPS = 8  # of gradient descent
MOST_SHOWN = 120  # points that are drawn; all are fitted
NEAR_ZERO = 0.1  # a best w less than this share of the largest that is possible counts as 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientStep:
    """A value of w, the error there (mean of the squared residuals), and the slope of the error there."""

    w: float
    error: float
    slope: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OneParameterView:
    """The film's values.

    Attributes:
        table: the points (given). drawn: which of them are on the picture, by number.
        rate: the learning rate. steps: w, error and slope at the start and after each step; w of a step is that of the one
            before less rate times its slope (all derived from the points, in double precision).
        best: w, error and slope of the exact solution, sum of x y over sum of x². model, parameters: the name of the embedded
            model and how many parameters it has (from its config).
    """

    table: PointTable
    drawn: tuple[int, ...]
    rate: float
    steps: tuple[GradientStep, ...]
    best: GradientStep
    model: str
    parameters: int

    @property
    def points(self) -> tuple[Point, ...]:
        """All points."""
        return self.table.points

    @property
    def footer(self) -> tuple[str, str]:
        """Where the points are from; how many, and how many parameters are fitted to them."""
        source = tr("data: {source}", source=self.table.source)
        return source, tr("{count:,} points · 1 parameter, w", count=len(self.points))

    def error(self, w: float) -> float:
        """The mean of the squared residuals at w."""
        return fsum((y - w * x) ** 2 for x, y in self.points) / len(self.points)

    def shows_point(self, number: int) -> Shows:
        """The source of a point: its place in the table."""
        return given("points", number)

    @staticmethod
    def shows_step(number: int) -> Shows:
        """The source of w, error and slope after so many steps: the steps, computed from the points."""
        return Shows("steps", (number,), number)


def one_parameter_view(table: PointTable, *, model: str, parameters: int) -> OneParameterView:
    """Fits w to a checked table: `STEPS` steps of gradient descent, which go half of the rest of the way each.

    The error is a parabola over w with the curvature 2 mean(x²), the same everywhere. The learning rate is half of one over
    it, so that each step halves the distance to the best w. The start is 0; where 0 is nearly the best w, it is the largest
    w that is possible for points of these sizes, the root of mean(y²) over mean(x²).

    Args:
        model, parameters: the name of the model that the last segment names, and how many parameters it has.
    """
    points = table.points
    n = len(points)
    mean_xx, mean_yy = fsum(x * x for x, _ in points) / n, fsum(y * y for _, y in points) / n

    def at(w: float) -> GradientStep:
        residuals = [(x, y - w * x) for x, y in points]
        slope = fsum(-2 * x * residual for x, residual in residuals) / n
        return GradientStep(w=w, error=fsum(residual**2 for _, residual in residuals) / n, slope=slope)

    best = fsum(x * y for x, y in points) / n / mean_xx
    largest = sqrt(mean_yy / mean_xx)  # of |best|, by Cauchy and Schwarz
    rate = 0.5 / (2 * mean_xx)
    steps = [at(largest if abs(best) < NEAR_ZERO * largest else 0.0)]
    for _ in range(STEPS):
        steps.append(at(steps[-1].w - rate * steps[-1].slope))
    count = min(n, MOST_SHOWN)
    return OneParameterView(
        table=table, drawn=tuple(i * n // count for i in range(count)), rate=rate, steps=tuple(steps), best=at(best),
        model=model, parameters=parameters,
    )  # fmt: skip
