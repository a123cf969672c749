"""Training byte-pair encoding in Python: joins the most frequent pair of tokens, again and again.

All distinct words lie one after another in one array of bytes; a token's position is that of its first byte. The positions of
every pair are known, so a merge takes time for the positions of its pair alone, however long the words are: n bytes take
O(n log n) in all. (Searching each word for the pair, as is usual, takes the square of the longest word.)

The result is that of `tokenizers`' BpeTrainer, rule by rule. Of pairs that are equally frequent the one of the lower ids is
joined first. Where pairs overlap, as in "aaa", the first is joined. Where two pairs make the same token, both merges may add
positions to one pair: those of each merge are a group, and the groups are joined one by one.
"""

from array import array
from bisect import bisect_right
from collections.abc import Mapping
from heapq import heappop, heappush

from pellucid.text.bytes_to_characters import BYTE_ORDER


MIN_FREQUENCY = 2  # of a pair that is merged: one seen once may never come again
BORDER, JOINED = -1, -2  # in place of a token: between two words; inside a token that starts before
Pair = tuple[int, int]


def learn(counts: Mapping[bytes, int], vocab_size: int, max_token_length: int) -> list[bytes]:
    """The tokens of a trained BPE in the order of merging: the 256 bytes in GPT-2's order, then what each merge makes.

    Args:
        counts: how often each distinct word occurs.
        vocab_size: tokens at most, the 256 bytes included.
        max_token_length: bytes of a token at most.
    """
    return Learning(counts, max_token_length).run(vocab_size)


class Learning:
    """The state of training.

    Attributes:
        tokens, ids: each token's bytes, and back.
        at: (N,) the token that starts at each position, or BORDER, or JOINED.
        start: (N,) for the last byte of a token the position where it starts.
        counts: how often each pair occurs in the text: once for every occurrence of its word.
        groups: for each pair its positions, in a list for each merge that added some.
        queue: a heap of (-count when it was pushed, pair, index of the group).
    """

    def __init__(self, counts: Mapping[bytes, int], max_token_length: int) -> None:
        self.tokens = [bytes([byte]) for byte in BYTE_ORDER]
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self.max_token_length = max_token_length
        self.at = array("i", [BORDER])
        self.first_bytes: list[int] = []  # of each word
        self.word_counts = list(counts.values())
        for word in counts:
            self.first_bytes.append(len(self.at))
            self.at.extend(self.ids[word[i : i + 1]] for i in range(len(word)))
            self.at.append(BORDER)
        self.start = array("i", range(len(self.at)))
        self.counts: dict[Pair, int] = {}
        self.groups: dict[Pair, list[array[int]]] = {}
        self.queue: list[tuple[int, Pair, int]] = []
        found: dict[Pair, array[int]] = {}
        for first, word, count in zip(self.first_bytes, counts, self.word_counts, strict=True):
            for position in range(first, first + len(word) - 1):
                self._add(found, (self.at[position], self.at[position + 1]), position, count)
        self._push(found)

    def run(self, vocab_size: int) -> list[bytes]:
        """Merges until there are `vocab_size` tokens, or no pair is frequent enough."""
        while len(self.tokens) < vocab_size and self.queue:
            negative, pair, group = heappop(self.queue)
            if -negative != self.counts[pair]:
                heappush(self.queue, (-self.counts[pair], pair, group))
            elif -negative < MIN_FREQUENCY:
                break
            else:
                self._merge(pair, group)
        return self.tokens

    def _add(self, found: dict[Pair, "array[int]"], pair: Pair, position: int, count: int) -> None:
        self.counts[pair] = self.counts.get(pair, 0) + count
        if pair in found:
            found[pair].append(position)
        else:
            found[pair] = array("i", [position])

    def _push(self, found: dict[Pair, "array[int]"]) -> None:
        """Queues the pairs that a merge has made."""
        for pair, positions in found.items():
            if self.counts[pair] > 0:
                groups = self.groups.setdefault(pair, [])
                heappush(self.queue, (-self.counts[pair], pair, len(groups)))
                groups.append(positions)

    def positions_of(self, pair: Pair, group: int) -> list[int]:
        """The positions of a pair in every word that its group names, ascending; some may no longer be of this pair."""
        groups = self.groups[pair]
        if len(groups) == 1:
            return list(groups[0])
        words = {self._word(position) for position in groups[group]}
        return sorted(position for positions in groups for position in positions if self._word(position) in words)

    def _word(self, position: int) -> int:
        return bisect_right(self.first_bytes, position) - 1

    def _merge(self, pair: Pair, group: int) -> None:
        left, right = pair
        token = self.tokens[left] + self.tokens[right]
        new = self.ids.setdefault(token, len(self.tokens))
        if new == len(self.tokens):
            self.tokens.append(token)
        at, start, tokens = self.at, self.start, self.tokens
        to_right = len(tokens[left])
        found: dict[Pair, array[int]] = {}
        for position in self.positions_of(pair, group):
            middle = position + to_right
            if at[position] != left or at[middle] != right:
                continue  # joined with something else meanwhile
            end = middle + len(tokens[right])
            count = self.word_counts[self._word(position)]
            at[position], at[middle], start[end - 1] = new, JOINED, position
            if at[position - 1] != BORDER:
                before = start[position - 1]
                self._take(at[before], left, count)
                if len(tokens[at[before]]) + len(token) <= self.max_token_length:
                    self._add(found, (at[before], new), before, count)
            if at[end] != BORDER:
                self._take(right, at[end], count)
                if len(token) + len(tokens[at[end]]) <= self.max_token_length:
                    self._add(found, (new, at[end]), position, count)
        self._push(found)

    def _take(self, left: int, right: int, count: int) -> None:
        if (left, right) in self.counts:  # too long a pair is not counted
            self.counts[left, right] -= count
