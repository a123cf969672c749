"""Task families about sentences: questions about a given sentence, and sentences of the books that are changed or completed."""

from recipes.default_model.draws import Draws
from recipes.default_model.families_labels import labels
from recipes.default_model.family import Family, Task
from recipes.default_model.lexicon import Lexicon
from recipes.default_model.words import BIG_AND_SMALL, CATEGORIES, COLOURS, NAMES, PLACES, THINGS


def gave(draws: Draws, lexicon: Lexicon) -> Task:
    """A gave B a thing: who gave it, who got it, or what it was."""
    asked, verb = draws.below(4), draws.choice(("gave", "sold", "lent", "brought", "showed"))

    def example(d: Draws) -> tuple[str, str]:
        (one, other), thing = d.sample(NAMES, 2), d.choice(THINGS)
        which = asked if asked < 3 else d.below(3)
        question, answer = (
            (f"Who {verb} the {thing}?", one), (f"Who got the {thing}?", other), (f"What did {other} get?", f"the {thing}"),
        )[which]  # fmt: skip
        return f"{one} {verb} {other} the {thing}. {question}", answer

    return Task(example=example, descriptions=("Answer the question:",))


def where(draws: Draws, lexicon: Lexicon) -> Task:
    """One to three people in places: where one of them is, or who is in a place."""
    count, who, article = draws.between(1, 3), draws.chance(0.4), draws.choice(("the ", "in the ", ""))
    verb = draws.choice(("is in", "went to", "sat in", "ran to", "sleeps in"))

    def example(d: Draws) -> tuple[str, str]:
        people, places = d.sample(NAMES, count), d.sample(PLACES, count)
        asked = d.below(count)
        said = " ".join(f"{name} {verb} the {place}." for name, place in zip(people, places, strict=True))
        if who:
            return f"{said} Who {verb} the {places[asked]}?", people[asked]
        return f"{said} Where is {people[asked]}?", article + places[asked]

    return Task(example=example, descriptions=("Answer the question:",))


def which_colour(draws: Draws, lexicon: Lexicon) -> Task:
    """One to three things and their colours: the colour of one, or which thing has a colour."""
    count, thing_asked = draws.between(1, 3), draws.chance(0.4)

    def example(d: Draws) -> tuple[str, str]:
        things, colours = d.sample(THINGS, count), d.sample(COLOURS, count)
        asked = d.below(count)
        said = " and ".join(f"the {thing} is {colour}" for thing, colour in zip(things, colours, strict=True))
        said = said[0].upper() + said[1:] + "."
        if thing_asked:
            return f"{said} What is {colours[asked]}?", f"the {things[asked]}"
        return f"{said} What colour is the {things[asked]}?", colours[asked]

    return Task(example=example, descriptions=("Answer the question:",))


def likes(draws: Draws, lexicon: Lexicon) -> Task:
    """What two or three people like: what one of them likes, or who likes a thing."""
    category = draws.choice(("fruit", "food", "animal", "flower", "drink", "bird"))
    count, who, verb = draws.between(2, 3), draws.chance(0.5), draws.choice(("likes", "wants", "loves", "sees"))

    def example(d: Draws) -> tuple[str, str]:
        people, things = d.sample(NAMES, count), d.sample(CATEGORIES[category], count)
        asked = d.below(count)
        said = ", ".join(f"{name} {verb} the {thing}" for name, thing in zip(people, things, strict=True))
        if who:
            return f"{said}. Who {verb} the {things[asked]}?", people[asked]
        return f"{said}. And {people[asked]}?", f"the {things[asked]}"

    return Task(example=example, descriptions=("Answer the question:",))


def who_has(draws: Draws, lexicon: Lexicon) -> Task:
    """Two people have a thing each: who has which."""
    verb = draws.choice(("has", "holds", "keeps"))

    def example(d: Draws) -> tuple[str, str]:
        (one, other), (a, b) = d.sample(NAMES, 2), d.sample(THINGS, 2)
        first = d.chance(0.5)
        said = f"{one} {verb} a {a} and {other} {verb} a {b}."
        return f"{said} Who {verb} the {a if first else b}?", one if first else other

    return Task(example=example, descriptions=("Answer the question:",))


def older(draws: Draws, lexicon: Lexicon) -> Task:
    """One person is older (taller, faster, stronger) than another: who is older, or who is younger."""
    more, less = draws.choice((("older", "younger"), ("taller", "shorter"), ("faster", "slower"), ("stronger", "weaker")))
    other_way = draws.chance(0.5)

    def example(d: Draws) -> tuple[str, str]:
        one, other = d.sample(NAMES, 2)
        said, first = (more, one) if d.chance(0.5) else (less, other)
        return f"{one} is {said} than {other}. Who is {less if other_way else more}?", (
            first if not other_way else (other if first == one else one)
        )

    return Task(example=example, descriptions=("Answer the question:",))


def is_it_so(draws: Draws, lexicon: Lexicon) -> Task:
    """A statement, and a question whether it is so: yes or no, or other labels."""
    yes, no = ("yes", "no") if draws.chance(0.6) else labels(draws, 2, lexicon)

    def example(d: Draws) -> tuple[str, str]:
        thing, (place, other) = d.choice(THINGS), d.sample(PLACES, 2)
        same = d.chance(0.5)
        return f"The {thing} is in the {place}. Is the {thing} in the {place if same else other}?", yes if same else no

    return Task(example=example, descriptions=("Answer yes or no:",) if yes == "yes" else ())


def what_did(draws: Draws, lexicon: Lexicon) -> Task:
    """A person went somewhere with a thing: who, where, or with what."""
    verb, asked = draws.choice(("ran", "walked", "went", "rode", "came", "drove")), draws.below(3)

    def example(d: Draws) -> tuple[str, str]:
        name, place, thing = d.choice(NAMES), d.choice(PLACES), d.choice(THINGS)
        said = f"{name} {verb} to the {place} with a {thing}."
        question, answer = (
            ("Who was it?", name), ("Where to?", f"the {place}"), ("With what?", f"a {thing}"),
        )[asked]  # fmt: skip
        return f"{said} {question}", answer

    return Task(example=example, descriptions=("Answer the question:",))


def sentence_word(draws: Draws, lexicon: Lexicon) -> Task:
    """The first, second or last word of a sentence of the books."""
    place, said = draws.choice(((0, "first"), (1, "second"), (-1, "last"), (-1, "last")))

    def example(d: Draws) -> tuple[str, str]:
        sentence = d.choice(lexicon.sentences)
        return sentence, sentence.split()[place]

    return Task(example=example, descriptions=(f"Write the {said} word:",), question=f"What is the {said} word of: {{}}?")


def blank(draws: Draws, lexicon: Lexicon) -> Task:
    """A sentence of the books, then its beginning up to a word: that word."""
    mark = draws.choice(("____", "...", "?"))

    def example(d: Draws) -> tuple[str, str]:
        sentence = d.choice(lexicon.sentences)
        words = sentence.split()
        place = d.between(1, len(words) - 1)
        return f"{sentence}. {' '.join(words[:place])} {mark}", words[place]

    return Task(example=example, descriptions=("Fill in the blank:",))


def continue_sentence(draws: Draws, lexicon: Lexicon) -> Task:
    """The last word of a sentence of the books, which is not in the prompt."""

    def example(d: Draws) -> tuple[str, str]:
        words = d.choice(lexicon.sentences).split()
        return " ".join(words[:-1]), words[-1]

    return Task(example=example, descriptions=("Finish the sentence:",))


def negate(draws: Draws, lexicon: Lexicon) -> Task:
    """A statement and its negation, in either direction."""
    back, word, category = (
        draws.chance(0.4),
        draws.choice(("is", "was")),
        draws.choice(("animal", "bird", "tool", "garment", "fruit")),
    )

    def example(d: Draws) -> tuple[str, str]:
        noun, quality = d.choice(CATEGORIES[category]), d.choice(BIG_AND_SMALL + COLOURS)
        pair = f"The {noun} {word} {quality}.", f"The {noun} {word} not {quality}."
        return (pair[1], pair[0]) if back else pair

    return Task(example=example, descriptions=("Say the opposite:",))


def make_question(draws: Draws, lexicon: Lexicon) -> Task:
    """The cat is in the barn -> Is the cat in the barn?, or the other direction."""
    back, word = draws.chance(0.4), draws.choice(("is", "was"))

    def example(d: Draws) -> tuple[str, str]:
        noun, place = d.choice(CATEGORIES["animal"] + CATEGORIES["bird"]), d.choice(PLACES)
        pair = f"The {noun} {word} in the {place}.", f"{word.capitalize()} the {noun} in the {place}?"
        return (pair[1], pair[0]) if back else pair

    return Task(example=example, descriptions=("Make it a statement:" if back else "Make it a question:",))


FAMILIES = (
    Family(name="gave", draw=gave, formats=("qa", "qa", "arrow")),
    Family(name="where", draw=where, formats=("qa", "qa", "arrow")),
    Family(name="which_colour", draw=which_colour, formats=("qa", "qa", "arrow")),
    Family(name="likes", draw=likes, formats=("qa", "qa", "arrow")),
    Family(name="who_has", draw=who_has, formats=("qa", "qa", "arrow")),
    Family(name="older", draw=older, formats=("qa", "qa", "arrow")),
    Family(name="is_it_so", draw=is_it_so, formats=("qa", "qa", "arrow")),
    Family(name="what_did", draw=what_did, formats=("qa", "qa", "arrow")),
    Family(name="sentence_word", draw=sentence_word),
    Family(name="blank", draw=blank),
    Family(name="continue_sentence", draw=continue_sentence, formats=("arrow",)),
    Family(name="negate", draw=negate, formats=("arrow", "equals")),
    Family(name="make_question", draw=make_question, formats=("arrow", "equals")),
)
