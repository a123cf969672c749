"""draw/: pictures as pure functions of time.

In: what a record holds (or, for a plain chart, a list of numbers). Out: a `Film`, which any back end turns into SVG, PNG, GIF,
WebP, MP4 or a page, and which the player in the browser plays from the same JSON. No random number, no clock, no measured page:
the same film is the same picture everywhere. `docs/film.md` says what a film is; read `nodes`, `keys`, `resolve`, `film`, then
the back ends.
"""

from pellucid.draw.components.chart import loss_chart
from pellucid.draw.film.film import Caption, Film, Frame, Segment
from pellucid.draw.film.keyframes import Keys
from pellucid.draw.film.nodes import Clip, Gradient, Group, Image, Matrix, Node, Path, Rect, Shows, Text


__all__ = [
    "Caption", "Clip", "Film", "Frame", "Gradient", "Group", "Image", "Keys", "Matrix", "Node", "Path", "Rect", "Segment",
    "Shows", "Text", "loss_chart",
]  # fmt: skip
