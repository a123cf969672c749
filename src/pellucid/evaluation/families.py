"""The task families of the default model's recipe, which measure few-shot learning of small models. No torch here.

A family is a kind of task whose rule is drawn anew for each query: which words mean which label, how many letters, which
constant is added. Only the query's own eight examples (and, in a third of the queries, a description) state the rule, so a
model can learn the answer from its prompt alone. The recipe trains on 65 of these families and on `markup`, descriptions with
code; it holds out eight families, and twelve pairs of element and colour of `markup`. The groups of examples here were drawn
apart from those of the training windows.

The package has 40 queries a family, as `recipes.default_model.task_file` wrote them. They are made of words and names written
for them, and of frequent words and short sentences of the recipe's books, which are in the public domain.
"""

import json
from functools import cache
from pathlib import Path

from pellucid.errors import PellucidError
from pellucid.evaluation.task import Query, Task
from pellucid.files import reading


FAMILIES = Path(__file__).parent.parent / "assets" / "families.jsonl.bz2"
HELD_OUT = ("parity_label", "swap_first_two", "surround", "initials", "times_constant", "ing_forms", "who_has", "older")
# The most frequent in training first, by the recipe's Zipf law. The order is a choice: first the families whose rule only
# examples can show, then those where knowing the language or the numbers helps.
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
MARKUP, MARKUP_HELD_OUT = "markup", "markup_held_out"
FREQUENT = 12  # how many of `TRAINED`, the first ones, are measured where all would take too long
GROUPS: dict[str, tuple[str, ...]] = {
    "families_held_out": HELD_OUT, "families_frequent": TRAINED[:FREQUENT], "families_trained": TRAINED,
    "families_markup": (MARKUP, MARKUP_HELD_OUT),
}  # fmt: skip
NAMES = (*HELD_OUT, *TRAINED, MARKUP, MARKUP_HELD_OUT)


def family_task(name: str) -> Task:
    """The queries of one of `NAMES`, each with eight examples of its own rule.

    Raises:
        PellucidError: this Python was built without bz2.
    """
    return Task(name=name, queries=queries_of_families()[name])


@cache
def queries_of_families() -> dict[str, list[Query]]:
    """The queries of all families by name. Errors as `family_task`."""
    try:
        import bz2
    except ImportError:
        raise PellucidError("this Python has no bz2, which reads the task families: name a file of queries") from None
    with reading(FAMILIES) as file:
        lines = bz2.decompress(file.read()).decode("utf-8").splitlines()
    found: dict[str, list[Query]] = {name: [] for name in NAMES}
    for line in lines:
        row = json.loads(line)
        found[row["family"]].append(Query(
            prompt=row["prompt"], answers=(row["completion"],), description=row["task"], format=row["format"],
            examples=tuple((given, output) for given, output in row["examples"]),
        ))  # fmt: skip
    return found
