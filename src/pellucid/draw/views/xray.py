"""What the figure `xray` shows of a generation record: the logit lens of every position, the cache's states, and attention.

L blocks, S steps, T positions. Level l is what enters block l; level L is what the last one gives.
"""

from dataclasses import dataclass
from math import exp

from pellucid.draw.film.nodes import Shows, given
from pellucid.draw.views.model_info import RecordedModel, read_model
from pellucid.draw.views.pieces import Pieces, read_pieces
from pellucid.record import Record


COMPUTED, CACHED, DROPPED = 1, 2, 3  # as the schema says of generation/cells


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionRow:
    """The attention weights of one position on the positions up to itself, in one block, as the mean over its heads.

    They stand in `generation/attention/{block}` (derived).
    """

    block: int
    heads: int
    weights: tuple[float, ...]

    @property
    def shows(self) -> Shows:
        """The chunk that holds the weights of all heads."""
        return Shows(f"generation/attention/{self.block}")


@dataclass(frozen=True, slots=True, kw_only=True)
class XrayView:
    """The figure's values.

    Attributes:
        prompt, steps: how many tokens, how many steps. ids: of all tokens; the last was drawn and need not have been read.
        words, odds: [level][position] the likeliest next token by the raw logit lens and its probability (`generation/lens/ids`
            and `.../logprobs`, derived). states: [step][block][position] of keys and values (`generation/cells`, derived).
        attention: of the followed position; None where the record holds no attention.
    """

    model: RecordedModel
    pieces: Pieces
    prompt: int
    steps: int
    ids: tuple[int, ...]
    words: tuple[tuple[int, ...], ...]
    odds: tuple[tuple[float, ...], ...]
    states: tuple[tuple[tuple[int, ...], ...], ...]
    attention: AttentionRow | None

    @property
    def levels(self) -> int:
        """How many levels there are: one more than blocks."""
        return len(self.words)

    @property
    def positions(self) -> int:
        """How many positions went through the model."""
        return len(self.words[0])

    @property
    def followed(self) -> int:
        """The position that is followed: the last token of the prompt, whose output is the first drawn token."""
        return self.prompt - 1

    def step_of(self, position: int) -> int:
        """The step in which a position goes through the model."""
        return max(0, position - self.prompt + 1)

    def token_source(self, position: int) -> Shows:
        """Where the token that enters a position stands in the record."""
        return given("generation/prompt_ids", position) if position < self.prompt else self.drawn_source(position - self.prompt)

    def drawn_source(self, step: int) -> Shows:
        """Where the token drawn in a step stands in the record."""
        return Shows("generation/steps/drawn_ids", (step,))

    def right_outputs(self) -> int:
        """How many outputs of the prompt's positions before the last, which are not used, are the token that follows."""
        return sum(self.words[-1][position] == self.ids[position + 1] for position in range(self.prompt - 1))


def xray_view(record: Record) -> XrayView:
    """Reads a generation record. Raises MissingChunk where it lacks a chunk that the figure needs."""
    model = read_model(record)
    ids = (*record["generation/prompt_ids"].tolist(), *record["generation/steps/drawn_ids"].tolist())
    prompt = len(record["generation/prompt_ids"])
    words, logs = record["generation/lens/ids"][:, :, 0].tolist(), record["generation/lens/logprobs"][:, :, 0].tolist()
    return XrayView(
        model=model,
        pieces=read_pieces(record),
        prompt=prompt,
        steps=len(ids) - prompt,
        ids=ids,
        words=tuple(map(tuple, words)),
        odds=tuple(tuple(map(exp, row)) for row in logs),
        states=tuple(tuple(map(tuple, step.tolist())) for step in record["generation/cells"]),
        attention=_read_attention(record, model.config.n_layers, prompt - 1),
    )


def _read_attention(record: Record, blocks: int, position: int) -> AttentionRow | None:
    """Of the block in which one position, other than itself and the first, has the largest weight; None if none is recorded."""
    found: list[tuple[float, AttentionRow]] = []
    for block in range(blocks):
        if f"generation/attention/{block}" not in record:
            continue
        heads = record[f"generation/attention/{block}"][:, position, : position + 1]
        weights = tuple(heads.mean(axis=0, dtype=float).tolist())
        row = AttentionRow(block=block, heads=len(heads), weights=weights)
        found.append((max(weights[1:position], default=0.0), row))
    return max(found, key=lambda one: one[0])[1] if found else None
