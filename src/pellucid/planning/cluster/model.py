"""`Model`: a config as a search looks at it thousands of times, and which blocks each rank of a pipeline holds."""

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

from pellucid.gpt.config import GPTConfig
from pellucid.gpt.pattern import Pattern
from pellucid.planning.cluster.layout import Recompute


@dataclass(frozen=True, eq=False, slots=True)
class Model:
    """A config, sequences of `context` positions, and numbers of `value` bytes in products.

    It is compared by identity: what is cached for a model is found by it, and hashing 96 patterns takes longer than any term.

    Attributes:
        patterns: the different ones; pattern_of: by block, an index into them.
    """

    config: GPTConfig
    context: int
    value: int
    patterns: tuple[Pattern, ...] = field(init=False)
    pattern_of: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "patterns", tuple(dict.fromkeys(self.config.pattern)))
        object.__setattr__(self, "pattern_of", tuple(self.patterns.index(one) for one in self.config.pattern))


@dataclass(frozen=True, slots=True)
class PipelineStage:
    """What one stage of a pipeline holds.

    Attributes:
        blocks: (pattern's index, whether it is computed again) -> how many.
        first, last: whether the embeddings come before it, and the loss after.
    """

    blocks: tuple[tuple[tuple[int, bool], int], ...]
    first: bool
    last: bool


@lru_cache(maxsize=4096)
def stages_of(model: Model, stages: int, recompute: Recompute) -> tuple[PipelineStage, ...]:
    """The stages when the blocks are cut into so many; "half" computes the first, third, ... block of each again."""
    each = model.config.n_layers // stages
    found = []
    for stage in range(stages):
        count: Counter[tuple[int, bool]] = Counter()
        for place, pattern in enumerate(model.pattern_of[stage * each : (stage + 1) * each]):
            count[pattern, recompute == "full" or (recompute == "half" and place % 2 == 0)] += 1
        found.append(PipelineStage(tuple(sorted(count.items())), stage == 0, stage == stages - 1))
    return tuple(found)


@lru_cache(maxsize=4096)
def ranks_of(
    model: Model, pp: int, chunks: int, recompute: Recompute
) -> tuple[tuple[tuple[tuple[PipelineStage, int], ...], int], ...]:
    """The different ranks of a pipeline, each as (its stages, how many of each), and how many ranks are like it."""
    stages = stages_of(model, pp * chunks, recompute)
    alike = Counter(tuple(Counter(stages[rank::pp]).items()) for rank in range(pp))
    return tuple(alike.items())
