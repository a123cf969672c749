"""All families in the order of a Zipf law, those that are trained on and those that are held out."""

from itertools import accumulate

from recipes.default_model import families_forms, families_labels, families_lists, families_numbers, families_sentences
from recipes.default_model.draws import Draws
from recipes.default_model.family import Family


BY_NAME: dict[str, Family] = {
    family.name: family
    for module in (families_labels, families_lists, families_numbers, families_forms, families_sentences)
    for family in module.FAMILIES
}
# Never in a training window: what few-shot scores "on new tasks" are measured with. A few of each kind.
HELD_OUT = ("parity_label", "swap_first_two", "surround", "initials", "times_constant", "ing_forms", "who_has", "older")
# From the most frequent to the rarest (a choice): first what only examples can tell, then what language and numbers tell.
TRAINED = (
    "category_label", "lookup", "invented_language", "opposites", "plurals", "past_forms", "gave", "copy", "add", "where",
    "pick", "add_constant", "reverse", "which_colour", "substitution", "category_name", "add_word", "letter_of_word",
    "likes", "neighbour", "blank", "subtract", "comparatives", "sort_numbers", "replace_word", "mood_label", "count_words",
    "number_word", "largest", "is_it_so", "spell", "young", "what_did", "rotate", "topic_label", "sentence_word",
    "next_number", "drop", "male_female", "capitals", "past_sentence", "repeat", "vowel_label", "negate", "article",
    "multiply", "sounds", "size_label", "third_person", "surname_first", "constant", "makers", "sort_words",
    "make_question", "places_of", "reverse_letters", "odd_one_out", "length_label", "continue_sentence", "prefixed",
    "zip_lists", "count_letter", "person", "three_operations", "story_sum",
)  # fmt: skip
# Zipf-Mandelbrot: the family of rank r = 1, 2, ... comes with a probability in proportion to 1 / (r + OFFSET).
OFFSET = 4
WEIGHTS = tuple(1 / (rank + OFFSET) for rank in range(1, len(TRAINED) + 1))
_UP_TO = tuple(accumulate(WEIGHTS))


def draw_family(draws: Draws) -> Family:
    """A family that is trained on."""
    place = draws.fraction() * _UP_TO[-1]
    return BY_NAME[next(name for name, up_to in zip(TRAINED, _UP_TO, strict=True) if place < up_to)]
