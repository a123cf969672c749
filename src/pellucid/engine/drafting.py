"""Adding draft tokens to a step's plan; a drafter's error stops drafting, never a completion. No torch here."""

import operator
from collections import abc

from pellucid.engine.scheduler import ScheduledSpan
from pellucid.engine.sequence import Sequence
from pellucid.engine.speculation import Drafter, DraftRequest
from pellucid.errors import PellucidError


def add_drafts(drafter: Drafter, spans: abc.Sequence[ScheduledSpan], vocab_size: int) -> int:
    """Adds draft tokens after the newest tokens of sequences in decode; none once the drafter is given up (`Drafter.given_up`).

    Returns:
        How many sequences the drafter failed for: they go on without drafts.
    """
    drafting = [s for s in spans if s.decode and s.running.sequence.drafting and s.running.draft_room > 0]
    if not drafting or drafter.given_up():
        return 0
    try:
        _propose(drafter, drafting, vocab_size)
        drafter.failures_in_a_row = 0
        return 0
    except Exception as error:
        if len(drafting) == 1:
            drafting[0].drafts = ()
            _stop_drafting(drafter, drafting[0].running.sequence, error)
            return 1
    failures = 0
    for span in drafting:  # one by one, so that only those are left out for which it fails
        span.drafts = ()
        if drafter.given_up():
            continue
        try:
            _propose(drafter, [span], vocab_size)
            drafter.failures_in_a_row = 0
        except Exception as error:
            span.drafts = ()
            _stop_drafting(drafter, span.running.sequence, error)
            failures += 1
    return failures


def release_drafts(drafter: Drafter, sequence: Sequence) -> None:
    """Lets the drafter free its state of a sequence that has ended; an error there concerns drafts only."""
    try:
        drafter.release(sequence)
    except Exception as error:
        drafter.failed(sequence, error)


def update_drafts(drafter: Drafter, sequence: Sequence, drafted: int, accepted: int) -> int:
    """Tells the drafter what became of a draft. Returns 1 where it failed: the sequence goes on without drafts; else 0."""
    try:
        drafter.update(sequence, drafted, accepted)
        return 0
    except Exception as error:
        _stop_drafting(drafter, sequence, error)
        return 1


def _propose(drafter: Drafter, spans: abc.Sequence[ScheduledSpan], vocab_size: int) -> None:
    requests = [DraftRequest(s.running.sequence, s.running.token_ids, s.running.draft_room) for s in spans]
    for span, one, draft in zip(spans, requests, drafter.drafts(requests), strict=True):
        ids = [operator.index(token) for token in draft]
        if len(ids) > one.max_tokens or not all(0 <= token < vocab_size for token in ids):
            raise PellucidError("the drafter proposed tokens that cannot be read here")
        span.drafts = ids


def _stop_drafting(drafter: Drafter, sequence: Sequence, error: Exception) -> None:
    sequence.drafting = False
    drafter.failed(sequence, error)
    release_drafts(drafter, sequence)
