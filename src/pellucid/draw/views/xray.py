"""Which part of a generation `xray` shows, where on the sheet, and what its rows, colours and frames are called."""

from dataclasses import dataclass
from math import exp
from typing import Any

from pellucid.draw.components.marks import Box, colour, legend
from pellucid.draw.components.parts import centred
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.nodes import Node, Rect, Text
from pellucid.gpt.pattern import Banded
from pellucid.record import Record


COLUMNS_WIDE, COLUMNS_NARROW = 16, 6  # tracks that are shown
ROWS = 13  # levels that are shown
TITLE = "X-ray of an answer"
COMPUTED, CACHED, DROPPED = 1, 2, 3  # as the schema says of generation/cells


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is shown of a record, and where.

    Attributes:
        prompt, steps: how many. tracks: those shown, in order; all: how many there are. levels: those shown, lowest first.
        ids: of all tokens; the last was drawn and need not have been read. words, odds: [level][track] the likeliest next token
        and its probability. states: [step][block][track] of keys and values.
        cells: places, by (level, track); ins, outs: by track.
    """

    prompt: int
    steps: int
    tracks: tuple[int, ...]
    all: int
    levels: tuple[int, ...]
    ids: tuple[int, ...]
    words: Any
    odds: Any
    states: Any
    cells: dict[tuple[int, int], Box]
    ins: dict[int, Box]
    outs: dict[int, Box]

    @property
    def followed(self) -> int:
        """The track that is followed: the last token of the prompt, where the first answer comes out."""
        return self.prompt - 1

    def step_of(self, track: int) -> int:
        """The step in which a track goes through the model."""
        return max(0, track - self.prompt + 1)


def view_of(record: Record, sheet: Sheet) -> View:
    """The tracks around the end of the prompt and the levels for which the sheet has room."""
    ids = (*record["generation/prompt_ids"].tolist(), *record["generation/steps/drawn_ids"].tolist())
    prompt = len(record["generation/prompt_ids"])
    words, odds = record["generation/lens/ids"][:, :, 0], record["generation/lens/logprobs"][:, :, 0]
    levels, tracks = words.shape
    most = COLUMNS_WIDE if sheet.wide else COLUMNS_NARROW
    first = 0 if tracks <= most else max(0, min(prompt - 1 - most // 3, tracks - most))
    shown = tuple(range(first, min(tracks, first + most)))
    shown_levels = range(levels) if levels <= ROWS else [i * (levels - 1) // (ROWS - 1) for i in range(ROWS)]
    label, gap = (72.0, 7.0) if sheet.wide else (34.0, 5.0)
    left, top = sheet.left + label, sheet.top + (14.0 if sheet.wide else 36.0)
    out, into, below = (26.0, 26.0, 64.0) if sheet.wide else (22.0, 22.0, 76.0)
    pitch = min((sheet.right - left + gap) / len(shown), 150.0)
    room = sheet.bottom - 6 - below - into - 8 - (top + out + 8)
    high = min(room / len(shown_levels), 72.0 if sheet.wide else 64.0)
    cells, ins, outs = {}, {}, {}
    for place, track in enumerate(shown):
        x, wide = left + place * pitch, pitch - gap
        outs[track] = Box(x, top, wide, out)
        for row, level in enumerate(shown_levels):
            y = top + out + 8 + (len(shown_levels) - 1 - row) * high
            cells[level, track] = Box(x, y, wide, high - 3)
        ins[track] = Box(x, top + out + 8 + len(shown_levels) * high + 5, wide, into)
    return View(
        prompt=prompt, steps=len(ids) - prompt, tracks=shown, all=tracks, levels=tuple(shown_levels), ids=ids,
        words=words.tolist(), odds=[[exp(value) for value in row] for row in odds.tolist()],
        states=record["generation/cells"].tolist(), cells=cells, ins=ins, outs=outs,
    )  # fmt: skip


def head(view: View, sheet: Sheet) -> list[Node]:
    """Which part of the record is shown, and what colours, frames and dashes mean."""
    parts = [f"tracks {view.tracks[0]} to {view.tracks[-1]} of {view.all}"] if len(view.tracks) < view.all else []
    top_level = view.levels[-1]
    if len(view.levels) < top_level + 1:
        parts.append(f"{len(view.levels)} of {top_level + 1} levels")
    wide, y = (190.0, 26.0) if sheet.wide else (160.0, sheet.top + 2)
    nodes = legend("sequential", Box(sheet.right - wide, y, wide, 9.0), sheet.small, "0", "100%", "probability")
    if sheet.wide:
        after = sheet.left + text_width(TITLE, sheet.big, "sans", 600) + 20
        nodes.append(Text(after, sheet.pad + sheet.big, ", ".join(parts), sheet.small, fill=palette.QUIET))
        return nodes + key(view, sheet, 62.0)
    for i, part in enumerate(parts):
        nodes.append(Text(sheet.left, sheet.top + 10 + 15 * i, part, sheet.small, fill=palette.QUIET))
    return nodes + key(view, sheet, sheet.bottom - 2)


def key(view: View, sheet: Sheet, y: float) -> list[Node]:
    """How a cell looks in each of its states, in one line of text with its baseline at y."""
    middle = colour("sequential", 0.35)
    swatches: list[tuple[str, str | None, str, float, tuple[float, ...]]] = [
        ("computed", middle, middle, 1.0, ()), ("kept", None, middle, 2.5, ()), ("decided", None, palette.OUTPUT, 2.0, ()),
    ]  # fmt: skip
    if drops(view):
        swatches.insert(2, ("not read again", None, palette.UNTRAINED, 1.0, (2.0, 3.0)))
    nodes: list[Node] = []
    x, gap = sheet.left, 18.0 if sheet.wide else 10.0
    for word, fill, stroke, thick, dash in swatches:
        nodes.append(Rect(x + 1, y - 10, 15, 11, 2, fill, stroke, thick, dash))
        nodes.append(Text(x + 21, y, word, sheet.small, fill=palette.QUIET))
        x += 21 + text_width(word, sheet.small) + gap
    return nodes


def drops(view: View) -> bool:
    """Whether any track that is shown falls out of what a block can still read."""
    return any(block[track] == DROPPED for step in view.states for block in step for track in view.tracks)


def rows(view: View, sheet: Sheet, shape: Any) -> list[Node]:
    """The names of the rows."""
    nodes: list[Node] = []
    track = view.tracks[0]

    def name(box: Box, wide: str, narrow: str, under: str = "", label: str = "") -> None:
        word = wide if sheet.wide else narrow
        two = bool(under) and sheet.wide and box.h >= 30
        base = centred(box.y, box.h, sheet.small) - (7 if two else 0)
        nodes.append(Text(sheet.left, base, word, sheet.small, fill=palette.QUIET, label=label))
        if two:
            nodes.append(Text(sheet.left, base + 14, under, sheet.small, fill=palette.QUIET))

    name(view.outs[track], "comes out", "out")
    name(view.ins[track], "goes in", "in")
    for level in view.levels:
        box = view.cells[level, track]
        if level == 0:
            name(box, "embedded", "emb.", label="the token's and the track's vector, before any block")
            continue
        pattern = shape.pattern[level - 1]
        band = f"band {pattern.width}" if isinstance(pattern, Banded) else fit(str(pattern), 68, sheet.small)
        name(box, f"block {level - 1}", f"b {level - 1}", band, f"after block {level - 1} ({pattern})")
    return nodes
