"""`stack`: block after block at one position: what attention and MLP add, where the answer is decided, time and parameters.

A row for the embedding and one for each block, the first at the bottom; `stack_columns` draws the columns.
"""

from pellucid.draw.components.parts import token, token_width
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, Transition, animate, visible_from
from pellucid.draw.figures.stack_columns import StackRows, bars, column, row_names, times, words
from pellucid.draw.film import palette
from pellucid.draw.film.film import Film
from pellucid.draw.film.keyframes import Keyframes
from pellucid.draw.film.nodes import Group, Node, Rect, Shows, Text
from pellucid.draw.views.labels import in_seconds, percent, three_digits
from pellucid.draw.views.model_parts import block_name, level_name
from pellucid.draw.views.stack import StackView
from pellucid.languages import counted


JUMPS = 9  # in which the vector climbs


def stack(view: StackView, *, width: float = 960) -> Film:
    """The film of a position's way up the blocks. Raises PellucidError for a picture less than 240 wide."""
    sheet, timeline = Sheet.of(width), Timeline()
    count = len(view.blocks)
    (enter, climb) = timeline.segment(
        "Up the blocks",
        (0.0, 1.6, f"The vector of “{view.pieces.shown(view.token)}” enters block 1."),
        (2.2, 3.0, _writes_words(view)),
    )
    (decide,) = timeline.segment("Where it is decided", (0.6, 5.4, _decided_words(view)))
    (cost,) = timeline.segment("What a block costs", (0.4, 5.0, _cost_words(view)))
    rows = StackRows.of(count + 1, sheet)
    appear = [_reached(climb, row, count + 1) for row in range(count + 1)]
    nodes: list[Node] = [*row_names(view, rows, sheet), _marker(rows, climb)]
    first = _writes(view, rows, sheet, appear)
    timed = [Group(tuple(times(view, rows, sheet)), opacity=animate(0, (cost, 1)))]
    if sheet.wide:
        nodes += [*first, *timed]
    else:  # the times take the place of what is added
        nodes.append(Group(tuple(first), opacity=animate(1, (cost, 0))))
        nodes += timed
    nodes += _lens(view, rows, sheet, decide)
    measured = any(block.seconds is not None for block in view.blocks)
    nodes += _followed(view, sheet, enter)
    return sheet.film(
        view.model, "Up the stack of blocks", nodes, timeline, alt=_alt(view), notes=_notes(view), measured=measured
    )


def _reached(climb: Transition, row: int, rows: int) -> Keyframes:
    """The opacity of a row: it appears when the vector has climbed to it, in a few jumps."""
    jumps = min(JUMPS, rows)
    at = climb.start + (climb.settled - climb.start) * (row * jumps // rows) / max(jumps - 1, 1)
    return Keyframes((0.0, 0.0), (at, 1.0)) if at else Keyframes((0.0, 1.0))


def _marker(rows: StackRows, climb: Transition) -> Node:
    """The track being followed: a purple line that grows from the embedding up to the last block."""
    box = rows.track
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
              label=f"track {view.position}: {view.pieces.described(view.token)}",
              shows=Shows("generation/prompt_ids", (view.position,), None, "given")),
    ]  # fmt: skip


def _writes(view: StackView, rows: StackRows, sheet: Sheet, appear: list[Keyframes]) -> list[Node]:
    """What attention and MLP add, and on a screen the length of the vector, on one scale for what is added."""
    most = max([*(block.attention for block in view.blocks), *(block.mlp for block in view.blocks)])
    adds = " adds" if sheet.wide else ""
    nodes = bars(
        [None, *(block.attention for block in view.blocks)], column("attention", sheet), rows, sheet, title=f"attention{adds}",
        fill=palette.SERIES[0], full=most, words=three_digits, shows=lambda row: view.shows_write("attention", row - 1),
        opacities=appear,
    )  # fmt: skip
    nodes += bars(
        [None, *(block.mlp for block in view.blocks)], column("mlp", sheet), rows, sheet, title=f"MLP{adds}",
        fill=palette.SERIES[1], full=most, words=three_digits, shows=lambda row: view.shows_write("mlp", row - 1),
        opacities=appear,
    )  # fmt: skip
    if sheet.wide:
        nodes += bars(
            [level.length for level in view.levels], column("length", sheet), rows, sheet, title="vector's length",
            fill=palette.FOLLOWED, full=max(level.length for level in view.levels), words=three_digits,
            shows=lambda row: Shows(f"generation/block_inputs/{row}", (view.position,)), opacities=appear,
        )  # fmt: skip
    return nodes


def _lens(view: StackView, rows: StackRows, sheet: Sheet, decide: Transition) -> list[Node]:
    """The answer's probability and rank at each level, and the likeliest token there."""
    there = visible_from(decide)
    nodes = bars(
        [level.p for level in view.levels], column("p", sheet), rows, sheet,
        title="answer's share" if sheet.wide else "answer", fill=palette.OUTPUT, words=percent,
        full=max(level.p for level in view.levels),
        shows=lambda row: view.shows_lens("next_logprobs", row), opacities=[there] * len(view.levels),
    )  # fmt: skip
    if sheet.wide:
        nodes += words(
            [f"{level.rank + 1:,}" for level in view.levels], column("rank", sheet), rows, sheet, title="rank",
            shows=lambda row: view.shows_lens("next_ranks", row), opacity=there,
            labels=[f"{counted(level.rank, 'token')} likelier than the answer" for level in view.levels],
        )  # fmt: skip
    nodes += words(
        [view.pieces.shown(level.likeliest) for level in view.levels], column("likeliest", sheet), rows, sheet,
        title="likeliest", shows=lambda row: view.shows_lens("ids", row, 0), opacity=there, family="mono",
        labels=[f"{view.pieces.described(level.likeliest)}: {percent(level.likeliest_p)}" for level in view.levels],
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
    since = "the embedding" if view.decided == 0 else f"block {view.decided}"
    label = f"from {since} on, “{view.pieces.shown(view.answer)}” is the likeliest token"
    return Rect(left, top - 1, right - left, low - top + 2, 4, None, palette.OUTPUT, 1.5, opacity=there, label=label)


def _writes_words(view: StackView) -> str:
    parts = []
    for part, name in (("attention", "attention"), ("mlp", "the MLP")):
        block = max(range(len(view.blocks)), key=lambda i: getattr(view.blocks[i], part))
        parts.append(f"{name} of {block_name(block)} ({three_digits(getattr(view.blocks[block], part))})")
    return f"Each block adds to it what attention reads and what its MLP computes. Most is added by {' and '.join(parts)}."


def _decided_words(view: StackView) -> str:
    answer, last = view.pieces.shown(view.answer), view.levels[-1]
    if view.decided is None:
        rank, likeliest = f"{last.rank + 1:,}", view.pieces.shown(last.likeliest)
        p, most = percent(last.p), percent(last.likeliest_p)
        return f"“{answer}” was drawn, though after the last block its rank is {rank}: {p} against {most} for “{likeliest}”."
    if view.decided == 0:
        return f"“{answer}” is the likeliest token at every level, from the embedding on; at the end with {percent(last.p)}."
    return f"From block {view.decided} on, “{answer}” is the likeliest token; at the end with {percent(last.p)}."


def _cost_words(view: StackView) -> str:
    config = view.model.config
    each, total = config.block_parameters(), view.model.parameters
    share = percent(min(1.0, len(view.blocks) * each / total)) if total else "0%"
    text = f"Each block has {each:,} parameters: {counted(len(view.blocks), 'block')} hold {share} of the model's {total:,}."
    if (seconds := [block.seconds for block in view.blocks if block.seconds is not None]) and any(seconds):
        text += f" Reading the prompt took {in_seconds(sum(seconds))} in all of them."
    return text


def _alt(view: StackView) -> str:
    word, answer = view.pieces.shown(view.token), view.pieces.shown(view.answer)
    chosen = sorted({max(1, len(view.levels) // 3), 2 * len(view.levels) // 3, len(view.levels) - 1})
    after = ", ".join(
        f"{level_name(level)} “{view.pieces.shown(view.levels[level].likeliest)}” is "
        f"likeliest ({percent(view.levels[level].likeliest_p)}) and “{answer}” has {percent(view.levels[level].p)}"
        for level in chosen
    )
    return (
        f"“{word}” at position {view.position} climbs {counted(len(view.blocks), 'block')} of {view.model.name}; “{answer}” "
        f"comes out. {_writes_words(view)} By the raw logit lens, {after}. {_decided_words(view)}"
    )


def _notes(view: StackView) -> list[str]:
    notes = [
        "The raw logit lens: the last LayerNorm and the token matrix on the vector after each block, as if the blocks above "
        "did nothing. It is biased at low levels, and nothing is fitted here.",
        "Lengths are L2 norms. What is added is one vector for attention, over all heads, and one for the MLP; they partly "
        "cancel, so that the vector's length is not their sum.",
        "Blocks are counted from 1, and a block's row shows the vector after it. The record counts them from 0.",
    ]
    if view.model.config.norm == "post":
        notes.append("In this model a LayerNorm follows each sum, so that the vector is scaled again after what is added.")
    if any(block.seconds is not None for block in view.blocks):
        notes.append("The time of a block is that of all tracks of the prompt together, in the first step.")
    return notes
