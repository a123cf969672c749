"""Long words, encoded in parts, against the same words encoded whole; and merges against merging step by step."""

import random
from itertools import pairwise
from unittest import mock

import pytest
from cases import cases
from hypothesis import example, given
from hypothesis import strategies as st
from stories import story

from pellucid.errors import PellucidError
from pellucid.text import Tokenizer, long_words, r50k, train_tokenizer
from pellucid.text.bytes_to_characters import BYTE_ORDER
from pellucid.text.merges import Merges, check_merges, merges_from_ranks


CHINESE = "的一是不了人我在有他这中大来上个国到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后"
ALPHABETS = ["a", " ", "ab", "etaoinshrdlu", "0123456789", CHINESE, "🙂👍", "-=#", "\n", "e\u0301", "é1", " \n"]
words = st.builds(
    lambda alphabet, seed, n: "".join(random.Random(seed).choices(alphabet, k=n)),
    st.sampled_from(ALPHABETS), st.integers(0, 99), st.integers(1, 400),
)  # fmt: skip
texts = st.lists(
    st.one_of(words, st.sampled_from(["'s", " the", "\n\n", "  x", "\U0001f642", "\U0002ffff", "\x1c"])), max_size=6
).map("".join)


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    """Has tokens as long as half of a part, so that what the end of a part changes reaches far."""
    long = ["a" * 5000, " " * 5000, "ab" * 500, CHINESE * 20]
    return train_tokenizer([story(300, 1), *long], 700)


@cases(30)
@given(text=texts)
@example(text="a" * 64 + "\n\n\x1c\n\n")  # U+001C is white space to Python, not to the pattern
def test_in_parts_the_ids_are_those_of_the_whole(trained: Tokenizer, text: str) -> None:
    with mock.patch.object(long_words, "PART", 64):
        for tokenizer in (r50k(), trained):
            whole = tokenizer._encoding.encode_ordinary(text)
            assert tokenizer.encode(text) == whole
            assert tokenizer.encode_batch([text, "", text]) == [whole, [], whole]


@cases(30)
@given(alphabet=st.sampled_from(["a", "ab", " ", "0123456789", CHINESE, "🙂👍", "-=_"]), before=st.integers(0, 300))
def test_no_word_of_two_parts_is_overlooked(alphabet: str, before: int) -> None:
    with mock.patch.object(long_words, "PART", 64):
        short = ("x " * 150)[:before]
        assert long_words.has_long_words(short + (alphabet * 130)[:128])
        assert not long_words.has_long_words(story(500, before))


@pytest.mark.parametrize("alphabet", ALPHABETS[:9], ids=range(9))
def test_a_long_word_is_never_encoded_at_once(trained: Tokenizer, alphabet: str) -> None:
    """What is encoded is at most a part at a time, and not much more than the word in all."""
    word = "".join(random.Random(1).choices(alphabet, k=100_000))
    for tokenizer in (r50k(), trained):
        lengths: list[int] = []

        def encode(text: str, tokenizer: Tokenizer = tokenizer, lengths: list[int] = lengths) -> list[int]:
            lengths.append(len(text))
            return tokenizer._encoding.encode_ordinary(text)

        long_words.encode_long(word, encode, tokenizer.ranked_tokens())
        assert max(lengths) <= long_words.PART and sum(lengths) < 1.5 * len(word)


def merged_step_by_step(tokens: list[bytes]) -> list[tuple[bytes, bytes]] | None:
    """The oracle of `merges_from_ranks`: joins the pair of lowest rank, the leftmost first, in each token."""
    ranks = {token: i for i, token in enumerate(tokens)}
    merges = []
    for i, token in enumerate(tokens[256:], start=256):
        parts = [token[k : k + 1] for k in range(len(token))]
        while True:
            rank, k = min(((ranks.get(a + b, i), k) for k, (a, b) in enumerate(pairwise(parts))), default=(i, 0))
            if rank >= i:
                break
            parts[k : k + 2] = [tokens[rank]]
        if len(parts) != 2:
            return None
        merges.append((parts[0], parts[1]))
    return merges


@cases(60)
@given(seed=st.integers(0, 10**9), alphabet=st.sampled_from([b"a", b"ab", b"abc"]), short=st.sampled_from([0, 32]))
def test_merges_are_those_of_merging_step_by_step(seed: int, alphabet: bytes, short: int) -> None:
    draw = random.Random(seed)
    tokens = [bytes([byte]) for byte in BYTE_ORDER]
    for _ in range(draw.randrange(1, 14)):
        parts = [*tokens[256:], *(bytes([byte]) for byte in alphabet)]
        token = draw.choice(parts) + draw.choice(parts)
        if token not in tokens and len(token) < 40:
            tokens.append(token)
    expected = merged_step_by_step(tokens)
    with mock.patch("pellucid.text.merges.SHORT", short):
        if expected is None:
            with pytest.raises(PellucidError, match="cannot be reached"):
                merges_from_ranks(tokens)
            return
        assert merges_from_ranks(tokens) == expected
    check_merges(tokens, expected)
    known = Merges(tokens[:256])
    for pair in expected:
        known.add(*(known.ranks[part] for part in pair))
    some = range(256, len(tokens))
    for left, right in ((left, right) for left in some for right in some):
        assert known.stay_apart(left, right) == (known.reduce(tokens[left] + tokens[right]) == [left, right])


class Counted(dict[tuple[int, int], int]):
    """Counts how often a pair is looked up."""

    looked_up = 0

    def get(self, key: tuple[int, int], default: int | None = None) -> int | None:  # type: ignore[override]
        self.looked_up += 1
        return super().get(key, default)


def test_checking_tokens_takes_steps_for_each_merge_not_for_each_pair_of_bytes() -> None:
    """A token of 8,192 spaces, made of 13 merges."""
    tokens = [*(bytes([byte]) for byte in BYTE_ORDER), *(b" " * 2**k for k in range(1, 14))]
    pairs = [(token[: len(token) // 2], token[: len(token) // 2]) for token in tokens[256:]]
    counted = Counted()
    init = Merges.__init__

    def watched(self: Merges, first: list[bytes]) -> None:
        init(self, first)
        self._pairs = counted

    with mock.patch.object(Merges, "__init__", watched):
        check_merges(tokens, pairs)
        assert counted.looked_up < 13 * 2 * 13
        counted.clear()
        counted.looked_up = 0
        assert merges_from_ranks(tokens) == pairs
        assert counted.looked_up < 8 * sum(map(len, tokens))
