"""`Film`: a picture as a pure function of time, in segments of a few seconds that end at rest.

Every back end, and the player in the browser, draws what `film.at(t)` returns and nothing else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from pellucid.draw.film.keyframes import LARGEST, check, is_number
from pellucid.draw.film.nodes import Clip, Group, Image, Matrix, Node
from pellucid.draw.film.palette import PAPER
from pellucid.draw.film.resolve import Primitive, display_list
from pellucid.errors import PellucidError


SHORTEST, LONGEST = 5.0, 10.0  # seconds of a segment
RATES = (15, 12, 10, 8, 6, 5, 4, 3, 2, 1, 0)  # pictures a second of what moves: the finest that fits is taken


@dataclass(frozen=True, slots=True)
class Segment:
    """A named stretch of a film, with the stretches in it where nothing moves: (from, to) in seconds, at least one."""

    name: str
    start: float
    end: float
    rests: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Caption:
    """A sentence to read from `start` until `end` (seconds)."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture of an animation: the film at `time`, shown for `duration` seconds."""

    time: float
    duration: float


@dataclass(frozen=True)
class Film:
    """Nodes with times, and everything said about them.

    Attributes:
        title: one line. width, height: in the film's units. segments: one after the other from 0. nodes: in paint order.
        captions: in order of time, one at a time. alt: what the picture says, for those who do not see it; made from the
        data. notes: what is simplified. background: colour.

    Errors: anything that does not fit together, with the name of the node or segment.
    """

    title: str
    width: float
    height: float
    segments: tuple[Segment, ...]
    nodes: tuple[Node, ...]
    captions: tuple[Caption, ...] = ()
    alt: str = ""
    notes: tuple[str, ...] = ()
    background: str = PAPER
    matrices: tuple[Matrix, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("segments", "nodes", "captions", "notes"):
            if not isinstance(getattr(self, name), tuple):
                raise PellucidError(f"film {self.title!r}: {name} must be a tuple")
        if not self.title:
            raise PellucidError("a film needs a title")
        if not (is_number(self.width) and is_number(self.height) and self.width > 0 and self.height > 0):
            raise PellucidError(f"film {self.title!r}: its size {self.width} x {self.height} must lie in 0 to {LARGEST:.0f}")
        check(self.background, "colour", f"film {self.title!r}: background")
        Group(self.nodes)  # checks that they are nodes
        seen: set[str] = set()
        for node in walk(self.nodes):
            if node.id and node.id in seen:
                raise PellucidError(f"film {self.title!r}: two nodes have the id {node.id!r}")
            seen.add(node.id)
        self._check_segments()
        self._check_captions()
        matrices = (matrix for node in walk(self.nodes) if isinstance(node, Image) for matrix in node.matrices())
        object.__setattr__(self, "matrices", tuple(dict.fromkeys(matrices)))

    def _check_segments(self) -> None:
        if not self.segments:
            raise PellucidError(f"film {self.title!r} needs a segment")
        at = 0.0
        changes = self.changes()
        for segment in self.segments:
            where = f"film {self.title!r}, segment {segment.name!r}"
            if not (is_number(segment.start) and is_number(segment.end)) or segment.start != at:
                raise PellucidError(f"{where} starts at {segment.start} s: it must start at {at} s, where the one before ends")
            if not SHORTEST <= segment.end - segment.start <= LONGEST:
                raise PellucidError(f"{where} takes {segment.end - segment.start:g} s: it must take 5 to 10 s")
            if not segment.rests:
                raise PellucidError(f"{where} never rests: give it a (from, to) in which nothing moves")
            before = segment.start
            for start, end in segment.rests:
                if not before <= start < end <= segment.end:
                    raise PellucidError(f"{where}: the rest {start} to {end} s must lie in it, after the one before")
                before = end
                for moves, stops in changes:
                    if moves < end and stops > start:
                        raise PellucidError(f"{where}: something moves from {moves:g} to {stops:g} s, while it rests")
            at = segment.end
        last = max((stops for _, stops in changes), default=0.0)
        if last > at:
            raise PellucidError(f"film {self.title!r} ends at {at:g} s, but something still moves at {last:g} s")

    def _check_captions(self) -> None:
        at = 0.0
        for caption in self.captions:
            if not at <= caption.start < caption.end <= self.duration:
                raise PellucidError(
                    f"film {self.title!r}: the caption {caption.text!r} ({caption.start} to {caption.end} s) must lie in the "
                    "film, after the one before"
                )
            at = caption.end

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.segments[-1].end

    def changes(self) -> list[tuple[float, float]]:
        """When something changes: (from, to) of each movement, (t, t) of each jump; in order, each once."""
        return sorted({change for node in walk(self.nodes) for keys in node.animated() for change in keys.changes()})

    def at(self, t: float) -> list[Primitive]:
        """The display list at t seconds (`docs/film.md`). Errors: a time outside the film."""
        if not 0 <= t <= self.duration:
            raise PellucidError(f"film {self.title!r} lasts from 0 to {self.duration:g} s: there is no picture at {t} s")
        return display_list(self.nodes, t, {matrix: number for number, matrix in enumerate(self.matrices)})

    def caption_at(self, t: float) -> str:
        """What is to be read at t seconds; "" for nothing."""
        last = t >= self.duration
        return next((c.text for c in self.captions if c.start <= t < c.end or (last and c.end >= self.duration)), "")

    def segment_at(self, t: float) -> Segment:
        """The segment that t seconds lie in; the last one at the very end."""
        return next((segment for segment in self.segments if t < segment.end), self.segments[-1])

    def stills(self) -> list[float]:
        """One time a segment, the start of its last rest: what is shown instead of motion to those who ask for less of it."""
        return [segment.rests[-1][0] for segment in self.segments]

    def frames(self, max_frames: int = 48) -> list[Frame]:
        """The film as at most `max_frames` different pictures, each with the time for which it is shown.

        A picture at rest is one long frame. What moves is drawn at the finest of `RATES` that fits; where even its beginnings
        and ends are too many, the shortest frames are left out, one by one, and the frame before each stays longer.
        Stills always stay. Errors: fewer frames allowed than the film has segments.
        """
        needed = {0.0, *self.stills()}
        if max_frames < len(needed):
            raise PellucidError(f"film {self.title!r} needs at least {len(needed)} frames, one for each of its segments")
        frames: list[Frame] = []
        for rate in RATES:
            frames = self._distinct(self._times(rate), most=max_frames if rate else None)
            if len(frames) <= max_frames:
                return frames

        def holds_a_still(frame: Frame) -> bool:
            return any(frame.time <= t < frame.time + frame.duration for t in needed)

        while len(frames) > max_frames:
            others = [i for i, frame in enumerate(frames) if not holds_a_still(frame)]
            shortest = min(others, key=lambda i: (frames[i].duration, i))
            before = frames[shortest - 1]
            frames[shortest - 1 : shortest + 1] = [Frame(before.time, before.duration + frames[shortest].duration)]
        return frames

    def _times(self, rate: int) -> list[float]:
        """0, the stills, where something begins, jumps, ends or is said, and `rate` times a second of motion."""
        times = {0.0, *self.stills(), *(c.start for c in self.captions), *(c.end for c in self.captions)}
        for start, end in self.changes():
            times |= {start, end}
            if rate:
                # Multiples of 1/rate, so that movements that overlap share their times.
                times |= {i / rate for i in range(int(start * rate) + 1, int(end * rate) + 1) if start < i / rate < end}
        return sorted(t for t in times if t < self.duration)

    def _distinct(self, times: Sequence[float], most: int | None) -> list[Frame]:
        """The frames at these times, those that look like the one before joined with it; no more than `most` + 1 are sought."""
        kept: list[float] = []
        last: tuple[list[Primitive], str] | None = None
        for t in times:
            picture = (self.at(t), self.caption_at(t))
            if picture != last:
                kept.append(t)
                last = picture
                if most is not None and len(kept) > most:
                    break
        return [Frame(t, after - t) for t, after in zip(kept, [*kept[1:], self.duration], strict=True)]

    def save(self, path: str | FilePath, *, width: int | None = None, t: float | None = None) -> FilePath:
        """Writes the film; the suffix says how: svg and png (a still), gif, webp, mp4 and html.

        Args:
            width: of the picture in pixels, the film's own by default. t: of the still; the last rest by default.

        Errors: an unknown suffix; a format that needs a package which is not installed (named); a place that cannot be written.
        """
        from pellucid.draw.backends.save import save  # back ends import this module

        return save(self, FilePath(path), width=width, t=t)

    def to_json(self, *, glyphs: bool = False) -> str:
        """The film as JSON (`docs/film.md`); with `glyphs`, the outlines of every character it can show."""
        from pellucid.draw.film.film_json import to_json

        return to_json(self, glyphs=glyphs)

    @classmethod
    def from_json(cls, text: str) -> "Film":
        """The film that `to_json` wrote. Errors: anything else."""
        from pellucid.draw.film.film_json import from_json

        return from_json(text)


def walk(nodes: Sequence[Node]) -> Iterator[Node]:
    """Every node, groups and clips before what they hold."""
    for node in nodes:
        yield node
        if isinstance(node, Group | Clip):
            yield from walk(node.children)
