"""Groups: k examples of one family and a query with its answer, as text in one of `pellucid`'s prompt formats."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pellucid.generation.prompt import Prompt
from recipes.default_model.draws import Draws
from recipes.default_model.families import draw_family
from recipes.default_model.family import Family
from recipes.default_model.lexicon import Lexicon
from recipes.default_model.markup import DIALECTS, code, describe, draw_allowed


MAX_EXAMPLES = 8
DESCRIBED = 0.35  # the share of the groups with a description, of those whose rule can be described
AS_QUESTION = 0.6  # the share of the groups with a question, of those in the format "qa" whose task has one
MARKUP = "markup"  # the name of the family of descriptions with code
_TRIES = 20  # to draw an example that is not among those before


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
    """`count` examples, with different inputs unless `repeats` or there are too few."""
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
        family: None: one of the trained families is drawn.
        examples: None: 0 to 8 are drawn.
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
        examples: None: 0 to 8 are drawn.
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
