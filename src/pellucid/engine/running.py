"""`RunningSequence`: an admitted sequence, its number of computed tokens and its KV cache. No torch here."""

from dataclasses import dataclass

from pellucid.engine.sequence import PromptLogprobs, Sequence, window_start


NOT_OPEN = -1  # no sequence of the runner yet


@dataclass(slots=True, eq=False)
class RunningSequence:
    """A completion that is being generated.

    Attributes:
        sequence: the completion; it owns the text.
        capacity: positions of its key-value sequence. nbytes: what that takes.
        token_ids: the text that is read, from its first position on: all of it, or its last part where the window slides.
        runner_sequence: the runner's number, or `NOT_OPEN`.
        num_computed_tokens: tokens of the text whose keys and values are computed.
        num_reusable_tokens: of these, those that another text may copy: all of them in exact mode; in fast mode those that
            were not decoded one by one, for they would differ by rounding from those of a prefill.
    """

    sequence: Sequence
    capacity: int
    nbytes: int
    token_ids: list[int]
    runner_sequence: int = NOT_OPEN
    num_computed_tokens: int = 0
    num_reusable_tokens: int = 0

    @property
    def draft_room(self) -> int:
        """Draft tokens that can be read after the text: there is a position for each, and none after the last token."""
        left = self.sequence.options.max_tokens - len(self.sequence.tokens) - 1
        return min(self.capacity - len(self.token_ids), left)

    @property
    def shares_text(self) -> bool:
        """Whether its keys and values may be another text's: not those of a model of which parts are replaced."""
        return self.sequence.ablation is None

    @property
    def wanted_top(self) -> int | None:
        """How many likeliest tokens its prompt log-probabilities need; None: they are not asked for, or complete."""
        computed = self.sequence.prompt_logprobs
        return computed.top if computed is not None and self.sequence.lacks_prompt_logprobs else None

    def set_computed(self, count: int) -> None:
        """Notes that the first `count` tokens were copied from another sequence."""
        self.num_computed_tokens = self.num_reusable_tokens = count

    def reuse_prompt_logprobs(self, computed: PromptLogprobs | None, known: int) -> None:
        """Takes over the log-probabilities of the first `known` tokens, which it shares with the text they come from."""
        if (top := self.wanted_top) is not None:
            assert computed is not None
            self.sequence.prompt_logprobs = computed.prefix(known, top)

    def advance(self, count: int, *, reusable: bool) -> None:
        """Notes that `count` more tokens were computed, and whether another text may copy them."""
        if reusable and self.num_reusable_tokens == self.num_computed_tokens:
            self.num_reusable_tokens += count
        self.num_computed_tokens += count

    def append(self, token: int, n_ctx: int) -> None:
        """Adds a drawn token. Where the window is full, it moves on, and the text in it is read anew."""
        self.token_ids.append(token)
        sequence = self.sequence
        if sequence.options.slide:
            start = window_start(len(sequence.prompt) + len(sequence.tokens), n_ctx)
            if start > sequence.start:
                self.token_ids = self.token_ids[start - sequence.start :]
                sequence.start = start
                self.set_computed(0)
