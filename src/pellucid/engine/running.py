"""An answer in the engine, and what the engine says of itself. No torch here."""

from collections import abc
from dataclasses import dataclass, field

from pellucid.engine.sequence import Sequence, window_start
from pellucid.engine.speculation import Ask, Drafter
from pellucid.runtime.runner import TokenSpan


NONE = -1  # no sequence yet


@dataclass(slots=True, eq=False)
class RunningSequence:
    """An answer that is being written.

    Attributes:
        row: the answer; it owns the text.
        sequence: the runner's number, or `NONE`. capacity: its tracks. nbytes: what it takes.
        ids: the text that is read, from its first track on: all of it, or its last part where the window slides.
        read: tracks of it that were read.
        settled: of these, those that another text may copy: all of them in exact mode; in fast mode those that were not read
            one by one after a draw, for they would differ by rounding from those of a prompt.
    """

    row: Sequence
    sequence: int
    capacity: int
    nbytes: int
    ids: list[int] = field(default_factory=list)
    read: int = 0
    settled: int = 0

    @property
    def unread(self) -> int:
        """Tokens of the text that are still to be read."""
        return len(self.ids) - self.read

    @property
    def room(self) -> int:
        """Guesses that can be read behind the text: there is a track for each, and none is for after the last token."""
        return min(self.capacity - len(self.ids), self.row.options.max_tokens - len(self.row.tokens) - 1)

    def take_in(self, token: int, n_ctx: int) -> None:
        """The text goes on by a drawn token. Where the window is full, it moves on, and what it shows is read anew."""
        self.ids.append(token)
        if self.row.options.slide:
            start = window_start(len(self.row.prompt) + len(self.row.tokens), n_ctx)
            self.ids = self.ids[start - self.row.start :]
            if start > self.row.start:
                self.row.start, self.read, self.settled = start, 0, 0


def add_drafts(drafter: Drafter, going: abc.Sequence[RunningSequence], segments: list[TokenSpan]) -> None:
    """Lets guesses be read behind the newest tokens of answers that are being written."""
    rooms = [live.room if live.unread == 1 and live.read > 0 and live.row.tokens else 0 for live in going]
    places = [place for place, room in enumerate(rooms) if room > 0]
    drafts = drafter.drafts([Ask(going[place].row, going[place].ids, rooms[place]) for place in places])
    for place, draft in zip(places, drafts, strict=True):
        if draft:
            segment = segments[place]
            segments[place] = TokenSpan(segment.sequence, segment.first, [*segment.ids, *draft], "all")


@dataclass(slots=True)
class Counts:
    """What an engine counts; see `Statistics`."""

    steps: int = 0
    rows: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    drawn_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What an engine has done so far, and what it holds.

    Attributes:
        mode: "exact" or "fast". path: what computes (`Runner.path`).
        steps: passes through the model. rows: answers that took part in a pass, summed over all.
        prompt_tokens: tokens of prompts that were read (those of a window that moved on, too). reused_tokens: those that were
            copied instead. drawn_tokens: those that were written.
        drafted_tokens: guesses that were read (`speculation`). accepted_tokens: those that were what was then drawn.
        waiting: requests in the queue. running: those being read or written. kept: finished texts that may be used again.
        bytes: of keys and values, those of `kept` included; kept_bytes: of these alone; peak_bytes: the most at any time.
        budget: what `bytes` never exceeds; None: there is no budget.
    """

    mode: str
    path: str
    steps: int
    rows: int
    prompt_tokens: int
    reused_tokens: int
    drawn_tokens: int
    drafted_tokens: int
    accepted_tokens: int
    waiting: int
    running: int
    kept: int
    bytes: int
    kept_bytes: int
    peak_bytes: int
    budget: int | None
