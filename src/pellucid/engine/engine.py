"""The engine: continuous batching of requests, in which each completion is what it would be alone.

V vocabulary. No torch here: a `runtime.runner.Runner` runs the model.

A step admits waiting sequences for which there is memory (`kv_memory`), plans what is read (`scheduler`), runs the model once,
and applies what came back: tokens are drawn, draft tokens verified, finished sequences released. Whoever is first in the queue
is admitted first.

A failure ends the sequences that it concerns. Logits that are not finite end their own sequence; a runner that raises ends the
sequences of the step; a drafter that raises ends none: they go on without drafts.
"""

from collections import abc, deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pellucid.arguments import flag, instance, whole_number
from pellucid.engine.completion import Token
from pellucid.engine.drafting import add_drafts, release_drafts, update_drafts
from pellucid.engine.kv_memory import KVMemory
from pellucid.engine.request import Request, SequenceGroup
from pellucid.engine.running import RunningSequence
from pellucid.engine.scheduler import ScheduledSpan, Scheduler, StepPlan
from pellucid.engine.sequence import Sequence, window_start
from pellucid.engine.speculation import Drafter
from pellucid.engine.stats import EngineCounters, EngineStats
from pellucid.errors import PellucidError
from pellucid.numpy_defaults import numpy_defaults
from pellucid.runtime.runner import Runner
from pellucid.text.tokenizer import Tokenizer


CHUNK = 256  # a choice: about as long as a few steps of many sequences
MAX_SEQUENCES = 64  # a choice: matrix products gain little beyond
MAX_CACHED = 32  # finished texts
_SCORED_TOGETHER = 16  # a choice: texts that are only scored hold memory, and gain nothing once a step is full


class Engine:
    """Generates the completions of all requests, a token of each a step.

    One thread drives it: nothing here is safe to call from several at once (`driver.EngineDriver` is). Between two calls
    nothing runs.

    Args:
        runner: what computes; its mode is the engine's.
        tokenizer: None leaves texts empty.
        end_of_text: the id that ends a completion, or all that do.
        memory: bytes that keys and values may take; None: as many as are asked for, and `kv_memory.CACHED_BYTES` for finished
            texts.
        chunk: prompt tokens read in a step at most.
        max_sequences: sequences that are admitted at once at most.
        prefix_cache: whether finished texts are kept, for prompts that begin with the same tokens.
        drafter: proposes tokens, of the same vocabulary; None: none are. What it holds is not counted as `memory`.

    Attributes:
        finished: sequences that ended in the last step, those that failed included (`Sequence.error`).
    """

    def __init__(
        self, runner: Runner, *, tokenizer: Tokenizer | None, end_of_text: int | abc.Collection[int],
        memory: int | None = None, chunk: int = CHUNK, max_sequences: int = MAX_SEQUENCES, prefix_cache: bool = True,
        drafter: Drafter | None = None,
    ) -> None:  # fmt: skip
        memory = None if memory is None else whole_number("memory", memory, 1)
        chunk, max_sequences = whole_number("chunk", chunk, 1), whole_number("max_sequences", max_sequences, 1)
        flag("prefix_cache", prefix_cache)
        if not runner.cached:  # whole texts are read, in one piece each
            chunk, prefix_cache, drafter = max_sequences * runner.config.n_ctx, False, None
        self.runner = runner
        self.tokenizer = tokenizer
        self.end_of_text = end_of_text
        self.max_sequences = max_sequences
        self.drafter = drafter
        self.finished: list[Sequence] = []
        self._exact = runner.mode == "exact"
        self._memory = KVMemory(runner, memory, MAX_CACHED if prefix_cache else 0)
        self._scheduler = Scheduler(chunk)
        self._queue: deque[Sequence] = deque()
        self._running: list[RunningSequence] = []  # first come, first served
        self._counters = EngineCounters()
        self._closed = False

    # Requests.

    def submit(self, request: Request) -> SequenceGroup:
        """Queues a request. It is complete when `SequenceGroup.finished` is true.

        Raises:
            PellucidError: what the model cannot read or write (`sequence.check_fits`), what can never fit in the budget, or the
                engine is closed.
        """
        group = SequenceGroup(request, self.runner.config, self.tokenizer, self.end_of_text)
        self.add(group)
        return group

    def add(self, what: Sequence | SequenceGroup) -> None:
        """Queues a sequence, or all of a group, that was made and checked elsewhere. Raises PellucidError as `submit`."""
        if self._closed:
            raise PellucidError("the engine is closed: make a new one")
        sequences = _sequences_of(what)
        for sequence in sequences:
            self._memory.check_fits(sequence)
        self._queue.extend(sequence for sequence in sequences if sequence.finish_reason is None)

    def check_budget(self, group: SequenceGroup) -> None:
        """Refuses a request that can never fit in the budget. Raises PellucidError: it names what would fit."""
        self._memory.check_fits(group.sequences[0])

    def cancel(self, what: Sequence | SequenceGroup) -> None:
        """Ends a sequence, or all of a group, before its next token: `finish_reason` becomes "cancelled".

        What is finished, or was never given to this engine, stays as it is.
        """
        for sequence in _sequences_of(what):
            if sequence.finish_reason is not None:
                continue
            running = next((one for one in self._running if one.sequence is sequence), None)
            if running is not None:
                sequence.finish_reason = "cancelled"
                self._release(running)
            elif sequence in self._queue:
                sequence.finish_reason = "cancelled"
                self._queue.remove(sequence)

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do."""
        return not (self._queue or self._running)

    @property
    def memory(self) -> int | None:
        """Bytes that keys and values may take; None: no limit."""
        return self._memory.budget

    @property
    def stats(self) -> EngineStats:
        """What was done so far, and what memory is in use now."""
        counters, memory = self._counters, self._memory
        return EngineStats(
            mode=self.runner.mode, path=self.runner.path, steps=counters.steps, sequence_steps=counters.sequence_steps,
            prompt_tokens=counters.prompt_tokens, reused_tokens=memory.reused_tokens, drawn_tokens=counters.drawn_tokens,
            drafted_tokens=counters.drafted_tokens, accepted_tokens=counters.accepted_tokens,
            draft_failures=counters.draft_failures, close_failures=memory.close_failures,
            waiting=len(self._queue), running=len(self._running), cached=len(memory.prefixes), nbytes=memory.nbytes,
            cached_nbytes=memory.prefixes.nbytes, peak_nbytes=memory.peak_nbytes, budget=memory.budget,
        )  # fmt: skip

    def close(self) -> None:
        """Cancels what is not finished and gives all memory back. Nothing can be submitted after it."""
        self._closed = True
        for sequence in [*self._queue, *(running.sequence for running in self._running)]:
            self.cancel(sequence)
        self._memory.clear()

    def run_until_idle(self) -> Iterator[tuple[Sequence, Token]]:
        """All steps until nothing is left to do, giving each token as soon as it is drawn."""
        while not self.idle:
            yield from self.step()

    # A step.

    @numpy_defaults()
    def step(self) -> list[tuple[Sequence, Token]]:
        """Admits sequences, plans, runs the model once, draws. Returns the tokens drawn; none while only prompts are read.

        What fails is not raised here: it ends the sequences that it concerns, which are then in `finished`.
        """
        self.finished = []
        if self._queue:
            self._admit()
        plan = self._scheduler.plan(self._running, self._memory.prefixes)
        if plan.copies:
            self._copy_prefixes(plan)
        if not plan.spans:
            return []
        if self.drafter:
            self._counters.draft_failures += add_drafts(self.drafter, plan.spans, self.runner.config.vocab_size)
        try:
            outputs = self.runner.run([span.token_span() for span in plan.spans])
        except Exception as error:  # the state of their KV caches is unknown now: they cannot go on
            for span in plan.spans:
                self._fail(span.running, error)
            return []
        self._counters.steps += 1
        self._counters.sequence_steps += len(plan.spans)
        drawn: list[tuple[Sequence, Token]] = []
        for span, logits in zip(plan.spans, outputs, strict=True):
            self._apply(span, logits, drawn)
        self._counters.drawn_tokens += len(drawn)
        return drawn

    def _admit(self) -> None:
        """Opens key-value sequences for the first of the queue, as long as there is room."""
        while self._queue and len(self._running) < self.max_sequences:
            sequence = self._queue[0]
            if sequence.options.slide:
                sequence.start = window_start(len(sequence.prompt), self.runner.config.n_ctx)
            running = self._memory.new_running(sequence)
            try:
                if not self._memory.reserve(running):
                    return
            except Exception as error:
                sequence.fail(error)
                self.finished.append(sequence)
            else:
                self._running.append(running)
            self._queue.popleft()

    def _copy_prefixes(self, plan: StepPlan) -> None:
        """Carries out the copies of a plan. A sequence whose copy fails ends, and its span is taken out of the plan."""
        for copy in plan.copies:
            try:
                self._memory.copy(copy.source, copy.target, copy.count)
                copy.target.reuse_prompt_logprobs(copy.prompt_logprobs, copy.count + 1)
            except Exception as error:
                self._fail(copy.target, error)
                plan.spans = [span for span in plan.spans if span.running is not copy.target]
            else:
                if copy.cached is not None:
                    self._memory.prefixes.touch(copy.cached)

    def _apply(self, span: ScheduledSpan, logits: NDArray[np.float32] | None, drawn: list[tuple[Sequence, Token]]) -> None:
        """Notes what a span has read, and draws where it was the end of the text.

        Args:
            logits: as the runner gave them: (V,), (T, V) or None.
            drawn: the tokens of this step, to be extended.
        """
        running = span.running
        if not span.decode:
            self._counters.prompt_tokens += span.count
        running.advance(span.count, reusable=self._exact or not span.decode)
        if logits is None:
            return
        if span.wanted == "all":
            self._score_prompt(running.sequence, span.first, logits)
        followers: abc.Sequence[RunningSequence] = ()
        if running.num_computed_tokens == len(running.token_ids) and running.sequence.error is None:
            # After the text's last token, and after each draft token.
            rows = (logits,) if logits.ndim == 1 else logits[-1 - len(span.drafts) :]
            length = len(running.token_ids)  # drawn tokens are added to the leader's
            self._end_or_draw(running, span.drafts, rows, drawn)
            for one in span.followers:
                self._follow(one, running, length, rows[0])
                self._end_or_draw(one, (), rows, drawn)
            followers = span.followers
        for one in (running, *followers):
            if one.sequence.finish_reason is not None:
                self.finished.append(one.sequence)
                self._release(one)

    def _score_prompt(self, sequence: Sequence, first: int, rows: NDArray[np.float32]) -> None:
        """Notes the log-probabilities of prompt tokens from (T, V) logits at positions `first` and later."""
        computed, prompt = sequence.prompt_logprobs, sequence.prompt
        assert computed is not None and len(computed) == first + 1
        following = prompt[first + 1 : first + 1 + len(rows)]
        try:
            computed.extend(rows[: len(following)], following)
        except PellucidError as error:
            sequence.fail(error)

    def _follow(self, one: RunningSequence, leader: RunningSequence, length: int, logits: NDArray[np.float32]) -> None:
        """Copies a text of `length` tokens that was just read, with what is known of it, to a sequence that waited for it.

        Args:
            logits: (V,) after the text.
        """
        try:
            self._memory.copy(leader.runner_sequence, one, length)
        except Exception as error:
            one.sequence.fail(error)
            return
        one.reuse_prompt_logprobs(leader.sequence.prompt_logprobs, length)
        if one.wanted_top is not None:
            self._score_prompt(one.sequence, length - 1, logits[None])

    def _end_or_draw(
        self, running: RunningSequence, drafts: abc.Sequence[int],
        rows: abc.Sequence[NDArray[np.float32]] | NDArray[np.float32], drawn: list[tuple[Sequence, Token]],
    ) -> None:  # fmt: skip
        """Draws after the text, then after each draft token as long as it equals what was drawn; ends what is only scored.

        Args:
            rows: 1 + drafts times (V,) logits.
        """
        sequence, n_ctx = running.sequence, self.runner.config.n_ctx
        if sequence.finish_reason is None and sequence.options.max_tokens == 0:
            sequence.finish_reason = "length"
        accepted = 0
        while sequence.finish_reason is None:
            try:
                token = sequence.append_token(rows[accepted])
            except Exception as error:
                sequence.fail(error)
                break
            drawn.append((sequence, token))
            if token.finish_reason is not None:
                break
            running.append(token.id, n_ctx)
            if accepted == len(drafts) or drafts[accepted] != token.id:
                break
            accepted += 1
            running.advance(1, reusable=self._exact)
        if drafts:
            assert self.drafter is not None
            self._counters.drafted_tokens += len(drafts)
            self._counters.accepted_tokens += accepted
            self._counters.draft_failures += update_drafts(self.drafter, sequence, len(drafts), accepted)

    # Ends.

    def _fail(self, running: RunningSequence, error: Exception) -> None:
        running.sequence.fail(error)
        self.finished.append(running.sequence)
        self._release(running)

    def _release(self, running: RunningSequence) -> None:
        self._running.remove(running)
        if self.drafter:
            release_drafts(self.drafter, running.sequence)
        self._memory.release(running)


def _sequences_of(what: Sequence | SequenceGroup) -> list[Sequence]:
    """The sequences of a group, or the one. Raises PellucidError for anything else."""
    if isinstance(what, SequenceGroup):
        return what.sequences
    return [instance("what", what, Sequence, "a Sequence or a SequenceGroup (what submit returns)")]


def run_to_completion(
    runner: Runner, sequences: abc.Sequence[Sequence], drafter: Drafter | None = None
) -> Iterator[tuple[Sequence, Token]]:
    """Finishes all sequences, giving each token as soon as it is drawn (before it is read again).

    Nothing else waits here, so prompts are read as a whole. Finished texts are kept for others of these sequences only where
    prompts are scored.

    Raises:
        Exception: the first error that ended one of them, after all are finished.
    """
    if not sequences:
        return
    only_scored = all(sequence.options.max_tokens == 0 for sequence in sequences)
    engine = Engine(
        runner, tokenizer=sequences[0].tokenizer, end_of_text=sequences[0].end_ids,
        chunk=max(runner.config.n_ctx, CHUNK), prefix_cache=any(sequence.prompt_logprobs is not None for sequence in sequences),
        max_sequences=_SCORED_TOGETHER if only_scored else MAX_SEQUENCES, drafter=drafter,
    )  # fmt: skip
    for sequence in sequences:
        engine.add(sequence)
    try:
        yield from engine.run_until_idle()
    finally:
        engine.close()
    for sequence in sequences:
        if sequence.error is not None:
            raise sequence.error
