"""What one block keeps of earlier tracks: the keys and values that its pattern can still read, each in a slot of its own.

B rows (sequences), H heads, D head width, S slots, T new tracks.

    dense, column, strided   track p in slot p                 all tracks: every one is in some later query's column
    banded(w)                slot p mod w                      a full band overwrites its oldest key
    local(l)                 slot p mod l
    summary(l, c)            the summary tracks, in order
    fixed(l, c)              slot l - 1 - p mod l for the own block, and the summaries of earlier blocks from slot l on: what
                             a query reads lies together
    heads(a, b ...)          a shelf for each pattern
    compressed               the key of nothing, finished keys in order, and the last tracks that wait for the next key
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.gpt.attention import attention, compressed_attention, picked_attention
from pellucid.gpt.compressor import Compressor
from pellucid.gpt.pattern import Banded, Column, Compressed, Fixed, Heads, Local, Pattern, Strided, Summary


# New tracks that read on from a cache together: the mask over them and all they see stays small.
AT_ONCE = 256


class Shelf(ABC):
    """The interface of all shelves. `lengths`: tracks that each row has already."""

    @abstractmethod
    def tensors(self) -> list[Tensor]:
        """What is held, each with rows in its second dimension."""

    @abstractmethod
    def keep(self, rows: Tensor) -> None:
        """Drops every row but these."""

    @abstractmethod
    def attend_one(self, lengths: list[int], q: Tensor, k: Tensor, v: Tensor, compressor: Compressor | None) -> Tensor:
        """(B, H, 1, D) of one new track a row -> its attention; keeps it."""

    @abstractmethod
    def attend_many(self, length: int, q: Tensor, k: Tensor, v: Tensor, compressor: Compressor | None) -> Tensor:
        """(B, H, T, D) of T new tracks of rows of one length -> their attention; keeps them."""


def make_shelf(pattern: Pattern, capacity: int, like: Tensor) -> Shelf:
    """An empty shelf.

    Args:
        like: (2, B, H, 0, D) of the right dtype and device.
    """
    match pattern:
        case Heads():
            return HeadsShelf(pattern, capacity, like)
        case Compressed():
            return CompressedShelf(pattern, capacity, like)
        case Fixed():
            return FixedShelf(pattern, capacity, like)
    return TrackShelf(pattern, capacity, like)


class TrackShelf(Shelf):
    """A slot a track, by a rule."""

    def __init__(self, pattern: Pattern, capacity: int, like: Tensor) -> None:
        self.pattern = pattern
        self.slots = pattern.reach(capacity)
        self.kept = like.new_zeros(*like.shape[:3], self.slots, like.shape[4])  # keys and values: (2, B, H, S, D)

    def tensors(self) -> list[Tensor]:
        """What is held."""
        return [self.kept]

    def keep(self, rows: Tensor) -> None:
        """Drops every row but these."""
        self.kept = self.kept.index_select(1, rows)

    # The rule. Tracks may be integers or tensors.

    def places(self, newest: int, *, read: bool) -> list[tuple[Tensor, Tensor]]:
        """(tracks, their slots) of everything that is kept when `newest` is the newest track; to read, each once."""
        tracks = torch.arange(newest + 1, device=self.kept.device)
        tracks = tracks[self.pattern.kept(tracks, newest)]
        return [(tracks, self._slot(tracks))]

    def _slot(self, track: Any) -> Any:
        match self.pattern:
            case Banded():
                return track % self.slots
            case Local(length):
                return track % length
            case Summary(length, columns):
                return track // length * columns + track % length - self.pattern.start
        return track

    def read(self, query: int) -> slice | Tensor:
        """The slots that one query reads."""
        match self.pattern:
            case Banded():
                return slice(0, min(query + 1, self.slots))
            case Local(length):
                return slice(0, query % length + 1)
            case Summary():
                return slice(0, self.pattern.reach(query + 1))
            case Column(stride):
                return slice(query % stride, query + 1, stride)
            case Strided(stride) if query > stride:
                far = torch.arange(query % stride, query - stride, stride, device=self.kept.device)
                return torch.cat((far, torch.arange(query - stride, query + 1, device=self.kept.device)))
        return slice(0, query + 1)

    def seen(self, query: Tensor) -> Tensor:
        """(B,) queries -> (B, S) bool: the slots that each reads."""
        slot, query = torch.arange(self.slots, device=query.device), query[:, None]
        match self.pattern:
            case Banded():
                return slot <= query
            case Local(length):
                return slot <= query % length
            case Summary(length, columns):
                return (slot // columns * length + slot % columns + self.pattern.start) <= query
        seen: Tensor = self.pattern.visible(query, slot)
        return seen

    # What is done with it.

    def attend_one(self, lengths: list[int], q: Tensor, k: Tensor, v: Tensor, compressor: Compressor | None) -> Tensor:
        """One new track a row."""
        self._put_one(lengths, k, v)
        if len(set(lengths)) == 1:
            # Order does not matter to attention (positions are in the embeddings), so a wrapped band is read as it lies.
            slots = self.read(lengths[0])
            keys, values = self.kept[0, :, :, slots], self.kept[1, :, :, slots]
            return F.scaled_dot_product_attention(q, keys, values) if keys.shape[2] else torch.zeros_like(q)
        if not self.slots:
            return torch.zeros_like(q)
        seen = self.seen(torch.tensor(lengths, device=q.device))
        return picked_attention(q, self.kept[0], self.kept[1], seen[:, None, None, :])

    def _slots_of(self, track: int) -> list[int]:
        """Where a new track goes: nowhere if no query reads it."""
        return [int(self._slot(track))] if self.pattern.kept(track, track) else []

    def _put_one(self, lengths: list[int], k: Tensor, v: Tensor) -> None:
        if len(set(lengths)) == 1:
            for slot in self._slots_of(lengths[0]):
                self.kept[0, :, :, slot] = k[:, :, 0]
                self.kept[1, :, :, slot] = v[:, :, 0]
            return
        places = [(row, slot) for row, track in enumerate(lengths) for slot in self._slots_of(track)]
        if places:
            rows, slots = torch.tensor(places, device=k.device).T
            self.kept[0, rows, :, slots] = k[rows, :, 0]
            self.kept[1, rows, :, slots] = v[rows, :, 0]

    def attend_many(self, length: int, q: Tensor, k: Tensor, v: Tensor, compressor: Compressor | None) -> Tensor:
        """Many new tracks of rows of one length."""
        if length == 0:
            out = attention(q, k, v, self.pattern)
            self._put_many(0, k, v)
            return out
        answers = []
        for first in range(0, q.shape[2], AT_ONCE):
            some = slice(first, first + AT_ONCE)
            answers.append(self._read_on(length + first, q[:, :, some], k[:, :, some], v[:, :, some]))
            self._put_many(length + first, k[:, :, some], v[:, :, some])
        return torch.cat(answers, dim=2)

    def _read_on(self, length: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """New tracks over what is kept and themselves."""
        new = torch.arange(length, length + q.shape[2], device=q.device)
        places = self.places(length - 1, read=True)
        slots = torch.cat([slots for _, slots in places])
        tracks = torch.cat([tracks for tracks, _ in places] + [new])
        seen = torch.as_tensor(self.pattern.visible(new[:, None], tracks))
        return picked_attention(
            q, torch.cat((self.kept[0, :, :, slots], k), 2), torch.cat((self.kept[1, :, :, slots], v), 2), seen
        )

    def _put_many(self, length: int, k: Tensor, v: Tensor) -> None:
        for tracks, slots in self.places(length + k.shape[2] - 1, read=False):
            new = tracks >= length
            self.kept[0, :, :, slots[new]] = k[:, :, tracks[new] - length]
            self.kept[1, :, :, slots[new]] = v[:, :, tracks[new] - length]


class FixedShelf(TrackShelf):
    """The own block, newest first, and behind it the summaries of the blocks before; a track can be in both."""

    pattern: Fixed

    def places(self, newest: int, *, read: bool) -> list[tuple[Tensor, Tensor]]:
        """(tracks, slots) of the own block, and of the summaries: those of earlier blocks to read, all to write."""
        local, summary = self.pattern.factors
        start = newest // local.length * local.length  # of the own block
        own = torch.arange(start, newest + 1, device=self.kept.device)
        tracks = torch.arange(start if read else newest + 1, device=self.kept.device)
        tracks = tracks[summary.contains(tracks) & (self._summary_slot(tracks) < self.slots)]
        return [(own, self._slot(own)), (tracks, self._summary_slot(tracks))]

    @property
    def _own(self) -> int:
        """Slots of the own block."""
        return self.slots if self.slots < self.pattern.length else self.pattern.length

    def _slot(self, track: Any) -> Any:
        return self._own - 1 - track % self.pattern.length

    def _summary_slot(self, track: Any) -> Any:
        length, start = self.pattern.length, self.pattern.factors[1].start
        return self._own + track // length * self.pattern.columns + track % length - start

    def read(self, query: int) -> slice | Tensor:
        """The slots that one query reads: they lie together."""
        length = self.pattern.length
        return slice(self._own - 1 - query % length, self._own + query // length * self.pattern.columns)

    def seen(self, query: Tensor) -> Tensor:
        """(B,) queries -> (B, S) bool: the slots that each reads."""
        slot, query = torch.arange(self.slots, device=query.device), query[:, None]
        length = self.pattern.length
        return (slot >= self._own - 1 - query % length) & (slot < self._own + query // length * self.pattern.columns)

    def _slots_of(self, track: int) -> list[int]:
        summary = self._summary_slot(track)  # none after the last block of all: nothing comes that could read it
        return [self._slot(track)] + [summary] * (self.pattern.factors[1].contains(track) and summary < self.slots)


class HeadsShelf(Shelf):
    """A shelf for each pattern: head h is on shelf h mod their number."""

    def __init__(self, pattern: Heads, capacity: int, like: Tensor) -> None:
        self.ways = len(pattern.patterns)
        self.heads = like.shape[2]
        self.shelves = [make_shelf(p, capacity, like[:, :, i :: self.ways]) for i, p in enumerate(pattern.patterns)]

    def tensors(self) -> list[Tensor]:
        """What is held."""
        return [kept for shelf in self.shelves for kept in shelf.tensors()]

    def keep(self, rows: Tensor) -> None:
        """Drops every row but these."""
        for shelf in self.shelves:
            shelf.keep(rows)

    def attend_one(self, lengths: list[int], q: Tensor, k: Tensor, v: Tensor, compressor: Compressor | None) -> Tensor:
        """One new track a row."""
        out = torch.empty_like(q)
        for i, shelf in enumerate(self.shelves[: self.heads]):
            mine = slice(i, None, self.ways)
            out[:, mine] = shelf.attend_one(lengths, q[:, mine], k[:, mine], v[:, mine], None)
        return out

    def attend_many(self, length: int, q: Tensor, k: Tensor, v: Tensor, compressor: Compressor | None) -> Tensor:
        """Many new tracks of rows of one length."""
        out = torch.empty_like(q)
        for i, shelf in enumerate(self.shelves[: self.heads]):
            mine = slice(i, None, self.ways)
            out[:, mine] = shelf.attend_many(length, q[:, mine], k[:, mine], v[:, mine], None)
        return out


class CompressedShelf(Shelf):
    """The key of nothing in slot 0, key m in slot 1 + m; and the newest tracks, each in slot p mod kernel of `waiting`."""

    def __init__(self, pattern: Compressed, capacity: int, like: Tensor) -> None:
        self.pattern = pattern
        shape = like.shape
        self.kept = like.new_zeros(*shape[:3], 1 + int(pattern.count(capacity)), shape[4])
        self.waiting = like.new_zeros(*shape[:3], min(pattern.kernel, capacity), shape[4])

    def tensors(self) -> list[Tensor]:
        """What is held."""
        return [self.kept, self.waiting]

    def keep(self, rows: Tensor) -> None:
        """Drops every row but these."""
        self.kept, self.waiting = self.kept.index_select(1, rows), self.waiting.index_select(1, rows)

    def attend_one(self, lengths: list[int], q: Tensor, k: Tensor, v: Tensor, compressor: Compressor | None) -> Tensor:
        """One new track a row."""
        assert compressor is not None
        kernel, new, rows = self.pattern.kernel, torch.tensor(lengths, device=q.device), torch.arange(len(q), device=q.device)
        self._put_nothing(compressor)
        self.waiting[0, rows, :, new % kernel] = k[:, :, 0]
        self.waiting[1, rows, :, new % kernel] = v[:, :, 0]
        count = self.pattern.count(new + 1)
        done = rows[self.pattern.visible(new, new)]  # this track finishes a key
        if len(done):
            order = (new[done, None] + 1 + torch.arange(kernel, device=q.device)) % kernel  # the oldest first
            k, v = (self.waiting[i][done[:, None], :, order].transpose(1, 2) for i in range(2))
            k, v = compressor.keys(k, v)
            self.kept[0, done, :, count[done]] = k[:, :, 0]
            self.kept[1, done, :, count[done]] = v[:, :, 0]
        if len(set(lengths)) == 1:
            filled = 1 + int(self.pattern.count(lengths[0] + 1))
            return F.scaled_dot_product_attention(q, self.kept[0, :, :, :filled], self.kept[1, :, :, :filled])
        seen = torch.arange(self.kept.shape[3], device=q.device) <= count[:, None]
        return picked_attention(q, self.kept[0], self.kept[1], seen[:, None, None, :])

    def attend_many(self, length: int, q: Tensor, k: Tensor, v: Tensor, compressor: Compressor | None) -> Tensor:
        """Many new tracks of rows of one length."""
        assert compressor is not None
        self._put_nothing(compressor)
        tracks, had = length + q.shape[2], int(self.pattern.count(length))
        first = min(had * self.pattern.stride, length)  # the first track that waits for the next key
        old = torch.arange(first, length, device=q.device) % self.pattern.kernel
        all_k, all_v = (torch.cat((self.waiting[i, :, :, old], x), dim=2) for i, x in enumerate((k, v)))
        new_k, new_v = compressor.keys(all_k, all_v)
        filled = 1 + had + new_k.shape[2]
        self.kept[0, :, :, 1 + had : filled], self.kept[1, :, :, 1 + had : filled] = new_k, new_v
        last = torch.arange(max(length, tracks - self.pattern.kernel), tracks, device=q.device)
        self.waiting[0, :, :, last % self.pattern.kernel] = k[:, :, last - length]
        self.waiting[1, :, :, last % self.pattern.kernel] = v[:, :, last - length]
        keys, values = self.kept[0, :, :, :filled], self.kept[1, :, :, :filled]
        return compressed_attention(q, keys, values, self.pattern, first=length)

    def _put_nothing(self, compressor: Compressor) -> None:
        no_key, no_value = compressor.nothing(self.kept.shape[1])
        self.kept[0, :, :, :1], self.kept[1, :, :, :1] = no_key, no_value
