"""Measures samples: log-probabilities of choices and right answers, and the answers that the model writes. No torch here.

Multiple choice: the log-probability of each choice after the prompt, and after the task's answer context ("Answer:"). Free
form: the best completion of a beam search of width 4 with length penalty 0.6 (section 2.4 of the paper), and the
log-probability of the right answer, which rises long before there are exact matches.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pellucid.evaluation.shots import Sample
from pellucid.generation.beam import BEAM_WIDTH, LENGTH_PENALTY
from pellucid.generation.mixin import GenerationMixin
from pellucid.generation.prompt import encode_answered, encode_continued


BATCH = 16  # samples that are scored together


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleResult:
    """What was measured of one sample.

    Attributes:
        logprobs: natural logarithm of the probability of each choice; in free form of the first right answer alone.
        tokens: how many tokens each of these has.
        context_logprobs: of each choice after the answer context; () in free form.
        output: what the model wrote; None in multiple choice.
    """

    logprobs: tuple[float, ...]
    tokens: tuple[int, ...]
    context_logprobs: tuple[float, ...] = ()
    output: str | None = None


@dataclass(frozen=True, slots=True)
class Examiner:
    """Measures samples with one model, and keeps the log-probabilities of choices after the answer context.

    Args:
        model: with a tokenizer.
    """

    model: GenerationMixin
    _contexts: dict[tuple[str, str], float] = field(default_factory=dict)

    def measure(self, samples: Sequence[Sample]) -> list[SampleResult]:
        """The results of some samples, whose log-probabilities are computed in one call.

        Raises:
            PellucidError: logits that are not finite.
        """
        tokenizer = self.model.require_tokenizer()
        texts = [sample.query.choices or sample.query.answers[:1] for sample in samples]
        encoded = [
            encode_answered(sample.prompt, text, tokenizer)
            for sample, some in zip(samples, texts, strict=True)
            for text in some
        ]
        scores = iter(self._score(encoded))
        found = list[SampleResult]()
        for sample, some in zip(samples, texts, strict=True):
            pairs = [next(scores) for _ in some]
            found.append(SampleResult(
                logprobs=tuple(total for total, _ in pairs), tokens=tuple(count for _, count in pairs),
                context_logprobs=self._after_context(sample), output=self._written(sample),
            ))  # fmt: skip
        return found

    def _after_context(self, sample: Sample) -> tuple[float, ...]:
        context, choices = sample.task.answer_context, sample.query.choices
        new = [choice for choice in choices if (context, choice) not in self._contexts]
        encoded = [encode_continued(context, choice, self.model.require_tokenizer()) for choice in new]
        for choice, (total, _) in zip(new, self._score(encoded), strict=True):
            self._contexts[context, choice] = total
        return tuple(self._contexts[context, choice] for choice in choices)

    def _written(self, sample: Sample) -> str | None:
        if sample.query.choices:
            return None
        return self.model.beam(
            sample.prompt.text, width=BEAM_WIDTH, length_penalty=LENGTH_PENALTY, max_tokens=sample.max_tokens,
            stop=sample.task.stops(sample.query),
        ).text  # fmt: skip

    def _score(self, encoded: Sequence[tuple[list[int], int]]) -> list[tuple[float, int]]:
        """(log-probability, number of tokens) of what follows the given place in each text."""
        if not encoded:
            return []
        scores = self.model.score([ids[:start] for ids, start in encoded], completion=[ids[start:] for ids, start in encoded])
        return [(score.total, len(score.ids)) for score in scores]
