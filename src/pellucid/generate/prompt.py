"""Priming: a task, some worked examples and a question in one text, so that the likeliest continuation is the answer.

"Few-shot" in the GPT-3 paper (section 2 and figure 2.1): no weight changes; the examples are only read. No torch here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.errors import PellucidError


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
}


@dataclass(frozen=True)
class Prompt:
    """A primed prompt: `model.generate(prompt.text, stop=prompt.stop)`.

    Args:
        task: what is to be done, in words; "" leaves it out.
        examples: (input, output) pairs; none is zero-shot.
        query: the input to be answered.
        format: a name in `FORMATS`.

    Raises:
        PellucidError: an unknown format, an empty or malformed example or query, or one that holds the format's separator.
    """

    task: str
    examples: Sequence[tuple[str, str]]
    query: str
    format: str = "arrow"

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise PellucidError(f"unknown prompt format {self.format!r}: use one of {', '.join(FORMATS)}")
        pairs = [tuple(example) for example in self.examples]
        if any(len(pair) != 2 for pair in pairs):
            raise PellucidError("an example is a pair: (input, output)")
        object.__setattr__(self, "examples", tuple(pairs))
        for part in [text for pair in pairs for text in pair] + [self.query]:
            if not isinstance(part, str) or not part.strip():
                raise PellucidError(f"examples and query must be text, and not empty; got {part!r}")
            if self.stop in part:
                raise PellucidError(
                    f"{part!r} holds {self.stop!r}, which ends an answer in the format {self.format!r}: "
                    "take it out or choose another format"
                )

    @property
    def stop(self) -> str:
        """What ends the answer: the separator, after which the model would make up a next example."""
        return FORMATS[self.format].separator

    @property
    def text(self) -> str:
        """The whole prompt."""
        shape = FORMATS[self.format]
        parts = [self.task] if self.task else []
        parts += [f"{shape.before}{given}{shape.between} {answer}" for given, answer in self.examples]
        parts.append(f"{shape.before}{self.query}{shape.between}")
        return shape.separator.join(parts)
