"""When things happen: segments of 5 to 10 seconds made of beats, each a fast move and then a pause with its caption."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.draw.film.film import LONGEST, SHORTEST, Caption, FilmSegment
from pellucid.draw.film.keyframes import Keyframes


@dataclass(frozen=True, slots=True)
class Beat:
    """A move from `start` to `moved` and a pause until `end`, in seconds of the film."""

    start: float
    moved: float
    end: float
    caption: str


class Story:
    """A film's segments as they are told, one after the other.

    story = Story()
    read, write = story.segment("A step", (0.6, 2.4, "The model reads."), (0.6, 2.4, "It writes."))
    Text(..., opacity=keyed(0, (read, 1)))
    """

    def __init__(self) -> None:
        self._at = 0.0
        self._told: list[tuple[str, tuple[Beat, ...]]] = []

    def segment(self, name: str, *beats: tuple[float, float, str]) -> tuple[Beat, ...]:
        """Adds a segment.

        Args:
            beats: (seconds of movement, seconds of rest, caption). The last rest is made longer where all together are less
                than the 5 seconds that a segment takes at least; more than 10 are a mistake.
        """
        at, found = self._at, []
        for moves, rests, caption in beats:
            found.append(Beat(at, _tidy(at + moves), _tidy(at + moves + rests), caption))
            at = found[-1].end
        if at - self._at < SHORTEST:
            last = found[-1]
            found[-1] = Beat(last.start, last.moved, _tidy(self._at + SHORTEST), last.caption)
            at = found[-1].end
        assert at - self._at <= LONGEST, f"the segment {name!r} takes {at - self._at:g} s"
        self._at = at
        self._told.append((name, tuple(found)))
        return tuple(found)

    def segments(self) -> tuple[FilmSegment, ...]:
        """As a film has them."""
        return tuple(
            FilmSegment(name, beats[0].start, beats[-1].end, tuple((beat.moved, beat.end) for beat in beats))
            for name, beats in self._told
        )

    def captions(self) -> tuple[Caption, ...]:
        """One for each beat; beats in a row that say the same share it."""
        found: list[Caption] = []
        for beat in (beat for _, beats in self._told for beat in beats):
            if found and found[-1].text == beat.caption and found[-1].end == beat.start:
                found[-1] = Caption(found[-1].start, beat.end, beat.caption)
            elif beat.caption:
                found.append(Caption(beat.start, beat.end, beat.caption))
        return tuple(found)


def keyed(first: Any, *changes: tuple[Beat, Any] | tuple[Beat, Any, str]) -> Any:
    """A value that changes with the beats: `keyed(0, (one, 1), (other, 0, "move"))`.

    Each change is (beat, value, ease). "hold", the default, jumps when the beat starts, "arrive" when it has moved; "linear"
    and "move" take as long as the beat moves. A value that never changes is given back as it is.
    """
    points: list[tuple[float, Any, str]] = [(0.0, first, "hold")]
    value = first
    for change in changes:
        beat, after, ease = (*change, "hold") if len(change) == 2 else change
        if after == value:
            continue
        moves = ease in ("linear", "move") and beat.moved > beat.start
        if moves and points[-1][0] < beat.start:
            points.append((beat.start, value, "hold"))
        at = beat.moved if moves or ease == "arrive" else beat.start
        point = (at, after, ease if moves else "hold")
        if points[-1][0] == at:
            points[-1] = point
        else:
            points.append(point)
        value = after
    return first if len(points) == 1 and points[0][1] == first else Keyframes(*points)


def during(beats: Sequence[Beat]) -> Any:
    """The opacity of what is there from the first of these beats to the end of the last, and at no other time."""
    first, last = beats[0].start, beats[-1].end
    points = [(0.0, 1.0)] if first == 0 else [(0.0, 0.0), (first, 1.0)]
    return Keyframes(*points, (last, 0.0))


def _tidy(seconds: float) -> float:
    """To the nearest sixteenth: sums and differences of such times are exact, so that 5 seconds are 5."""
    return round(seconds * 16) / 16
