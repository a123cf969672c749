"""`Task`: queries with right answers, the examples for their prompts, and how a prompt is written. No torch here."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.evaluation.html_tree import parse
from pellucid.generation.prompt import FORMATS, Prompt


Compare = Literal["text", "html"]
ANSWER_CONTEXT = "Answer:"  # the paper's "Answer: " (section 2.4); the space is part of the answer's first token


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One question of a task.

    Attributes:
        prompt: the input, as `Prompt` takes it.
        answers: all right answers; the first is the output where the query serves as an example.
        choices: of a multiple choice; empty where the model writes its answer itself.
        examples: (input, output) pairs of this query's own, in order, used instead of drawn ones: for tasks whose rule differs
            from query to query, such as a table that only the examples show. An input may be that of the query.
        description, format: of this query's own; None: the task's.
    """

    prompt: str
    answers: tuple[str, ...]
    choices: tuple[str, ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    description: str | None = None
    format: str | None = None

    @property
    def pair(self) -> tuple[str, str]:
        """(input, output), as an example of a prompt."""
        return self.prompt, self.answers[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Queries of one kind.

    Attributes:
        name: unique among the tasks of an evaluation.
        queries: all multiple choice, or none.
        examples: what the examples of a prompt are drawn from; empty: the other queries.
        description: the task in words, at the start of each prompt; "" for none.
        format: a name in `FORMATS`.
        answer_context: the context whose P(choice | context) normalises that of a choice (`accuracy_context`).
        max_tokens: of an answer that the model writes; None: those of the longest right answer, and 4 more.
        compare: how a written answer is compared: "text", or "html" for HTML or React elements, as trees.

    Raises:
        PellucidError: no queries, some but not all with choices or with examples of their own, or what `check_query` refuses.
    """

    name: str
    queries: Sequence[Query]
    examples: Sequence[Query] = ()
    description: str = ""
    format: str = "arrow"
    answer_context: str = ANSWER_CONTEXT
    max_tokens: int | None = None
    compare: Compare = "text"
    _has_lines: bool = field(init=False, repr=False, compare=False, default=False)

    def __post_init__(self) -> None:
        if not self.queries:
            raise PellucidError(f"the task {self.name} has no queries: give at least one")
        if self.format not in FORMATS:
            raise PellucidError(f"{self.name}: unknown prompt format {shown(self.format)}: use one of {', '.join(FORMATS)}")
        if self.compare not in get_args(Compare):
            ways = " or ".join(get_args(Compare))
            raise PellucidError(f"{self.name}: answers are compared as {ways}, not {shown(self.compare)}")
        for number, query in enumerate((*self.queries, *self.examples), start=1):
            check_query(query, self.format, f"{self.name}, query {number}")
        if len({bool(query.choices) for query in (*self.queries, *self.examples)}) > 1:
            raise PellucidError(f"{self.name}: some queries have choices and others none: make two tasks of them")
        if self.compare == "html" and not self.is_choice:
            for number, query in enumerate(self.queries, start=1):
                if wrong := [answer for answer in query.answers if parse(answer) is None]:
                    where = f"{self.name}, query {number}"
                    raise PellucidError(f"{where}: the answer {shown(wrong[0])} is not HTML with closed tags")
        if len({bool(query.examples) for query in self.queries}) > 1:
            raise PellucidError(f"{self.name}: some queries have examples of their own and others none: make two tasks of them")
        has_lines = any("\n" in answer for query in (*self.queries, *self.examples) for answer in query.answers)
        object.__setattr__(self, "_has_lines", has_lines)  # asked for each sample: thousands of times

    @property
    def is_choice(self) -> bool:
        """Whether the queries are multiple choice."""
        return bool(self.queries[0].choices)

    @property
    def has_own_examples(self) -> bool:
        """Whether each query has examples of its own, so that none are drawn."""
        return bool(self.queries[0].examples)

    def stops(self, query: Query) -> tuple[str, ...]:
        """The strings that end a written answer: the format's separator, and "\\n" where every right answer has one line."""
        separator = FORMATS[query.format or self.format].separator
        return (separator,) if self._has_lines or separator == "\n" else (separator, "\n")

    def prompt(self, examples: Sequence[Query], query: Query) -> Prompt:
        """The prompt of a query after examples."""
        description = self.description if query.description is None else query.description
        return Prompt(description, [example.pair for example in examples], query.prompt, query.format or self.format)


def check_query(query: Query, format: str, where: str) -> None:
    """Raises PellucidError, beginning with `where`, for a query without an answer, or that this format cannot write."""
    format = query.format or format
    if format not in FORMATS:
        raise PellucidError(f"{where}: unknown prompt format {shown(format)}: use one of {', '.join(FORMATS)}")
    separator = FORMATS[format].separator
    for answer in (*query.answers, *query.choices):
        if not answer.strip() or answer != answer.strip():
            raise PellucidError(f"{where}: an answer must be text without white space around it, not {shown(answer)}")
    if not query.prompt.strip() or any(separator in text for text in (query.prompt, *query.answers, *query.choices)):
        try:  # `Prompt` says what is wrong. It is made only then: for thousands of right queries it would take seconds
            Prompt("", [(query.prompt, answer) for answer in (*query.answers, *query.choices)], query.prompt, format)
        except PellucidError as error:
            raise PellucidError(f"{where}: {error}") from None
    if not query.answers:
        raise PellucidError(f"{where}: there is no right answer")
    if query.examples or query.description is not None:
        try:
            Prompt(query.description or "", query.examples, query.prompt, format)
        except PellucidError as error:
            raise PellucidError(f"{where}: {error}") from None
    if not query.choices:
        return
    if len(query.choices) < 2:
        raise PellucidError(f"{where}: there is only one choice: give at least two")
    choice, times = Counter(query.choices).most_common(1)[0]
    if times > 1:
        raise PellucidError(f"{where}: the choice {shown(choice)} is there twice")
    if wrong := [answer for answer in query.answers if answer not in query.choices]:
        raise PellucidError(f"{where}: the right answer {shown(wrong[0])} is not one of {shown(list(query.choices))}")
