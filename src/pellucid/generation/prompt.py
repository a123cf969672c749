"""Few-shot prompts (priming): a task, worked examples and a query in one text, whose continuation is the answer.

"Few-shot" in the GPT-3 paper (section 2 and figure 2.1): no weight changes; the examples are only read. No torch here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Literal, get_args

from pellucid.arguments import instance, shown, text_of, whole_number
from pellucid.engine.options import option_named
from pellucid.errors import PellucidError
from pellucid.generation.mixin import GenerationMixin
from pellucid.text.tokenizer import Tokenizer


Role = Literal["task", "input", "output", "format"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Format:
    """How an example is written: before + input + between + " " + output, and what separates one from the next.

    The text ends right after `between`, without a space: byte-pair tokens carry the space before a word, so the answer
    brings its own. The separator is also where the answer ends.
    """

    before: str
    between: str
    separator: str


FORMATS: dict[str, Format] = {
    "arrow": Format("", " =>", "\n"),  # paper, figure 2.1: sea otter => loutre de mer
    "equals": Format("", " =", "\n"),  # paper, appendix G (translation): X = Y
    "qa": Format("Q: ", "\nA:", "\n\n"),  # paper, arithmetic (table 3.9): Q: ... / A: ...
    "code": Format("description: ", "\ncode:", "\n\n"),  # the article's React example
    "plain": Format("", "", "\n"),  # inputs that bring their own separator, as those of fine-tuning files do
}


@dataclass(frozen=True, slots=True)
class PromptSegment:
    """A part of a prompt's text.

    Attributes:
        part: 0 is the task, 1 to k are the examples, k + 1 is the query.
        role: "task"; "input" or "output" of an example, the query's input; "format": what the format puts around them.
        text: never empty.
    """

    part: int
    role: Role
    text: str


@dataclass(frozen=True)
class Prompt:
    """A primed prompt: `model.generate(prompt.text, stop=prompt.stop)`.

    Args:
        task: what is to be done, in words; "" leaves it out.
        examples: (input, output) pairs; none is zero-shot.
        query: the input to be answered.
        format: a name in `FORMATS`.

    Attributes:
        dropped: the examples that `fitted` left out.

    Raises:
        PellucidError: an unknown format, an empty or malformed example or query, or one that holds the format's separator.
    """

    task: str
    examples: Sequence[tuple[str, str]]
    query: str
    format: str = "arrow"
    dropped: Sequence[tuple[str, str]] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.format, str) or self.format not in FORMATS:
            raise PellucidError(f"unknown prompt format {shown(self.format)}: use one of {', '.join(FORMATS)}")
        text_of("task", self.task)
        object.__setattr__(self, "examples", pairs := _pairs("examples", self.examples))
        object.__setattr__(self, "dropped", _pairs("dropped", self.dropped))
        for part in [text for pair in pairs for text in pair] + [self.query]:
            if not isinstance(part, str) or not part.strip():
                raise PellucidError(f"examples and query must be text, and not empty; got {shown(part)}")
            if self.stop in part:
                raise PellucidError(
                    f"{part!r} holds {self.stop!r}, which ends an answer in the format {self.format!r}: "
                    "take it out or choose another format"
                )

    @property
    def stop(self) -> str:
        """The stop string of the answer: the separator, after which the model would generate another example."""
        return FORMATS[self.format].separator

    @property
    def text(self) -> str:
        """The whole prompt."""
        return "".join(segment.text for segment in self.segments())

    def segments(self) -> list[PromptSegment]:
        """The prompt's text in parts, each with what it is; joined they are `text`."""
        shape = FORMATS[self.format]
        parts: list[tuple[int, Role, str]] = []
        if self.task:
            parts += [(0, "task", self.task), (0, "format", shape.separator)]
        for number, (given, answer) in enumerate(self.examples, start=1):
            parts += [
                (number, "format", shape.before), (number, "input", given), (number, "format", f"{shape.between} "),
                (number, "output", answer), (number, "format", shape.separator),
            ]  # fmt: skip
        last = len(self.examples) + 1
        parts += [(last, "format", shape.before), (last, "input", self.query), (last, "format", shape.between)]
        return [PromptSegment(*part) for part in parts if part[2]]

    def shots(self, count: int) -> "Prompt":
        """The same prompt with its first `count` examples, 0 to all of them.

        Raises:
            PellucidError: there are fewer examples.
        """
        count = whole_number("count", count, 0)
        if count > (there := len(self.examples)):
            raise PellucidError(
                f"{shown(count)} shots need as many examples, and there are {there}: add some, or ask for fewer (a lower count)"
            )
        return replace(self, examples=self.examples[:count])

    def fitted(self, model: GenerationMixin, *, max_tokens: int = 64) -> "Prompt":
        """The same prompt with as many examples, counted from the first, as leave room for an answer.

        "As many as fit" is the paper's K, 10 to 100 in a window of 2048 (section 2). The first ones stay, so that a prompt of
        fewer examples is the beginning of one of more; the others are in `dropped`.

        Args:
            model: whose tokenizer counts and whose window it is.
            max_tokens: as `generate` will be given it.

        Raises:
            PellucidError: no room even without examples, or a model without a tokenizer.
        """
        instance("model", model, GenerationMixin, "a model (pellucid.load(...))")
        max_tokens = option_named("max_tokens").check(max_tokens)
        tokenizer, room = model.require_tokenizer(), model.config.n_ctx + 1 - max_tokens
        room = min(room, model.config.n_ctx)
        for count in range(len(self.examples), -1, -1):
            fewer = replace(self, examples=self.examples[:count], dropped=(*self.examples[count:], *self.dropped))
            needed = len(tokenizer.encode_prompt(fewer.text))
            if needed <= room:
                return fewer
        raise PellucidError(
            f"task and query alone are {needed} tokens, but beside an answer of {max_tokens} a window of {model.config.n_ctx} "
            f"has room for {max(room, 0)}: shorten them, or set max_tokens to less"
        )

    def answered(self, model: GenerationMixin, answer: str) -> tuple[list[int], int]:
        """Prompt and answer as the tokens of one text, and the place of the answer's first: what `model.score` is to be given.

        They are encoded together, since the space before an answer belongs to its first token. Where a tokenizer lets a token
        reach across the border, that token counts as the answer's.

        Raises:
            PellucidError: an empty answer, or a model without a tokenizer.
        """
        instance("model", model, GenerationMixin, "a model (pellucid.load(...))")
        return encode_answered(self, answer, model.require_tokenizer())


def encode_answered(prompt: Prompt, answer: str, tokenizer: Tokenizer) -> tuple[list[int], int]:
    """`Prompt.answered` with a tokenizer in place of the model."""
    return encode_continued(prompt.text, answer, tokenizer)


def encode_continued(text: str, answer: str, tokenizer: Tokenizer) -> tuple[list[int], int]:
    """A text, a space and an answer as the tokens of one text, and the place of the answer's first, as `Prompt.answered`."""
    if not text_of("answer", answer).strip():
        raise PellucidError(f"an answer must be text, and not empty; got {shown(answer)}")
    alone, whole = tokenizer.encode_prompt(text), tokenizer.encode_prompt(f"{text} {answer}")
    same = next((i for i, (a, b) in enumerate(zip(alone, whole, strict=False)) if a != b), min(len(alone), len(whole)))
    return whole, same


def token_labels(prompt: Prompt, tokenizer: Tokenizer) -> list[tuple[int, Role]]:
    """The part and the role (`PromptSegment`) of each token of a prompt: those of the segment that its last byte is in.

    A token that begins every prompt of the tokenizer (and the space that one may put first) belongs to the first segment.
    """
    segments = prompt.segments()
    ends = list(accumulate(len(segment.text.encode()) for segment in segments))
    lengths = [len(tokenizer.token_bytes(token)) for token in tokenizer.encode_prompt(prompt.text)]
    extra = sum(lengths) - ends[-1]
    found, place = list[tuple[int, Role]](), 0
    for end in accumulate(lengths):
        while place < len(segments) - 1 and end - extra > ends[place]:
            place += 1
        found.append((segments[place].part, segments[place].role))
    return found


def _pairs(name: str, given: object) -> tuple[tuple[str, str], ...]:
    """(input, output) pairs, as a list, an iterator or a mapping gives them. Raises PellucidError for anything else."""
    try:
        if isinstance(given, str | bytes):
            raise TypeError
        listed = given.items() if isinstance(given, Mapping) else given
        pairs = [pair if isinstance(pair, str) else tuple(pair) for pair in listed]  # type: ignore[attr-defined]
    except TypeError:
        raise PellucidError(f"{name} must be pairs (input, output), not {shown(given)}") from None
    if any(isinstance(pair, str) or len(pair) != 2 for pair in pairs):
        raise PellucidError(f"{name}: an example is a pair: (input, output)")
    return tuple((pair[0], pair[1]) for pair in pairs)
