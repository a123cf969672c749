"""The scheduler: which tokens of which sequences a step computes, and which cached prefixes it copies first. No torch here.

A step reads the newest token of every sequence that is being decoded, and up to `chunk` tokens of prompts, first come, first
served: a long prompt is prefilled in chunks while others are decoded. Before a prompt is read, the scheduler looks for a text
that begins with the same tokens, cached or running, and plans to copy what they share. A sequence waits for one before it that
is about to read (much of) the same text; several completions of one prompt wait for one prefill of it.

The scheduler changes nothing: the engine carries out the plan.
"""

from collections import abc
from dataclasses import dataclass

from pellucid.engine.prefix_cache import CachedPrefix, PrefixCache, reusable_length, shared_prefix_length
from pellucid.engine.running import RunningSequence
from pellucid.engine.sequence import PromptLogprobs
from pellucid.runtime.runner import TokenSpan, Wanted


MAX_PROMPT_LOGITS = 256  # prompt tokens of a step whose logits are wanted: those take 51 MB for GPT-3's vocabulary
_WORTH_WAITING = 32  # shared tokens that another sequence is about to read


@dataclass(frozen=True, slots=True)
class PrefixCopy:
    """Positions to copy before the step runs.

    Attributes:
        source: the runner's number. target: a sequence of which nothing is computed. count: positions.
        cached: the prefix that is used, where it is a cached one. prompt_logprobs: what is known of the source's text.
    """

    source: int
    target: RunningSequence
    count: int
    cached: CachedPrefix | None
    prompt_logprobs: PromptLogprobs | None


@dataclass(slots=True)
class ScheduledSpan:
    """Tokens of one sequence that a step reads.

    Attributes:
        running: whose. first: position of the first token. count: tokens of the text; drafts come after them.
        wanted: whose logits: "all" for prompt log-probabilities or drafts, "last" for a draw.
        decode: a drawn token, not a prompt.
        drafts: draft tokens, to be verified.
        followers: sequences with the same text that wait for this one to be read; they draw from the same logits.
    """

    running: RunningSequence
    first: int
    count: int
    wanted: Wanted
    decode: bool
    drafts: abc.Sequence[int] = ()
    followers: abc.Sequence[RunningSequence] = ()

    def token_span(self) -> TokenSpan:
        """The span as the runner takes it."""
        ids = self.running.token_ids[self.first : self.first + self.count]
        if self.drafts:
            return TokenSpan(self.running.runner_sequence, self.first, [*ids, *self.drafts], "all")
        return TokenSpan(self.running.runner_sequence, self.first, ids, self.wanted)


@dataclass(slots=True)
class StepPlan:
    """What a step does: copies first, then all spans in one pass."""

    copies: list[PrefixCopy]
    spans: list[ScheduledSpan]


class Scheduler:
    """Plans steps.

    Args:
        chunk: prompt tokens read in a step at most.
    """

    def __init__(self, chunk: int) -> None:
        self.chunk = chunk

    def plan(self, running: abc.Sequence[RunningSequence], prefixes: PrefixCache) -> StepPlan:
        """The next step.

        Args:
            running: admitted sequences, first come, first served.
            prefixes: finished texts that can be copied.
        """
        spans: list[ScheduledSpan] = []
        copies: list[PrefixCopy] = []
        waiting: list[RunningSequence] = []
        left, logits_left = self.chunk, MAX_PROMPT_LOGITS
        for place, one in enumerate(running):
            first, length, sequence = one.num_computed_tokens, len(one.token_ids), one.sequence
            if first and first == length - 1 and sequence.tokens:
                spans.append(ScheduledSpan(one, first, 1, "last", True))
                continue
            top = one.wanted_top
            if first == 0:
                copy = None
                waits = (left == 0 and length > 1) or (top is not None and logits_left == 0)
                if not waits and one.shares_text:
                    others = [other for other in running[:place] if other.shares_text]
                    copy, waits = find_prefix(one, others, prefixes)
                if waits:
                    waiting.append(one)
                    continue
                if copy is not None:
                    copies.append(copy)
                    first = copy.count
            unread = length - first
            count = 1 if unread == 1 else min(unread, left)  # a single token never waits
            scores = top is not None and first + 1 < len(sequence.prompt)
            if scores:
                count = min(count, logits_left)
                logits_left -= count
            if count == 0:
                continue
            if unread > 1:
                left -= count
            wanted: Wanted = "all" if scores else "last" if count == unread else "none"
            spans.append(ScheduledSpan(one, first, count, wanted, bool(sequence.tokens) and unread == 1 and first > 0))
        if waiting:
            assign_followers(spans, waiting)
        return StepPlan(copies, spans)


def find_prefix(
    running: RunningSequence, before: abc.Sequence[RunningSequence], prefixes: PrefixCache
) -> tuple[PrefixCopy | None, bool]:
    """What a sequence of which nothing is computed can copy, or whether it should wait.

    Args:
        before: running sequences that came earlier.

    Returns:
        The longest prefix that is computed already (None: there is none), and whether to wait instead, since a sequence before
        it is about to read much more of the same text.
    """
    ids, top = running.token_ids, running.wanted_top
    most = len(ids) - 1  # the last token is read anyway: its logits are wanted
    cached, longest = prefixes.best(ids, top)
    source = cached.runner_sequence if cached else 0
    computed = cached.prompt_logprobs if cached else None
    coming = 0
    for other in before:
        shared = shared_prefix_length(other.token_ids, ids)
        theirs = other.sequence.prompt_logprobs if other.sequence.start == 0 else None
        done = min(shared, other.num_reusable_tokens)
        if top is not None:
            done = reusable_length(done, theirs, top)
            shared = max(0, shared - 1) if theirs is not None and theirs.top >= top else 0
        if done > longest:
            longest, source, cached, computed = done, other.runner_sequence, None, theirs
        if other.num_reusable_tokens == other.num_computed_tokens and _is_prefilling(other):
            coming = max(coming, shared)  # what it has still to read will be there to copy
    gain = coming - min(longest, most)
    if gain >= _WORTH_WAITING or (gain > 0 and 2 * gain >= len(ids) - longest):
        return None, True
    count = min(longest, most)
    return (PrefixCopy(source, running, count, cached, computed) if count else None), False


def _is_prefilling(other: RunningSequence) -> bool:
    return not other.sequence.tokens or len(other.token_ids) - other.num_computed_tokens > 1


def assign_followers(spans: abc.Sequence[ScheduledSpan], waiting: list[RunningSequence]) -> None:
    """Lets sequences of which nothing is computed share the logits of a span that reads the rest of the same text."""
    for span in spans:
        leader = span.running
        ends = span.first + span.count == len(leader.token_ids)
        if span.decode or not ends or leader.num_reusable_tokens != leader.num_computed_tokens or not leader.shares_text:
            continue
        span.followers = [one for one in waiting if one.token_ids == leader.token_ids and _can_follow(one, leader)]
        for one in span.followers:
            waiting.remove(one)


def _can_follow(one: RunningSequence, leader: RunningSequence) -> bool:
    if not one.shares_text:
        return False
    top, theirs = one.wanted_top, leader.sequence.prompt_logprobs
    return top is None or (theirs is not None and theirs.top >= top and leader.sequence.start == 0)
