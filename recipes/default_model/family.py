"""`Family`, a kind of task whose rule is drawn anew for each group of examples, and `Task`, a family with its rule drawn."""

from collections.abc import Callable
from dataclasses import dataclass

from recipes.default_model.draws import Draws
from recipes.default_model.lexicon import Lexicon


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A family with its rule drawn: all examples of a group follow this rule.

    Attributes:
        example: draws an (input, output) pair.
        descriptions: descriptions of the task, one of which may be drawn; () if the rule cannot be said in words.
        question: a template of a question for the format "qa", with {} for the input; "": the input is used as it is.
    """

    example: Callable[[Draws], tuple[str, str]]
    descriptions: tuple[str, ...] = ()
    question: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """A kind of task.

    Attributes:
        draw: draws the rule.
        formats: names in `pellucid.generation.prompt.FORMATS`, one of which is drawn.
        repeats: whether the query may be one of the examples, as where the rule is a table that only the examples show.
    """

    name: str
    draw: Callable[[Draws, Lexicon], Task]
    formats: tuple[str, ...] = ("arrow", "equals", "qa")
    repeats: bool = False
