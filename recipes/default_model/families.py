"""All task families, and the Zipf law from which the trained ones are drawn.

Their names, the held-out ones and the order of the trained ones are in `pellucid.evaluation.families`.
"""

from itertools import accumulate

from pellucid.evaluation.families import HELD_OUT, TRAINED
from recipes.default_model import families_forms, families_labels, families_lists, families_numbers, families_sentences
from recipes.default_model.draws import Draws
from recipes.default_model.family import Family


__all__ = ["BY_NAME", "HELD_OUT", "OFFSET", "TRAINED", "WEIGHTS", "draw_family"]

BY_NAME: dict[str, Family] = {
    family.name: family
    for module in (families_labels, families_lists, families_numbers, families_forms, families_sentences)
    for family in module.FAMILIES
}
# Zipf-Mandelbrot law: the family of rank r = 1, 2, ... has a probability in proportion to 1 / (r + OFFSET).
OFFSET = 4
WEIGHTS = tuple(1 / (rank + OFFSET) for rank in range(1, len(TRAINED) + 1))
_UP_TO = tuple(accumulate(WEIGHTS))


def draw_family(draws: Draws) -> Family:
    """Draws one of the trained families."""
    place = draws.fraction() * _UP_TO[-1]
    return BY_NAME[next(name for name, up_to in zip(TRAINED, _UP_TO, strict=True) if place < up_to)]
