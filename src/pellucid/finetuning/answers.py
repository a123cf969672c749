"""Greedy answers to examples: of one model, of two models, and of the two models of a fine-tuning run."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pellucid.finetuning.example_files import read_examples
from pellucid.finetuning.examples import Example
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.runs.files import BASE, HELD_OUT_EXAMPLES, MODEL


EXTRA_TOKENS = 3  # an answer may have so many more tokens than the expected one


@dataclass(frozen=True, kw_only=True, slots=True)
class AnsweredExample:
    """An example with the answers of a model before and after fine-tuning."""

    prompt: str
    expected: str
    before: str
    after: str

    @property
    def is_right(self) -> bool:
        """Whether the answer after fine-tuning is exactly the expected one."""
        return self.after == self.expected

    def to_dict(self) -> dict[str, str]:
        """Plain values for JSON."""
        return asdict(self)


def greedy_answers(model: GPT, examples: Sequence[Example]) -> list[str]:
    """What the model writes after each prompt at temperature 0.

    An answer ends at end-of-text or, where the completion has one line, at the end of the line, and has at most `EXTRA_TOKENS`
    tokens more than the completion. Examples whose completions have the same number of tokens are answered in one batch.
    """
    tokenizer, found = model.require_tokenizer(), [""] * len(examples)
    alike: dict[tuple[int, tuple[str, ...]], list[tuple[int, list[int]]]] = defaultdict(list)
    for place, example in enumerate(examples):
        prompt = tokenizer.encode_prompt(example.prompt)
        longest = len(tokenizer.encode(example.completion, continued=True)) + EXTRA_TOKENS
        room = min(longest, model.config.n_ctx + 1 - max(1, len(prompt)))
        alike[room, () if "\n" in example.completion else ("\n",)].append((place, prompt))
    for (room, stop), asked in alike.items():
        prompts = [prompt for _, prompt in asked]
        completions = model.generate(prompts, max_tokens=room, temperature=0, stop=stop, seed=0)
        for (place, _), completion in zip(asked, completions, strict=True):
            found[place] = completion.text
    return found


def answered(base: GPT, tuned: GPT, examples: Sequence[Example]) -> list[AnsweredExample]:
    """The examples with the answers of both models."""
    both = zip(examples, greedy_answers(base, examples), greedy_answers(tuned, examples), strict=True)
    return [
        AnsweredExample(prompt=example.prompt, expected=example.completion, before=before, after=after)
        for example, before, after in both
    ]


def held_out_answers(run: Path, *, most: int | None = None) -> list[AnsweredExample]:
    """The held-out examples of a fine-tuning run with the answers of `RUN/base` and of `RUN/model`.

    Args:
        most: how many at most, the first ones; None: all.

    Returns:
        An empty list for a run on plain text, which has no examples.

    Raises:
        PellucidError: a file of the run is missing or damaged.
    """
    path = run / HELD_OUT_EXAMPLES
    if not path.is_file():
        return []
    return answered(load(run / BASE), load(run / MODEL), read_examples(path, of_a_run=True)[:most])
