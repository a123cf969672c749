"""Figures of a record as films: pictures that are pure functions of time.

In: a record (or, for a plain chart, lists of numbers). Out: a `Film`, which the back ends turn into SVG, PNG, GIF, WebP, MP4 or
an HTML page, and which the player in the browser plays from the same JSON. No random number, no clock, no measured page: the
same film is the same picture everywhere. `docs/film.md` describes a film, `docs/figures.md` the figures.

Five rooms, each of which imports only those before it: `film/` (what a film is: nodes, keyframes, its value at a time),
`backends/` (a film as a file), `views/` (a record as values), `components/` (marks, scales, sheets, timelines, charts) and
`figures/` (values laid out as films). This module joins `film/` and `backends/`: `Film.save` and `.to_json` work from here on.
"""

from pellucid.draw.backends.save import save
from pellucid.draw.components.chart import loss_chart
from pellucid.draw.components.score_chart import ScorePanel, score_chart
from pellucid.draw.film.film import Caption, Film, FilmFormats, FilmSegment, Frame
from pellucid.draw.film.film_json import from_json, to_json
from pellucid.draw.film.keyframes import Keyframes
from pellucid.draw.film.nodes import Clip, Gradient, Group, Image, Matrix, Node, Path, Rect, Shows, Text


__all__ = [
    "Caption", "Clip", "Film", "FilmSegment", "Frame", "Gradient", "Group", "Image", "Keyframes", "Matrix", "Node", "Path",
    "Rect", "ScorePanel", "Shows", "Text", "loss_chart", "score_chart",
]  # fmt: skip

Film.formats = FilmFormats(save=save, to_json=to_json, from_json=from_json)
