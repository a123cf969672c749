"""Choosing the held-out documents, whole ones if possible, so that no document is partly trained on."""

from collections.abc import Sequence

from pellucid.hashing import mix


def choose_held_out(sizes: Sequence[int], fraction: float, seed: int) -> list[int]:
    """The indices of the documents to hold out, ascending; empty if the end of one document is to be held out instead.

    Documents are taken in a pseudo-random order, each if it brings the sum closer to fraction * total; if none does,
    the smallest alone. The result is empty where whole documents make no fair split: there is only one, or they would
    hold out less than half of the requested part (a title page beside one long book), or more than half of everything.

    Args:
        sizes: bytes of each document, in order. fraction: of all bytes to hold out, in (0, 1).
    """
    assert 0 < fraction < 1
    if len(sizes) < 2:
        return []
    total = sum(sizes)
    target = fraction * total
    order = sorted(range(len(sizes)), key=lambda i: (mix(seed, i), i))
    held: list[int] = []
    sum_held = 0
    for i in order:
        if abs(sum_held + sizes[i] - target) < abs(sum_held - target):
            held.append(i)
            sum_held += sizes[i]
    if not held:
        smallest = min(order, key=sizes.__getitem__)
        held, sum_held = [smallest], sizes[smallest]
    fair = target / 2 <= sum_held <= total / 2
    return sorted(held) if fair else []
