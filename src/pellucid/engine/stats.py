"""Counters and statistics of an engine. No torch here."""

from dataclasses import dataclass


@dataclass(slots=True)
class EngineCounters:
    """Totals since the engine was made; see `EngineStats`."""

    steps: int = 0
    sequence_steps: int = 0
    prompt_tokens: int = 0
    drawn_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    draft_failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """What an engine has done so far, and the memory in use.

    Attributes:
        mode: "exact" or "fast". path: what computes (`Runner.path`).
        steps: passes through the model. sequence_steps: sequences that took part in a pass, summed over all passes.
        prompt_tokens: prompt tokens that were read (those of a window that moved on, too). reused_tokens: those whose keys and
            values were copied instead. drawn_tokens: tokens that were generated.
        drafted_tokens: draft tokens that were read (`speculation`). accepted_tokens: those that equal what was then drawn.
            draft_failures: sequences for which the drafter failed, and that went on without.
        waiting: sequences in the queue. running: those being read or generated. cached: finished texts that may be reused.
        close_failures: key-value sequences that the runner raised for when they were closed; they count as closed.
        nbytes: of keys and values, those of `cached` included; cached_nbytes: of these alone; peak_nbytes: the most at any
            time.
        budget: what `nbytes` never exceeds; None: there is no budget.
    """

    mode: str
    path: str
    steps: int
    sequence_steps: int
    prompt_tokens: int
    reused_tokens: int
    drawn_tokens: int
    drafted_tokens: int
    accepted_tokens: int
    draft_failures: int
    close_failures: int
    waiting: int
    running: int
    cached: int
    nbytes: int
    cached_nbytes: int
    peak_nbytes: int
    budget: int | None
