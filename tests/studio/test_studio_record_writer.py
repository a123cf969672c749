"""A record that the page writes opens in Python, with the numbers that went in; attention has the bits that Python stores."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from cases import cases
from hypothesis import example, given
from hypothesis import strategies as st
from node import node_process

from pellucid.engine.options import SAMPLING_OPTIONS, SamplingOptions, recordable_options
from pellucid.engine.sampling import uniform
from pellucid.errors import PellucidError
from pellucid.record import as_bfloat16, as_triangle, open_record


pytestmark = pytest.mark.long


ANSWER = """({ RecordWriter, asIs, asBfloat16, asTriangle, uniform, samplingOptions, recordedOptions }) => {
  const typed = { uint8: Uint8Array, int32: Int32Array, int64: BigInt64Array, float32: Float32Array, float64: Float64Array };
  const arrayOf = ({ dtype, base64 }) => new typed[dtype](new Uint8Array(Buffer.from(base64, "base64")).buffer);
  const text = { truth: "derived", meaning: "for tests: \u4e2d <b>", unit: "nats" };
  return async ({ provenance, chunks, draws, options, table }) => {
    if (draws) return draws.map(([seed, sample, position]) => uniform(BigInt(seed), sample, position));
    if (options) {
      const found = samplingOptions(options, table, 5n);
      return { ...found, seed: String(found.seed), recorded: recordedOptions(found, table) };
    }
    const writer = new RecordWriter("generation", provenance);
    for (const { name, form, shape, ...stored } of chunks) {
      const array = arrayOf(stored);
      const value = form === "triangle" ? asTriangle(array, ...shape) : (form === "bfloat16" ? asBfloat16 : asIs)(array, shape);
      await writer.add(name, value, text, { tensor: "wte.weight" });
    }
    return { base64: Buffer.from(await writer.finish()).toString("base64") };
  };
}"""
MODULES = ("record/writer", "record/encode", "record/triangle", "engine/uniform", "engine/options")
PROVENANCE = {"pellucid": "0.1.0", "model": "f" * 64, "config": {"n_layers": 1, "name": "\u4e2d\u6587"}, "parameters": 1,
              "dtype": "float32", "seed": "-5", "prompt_ids": [1, 2], "sampling": {"temperature": 1e-07}}  # fmt: skip


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Any], Any]]:
    entry = "".join(f'export * from "./src/{name}.ts"; ' for name in MODULES)
    with node_process(tmp_path_factory.mktemp("writer"), entry, ANSWER) as asked:
        yield asked


def sent(array: Any) -> dict[str, Any]:
    return {"dtype": str(array.dtype), "base64": base64.b64encode(array.tobytes()).decode()}


def written(ask: Callable[[Any], Any], *chunks: dict[str, Any]) -> bytes:
    found = ask({"provenance": PROVENANCE, "chunks": list(chunks)})
    assert "error" not in found, found
    return base64.b64decode(found["base64"])


@cases(30)
@given(st.data())
def test_python_opens_what_the_page_writes(ask: Callable[[Any], Any], data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    arrays: dict[str, Any] = {}
    for place in range(data.draw(st.integers(1, 4))):
        dtype = data.draw(st.sampled_from(["uint8", "int32", "int64", "float32", "float64"]))
        shape = tuple(data.draw(st.lists(st.integers(0, 30), min_size=1, max_size=3)))
        spread = data.draw(st.sampled_from([3.0, 200.0]))
        numbers = random.normal(0, spread, shape)
        arrays[f"generation/a{place}"] = numbers.astype(dtype) if dtype.startswith("f") else np.abs(numbers).astype(dtype)
    chunks = [{"name": name, "form": "plain", "shape": array.shape, **sent(array)} for name, array in arrays.items()]
    with open_record(written(ask, *chunks)) as record:
        assert list(record) == list(arrays) and record.provenance.to_dict() == PROVENANCE
        for name, array in arrays.items():
            assert record[name].dtype == array.dtype and record.entry(name).unit == "nats"
            np.testing.assert_array_equal(record[name], array)


@cases(30)
@given(st.integers(1, 80), st.integers(1, 3), st.floats(0, 30), st.integers(0, 2**31))
def test_attention_and_streams_are_stored_as_python_stores_them(
    ask: Callable[[Any], Any], positions: int, heads: int, spread: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    scores = random.normal(0, spread, (heads, positions, positions))
    weights = np.tril(np.exp(scores - scores.max(-1, keepdims=True)))
    weights = (weights / np.maximum(weights.sum(-1, keepdims=True), 1e-300)).astype(np.float32)
    stream = (random.normal(0, 1, (positions, 8)) * 2.0 ** random.integers(-40, 40)).astype(np.float32)
    stream.reshape(-1)[0] = random.choice(np.array([np.nan, np.inf, -0.0, 1e-40, 3.4e38], np.float32))
    rows, columns = np.tril_indices(positions)
    packed = np.ascontiguousarray(weights[:, rows, columns])
    data = written(
        ask,
        {"name": "a", "form": "triangle", "shape": [heads, positions], **sent(packed)},
        {"name": "b", "form": "bfloat16", "shape": stream.shape, **sent(stream)},
    )
    with open_record(data) as record:
        np.testing.assert_array_equal(record.stored("a").view(np.uint16), as_triangle(weights).array.view(np.uint16))
        np.testing.assert_array_equal(record.stored("b"), as_bfloat16(stream).array)


integers = st.integers(-(2**63), 2**63 - 1)


@cases(20)
@given(st.lists(st.tuples(integers, st.integers(0, 2**16), st.integers(0, 2**20)), min_size=1, max_size=30))
def test_the_draws_of_a_seed_are_pythons(ask: Callable[[Any], Any], draws: list[tuple[int, int, int]]) -> None:
    assert ask({"draws": [[str(seed), *rest] for seed, *rest in draws]}) == [uniform(*one) for one in draws]


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 130),
    st.floats(-3, 130).filter(lambda x: not x.is_integer()),  # JavaScript has no 1.0
    st.sampled_from([0.5, 1, "x", "", ["a", "b"], [""], "\u4e2d"]),
    st.dictionaries(st.sampled_from(["0", "7", "x", "-1"]), st.sampled_from([-100, 0.5, 101, True]), max_size=3),
    st.sampled_from(["9223372036854775807", "-9223372036854775808", "9223372036854775808", 2**53]),
)  # fmt: skip


@cases(40)
@example(given_={"seed": 2**53})
@given(given_=st.dictionaries(st.sampled_from([option.name for option in recordable_options()]), VALUES, max_size=3))
def test_options_are_checked_as_python_checks_them(ask: Callable[[Any], Any], given_: dict[str, Any]) -> None:
    table = [option.wire() for option in recordable_options()]
    found = ask({"options": given_, "table": table})
    by_name = {option.name: option for option in SAMPLING_OPTIONS}
    seed = given_.get("seed")
    if type(seed) is int and abs(seed) >= 2**53:  # a number of JavaScript may stand for several there; its text does not
        assert "error" in found
        return
    try:
        stated = {name: by_name[name].from_json(value) for name, value in given_.items()
                  if value is not None or by_name[name].nullable}  # fmt: skip
        expected = SamplingOptions(**({"seed": 5} | stated))
    except PellucidError:
        assert "error" in found
        return
    assert "error" not in found, found
    assert found["recorded"] == json.loads(json.dumps(expected.recorded()))
    assert found["seed"] == str(expected.seed)
