"""What the figure `stack` shows of a generation record: what each block adds at one position, and where its token is decided.

L blocks, T positions. The followed position is that of the last prompt token; its answer is the first drawn token. Level l is
the input of block l, level L the output of the last one.
"""

from dataclasses import dataclass
from math import exp

import numpy as np

from pellucid.draw.film.nodes import Shows
from pellucid.draw.views.model_info import RecordedModel, optional_chunk, read_model
from pellucid.draw.views.pieces import Pieces, read_pieces
from pellucid.gpt.pattern import Pattern
from pellucid.record import Record


BLOCK_TIMES = "generation/timings/blocks"


@dataclass(frozen=True, slots=True, kw_only=True)
class StackLevel:
    """The followed position at one level, by the raw logit lens.

    Attributes:
        length: L2 norm of its vector (`generation/block_inputs/{level}`, derived). likeliest: the likeliest next token and its
            probability (`generation/lens/ids` and `.../logprobs`, derived).
        rank, p: how many tokens are likelier than the answer, and the answer's probability (`generation/lens/next_ranks` and
            `.../next_logprobs`, derived).
    """

    length: float
    likeliest: int
    likeliest_p: float
    rank: int
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StackBlock:
    """One block at the followed position.

    Attributes:
        attention, mlp: L2 norms of what they add (`generation/writes/`, derived). seconds: that the block took while the prompt
            was read (`generation/timings/blocks`, measured); None where it was not recorded.
    """

    pattern: Pattern
    attention: float
    mlp: float
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StackView:
    """The figure's values: model, pieces, the followed position with its token and its answer, L + 1 levels, L blocks."""

    model: RecordedModel
    pieces: Pieces
    position: int
    token: int
    answer: int
    levels: tuple[StackLevel, ...]
    blocks: tuple[StackBlock, ...]

    @property
    def decided(self) -> int | None:
        """The lowest level from which on the answer is the likeliest token; None where at the last level it is not."""
        since = None
        for level in range(len(self.levels) - 1, -1, -1):
            if self.levels[level].rank > 0:
                break
            since = level
        return since

    def shows_write(self, part: str, block: int) -> Shows:
        """Where the norm of what attention or the MLP of a block adds stands."""
        return Shows(f"generation/writes/{part}", (block, self.position))

    def shows_lens(self, chunk: str, level: int, *index: int) -> Shows:
        """Where a number of the logit lens stands."""
        return Shows(f"generation/lens/{chunk}", (level, self.position, *index))


def stack_view(record: Record) -> StackView:
    """Reads a generation record. Raises MissingChunk where it lacks a chunk that the figure needs."""
    model = read_model(record)
    prompt = record["generation/prompt_ids"].tolist()
    at, count = len(prompt) - 1, model.config.n_layers
    ids, logprobs = (record[f"generation/lens/{name}"][:, at, 0].tolist() for name in ("ids", "logprobs"))
    ranks, own = (record[f"generation/lens/next_{name}"][:, at].tolist() for name in ("ranks", "logprobs"))
    writes = [record[f"generation/writes/{part}"][:, at].tolist() for part in ("attention", "mlp")]
    times = optional_chunk(record, BLOCK_TIMES, None)
    seconds: list[float | None] = [None] * count if times is None else times[0].tolist()
    return StackView(
        model=model,
        pieces=read_pieces(record),
        position=at,
        token=prompt[-1],
        answer=int(record["generation/steps/drawn_ids"][0]),
        levels=tuple(
            StackLevel(
                length=float(np.linalg.norm(record[f"generation/block_inputs/{level}"][at].astype(float))),
                likeliest=ids[level], likeliest_p=exp(logprobs[level]), rank=ranks[level], p=exp(own[level]),
            )
            for level in range(count + 1)
        ),
        blocks=tuple(
            StackBlock(pattern=pattern, attention=attention, mlp=mlp, seconds=time)
            for pattern, attention, mlp, time in zip(model.config.pattern, *writes, seconds, strict=True)
        ),
    )  # fmt: skip
