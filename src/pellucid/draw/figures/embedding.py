"""`embedding`: one position from its token to the next one: the token's row, the position's, their sum, and the way back.

`embedding_output` draws the way back: the output vector, its products with the rows of the likeliest tokens, softmax, the draw.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.draw.components.marks import Box, legend
from pellucid.draw.components.parts import arrow, centred, model, token, token_width
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, Transition, animate
from pellucid.draw.components.vectors import cells_of, vector
from pellucid.draw.figures.embedding_output import OutputTransitions, output_panel
from pellucid.draw.figures.tokens_panels import heading, panel
from pellucid.draw.film import palette
from pellucid.draw.film.film import Film
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.nodes import Group, Node, Rect, Shows, Text
from pellucid.draw.views.embedding import EmbeddingView
from pellucid.draw.views.labels import percent, three_digits
from pellucid.languages import counted, joined, listed, tr


FIRST_NUMBERS = 3  # that are written beside a vector
EMBEDDING = "generation/embedding/"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """The boxes of the picture, from top to bottom: the input's panel, the similar tokens', the model, the output's panel."""

    into: Box
    similar: Box
    model: Box
    out: Box

    @classmethod
    def of(cls, sheet: Sheet) -> "_Places":
        low = sheet.bottom - 6
        if sheet.wide:
            return cls(
                into=Box(24, 62, 604, 168), similar=Box(640, 62, 296, 168), model=Box(24, 244, 912, 30),
                out=Box(24, 290, 912, low - 290),
            )  # fmt: skip
        return cls(
            into=Box(12, 46, 336, 126), similar=Box(12, 178, 336, 84), model=Box(12, 276, 336, 28),
            out=Box(12, 318, 336, low - 318),
        )  # fmt: skip


def embedding(view: EmbeddingView, *, width: float = 960) -> Film:
    """The film of one position. Raises PellucidError for a picture less than 240 wide."""
    sheet, timeline, places = Sheet.of(width), Timeline(), _Places.of(Sheet.of(width))
    word, drawn = view.pieces.shown(view.token), view.pieces.shown(view.drawn)
    blocks, vocab_size = view.model.config.n_layers, view.model.config.vocab_size
    take, add = timeline.segment(
        tr("A token becomes a vector"),
        (0.6, 2.4, tr("“{word}” is token {token:,}: a row of {numbers:,} numbers, learned in training.",
                      word=word, token=view.token, numbers=len(view.token_vector))),
        (0.6, 2.4, tr("The row of position {position:,} is added: it tells where in the text the token stands.",
                      position=view.position)),
    )
    (compare,) = timeline.segment(tr("Similar tokens"), (0.6, 4.4, _similar_words(view)))
    compute, normed = timeline.segment(
        tr("Through the blocks"),
        (1.0, 2.0, tr("{blocks} add to the vector what they read and compute: the figure stack opens them.",
                      blocks=counted(blocks, "block"))),
        (0.4, 2.0, tr("The final LayerNorm brings it to scale: this is what the model has to say here.")),
    )
    multiply, soften, draw = timeline.segment(
        tr("A vector becomes a token"),
        (0.6, 2.4, tr("Its product with the row of each of {count:,} tokens is that token's logit. The largest:",
                      count=vocab_size)),
        (0.6, 2.0, tr("Softmax turns logits into probabilities.")),
        (0.6, 2.0, tr("“{word}” comes out, which had a probability of {p}.", word=drawn, p=percent(view.drawn_p))),
    )  # fmt: skip
    nodes = [
        *_input_panel(view, places.into, sheet, take, add),
        *_similar_panel(view, places.similar, sheet, compare),
        *_through_the_model(view, places, sheet, compute),
        *output_panel(view, places.out, sheet, OutputTransitions(normed=normed, multiply=multiply, soften=soften, draw=draw)),
    ]
    return sheet.film(view.model, tr("From token to vector and back"), nodes, timeline, alt=_alt(view), notes=_notes(view))


def _similar_words(view: EmbeddingView) -> str:
    if not view.nearest:
        return tr("There is no other token to compare it with.")
    near = _near(view, 3)
    return tr("Tokens whose rows point in a similar direction, by the cosine of the angle: {near}.", near=near)


def _near(view: EmbeddingView, most: int | None = None) -> str:
    """The tokens with the largest cosines."""
    return listed(
        tr("“{token}” {number}", token=view.pieces.shown(ident), number=_cosine(cosine))
        for ident, cosine in view.nearest[:most]
    )


def _cosine(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _input_panel(view: EmbeddingView, box: Box, sheet: Sheet, take: Transition, add: Transition) -> list[Node]:
    """The token's row, the position's, and their sum, each as a vector of coloured cells."""
    most = max(map(abs, (*view.token_vector, *view.position_vector, *view.sum))) or 1.0
    high, gap, words = (26.0, 9.0, 148.0) if sheet.wide else (19.0, 6.0, 92.0)
    x, y = box.x + sheet.pad / 2, box.y + (2.2 if sheet.wide else 2.0) * sheet.size
    room = box.w - sheet.pad - words - (178 if sheet.wide else 0)
    nodes: list[Node] = [panel(box), heading(tr("Two rows are added"), box, sheet)]
    token_shows, position_shows = (Shows(f"{EMBEDDING}{name}") for name in ("token", "position"))
    rows = (
        (view.token_vector, "", token_shows, take,
         tr("the row of {token} in the token matrix (wte)", token=view.pieces.described(view.token))),
        (view.position_vector, tr("+ position {position:,}", position=view.position), position_shows, add,
         tr("row {position:,} of the position matrix (wpe)", position=view.position)),
        (view.sum, tr("= enters block 1") if sheet.wide else tr("= sum"), token_shows, add,
         tr("the sum, which enters block 1")),
    )  # fmt: skip
    for i, (values, string, shows, transition, label) in enumerate(rows):
        there, top = animate(0, (transition, 1, "settle") if i == 2 else (transition, 1)), y + i * (high + gap)
        place = Box(x + words, top, room, high)
        if string:
            fitted = fit(string, words - 8, sheet.small)
            nodes.append(Text(x, centred(top, high, sheet.small), fitted, sheet.small, opacity=there, shows=shows))
        else:
            nodes.append(_followed_token(view, x, top, high, words - 8, sheet))
        nodes += vector(values, place, most, label=label, shows=shows, opacity=there)
        if sheet.wide:
            first, base = _first_numbers(values, sheet.small), centred(top, high, sheet.small)
            nodes.append(Text(place.right + 10, base, first, sheet.small, 400, "mono", opacity=there, shows=shows))
    scale = Box(x + words, y + 3 * (high + gap), room, 7 if sheet.wide else 5)
    return nodes + legend("diverging", scale, sheet.small, *_ends(most))


def _ends(most: float) -> tuple[str, str, str]:
    """The numbers at the ends and the middle of a legend of the diverging palette."""
    return f"−{three_digits(most)}", three_digits(most), "0"


def _first_numbers(values: Sequence[float], size: float) -> str:
    """The first numbers of a vector as text."""
    numbers = ", ".join(f"{value:.3f}".replace("-", "−") for value in values[:FIRST_NUMBERS])
    return fit(numbers + (" …" if len(values) > FIRST_NUMBERS else ""), 166, size, "mono")


def _followed_token(view: EmbeddingView, x: float, y: float, high: float, room: float, sheet: Sheet) -> Node:
    word = view.pieces.shown(view.token)
    return token(
        word, x, y, high, sheet.size, role="followed", w=min(token_width(word, sheet.size), room),
        label=tr("position {position}: {token}", position=view.position, token=view.pieces.described(view.token)),
        shows=view.token_source,
    )  # fmt: skip


def _similar_panel(view: EmbeddingView, box: Box, sheet: Sheet, compare: Transition) -> list[Node]:
    """The tokens with the largest cosines, each with its cosine, in two columns."""
    nodes: list[Node] = [panel(box), heading(tr("Similar rows"), box, sheet)]
    across, high, gap = (2, 22.0, 8.0) if sheet.wide else (3, 18.0, 5.0)
    down = 4 if sheet.wide else 2
    wide = (box.w - sheet.pad) / across
    number = text_width("−0.00", sheet.small) + 10
    found: list[Node] = []
    for i, (ident, cosine) in enumerate(view.nearest[: across * down]):
        x, y = box.x + sheet.pad / 2 + i // down * wide, box.y + 2.3 * sheet.size + i % down * (high + gap)
        word = view.pieces.shown(ident)
        w = min(token_width(word, sheet.small), wide - number)
        found.append(
            token(word, x, y, high, sheet.small, role="plain", w=w, label=view.pieces.described(ident),
                  shows=Shows(f"{EMBEDDING}nearest_ids", (i,)))
        )  # fmt: skip
        shows = Shows(f"{EMBEDDING}nearest_cosines", (i,))
        found.append(Text(x + w + 5, centred(y, high, sheet.small), _cosine(cosine), sheet.small, shows=shows))
    return [*nodes, Group(tuple(found), opacity=animate(0, (compare, 1)))]


def _through_the_model(view: EmbeddingView, places: _Places, sheet: Sheet, compute: Transition) -> list[Node]:
    """The model as a bar between the panels, along which the vector moves."""
    box, blocks = places.model, counted(view.model.config.n_layers, "block")
    x = places.into.x + (148 if sheet.wide else 92) + sheet.pad / 2 + 60
    above = places.into.bottom if sheet.wide else places.similar.bottom
    track = Rect(
        x - 14, animate(above + 1, (compute, places.out.y - 7, "move")), 28, 6, 3, palette.FOLLOWED,
        opacity=animate(0, (compute, 1), (compute, 0, "settle")),
    )  # fmt: skip
    return [
        model(box.x, box.y, box.w, box.h, tr("{name}: {value}", name=view.model.name, value=blocks), sheet.size, trained=True),
        arrow(x, above + 2, x, box.y - 1, palette.FOLLOWED, head=7),
        arrow(x, box.bottom + 2, x, places.out.y - 1, palette.FOLLOWED, head=7),
        track,
    ]


def _alt(view: EmbeddingView) -> str:
    likely = listed(
        tr("“{token}” product {product}, {p}", token=view.pieces.shown(one.token), product=three_digits(one.product),
           p=percent(one.p)).replace("-", "−")
        for one in view.candidates
    )  # fmt: skip
    parts = [
        tr(
            "Position {position} of a text read by {name}: “{word}” is token {token}, a row of {numbers} numbers, to which the "
            "row of the position is added.", position=view.position, name=view.model.name, word=view.pieces.shown(view.token),
            token=view.token, numbers=len(view.token_vector),
        )
    ]  # fmt: skip
    if view.nearest:
        parts.append(tr("Tokens with similar rows, by cosine: {near}.", near=_near(view)))
    parts.append(
        tr(
            "After {blocks} the output vector's products with the tokens' rows are largest for {likely}.",
            blocks=counted(view.model.config.n_layers, "block"), likely=likely,
        )
    )  # fmt: skip
    word, p = view.pieces.shown(view.drawn), percent(view.drawn_p)
    return joined([*parts, tr("“{word}” comes out, with a probability of {p}.", word=word, p=p)])


def _notes(view: EmbeddingView) -> list[str]:
    config = view.model.config
    notes = [
        tr(
            "A vector is drawn row by row, its first number at the upper left. Of {products:,} products the {shown} of the "
            "likeliest tokens are shown.", products=config.vocab_size, shown=len(view.candidates),
        ),
        tr(
            "Probabilities are the model's own, at temperature 1 and before any cut; the figure tokens shows the cut and the "
            "draw."
        ),
        tr("What the blocks do is not shown here: the figures stack and xray open them."),
    ]  # fmt: skip
    averaged = max(cells_of(len(vector))[2] for vector in (view.token_vector, view.output))
    if averaged > 1:
        notes.insert(1, tr("Each cell is the mean of {averaged} numbers.", averaged=averaged))
    if config.d_embed != config.d_model:
        notes.append(
            tr(
                "A token's row has {row} numbers; a learned matrix makes {width} of them, another goes back.",
                row=config.d_embed, width=config.d_model,
            )
        )  # fmt: skip
    return notes
