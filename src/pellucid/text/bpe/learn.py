"""Learning byte-pair encoding: joins the most frequent pair of tokens, again and again.

All distinct words lie one after another in one array of bytes, and a token is the place of its first byte there. Of each pair
of tokens the places are known, so a merge takes time for the places of its pair alone, however long their words are: n bytes
take O(n log n) in all. (Searching each word for the pair, as is usual, takes the square of the longest word.)

The result is that of `tokenizers`' BpeTrainer, rule by rule. Of pairs that are equally frequent the one of the lower ids is
joined first. Where pairs overlap, as in "aaa", the first is joined. Where two pairs make the same token, the places of each are
joined in a turn of their own.
"""

from array import array
from bisect import bisect_right
from collections.abc import Mapping
from heapq import heappop, heappush

from pellucid.text.bytes_to_characters import BYTE_ORDER


LEAST_COUNT = 2  # a pair seen once is not worth a token: nothing says that it will come again
BORDER, JOINED = -1, -2  # in place of a token: between two words; inside of a token that starts before
Pair = tuple[int, int]


def learn(counts: Mapping[bytes, int], vocab_size: int, longest: int) -> list[bytes]:
    """The tokens that BPE learns, in the order of merging: the 256 bytes in GPT-2's order, then what each merge makes.

    Args:
        counts: of each distinct word.
        vocab_size: the most tokens, the 256 bytes included.
        longest: the most bytes of a token.
    """
    return Learning(counts, longest).run(vocab_size)


class Learning:
    """The state of learning.

    Attributes:
        tokens, ids: each token's bytes, and back.
        at: (N,) the token that starts at each byte, or BORDER, or JOINED.
        start: (N,) for the last byte of a token the place where it starts.
        counts: of each pair, as often as its words stand in the text.
        turns: of each pair the lists of places in which it is to be joined, of which each has a turn of its own.
        queue: a heap of (-count when it was pushed, pair, index of the turn).
    """

    def __init__(self, counts: Mapping[bytes, int], longest: int) -> None:
        self.tokens = [bytes([byte]) for byte in BYTE_ORDER]
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self.longest = longest
        self.at = array("i", [BORDER])
        self.first_bytes: list[int] = []  # of each word
        self.word_counts = list(counts.values())
        for word in counts:
            self.first_bytes.append(len(self.at))
            self.at.extend(self.ids[word[i : i + 1]] for i in range(len(word)))
            self.at.append(BORDER)
        self.start = array("i", range(len(self.at)))
        self.counts: dict[Pair, int] = {}
        self.turns: dict[Pair, list[array[int]]] = {}
        self.queue: list[tuple[int, Pair, int]] = []
        found: dict[Pair, array[int]] = {}
        for first, word, count in zip(self.first_bytes, counts, self.word_counts, strict=True):
            for place in range(first, first + len(word) - 1):
                self._add(found, (self.at[place], self.at[place + 1]), place, count)
        self._push(found)

    def run(self, vocab_size: int) -> list[bytes]:
        """Merges until there are `vocab_size` tokens, or no pair is frequent enough."""
        while len(self.tokens) < vocab_size and self.queue:
            negative, pair, turn = heappop(self.queue)
            if -negative != self.counts[pair]:
                heappush(self.queue, (-self.counts[pair], pair, turn))
            elif -negative < LEAST_COUNT:
                break
            else:
                self._merge(pair, turn)
        return self.tokens

    def _add(self, found: dict[Pair, "array[int]"], pair: Pair, place: int, count: int) -> None:
        self.counts[pair] = self.counts.get(pair, 0) + count
        if pair in found:
            found[pair].append(place)
        else:
            found[pair] = array("i", [place])

    def _push(self, found: dict[Pair, "array[int]"]) -> None:
        """Queues the pairs that a merge has made."""
        for pair, places in found.items():
            if self.counts[pair] > 0:
                turns = self.turns.setdefault(pair, [])
                heappush(self.queue, (-self.counts[pair], pair, len(turns)))
                turns.append(places)

    def places_of(self, pair: Pair, turn: int) -> list[int]:
        """The places of a pair in every word that its turn names, ascending; some may no longer be of this pair."""
        turns = self.turns[pair]
        if len(turns) == 1:
            return list(turns[0])
        words = {self._word(place) for place in turns[turn]}
        return sorted(place for places in turns for place in places if self._word(place) in words)

    def _word(self, place: int) -> int:
        return bisect_right(self.first_bytes, place) - 1

    def _merge(self, pair: Pair, turn: int) -> None:
        left, right = pair
        token = self.tokens[left] + self.tokens[right]
        new = self.ids.setdefault(token, len(self.tokens))
        if new == len(self.tokens):
            self.tokens.append(token)
        at, start, tokens = self.at, self.start, self.tokens
        to_right = len(tokens[left])
        found: dict[Pair, array[int]] = {}
        for place in self.places_of(pair, turn):
            middle = place + to_right
            if at[place] != left or at[middle] != right:
                continue  # joined with something else meanwhile
            end = middle + len(tokens[right])
            count = self.word_counts[self._word(place)]
            at[place], at[middle], start[end - 1] = new, JOINED, place
            if at[place - 1] != BORDER:
                before = start[place - 1]
                self._take(at[before], left, count)
                if len(tokens[at[before]]) + len(token) <= self.longest:
                    self._add(found, (at[before], new), before, count)
            if at[end] != BORDER:
                self._take(right, at[end], count)
                if len(token) + len(tokens[at[end]]) <= self.longest:
                    self._add(found, (new, at[end]), place, count)
        self._push(found)

    def _take(self, left: int, right: int, count: int) -> None:
        if (left, right) in self.counts:  # too long a pair is not counted
            self.counts[left, right] -= count
