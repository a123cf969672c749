"""What the figure `priming` shows of a priming record: one question after different numbers of examples.

B prompts, P tokens of a prompt, V of the right answer, K candidates, L blocks. The answer's place is a prompt's last token.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import exp

import numpy as np

from pellucid.draw.film.nodes import Shows, given
from pellucid.draw.views.model_info import RecordedModel, read_model
from pellucid.draw.views.pieces import Pieces, read_pieces
from pellucid.record import Record


TASK, INPUT, OUTPUT, FORMAT = range(4)  # as the schema says of priming/roles


@dataclass(frozen=True, slots=True, kw_only=True)
class PrimedPrompt:
    """One prompt and what the model made of it.

    Attributes:
        number: of the prompt in the record. start: of its tokens in `priming/ids`.
        shots: how many examples it has (`priming/shots`, given). ids: its tokens (given).
        parts: the part of each token, 0 the task, 1 to k the examples, k + 1 the query (given). roles: of each (given).
        p: probability of the right answer, the product of its tokens' (`priming/logprobs`, derived). logprob: its logarithm.
        likeliest: the likeliest first tokens of an answer with their probabilities (`priming/topk_*`, derived).
        greedy: the answer at temperature 0 with each token's probability (`priming/greedy_*`, derived).
        shares: by block, the attention of the answer's place on each part, added over its tokens and averaged over the heads
            (`priming/attention/{block}`, derived): arithmetic on recorded numbers.
    """

    number: int
    start: int
    shots: int
    ids: tuple[int, ...]
    parts: tuple[int, ...]
    roles: tuple[int, ...]
    p: float
    logprob: float
    likeliest: tuple[tuple[int, float], ...]
    greedy: tuple[tuple[int, float], ...]
    shares: tuple[tuple[float, ...], ...]

    def tokens_of(self, part: int) -> list[int]:
        """The places of a part's tokens in the prompt."""
        return [place for place, own in enumerate(self.parts) if own == part]

    def shows_id(self, place: int) -> Shows:
        """Where a token of the prompt stands."""
        return given("priming/ids", self.start + place)

    def shows(self, chunk: str, *index: int) -> Shows:
        """Where a number of this prompt stands."""
        return Shows(f"priming/{chunk}", (self.number, *index))


@dataclass(frozen=True, slots=True, kw_only=True)
class PrimingView:
    """The figure's values: model, pieces, the right answer's tokens, and the prompts by their number of examples."""

    model: RecordedModel
    pieces: Pieces
    answer: tuple[int, ...]
    prompts: tuple[PrimedPrompt, ...]

    @property
    def has_task(self) -> bool:
        """Whether the prompts begin with a task in words."""
        return any(part == 0 for part in self.prompts[0].parts)

    def is_right(self, prompt: PrimedPrompt) -> bool:
        """Whether the likeliest answer is the right one, token for token."""
        return tuple(ident for ident, _ in prompt.greedy) == self.answer


def priming_view(record: Record) -> PrimingView:
    """Reads a priming record. Raises MissingChunk where it lacks a chunk that the figure needs."""
    model = read_model(record)
    names = ["shots", "ids", "starts", "parts", "roles", "logprobs"]
    names += ["topk_ids", "topk_logprobs", "greedy_ids", "greedy_logprobs"]
    values = {name: record[f"priming/{name}"].tolist() for name in names}
    weights = [record[f"priming/attention/{block}"].astype(np.float64).mean(0) for block in range(model.config.n_layers)]
    prompts = []
    for i, (start, end) in enumerate(pairwise(values["starts"])):
        shots, parts = values["shots"][i], values["parts"][start:end]
        assert 0 <= start < end <= len(values["ids"]) and 0 <= shots < end - start
        assert all(0 <= part <= shots + 1 for part in parts)
        shares = tuple(tuple(np.bincount(parts, block[start:end], shots + 2).tolist()) for block in weights)
        assert all(0 <= share <= 1.01 for block in shares for share in block)
        logprob = sum(values["logprobs"][i])
        prompts.append(
            PrimedPrompt(
                number=i, start=start, shots=shots, ids=tuple(values["ids"][start:end]), parts=tuple(parts),
                roles=tuple(values["roles"][start:end]), p=exp(logprob), logprob=logprob, shares=shares,
                likeliest=_with_probabilities(values["topk_ids"][i], values["topk_logprobs"][i]),
                greedy=_with_probabilities(values["greedy_ids"][i], values["greedy_logprobs"][i]),
            )
        )  # fmt: skip
    assert prompts and all(prompt.p <= 1 for prompt in prompts)
    return PrimingView(
        model=model, pieces=read_pieces(record), answer=tuple(record["priming/answer_ids"].tolist()), prompts=tuple(prompts)
    )  # fmt: skip


def _with_probabilities(ids: list[int], logprobs: list[float]) -> tuple[tuple[int, float], ...]:
    return tuple((ident, exp(logprob)) for ident, logprob in zip(ids, logprobs, strict=True))
