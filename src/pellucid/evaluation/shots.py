"""Samples: each a query after examples that are drawn for it, as many as fit. No torch here.

The paper draws the K examples of each query at random from the training set (section 2.4). Here the draw is an order of all
examples, a function of (seed, query, order number), of which a prompt takes the first K: so the prompt with 1 example is the
beginning of that with 8, and the difference between them is that of the examples alone. A query with examples of its own takes
the first K of these. Examples that do not fit into the
context are left out whole, the last first, and counted; the description never is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from pellucid.errors import PellucidError
from pellucid.evaluation.task import Query, Task
from pellucid.generation.mixin import GenerationMixin
from pellucid.generation.prompt import Prompt
from pellucid.hashing import mix, permuted


BEYOND_LONGEST = 4  # tokens that a written answer may have more than the task's longest right one: a choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One prompt of an evaluation.

    Attributes:
        number: of the query, from 0. shots: examples asked for. order: which order of examples, from 0.
        prompt: as it fits; its `dropped` are the examples that did not.
        max_tokens: of the answer.
    """

    task: Task = field(repr=False)
    number: int
    shots: int
    order: int
    prompt: Prompt
    max_tokens: int

    @property
    def query(self) -> Query:
        """The query itself."""
        return self.task.queries[self.number]

    @property
    def key(self) -> tuple[str, int, int, int]:
        """What names the sample in a log: task, shots, order, query."""
        return self.task.name, self.shots, self.order, self.number


def samples_of(task: Task, model: GenerationMixin, *, shots: int, orders: int, queries: int | None, seed: int) -> list[Sample]:
    """The samples of a task with one number of examples, order by order; without drawn examples there is one order.

    Args:
        model: whose tokenizer counts and whose context it is.
        queries: the first so many of the task's; None: all.

    Raises:
        PellucidError: not as many examples as shots, a query that does not fit even without examples, or examples of which
            none fits beside any query.
    """
    room = max_tokens(task, model, queries)
    made = list[Sample]()
    for order in range(orders if shots and not task.has_own_examples else 1):
        for number, query in enumerate(task.queries[:queries]):
            prompt = task.prompt(draw_examples(task, number, shots, order, seed), query)
            try:
                fitted = prompt.fitted(model, max_tokens=room)
            except PellucidError as error:
                raise PellucidError(f"{task.name}, query {number + 1}: {error}") from None
            made.append(Sample(task=task, number=number, shots=shots, order=order, prompt=fitted, max_tokens=room))
    if shots and not any(sample.prompt.examples for sample in made):
        raise PellucidError(
            f"{task.name}: no example fits beside any query in a context of {model.config.n_ctx:,} tokens: "
            "ask for 0 shots, or take a model with a longer context"
        )
    return made


def draw_examples(task: Task, number: int, count: int, order: int, seed: int) -> list[Query]:
    """The first `count` examples of an order for query `number`; of drawn ones never the query itself, nor the same prompt.

    Raises:
        PellucidError: there are fewer.
    """
    query = task.queries[number]
    if task.has_own_examples:
        if len(query.examples) < count:
            raise PellucidError(
                f"{task.name}: {count} shots need as many examples, and query {number + 1} brings {len(query.examples)}: "
                "ask for fewer shots"
            )
        return [Query(prompt=given, answers=(output,)) for given, output in query.examples[:count]]
    found = list[Query]()
    for example in _in_order(task, number, order, seed):
        if len(found) == count:
            break
        if example.prompt != query.prompt:
            found.append(example)
    if len(found) < count:
        raise PellucidError(
            f"{task.name}: {count} shots need as many examples beside query {number + 1}, and there are {len(found)}: "
            "add some, or ask for fewer shots"
        )
    return found


def _in_order(task: Task, number: int, order: int, seed: int) -> Iterator[Query]:
    pool = task.examples or task.queries
    key = mix(seed, number, order)
    return (pool[permuted(place, len(pool), key=key)] for place in range(len(pool)))


def max_tokens(task: Task, model: GenerationMixin, queries: int | None) -> int:
    """Tokens that an answer may have: a choice as many as the longest has, a written one some more.

    Raises:
        PellucidError: an answer that the model has no tokens for.
    """
    if task.max_tokens is not None and not task.is_choice:
        return task.max_tokens
    tokenizer, longest = model.require_tokenizer(), 0
    for number, query in enumerate(task.queries[:queries], start=1):
        for text in query.choices or query.answers:
            try:
                longest = max(longest, len(tokenizer.encode(f" {text}", continued=True)))
            except PellucidError as error:
                raise PellucidError(f"{task.name}, query {number}: {error}") from None
    return longest + (1 if task.is_choice else BEYOND_LONGEST)  # 1: a token may reach across the border to the prompt
