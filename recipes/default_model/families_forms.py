"""Task families about words and their forms: plurals, past forms, opposites, comparatives and other pairs."""

from collections.abc import Sequence

from recipes.default_model.draws import Draws
from recipes.default_model.family import Family, Task
from recipes.default_model.forms import (
    ANTONYM_PREFIX,
    COMPARATIVES,
    ING,
    MAKERS,
    MALE_FEMALE,
    OPPOSITES,
    PAST,
    PLACES_OF,
    PLURALS,
    SOUNDS,
    THIRD_PERSON,
    YOUNG,
)  # fmt: skip
from recipes.default_model.lexicon import Lexicon
from recipes.default_model.words import CATEGORIES, COLOURS, NAMES


def _pairs_task(
    draws: Draws,
    pairs: Sequence[tuple[str, str]],
    there: tuple[str, str],
    back: tuple[str, str],
    frames: Sequence[str] = ("{}",),
) -> Task:
    """Pairs of words; the direction, and a frame around the second word, are drawn.

    Args:
        there, back: (description, question) of the direction from the first word to the second, and of the other one.
        frames: templates with {} for the second word.
    """
    backward, frame = draws.chance(0.35), draws.choice(frames)

    def example(d: Draws) -> tuple[str, str]:
        one, other = d.choice(pairs)
        return (frame.format(other), one) if backward else (one, frame.format(other))

    description, question = back if backward else there
    return Task(example=example, descriptions=(description,) if description else (), question=question)


def plurals(draws: Draws, lexicon: Lexicon) -> Task:
    """dog and dogs."""
    frames = ("{}", "{}", "two {}", "many {}", "the {}", "some {}")
    return _pairs_task(
        draws,
        PLURALS,
        ("Write the plural:", "What is the plural of {}?"),
        ("Write the singular:", "What is one of {}?"),
        frames,
    )


def past_forms(draws: Draws, lexicon: Lexicon) -> Task:
    """walk and walked."""
    frames = ("{}", "{}", "he {}", "they {}", "I {}", "yesterday {}")
    return _pairs_task(
        draws, PAST, ("Write the past form:", "What is the past of {}?"),
        ("Write the present form:", "What is the present of {}?"), frames,
    )  # fmt: skip


def ing_forms(draws: Draws, lexicon: Lexicon) -> Task:
    """walk and walking."""
    return _pairs_task(
        draws, ING, ("Write the -ing form:", ""), ("Write the plain form:", ""), ("{}", "{}", "he is {}", "they are {}")
    )


def third_person(draws: Draws, lexicon: Lexicon) -> Task:
    """I walk, he walks."""
    frame = draws.choice(("he {}", "she {}", "it {}", "{}"))
    return _pairs_task(draws, THIRD_PERSON, ("", ""), ("", ""), (frame,))


def opposites(draws: Draws, lexicon: Lexicon) -> Task:
    """hot and cold."""
    both = (*OPPOSITES, *((other, one) for one, other in OPPOSITES))
    frames = ("{}", "{}", "{}", "not {}", "very {}")
    way = ("Write the opposite:", "What is the opposite of {}?")
    return _pairs_task(draws, both, way, way, frames)


def prefixed(draws: Draws, lexicon: Lexicon) -> Task:
    """happy and unhappy."""
    return _pairs_task(draws, tuple((word, "un" + word) for word in ANTONYM_PREFIX), ("", ""), ("", ""))


def comparatives(draws: Draws, lexicon: Lexicon) -> Task:
    """big and bigger."""
    frames = ("{}", "{}", "{} than before", "much {}")
    return _pairs_task(draws, COMPARATIVES, ("Write the comparative:", ""), ("Write the plain form:", ""), frames)


def male_female(draws: Draws, lexicon: Lexicon) -> Task:
    """king and queen."""
    return _pairs_task(draws, MALE_FEMALE, ("Write the female:", ""), ("Write the male:", ""))


def young(draws: Draws, lexicon: Lexicon) -> Task:
    """dog and puppy."""
    return _pairs_task(
        draws, YOUNG, ("Name the young one:", "What is a young {}?"), ("Name the parent:", "Whose young is a {}?")
    )


def sounds(draws: Draws, lexicon: Lexicon) -> Task:
    """dog and bark."""
    return _pairs_task(draws, SOUNDS, ("Name the sound:", "What sound does a {} make?"), ("Which animal?", ""))


def makers(draws: Draws, lexicon: Lexicon) -> Task:
    """baker and bread."""
    return _pairs_task(draws, MAKERS, ("What do they make?", "What does a {} make?"), ("Who makes it?", "Who makes {}?"))


def places_of(draws: Draws, lexicon: Lexicon) -> Task:
    """horse and stable."""
    return _pairs_task(draws, PLACES_OF, ("Where do they live or work?", "Where do you find a {}?"), ("", ""))


def category_name(draws: Draws, lexicon: Lexicon) -> Task:
    """A word and what kind of thing it is."""
    names = draws.sample(sorted(CATEGORIES), draws.between(3, 8))
    article = draws.chance(0.3)

    def example(d: Draws) -> tuple[str, str]:
        name = d.choice(names)
        return d.choice(CATEGORIES[name]), with_article(name) if article else name

    return Task(example=example, descriptions=("What kind of thing is it?",), question="What is {}?")


def with_article(noun: str) -> str:
    """a dog, an apple."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def article(draws: Draws, lexicon: Lexicon) -> Task:
    """a or an, perhaps with a colour before the noun."""
    names = draws.sample(
        ("animal", "bird", "insect", "tree", "flower", "fruit", "garment", "tool", "job", "vehicle", "building"), 3
    )
    coloured = draws.chance(0.4)

    def example(d: Draws) -> tuple[str, str]:
        noun = d.choice(CATEGORIES[d.choice(names)])
        phrase = f"{d.choice(COLOURS)} {noun}" if coloured else noun
        return phrase, with_article(phrase)

    return Task(example=example, descriptions=("Write a or an before it:",))


def person(draws: Draws, lexicon: Lexicon) -> Task:
    """The same sentence with another pronoun, such as I see -> you see; both pronouns are drawn once."""
    one, other = draws.sample(("I", "you", "we", "they"), 2)
    verbs = [verb for verb, _ in PAST]
    rest = draws.choice(("", " it", " there", " too", " every day"))

    def example(d: Draws) -> tuple[str, str]:
        verb = d.choice(verbs)
        return f"{one} {verb}{rest}", f"{other} {verb}{rest}"

    return Task(example=example)


def past_sentence(draws: Draws, lexicon: Lexicon) -> Task:
    """Short sentences about a person, put into the past."""
    tail = draws.choice(("", " again", " at home", " in the garden", " with care"))
    table = {base: past for base, past in PAST}

    def example(d: Draws) -> tuple[str, str]:
        base, now = d.choice(THIRD_PERSON)
        name = d.choice(NAMES)
        return f"{name} {now}{tail}.", f"{name} {table[base]}{tail}."

    return Task(example=example, descriptions=("Put into the past:",))


FAMILIES = (
    Family(name="plurals", draw=plurals),
    Family(name="past_forms", draw=past_forms),
    Family(name="ing_forms", draw=ing_forms),
    Family(name="third_person", draw=third_person),
    Family(name="opposites", draw=opposites),
    Family(name="prefixed", draw=prefixed),
    Family(name="comparatives", draw=comparatives),
    Family(name="male_female", draw=male_female),
    Family(name="young", draw=young),
    Family(name="sounds", draw=sounds),
    Family(name="makers", draw=makers),
    Family(name="places_of", draw=places_of),
    Family(name="category_name", draw=category_name),
    Family(name="article", draw=article),
    Family(name="person", draw=person, formats=("arrow", "equals")),
    Family(name="past_sentence", draw=past_sentence, formats=("arrow", "equals")),
)
