"""Speculative decoding: drafters propose tokens, which one pass verifies; completions stay the same. No torch here.

A drafter proposes how a text goes on, and the model reads the draft tokens together with the newest token. At each of these
positions the engine draws as it always does: a draw is a pure function of (logits, options, u), and u of (seed, sample,
position). As long as a draft token equals what was drawn, the logits after it are those of the text, and the next draw is made
from them; the first draft token that does not ends the pass, and its position is written again. So drafts decide how many
passes a completion takes, and never what it is: on an exact runner ids and log-probabilities are the same bits as without. (In
fast mode logits differ by rounding with the number of tokens in a pass, as they do for any other reason there.)

Other ways accept a draft token by chance, and keep the distribution (Leviathan et al. 2023, arXiv 2211.17192; Chen et al. 2023,
arXiv 2302.01318); here the draws stay. A draft model draws with the same u as the model will, so sampled completions gain, too:
where two distributions are alike, one u points at the same token.
"""

from collections import abc
from dataclasses import dataclass, field

from pellucid.arguments import whole_number
from pellucid.engine.prefix_cache import shared_prefix_length
from pellucid.engine.sampling import draw, uniform
from pellucid.engine.sequence import Sequence
from pellucid.errors import PellucidError
from pellucid.runtime.runner import Runner, TokenSpan


NGRAM_LENGTHS = (3, 2)  # a choice: tokens that must have occurred before, in a row; the longer are tried first
LOOKUP_LENGTH = 8  # tokens a pass at most: a choice
MAX_FAILURES = 3  # a choice: sequences in a row, after which a drafter is not asked any more: each cost all others a pass
DRAFT_MODEL_LENGTH = 4  # the same from a model, for each of which that model makes a pass


@dataclass(frozen=True, slots=True)
class DraftRequest:
    """Asks a drafter how a text goes on.

    Attributes:
        sequence: the completion. token_ids: the text that is read, up to its newest token.
        max_tokens: draft tokens that can be used, 1 at least.
    """

    sequence: Sequence
    token_ids: abc.Sequence[int]
    max_tokens: int


class Drafter:
    """Proposes draft tokens; a subclass says how.

    The length of a draft follows the last one of that sequence: twice as long after all of it was accepted, one more than was
    accepted otherwise, from 1 to `length`.

    Args:
        length: draft tokens a pass at most.

    Attributes:
        passes: passes in which draft tokens were read (of one sequence each). drafted: draft tokens that were read. accepted:
            those that equal what was then drawn, each of which saved a pass.
        failures: sequences for which drafting was stopped by an error. error: the last of these errors.
        failures_in_a_row: those since the last draft without an error.

    Raises:
        PellucidError: no such length.
    """

    def __init__(self, length: int) -> None:
        self.length = whole_number("length", length, 1)
        self.passes = self.drafted = self.accepted = self.failures = self.failures_in_a_row = 0
        self.error: Exception | None = None
        self._lengths: dict[Sequence, int] = {}

    def drafts(self, requests: abc.Sequence[DraftRequest]) -> list[list[int]]:
        """How each text may go on: `max_tokens` tokens at most; none without a proposal."""
        return self.propose(
            [
                DraftRequest(r.sequence, r.token_ids, min(r.max_tokens, self._lengths.get(r.sequence, self.length)))
                for r in requests
            ]
        )

    def propose(self, requests: abc.Sequence[DraftRequest]) -> list[list[int]]:
        """The same, where `max_tokens` is the length that is wanted."""
        raise NotImplementedError

    def update(self, sequence: Sequence, drafted: int, accepted: int) -> None:
        """Counts how many draft tokens of a pass were accepted, and sets the length of the next draft."""
        self.passes += 1
        self.drafted += drafted
        self.accepted += accepted
        length = self._lengths.get(sequence, self.length)
        self._lengths[sequence] = min(self.length, max(2 * drafted, length) if accepted == drafted else accepted + 1)

    def failed(self, sequence: Sequence, error: Exception) -> None:
        """Counts a sequence for which no more drafts are asked."""
        self.failures += 1
        self.failures_in_a_row += 1
        self.error = error

    def given_up(self) -> bool:
        """Whether it failed for so many sequences in a row (`MAX_FAILURES`) that it is not asked any more."""
        return self.failures_in_a_row >= MAX_FAILURES

    def release(self, sequence: Sequence) -> None:
        """Drops what is held for a sequence that has ended."""
        self._lengths.pop(sequence, None)

    def summary(self) -> str:
        """Draft tokens and how many were accepted, in a line."""
        share = f" ({self.accepted / self.drafted:.0%})" if self.drafted else ""
        line = f"{self.drafted} tokens drafted in {self.passes} passes, {self.accepted} of them accepted{share}"
        return line + (f"; drafting was stopped {self.failures} times: {self.error}" if self.failures else "")


@dataclass(slots=True)
class _NgramIndex:
    """Where each n-gram of a text ended last; of n-grams that end before `indexed`, which something follows."""

    start: int
    indexed: int = 0
    last: dict[tuple[int, ...], int] = field(default_factory=dict)


class PromptLookup(Drafter):
    """Proposes that a text repeats itself: what followed the latest earlier occurrence of its last tokens."""

    def __init__(self, length: int = LOOKUP_LENGTH) -> None:
        super().__init__(length)
        self._indexes: dict[Sequence, _NgramIndex] = {}

    def propose(self, requests: abc.Sequence[DraftRequest]) -> list[list[int]]:
        """What followed; past the end of the text, what was proposed itself: a loop goes on."""
        drafts = []
        for request in requests:
            text = list(request.token_ids)
            place = self._after_last_occurrence(request.sequence, text)
            if place is not None:
                for further in range(request.max_tokens):
                    text.append(text[place + further])
            drafts.append(text[len(request.token_ids) :])
        return drafts

    def _after_last_occurrence(self, sequence: Sequence, ids: list[int]) -> int | None:
        """The place after the last earlier occurrence of the text's end."""
        index = self._indexes.get(sequence)
        if index is None or index.start != sequence.start:  # the window has moved on: places are others
            index = self._indexes[sequence] = _NgramIndex(sequence.start)
        for end in range(index.indexed, len(ids)):
            for length in NGRAM_LENGTHS:
                if end >= length:
                    index.last[tuple(ids[end - length : end])] = end
        index.indexed = len(ids)
        for length in NGRAM_LENGTHS:
            if len(ids) >= length and (place := index.last.get(tuple(ids[-length:]))) is not None:
                return place
        return None

    def release(self, sequence: Sequence) -> None:
        """Drops the index of a sequence that has ended."""
        super().release(sequence)
        self._indexes.pop(sequence, None)


@dataclass(slots=True)
class _DraftSequence:
    """A text in the draft model: the runner's number, its capacity, and the tokens that it holds."""

    runner_sequence: int
    capacity: int
    token_ids: list[int] = field(default_factory=list)


class DraftModel(Drafter):
    """Proposes what a smaller model would generate, with the options and the u of the completion.

    It reads a text whole, in a sequence of its own, which no engine's budget counts. Where a text is longer than its window,
    it proposes nothing.

    Args:
        runner: the smaller model's; its vocabulary must be that of the model that it drafts for (`check_draft_model`).
    """

    def __init__(self, runner: Runner, length: int = DRAFT_MODEL_LENGTH) -> None:
        super().__init__(length)
        self.runner = runner
        self._sequences: dict[Sequence, _DraftSequence] = {}

    def propose(self, requests: abc.Sequence[DraftRequest]) -> list[list[int]]:
        """Passes over all texts together, until each has the tokens that it asked for, or ends.

        Raises:
            PellucidError: the draft model's logits are not finite. Exception: what its runner raises.
        """
        drafts: list[list[int]] = [[] for _ in requests]
        counts = [None if r.sequence.token_counts is None else dict(r.sequence.token_counts) for r in requests]
        unfinished = []
        for number, request in enumerate(requests):
            room = self._open(request.sequence).capacity - len(request.token_ids) + 1  # its last draft token is not read
            if room > 0:
                unfinished.append((number, min(request.max_tokens, room)))
        while unfinished:
            spans = []
            for number, _ in unfinished:
                cached, text = self._sequences[requests[number].sequence], [*requests[number].token_ids, *drafts[number]]
                first = min(shared_prefix_length(cached.token_ids, text), len(text) - 1)
                spans.append(TokenSpan(cached.runner_sequence, first, text[first:]))
                cached.token_ids = text[:first]  # not more, should the runner raise
            left = []
            for (number, most), span, logits in zip(unfinished, spans, self.runner.run(spans), strict=True):
                assert logits is not None
                sequence, draft, counted = requests[number].sequence, drafts[number], counts[number]
                self._sequences[sequence].token_ids += span.ids
                position = len(sequence.prompt) + len(sequence.tokens) + len(draft)
                u = uniform(sequence.options.seed, sequence.sample, position)
                try:
                    token = draw(logits, sequence.options, u, counted).id
                except PellucidError as error:
                    raise PellucidError(f"the draft model cannot propose tokens: {error}") from None
                draft.append(token)
                if counted is not None:
                    counted[token] = counted.get(token, 0) + 1
                if len(draft) < most and token not in sequence.end_ids:
                    left.append((number, most))
            unfinished = left
        return drafts

    def _open(self, sequence: Sequence) -> _DraftSequence:
        if sequence not in self._sequences:
            capacity = min(self.runner.config.n_ctx, len(sequence.prompt) + sequence.options.max_tokens)
            self._sequences[sequence] = _DraftSequence(self.runner.open(capacity), capacity)
        return self._sequences[sequence]

    def release(self, sequence: Sequence) -> None:
        """Closes the draft model's sequence."""
        super().release(sequence)
        if cached := self._sequences.pop(sequence, None):
            self.runner.close(cached.runner_sequence)
