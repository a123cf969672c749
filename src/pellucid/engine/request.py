"""`Request`: one prompt with its options, for the engine; `SequenceGroup`: all completions of a request. No torch here."""

import operator
from collections import abc
from dataclasses import dataclass, replace

from pellucid.arguments import as_integer, flag, instance, shown
from pellucid.engine.completion import Completion, Score
from pellucid.engine.options import SamplingOptions, option_named
from pellucid.engine.sequence import Sequence, check_fits, check_not_empty
from pellucid.errors import PellucidError
from pellucid.gpt.ablation import Ablation
from pellucid.gpt.config import GPTConfig
from pellucid.text.tokenizer import Tokenizer


_PROMPT_LOGPROBS = replace(option_named("logprobs"), name="prompt_logprobs")  # the same range


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One prompt and what is wanted of it.

    Attributes:
        prompt: token ids, one at least; held as a list of ints.
        options: how tokens are drawn. With max_tokens 0 nothing is: the request only scores its prompt.
        n: completions. Completion i is the same whatever n is, without best_of.
        best_of: generate so many, n at least, and return the n with the highest log-probability per token, the best first (of
            equals the first generated); None: n.
        echo: `Completion.text` begins with the prompt's text; where `options.logprobs` is set, the prompt's log-probabilities
            are reported, too, with as many of the likeliest tokens at each position.
        prompt_logprobs: report the log-probability of each prompt token, and this many of the likeliest tokens at each
            position; None: neither, unless `echo` asks for them.
        ablation: parts of the model that are replaced while it reads this prompt and what follows; None: none. Such a request
            shares no keys and values with another.

    Raises:
        PellucidError: a value out of range or of another type, or an empty prompt.
    """

    prompt: abc.Sequence[int]
    options: SamplingOptions
    n: int = 1
    best_of: int | None = None
    echo: bool = False
    prompt_logprobs: int | None = None
    ablation: Ablation | None = None

    def __post_init__(self) -> None:
        try:  # what is no token id would make the runner raise, which ends every sequence of that step
            if any(isinstance(token, bool) for token in self.prompt):
                raise TypeError
            object.__setattr__(self, "prompt", [int(operator.index(token)) for token in self.prompt])
        except TypeError:
            raise PellucidError(f"the prompt of a request is a list of token ids, not {shown(self.prompt)}") from None
        check_not_empty(self.prompt)
        instance("options", self.options, SamplingOptions, "SamplingOptions")
        flag("echo", self.echo)
        object.__setattr__(self, "n", option_named("n").check(self.n))
        if self.best_of is not None and ((best := as_integer(self.best_of)) is None or best < self.n):
            raise PellucidError(f"best_of must be a whole number, n ({self.n}) or more, not {shown(self.best_of)}")
        object.__setattr__(self, "best_of", option_named("best_of").check(self.best_of))
        object.__setattr__(self, "prompt_logprobs", _PROMPT_LOGPROBS.check(self.prompt_logprobs))
        if self.ablation is not None:
            instance("ablation", self.ablation, Ablation, "an Ablation (gpt.ablation)")
            if self.options.slide and self.ablation.by == "mean":
                raise PellucidError("means are the prompt's, which a sliding window leaves: ablate by zero, or leave out slide")

    @property
    def samples(self) -> int:
        """How many completions are generated."""
        return self.n if self.best_of is None else self.best_of

    @property
    def wanted_prompt_logprobs(self) -> int | None:
        """How many likeliest tokens are wanted at each position of the prompt; None: no log-probabilities of it at all."""
        asked = [k for k in (self.prompt_logprobs, self.options.logprobs if self.echo else None) if k is not None]
        return max(asked, default=None)


def check_request(request: object) -> None:
    """Refuses what is no request. Raises PellucidError."""
    instance("request", request, Request, "a Request (model.new_request(prompt, ...) makes one)")


class SequenceGroup:
    """All completions of one request, while they are generated and after.

    Args:
        request: what is asked.
        config: of the model that is asked.
        tokenizer: None leaves texts empty. end_of_text: as `Sequence` takes it.

    Attributes:
        sequences: one for each completion that is generated.

    Raises:
        PellucidError: no request, or what the model cannot read or write (`sequence.check_fits`).
    """

    def __init__(
        self, request: Request, config: GPTConfig, tokenizer: Tokenizer | None, end_of_text: int | abc.Collection[int]
    ) -> None:
        check_request(request)
        wanted = request.wanted_prompt_logprobs
        check_fits(request.prompt, request.options, config, wanted)
        if request.ablation is not None:
            request.ablation.check(config)
        self.request = request
        self.sequences = [
            # The prompt is the same for all, so its log-probabilities are computed for the first alone.
            Sequence(
                list(request.prompt), sample, request.options, tokenizer, end_of_text,
                prompt_logprobs=wanted if sample == 0 else None, ablation=request.ablation,
            )
            for sample in range(request.samples)
        ]  # fmt: skip

    @property
    def finished(self) -> bool:
        """Whether all completions have ended."""
        return all(sequence.finish_reason is not None for sequence in self.sequences)

    @property
    def error(self) -> Exception | None:
        """The first error that ended one of them."""
        return next((sequence.error for sequence in self.sequences if sequence.error is not None), None)

    def completions(self) -> list[Completion]:
        """The n completions that are asked for; the best ones, the best first, with `best_of`.

        Raises:
            PellucidError: they are not finished. Exception: the error that ended one of them.
        """
        completions = [sequence.completion() for sequence in self.sequences]
        if self.request.best_of is not None:
            completions = sorted(completions, key=lambda completion: -completion.mean_logprob)[: self.request.n]
        if self.request.echo:
            tokenizer = self.sequences[0].tokenizer
            text = tokenizer.decode(list(self.request.prompt)) if tokenizer else ""
            completions = [replace(completion, text=text + completion.text) for completion in completions]
        computed = self.sequences[0].prompt_logprobs
        if computed is not None:
            completions = [
                replace(
                    completion, prompt_logprobs=list(computed.logprobs), prompt_top_logprobs=list(computed.top_logprobs)
                )
                for completion in completions
            ]
        return completions

    def score(self) -> Score:
        """The log-probabilities of the prompt, where the request asked for them.

        Raises:
            PellucidError: they are not computed. Exception: the error that ended the request.
        """
        first = self.sequences[0]
        first.completion()
        if first.prompt_logprobs is None or first.lacks_prompt_logprobs:
            raise PellucidError("the request did not ask for the prompt's log-probabilities, or was cancelled before they came")
        return Score(list(first.prompt), list(first.prompt_logprobs.logprobs), list(first.prompt_logprobs.top_logprobs))
