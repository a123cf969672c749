"""The timeline of a film: segments of 5 to 10 seconds made of transitions, each a fast movement and then a rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.draw.film.film import LONGEST, SHORTEST, Caption, FilmSegment
from pellucid.draw.film.keyframes import Keyframes


@dataclass(frozen=True, slots=True)
class Transition:
    """A movement from `start` to `settled` and a rest until `end`, in seconds of the film, with the caption of both."""

    start: float
    settled: float
    end: float
    caption: str


def instant(seconds: float) -> Transition:
    """A transition that takes no time, for a value that jumps at that time."""
    return Transition(seconds, seconds, seconds, "")


class Timeline:
    """Builds a film's segments and captions, one segment after the other.

    timeline = Timeline()
    read, write = timeline.segment("A step", (0.6, 2.4, "The model reads."), (0.6, 2.4, "It writes."))
    Text(..., opacity=animate(0, (read, 1)))
    """

    def __init__(self) -> None:
        self._at = 0.0
        self._segments: list[tuple[str, tuple[Transition, ...]]] = []

    def segment(self, name: str, *transitions: tuple[float, float, str]) -> tuple[Transition, ...]:
        """Adds a segment.

        Args:
            transitions: (seconds of movement, seconds of rest, caption). The last rest is made longer where all together take
                less than the 5 seconds that a segment must take; more than 10 are an error of the caller.

        Returns:
            The transitions with their times in the film.
        """
        at, found = self._at, []
        for moves, rests, caption in transitions:
            found.append(Transition(at, _to_sixteenths(at + moves), _to_sixteenths(at + moves + rests), caption))
            at = found[-1].end
        if at - self._at < SHORTEST:
            last = found[-1]
            found[-1] = Transition(last.start, last.settled, _to_sixteenths(self._at + SHORTEST), last.caption)
            at = found[-1].end
        assert at - self._at <= LONGEST, f"the segment {name!r} takes {at - self._at:g} s"
        self._at = at
        self._segments.append((name, tuple(found)))
        return tuple(found)

    def segments(self) -> tuple[FilmSegment, ...]:
        """The segments added so far, for `Film.segments`."""
        return tuple(
            FilmSegment(name, transitions[0].start, transitions[-1].end, tuple((one.settled, one.end) for one in transitions))
            for name, transitions in self._segments
        )

    def captions(self) -> tuple[Caption, ...]:
        """The captions of the transitions, for `Film.captions`; equal ones in a row are joined."""
        found: list[Caption] = []
        for one in (one for _, transitions in self._segments for one in transitions):
            if found and found[-1].text == one.caption and found[-1].end == one.start:
                found[-1] = Caption(found[-1].start, one.end, one.caption)
            elif one.caption:
                found.append(Caption(one.start, one.end, one.caption))
        return tuple(found)


def animate(initial: Any, *changes: tuple[Transition, Any] | tuple[Transition, Any, str]) -> Any:
    """A value that changes with transitions: `animate(0, (one, 1), (other, 0, "move"))`.

    Args:
        initial: the value before the first change.
        changes: (transition, value, ease), in order of time. The ease "hold", the default, jumps at the transition's start,
            "settle" at the end of its movement; "linear" and "move" change while it moves.

    Returns:
        Keyframes, or `initial` itself where the value never changes.
    """
    points: list[tuple[float, Any, str]] = [(0.0, initial, "hold")]
    value = initial
    for change in changes:
        transition, after, ease = (*change, "hold") if len(change) == 2 else change
        if after == value:
            continue
        moves = ease in ("linear", "move") and transition.settled > transition.start
        if moves and points[-1][0] < transition.start:
            points.append((transition.start, value, "hold"))
        at = transition.settled if moves or ease == "settle" else transition.start
        point = (at, after, ease if moves else "hold")
        if points[-1][0] == at:
            points[-1] = point
        else:
            points.append(point)
        value = after
    return initial if len(points) == 1 and points[0][1] == initial else Keyframes(*points)


def visible_from(transition: Transition) -> Keyframes:
    """The opacity of something that appears when a transition has settled, and stays."""
    return Keyframes((0.0, 0.0), (transition.settled, 1.0))


def visible_during(transitions: Sequence[Transition]) -> Keyframes:
    """The opacity of something that is seen from the start of the first transition to the end of the last."""
    first, last = transitions[0].start, transitions[-1].end
    points = [(0.0, 1.0)] if first == 0 else [(0.0, 0.0), (first, 1.0)]
    return Keyframes(*points, (last, 0.0))


def _to_sixteenths(seconds: float) -> float:
    """To the nearest sixteenth: sums and differences of such times are exact, so that 5 seconds are 5."""
    return round(seconds * 16) / 16
