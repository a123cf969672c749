"""Attention patterns against the papers' formulas, written out again here as plain sets and loops."""

import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import PellucidError
from pellucid.gpt.arrangements import alternating, interleaved, multi_head
from pellucid.gpt.attention import visible_mask
from pellucid.gpt.pattern import (
    Banded,
    Column,
    Compressed,
    Dense,
    Fixed,
    Heads,
    Local,
    Pattern,
    Strided,
    Summary,
    parse,
)


numbers = st.integers(1, 24)
fixed_numbers = numbers.flatmap(lambda length: st.tuples(st.just(length), st.integers(1, length))).flatmap(
    lambda lc: st.tuples(*map(st.just, lc), st.integers(0, lc[0] // lc[1] - 1))
)
simple = st.one_of(
    st.just(Dense()), st.builds(Banded, numbers), st.builds(Local, numbers), st.builds(Column, numbers),
    st.builds(Strided, numbers), fixed_numbers.map(lambda n: Summary(*n)), fixed_numbers.map(lambda n: Fixed(*n)),
)  # fmt: skip
compressed = st.integers(1, 6).flatmap(lambda stride: st.builds(Compressed, st.integers(stride, stride + 4), st.just(stride)))
heads = st.lists(simple, min_size=2, max_size=3).map(lambda patterns: Heads(tuple(patterns)))
any_pattern = st.one_of(simple, compressed, heads)


def published(pattern: Pattern, i: int) -> set[int]:
    """What query i attends to, as the papers write it (the Sparse Transformer's i, j, l, c; arXiv 1904.10509)."""
    match pattern:
        case Dense():
            return set(range(i + 1))
        case Banded(w):  # band_part(ones, w - 1, 0) of the Sparse Transformer's code
            return {j for j in range(i + 1) if i - j <= w - 1}
        case Local(l):
            return {j for j in range(i + 1) if i // l == j // l}
        case Column(l):  # A2 of strided
            return {j for j in range(i + 1) if (i - j) % l == 0}
        case Strided(l):  # A1 = {t, t + 1, ..., i}, t = max(0, i - l)
            return set(range(max(0, i - l), i + 1)) | published(Column(l), i)
        case Summary(l, c, back):  # A2 of fixed: j mod l in {t, t + 1, ..., l}, t = l - c; moved by whole sub-blocks of c
            return {j for j in range(i + 1) if (j + back * c) % l in range(l - c, l + 1) and j % l < l - back * c}
        case Fixed(l, c, back):
            return published(Local(l), i) | published(Summary(l, c, back), i)
        case Compressed(kernel, stride):  # the last positions of the convolution's windows that end at i or before
            return {start + kernel - 1 for start in range(0, i + 1, stride) if start + kernel - 1 <= i}
    raise AssertionError(pattern)


@cases(200)
@given(st.one_of(simple, compressed), st.integers(1, 60))
def test_masks_are_the_published_sets_entry_by_entry(pattern: Pattern, positions: int) -> None:
    sets = [published(pattern, i) for i in range(positions)]
    mask = visible_mask(pattern, positions, positions)
    assert [set(row.nonzero()[:, 0].tolist()) for row in mask] == sets
    assert all(pattern.visible(q, k) == (k in sets[q]) for q in range(positions) for k in range(positions))
    late = visible_mask(pattern, 1 + positions // 3, positions)  # the newest queries only
    assert torch.equal(late, mask[-(1 + positions // 3) :])
    counted = sum(map(len, sets)) + (positions if isinstance(pattern, Compressed) else 0)  # and the key of nothing
    assert pattern.pairs(positions) == counted


@cases(60)
@given(heads, st.integers(1, 40), st.integers(1, 7))
def test_heads_take_the_patterns_in_turn(pattern: Heads, positions: int, count: int) -> None:
    mask = visible_mask(pattern, positions, positions, heads=count)
    for head in range(count):
        one = pattern.patterns[head % len(pattern.patterns)]
        assert torch.equal(mask[head], visible_mask(one, positions, positions))


@cases(80)
@given(simple, st.integers(1, 40))
def test_readable_positions_are_what_later_queries_read_and_cached_keys_bounds_them(pattern: Pattern, positions: int) -> None:
    """Fifty positions ahead is further than any period here; and a cache has no more slots than it ever needs."""
    readable, by_query = set[int](), {}
    for q in reversed(range(positions + 50)):
        readable |= published(pattern, q)
        by_query[q] = set(readable)
    most = 0
    for newest in range(positions):
        kept = {k for k in range(newest + 1) if pattern.still_readable(k, newest)}
        assert kept == by_query[newest] & set(range(newest + 1))
        most = max(most, len(kept))
    spare = min(pattern.columns, pattern.length) if isinstance(pattern, Fixed) else 0  # own block and its summary: one slot
    assert most <= pattern.cached_keys(positions) <= most + spare


@given(any_pattern)
def test_patterns_survive_their_text(pattern: Pattern) -> None:
    assert parse(str(pattern)) == pattern


def test_the_paper_s_three_ways_to_join_the_factors() -> None:
    strided, fixed = Strided(128), Fixed(128, 32)
    assert [str(p) for p in interleaved(3, strided)] == ["banded(129)", "column(128)", "banded(129)"]
    assert [str(p) for p in interleaved(2, fixed)] == ["local(128)", "summary(128,32)"]
    assert str(multi_head(fixed)) == "heads(local(128),summary(128,32))"
    # Merged is the union, whether A1 has l + 1 positions (the paper's text) or l (its code).
    for merged in (Strided(5), Fixed(6, 2)):
        first, second = (visible_mask(factor, 40, 40) for factor in merged.factors)
        assert torch.equal(visible_mask(merged, 40, 40), first | second)
    assert torch.equal(visible_mask(Strided(5), 40, 40), visible_mask(Banded(5), 40, 40) | visible_mask(Column(5), 40, 40))


def test_the_patterns_of_whole_models() -> None:
    assert alternating(3, band=5) == (Banded(5), Dense(), Banded(5))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("banded", "unknown attention pattern"), ("dense(3)", "unknown attention pattern"),
        ("fixed(8)", "unknown attention pattern"), ("banded(-1)", "unknown attention pattern"),
        ("banded(0)", r"banded\(0\)"), ("strided(0)", r"strided\(0\) must name numbers of 1 or more"),
        ("fixed(8,9)", "outside its block"), ("fixed(8,4,2)", "outside its block"),
        ("compressed(2,3)", "would leave positions out"), ("heads(dense)", "two patterns or more"),
        ("heads(dense,compressed(3,3))", "none of them compressed"),
    ],
)  # fmt: skip
def test_what_is_no_pattern_is_refused(text: str, words: str) -> None:
    with pytest.raises(PellucidError, match=words):
        parse(text)
