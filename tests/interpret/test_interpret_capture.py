"""A record of a generation: the real one, and every number as a few plain lines compute it."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import lively

import pellucid
from pellucid.engine.engine import run_to_completion
from pellucid.engine.sampling import uniform
from pellucid.engine.sequence import Sequence
from pellucid.errors import PellucidError
from pellucid.gpt.attention import masked_attention, visible_mask
from pellucid.gpt.fingerprint import fingerprint
from pellucid.gpt.pattern import Banded, Dense
from pellucid.interpret import KEEP
from pellucid.interpret.tap import ActivationTap
from pellucid.record import Record, as_bfloat16, as_triangle, check
from pellucid.runtime.torch_runner import TorchRunner


BAND = 5
CONFIG = pellucid.GPTConfig(
    vocab_size=300, n_ctx=48, n_layers=3, d_model=24, n_heads=3, pattern=(Banded(BAND), Dense(), Banded(BAND + 6))
)
PROMPT = [7, 42, 7, 299, 0, 13, 13, 250, 8]  # longer than the first band, shorter than the last
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "top_k": {"top_k": 7, "temperature": 0.7},
    "top_p": {"top_p": 0.6},
    "both": {"top_k": 60, "top_p": 0.9, "temperature": 1.4},
    "greedy": {"temperature": 0},
    "all": {"top_k": 300, "top_p": 1.0},
}


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> pellucid.GPT:
    return lively(pellucid.GPT(CONFIG, tokenizer=pellucid.load(tiny_run).tokenizer, seed=3))


@pytest.fixture(scope="module")
def records(model: pellucid.GPT) -> dict[str, Record]:
    return {
        name: pellucid.xray(model, PROMPT, max_tokens=14, seed=5, candidates=9, **options) for name, options in OPTIONS.items()
    }


each = pytest.mark.parametrize("name", list(OPTIONS))


@each
def test_it_is_the_generation_itself(
    model: pellucid.GPT, records: dict[str, Record], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert records[name]["generation/steps/drawn_ids"].tolist() == model.generate(
        PROMPT, max_tokens=14, seed=5, **OPTIONS[name]
    ).ids  # whatever computes
    monkeypatch.setenv("PELLUCID_KERNEL", "off")  # generate then computes on PyTorch too: equal to the bit
    written = model.generate(PROMPT, max_tokens=14, seed=5, logprobs=9, **OPTIONS[name])
    record = records[name]
    assert record["generation/steps/drawn_ids"].tolist() == written.ids
    assert record["generation/steps/drawn_logprobs"].tolist() == pytest.approx(written.logprobs, abs=0)
    assert written.top_logprobs is not None
    assert record["generation/steps/topk_ids"].tolist() == [[token for token, _ in top] for top in written.top_logprobs]
    sizes = check(record)
    assert (sizes["P"], sizes["S"], sizes["T"], sizes["K"], sizes["J"]) == (9, len(written.ids), 8 + len(written.ids), 9, 5)
    named = record.provenance
    assert (named.model, named.seed, named.prompt_ids, named.dtype) == (fingerprint(model), 5, tuple(PROMPT), "float32")
    assert model.tokenizer is not None and named.tokenizer == model.tokenizer.fingerprint
    assert pellucid.GPTConfig.from_dict(named.config) == CONFIG and named.parameters == CONFIG.parameters()


def test_watching_changes_no_bit(model: pellucid.GPT) -> None:
    ids = torch.tensor([PROMPT])
    with torch.inference_mode():
        assert torch.equal(model.hidden(ids), model.hidden(ids, tap=ActivationTap(3, KEEP, clock=True)))
    rows = [model.new_sequence(PROMPT, max_tokens=20, seed=1, logprobs=300) for _ in range(2)]
    for row, tap in zip(rows, (None, ActivationTap(3, KEEP, clock=True)), strict=True):
        write(row, TorchRunner(model, tap=tap))
    assert rows[0].tokens == rows[1].tokens and len(rows[0].tokens) > 1


def write(row: Sequence, runner: TorchRunner) -> None:
    for _ in run_to_completion(runner, [row]):
        pass


def test_a_tap_is_not_fastened_to_the_model(model: pellucid.GPT) -> None:
    watch = ActivationTap(3, KEEP, clock=False)
    write(model.new_sequence(PROMPT, max_tokens=1, seed=1), TorchRunner(model, tap=watch))
    write(model.new_sequence([1, 2], max_tokens=3, seed=1), TorchRunner(model))
    assert watch.block_input(3).shape == (len(PROMPT), 24)


def slow_pass(model: pellucid.GPT, ids: list[int]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The whole model once more, in float64 and by definitions alone: inputs of blocks (the last: output), attention."""
    exact = model.copy().double()
    x = exact.wte.weight[ids] + exact.wpe.weight[: len(ids)]
    levels, weights = [x], []
    for block, pattern in zip(exact.h, CONFIG.pattern, strict=True):
        qkv = block.attn.c_attn(block.ln_1(x)).view(len(ids), 3, CONFIG.n_heads, -1)
        q, k, v = (qkv[:, i].transpose(0, 1) for i in range(3))
        mask = visible_mask(pattern, len(ids), len(ids))
        seen = masked_attention(q, k, torch.eye(len(ids)).double().expand(CONFIG.n_heads, -1, -1), mask)  # v = 1: weights
        weights.append(seen)
        x = x + block.attn.c_proj((seen @ v).transpose(0, 1).flatten(1))
        x = x + block.mlp(block.ln_2(x))
        levels.append(x)
    return levels, weights


@pytest.mark.parametrize("name", ["plain", "greedy"])
def test_the_inside_is_what_the_definitions_give(model: pellucid.GPT, records: dict[str, Record], name: str) -> None:
    record = records[name]
    ids = [*PROMPT, *record["generation/steps/drawn_ids"].tolist()][:-1]
    assert len(ids) > 2 * BAND  # past the band
    levels, weights = slow_pass(model, ids)
    exact = model.copy().double()
    for level, x in enumerate(levels):
        kept = record[f"generation/block_inputs/{level}"]
        assert np.abs(kept - x.numpy()).max() <= 2.0**-8 * float(x.abs().max()) + 1e-5
        logprobs = exact.logits(exact.ln_f(x)).log_softmax(-1)
        top = logprobs.topk(5)
        assert np.array_equal(record["generation/lens/ids"][level], top.indices.numpy())
        assert np.abs(record["generation/lens/logprobs"][level] - top.values.numpy()).max() < 1e-4
    for block, seen in enumerate(weights):
        kept = record[f"generation/attention/{block}"]
        assert np.abs(kept - seen.numpy()).max() <= 1 / 510 + 1e-5
        assert not kept[:, ~visible_mask(CONFIG.pattern[block], len(ids), len(ids)).numpy()].any()
    # The lens at the last level is what the model said.
    last = record["generation/lens/ids"][-1, len(PROMPT) - 1 :]
    assert np.array_equal(last, record["generation/steps/topk_ids"][:, :5])


@each
def test_vectors_and_writes_are_those_of_the_modules(
    model: pellucid.GPT, records: dict[str, Record], name: str
) -> None:
    """Against the outputs of the modules themselves, seen by forward hooks, and the definitions written out."""
    record = records[name]
    ids = [*PROMPT, *record["generation/steps/drawn_ids"].tolist()]
    seen: dict[str, torch.Tensor] = {}

    def keep(module: str) -> Any:
        return lambda _module, _inputs, output: seen.__setitem__(module, output[0])

    handles = [part.register_forward_hook(keep(name)) for name, part in model.named_modules() if name]
    with torch.no_grad():
        logits = model(torch.tensor([ids[:-1]]))[0]  # (T, V)
    for handle in handles:
        handle.remove()
    for block in range(CONFIG.n_layers):
        for part, module in (("attention", f"h.{block}.attn"), ("mlp", f"h.{block}.mlp")):
            norms = record[f"generation/writes/{part}"][block]
            np.testing.assert_allclose(norms, seen[module].norm(dim=-1).numpy(), rtol=1e-4)
    followed = len(PROMPT) - 1
    np.testing.assert_allclose(record["generation/output/vector"], seen["ln_f"][followed].numpy(), rtol=1e-3, atol=1e-5)
    listed = record["generation/steps/topk_ids"][0, :5].tolist()
    products = record["generation/output/rows"] @ record["generation/output/vector"]
    np.testing.assert_allclose(products, logits[followed, listed].numpy(), rtol=1e-3, atol=1e-4)
    wte, wpe = model.wte.weight.detach(), model.wpe.weight.detach()
    assert np.array_equal(record["generation/embedding/token"], wte[PROMPT[-1]].numpy())
    assert np.array_equal(record["generation/embedding/position"], wpe[followed].numpy())
    together = record["generation/embedding/token"] + record["generation/embedding/position"]
    np.testing.assert_allclose(record["generation/block_inputs/0"][followed], together, rtol=2**-7)
    cosine = torch.nn.functional.cosine_similarity(wte.double(), wte[PROMPT[-1]].double()[None], dim=-1).numpy()
    others = sorted((token for token in range(300) if token != PROMPT[-1]), key=lambda token: -cosine[token])
    assert record["generation/embedding/nearest_ids"].tolist() == others[:8]
    np.testing.assert_allclose(record["generation/embedding/nearest_cosines"], cosine[others[:8]], atol=1e-6)
    logprobs = logits.log_softmax(-1)
    last = record["generation/lens/next_logprobs"][-1]
    np.testing.assert_allclose(last, logprobs.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].numpy(), rtol=1e-3, atol=1e-4)
    for position, token in enumerate(ids[1:]):
        rank = sorted(range(300), key=lambda other: -logprobs[position, other].item()).index(token)
        assert record["generation/lens/next_ranks"][-1, position] == rank


def test_cells(records: dict[str, Record]) -> None:
    record = records["plain"]
    cache_cells = record["generation/cells"]
    steps, blocks, tracks = cache_cells.shape
    for s in range(steps):
        newest = len(PROMPT) - 1 + s
        for b in range(blocks):
            for t in range(tracks):
                read_in = max(0, t - len(PROMPT) + 1)  # the step that read track t
                if read_in > s:
                    expected = 0
                elif read_in == s:
                    expected = 1
                else:
                    expected = 2 if CONFIG.pattern[b].visible(newest, t) else 3
                assert cache_cells[s, b, t] == expected, (s, b, t)
    assert set(np.unique(cache_cells)) == {0, 1, 2, 3}


@each
def test_the_draw(records: dict[str, Record], name: str) -> None:
    """Everything about the draw in plain numpy, from the whole distribution at each step."""
    record, options = records[name], OPTIONS[name]
    steps = {
        key: record[f"generation/steps/{key}"] for key in ("drawn_ids", "topk_ids", "topk_shares", "kept", "draw", "drawn_span")
    }
    logits = full_logits(record)
    for i, scores in enumerate(logits):
        if options.get("temperature") == 0:
            assert steps["kept"][i] == 1 and math.isnan(steps["draw"][i]) and steps["drawn_span"][i].tolist() == [0, 1]
            assert steps["topk_shares"][i].tolist() == [1.0, *[0.0] * 8] and steps["drawn_ids"][i] == scores.argmax()
            continue
        p = np.exp((scores - scores.max()) / options.get("temperature", 1.0))
        order = np.argsort(-p, kind="stable")[: options.get("top_k", 300)]
        sums = np.cumsum(p[order]) / p[order].sum()
        left = order if options.get("top_p", 1.0) >= 1 else order[: int((sums < options["top_p"]).sum()) + 1]
        shares = np.zeros(300)
        shares[left] = p[left] / p[left].sum()
        assert steps["kept"][i] == len(left)
        assert np.abs(steps["topk_shares"][i] - shares[steps["topk_ids"][i]]).max() < 1e-5
        drawn = steps["drawn_ids"][i]
        assert np.abs(steps["drawn_span"][i] - [shares[:drawn].sum(), shares[: drawn + 1].sum()]).max() < 1e-5
        assert steps["draw"][i] == uniform(5, 0, len(PROMPT) + i)
        assert steps["drawn_span"][i][0] <= steps["draw"][i] <= steps["drawn_span"][i][1]


def full_logits(record: Record) -> np.ndarray[Any, Any]:
    """(S, V) from the record's own tokens."""
    model = lively(pellucid.GPT(CONFIG, seed=3))
    ids = torch.tensor([[*PROMPT, *record["generation/steps/drawn_ids"].tolist()]])
    return model(ids)[0, len(PROMPT) - 1 : -1].double().numpy()


def test_times_are_marked_as_measured(records: dict[str, Record]) -> None:
    record = records["plain"]
    steps, blocks = record["generation/timings/steps"], record["generation/timings/blocks"]
    assert steps.shape == (14,) and blocks.shape == (14, 3)
    assert (blocks > 0).all() and (blocks.sum(1) < steps).all()
    measured = [name for name in record if record.entry(name).truth == "measured"]
    assert measured == ["generation/timings/steps", "generation/timings/blocks", "generation/cache_bytes"]


def test_only_times_differ_between_two_records_of_one_generation(model: pellucid.GPT, records: dict[str, Record]) -> None:
    again = pellucid.xray(model, PROMPT, max_tokens=14, seed=5, candidates=9)
    different = [name for name in again if again.entry(name).sha256 != records["plain"].entry(name).sha256]
    assert all(name.startswith("generation/timings/") for name in different)


def test_pieces_of_every_token_named(model: pellucid.GPT, records: dict[str, Record]) -> None:
    record = records["plain"]
    ids, starts, data = (record[f"pieces/{part}"] for part in ("ids", "starts", "bytes"))
    assert model.tokenizer is not None
    for i, token in enumerate(ids.tolist()):
        assert bytes(data[starts[i] : starts[i + 1]]) == model.tokenizer.token_bytes(token)
    named = [*PROMPT, *record["generation/steps/topk_ids"].ravel(), *record["generation/lens/ids"].ravel()]
    assert set(named) <= set(ids.tolist())


def test_in_float32_nothing_is_rounded(model: pellucid.GPT, records: dict[str, Record]) -> None:
    record, usual = pellucid.xray(model, PROMPT, max_tokens=14, seed=5, candidates=9, record_dtype="float32"), records["plain"]
    check(record)
    report = record.verify(model)
    assert report.ok, report
    assert record.names() == usual.names()
    for name in record:
        if name.startswith("generation/block_inputs/"):
            assert record.entry(name).dtype == "float32"
            assert np.array_equal(as_bfloat16(record[name]).array, usual.stored(name))
        elif name.startswith("generation/attention/"):
            assert record.entry(name).dtype == "float32"
            assert np.abs(record[name].sum(-1, dtype=np.float64) - 1).max() < 1e-6
            assert np.array_equal(as_triangle(record[name]).array, usual.stored(name))
        elif record.entry(name).truth == "derived":
            assert np.array_equal(record[name], usual[name])
    weights = slow_pass(model, [*PROMPT, *record["generation/steps/drawn_ids"].tolist()][:-1])[1]
    for block, exact in enumerate(weights):
        assert np.abs(record[f"generation/attention/{block}"] - exact.numpy()).max() < 1e-5
    with pytest.raises(PellucidError, match="record_dtype must be one of float32, not 'float64'"):
        pellucid.xray(model, PROMPT, max_tokens=2, record_dtype="float64")  # type: ignore[arg-type]


def test_nearly_uniform_rows_of_2048_positions_sum_to_one() -> None:
    config = pellucid.GPTConfig(vocab_size=61, n_ctx=2048, n_layers=1, d_model=16, n_heads=1, pattern=(Dense(),))
    model = pellucid.GPT(config, seed=1).eval()
    record = pellucid.xray(model, [i * i % 61 for i in range(2047)], keep="attention", max_tokens=2, temperature=0)
    rows = record["generation/attention/0"][0]
    assert rows.shape == (2048, 2048) and rows[-1].max() < 1 / 1000
    assert np.abs(rows.sum(-1, dtype=np.float64) - 1).max() <= 0.01
    assert rows[-1].min() > 0 and np.abs(rows[-1] * 2048 - 1).sum() / 2048 < 0.2
    assert record.verify(model).ok


@pytest.mark.parametrize("keep", [(), ("lens",), ["attention", "block_inputs"], "lens"])
def test_keeping_less(model: pellucid.GPT, keep: Any) -> None:
    record = pellucid.xray(model, PROMPT, keep=keep, max_tokens=3, seed=5)
    groups = {name.split("/")[1] for name in record.names("generation/")} & set(KEEP)
    assert groups == ({keep} if isinstance(keep, str) else set(keep))
    check(record, partial=True)
    with pytest.raises(PellucidError, match="is missing"):
        check(record)
    assert record.verify(model).ok


def test_prompts_and_ends(model: pellucid.GPT) -> None:
    assert pellucid.xray(model, max_tokens=2, seed=1)["generation/prompt_ids"].tolist() == [299]
    one = pellucid.xray(model, "the fox", max_tokens=1, seed=1)
    assert check(one)["S"] == 1 and one.verify(model).ok
    full = pellucid.xray(model, PROMPT, max_tokens=48 + 1 - len(PROMPT), seed=2)  # to the end of the context
    assert full.verify(model).ok
    text = model.generate("the fox", max_tokens=30, seed=4).text
    stopped = pellucid.xray(model, "the fox", max_tokens=30, seed=4, stop=text[5:7])
    assert len(stopped["generation/steps/drawn_ids"]) < 30 and stopped.provenance.sampling is not None
    assert stopped.provenance.sampling["stop"] == [text[5:7]] and stopped.verify(model).ok


def test_a_model_in_training_stays_so(model: pellucid.GPT) -> None:
    training = model.copy().train()
    assert pellucid.xray(training, PROMPT, max_tokens=3, seed=1).verify(training).ok
    assert training.training


REFUSED: dict[str, Callable[[pellucid.GPT], object]] = {
    "unknown group to keep 'neurons': use some of block_inputs, lens": lambda m: pellucid.xray(m, [1], keep=["neurons"]),
    "leave out n": lambda m: pellucid.xray(m, [1], n=2),
    "leave out logprobs": lambda m: pellucid.xray(m, [1], logprobs=2),
    "candidates must be a whole number": lambda m: pellucid.xray(m, [1], candidates=0),
    "max_tokens is 0": lambda m: pellucid.xray(m, [1], max_tokens=0),
    "outside the vocabulary": lambda m: pellucid.xray(m, [300]),
    "leaves room for": lambda m: pellucid.xray(m, [1] * 40, max_tokens=40),
    "has no tokenizer": lambda m: pellucid.xray(pellucid.GPT(CONFIG), "text"),
}


@pytest.mark.parametrize("says", list(REFUSED))
def test_refused(model: pellucid.GPT, says: str) -> None:
    with pytest.raises(PellucidError, match=says):
        REFUSED[says](model)


def test_fingerprints(model: pellucid.GPT, tmp_path: Path) -> None:
    mine = fingerprint(model)
    model.save(tmp_path / "m")
    assert fingerprint(pellucid.load(tmp_path / "m")) == mine
    assert fingerprint(model.copy().to(torch.bfloat16)) != mine
    assert fingerprint(pellucid.load(tmp_path / "m", dtype="bfloat16")) == fingerprint(model.copy().to(torch.bfloat16))
    assert fingerprint(lively(pellucid.GPT(CONFIG.replace(name="a"), seed=3))) == mine
    assert fingerprint(lively(pellucid.GPT(CONFIG.replace(pattern=(Banded(BAND), Dense(), Dense())), seed=3))) != mine
    changed = model.copy()
    changed.h[1].mlp.c_fc.bias[3] += 1e-6
    assert fingerprint(changed) != mine
