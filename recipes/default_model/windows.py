"""Training windows: the n_ctx + 1 tokens of window i, as a pure function of (seed, i).

Every 20 windows have fixed numbers of windows of prose, of tasks and of descriptions with code; their order is drawn anew for
each 20. Windows of prose are cut from the books, joined end to end in an order that is drawn anew for each pass over them. A
window of tasks or code is filled with groups of examples, each followed by end-of-text; every group is drawn anew.

From the training token `eot_from` on, if that is set, windows of tasks and code also begin with end-of-text. Prose begins
anywhere in a book, without end-of-text, so the model then continues a bare prompt as prose; otherwise it takes one in five for
the start of a task.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.corpus import Tokens, open_corpus
from pellucid.hashing import mix, permuted
from pellucid.text import Tokenizer
from recipes.default_model.draws import Draws
from recipes.default_model.groups import Group, markup_group, task_group
from recipes.default_model.lexicon import Lexicon


CYCLE = 20  # windows, of which each kind has its share
KINDS = ("prose", "tasks", "markup")
# The purpose of a draw, part of its key, so that draws for different purposes are independent.
_KIND, _BOOKS, _PHASE, _PLACE, _TASKS, _MARKUP = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Shares:
    """How many of every `CYCLE` windows are tasks and markup; the others are prose."""

    tasks: int = 4
    markup: int = 1

    def __post_init__(self) -> None:
        if self.tasks < 0 or self.markup < 0 or self.tasks + self.markup > CYCLE:
            raise ValueError(f"shares count windows of every {CYCLE}: {self.tasks} + {self.markup} do not fit")

    def of(self, kind: str) -> int:
        """The number of windows of a kind in every `CYCLE`."""
        return {"tasks": self.tasks, "markup": self.markup, "prose": CYCLE - self.tasks - self.markup}[kind]


class Prose:
    """Windows of whole books, joined in a new order for each pass.

    Args:
        tokens: of all books, with end-of-text after each.
        lengths: of the books in tokens, in the order of `tokens`.
        n_ctx: the number of targets in a window, which has n_ctx + 1 tokens.
    """

    def __init__(self, tokens: Tokens, lengths: list[int], n_ctx: int, *, seed: int) -> None:
        assert sum(lengths) == len(tokens)
        if len(tokens) < 2 * n_ctx:
            raise ValueError(f"the books have {len(tokens):,} tokens, too few for windows of {n_ctx + 1}")
        self.tokens, self.n_ctx, self.seed = tokens, n_ctx, seed
        self._lengths = lengths
        self._starts = [0, *accumulate(lengths)][:-1]
        # A pass begins at a random offset below n_ctx and has whole windows only: it leaves out fewer than 2 n_ctx tokens,
        # others in each pass.
        self.per_pass = (len(tokens) - 1) // n_ctx - 1
        self._order: tuple[int, list[int], list[int]] = (-1, [], [])

    def window(self, k: int) -> NDArray[np.int64]:
        """The k-th window of prose, (n_ctx + 1,)."""
        turn, index = divmod(k, self.per_pass)
        place = permuted(index, self.per_pass, key=mix(self.seed, _PLACE, turn))
        return self._joined(turn, mix(self.seed, _PHASE, turn) % self.n_ctx + place * self.n_ctx)

    def _joined(self, turn: int, start: int) -> NDArray[np.int64]:
        """The n_ctx + 1 tokens from position `start` of the books, joined in the order of a pass."""
        if self._order[0] != turn:
            books = len(self._lengths)
            order = [permuted(i, books, key=mix(self.seed, _BOOKS, turn)) for i in range(books)]
            self._order = turn, order, list(accumulate(self._lengths[book] for book in order))
        _, order, ends = self._order
        parts: list[NDArray[np.int64]] = []
        need = self.n_ctx + 1
        position = int(np.searchsorted(ends, start, side="right"))
        while need:
            book = order[position]
            offset = max(0, start - (ends[position] - self._lengths[book]))
            part = self.tokens[self._starts[book] + offset : self._starts[book] + min(self._lengths[book], offset + need)]
            parts.append(part)
            need -= len(part)
            position += 1
        return np.concatenate(parts)


class Mixture:
    """All training windows of a run.

    Args:
        prose: the windows of books.
        lexicon: the words and sentences of the tasks.
        tokenizer: encodes the groups of examples.
        shares: how many windows are of which kind.
        eot_from: training tokens before the first window of tasks or code that begins with end-of-text; None: no window does.
    """

    def __init__(
        self, prose: Prose, lexicon: Lexicon, tokenizer: Tokenizer, *, shares: Shares, seed: int, eot_from: int | None = None
    ) -> None:
        self.prose, self.lexicon, self.tokenizer = prose, lexicon, tokenizer
        self.shares, self.seed, self.n_ctx, self.eot_from = shares, seed, prose.n_ctx, eot_from

    @classmethod
    def open(cls, data: Path, n_ctx: int, *, shares: Shares, seed: int, eot_from: int | None = None) -> Self:
        """The mixture of a folder that `prepare` made."""
        corpus = open_corpus(data / "prose", verify=False)
        lengths = [entry["tokens"] for entry in corpus.documents() if entry["part"] == "train"]
        prose = Prose(corpus.train, lengths, n_ctx, seed=seed)
        return cls(prose, Lexicon.load(data), Tokenizer.load(data), shares=shares, seed=seed, eot_from=eot_from)

    def kind(self, i: int) -> tuple[str, int]:
        """(the kind of window i, how many windows of that kind come before it)."""
        cycle, place = divmod(i, CYCLE)
        key = mix(self.seed, _KIND, cycle)
        drawn = [self._kind_of(permuted(p, CYCLE, key=key)) for p in range(place + 1)]
        return drawn[-1], cycle * self.shares.of(drawn[-1]) + drawn[:-1].count(drawn[-1])

    def _kind_of(self, number: int) -> str:
        return (
            "tasks" if number < self.shares.tasks else "markup" if number < self.shares.tasks + self.shares.markup else "prose"
        )

    def window(self, i: int) -> NDArray[np.int64]:
        """Window i, (n_ctx + 1,)."""
        kind, number = self.kind(i)
        if kind == "prose":
            return self.prose.window(number)
        begins = self.eot_from is not None and i * self.n_ctx >= self.eot_from
        ids: list[int] = [self.tokenizer.eot] if begins else []
        for group in self.groups(kind, number):
            ids += [*self.tokenizer.encode(group.text), self.tokenizer.eot]
        return np.array(ids[: self.n_ctx + 1], dtype=np.int64)

    def groups(self, kind: str, number: int) -> list[Group]:
        """The groups of window `number` of a kind: as many as fill the window, which may cut off the last one."""
        make: Callable[[Draws, Lexicon], Group] = task_group if kind == "tasks" else markup_group
        groups: list[Group] = []
        tokens = 0
        while tokens < self.n_ctx + 1:
            draws = Draws(self.seed, _TASKS if kind == "tasks" else _MARKUP, number, len(groups))
            groups.append(make(draws, self.lexicon))
            tokens += len(self.tokenizer.encode(groups[-1].text)) + 1
        return groups

    def batch(self, step: int, windows: int) -> tuple[Tensor, Tensor]:
        """The ids of a step and its targets, the tokens that follow them, (windows, n_ctx) each."""
        rows = torch.from_numpy(np.stack([self.window(step * windows + row) for row in range(windows)]))
        return rows[:, :-1], rows[:, 1:]
