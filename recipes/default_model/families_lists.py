"""Task families about letters and lists of words: copying, reversing, sorting, counting, picking."""

from collections.abc import Callable, Sequence

from recipes.default_model.draws import Draws
from recipes.default_model.family import Family, Task
from recipes.default_model.lexicon import Lexicon
from recipes.default_model.words import CATEGORIES, NAMES, NUMBER_WORDS, SURNAMES


ORDINALS = ("first", "second", "third", "fourth")
_SEPARATORS = (" ", ", ", " ", " - ")


def _words(draws: Draws, lexicon: Lexicon) -> Sequence[str]:
    """The items of a list: common words, words of one category, names or letters."""
    kind = draws.below(5)
    if kind == 0:
        return CATEGORIES[draws.choice([name for name in sorted(CATEGORIES) if len(CATEGORIES[name]) >= 10])]
    if kind == 1:
        return "abcdefghijklmnopqrstuvwxyz"
    return NAMES if kind == 2 else lexicon.words[:1000]


def _list_task(
    draws: Draws, lexicon: Lexicon, change: Callable[[list[str]], list[str]], *descriptions: str, minimum: int = 2,
    maximum: int = 4,
) -> Task:  # fmt: skip
    """Lists of one length and one kind of words; the output is `change` of the list."""
    words, length, separator = _words(draws, lexicon), draws.between(minimum, maximum), draws.choice(_SEPARATORS)

    def example(d: Draws) -> tuple[str, str]:
        chosen = d.sample(words, length)
        return separator.join(chosen), separator.join(change(chosen))

    return Task(example=example, descriptions=descriptions)


def copy(draws: Draws, lexicon: Lexicon) -> Task:
    """The input itself."""
    return _list_task(draws, lexicon, list, "Copy the words:", "Say the same again:", minimum=1)


def reverse(draws: Draws, lexicon: Lexicon) -> Task:
    """The list backwards."""
    return _list_task(draws, lexicon, lambda w: w[::-1], "Reverse the order:", "Write the words backwards:")


def pick(draws: Draws, lexicon: Lexicon) -> Task:
    """The n-th word of a list."""
    length = draws.between(2, 4)
    place = draws.below(length)
    said = "last" if place == length - 1 and draws.chance(0.5) else ORDINALS[place]
    return _list_task(
        draws, lexicon, lambda w: [w[place]], f"Find the {said} word:", f"Which is {said}?", minimum=length, maximum=length
    )


def drop(draws: Draws, lexicon: Lexicon) -> Task:
    """The list without its n-th word."""
    length = draws.between(2, 4)
    place = draws.below(length)
    return _list_task(
        draws,
        lexicon,
        lambda w: w[:place] + w[place + 1 :],
        f"Leave out the {ORDINALS[place]} word:",
        minimum=length,
        maximum=length,
    )


def rotate(draws: Draws, lexicon: Lexicon) -> Task:
    """The first word moved to the end, or the last one to the beginning."""
    if draws.chance(0.5):
        return _list_task(draws, lexicon, lambda w: w[1:] + w[:1], "Move the first word to the end:", minimum=3)
    return _list_task(draws, lexicon, lambda w: w[-1:] + w[:-1], "Move the last word to the front:", minimum=3)


def swap_first_two(draws: Draws, lexicon: Lexicon) -> Task:
    """The first two words exchanged, the others as they are."""
    return _list_task(draws, lexicon, lambda w: [w[1], w[0], *w[2:]], "Swap the first two words:", minimum=3)


def repeat(draws: Draws, lexicon: Lexicon) -> Task:
    """The list twice or three times, or each of its words twice."""
    times = draws.between(2, 3)
    if draws.chance(0.5):
        said = f"Write it {('twice', 'three times')[times - 2]}:"
        return _list_task(draws, lexicon, lambda w: w * times, said, minimum=1, maximum=2)
    return _list_task(draws, lexicon, lambda w: [x for x in w for _ in range(2)], "Double every word:", maximum=3)


def add_word(draws: Draws, lexicon: Lexicon) -> Task:
    """A word that is drawn once, added after the list or before it."""
    word = draws.choice(lexicon.words[:1500])
    if draws.chance(0.5):
        return _list_task(draws, lexicon, lambda w: [*w, word], f"Add {word} at the end:", minimum=1, maximum=3)
    return _list_task(draws, lexicon, lambda w: [word, *w], f"Put {word} first:", minimum=1, maximum=3)


def surround(draws: Draws, lexicon: Lexicon) -> Task:
    """A word that is drawn once, added before the list and after it."""
    word = draws.choice(lexicon.words[:1500])
    return _list_task(draws, lexicon, lambda w: [word, *w, word], f"Put {word} on both sides:", minimum=1, maximum=2)


def replace_word(draws: Draws, lexicon: Lexicon) -> Task:
    """Lists in which one word, the same in all examples, is replaced by another."""
    old, new = draws.sample(lexicon.words[:1500], 2)
    length = draws.between(2, 4)

    def example(d: Draws) -> tuple[str, str]:
        words = d.sample(lexicon.words[:1000], length)
        words[d.below(length)] = old
        return " ".join(words), " ".join(new if word == old else word for word in words)

    return Task(example=example, descriptions=(f"Replace {old} by {new}:",))


def sort_words(draws: Draws, lexicon: Lexicon) -> Task:
    """Words or letters in alphabetical order."""
    return _list_task(draws, lexicon, sorted, "Sort by the alphabet:", "Put in order:", maximum=3)


def spell(draws: Draws, lexicon: Lexicon) -> Task:
    """A word spelled letter by letter, or its letters joined to the word."""
    separator, joins = draws.choice((" ", "-", " ")), draws.chance(0.4)
    words = [word for word in lexicon.words[:1500] if len(word) <= 6]

    def example(d: Draws) -> tuple[str, str]:
        word = d.choice(words)
        pair = word, separator.join(word)
        return (pair[1], pair[0]) if joins else pair

    said = "Write as one word:" if joins else "Spell the word:"
    return Task(example=example, descriptions=(said,), question="" if joins else "How do you spell {}?")


def letter_of_word(draws: Draws, lexicon: Lexicon) -> Task:
    """The first, second or last letter of a word."""
    place, said = draws.choice(((0, "first"), (0, "first"), (1, "second"), (-1, "last")))
    capital = draws.chance(0.2)

    def example(d: Draws) -> tuple[str, str]:
        word = d.choice(lexicon.words)
        return word, word[place].upper() if capital else word[place]

    return Task(example=example, descriptions=(f"Find the {said} letter:",), question=f"What is the {said} letter of {{}}?")


def reverse_letters(draws: Draws, lexicon: Lexicon) -> Task:
    """A short word, spelled backwards."""
    spaced = draws.chance(0.7)
    words = [word for word in lexicon.words[:1500] if len(word) <= 5]

    def example(d: Draws) -> tuple[str, str]:
        word = d.choice(words)
        return (" ".join(word), " ".join(word[::-1])) if spaced else (word, word[::-1])

    return Task(example=example, descriptions=("Reverse the letters:",))


def capitals(draws: Draws, lexicon: Lexicon) -> Task:
    """Words with a capital letter or in capitals, or such words in lower case."""
    change = draws.choice((str.capitalize, str.upper, str.upper))
    back, length = draws.chance(0.3), draws.between(1, 2)

    def example(d: Draws) -> tuple[str, str]:
        words = d.sample(lexicon.words[:1000], length)
        pair = " ".join(words), " ".join(change(word) for word in words)
        return (pair[1], pair[0]) if back else pair

    said = "In small letters:" if back else "In capitals:" if change is str.upper else "With a capital letter:"
    return Task(example=example, descriptions=(said,))


def count_words(draws: Draws, lexicon: Lexicon) -> Task:
    """The number of words, one to six, in figures or in words."""
    words, in_words = _words(draws, lexicon), draws.chance(0.4)

    def example(d: Draws) -> tuple[str, str]:
        chosen = d.sample(words, d.between(1, 6))
        return " ".join(chosen), NUMBER_WORDS[len(chosen)] if in_words else str(len(chosen))

    return Task(example=example, descriptions=("Count the words:",), question="How many: {}?")


def count_letter(draws: Draws, lexicon: Lexicon) -> Task:
    """How often a letter occurs in a sequence of two different letters."""
    one, other = draws.sample("abcdefghijklmnopqrstuvwxyz", 2)

    def example(d: Draws) -> tuple[str, str]:
        sequence = [one if d.chance(0.5) else other for _ in range(d.between(3, 6))]
        return " ".join(sequence), str(sequence.count(one))

    return Task(example=example, descriptions=(f"How many times {one}?",))


def zip_lists(draws: Draws, lexicon: Lexicon) -> Task:
    """Two pairs of words, interleaved: a b / c d becomes a c b d."""
    words, separator = lexicon.words[:1000], draws.choice((" / ", " ; ", " and "))

    def example(d: Draws) -> tuple[str, str]:
        a, b, c, e = d.sample(words, 4)
        return f"{a} {b}{separator}{c} {e}", f"{a} {c} {b} {e}"

    return Task(example=example)


def odd_one_out(draws: Draws, lexicon: Lexicon) -> Task:
    """The word of another category among three words of one category."""
    usual = draws.sample([name for name in sorted(CATEGORIES) if len(CATEGORIES[name]) >= 10], 2)

    def example(d: Draws) -> tuple[str, str]:
        words, other = d.sample(CATEGORIES[usual[0]], 3), d.choice(CATEGORIES[usual[1]])
        return ", ".join(d.shuffled([*words, other])), other

    return Task(example=example, descriptions=("Find the odd one out:",), question="Which is the odd one out: {}?")


def initials(draws: Draws, lexicon: Lexicon) -> Task:
    """A person's initials."""
    form = draws.choice(("{} {}", "{}. {}.", "{}{}"))

    def example(d: Draws) -> tuple[str, str]:
        name, surname = d.choice(NAMES), d.choice(SURNAMES)
        return f"{name} {surname}", form.format(name[0], surname[0])

    return Task(example=example, descriptions=("Write the initials:",))


def surname_first(draws: Draws, lexicon: Lexicon) -> Task:
    """A person's name in another form, such as "Brown, Tom"."""
    form = draws.choice(("{1}, {0}", "{2}. {1}", "Mr. {1}", "{0}", "{1}", "Dear {0}", "{0} of {1}"))

    def example(d: Draws) -> tuple[str, str]:
        name, surname = d.choice(NAMES), d.choice(SURNAMES)
        return f"{name} {surname}", form.format(name, surname, name[0])

    return Task(example=example)


FAMILIES = (
    Family(name="copy", draw=copy),
    Family(name="reverse", draw=reverse, formats=("arrow", "equals")),
    Family(name="pick", draw=pick),
    Family(name="drop", draw=drop, formats=("arrow", "equals")),
    Family(name="rotate", draw=rotate, formats=("arrow", "equals")),
    Family(name="swap_first_two", draw=swap_first_two, formats=("arrow", "equals")),
    Family(name="repeat", draw=repeat, formats=("arrow", "equals")),
    Family(name="add_word", draw=add_word, formats=("arrow", "equals")),
    Family(name="surround", draw=surround, formats=("arrow", "equals")),
    Family(name="replace_word", draw=replace_word, formats=("arrow", "equals")),
    Family(name="sort_words", draw=sort_words, formats=("arrow", "equals")),
    Family(name="spell", draw=spell),
    Family(name="letter_of_word", draw=letter_of_word),
    Family(name="reverse_letters", draw=reverse_letters, formats=("arrow", "equals")),
    Family(name="capitals", draw=capitals, formats=("arrow", "equals")),
    Family(name="count_words", draw=count_words),
    Family(name="count_letter", draw=count_letter),
    Family(name="zip_lists", draw=zip_lists, formats=("arrow", "equals")),
    Family(name="odd_one_out", draw=odd_one_out),
    Family(name="initials", draw=initials),
    Family(name="surname_first", draw=surname_first),
)
