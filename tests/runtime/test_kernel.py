"""The C kernel: what a plain float64 model says, and the same bits however a text is read."""

import os
import signal
from collections.abc import Callable, Sequence
from functools import cache
from threading import Event, Thread

import numpy as np
import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from models import lively
from numpy.typing import NDArray

import pellucid
from pellucid.errors import PellucidError
from pellucid.gpt.pattern import parse
from pellucid.runtime.kernel import library
from pellucid.runtime.kernel.packed import WEIGHTS, PackedWeights, unsupported
from pellucid.runtime.kernel.runner import CACHES, KernelRunner, arrays_of, pack, unavailable_reason
from pellucid.runtime.runner import TokenSpan


POSITIONS = 64
NARROW = pellucid.GPTConfig(vocab_size=77, n_ctx=POSITIONS, n_layers=2, d_model=40, n_heads=5)  # no width here is whole panels
WIDE = pellucid.GPTConfig(vocab_size=128, n_ctx=POSITIONS, n_layers=2, d_model=64, n_heads=2, pattern=("banded(7)", "dense"))

if missing := unavailable_reason(NARROW):
    pytest.skip(f"no kernel: {missing}", allow_module_level=True)

Logits = NDArray[np.float32]


@cache
def model_of(config: pellucid.GPTConfig) -> pellucid.GPT:
    return lively(pellucid.GPT(config, seed=3))


@cache
def packed_of(config: pellucid.GPTConfig, weights: str = "float32", threads: int = 2, plain: bool = False) -> PackedWeights:
    return PackedWeights(config, arrays_of(model_of(config)), weights=weights, threads=threads, plain=plain)


def read(packed: PackedWeights, ids: Sequence[int], pieces: Sequence[int] = (), cache: str | None = None) -> Logits:
    """Logits of all ids, read in pieces of these lengths, then the rest."""
    runner = KernelRunner(packed, cache=cache)
    sequence, first, found = runner.open(len(ids)), 0, []
    for length in [*pieces, len(ids)]:
        some = ids[first : first + length]
        if some:
            (logits,) = runner.run([TokenSpan(sequence, first, some, "all")])
            assert logits is not None
            found.append(logits)
        first += len(some)
    runner.close(sequence)
    return np.concatenate(found)


texts = st.lists(st.integers(0, 76), min_size=1, max_size=POSITIONS)


@pytest.mark.parametrize("config", [NARROW, WIDE])
@pytest.mark.parametrize("change", [{}, {"activation": "gelu_erf"}, {"activation": "relu"}, {"attention_scale": False},
                                    {"qkv_bias": False}, {"final_norm": False}])  # fmt: skip
def test_logits_are_those_of_the_model_in_float64(config: pellucid.GPTConfig, change: dict[str, object]) -> None:
    config = pellucid.GPTConfig.from_dict(config.to_dict() | change)
    model = pellucid.GPT(config, seed=3)
    if model.ln_f is not None:
        lively(model)
    ids = torch.randint(0, config.vocab_size, (50,), generator=torch.Generator().manual_seed(1)).tolist()
    ours = read(pack(model.eval()), ids)
    with torch.inference_mode():
        exact = model.copy().double()(torch.tensor([ids]))[0].numpy()
        float32 = model(torch.tensor([ids]))[0].numpy()
    # Rounding adds up as it does in PyTorch's float32, whose error is beside it; sums here are one after the other.
    assert np.abs(ours - exact).max() < 4 * np.abs(float32 - exact).max() + 1e-6


@cases(30)
@given(
    ids=texts, pieces=st.lists(st.integers(1, 20), max_size=8), config=st.sampled_from([NARROW, WIDE]),
    weights=st.sampled_from(["float32", "bfloat16", "int8", "int4"]), cache=st.sampled_from(CACHES),
)  # fmt: skip
def test_read_in_pieces_or_whole_the_bits_are_the_same(
    ids: list[int], pieces: list[int], config: pellucid.GPTConfig, weights: str, cache: str
) -> None:
    packed = packed_of(config, weights)
    assert np.array_equal(read(packed, ids, pieces, cache), read(packed, ids, cache=cache))


@cases(20)
@given(many=st.lists(texts, min_size=2, max_size=9), weights=st.sampled_from(["float32", "bfloat16", "int8", "int4"]))
def test_among_others_or_alone_the_bits_are_the_same(many: list[list[int]], weights: str) -> None:
    packed = packed_of(WIDE, weights)
    runner = KernelRunner(packed)
    sequences = [runner.open(POSITIONS) for _ in many]
    runner.run([TokenSpan(s, 0, ids[:-1], "none") for s, ids in zip(sequences, many, strict=True) if len(ids) > 1])
    together = runner.run([TokenSpan(s, len(ids) - 1, ids[-1:]) for s, ids in zip(sequences, many, strict=True)])
    for logits, ids in zip(together, many, strict=True):
        assert logits is not None and np.array_equal(logits, read(packed, ids)[-1])


@cases(20)
@given(
    ids=texts, other=texts, kept=st.integers(0, POSITIONS), config=st.sampled_from([NARROW, WIDE]),
    cache=st.sampled_from(CACHES),
)
def test_a_copied_beginning_and_positions_taken_back_leave_no_trace(
    ids: list[int], other: list[int], kept: int, config: pellucid.GPTConfig, cache: str
) -> None:
    runner = KernelRunner(packed_of(config), cache=cache)
    kept = min(kept, len(ids) - 1, len(other))
    other = [*ids[:kept], *other[kept:]]
    source, target = runner.open(POSITIONS), runner.open(POSITIONS)
    runner.run([TokenSpan(source, 0, other, "none")])
    runner.copy(source, target, kept)
    for sequence in (source, target):  # the source goes on from the same position, over what it had read
        (logits,) = runner.run([TokenSpan(sequence, kept, ids[kept:], "all")])
        assert logits is not None and np.array_equal(logits, read(packed_of(config), ids, cache=cache)[kept:])


@pytest.mark.parametrize("config", [NARROW, WIDE])
@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("cache", CACHES)
def test_threads_and_vector_instructions_change_no_bit(config: pellucid.GPTConfig, weights: str, cache: str) -> None:
    ids = list(range(POSITIONS))
    expected = read(packed_of(config, weights, 1), ids, cache=cache)
    assert np.array_equal(read(packed_of(config, weights, 3), ids, cache=cache), expected)
    assert np.array_equal(read(packed_of(config, weights, 2, True), ids, [1, 7], cache), expected)
    assert packed_of(config, weights, 2, True).path == f"kernel plain C {weights}"


def test_more_tokens_than_a_pass_takes_and_logits_of_some() -> None:
    runner = KernelRunner(packed_of(NARROW))
    sequences = [runner.open(POSITIONS) for _ in range(12)]
    ids = [list(range(i, i + 60)) for i in range(12)]  # 720 tokens
    wanted = ["last", "all", "none"] * 4
    found = runner.run([TokenSpan(s, 0, text, want) for s, text, want in zip(sequences, ids, wanted, strict=True)])
    for logits, text, want in zip(found, ids, wanted, strict=True):
        expected = read(packed_of(NARROW), text)
        assert (logits is None) == (want == "none")
        if logits is not None:
            assert np.array_equal(logits, expected if want == "all" else expected[-1])


def test_weights_that_are_no_numbers_come_through() -> None:
    model = model_of(WIDE).copy()
    model.h[0].mlp.c_fc.weight[3, 4] = float("nan")
    assert np.isnan(read(pack(model), [1, 2, 3])).any()


@pytest.mark.parametrize("pieces", [[], [1] * 40, [7, 2, 3, 20]])
@pytest.mark.parametrize("band", [0, 1, 3, 7, 20])
@pytest.mark.parametrize("cache", CACHES)
def test_what_is_no_number_reaches_only_those_who_see_it(band: int, pieces: list[int], cache: str) -> None:
    shape = {**WIDE.to_dict(), "n_layers": 1, "pattern": [f"banded({band})" if band else "dense"]}
    model = lively(pellucid.GPT(pellucid.GPTConfig.from_dict(shape), seed=3))
    expected = read(pack(model), range(40), cache=cache)
    model.wpe.weight[9] = float("nan")
    found = read(pack(model), range(40), pieces, cache)
    end = 9 + band if band else 40  # positions from 9 up to here see it
    assert np.isnan(found[9:end]).all()
    assert np.array_equal(found[:9], expected[:9]) and np.array_equal(found[end:], expected[end:])


def product(x: Logits, w: Logits, kind: str, *, plain: bool) -> Logits:
    """(rows, K) times (N, K) weights, by the kernel: (rows, N)."""
    (rows, k), n = x.shape, len(w)
    bound = library.kernel(plain=plain)
    panels = -(-n // 16)
    data = np.empty((panels, k, 16), np.float32) if kind == "float32" else np.empty((panels, k + k % 2, 16), np.uint16)
    bound.pellucid_pack(w.ctypes.data, ord("f"), n, k, k, 1, None, data.ctypes.data, WEIGHTS[kind])
    matrix = library.KernelMatrix(WEIGHTS[kind], k, n, data.ctypes.data, None)
    y = np.empty((rows, panels * 16), np.float32)
    assert bound.pellucid_matmul(matrix, x.ctypes.data, rows, y.ctypes.data, 2) == 0
    assert not y[:, n:].any()
    return y[:, :n]


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 7, 13, 50, 200])
@pytest.mark.parametrize("plain", [False, True])
def test_a_product_adds_one_after_the_other(rows: int, plain: bool) -> None:
    """The plain definition: each output is a chain of fused multiply-adds over K, which Python's float64 can imitate."""
    k, n = 300, 101
    numbers = np.random.default_rng(0)
    x = numbers.standard_normal((rows, k)).astype(np.float32)
    w = numbers.standard_normal((n, k)).astype(np.float32)
    found = product(x, w, "float32", plain=plain)
    expected = np.zeros((rows, n), np.float32)
    for i in range(k):  # a product of two float32 numbers is exact in float64; the sum rounds twice, as rarely shows
        each = x[:, i : i + 1].astype(np.float64) * w[:, i].astype(np.float64)
        expected = (expected.astype(np.float64) + each).astype(np.float32)
    assert np.abs(found - expected).max() <= 1e-5
    assert (found == expected).mean() > 0.95


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 7, 13, 50, 200])
@pytest.mark.parametrize("k", [1, 31, 300, 1501])
def test_a_bfloat16_product_is_that_of_both_sides_rounded(rows: int, k: int) -> None:
    """The same sums in the same order as in float32, on every processor: that of a pair of products, too, where it has one."""
    numbers = np.random.default_rng(rows)
    x = numbers.standard_normal((rows, k)).astype(np.float32) * np.exp(numbers.uniform(-20, 20, (rows, 1))).astype(np.float32)
    w = numbers.standard_normal((101, k)).astype(np.float32)
    near = [torch.from_numpy(values).bfloat16().float().numpy() for values in (x, w)]
    expected = product(*near, "float32", plain=True)
    for plain in (False, True):
        assert np.array_equal(product(x, w, "bfloat16", plain=plain), expected)


def test_what_it_does_not_know_is_said() -> None:
    pattern = (parse("strided(8)"),)
    strided = pellucid.GPTConfig(vocab_size=77, n_ctx=POSITIONS, n_layers=1, d_model=32, n_heads=2, pattern=pattern)
    assert unsupported(strided) == "attention by strided(8)"
    assert unavailable_reason(strided) == "it does not support attention by strided(8)"
    with pytest.raises(PellucidError, match="does not support attention by strided"):
        pack(pellucid.GPT(strided))
    with pytest.raises(PellucidError, match="unknown weights 'int3': choose from float32, bfloat16"):
        pack(model_of(NARROW), "int3")


def forked(work: Callable[[], bool]) -> bool:
    """What it says in a forked process; one that hangs is ended by its alarm."""
    receive, send = os.pipe()
    if (child := os.fork()) == 0:
        signal.alarm(60)
        try:
            os.write(send, bytes([work()]))
        finally:
            os._exit(0)
    os.close(send)
    os.waitpid(child, 0)
    with os.fdopen(receive, "rb") as file:
        return file.read() == b"\x01"


def test_a_forked_process_has_threads_of_its_own() -> None:
    expected = read(packed_of(WIDE), range(40))
    assert forked(lambda: np.array_equal(read(packed_of(WIDE), range(40)), expected))


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 says that forking beside threads may hang
def test_a_process_may_fork_while_another_thread_computes() -> None:
    """Neither the pass's lock, nor the pool's, nor a helper is left in the child; and its children's are as well made anew."""
    packed, ids, expected = packed_of(WIDE), list(range(POSITIONS)), read(packed_of(WIDE), range(POSITIONS))
    ended = Event()

    def compute() -> None:
        while not ended.is_set():
            read(packed, ids)

    def same() -> bool:
        return np.array_equal(read(packed, ids, [40]), expected)

    threads = [Thread(target=compute) for _ in range(2)]  # two: one waits for the other's pass
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            assert forked(lambda: same() and forked(same))
    finally:
        ended.set()
        for thread in threads:
            thread.join()
