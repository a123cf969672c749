"""`Film`: a picture as a pure function of time, in segments of a few seconds, each of which ends with a pause.

Every back end, and the player in the browser, draws what `film.at(t)` returns and nothing else. This module knows no file
format: `Film.save`, `.to_json` and `.from_json` call the functions in `Film.formats`, which `pellucid.draw` sets when it is
imported, so that the writers can import this module and this module none of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import ClassVar

from pellucid.arguments import as_float, flag, number, path_of, shown, text_of, whole_number
from pellucid.draw.film.keyframes import LARGEST, check, is_number
from pellucid.draw.film.nodes import Clip, Group, Image, Matrix, Node
from pellucid.draw.film.palette import PAPER
from pellucid.draw.film.resolve import Primitive, display_list
from pellucid.errors import PellucidError
from pellucid.languages import current


SHORTEST, LONGEST = 5.0, 10.0  # seconds of a segment
RATES = (15, 12, 10, 8, 6, 5, 4, 3, 2, 1, 0)  # pictures a second of what moves: the finest that fits is taken


@dataclass(frozen=True, slots=True)
class FilmSegment:
    """A named part of a film from `start` to `end`, and the times in it at which nothing moves.

    Attributes:
        start, end: seconds of the film. rests: (from, to) in seconds, in order, at least one.
    """

    name: str
    start: float
    end: float
    rests: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Caption:
    """A sentence shown with the picture from `start` until `end` (seconds)."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture of an animation: the film at `time`, shown for `duration` seconds."""

    time: float
    duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmFormats:
    """The functions that write films to files and to JSON, and read JSON back (arguments as `Film.save`, `.to_json`)."""

    save: Callable[..., FilePath]
    to_json: Callable[..., str]
    from_json: Callable[[str], "Film"]


@dataclass(frozen=True)
class Film:
    """Nodes whose attributes change with time, with segments, captions and a description in words.

    Attributes:
        title: one line. width, height: in the film's units. segments: one after the other from 0 s. nodes: in paint order.
        captions: in order of time, one at a time. alt: the picture described in words, for those who do not see it; made
            from the data. notes: what is simplified. background: colour. language: of its texts, and of the words that a
            file puts around them.
        matrices: every matrix that an image of the film shows, each once, in paint order.

    Raises:
        PellucidError: an attribute that is wrong or does not fit the others; the message names the node or segment.
    """

    formats: ClassVar[FilmFormats]  # set by pellucid.draw

    title: str
    width: float
    height: float
    segments: tuple[FilmSegment, ...]
    nodes: tuple[Node, ...]
    captions: tuple[Caption, ...] = ()
    alt: str = ""
    notes: tuple[str, ...] = ()
    background: str = PAPER
    language: str = field(default_factory=current, kw_only=True, repr=False, compare=False)
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
        """When something changes, in seconds: (from, to) of each movement, (t, t) of each jump; in order, each once."""
        return sorted({change for node in walk(self.nodes) for value in node.animated() for change in value.changes()})

    def at(self, t: float) -> list[Primitive]:
        """The display list at t seconds (`docs/film.md`). Raises PellucidError for a time outside of the film."""
        if (time := as_float(t)) is None or not 0 <= time <= self.duration:
            raise PellucidError(f"film {self.title!r} lasts from 0 to {self.duration:g} s: there is no picture at {shown(t)} s")
        return display_list(self.nodes, t, {matrix: number for number, matrix in enumerate(self.matrices)})

    def caption_at(self, t: float) -> str:
        """The caption at t seconds; "" where there is none."""
        last = t >= self.duration
        number("t", t)
        return next((c.text for c in self.captions if c.start <= t < c.end or (last and c.end >= self.duration)), "")

    def segment_at(self, t: float) -> FilmSegment:
        """The segment at t seconds; at the end of the film the last one."""
        return next((segment for segment in self.segments if t < segment.end), self.segments[-1])

    def stills(self) -> list[float]:
        """The start of each segment's last rest, in seconds: shown instead of motion where less motion is asked for."""
        return [segment.rests[-1][0] for segment in self.segments]

    def frames(self, max_frames: int = 48) -> list[Frame]:
        """The film as at most `max_frames` different pictures, each with the time for which it is shown.

        A rest is one long frame. Movements are sampled at the highest of `RATES` that fits; where the starts and ends of
        movements alone are too many, the shortest frames are left out one by one and the frame before each is shown longer.
        Stills are never left out.

        Raises:
            PellucidError: fewer frames are allowed than the film has segments.
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
        """Sampling times: 0, the stills, each start, jump and end of a change or caption, and `rate` a second of movement."""
        times = {0.0, *self.stills(), *(c.start for c in self.captions), *(c.end for c in self.captions)}
        for start, end in self.changes():
            times |= {start, end}
            if rate:
                # Multiples of 1/rate, so that movements that overlap share their times.
                times |= {i / rate for i in range(int(start * rate) + 1, int(end * rate) + 1) if start < i / rate < end}
        return sorted(t for t in times if t < self.duration)

    def _distinct(self, times: Sequence[float], most: int | None) -> list[Frame]:
        """The frames at these times, equal neighbours joined; stops after `most` + 1 different ones."""
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
        """Writes the film to a file whose suffix names the format: svg and png (a still), gif, webp, mp4 and html.

        Args:
            path: the file; it appears whole or not at all. width: of the picture in pixels, the film's own by default.
            t: time of the still in seconds; the start of the last rest by default.

        Returns:
            The path.

        Raises:
            PellucidError: an unknown suffix; a format that needs a package which is not installed (named); a file that cannot
                be written.
        """
        width = None if width is None else whole_number("width", width, 1)
        return self.formats.save(self, path_of("path", path), width=width, t=None if t is None else number("t", t))

    def to_json(self, *, glyphs: bool = False) -> str:
        """The film as one line of JSON (`docs/film.md`).

        Args:
            glyphs: also the advance and outline of every character that the film can show.
        """
        return self.formats.to_json(self, glyphs=flag("glyphs", glyphs))

    @classmethod
    def from_json(cls, text: str) -> "Film":
        """The film that `to_json` wrote. Raises PellucidError for any other text."""
        return cls.formats.from_json(text_of("text", text))


def walk(nodes: Sequence[Node]) -> Iterator[Node]:
    """Every node in paint order, groups and clips before their children."""
    for node in nodes:
        yield node
        if isinstance(node, Group | Clip):
            yield from walk(node.children)
