"""Pseudo-random integers as pure functions of integers: no generator, no state to save.

What is drawn for (seed, epoch, index) is the same on every machine, in every process and after every resume.
"""

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MASK = (1 << 64) - 1


def mix(*values: int) -> int:
    """A hash of integers to 64 bits. Negative or larger integers count modulo 2**64; their order matters.

    Each value is added and the sum passed through the finaliser of splitmix64 (Steele, Lea and Flood 2014, "Fast
    splittable pseudorandom number generators"; constants by D. Stafford, variant 13).
    """
    state = 0
    for value in values:
        state = (state + value + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def mix_array(seed: int, values: "NDArray[np.int64]") -> "NDArray[np.uint64]":
    """`mix(seed, value)` of each value of an array."""
    import numpy as np  # here: what hashes single integers needs none

    state = values.astype(np.uint64) + np.uint64((mix(seed) + 0x9E3779B97F4A7C15) & _MASK)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return state


_ROUNDS = 6  # four already pass for random in the theory (Luby and Rackoff 1988); two more for small n


def permuted(index: int, n: int, *, key: int) -> int:
    """Element `index` of a pseudo-random order of 0 ... n-1, in constant memory; each key is another order.

    A Feistel network permutes the numbers of 2h bits, the fewest that hold 0 ... n-1: a number is two halves (left,
    right), and a round makes them (right, left XOR hash(right)), which can be undone whatever the hash is. A result of
    n or more is put through again until one falls below n ("cycle walking": Black and Rogaway 2002, "Ciphers with
    arbitrary finite domains"). That is still one to one: following a cycle of the large permutation, it goes from
    each number below n to the next such. n is a quarter of 2**2h or more, so it takes four passes on average at most.
    """
    assert 0 <= index < n
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    keys = [mix(key, round_) for round_ in range(_ROUNDS)]
    value = index
    while True:
        left, right = value >> half, value & mask
        for round_key in keys:
            left, right = right, left ^ (mix(round_key, right) & mask)
        value = left << half | right
        if value < n:
            return value
