"""Several tokens of an answer from one pass, each what it would be anyway. No torch here.

Somebody guesses how a text goes on, and the model reads the guesses together with the newest token. At each of these places the
answer draws as it always does: a draw is a pure function of (logits, options, u), and u of (seed, sample, position). As long as
a guess is what was drawn, the logits after it are those of the text, and the next draw is made from them; the first guess that
is not ends the pass, and its track is written again. So a guess decides how many passes an answer takes, and never what it is:
on an exact runner ids and log-probabilities are the same bits as without. (In fast mode logits differ by rounding with the
number of tokens in a pass, as they do for any other reason there.)

Other ways accept a guess by chance, and keep the distribution (Leviathan et al. 2023, arXiv 2211.17192; Chen et al. 2023,
arXiv 2302.01318); here the draws stay. A draft model draws with the same u as the model will, so sampled answers gain, too:
where two distributions are alike, one u points at the same token.
"""

from collections import abc
from dataclasses import dataclass, field

from pellucid.engine.prefix_cache import shared_beginning
from pellucid.engine.sampling import draw, uniform
from pellucid.engine.sequence import Sequence
from pellucid.errors import PellucidError
from pellucid.runtime.runner import Runner, TokenSpan


GRAMS = (3, 2)  # a choice: tokens that must have occurred before, in a row; the longer are tried first
LOOKED_UP = 8  # tokens a pass at most: a choice
DRAFTED = 4  # the same from a model, for each of which that model makes a pass


@dataclass(frozen=True, slots=True)
class Ask:
    """Whose text goes on how?

    Attributes:
        row: the answer. ids: the text that is read, up to its newest token.
        most: tokens that can be used, 1 at least.
    """

    row: Sequence
    ids: abc.Sequence[int]
    most: int


class Drafter:
    """Guesses; a subclass says how.

    Each answer is given as many guesses as its last ones were worth: twice as many after all were right, one more than were
    right otherwise, from 1 to `length`.

    Args:
        length: guesses a pass at most.

    Attributes:
        passes: how often the model read guesses (of one answer). drafted: guesses that it read. accepted: those that were
            what was then drawn, each of which saved a pass.

    Raises:
        PellucidError: no such length.
    """

    def __init__(self, length: int) -> None:
        if isinstance(length, bool) or not isinstance(length, int) or length < 1:
            raise PellucidError(f"length must be a whole number of tokens, 1 or more, not {length!r}")
        self.length = length
        self.passes = self.drafted = self.accepted = 0
        self._worth: dict[Sequence, int] = {}

    def drafts(self, asks: abc.Sequence[Ask]) -> list[list[int]]:
        """How each text may go on: `most` tokens at most, none if there is no idea."""
        return self.guess([Ask(ask.row, ask.ids, min(ask.most, self._worth.get(ask.row, self.length))) for ask in asks])

    def guess(self, asks: abc.Sequence[Ask]) -> list[list[int]]:
        """The same, where `most` is what is asked for."""
        raise NotImplementedError

    def learn(self, row: Sequence, drafted: int, accepted: int) -> None:
        """Is told what became of the guesses."""
        self.passes += 1
        self.drafted += drafted
        self.accepted += accepted
        worth = self._worth.get(row, self.length)
        self._worth[row] = min(self.length, max(2 * drafted, worth) if accepted == drafted else accepted + 1)

    def forget(self, row: Sequence) -> None:
        """An answer is finished."""
        self._worth.pop(row, None)

    def told(self) -> str:
        """What came of it, in a line."""
        share = f" ({self.accepted / self.drafted:.0%})" if self.drafted else ""
        return f"{self.drafted} tokens drafted in {self.passes} passes, {self.accepted} of them accepted{share}"


@dataclass(slots=True)
class _Places:
    """Where an n-gram of a text ended last; of n-grams that end before `known`, which something follows."""

    start: int
    known: int = 0
    last: dict[tuple[int, ...], int] = field(default_factory=dict)


class Lookup(Drafter):
    """Guesses that a text repeats itself: what followed where its last tokens stood before, the latest such place."""

    def __init__(self, length: int = LOOKED_UP) -> None:
        super().__init__(length)
        self._places: dict[Sequence, _Places] = {}

    def guess(self, asks: abc.Sequence[Ask]) -> list[list[int]]:
        """What followed; past the end of the text, what was guessed itself: a loop goes on."""
        found = []
        for ask in asks:
            text = list(ask.ids)
            place = self._place(ask.row, text)
            if place is not None:
                for further in range(ask.most):
                    text.append(text[place + further])
            found.append(text[len(ask.ids) :])
        return found

    def _place(self, row: Sequence, ids: list[int]) -> int | None:
        """The place after the last earlier occurrence of the text's end."""
        places = self._places.get(row)
        if places is None or places.start != row.start:  # the window has moved on: places are others
            places = self._places[row] = _Places(row.start)
        for end in range(places.known, len(ids)):
            for length in GRAMS:
                if end >= length:
                    places.last[tuple(ids[end - length : end])] = end
        places.known = len(ids)
        for length in GRAMS:
            if len(ids) >= length and (place := places.last.get(tuple(ids[-length:]))) is not None:
                return place
        return None

    def forget(self, row: Sequence) -> None:
        """An answer is finished."""
        super().forget(row)
        self._places.pop(row, None)


@dataclass(slots=True)
class _Read:
    """A text in the draft model: its sequence there, that sequence's tracks, and what stands on them."""

    sequence: int
    capacity: int
    ids: list[int] = field(default_factory=list)


class DraftModel(Drafter):
    """Guesses what a smaller model would write, with the options and the u of the answer.

    It reads a text whole, in a sequence of its own, which no engine's budget counts. Where a text is longer than its window,
    it has no idea.

    Args:
        runner: the smaller model's; its tokens must be those of the model that it guesses for (`check_drafts_for`).
    """

    def __init__(self, runner: Runner, length: int = DRAFTED) -> None:
        super().__init__(length)
        self.runner = runner
        self._read: dict[Sequence, _Read] = {}

    def guess(self, asks: abc.Sequence[Ask]) -> list[list[int]]:
        """Passes over all texts together, until each has what it asked for or ends."""
        found: list[list[int]] = [[] for _ in asks]
        counts = [None if ask.row.counts is None else dict(ask.row.counts) for ask in asks]
        going = []
        for number, ask in enumerate(asks):
            room = self._reading(ask).capacity - len(ask.ids) + 1  # its last guess is not read
            if room > 0:
                going.append((number, min(ask.most, room)))
        while going:
            segments = []
            for number, _ in going:
                read, text = self._read[asks[number].row], [*asks[number].ids, *found[number]]
                first = min(shared_beginning(read.ids, text), len(text) - 1)
                segments.append(TokenSpan(read.sequence, first, text[first:]))
                read.ids = text[:first]  # not more, should the runner raise
            left = []
            for (number, most), segment, logits in zip(going, segments, self.runner.run(segments), strict=True):
                assert logits is not None
                row, guesses, counted = asks[number].row, found[number], counts[number]
                self._read[row].ids += segment.ids
                position = len(row.prompt) + len(row.tokens) + len(guesses)
                try:
                    token = draw(logits, row.options, uniform(row.options.seed, row.sample, position), counted).id
                except PellucidError as error:
                    raise PellucidError(f"the draft model cannot guess: {error}") from None
                guesses.append(token)
                if counted is not None:
                    counted[token] = counted.get(token, 0) + 1
                if len(guesses) < most and token != row.end_of_text:
                    left.append((number, most))
            going = left
        return found

    def _reading(self, ask: Ask) -> _Read:
        row = ask.row
        if row not in self._read:
            capacity = min(self.runner.config.n_ctx, len(row.prompt) + row.options.max_tokens)
            self._read[row] = _Read(self.runner.open(capacity), capacity)
        return self._read[row]

    def forget(self, row: Sequence) -> None:
        """An answer is finished."""
        super().forget(row)
        if read := self._read.pop(row, None):
            self.runner.close(read.sequence)
