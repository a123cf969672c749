"""What the figure `context` shows of a generation record: the window's positions, and which of them each block reads.

L blocks, S steps, T positions that went through the model.
"""

from dataclasses import dataclass

import numpy as np

from pellucid.draw.film.nodes import Shows, given
from pellucid.draw.views.model_info import RecordedModel, read_model
from pellucid.draw.views.pieces import Pieces, read_pieces
from pellucid.gpt.pattern import Pattern
from pellucid.record import Record


MOST_STEPS = 6  # that are shown
MOST_PATTERNS = 6
MASK_POSITIONS, MASK_TILES = 2048, 64  # of a mask: positions that are counted, and tiles a side
DROPPED = 3  # as the schema says of generation/cells


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternRow:
    """The blocks of one attention pattern.

    Attributes:
        pattern: (`provenance/config`, given). blocks: their numbers.
        reads: [step shown][position] whether the step's newest position reads it, by the pattern's definition; with a pattern
            by head, whether any head does. A compressed pattern reads keys made of several positions: the last of each counts.
        unreadable: [step shown][position] whether it went through the model and no later query can read it in any of these
            blocks (`generation/cells`, derived).
        mask: [tile of queries][tile of keys] the share of pairs in which the query reads the key, over the whole window.
    """

    pattern: Pattern
    blocks: tuple[int, ...]
    reads: tuple[tuple[bool, ...], ...]
    unreadable: tuple[tuple[bool, ...], ...]
    mask: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextView:
    """The figure's values.

    Attributes:
        n_ctx: positions of the window (`provenance/config`, given). prompt: tokens of it. ids: of all tokens.
        positions: T. steps: those shown, the first and the last among them. rows: a row for each pattern, in order of its first
            block; other_patterns: how many have no row.
    """

    model: RecordedModel
    pieces: Pieces
    n_ctx: int
    prompt: int
    ids: tuple[int, ...]
    positions: int
    steps: tuple[int, ...]
    total_steps: int
    rows: tuple[PatternRow, ...]
    other_patterns: int

    def newest(self, step: int) -> int:
        """The position whose output a step draws from."""
        return self.prompt - 1 + step

    def token_source(self, position: int) -> Shows:
        """Where the token that enters a position stands in the record."""
        if position < self.prompt:
            return given("generation/prompt_ids", position)
        return Shows("generation/steps/drawn_ids", (position - self.prompt,))


def context_view(record: Record) -> ContextView:
    """Reads a generation record. Raises MissingChunk where it lacks a chunk that the figure needs."""
    model = read_model(record)
    prompt, drawn = (record[f"generation/{name}"].tolist() for name in ("prompt_ids", "steps/drawn_ids"))
    cells = record["generation/cells"]  # (S, L, T)
    count, _, positions = cells.shape
    shown = min(count, MOST_STEPS)
    steps = tuple(i * (count - 1) // max(shown - 1, 1) for i in range(shown))
    by_pattern: dict[str, list[int]] = {}
    for block, pattern in enumerate(model.config.pattern):
        by_pattern.setdefault(str(pattern), []).append(block)
    found = list(by_pattern.values())
    return ContextView(
        model=model,
        pieces=read_pieces(record),
        n_ctx=model.config.n_ctx,
        prompt=len(prompt),
        ids=(*prompt, *drawn),
        positions=positions,
        steps=steps,
        total_steps=count,
        rows=tuple(_row(record, blocks, steps) for blocks in found[:MOST_PATTERNS]),
        other_patterns=max(0, len(found) - MOST_PATTERNS),
    )


def _row(record: Record, blocks: list[int], steps: tuple[int, ...]) -> PatternRow:
    config, cells, prompt = read_model(record).config, record["generation/cells"], len(record["generation/prompt_ids"])
    pattern, k = config.pattern[blocks[0]], np.arange(cells.shape[2])
    return PatternRow(
        pattern=pattern,
        blocks=tuple(blocks),
        reads=tuple(tuple(np.broadcast_to(pattern.visible(prompt - 1 + step, k), k.shape).tolist()) for step in steps),
        unreadable=tuple(tuple((cells[step, blocks] == DROPPED).all(axis=0).tolist()) for step in steps),
        mask=_mask(pattern, min(config.n_ctx, MASK_POSITIONS)),
    )


def _mask(pattern: Pattern, positions: int) -> tuple[tuple[float, ...], ...]:
    """The mean of the mask over equal tiles, each of whole positions."""
    tiles = min(positions, MASK_TILES)
    edges = np.arange(tiles + 1) * positions // tiles
    q, k = np.arange(positions)[:, None], np.arange(positions)[None]
    seen = np.broadcast_to(pattern.visible(q, k), (positions, positions)).astype(np.float64)
    sums = np.add.reduceat(np.add.reduceat(seen, edges[:-1], axis=0), edges[:-1], axis=1)
    sizes = np.diff(edges)
    return tuple(map(tuple, (sums / np.outer(sizes, sizes)).tolist()))
