"""Benchmarks: Pellucid and a peer timed in turn on this machine.

In: the name of a subject. Out: comparisons (`compare.Comparison`), as a table or as JSON.

Each module here is a subject, found by its name, except those that subjects share (`compare._NOT_SUBJECTS`): it has a line
`ABOUT` and a function `comparisons(rounds) -> Sequence[Comparison]`. A peer that is not installed makes no comparison; without
any peer the subject raises a `PellucidError`. Read `compare`, then any subject.
"""

from pellucid.bench.compare import Comparison, Rounds, interleaved, run_subject, subjects


__all__ = ["Comparison", "Rounds", "interleaved", "run_subject", "subjects"]
