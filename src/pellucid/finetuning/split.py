"""Divides examples into training and held-out ones: by completion where completions repeat, and enough to compare models."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from pellucid.errors import PellucidError
from pellucid.finetuning.examples import Example
from pellucid.hashing import mix, permuted
from pellucid.languages import tr


FRACTION = 0.1  # the share that is held out, where that is enough
ENOUGH = 20  # choice: with so many held-out examples, one answer more or less is 5 %
MOST = 0.2  # the largest share, which is held out of few examples


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutSplit:
    """Examples to train on, and held-out ones.

    Attributes:
        held_out: in an order that is a function of the seed, so that the first ones are a random sample.
        classes: how many different completions occur more than once; 0 if none do, or if held-out examples were given.
        missing: how many of these have no held-out example.
    """

    train: list[Example]
    held_out: list[Example]
    classes: int
    missing: int

    @property
    def warning(self) -> str:
        """A warning if the held-out examples are too few to be a good measure, or miss some completions; "" otherwise."""
        count = len(self.held_out)
        if count < ENOUGH:
            one, wanted = 100 / count, round(ENOUGH / MOST)
            return tr(
                "{count:,} held out: one answer more or less is {one:.0f} %, so accuracy and the step that is kept depend on "
                "chance; with {wanted:,} different examples or more, {enough} or more are held out",
                count=count, one=one, wanted=wanted, enough=ENOUGH,
            )  # fmt: skip
        if self.missing:
            return tr(
                "no example is held out for {missing:,} of {classes:,} completions: more examples would help",
                missing=self.missing, classes=self.classes,
            )  # fmt: skip
        return ""


def split(examples: Sequence[Example], *, seed: int, fraction: float = FRACTION) -> HeldOutSplit:
    """Divides examples into those to train on and held-out ones: a function of their order and the seed.

    A tenth of the different examples is held out; if there are few, more than that, up to a fifth, so that there are `ENOUGH`,
    and one for each repeated completion. Where completions repeat (classification), each has its share of the held-out
    examples; the examples whose completions do not repeat are one group. Equal examples are on the same side, so that no
    held-out example is trained on. There is at least one on each side.

    Raises:
        PellucidError: fewer than two different examples.
    """
    distinct = _distinct(examples)
    if len(distinct) < 2:
        raise PellucidError("fine-tuning needs at least two different examples: one to train on and one to hold out")
    of_completion: dict[str, list[Example]] = defaultdict(list)
    for example in distinct:
        of_completion[example.completion].append(example)
    repeated = [group for group in of_completion.values() if len(group) > 1]
    single = [group[0] for group in of_completion.values() if len(group) == 1]
    parts = [*repeated, *([single] if single else [])]
    most = max(1, int(MOST * len(distinct)))
    count = max(round(fraction * len(distinct)), min(max(ENOUGH, len(repeated)), most), 1)
    shares = _shares([len(part) for part in parts], min(count, len(distinct) - 1), seed)
    chosen = [
        part[permuted(i, len(part), key=seed if len(parts) == 1 else mix(seed, number))]
        for number, (part, share) in enumerate(zip(parts, shares, strict=True)) for i in range(share)
    ]  # fmt: skip
    held_out = [chosen[permuted(i, len(chosen), key=mix(seed, len(chosen)))] for i in range(len(chosen))]
    kept_out = {_text(example) for example in chosen}
    missing = sum(share == 0 for share in shares[: len(repeated)])
    train = [example for example in examples if _text(example) not in kept_out]
    return HeldOutSplit(train=train, held_out=held_out, classes=len(repeated), missing=missing)


def held_apart(examples: Sequence[Example], held_out: Sequence[Example]) -> HeldOutSplit:
    """The split where held-out examples were given: an example that is also among them is held out, not trained on.

    Raises:
        PellucidError: there are none on one side.
    """
    kept_out = {_text(example) for example in held_out}
    train = [example for example in examples if _text(example) not in kept_out]
    if not train or not kept_out:
        raise PellucidError("fine-tuning needs an example to train on that is not held out, and one that is held out")
    return HeldOutSplit(train=train, held_out=_distinct(held_out), classes=0, missing=0)


def _text(example: Example) -> tuple[str, str]:
    """Prompt and completion without white space around them: examples that differ in no more are the same."""
    return example.prompt.strip(), example.completion.strip()


def _distinct(examples: Sequence[Example]) -> list[Example]:
    """The first of each text, in order."""
    found: dict[tuple[str, str], Example] = {}
    for example in examples:
        found.setdefault(_text(example), example)
    return list(found.values())


def _shares(sizes: Sequence[int], count: int, seed: int) -> list[int]:
    """How many examples of each part are held out, `count` in all: one of each part of several, then by largest remainder.

    A part of several keeps at least one to train on, as long as another part can give one instead.
    """
    order = [permuted(i, len(sizes), key=mix(seed, len(sizes))) for i in range(len(sizes))]  # decides between equal parts
    shares, total = [0] * len(sizes), sum(sizes)
    repeated = [place for place in sorted(order, key=lambda i: -sizes[i]) if sizes[place] > 1]
    for place in repeated[:count]:
        shares[place] = 1
    waiting = [(shares[i] - count * sizes[i] / total, rank, i) for rank, i in enumerate(order)]
    heapify(waiting)  # the part that is furthest below its share comes first
    left, full = count - sum(shares), list[tuple[float, int, int]]()
    while left:
        below, rank, place = heappop(waiting) if waiting else full.pop()
        if shares[place] >= sizes[place] - 1 and waiting:
            full.append((below, rank, place))
        elif shares[place] < sizes[place]:
            shares[place], left = shares[place] + 1, left - 1
            heappush(waiting, (below + 1, rank, place))
    return shares
