"""`GenerationMixin`: `generate`, `stream` and `score`, which build requests and run them on an engine. No torch here."""

from collections import abc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict, Unpack, overload

from pellucid.arguments import path_of, shown
from pellucid.engine.completion import Completion, Score, Token
from pellucid.engine.engine import run_to_completion
from pellucid.engine.options import SamplingOptions, fresh_seed, option_named
from pellucid.engine.request import Request, SequenceGroup
from pellucid.engine.sequence import Sequence, check_fits
from pellucid.engine.speculation import Drafter, DraftModel, PromptLookup
from pellucid.errors import PellucidError
from pellucid.generation.beam import BEAM_WIDTH, LENGTH_PENALTY, beam_search, check_options
from pellucid.generation.compatibility import check_draft_model
from pellucid.generation.inputs import list_of_prompts, token_ids
from pellucid.gpt.ablation import Ablation, By, Part, ablation_of
from pellucid.gpt.config import GPTConfig
from pellucid.runtime.runner import Runner
from pellucid.text.tokenizer import Tokenizer


OnePrompt = str | list[int] | None
ManyPrompts = list[str] | list[list[int]]  # at run time arrays, tensors and iterators, too: see `inputs`
Ablate: TypeAlias = abc.Iterable[Part] | Ablation | None
Draft: TypeAlias = "Literal['lookup'] | str | Path | GenerationMixin | Drafter | None"


class Options(TypedDict, total=False):
    """The sampling options of `generate`, as `engine.options.SAMPLING_OPTIONS` lists them (a test compares)."""

    max_tokens: int
    temperature: float
    top_k: int | None
    top_p: float | None
    stop: str | abc.Sequence[str]
    seed: int | None
    logprobs: int | None
    min_p: float | None
    presence_penalty: float
    frequency_penalty: float
    repetition_penalty: float
    logit_bias: Mapping[int, float] | None
    slide: bool


class GenerationMixin:
    """Generation for a model with a config and a tokenizer; a subclass makes the runner.

    Attributes:
        config: the shape.
        tokenizer: None for a model that is given token ids only.
        no_tokenizer: why, where there is none.
    """

    config: GPTConfig
    tokenizer: Tokenizer | None
    no_tokenizer: str

    def make_runner(self) -> Runner:
        """A runner with the weights as they are now."""
        raise NotImplementedError

    def run(self, sequences: abc.Sequence[Sequence], drafter: Drafter | None = None) -> Iterator[tuple[Sequence, Token]]:
        """Finishes all sequences, giving each token as soon as it is drawn.

        Raises:
            Exception: the first error that ended one of them, after all are finished.
        """
        return run_to_completion(self.make_runner(), sequences, drafter)

    def drafter(self, draft: Draft) -> Drafter | None:
        """The drafter that `generate` is given as `draft`.

        Raises:
            PellucidError: a model of another vocabulary, a directory without a model, or none of what `generate` takes.
        """
        if draft is None or isinstance(draft, Drafter):
            return draft
        if isinstance(draft, str) and draft == "lookup":
            return PromptLookup()
        if isinstance(draft, str | Path):
            from pellucid.generation.open_runner import open_runner

            opened = open_runner(path_of("draft", draft))
            check_draft_model(opened, self)
            return DraftModel(opened.runner)
        if not isinstance(draft, GenerationMixin):
            raise PellucidError(f'draft is "lookup", a model or its directory, not {shown(draft)}')
        check_draft_model(draft, self)
        return DraftModel(draft.make_runner())

    @property
    def end_of_text(self) -> int:
        """The id that ends a text (of several, the first); one outside the vocabulary, which files may name, never comes."""
        return self.config.end_id

    @property
    def end_ids(self) -> tuple[int, ...]:
        """All ids that end a text."""
        return self.config.end_ids

    def require_tokenizer(self) -> Tokenizer:
        """The tokenizer.

        Raises:
            PellucidError: there is none.
        """
        if self.tokenizer is None:
            raise PellucidError(f"{self.no_tokenizer}: give token ids, and no stop strings")
        return self.tokenizer

    @overload
    def generate(
        self, prompt: OnePrompt = None, *, n: Literal[1] = 1, best_of: int | None = None, draft: Draft = None,
        ablate: Ablate = None, ablate_with: By = "zero", **options: Unpack[Options]
    ) -> Completion: ...

    @overload
    def generate(
        self, prompt: ManyPrompts, *, n: int = 1, best_of: int | None = None, draft: Draft = None,
        ablate: Ablate = None, ablate_with: By = "zero", **options: Unpack[Options]
    ) -> list[Completion]: ...

    @overload
    def generate(
        self, prompt: OnePrompt = None, *, n: int, best_of: int | None = None, draft: Draft = None,
        ablate: Ablate = None, ablate_with: By = "zero", **options: Unpack[Options]
    ) -> Completion | list[Completion]: ...

    def generate(
        self,
        prompt: OnePrompt | ManyPrompts = None,
        *,
        max_tokens: int = 64,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        stop: str | abc.Sequence[str] = (),
        seed: int | None = None,
        logprobs: int | None = None,
        n: int = 1,
        min_p: float | None = None,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        repetition_penalty: float = 1.0,
        logit_bias: Mapping[int, float] | None = None,
        best_of: int | None = None,
        slide: bool = False,
        draft: Draft = None,
        ablate: Ablate = None,
        ablate_with: By = "zero",
    ) -> Completion | list[Completion]:
        """Completes a prompt, or several of any lengths in one batch.

        Args:
            prompt: text, token ids (a list, or a (T,) array or tensor), or several of either: a list, a (B, T) array or tensor,
                or an iterator. None, "" and a prompt without ids start from end-of-text: a new document; [] is no prompt at
                all. Ids are taken as they are; before text comes the token that begins every prompt, if the tokenizer has
                one (OPT).
            max_tokens: tokens to generate at most; prompt and completion must fit in n_ctx + 1.
            temperature: 0 takes the likeliest token each time; 1 draws from the model's own distribution.
            top_k: draw among the k likeliest tokens only.
            top_p: then among the fewest that have this much of the probability together.
            stop: text, or several, before which the completion ends. End-of-text always ends it.
            seed: the same seed gives the same completion, alone or in a batch; None draws a new one and reports it. Each
                prompt of a list is drawn for as if it were alone.
            logprobs: report this many of the likeliest tokens at each position.
            n: completions a prompt. Completion i is the same whatever n is, without best_of.
            min_p: then among those at least min_p times as likely as the likeliest. Penalties and biases come before
                temperature and cuts (`sampling` states the order); `logprobs` stay the model's own.
            presence_penalty: -2 to 2, subtracted from the logit of each token that this completion (not its prompt) has drawn.
            frequency_penalty: -2 to 2, subtracted once for each time it was drawn.
            repetition_penalty: 0.01 to 100: logits of tokens drawn already are divided by it if positive, else multiplied.
            logit_bias: what is added to the logit of a token, -100 (as good as never) to 100, by token id.
            best_of: generate so many completions a prompt, n at least, and return the n with the highest log-probability per
                token, the best first (of equals the first generated).
            slide: past the context window, drop the beginning: whenever the window is full, its last half or so is read
                again from position 0 on. `Completion.slid` is the number of tokens dropped. Without it, what does not fit is
                refused.
            draft: speculative decoding, so that a pass may give several tokens: "lookup" (drafts from the text itself), a
                smaller model of the same vocabulary, or its directory. The completion is what it is without
                (`speculation`; to the bit where the runner is exact, as the kernel is).
            ablate: parts of the model whose outputs are replaced in all that this call reads: (block, head), (block, "mlp") or
                (block, None) for a whole block, counted from 0 (`gpt.ablation`).
            ablate_with: "zero", or "mean": the part's mean output over the positions of the prompt in the whole model.

        Returns:
            One completion; a list for several prompts (all completions of the first, then of the second ...; [] for []) or
            n > 1.

        Raises:
            PellucidError: an option out of range, a prompt that does not fit, ids outside the vocabulary, text for a model
                without a tokenizer, or logits that are not finite.
        """
        prompts, many = list_of_prompts(prompt)
        requests = self._requests(
            prompts, n=n, best_of=best_of, max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, stop=stop,
            seed=seed, logprobs=logprobs, min_p=min_p, presence_penalty=presence_penalty, frequency_penalty=frequency_penalty,
            repetition_penalty=repetition_penalty, logit_bias=logit_bias, slide=slide, ablate=ablate, ablate_with=ablate_with,
        )  # fmt: skip
        drafter = self.drafter(draft)
        groups = [self.new_group(request) for request in requests]
        for _ in self.run([sequence for group in groups for sequence in group.sequences], drafter):
            pass
        completions = [completion for group in groups for completion in group.completions()]
        return completions if many or n > 1 else completions[0]

    def stream(
        self, prompt: OnePrompt = None, *, draft: Draft = None, ablate: Ablate = None, ablate_with: By = "zero",
        **options: Unpack[Options]
    ) -> Iterator[Token]:  # fmt: skip
        """The same completion as `generate`'s, each token as soon as it is drawn. Arguments and errors as there; one prompt."""
        drafter = self.drafter(draft)
        sequence = self.new_sequence(prompt, ablate=ablate, ablate_with=ablate_with, **options)  # checked here
        return (token for _, token in self.run([sequence], drafter))

    def beam(
        self, prompt: OnePrompt = None, *, width: int = BEAM_WIDTH, length_penalty: float = LENGTH_PENALTY,
        max_tokens: int = 64, stop: str | abc.Sequence[str] = (),
    ) -> Completion:  # fmt: skip
        """The completion with the highest score that a beam search finds, as for the paper's free-form tasks (section 2.4).

        The score is defined in the module `beam`.

        Args:
            prompt, max_tokens, stop: as `generate` takes them.
            width: hypotheses extended at each step. 1 takes the likeliest token each time, and may still end earlier.
            length_penalty: alpha, 0 to 10: log-probabilities are compared after division by ((5 + tokens) / 6) ** alpha.

        Raises:
            PellucidError: as `generate`; a width or length penalty out of range.
        """
        ids, options = self._ids(prompt), self._options(max_tokens=max_tokens, stop=stop, seed=0)
        check_fits(ids, options, self.config)
        check_options(width, length_penalty)
        return beam_search(self.make_runner(), ids, options, width, length_penalty, self.tokenizer, self.end_ids)

    def new_request(
        self, prompt: OnePrompt = None, *, n: int = 1, best_of: int | None = None, echo: bool = False,
        prompt_logprobs: int | None = None, ablate: Ablate = None, ablate_with: By = "zero", **options: Unpack[Options]
    ) -> Request:  # fmt: skip
        """The request of a prompt, for `Engine.submit` and `EngineDriver`: see `Request`; other arguments as `generate`."""
        (request,) = self._requests(
            [prompt], n=n, best_of=best_of, echo=echo, prompt_logprobs=prompt_logprobs, ablate=ablate, ablate_with=ablate_with,
            **options,
        )  # fmt: skip
        return request

    def new_group(self, request: Request) -> SequenceGroup:
        """The completions of a request, not begun, for `run` or `Engine.add`.

        Raises:
            PellucidError: what this model cannot read or write.
        """
        return SequenceGroup(request, self.config, self.tokenizer, self.end_ids)

    def new_sequence(
        self, prompt: OnePrompt = None, *, ablate: Ablate = None, ablate_with: By = "zero", **options: Unpack[Options]
    ) -> Sequence:
        """The completion that `stream` would give, not begun, for `run` or `Engine.add`. Arguments as there."""
        ablation = ablation_of(ablate, ablate_with)
        # `_options` takes no n and no best_of.
        request = Request(prompt=self._ids(prompt), options=self._options(**options), ablation=ablation)
        return self.new_group(request).sequences[0]

    @overload
    def score(
        self, prompt: OnePrompt, *, completion: str | list[int] | None = None, logprobs: int | None = None,
        ablate: Ablate = None, ablate_with: By = "zero",
    ) -> Score: ...

    @overload
    def score(
        self, prompt: OnePrompt | ManyPrompts, *, completion: ManyPrompts, logprobs: int | None = None,
        ablate: Ablate = None, ablate_with: By = "zero",
    ) -> list[Score]: ...

    @overload
    def score(
        self, prompt: ManyPrompts, *, completion: str | list[int] | ManyPrompts | None = None, logprobs: int | None = None,
        ablate: Ablate = None, ablate_with: By = "zero",
    ) -> list[Score]: ...

    def score(
        self, prompt: OnePrompt | ManyPrompts, *, completion: str | list[int] | ManyPrompts | None = None,
        logprobs: int | None = None, ablate: Ablate = None, ablate_with: By = "zero",
    ) -> Score | list[Score]:  # fmt: skip
        """The log-probability of each token of a text, or of a completion after its prompt; of several in one batch.

        Args:
            prompt: the text: text or token ids, up to n_ctx + 1 tokens, as `generate` takes a prompt; or several.
            completion: score this after the prompt, instead of the prompt. Text is encoded by itself, as a prompt that is
                generated after is encoded by itself: the sum is the log-probability with which `generate` draws these tokens
                (temperature 1). So a completion that follows a word begins with its space: " sat". `Prompt.answered` encodes
                both as one text instead. Several completions go with one prompt each, or all with the same.
            logprobs: report this many of the likeliest tokens at each position, too.
            ablate, ablate_with: as `generate` takes them; means are those over all positions that are read, the last token's
                not among them.

        Returns:
            A score; a list where several prompts or completions are given ([] for []).

        Raises:
            PellucidError: a text that does not fit, ids outside the vocabulary, text without a tokenizer, an empty completion,
                or another number of completions than of prompts.
        """
        logprobs = option_named("logprobs").check(logprobs)
        prompts, many = list_of_prompts(prompt)
        starts = [0] * len(prompts)  # of the part that is reported
        if completion is not None:
            answers, several = list_of_prompts(completion, "completion")
            ids = _paired([self._ids(one) for one in prompts], [self._completion_ids(one) for one in answers], many, several)
            prompts, starts, many = [[*one, *answer] for one, answer in ids], [len(one) for one, _ in ids], many or several
        requests = self._requests(
            prompts, max_tokens=0, seed=0, prompt_logprobs=0 if logprobs is None else logprobs, ablate=ablate,
            ablate_with=ablate_with,
        )  # fmt: skip
        groups = [self.new_group(request) for request in requests]
        for _ in self.run([sequence for group in groups for sequence in group.sequences]):
            pass
        scores = []
        for group, start in zip(groups, starts, strict=True):
            whole = group.score()
            tops = None if logprobs is None or whole.top_logprobs is None else whole.top_logprobs[start:]
            scores.append(Score(whole.ids[start:], whole.logprobs[start:], tops))
        return scores if many else scores[0]

    def _requests(
        self, prompts: abc.Sequence[Any], *, n: int = 1, best_of: int | None = None, echo: bool = False,
        prompt_logprobs: int | None = None, ablate: Ablate = None, ablate_with: By = "zero", **options: Any,
    ) -> list[Request]:  # fmt: skip
        """A request a prompt, all with the same options."""
        sampling, ablation = self._options(**options), ablation_of(ablate, ablate_with)
        return [
            Request(
                prompt=self._ids(prompt), options=sampling, n=n, best_of=best_of, echo=echo, prompt_logprobs=prompt_logprobs,
                ablation=ablation,
            )
            for prompt in prompts
        ]

    def _options(
        self, *, seed: int | None = None, logit_bias: Mapping[int, float] | None = None, **others: Any
    ) -> SamplingOptions:
        bias: Any = {} if logit_bias is None else logit_bias
        options = SamplingOptions(seed=fresh_seed() if seed is None else seed, logit_bias=bias, **others)
        if options.stop:
            self.require_tokenizer()
        return options

    def _ids(self, prompt: Any) -> list[int]:
        """The token ids of a prompt; of an empty one the token that a text starts from (end-of-text, as a rule)."""
        if isinstance(prompt, str):
            return self.require_tokenizer().encode_prompt(prompt) or self._start()
        return ([] if prompt is None else token_ids(prompt)) or self._start()

    def _completion_ids(self, completion: Any) -> list[int]:
        """The token ids of a completion that is scored."""
        text = isinstance(completion, str)
        ids = self.require_tokenizer().encode(completion, continued=True) if text else token_ids(completion, "completion")
        if not ids:
            raise PellucidError("the completion is empty: there is nothing to score")
        return ids

    def _start(self) -> list[int]:
        start = self.config.start_id
        if start >= self.config.vocab_size:
            raise PellucidError(
                f"a text starts from token {start} here, says the config, but ids go from 0 to {self.config.vocab_size - 1}: "
                "give a prompt"
            )
        return [start]


def _paired(
    prompts: list[list[int]], completions: list[list[int]], several_prompts: bool, several_completions: bool
) -> list[tuple[list[int], list[int]]]:
    """Each completion with its prompt: one of either goes with all of the other.

    Args:
        several_prompts, several_completions: whether several of each were given, even if these are one.

    Raises:
        PellucidError: several of both, and not as many.
    """
    if not several_completions:
        completions = completions * len(prompts)
    elif not several_prompts:
        prompts = prompts * len(completions)
    if len(prompts) != len(completions):
        raise PellucidError(f"{len(completions)} completions cannot be scored after {len(prompts)} prompts: give one for each")
    return list(zip(prompts, completions, strict=True))
