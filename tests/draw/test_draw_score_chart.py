"""The chart of scores: where its marks stand, read back from the film."""

import pytest

from pellucid.draw import Film, Path, ScorePanel, Text, score_chart
from pellucid.draw.components.score_chart import MEASURED, PUBLISHED
from pellucid.errors import PellucidError


POINTS = [(0, 0.1, 0.0, 0.25), (1, 0.5, 0.4, 0.6), (8, 1.0, 1.0, 1.0)]
PUBLISHED_POINTS = [(0, 0.2), (1, 0.3), (50, 0.9)]


def dots(film: Film, fill: str) -> list[tuple[float, float]]:
    """The centres of the circles of a colour, in order."""
    found = []
    for node in film.nodes:
        if isinstance(node, Path) and fill in (node.fill, node.stroke) and node.fill is not None:
            numbers = [part[1:] for part in node.d if len(part) > 1]
            xs, ys = ([point[i] for part in numbers for point in zip(part[::2], part[1::2], strict=True)] for i in (0, 1))
            found.append(((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2))
    return found


def words(film: Film) -> dict[str, tuple[float, float]]:
    return {node.string: (node.x, node.y) for node in film.nodes if isinstance(node, Text)}  # type: ignore[misc]


def test_marks_stand_where_their_numbers_are() -> None:
    film = score_chart([ScorePanel(task="sums", points=POINTS, published=PUBLISHED_POINTS)])
    said = words(film)
    places = {count: said[str(count)][0] for count in (1, 8, 50)}
    lines = [node.d for node in film.nodes if isinstance(node, Path) and len(node.d) == 2]
    hundred, _, zero = sorted({start[2] for start, end in lines if start[2] == end[2]})[-3:]  # grid lines
    measured, published = dots(film, MEASURED), dots(film, PUBLISHED)
    for (x, y), (count, share, *_) in zip(measured + published, POINTS + PUBLISHED_POINTS, strict=True):
        assert y == pytest.approx(zero + share * (hundred - zero), abs=0.02)
        assert count not in places or x == pytest.approx(places[count], abs=0.02)
    assert [x for x, _ in measured[:2]] == [x for x, _ in published[:2]] and measured[2][0] < published[2][0]
    assert "sums: 0 examples: 10.0 % [0.0, 25.0]; 1 example: 50.0 % [40.0, 60.0]" in film.alt
    assert "GPT-3 175B, as published" in said


def test_panels_stand_in_rows_of_three_inside_the_picture() -> None:
    panels = [ScorePanel(task=f"task {number} with a long name that is cut", points=POINTS[:1]) for number in range(4)]
    film = score_chart(panels)
    places = [place for text, place in words(film).items() if text.startswith("task ")]
    assert [y for _, y in places[:3]] == [places[0][1]] * 3 and places[3][1] > places[0][1] and places[3][0] == places[0][0]
    assert "GPT-3 175B, as published" not in words(film)
    for node in film.nodes:
        if isinstance(node, Text):
            assert 0 <= node.x <= film.width and 0 <= node.y <= film.height  # type: ignore[operator]
    for wrong in ([], [ScorePanel(task="a", points=[])]):
        with pytest.raises(PellucidError, match="needs a task"):
            score_chart(wrong)
