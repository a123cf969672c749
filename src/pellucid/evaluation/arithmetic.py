"""The paper's ten arithmetic tasks (section 3.9.1, table 3.9), from their rules. No torch here.

The operands of n-digit addition and subtraction are uniform below 10^n each, so shorter ones occur, and a difference may be
negative; those of multiplication below 100. "Three ops" are two operators, uniform over + - *, between three digits.
The paper's text puts the parentheses round the last two digits, all 2,000 items that OpenAI released round the first two, as
here. The format is "qa", Q: What is 98 plus 45? / A: 143; in the released items an empty line parts the two (a choice).

Query i of a task is a function of (seed, task, i); the examples of prompts are further ones.
"""

from pellucid.evaluation.task import Query, Task
from pellucid.hashing import mix


QUERIES = 2_000  # as many as OpenAI released
EXAMPLES = 1_000  # a choice: further ones, for prompts
_KINDS = {"addition": ("plus", "+"), "subtraction": ("minus", "-"), "multiplication": ("times", "*")}
_DIGITS = {"two": 2, "three": 3, "four": 4, "five": 5}
THREE_OPS = "single_digit_three_ops"
NAMES = (
    *(f"{digits}_digit_{kind}" for digits in _DIGITS for kind in ("addition", "subtraction")),
    "two_digit_multiplication",
    THREE_OPS,
)


def arithmetic_task(name: str, *, seed: int = 0) -> Task:
    """One of `NAMES`."""
    made = [_query(name, seed, index) for index in range(QUERIES + EXAMPLES)]
    return Task(name=name, queries=made[:QUERIES], examples=made[QUERIES:], format="qa")


def _query(name: str, seed: int, index: int) -> Query:
    number = NAMES.index(name)

    def below(n: int, place: int) -> int:
        return mix(seed, number, index, place) % n

    if name == THREE_OPS:
        a, b, c = (below(10, place) for place in range(3))
        first, second = ("+-*"[below(3, place)] for place in (3, 4))
        return Query(prompt=f"What is ({a} {first} {b}) {second} {c}?", answers=(str(_apply(second, _apply(first, a, b), c)),))
    digits, _, kind = name.split("_")
    a, b = (below(10 ** _DIGITS[digits], place) for place in (0, 1))
    word, operator = _KINDS[kind]
    return Query(prompt=f"What is {a} {word} {b}?", answers=(str(_apply(operator, a, b)),))


def _apply(operator: str, a: int, b: int) -> int:
    return a + b if operator == "+" else a - b if operator == "-" else a * b
