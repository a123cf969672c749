"""All families, and the Zipf law by which those that are trained on are drawn.

Their names, which are held out and the order of the others stand in `pellucid.evaluation.families`.
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
# Zipf-Mandelbrot: the family of rank r = 1, 2, ... comes with a probability in proportion to 1 / (r + OFFSET).
OFFSET = 4
WEIGHTS = tuple(1 / (rank + OFFSET) for rank in range(1, len(TRAINED) + 1))
_UP_TO = tuple(accumulate(WEIGHTS))


def draw_family(draws: Draws) -> Family:
    """A family that is trained on."""
    place = draws.fraction() * _UP_TO[-1]
    return BY_NAME[next(name for name, up_to in zip(TRAINED, _UP_TO, strict=True) if place < up_to)]
