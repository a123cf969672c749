"""What the figure `embedding` shows of a generation record: one position's vectors, from its token to the next one.

C width, D width of a token's row. The followed position is that of the last prompt token.
"""

from dataclasses import dataclass
from math import exp

from pellucid.draw.film.nodes import Shows, given
from pellucid.draw.views.model_info import RecordedModel, read_model
from pellucid.draw.views.pieces import Pieces, read_pieces
from pellucid.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenProduct:
    """One of the likeliest next tokens.

    Attributes:
        token: its id (`generation/steps/topk_ids`, derived). row: (D,) its row of the token matrix (`generation/output/rows`,
            derived). product: of that row and the output vector, added up: the token's logit. p: its probability in the model's
            own distribution (`generation/steps/topk_logprobs`, derived).
    """

    token: int
    row: tuple[float, ...]
    product: float
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingView:
    """The figure's values.

    Attributes:
        position: that is followed. token: that enters it (`generation/prompt_ids`, given).
        token_vector, position_vector: (C,) (`generation/embedding/token` and `.../position`, derived). sum: (C,) of the two,
            the input of block 0.
        nearest: (token, cosine) of the other tokens with the most similar rows (`generation/embedding/nearest_ids` and
            `.../nearest_cosines`, derived), the most similar first.
        output: (D,) the vector after the final LayerNorm (`generation/output/vector`, derived).
        candidates: the likeliest first.
        drawn: the token that came out (`generation/steps/drawn_ids`, derived). drawn_p: its probability in the model's own
            distribution. draw: the draw in [0, 1); NaN at temperature 0.
    """

    model: RecordedModel
    pieces: Pieces
    position: int
    token: int
    token_vector: tuple[float, ...]
    position_vector: tuple[float, ...]
    sum: tuple[float, ...]
    nearest: tuple[tuple[int, float], ...]
    output: tuple[float, ...]
    candidates: tuple[TokenProduct, ...]
    drawn: int
    drawn_p: float
    draw: float

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token was taken without a draw."""
        return self.draw != self.draw

    @property
    def token_source(self) -> Shows:
        """Where the followed token stands in the record."""
        return given("generation/prompt_ids", self.position)


def embedding_view(record: Record) -> EmbeddingView:
    """Reads a generation record. Raises MissingChunk where it lacks a chunk that the figure needs."""
    prompt = record["generation/prompt_ids"].tolist()
    token, position = (record[f"generation/embedding/{name}"] for name in ("token", "position"))
    output, rows = record["generation/output/vector"], record["generation/output/rows"]
    listed = record["generation/steps/topk_ids"][0, : len(rows)].tolist()
    logprobs = record["generation/steps/topk_logprobs"][0, : len(rows)].tolist()
    products = (rows.astype(float) @ output.astype(float)).tolist()
    nearest = zip(
        record["generation/embedding/nearest_ids"].tolist(),
        record["generation/embedding/nearest_cosines"].tolist(),
        strict=True,
    )
    return EmbeddingView(
        model=read_model(record),
        pieces=read_pieces(record),
        position=len(prompt) - 1,
        token=prompt[-1],
        token_vector=tuple(token.tolist()),
        position_vector=tuple(position.tolist()),
        sum=tuple((token.astype(float) + position.astype(float)).tolist()),
        nearest=tuple(nearest),
        output=tuple(output.tolist()),
        candidates=tuple(
            TokenProduct(token=ident, row=tuple(row), product=product, p=exp(logprob))
            for ident, row, product, logprob in zip(listed, rows.tolist(), products, logprobs, strict=True)
        ),
        drawn=int(record["generation/steps/drawn_ids"][0]),
        drawn_p=exp(float(record["generation/steps/drawn_logprobs"][0])),
        draw=float(record["generation/steps/draw"][0]),
    )
