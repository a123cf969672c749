"""draw/: pictures as pure functions of time.

In: what a record holds (or, for a plain chart, a list of numbers). Out: a `Film`, which any back end turns into SVG, PNG, GIF,
WebP, MP4 or a page, and which the player in the browser plays from the same JSON. No random number, no clock, no measured page:
the same film is the same picture everywhere. `docs/film.md` says what a film is; read `nodes`, `keys`, `resolve`, `film`, then
the back ends.
"""

from pellucid.draw.chart import loss_chart
from pellucid.draw.film import Caption, Film, Frame, Segment
from pellucid.draw.keys import Keys
from pellucid.draw.nodes import Clip, Gradient, Group, Image, Matrix, Node, Path, Rect, Shows, Text


__all__ = [
    "Caption", "Clip", "Film", "Frame", "Gradient", "Group", "Image", "Keys", "Matrix", "Node", "Path", "Rect", "Segment",
    "Shows", "Text", "loss_chart",
]  # fmt: skip
