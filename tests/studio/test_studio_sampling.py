"""The page draws as Python does: the same token, and the same bits of its log-probability, whatever the options."""

import base64
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from node import node_process

from pellucid.engine.options import SamplingOptions, recordable_options
from pellucid.engine.sampling import draw, uniform
from pellucid.interpret.formulas import step_distribution
from pellucid.serve.model_page.kernels import kernel


pytestmark = pytest.mark.long


ANSWER = """({ Kernel, Arithmetic, draw, samplingOptions, stepDistribution }) => {
  const bytesOf = (base64) => new Uint8Array(Uint8Array.from(Buffer.from(base64, "base64")).buffer);
  let math;
  return async ({ exact, logits, options, table, u, counts }) => {
    if (exact) return (math = new Arithmetic(await Kernel.open(new Uint8Array(), bytesOf(exact)))) && null;
    const row = new Float32Array(bytesOf(logits).buffer);
    const chosen = samplingOptions(options, table, 0n);
    const before = counts && new Map(counts);
    const { id, logprob, sums, candidates } = draw(math, row, chosen, u, before);
    const step = { logits: row, sums, candidates, u, token: { id }, counts: before };
    return { id, logprob, ...stepDistribution(math, step, chosen, Math.min(20, row.length)) };
  };
}"""
MODULES = ("runtime/kernel", "engine/arithmetic", "engine/sampling", "engine/options", "interpret/steps")


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Any], Any]]:
    entry = "".join(f'export * from "./src/{name}.ts"; ' for name in MODULES)
    with node_process(tmp_path_factory.mktemp("sampling"), entry, ANSWER) as asked:
        asked({"exact": base64.b64encode(kernel("exact")).decode()})
        yield asked


OPTIONS = st.fixed_dictionaries({}, optional={
    "temperature": st.one_of(st.just(0), st.floats(1e-6, 3), st.sampled_from([1, 1e-30, 0.7])),
    "top_k": st.integers(1, 400), "top_p": st.floats(0.01, 1), "min_p": st.floats(0, 0.9),
    "presence_penalty": st.floats(-2, 2), "frequency_penalty": st.floats(-2, 2), "repetition_penalty": st.floats(0.5, 4),
    "logit_bias": st.dictionaries(st.integers(0, 8), st.floats(-100, 100), max_size=3),
})  # fmt: skip


@cases(40)
@given(OPTIONS, st.integers(9, 3000), st.floats(0, 12), st.booleans(), st.integers(0, 2**31))
def test_the_page_draws_as_python_does(
    ask: Callable[[Any], Any], stated: dict[str, Any], vocabulary: int, spread: float, ties: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(0, spread, vocabulary).astype(np.float32)
    if ties:
        logits = np.round(logits)
    options = SamplingOptions(seed=0, **stated)
    counts = {int(i): int(n) for i, n in zip(random.integers(0, vocabulary, 4), random.integers(1, 5, 4), strict=True)}
    used = counts if options.uses_counts else None
    u = uniform(seed, 0, 5)
    expected = draw(logits, options, u, used)
    sent = {**stated, "logit_bias": {str(i): bias for i, bias in stated.get("logit_bias", {}).items()}}
    found = ask({
        "logits": base64.b64encode(logits.tobytes()).decode(), "options": sent, "u": u,
        "table": [option.wire() for option in recordable_options()], "counts": None if used is None else list(used.items()),
    })  # fmt: skip
    assert "error" not in found, found
    assert found["id"] == expected.id
    assert struct.pack("<f", found["logprob"]) == struct.pack("<f", expected.logprob)
    step = step_distribution(logits, options, u, expected.id, min(20, vocabulary), used)
    assert found["topIds"] == step.topk_ids
    assert found["kept"] == step.kept
    np.testing.assert_array_equal(np.float32(found["topLogprobs"]), np.float32(step.topk_logprobs))
    np.testing.assert_array_equal(found["topShares"], step.topk_shares)
    np.testing.assert_array_equal(found["span"], step.drawn_span)
