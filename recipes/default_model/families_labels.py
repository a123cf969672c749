"""Task families whose rule is a table from inputs to labels, drawn anew each time: only the examples show it."""

from recipes.default_model.draws import Draws
from recipes.default_model.family import Family, Task
from recipes.default_model.lexicon import Lexicon
from recipes.default_model.words import BAD, CATEGORIES, GOOD, NAMES, NUMBER_WORDS, PLACES, THINGS, split


_ONSETS = split("b c d f g h j k l m n p r s t v w z bl br cl dr fl gr pl sk sl sn sp st tr")
_RIMES = split("a e i o u ab ack ag am ap ek el en ep ib ick im in ip ob ock og om op ub uck ug um up oo ee")
_PAIRS_OF_LABELS = (
    ("yes", "no"), ("true", "false"), ("good", "bad"), ("left", "right"), ("up", "down"), ("in", "out"), ("A", "B"), ("0", "1"),
    ("1", "2"), ("plus", "minus"), ("red", "blue"), ("black", "white"), ("X", "O"), ("a", "b"), ("this", "that"),
    ("one", "two"),
)  # fmt: skip


def made_up_word(draws: Draws) -> str:
    """An invented word of two syllables, such as "snibock"."""
    return "".join(draws.choice(_ONSETS) + draws.choice(_RIMES) for _ in range(2))


def labels(draws: Draws, count: int, lexicon: Lexicon) -> list[str]:
    """`count` different labels of one kind."""
    kind = draws.below(6)
    if kind == 0 and count == 2:
        return draws.shuffled(draws.choice(_PAIRS_OF_LABELS))
    if kind == 1:
        return draws.sample("ABCDEFGHKLMNPQRSTUVWXYZ", count)
    if kind == 2:
        return [str(number) for number in draws.sample(range(10), count)]
    if kind == 3:
        return draws.sample(CATEGORIES["colour"], count)
    if kind == 4:
        made: list[str] = []
        while len(made) < count:
            if (word := made_up_word(draws)) not in made:
                made.append(word)
        return made
    return draws.sample(lexicon.words[100:1000], count)


def category_label(draws: Draws, lexicon: Lexicon) -> Task:
    """Words of two to four categories, and a label for each category."""
    names = draws.sample(sorted(CATEGORIES), draws.between(2, 4))
    given = dict(zip(names, labels(draws, len(names), lexicon), strict=True))

    def example(d: Draws) -> tuple[str, str]:
        name = d.choice(names)
        return d.choice(CATEGORIES[name]), given[name]

    return Task(example=example)


def lookup(draws: Draws, lexicon: Lexicon) -> Task:
    """A table of two to five words; often the query is one of the examples."""
    keys = draws.sample(lexicon.words[50:], draws.between(2, 5))
    values = labels(draws, len(keys), lexicon) if draws.chance(0.5) else draws.sample(lexicon.words[50:], len(keys))
    table = dict(zip(keys, values, strict=True))
    pairs = list(table.items())
    return Task(example=lambda d: d.choice(pairs))


def invented_language(draws: Draws, lexicon: Lexicon) -> Task:
    """Phrases translated word by word from or into an invented language of four to six words."""
    english = draws.sample(lexicon.words[:600], draws.between(4, 6))
    foreign: list[str] = []
    while len(foreign) < len(english):
        if (word := made_up_word(draws)) not in foreign:
            foreign.append(word)
    table = dict(zip(english, foreign, strict=True))
    into_english = draws.chance(0.5)
    longest = draws.between(1, 3)

    def example(d: Draws) -> tuple[str, str]:
        words = d.sample(english, d.between(1, longest))
        pair = " ".join(words), " ".join(table[word] for word in words)
        return (pair[1], pair[0]) if into_english else pair

    name = made_up_word(draws).capitalize()
    way = f"Translate {name} to English:" if into_english else f"Translate English to {name}:"
    return Task(example=example, descriptions=(way,))


def substitution(draws: Draws, lexicon: Lexicon) -> Task:
    """Sequences of two to four letters; each letter is always replaced by the same other one."""
    letters = draws.sample("abcdefghijklmnopqrstuvwxyz", draws.between(2, 4))
    others = draws.sample("abcdefghijklmnopqrstuvwxyz", len(letters))
    table = dict(zip(letters, others, strict=True))
    length = draws.between(2, 4)

    def example(d: Draws) -> tuple[str, str]:
        sequence = [d.choice(letters) for _ in range(length)]
        return " ".join(sequence), " ".join(table[letter] for letter in sequence)

    return Task(example=example)


def constant(draws: Draws, lexicon: Lexicon) -> Task:
    """The same answer to every input."""
    answer = labels(draws, 1, lexicon)[0] if draws.chance(0.5) else " ".join(draws.sample(lexicon.words, draws.between(1, 3)))
    return Task(example=lambda d: (d.choice(lexicon.words), answer))


def vowel_label(draws: Draws, lexicon: Lexicon) -> Task:
    """A label for words that begin with a vowel, and another for the rest."""
    vowel, other = labels(draws, 2, lexicon)
    groups = [[w for w in lexicon.words if (w[0] in "aeiou") == begins] for begins in (True, False)]
    return Task(example=lambda d: (d.choice(groups[0]), vowel) if d.chance(0.5) else (d.choice(groups[1]), other))


def length_label(draws: Draws, lexicon: Lexicon) -> Task:
    """A label for short words (at most 4 letters), and another for long ones (at least 8)."""
    short, long = labels(draws, 2, lexicon)
    groups = [[w for w in lexicon.words if len(w) <= 4], [w for w in lexicon.words if len(w) >= 8]]
    return Task(example=lambda d: (d.choice(groups[0]), short) if d.chance(0.5) else (d.choice(groups[1]), long))


def size_label(draws: Draws, lexicon: Lexicon) -> Task:
    """A label for numbers below a bound, and another for those from the bound on."""
    below, above = labels(draws, 2, lexicon)
    bound = draws.choice((10, 20, 30, 50))

    def example(d: Draws) -> tuple[str, str]:
        number = d.below(bound) if d.chance(0.5) else d.between(bound, 99)
        return str(number), below if number < bound else above

    return Task(example=example)


def parity_label(draws: Draws, lexicon: Lexicon) -> Task:
    """A label for even numbers, and another for odd ones."""
    given = labels(draws, 2, lexicon)
    words = draws.chance(0.3)

    def example(d: Draws) -> tuple[str, str]:
        number = d.below(len(NUMBER_WORDS) if words else 40)
        return NUMBER_WORDS[number] if words else str(number), given[number % 2]

    return Task(example=example)


def mood_label(draws: Draws, lexicon: Lexicon) -> Task:
    """Sentences that say something good or bad, and a label for each."""
    said = draws.choice((("good", "bad"), ("positive", "negative"), ("happy", "sad")))
    pair = list(said) if draws.chance(0.5) else labels(draws, 2, lexicon)
    what = draws.choice(("The {thing} was {word}", "{name} is so {word}", "What a {word} {thing}", "It was a {word} {thing}"))

    def example(d: Draws) -> tuple[str, str]:
        is_good = d.chance(0.5)
        word = d.choice(GOOD if is_good else BAD)
        return what.format(thing=d.choice(THINGS), name=d.choice(NAMES), word=word), pair[0 if is_good else 1]

    return Task(example=example)


def topic_label(draws: Draws, lexicon: Lexicon) -> Task:
    """Sentences that mention a word of one of two or three categories, and a label for each category."""
    names = draws.sample(
        ("animal", "bird", "fruit", "food", "tool", "garment", "vehicle", "metal", "flower"), draws.between(2, 3)
    )
    given = dict(zip(names, labels(draws, len(names), lexicon), strict=True))
    verb = draws.choice(("saw", "wanted", "found", "asked for", "dreamt of", "spoke of"))

    def example(d: Draws) -> tuple[str, str]:
        name = d.choice(names)
        where = f" in the {d.choice(PLACES)}" if d.chance(0.5) else ""
        return f"{d.choice(NAMES)} {verb} the {d.choice(CATEGORIES[name])}{where}", given[name]

    return Task(example=example)


FAMILIES = (
    Family(name="category_label", draw=category_label),
    Family(name="lookup", draw=lookup, repeats=True),
    Family(name="invented_language", draw=invented_language, formats=("arrow", "equals"), repeats=True),
    Family(name="substitution", draw=substitution, formats=("arrow", "equals"), repeats=True),
    Family(name="constant", draw=constant),
    Family(name="vowel_label", draw=vowel_label),
    Family(name="length_label", draw=length_label),
    Family(name="size_label", draw=size_label),
    Family(name="parity_label", draw=parity_label),
    Family(name="mood_label", draw=mood_label),
    Family(name="topic_label", draw=topic_label),
)
