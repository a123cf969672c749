"""Timing Pellucid and a peer in turn.

A machine's speed varies during a measurement: other work, heat, memory. So the two alternate, round after round, and the
reported ratio is the median of the rounds' own ratios, which such changes affect least.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from statistics import median
from time import perf_counter
from typing import Any

import torch

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.training.machine import describe


ROUNDS = 5
_NOT_SUBJECTS = ("backends", "compare", "peer_comparison", "worker")  # modules of this room that subjects share


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of the table.

    Attributes:
        name: what was measured, such as "xray/gpt2-124m/generate".
        value, unit: Pellucid's number, median of the rounds.
        peer, peer_value: the peer and its number.
        ratio: above 1 where Pellucid is better, whether the unit is a rate or a cost; median of the rounds' own ratios.
    """

    name: str
    value: float
    unit: str
    peer: str
    peer_value: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Rounds:
    """Seconds of each round, Pellucid's and the peer's."""

    ours: tuple[float, ...]
    peers: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The peer's time / Pellucid's: above 1 where Pellucid is faster."""
        return median(peer / own for own, peer in zip(self.ours, self.peers, strict=True))

    def seconds(self, name: str, peer: str, *, per: int = 1) -> Comparison:
        """A comparison of times: of a whole round, or of one of its `per` equal parts (steps, tokens)."""
        return Comparison(name, median(self.ours) / per, "s", peer, median(self.peers) / per, self.ratio)

    def rate(self, name: str, peer: str, *, work: float, unit: str = "tokens/s") -> Comparison:
        """A comparison of rates: each did `work` units in a round."""
        return Comparison(name, work / median(self.ours), unit, peer, work / median(self.peers), self.ratio)


def less_is_better(name: str, unit: str, peer: str, value: float, peer_value: float) -> Comparison:
    """A comparison of two costs: seconds, bytes, nats."""
    return Comparison(name, value, unit, peer, peer_value, peer_value / value)


def interleaved(ours: Callable[[], object], peer: Callable[[], object], *, rounds: int = ROUNDS, warm_ups: int = 1) -> Rounds:
    """Times both in turn, alternating which is first. Arguments and errors as `in_turn`."""
    return in_turn({"ours": ours}, peer, rounds=rounds, warm_ups=warm_ups)["ours"]


def in_turn(
    ours: Mapping[str, Callable[[], object]], peer: Callable[[], object], *, rounds: int = ROUNDS, warm_ups: int = 1
) -> dict[str, Rounds]:
    """Times several of ours and one peer in turn, each once a round, rotating which is first.

    Args:
        ours, peer: functions that do the work once. A returned float is taken as its time in seconds.
        warm_ups: rounds beforehand that are not counted.

    Raises:
        PellucidError: no rounds.
    """
    if rounds < 1:
        raise PellucidError(f"rounds must be 1 or more, not {rounds}")
    works = [*ours.values(), peer]
    times: list[list[float]] = [[] for _ in works]
    for number in range(-warm_ups, rounds):
        for place in range(len(works)):
            index = (number + place) % len(works)
            seconds = _timed(works[index])
            if number >= 0:
                times[index].append(seconds)
    return {name: Rounds(tuple(own), tuple(times[-1])) for name, own in zip(ours, times, strict=False)}


def _timed(work: Callable[[], object]) -> float:
    began = perf_counter()
    own = work()
    seconds = perf_counter() - began
    return own if isinstance(own, float) else seconds


def subjects() -> dict[str, str]:
    """The subjects by name, with the description of each."""
    found = [module.name for module in iter_modules([str(Path(__file__).parent)]) if module.name not in _NOT_SUBJECTS]
    return {name: str(import_module(f"pellucid.bench.{name}").ABOUT) for name in sorted(found)}


def run_subject(name: str, *, rounds: int = ROUNDS) -> Sequence[Comparison]:
    """Measures one subject.

    Raises:
        PellucidError: no such subject; the message lists them.
    """
    if name not in (known := subjects()):
        raise PellucidError(f"unknown subject {shown(name)}: choose from {', '.join(known)}")
    found: Sequence[Comparison] = import_module(f"pellucid.bench.{name}").comparisons(rounds)
    return found


def to_json(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """`{"comparisons": [...], "machine": {...}}`, plain values."""
    machine: dict[str, Any] = {**describe(), "threads": torch.get_num_threads()}
    return {"comparisons": [asdict(one) for one in comparisons], "machine": machine}


def table(comparisons: Sequence[Comparison]) -> str:
    """The comparisons as a text table, then the machine."""
    heads = ("", "pellucid", "peer", "", "times as good")
    rows = [
        (one.name, f"{one.value:,.4g} {one.unit}", f"{one.peer_value:,.4g} {one.unit}", one.peer, f"{one.ratio:.3f}")
        for one in comparisons
    ]
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (heads, *rows)]
    words = to_json([])["machine"]
    return "\n".join([*lines, "", ", ".join(f"{key} {value}" for key, value in words.items())])
