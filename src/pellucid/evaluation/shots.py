"""Samples: each is a query with the examples drawn for it, as many as fit into the context. No torch here.

The paper draws the K examples of each query at random from the training set (section 2.4). Here an order of all examples is
drawn, as a function of (seed, query, order number), and a prompt takes the first K of it: so the prompt with 1 example is a
prefix of that with 8, and they differ by the added examples alone. A query with examples of its own takes the first K of these.
Examples that do not fit into the context are left out whole, the last first, and counted; the description never is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from pellucid.errors import PellucidError
from pellucid.evaluation.task import Query, Task
from pellucid.generation.mixin import GenerationMixin
from pellucid.generation.prompt import Prompt
from pellucid.hashing import mix, permuted


BEYOND_LONGEST = 4  # a choice: a written answer may have so many tokens more than the task's longest right one


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One prompt of an evaluation.

    Attributes:
        number: of the query, from 0. shots: examples asked for. order: the number of the order of examples, from 0.
        prompt: with the examples that fit; its `dropped` are the others.
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
        """(task, shots, order, query), which identifies the sample in a log."""
        return self.task.name, self.shots, self.order, self.number


def samples_of(task: Task, model: GenerationMixin, *, shots: int, orders: int, queries: int | None, seed: int) -> list[Sample]:
    """The samples of a task with one number of examples, order by order; without drawn examples there is one order.

    Args:
        model: its tokenizer counts the tokens, its context limits them.
        queries: how many of the task's, the first ones; None: all.

    Raises:
        PellucidError: fewer examples than shots, a query that does not fit even without examples, or no example that fits
            beside any query.
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
    """The first `count` examples of an order for query `number`; drawn ones never have the prompt of the query.

    Raises:
        PellucidError: there are fewer.
    """
    query = task.queries[number]
    if task.has_own_examples:
        if len(query.examples) < count:
            raise PellucidError(
                f"{task.name}: {count} shots need as many examples, and query {number + 1} has {len(query.examples)} of its "
                "own: ask for fewer shots"
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
    """The most tokens that an answer may have: those of the longest choice, or `BEYOND_LONGEST` more than the longest answer.

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
    return longest + (1 if task.is_choice else BEYOND_LONGEST)  # 1: a token may span the end of the prompt and the choice
