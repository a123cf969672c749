"""How fast is it, against what? Pellucid beside a peer, in turn, on this machine.

In: the name of a subject. Out: comparisons (`compare.Comparison`), as a table or as JSON.

Each module here but `compare` is a subject, found by its name: it has a line `ABOUT` and a function
`comparisons(rounds) -> Sequence[Comparison]`. A peer that is not installed makes no comparison, and the subject says so with
a `PellucidError` if none is left. Read `compare`, then any subject.
"""

from pellucid.bench.compare import Comparison, Rounds, interleaved, run_subject, subjects


__all__ = ["Comparison", "Rounds", "interleaved", "run_subject", "subjects"]
