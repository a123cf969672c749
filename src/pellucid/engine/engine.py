"""Many answers at once: requests of any length join and leave between steps, and each is what it would be alone.

V vocabulary. No torch here: what computes is a `runner.Runner`.

A step reads, in one pass, the newest token of every answer that is being written and up to `chunk` tokens of prompts, first
come, first served: a long prompt is read in pieces while others go on. Then it draws a token for everyone whose text has been
read to its end. Before a prompt is read, the engine looks for a text that begins like it, finished or still running, and copies
what they share; answers to one prompt wait for one reading of it. Where somebody guesses how answers go on (`speculation`), a
step reads the guesses, too, and an answer takes as many tokens as it would have drawn anyway.

Keys and values stay within a budget. Who could never fit is refused; who does not fit now waits, and nobody overtakes: the
first of the queue goes first, for which texts that are only kept for reuse are given up, the one unused for longest first.
"""

from collections import abc, deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.completion import Token
from pellucid.engine.prefix_cache import CachedPrefix, PrefixCache, shared_beginning
from pellucid.engine.running import NONE, Counts, RunningSequence, Statistics, add_drafts
from pellucid.engine.sampling import SamplingOptions
from pellucid.engine.sequence import Sequence, check_fits, window_start
from pellucid.engine.speculation import Drafter
from pellucid.errors import PellucidError
from pellucid.runtime.runner import Runner, TokenSpan
from pellucid.text.tokenizer import Tokenizer


CHUNK = 256  # a choice: about as long as a few steps of many answers
MOST_ROWS = 64  # a choice: matrix products gain little beyond
MOST_KEPT = 32  # finished texts
_WORTH_WAITING = 32  # shared tokens that somebody else is about to read


class Engine:
    """Writes the answers to all requests, a token of each a step.

    One thread drives it: nothing here is safe to call from several at once. Between two calls nothing runs.

    Args:
        runner: what computes; its mode is the engine's.
        tokenizer: None leaves texts empty.
        end_of_text: the id that ends an answer.
        memory: bytes that keys and values may take; None: as many as are asked for.
        chunk: prompt tokens read in a step at most.
        rows: answers that go on at once at most.
        prefix_cache: whether finished texts are kept, for those that begin like them.
        drafter: who guesses, of the same tokens; None: nobody does. What it keeps is not counted as `memory`.

    Attributes:
        failed: answers that the last step ended by an error, which is in `Sequence.error`. They harm no other.
    """

    def __init__(
        self, runner: Runner, *, tokenizer: Tokenizer | None, end_of_text: int, memory: int | None = None,
        chunk: int = CHUNK, rows: int = MOST_ROWS, prefix_cache: bool = True, drafter: Drafter | None = None,
    ) -> None:  # fmt: skip
        for name, value in (("memory", memory), ("chunk", chunk), ("rows", rows)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise PellucidError(f"{name} must be a whole number, 1 or more, not {value!r}")
        self.runner = runner
        self.tokenizer = tokenizer
        self.end_of_text = end_of_text
        self.memory = memory
        self.chunk = chunk
        self.rows = rows
        self.drafter = drafter
        self.failed: list[Sequence] = []
        self._most_kept = MOST_KEPT if prefix_cache else 0
        self._queue: deque[Sequence] = deque()
        self._live: list[RunningSequence] = []  # first come, first served
        self._kept = PrefixCache()
        self._counts = Counts()

    # Requests.

    def submit(self, prompt: abc.Sequence[int], options: SamplingOptions, *, sample: int = 0) -> Sequence:
        """Asks for an answer. It is complete when its `finish_reason` is not None.

        Args:
            prompt: token ids, one at least.
            sample: which of its prompt's answers this is, from 0: the draws depend on it. `options.n` is not looked at.

        Raises:
            PellucidError: what the model cannot read or write (`row.check_fits`), or what can never fit in the budget.
        """
        check_fits(prompt, options, self.runner.config)
        row = Sequence(list(prompt), sample, options, self.tokenizer, self.end_of_text)
        self.enter(row)
        return row

    def enter(self, row: Sequence) -> None:
        """The same for a row that was made, and checked, elsewhere."""
        self._check_budget(row)
        if row.finish_reason is None:
            self._queue.append(row)

    def cancel(self, row: Sequence) -> None:
        """Ends an answer before its next token; its `finish_reason` is then "cancelled". A finished one stays as it is."""
        if row.finish_reason is not None:
            return
        row.finish_reason = "cancelled"
        if row in self._queue:
            self._queue.remove(row)
        else:
            self._leave(next(live for live in self._live if live.row is row))

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do."""
        return not (self._queue or self._live)

    @property
    def statistics(self) -> Statistics:
        """What was done so far, and what is held now."""
        counts = self._counts
        return Statistics(
            mode=self.runner.mode, path=self.runner.path, steps=counts.steps, rows=counts.rows,
            prompt_tokens=counts.prompt_tokens, reused_tokens=counts.reused_tokens, drawn_tokens=counts.drawn_tokens,
            drafted_tokens=counts.drafted_tokens, accepted_tokens=counts.accepted_tokens, waiting=len(self._queue),
            running=len(self._live), kept=len(self._kept), bytes=self._bytes(), kept_bytes=self._kept.nbytes,
            peak_bytes=counts.peak_bytes, budget=self.memory,
        )  # fmt: skip

    def close(self) -> None:
        """Cancels what is not finished and gives all memory back."""
        for row in [*self._queue, *(live.row for live in self._live)]:
            self.cancel(row)
        while (kept := self._kept.oldest()) is not None:
            self._give_up(kept)

    def finish(self) -> Iterator[tuple[Sequence, Token]]:
        """All steps until nothing is left to do, giving each token as soon as it is drawn."""
        while not self.idle:
            yield from self.step()

    # A step.

    def step(self) -> list[tuple[Sequence, Token]]:
        """Lets requests in, reads, draws. Returns the tokens drawn; none while only prompts are being read.

        If the runner raises, no answer has gone on, and the step can be tried again.
        """
        self.failed = []
        self._admit()
        segments: list[TokenSpan] = []
        going: list[RunningSequence] = []
        left = self.chunk
        for place, live in enumerate(self._live):
            if live.read == 0 and ((left == 0 and live.unread > 1) or self._waits_for_another(live, self._live[:place])):
                continue
            take = live.unread if live.unread == 1 else min(live.unread, left)  # a single token never waits
            if take:
                left -= take if live.unread > 1 else 0
                wanted = live.unread == take
                part = live.ids[live.read : live.read + take]
                segments.append(TokenSpan(live.sequence, live.read, part, "last" if wanted else "none"))
                going.append(live)
        if not segments:
            return []
        if self.drafter:
            add_drafts(self.drafter, going, segments)
        found = self.runner.run(segments)
        self._counts.steps += 1
        self._counts.rows += len(going)
        drawn: list[tuple[Sequence, Token]] = []
        for live, segment, logits in zip(going, segments, found, strict=True):
            if len(segment.ids) > live.unread:
                assert logits is not None
                drawn += self._checked(live, segment.ids, logits)
            else:
                drawn += self._went_on(live, len(segment.ids), logits)
        return drawn

    def _went_on(self, live: RunningSequence, tokens: int, logits: NDArray[np.float32] | None) -> list[tuple[Sequence, Token]]:
        """Notes what was read, and draws if it was the text's end."""
        after_a_draw = live.row.tokens and live.unread == tokens == 1 and live.read > 0
        if not after_a_draw:
            self._counts.prompt_tokens += tokens
        if live.settled == live.read and (self.runner.mode == "exact" or not after_a_draw):
            live.settled += tokens
        live.read += tokens
        if logits is None:
            return []
        drawn = []
        together = [live] if after_a_draw else [live, *self._with_the_same_text(live)]
        tracks = live.read
        for one in together:
            if one is not live:
                self._copy(live.sequence, one, tracks)
            try:
                token = one.row.take(logits)
            except PellucidError as error:
                one.row.fail(error)
                self.failed.append(one.row)
                continue
            drawn.append((one.row, token))
            if token.finish_reason is None:
                one.take_in(token.id, self.runner.config.n_ctx)
        self._counts.drawn_tokens += len(drawn)
        for one in together:
            if one.row.finish_reason is not None:
                self._leave(one)
        return drawn

    def _with_the_same_text(self, live: RunningSequence) -> list[RunningSequence]:
        """Those that have not begun to read a text that was just read."""
        if live.settled < live.read:
            return []
        return [one for one in self._live if one.read == 0 and one is not live and one.ids == live.ids]

    # Guesses.

    def _checked(
        self, live: RunningSequence, ids: abc.Sequence[int], logits: NDArray[np.float32]
    ) -> list[tuple[Sequence, Token]]:
        """Draws after the newest token, then after each guess (ids[1:]) as long as it was what was drawn."""
        assert self.drafter is not None
        drawn: list[tuple[Sequence, Token]] = []
        accepted = 0
        while True:
            if live.settled == live.read and self.runner.mode == "exact":
                live.settled += 1
            live.read += 1
            try:
                token = live.row.take(logits[accepted])
            except PellucidError as error:
                live.row.fail(error)
                self.failed.append(live.row)
                break
            drawn.append((live.row, token))
            if token.finish_reason is not None:
                break
            live.take_in(token.id, self.runner.config.n_ctx)
            if ids[accepted + 1 : accepted + 2] != [token.id]:
                break
            accepted += 1
        self._counts.drawn_tokens += len(drawn)
        self._counts.drafted_tokens += len(ids) - 1
        self._counts.accepted_tokens += accepted
        self.drafter.learn(live.row, len(ids) - 1, accepted)
        if live.row.finish_reason is not None:
            self._leave(live)
        return drawn

    # Texts that begin alike.

    def _waits_for_another(self, live: RunningSequence, before: abc.Sequence[RunningSequence]) -> bool:
        """Copies the longest beginning that was read already; or says that somebody before is about to read more of it."""
        most = len(live.ids) - 1  # the last token is read anyway: its logits are wanted
        kept, longest = self._kept.best(live.ids)
        source = kept.sequence if kept else 0
        coming = 0
        for other in before:
            shared = shared_beginning(other.ids, live.ids)
            if min(shared, other.settled) > longest:
                longest, source, kept = min(shared, other.settled), other.sequence, None
            if other.settled == other.read:  # what it has still to read will be there to copy
                coming = max(coming, shared if other.unread > 1 or not other.row.tokens else 0)
        gain = coming - min(longest, most)
        if gain >= _WORTH_WAITING or (gain > 0 and 2 * gain >= len(live.ids) - longest):
            return True
        if longest := min(longest, most):
            self._copy(source, live, longest)
            if kept:
                self._kept.use(kept)
        return False

    def _copy(self, source: int, live: RunningSequence, tracks: int) -> None:
        self.runner.copy(source, live.sequence, tracks)
        live.read = live.settled = tracks
        self._counts.reused_tokens += tracks

    # Memory.

    def _capacity(self, row: Sequence) -> int:
        """Tracks of a row's sequence: the last token drawn is never read."""
        return min(self.runner.config.n_ctx, len(row.prompt) + max(row.options.max_tokens, 1) - 1)

    def _bytes(self) -> int:
        return self._kept.nbytes + sum(live.nbytes for live in self._live)

    def _check_budget(self, row: Sequence) -> None:
        if self.memory is None:
            return
        needed = self.runner.sequence_bytes(self._capacity(row))
        if needed <= self.memory:
            return
        least, most = 0, self._capacity(row)  # the longest that fits
        while least < most:
            middle = (least + most + 1) // 2
            least, most = (middle, most) if self.runner.sequence_bytes(middle) <= self.memory else (least, middle - 1)
        raise PellucidError(
            f"the keys and values of {len(row.prompt)} prompt tokens and {row.options.max_tokens} more take {needed:,} bytes, "
            f"but the engine's memory is {self.memory:,}, which is enough for {least + 1 if least else 0} tokens of prompt and "
            "answer together: shorten the prompt, lower max_tokens, or give the engine more memory"
        )

    def _admit(self) -> None:
        """Lets in whoever is first in the queue, as long as there is room."""
        while self._queue and len(self._live) < self.rows:
            row = self._queue[0]
            if row.options.slide:
                row.start = window_start(len(row.prompt), self.runner.config.n_ctx)
            capacity = self._capacity(row)
            live = RunningSequence(row, NONE, capacity, self.runner.sequence_bytes(capacity), row.prompt[row.start :])
            if not self._make_room(live):
                return
            if live.sequence == NONE:
                live.sequence = self.runner.open(capacity)
            del self._queue[0]
            self._live.append(live)
            self._counts.peak_bytes = max(self._counts.peak_bytes, self._bytes())

    def _make_room(self, live: RunningSequence) -> bool:
        """Gives up kept texts until a newcomer fits: first those of no use to it. One that is may become its own."""
        if self.memory is None:
            return True
        if self._bytes() - self._kept.nbytes + live.nbytes > self.memory:
            return False  # it waits for running ones; giving up what is kept would not help
        useful, shared = self._kept.best(live.ids)
        while self._bytes() + live.nbytes > self.memory:
            given_up = self._kept.oldest(spared=useful)
            if given_up is not None:
                self._give_up(given_up)
            elif useful is not None and useful.capacity >= live.capacity:
                self._kept.drop(useful)
                live.sequence, live.capacity, live.nbytes = useful.sequence, useful.capacity, useful.nbytes
                live.read = live.settled = min(shared, len(live.ids) - 1)
                self._counts.reused_tokens += live.read
                return True
            else:
                assert useful is not None
                self._give_up(useful)
                useful = None
        return True

    def _give_up(self, kept: CachedPrefix) -> None:
        self._kept.drop(kept)
        self.runner.close(kept.sequence)

    def _cut_down(self, kept: CachedPrefix) -> CachedPrefix:
        """What was planned for an answer far longer than it became is moved to where it just fits, if there is room to move."""
        tracks = len(kept.ids)
        nbytes = self.runner.sequence_bytes(tracks)
        after = self._bytes() + kept.nbytes + nbytes
        if 2 * nbytes > kept.nbytes or (self.memory is not None and after > self.memory):
            return kept
        self._counts.peak_bytes = max(self._counts.peak_bytes, after)
        smaller = CachedPrefix(kept.ids, self.runner.open(tracks), tracks, nbytes)
        self.runner.copy(kept.sequence, smaller.sequence, tracks)
        self.runner.close(kept.sequence)
        return smaller

    def _leave(self, live: RunningSequence) -> None:
        """A finished answer goes; what it has read stays, if it may be of use."""
        self._live.remove(live)
        if self.drafter:
            self.drafter.forget(live.row)
        if not (self._most_kept and live.settled and live.row.error is None):
            self.runner.close(live.sequence)
            return
        kept = self._cut_down(CachedPrefix(live.ids[: live.settled], live.sequence, live.capacity, live.nbytes))
        for needless in self._kept.add(kept):
            self.runner.close(needless.sequence)
        while len(self._kept) > self._most_kept:
            oldest = self._kept.oldest()
            assert oldest is not None
            self._give_up(oldest)


def run_to_completion(
    runner: Runner, rows: abc.Sequence[Sequence], drafter: Drafter | None = None
) -> Iterator[tuple[Sequence, Token]]:
    """Finishes all rows, giving each token as soon as it is drawn (before it is read again).

    Nobody else waits here, so prompts are read as a whole, and nothing is kept for later requests.
    """
    if not rows:
        return
    engine = Engine(
        runner, tokenizer=rows[0].tokenizer, end_of_text=rows[0].end_of_text, chunk=max(runner.config.n_ctx, CHUNK),
        prefix_cache=False, drafter=drafter,
    )  # fmt: skip
    for row in rows:
        engine.enter(row)
    try:
        yield from engine.finish()
    finally:
        engine.close()
