"""What the figure `overview` shows of a generation record: the prompt, the answer with the probability and time of each token.

L blocks, S steps.
"""

from dataclasses import dataclass
from math import exp

from pellucid.draw.film.nodes import Shows, given
from pellucid.draw.views.model_info import RecordedModel, read_model
from pellucid.draw.views.pieces import Pieces, read_pieces
from pellucid.record import Record


TIMES = "generation/timings/steps"


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewView:
    """The figure's values.

    Attributes:
        prompt, answer: token ids (`generation/prompt_ids`, given; `generation/steps/drawn_ids`, derived).
        probabilities: of the answer's tokens in the model's own distribution (`generation/steps/drawn_logprobs`, derived).
        seconds: of each step (`generation/timings/steps`, measured); the first reads the prompt.
        blocks: L.
    """

    model: RecordedModel
    pieces: Pieces
    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    probabilities: tuple[float, ...]
    seconds: tuple[float, ...]
    blocks: int

    def prompt_source(self, i: int) -> Shows:
        """Where token i of the prompt stands in the record."""
        return given("generation/prompt_ids", i)

    def answer_source(self, i: int) -> Shows:
        """Where token i of the answer stands."""
        return Shows("generation/steps/drawn_ids", (i,))

    def probability_source(self, i: int) -> Shows:
        """Where its log-probability stands."""
        return Shows("generation/steps/drawn_logprobs", (i,))

    def time_source(self, *step: int) -> Shows:
        """Where the time of a step, or of all, stands."""
        return Shows(TIMES, step, None, "measured")


def overview_view(record: Record) -> OverviewView:
    """Reads a generation record. Raises MissingChunk where it lacks a chunk that the figure needs."""
    model = read_model(record)
    return OverviewView(
        model=model,
        pieces=read_pieces(record),
        prompt=tuple(record["generation/prompt_ids"].tolist()),
        answer=tuple(record["generation/steps/drawn_ids"].tolist()),
        probabilities=tuple(map(exp, record["generation/steps/drawn_logprobs"].tolist())),
        seconds=tuple(record[TIMES].tolist()),
        blocks=model.config.n_layers,
    )
