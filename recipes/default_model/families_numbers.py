"""Task families about numbers: small arithmetic, sequences, numbers in words."""

from recipes.default_model.draws import Draws
from recipes.default_model.family import Family, Task
from recipes.default_model.lexicon import Lexicon
from recipes.default_model.words import NAMES, NUMBER_WORDS, THINGS


def add(draws: Draws, lexicon: Lexicon) -> Task:
    """a plus b, both at most a bound that is drawn."""
    most, sign = draws.choice((9, 9, 20, 49)), draws.choice((" + ", " plus ", " and "))

    def example(d: Draws) -> tuple[str, str]:
        a, b = d.between(0, most), d.between(0, most)
        return f"{a}{sign}{b}", str(a + b)

    return Task(example=example, descriptions=("Add the numbers:",), question="What is {}?")


def subtract(draws: Draws, lexicon: Lexicon) -> Task:
    """a minus b, with b at most a."""
    most, sign = draws.choice((9, 20, 49)), draws.choice((" - ", " minus "))

    def example(d: Draws) -> tuple[str, str]:
        a = d.between(0, most)
        b = d.between(0, a)
        return f"{a}{sign}{b}", str(a - b)

    return Task(example=example, descriptions=("Subtract:",), question="What is {}?")


def multiply(draws: Draws, lexicon: Lexicon) -> Task:
    """a times b, both below ten."""
    sign = draws.choice((" x ", " times "))

    def example(d: Draws) -> tuple[str, str]:
        a, b = d.between(0, 9), d.between(0, 9)
        return f"{a}{sign}{b}", str(a * b)

    return Task(example=example, descriptions=("Multiply:",), question="What is {}?")


def add_constant(draws: Draws, lexicon: Lexicon) -> Task:
    """A number plus a constant that is drawn once and may be negative."""
    c = draws.choice((-5, -3, -2, -1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10))

    def example(d: Draws) -> tuple[str, str]:
        number = d.between(max(0, -c), 40)
        return str(number), str(number + c)

    said = f"Add {c}:" if c > 0 else f"Subtract {-c}:"
    return Task(example=example, descriptions=(said,))


def times_constant(draws: Draws, lexicon: Lexicon) -> Task:
    """A number times two, three, five or ten, drawn once."""
    c = draws.choice((2, 3, 5, 10))

    def example(d: Draws) -> tuple[str, str]:
        number = d.between(0, 12)
        return str(number), str(number * c)

    return Task(example=example, descriptions=(f"Multiply by {c}:",))


def next_number(draws: Draws, lexicon: Lexicon) -> Task:
    """The next number of an arithmetic sequence of three; the difference is drawn once, or for each example."""
    fixed = draws.choice((0, 1, 2, 3, 5, 10))
    down = draws.chance(0.25)
    separator = draws.choice((" ", ", "))

    def example(d: Draws) -> tuple[str, str]:
        distance = fixed or d.between(1, 5)
        first = d.between(0, 30)
        numbers = [first + distance * i for i in range(4)]
        if down:
            numbers.reverse()
        return separator.join(str(number) for number in numbers[:3]), str(numbers[3])

    return Task(example=example, descriptions=("What comes next?",), question="What comes after {}?")


def neighbour(draws: Draws, lexicon: Lexicon) -> Task:
    """The number, letter or number word before or after."""
    kind, after = draws.below(3), draws.chance(0.6)
    items = ([str(n) for n in range(100)], list("abcdefghijklmnopqrstuvwxyz"), list(NUMBER_WORDS))[kind]

    def example(d: Draws) -> tuple[str, str]:
        place = d.below(len(items) - 1)
        pair = items[place], items[place + 1]
        return pair if after else (pair[1], pair[0])

    said = "after" if after else "before"
    return Task(example=example, descriptions=(f"What comes {said}?",), question=f"What comes {said} {{}}?")


def largest(draws: Draws, lexicon: Lexicon) -> Task:
    """The largest or the smallest of two to four numbers."""
    biggest, count, separator = draws.chance(0.5), draws.between(2, 4), draws.choice((" ", ", ", " or "))

    def example(d: Draws) -> tuple[str, str]:
        numbers = d.sample(range(100), count)
        return separator.join(map(str, numbers)), str(max(numbers) if biggest else min(numbers))

    said = "largest" if biggest else "smallest"
    return Task(example=example, descriptions=(f"Find the {said} number:",), question=f"Which is the {said}: {{}}?")


def sort_numbers(draws: Draws, lexicon: Lexicon) -> Task:
    """Two to four numbers sorted, ascending or descending."""
    down, count, most = draws.chance(0.4), draws.between(2, 4), draws.choice((10, 100))

    def example(d: Draws) -> tuple[str, str]:
        numbers = d.sample(range(most), count)
        return " ".join(map(str, numbers)), " ".join(map(str, sorted(numbers, reverse=down)))

    said = "Sort from large to small:" if down else "Sort the numbers:"
    return Task(example=example, descriptions=(said,))


def number_word(draws: Draws, lexicon: Lexicon) -> Task:
    """A number in words, or in figures."""
    to_figures = draws.chance(0.5)

    def example(d: Draws) -> tuple[str, str]:
        number = d.below(len(NUMBER_WORDS))
        pair = str(number), NUMBER_WORDS[number]
        return (pair[1], pair[0]) if to_figures else pair

    return Task(example=example, descriptions=("Write in figures:" if to_figures else "Write in words:",))


def three_operations(draws: Draws, lexicon: Lexicon) -> Task:
    """Two operations on three digits, with brackets around the first (the paper's single_digit_three_ops)."""

    def example(d: Draws) -> tuple[str, str]:
        a, b, c = (d.between(0, 9) for _ in range(3))
        first, second = d.choice("+-*"), d.choice("+-*")
        inner = a + b if first == "+" else a - b if first == "-" else a * b
        result = inner + c if second == "+" else inner - c if second == "-" else inner * c
        return f"({a} {first} {b}) {second} {c}", str(result)

    return Task(example=example, question="What is {}?")


def story_sum(draws: Draws, lexicon: Lexicon) -> Task:
    """How many things there are after some were brought or taken away."""
    gains = draws.chance(0.5)

    def example(d: Draws) -> tuple[str, str]:
        a = d.between(2, 12)
        b = d.between(1, a - 1)
        thing = d.choice(THINGS[:11])
        many = thing + ("es" if thing.endswith("x") else "s")
        if thing == "knife":
            many = "knives"
        verb = "brings" if gains else "takes"
        return f"There are {a} {many}. {d.choice(NAMES)} {verb} {b}. How many now?", str(a + b if gains else a - b)

    return Task(example=example)


FAMILIES = (
    Family(name="add", draw=add),
    Family(name="subtract", draw=subtract),
    Family(name="multiply", draw=multiply),
    Family(name="add_constant", draw=add_constant),
    Family(name="times_constant", draw=times_constant),
    Family(name="next_number", draw=next_number),
    Family(name="neighbour", draw=neighbour),
    Family(name="largest", draw=largest),
    Family(name="sort_numbers", draw=sort_numbers, formats=("arrow", "equals")),
    Family(name="number_word", draw=number_word),
    Family(name="three_operations", draw=three_operations, formats=("equals", "qa")),
    Family(name="story_sum", draw=story_sum, formats=("qa", "arrow")),
)
