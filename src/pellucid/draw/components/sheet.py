"""The sheet that every figure is drawn on: a title above, a footer below, room between; one for screens, one for phones.

A figure is drawn in the units of its sheet (960 x 540, or 360 wide and upright) and then scaled to the width that was asked
for, so that a picture 1920 wide is the one 960 wide, twice as large, and text on a phone stays as large as it was drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from pellucid.draw.components.parts import CLOCK_GAP, clock
from pellucid.draw.components.timeline import Timeline
from pellucid.draw.film import palette
from pellucid.draw.film.film import Film
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.keyframes import rounded
from pellucid.draw.film.nodes import Group, Node, Path, Shows, Text, given
from pellucid.errors import PellucidError
from pellucid.languages import tr


WIDE = (960.0, 540.0)
NARROW = (360.0, 640.0)
TURNS = 720.0  # a picture less wide than this is laid out for a phone
LEAST, MOST = 240.0, 8192.0  # widths of a figure
PROVENANCE = given("provenance")


class Footed(Protocol):
    """What a footer names: a record's model, or the source of points."""

    @property
    def footer(self) -> tuple[str, str]:
        """Two lines."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Where a figure has room, in the sheet's own units.

    Attributes:
        width: of the picture that was asked for. wide: whether it is laid out for a screen.
        w, h: of the sheet. pad: its margin. size, small, big: of text, of lesser text (12, or 11 on a phone), of the title.
        top, bottom: between title and footer. left, right: between the margins.
    """

    width: float
    wide: bool
    w: float
    h: float
    pad: float
    size: float
    small: float
    big: float

    @classmethod
    def of(cls, width: float, *, narrow_height: float = NARROW[1]) -> Self:
        """The sheet for a picture of that width. Raises PellucidError for one less than 240 wide."""
        if not width >= LEAST:
            raise PellucidError(f"a figure {width} wide has no room for its words: make it at least {LEAST:.0f}")
        if width >= TURNS:
            return cls(width=width, wide=True, w=WIDE[0], h=WIDE[1], pad=24.0, size=14.0, small=12.0, big=20.0)
        return cls(width=width, wide=False, w=NARROW[0], h=narrow_height, pad=12.0, size=12.0, small=11.0, big=15.0)

    @property
    def scale(self) -> float:
        """Film units by unit of the sheet."""
        return self.width / self.w

    @property
    def left(self) -> float:
        """The left margin."""
        return self.pad

    @property
    def right(self) -> float:
        """The right margin."""
        return self.w - self.pad

    @property
    def room(self) -> float:
        """From margin to margin."""
        return self.w - 2 * self.pad

    @property
    def top(self) -> float:
        """Where a figure's room begins, below the title."""
        return 62.0 if self.wide else 40.0

    @property
    def bottom(self) -> float:
        """Where it ends, above the footer."""
        return self.h - (38.0 if self.wide else 46.0)

    def film(
        self, model: Footed, title: str, nodes: Sequence[Node], timeline: Timeline, *, alt: str,
        notes: Sequence[str] = (), measured: bool = False, source: Shows = PROVENANCE,
    ) -> Film:  # fmt: skip
        """The finished film.

        Args:
            model: named in the footer. title: one short line. nodes: in the sheet's units, between `top` and `bottom`.
            timeline: its segments and captions.
            alt: the picture described in words, made from the data. notes: what is simplified.
            measured: whether any number on it was measured, so that the footer explains the clock.
            source: of what the footer says.
        """
        shown = fit(title, self.room, self.big, "sans", 600)
        assert shown == title, f"the title {title!r} is too long for a sheet {self.w:.0f} wide"
        heading = Text(self.pad, self.pad + self.big, title, self.big, 600)
        sheet = Group((heading, *nodes, *self._footer(model, measured, source)), scale=self.scale)
        return Film(
            title=title,
            width=rounded(self.width),
            height=rounded(self.h * self.scale),
            segments=timeline.segments(),
            nodes=(sheet,),
            captions=timeline.captions(),
            alt=alt,
            notes=tuple(notes),
        )

    def _footer(self, model: Footed, measured: bool, source: Shows) -> list[Node]:
        """The model in one line or two; and what the clock beside a number means."""
        line = self.bottom + 8
        nodes: list[Node] = [Path((("M", self.left, line), ("L", self.right, line)), stroke=palette.LINE)]
        lines = [" · ".join(model.footer)] if self.wide else list(model.footer)
        bases = [line + 1.5 * self.small * (i + 1) for i in range(len(lines))]
        mark = tr("measured")
        taken = text_width(mark, self.small) + self.small * (1 + CLOCK_GAP)
        widths = [text_width(words, self.small) for words in lines]
        beside = next((i for i in reversed(range(len(lines))) if widths[i] + self.size + taken <= self.room), len(lines) - 1)
        for i, (words, base) in enumerate(zip(lines, bases, strict=True)):
            room = self.room - (taken + self.size if measured and i == beside else 0)
            nodes.append(Text(self.left, base, fit(words, room, self.small), self.small, fill=palette.QUIET, shows=source))
        if measured:
            nodes.append(clock(self.right - taken, bases[beside] - 0.86 * self.small, self.small))
            nodes.append(Text(self.right, bases[beside], mark, self.small, anchor="end", fill=palette.QUIET))
        return nodes
