"""The lines under the title of a plan's figures: the model, the devices, the mesh."""

from pellucid.draw.components.sheet import Sheet
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit
from pellucid.draw.film.nodes import Node, Text, given
from pellucid.draw.views.plan import PlannedLayout


def first_lines(plan: PlannedLayout, sheet: Sheet) -> list[Node]:
    """One line on a screen, two on a phone."""
    lines = [plan.first_line()] if sheet.wide else list(plan.two_lines())
    small = sheet.small
    return [
        Text(sheet.left, sheet.top + 4 + i * (small + 3), fit(words, sheet.room, small), small, fill=palette.QUIET,
             shows=given("plan/inputs"))
        for i, words in enumerate(lines)
    ]  # fmt: skip
