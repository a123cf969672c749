"""The fingerprint of parameters: another for any other bytes, the same for the same, whatever their layout in memory."""

import numpy as np
import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

from pellucid.runtime.kernel import fingerprint, library
from pellucid.runtime.kernel.fingerprint import parameter_fingerprint


if missing := library.unavailable_reason():
    pytest.skip(f"no kernel: {missing}", allow_module_level=True)

CHUNK_NUMBERS = fingerprint.CHUNK // 4
LENGTHS = st.sampled_from([1, 2, 63, 64, 65, 200, CHUNK_NUMBERS - 1, CHUNK_NUMBERS, CHUNK_NUMBERS + 1, 2 * CHUNK_NUMBERS + 70])


@cases(60)
@given(st.lists(LENGTHS, min_size=1, max_size=3), st.data())
def test_any_change_is_seen(lengths: list[int], data: st.DataObject) -> None:
    numbers = np.random.default_rng(data.draw(st.integers(0, 9)))
    arrays = {str(i): numbers.standard_normal(n).astype(np.float32) for i, n in enumerate(lengths)}
    before = parameter_fingerprint(arrays)
    assert parameter_fingerprint({name: array.copy() for name, array in arrays.items()}) == before
    name = data.draw(st.sampled_from(sorted(arrays)))
    array = arrays[name]
    place = data.draw(st.integers(0, len(array) - 1))
    old = array.copy()
    match data.draw(st.sampled_from(["bit", "sign", "all signs", "zero", "swap", "add", "scale", "reverse"])):
        case "bit":
            array.view(np.uint32)[place] ^= np.uint32(1 << data.draw(st.integers(0, 31)))
        case "sign":
            array[place] *= -1
        case "all signs":
            array *= -1
        case "zero":
            array[place] = 0
        case "swap":
            other = (place + data.draw(st.sampled_from([1, 64, 128, 4096]))) % len(array)
            array[place], array[other] = old[other], old[place]
        case "add":
            array += 1
        case "scale":
            array *= 0.5
        case _:
            array[:] = old[::-1].copy()
    assert (parameter_fingerprint(arrays) == before) == np.array_equal(array.view(np.uint32), old.view(np.uint32))


@cases(40)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([np.float32, np.float16, np.uint16]))
def test_shapes_and_formats_are_part_of_it(rows: int, columns: int, dtype: type) -> None:
    array = np.arange(rows * columns).reshape(rows, columns).astype(dtype)
    own = parameter_fingerprint({"w": array})
    others = [{"v": array}, {"w": array.reshape(-1)}, {"w": array.view(np.int16 if dtype != np.float32 else np.int32)}]
    assert own not in map(parameter_fingerprint, others)
    wide = np.zeros((rows, 2 * columns), dtype)
    wide[:, ::2] = array
    changed = wide[:, ::2]
    before = parameter_fingerprint({"w": changed})
    wide[:, 1::2] += 1
    assert parameter_fingerprint({"w": changed}) == before, "what lies between is not the array's"
    changed[-1, -1] += 1
    assert parameter_fingerprint({"w": changed}) != before
    turned = np.asfortranarray(array)
    before = parameter_fingerprint({"w": turned})
    turned[-1, 0] += 1
    assert parameter_fingerprint({"w": turned}) != before


def test_the_number_of_threads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {str(n): np.arange(n, dtype=np.float32) for n in (5, 3 * CHUNK_NUMBERS + 9, 64)}
    found = set()
    for threads in (1, 2, 5):
        monkeypatch.setattr(fingerprint, "available_cpus", lambda threads=threads: threads)
        found.add(parameter_fingerprint(arrays))
    assert len(found) == 1
