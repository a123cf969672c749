"""What a family of tasks is: a rule that is drawn anew each time, and examples of it."""

from collections.abc import Callable
from dataclasses import dataclass

from recipes.default_model.draws import Draws
from recipes.default_model.lexicon import Lexicon


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A family with its rule drawn: what the examples of one group have in common.

    Attributes:
        example: draws an (input, output) pair.
        descriptions: ways to say in words what is to be done; none where the rule has no words.
        question: the input as a question, for the format "qa", with {} for the input; "" leaves the input as it is.
    """

    example: Callable[[Draws], tuple[str, str]]
    descriptions: tuple[str, ...] = ()
    question: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """A kind of task.

    Attributes:
        draw: draws the rule.
        formats: names in `pellucid.generation.prompt.FORMATS`.
        repeats: whether the query may be one of the examples, because the rule is a table that only the examples show.
    """

    name: str
    draw: Callable[[Draws, Lexicon], Task]
    formats: tuple[str, ...] = ("arrow", "equals", "qa")
    repeats: bool = False
