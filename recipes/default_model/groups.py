"""Groups of examples as text: k examples of one family and a query with its answer, in one of `pellucid`'s prompt formats."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pellucid.generation.prompt import Prompt
from recipes.default_model.draws import Draws
from recipes.default_model.families import draw_family
from recipes.default_model.family import Family
from recipes.default_model.lexicon import Lexicon
from recipes.default_model.markup import DIALECTS, code, describe, draw_allowed


MAX_EXAMPLES = 8
DESCRIBED = 0.35  # of the groups whose rule can be said in words, this share says it
AS_QUESTION = 0.6  # of the groups in the format "qa" whose family has a question, this share asks it
MARKUP = "markup"  # what the descriptions with code go by where families are named
_TRIES = 20  # for another example than those before


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Examples of one rule.

    Attributes:
        family: its name.
        prompt: task, examples and query.
        answer: to the query.
    """

    family: str
    prompt: Prompt
    answer: str

    @property
    def text(self) -> str:
        """Prompt and answer."""
        return f"{self.prompt.text} {self.answer}"

    def shots(self, count: int) -> Prompt:
        """The prompt with its first `count` examples only."""
        return Prompt(self.prompt.task, self.prompt.examples[:count], self.prompt.query, self.prompt.format)


def _distinct(draws: Draws, count: int, example: Callable[[Draws], tuple[str, str]], *, repeats: bool) -> list[tuple[str, str]]:
    """`count` examples, of different inputs where there are as many."""
    chosen: list[tuple[str, str]] = []
    seen: set[str] = set()
    for _ in range(count):
        pair = example(draws)
        for _ in range(0 if repeats else _TRIES):
            if pair[0] not in seen:
                break
            pair = example(draws)
        chosen.append(pair)
        seen.add(pair[0])
    return chosen


def task_group(draws: Draws, lexicon: Lexicon, family: Family | None = None, *, examples: int | None = None) -> Group:
    """A group of a family.

    Args:
        family: None draws one of those that are trained on.
        examples: None draws 0 to 8.
    """
    family = draw_family(draws) if family is None else family
    task = family.draw(draws, lexicon)
    count = draws.between(0, MAX_EXAMPLES) if examples is None else examples
    form = draws.choice(family.formats)
    described = bool(task.descriptions) and draws.chance(DESCRIBED)
    description = draws.choice(task.descriptions) if described else ""
    asks = form == "qa" and bool(task.question) and draws.chance(AS_QUESTION)
    pairs = _distinct(draws, count + 1, task.example, repeats=family.repeats)
    if asks:
        pairs = [(task.question.format(given), answer) for given, answer in pairs]
    return _group(family.name, description, pairs, form)


def markup_group(draws: Draws, lexicon: Lexicon, *, held_out: bool = False, examples: int | None = None) -> Group:
    """A group of descriptions and code.

    Args:
        held_out: whether the query is of the held-out part of the grammar; the examples never are.
        examples: None draws 0 to 8.
    """
    count = draws.between(0, MAX_EXAMPLES) if examples is None else examples
    dialect = draws.choice(("react", "react", "react", "css", "classes"))
    capital = draws.chance(0.5)
    pairs: list[tuple[str, str]] = []
    while len(pairs) <= count:
        element = draw_allowed(draws, lexicon, held_out=held_out and len(pairs) == count)
        pair = describe(element, draws), code(element, DIALECTS[dialect], capital=capital)
        if pair[0] not in [given for given, _ in pairs]:
            pairs.append(pair)
    return _group(MARKUP, "", pairs, "code")


def _group(family: str, description: str, pairs: Sequence[tuple[str, str]], form: str) -> Group:
    (query, answer) = pairs[-1]
    return Group(family=family, prompt=Prompt(description, pairs[:-1], query, form), answer=answer)
