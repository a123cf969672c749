"""`stack`: block after block at one position: what attention and MLP add, where the answer is decided, time and parameters.

A row for the embedding and one for each block, the first at the bottom; `stack_columns` draws the columns.
"""

from pellucid.draw.components.parts import token, token_width
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, Transition, animate, visible_from
from pellucid.draw.figures.stack_columns import StackRows, bars, column, narrow_height, row_names, times, words
from pellucid.draw.film import palette
from pellucid.draw.film.film import Film
from pellucid.draw.film.keyframes import Keyframes
from pellucid.draw.film.nodes import Group, Node, Rect, Shows, Text
from pellucid.draw.views.labels import in_seconds, percent, three_digits
from pellucid.draw.views.model_parts import block_name, level_name
from pellucid.draw.views.stack import StackView
from pellucid.languages import counted, joined, listed, tr


JUMPS = 9  # in which the vector climbs


def stack(view: StackView, *, width: float = 960) -> Film:
    """The film of a position's way up the blocks. Raises PellucidError for a picture less than 240 wide."""
    count, timeline = len(view.blocks), Timeline()
    sheet = Sheet.of(width, narrow_height=narrow_height(count + 1))
    (enter, climb) = timeline.segment(
        tr("Up the blocks"),
        (0.0, 1.6, tr("The vector of “{token}” enters block 1.", token=view.pieces.shown(view.token))),
        (2.2, 3.0, _writes_words(view)),
    )
    (decide,) = timeline.segment(tr("Where it is decided"), (0.6, 5.4, _decided_words(view)))
    (cost,) = timeline.segment(tr("What a block costs"), (0.4, 5.0, _cost_words(view)))
    rows = StackRows.of(count + 1, sheet)
    appear = [_reached(climb, row, count + 1) for row in range(count + 1)]
    nodes: list[Node] = [*row_names(view, rows, sheet), _marker(rows, climb)]
    nodes += _writes(view, rows, sheet, appear)
    nodes.append(Group(tuple(times(view, rows, sheet)), opacity=animate(0, (cost, 1))))
    nodes += _lens(view, rows, sheet, decide)
    measured = any(block.seconds is not None for block in view.blocks)
    nodes += _followed(view, sheet, enter)
    return sheet.film(
        view.model, tr("Up the stack of blocks"), nodes, timeline, alt=_alt(view), notes=_notes(view), measured=measured
    )


def _reached(climb: Transition, row: int, rows: int) -> Keyframes:
    """The opacity of a row: it appears when the vector has climbed to it, in a few jumps."""
    jumps = min(JUMPS, rows)
    at = climb.start + (climb.settled - climb.start) * (row * jumps // rows) / max(jumps - 1, 1)
    return Keyframes((0.0, 0.0), (at, 1.0)) if at else Keyframes((0.0, 1.0))


def _marker(rows: StackRows, climb: Transition) -> Node:
    """The position being followed: a purple line that grows from the embedding up to the last block."""
    box = rows.marker
    top = animate(box.bottom - rows.high, (climb, box.y, "move"))
    tall = animate(rows.high, (climb, box.h, "move"))
    return Rect(box.x, top, box.w, tall, 2, palette.FOLLOWED)


def _followed(view: StackView, sheet: Sheet, enter: Transition) -> list[Node]:
    """The token that enters and the one that comes out, in the upper right corner."""
    size, high = sheet.small, 22.0 if sheet.wide else 18.0
    y = 20.0 if sheet.wide else 36.0
    answer, word = view.pieces.shown(view.answer), view.pieces.shown(view.token)
    most = 130.0 if sheet.wide else 100.0
    after, before = min(token_width(answer, size), most), min(token_width(word, size), most)
    right = sheet.right
    return [
        token(answer, right - after, y, high, size, role="output", w=after, label=view.pieces.described(view.answer),
              shows=Shows("generation/steps/drawn_ids", (0,))),
        Text(right - after - 8, y + high * 0.68, "→", size, anchor="end", fill=palette.QUIET),
        token(word, right - after - 28 - before, y, high, size, role="followed", w=before,
              label=tr("position {position}: {token}", position=view.position, token=view.pieces.described(view.token)),
              shows=Shows("generation/prompt_ids", (view.position,), None, "given")),
    ]  # fmt: skip


def _writes(view: StackView, rows: StackRows, sheet: Sheet, appear: list[Keyframes]) -> list[Node]:
    """What attention and MLP add, and on a screen the length of the vector, on one scale for what is added."""
    most = max([*(block.attention for block in view.blocks), *(block.mlp for block in view.blocks)])
    nodes = bars(
        [None, *(block.attention for block in view.blocks)], column("attention", sheet), rows, sheet,
        title=tr("attention adds") if sheet.wide else tr("attention"),
        fill=palette.SERIES[0], full=most, words=three_digits, shows=lambda row: view.shows_write("attention", row - 1),
        opacities=appear,
    )  # fmt: skip
    nodes += bars(
        [None, *(block.mlp for block in view.blocks)], column("mlp", sheet), rows, sheet,
        title=tr("MLP adds") if sheet.wide else tr("MLP"),
        fill=palette.SERIES[1], full=most, words=three_digits, shows=lambda row: view.shows_write("mlp", row - 1),
        opacities=appear,
    )  # fmt: skip
    if sheet.wide:
        nodes += bars(
            [level.length for level in view.levels], column("length", sheet), rows, sheet, title=tr("vector's length"),
            fill=palette.FOLLOWED, full=max(level.length for level in view.levels), words=three_digits,
            shows=lambda row: Shows(f"generation/block_inputs/{row}", (view.position,)), opacities=appear,
        )  # fmt: skip
    return nodes


def _lens(view: StackView, rows: StackRows, sheet: Sheet, decide: Transition) -> list[Node]:
    """The answer's probability and rank at each level, and the likeliest token there."""
    there = visible_from(decide)
    nodes = bars(
        [level.p for level in view.levels], column("p", sheet), rows, sheet,
        title=tr("answer's share") if sheet.wide else tr("answer"), fill=palette.OUTPUT, words=percent,
        full=max(level.p for level in view.levels),
        shows=lambda row: view.shows_lens("next_logprobs", row), opacities=[there] * len(view.levels),
    )  # fmt: skip
    if sheet.wide:
        nodes += words(
            [f"{level.rank + 1:,}" for level in view.levels], column("rank", sheet), rows, sheet, title=tr("rank"),
            shows=lambda row: view.shows_lens("next_ranks", row), opacity=there,
            labels=[tr("{tokens} likelier than the answer", tokens=counted(level.rank, "token")) for level in view.levels],
        )  # fmt: skip
    nodes += words(
        [view.pieces.shown(level.likeliest) for level in view.levels], column("likeliest", sheet), rows, sheet,
        title=tr("likeliest"), shows=lambda row: view.shows_lens("ids", row, 0), opacity=there, family="mono",
        labels=[
            tr("{name}: {value}", name=view.pieces.described(level.likeliest), value=percent(level.likeliest_p))
            for level in view.levels
        ],
        strong=[level.likeliest == view.answer for level in view.levels],
    )  # fmt: skip
    if view.decided is not None:
        nodes.append(_decided_line(view, rows, sheet, there))
    return nodes


def _decided_line(view: StackView, rows: StackRows, sheet: Sheet, there: Keyframes) -> Node:
    """A dashed frame around the levels at which the answer is the likeliest."""
    assert view.decided is not None
    left, right = column("p", sheet).x - 5, column("likeliest", sheet).right + 3
    top = rows.top(len(view.levels) - 1)
    low = rows.top(view.decided) + rows.high
    answer = view.pieces.shown(view.answer)
    if view.decided == 0:
        label = tr("from the embedding on, “{token}” is the likeliest token", token=answer)
    else:
        label = tr("from block {block} on, “{token}” is the likeliest token", block=view.decided, token=answer)
    return Rect(left, top - 1, right - left, low - top + 2, 4, None, palette.OUTPUT, 1.5, opacity=there, label=label)


def _writes_words(view: StackView) -> str:
    attention, mlp = (
        max(range(len(view.blocks)), key=lambda i: getattr(view.blocks[i], part)) for part in ("attention", "mlp")
    )
    return tr(
        "Each block adds to it what attention reads and what its MLP computes. Most is added by attention of {one} ({by_one}) "
        "and the MLP of {other} ({by_other}).", one=block_name(attention), other=block_name(mlp),
        by_one=three_digits(view.blocks[attention].attention), by_other=three_digits(view.blocks[mlp].mlp),
    )  # fmt: skip


def _decided_words(view: StackView) -> str:
    answer, last = view.pieces.shown(view.answer), view.levels[-1]
    if view.decided is None:
        return tr(
            "“{answer}” was drawn, though after the last block its rank is {rank:,}: {p} against {most} for “{likeliest}”.",
            answer=answer, rank=last.rank + 1, p=percent(last.p), most=percent(last.likeliest_p),
            likeliest=view.pieces.shown(last.likeliest),
        )  # fmt: skip
    values = {"answer": answer, "p": percent(last.p)}
    if view.decided == 0:
        return tr("“{answer}” is the likeliest token at every level, from the embedding on; at the end with {p}.", **values)
    return tr("From block {block} on, “{answer}” is the likeliest token; at the end with {p}.", block=view.decided, **values)


def _cost_words(view: StackView) -> str:
    config = view.model.config
    each, total = config.block_parameters(), view.model.parameters
    share = percent(min(1.0, len(view.blocks) * each / total)) if total else "0%"
    parts = [
        tr(
            "Each block has {each:,} parameters. Of the model's {total:,} parameters {share} are in its {blocks}.",
            each=each, blocks=counted(len(view.blocks), "block"), share=share, total=total,
        )
    ]  # fmt: skip
    if (seconds := [block.seconds for block in view.blocks if block.seconds is not None]) and any(seconds):
        parts.append(tr("Reading the prompt took {time} in all of them.", time=in_seconds(sum(seconds))))
    return joined(parts)


def _alt(view: StackView) -> str:
    word, answer = view.pieces.shown(view.token), view.pieces.shown(view.answer)
    chosen = sorted({max(1, len(view.levels) // 3), 2 * len(view.levels) // 3, len(view.levels) - 1})
    after = listed(
        tr(
            "{level} “{likeliest}” is likeliest ({most}) and “{answer}” has {p}", level=level_name(level), answer=answer,
            likeliest=view.pieces.shown(view.levels[level].likeliest), most=percent(view.levels[level].likeliest_p),
            p=percent(view.levels[level].p),
        )
        for level in chosen
    )  # fmt: skip
    climbs = tr(
        "“{word}” at position {position} climbs {blocks} of {name}; “{answer}” comes out.", word=word, position=view.position,
        blocks=counted(len(view.blocks), "block"), name=view.model.name, answer=answer,
    )  # fmt: skip
    return joined([climbs, _writes_words(view), tr("By the raw logit lens, {after}.", after=after), _decided_words(view)])


def _notes(view: StackView) -> list[str]:
    notes = [
        tr(
            "The raw logit lens: the last LayerNorm and the token matrix on the vector after each block, as if the blocks "
            "above did nothing. It is biased at low levels, and nothing is fitted here."
        ),
        tr(
            "Lengths are L2 norms. What is added is one vector for attention, over all heads, and one for the MLP; they partly "
            "cancel, so that the vector's length is not their sum."
        ),
        tr("Blocks are counted from 1, and a block's row shows the vector after it. The record counts them from 0."),
    ]
    if view.model.config.norm == "post":
        notes.append(
            tr("In this model a LayerNorm follows each sum, so that the vector is scaled again after what is added.")
        )
    if any(block.seconds is not None for block in view.blocks):
        notes.append(tr("The time of a block is that of all positions of the prompt together, in the first step."))
    return notes
