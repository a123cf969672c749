"""Planning: the paper's tables to their printed digits, memory against what autograd keeps, and nothing allocated."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import pellucid
from pellucid.cli import main
from pellucid.cli.plan import quantity
from pellucid.cli.plan_tables import count, money, size, span
from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.costs import attention_flops
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.memory import TERMS, activation_bytes, block_bytes, copies_bytes, end_bytes
from pellucid.gpt.presets import PRESETS
from pellucid.gpt.published import PF_DAY, PUBLISHED
from pellucid.native.operators.library import compiled_operators, unavailable_reason
from pellucid.planning import device_spec, estimate, planned_model
from pellucid.planning.devices import CLAIMED_V100, HOUR, YEAR, duration, published_claim
from pellucid.planning.estimate import published_sizes
from pellucid.planning.memory import MATRIX_BITS, STATES, weight_bytes
from pellucid.planning.source import PlannedModel
from pellucid.runs.recipe import TOKENS_PER_PARAMETER
from pellucid.training.placement import autocast


def digits(value: float, printed: float, figures: int) -> bool:
    """Whether both read the same in so many significant figures."""
    return f"{value:.{figures - 1}e}" == f"{printed:.{figures - 1}e}"


@pytest.mark.parametrize("name", PUBLISHED)
def test_table_d1_is_six_operations_a_rounded_parameter_and_token(name: str) -> None:
    paper = PUBLISHED[name]
    assert digits(6 * paper.parameters * 300e9, paper.flops, 3)
    assert digits(6 * paper.parameters * 300e9 / PF_DAY, paper.pf_days, 3)


@pytest.mark.parametrize("name", PUBLISHED)
def test_our_shapes_round_to_table_d1(name: str) -> None:
    paper, ours = PUBLISHED[name], estimate(planned_model(name))
    # D.1 prints whole millions to 760, tens of millions above, hundreds at 175B.
    unit = 1e6 if paper.parameters < 1e9 else 1e8 if paper.parameters > 1e11 else 1e7
    assert round(ours.config.parameters() / unit) * unit == paper.parameters
    assert ours.flops_training == pytest.approx(paper.flops, rel=0.005)  # half a unit of N's or the FLOPs' last digit
    assert ours.pf_days == pytest.approx(paper.pf_days, rel=0.005)
    assert ours.tokens == 300_000_000_000


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_are_table_2_1_but_for_what_cannot_be(name: str) -> None:
    paper, ours, config = PUBLISHED[name], PRESETS[name], GPTConfig.preset(name)
    assert (ours.n_layers, ours.batch_tokens, ours.learning_rate) == (paper.n_layers, paper.batch_tokens, paper.learning_rate)
    mended = {
        key for key in ("d_model", "n_heads", "d_head") if getattr(paper, key) != getattr(config, key)
    }  # fmt: skip
    assert mended == {"gpt3-1.3b": {"n_heads"}, "gpt3-13b": {"d_model"}}.get(name, set())
    impossible = paper.n_heads * paper.d_head != paper.d_model
    assert impossible == bool(mended)
    assert bool(paper.notes) >= impossible


def test_175b_is_the_article_s() -> None:
    plan = estimate(planned_model("gpt3-175b")).to_dict()
    assert (plan["parameters"], plan["per_block"]) == (174_604_259_328, 1_812_099_072)
    assert (plan["matrices"], plan["matrices_qkv_apart"]) == (386, 578)
    assert plan["kv_bytes_per_token"] == 2 * 96 * 12288 * 2
    assert plan["kv_bytes_sequence_dense"] == 9_663_676_416
    assert plan["kv_bytes_sequence"] == 2 * 12288 * 2 * 48 * (128 + 2048)
    assert plan["flops_training"] == 6 * 174_604_259_328 * 300 * 10**9
    assert plan["embeddings"] == 617_558_016 + 25_165_824
    assert sum(row["parameters"] for row in plan["matrix_table"]) + plan["vectors"] == plan["parameters"]
    assert sum(row["count"] for row in plan["matrix_table"]) == 386
    assert (plan["batch_tokens"], plan["learning_rate"]) == (3_200_000, 0.6e-4)


def test_exact_operations_are_three_forward_passes_of_the_config_s_own_count() -> None:
    plan = estimate(planned_model("tiny"), tokens=1000, context=32)
    config = plan.config
    assert plan.flops_exact == 3 * config.flops(1000, 32)
    products = 2 * 1000 * sum(rows * columns for name, (rows, columns) in config.matrices() if name != "wpe")
    assert plan.attention_share == pytest.approx(1 - products / config.flops(1000, 32))
    assert plan.flops_training == 6000 * config.parameters()


def test_a_compressed_model_s_attention_holds_its_convolutions() -> None:
    shape = GPTConfig(vocab_size=300, n_ctx=96, n_layers=2, d_model=48, n_heads=4, pattern=("local(16)", "compressed(3,3)"))
    plan = estimate(PlannedModel(name="LM", config=shape, tokens=960, tokens_reason="given"))
    attention = sum(10 * attention_flops(shape, pattern, 96) for pattern in shape.pattern)
    assert plan.attention_share == pytest.approx(attention / shape.flops(960, 96))


def test_the_end_holds_the_gradient_of_the_output_matrix_as_narrow_as_it_is() -> None:
    wide = GPTConfig(vocab_size=300, n_ctx=24, n_layers=1, d_model=48, n_heads=4)
    narrow = wide.replace(d_embed=16)
    assert end_bytes(wide, 24, "float32") - end_bytes(narrow, 24, "float32") == 300 * (48 - 16) * 4


def test_355_years_and_4_6_million_come_from_two_counts() -> None:
    by_paper, by_lambda = published_claim()
    assert (by_paper.flops, by_lambda.flops) == (3.14e23, 3.114e23)
    assert round(by_paper.years, 1) == 355.6
    assert round(by_lambda.dollars / 1e6, 3) == 4.634
    assert round(by_lambda.years, 1) == 352.7
    assert round(by_paper.dollars / 1e6, 2) == 4.67


@pytest.mark.parametrize("pattern", ["dense", "banded(8)"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "bfloat16, compiled"])
def test_activations_are_what_autograd_keeps(precision: str, pattern: str) -> None:
    """The oracle: every tensor that a real forward pass saves, counted once, less the parameters."""

    dtype, *compiled = precision.split(", ")
    if compiled and (reason := unavailable_reason()):
        pytest.skip(reason)

    def kept(layers: int) -> int:
        config = GPTConfig(vocab_size=300, n_ctx=24, n_layers=layers, d_model=48, n_heads=4, pattern=(pattern,) * layers)
        model = Decoder(config)
        own = {p.untyped_storage().data_ptr() for p in model.parameters()}
        seen: dict[int, torch.Tensor] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            with autocast(getattr(torch, dtype)), compiled_operators(use=bool(compiled)):
                hidden = model.hidden(torch.zeros(3, 24, dtype=torch.int64))
            assert hidden.requires_grad
        return sum(t.untyped_storage().nbytes() for place, t in seen.items() if place not in own)

    config = GPTConfig(vocab_size=300, n_ctx=24, n_layers=1, d_model=48, n_heads=4, pattern=(pattern,))
    one = block_bytes(config, config.pattern[0], 3, 24, precision) + copies_bytes(config, precision)
    # To the byte in float32 and dense; elsewhere masks and biases are kept beside it, a few hundred bytes here.
    assert kept(3) - kept(2) == pytest.approx(one, rel=0.05)


def test_recomputing_keeps_less_and_both_grow_with_tokens() -> None:
    config = GPTConfig.preset("gpt3-1.3b")
    for precision in TERMS:
        for windows in (1, 4):
            recomputed = activation_bytes(config, windows, precision, recompute=True)
            assert recomputed < activation_bytes(config, windows, precision) / 2
        assert activation_bytes(config, 4, precision) > activation_bytes(config, 1, precision) * 2.5


def test_weights_by_dtype() -> None:
    config = GPTConfig.preset("gpt3-175b")
    assert weight_bytes(config, "float16") == 349_208_518_656  # the paper's shape in 16 bits: 349.2 GB
    assert weight_bytes(config, "float32") == 2 * weight_bytes(config, "bfloat16")
    sizes = [weight_bytes(config, dtype) for dtype in MATRIX_BITS]
    assert sizes == sorted(sizes, reverse=True)
    assert {recipe.per_parameter for recipe in STATES} == {16}


def test_devices_by_memory_and_time() -> None:
    card = device_spec("mine", flops=100e12, memory=80e9, price=2.0)
    plan = estimate(planned_model("gpt3-175b"), device=card, count=64, utilisation=0.5)
    train = plan.train_memory()[1]
    assert train.devices_recomputed == -(-(train.state + train.activations_recomputed) // 80_000_000_000)
    took = plan.durations()["flops_training"]
    assert took.seconds == pytest.approx(plan.flops_training / (64 * 50e12))
    assert took.device_hours == pytest.approx(64 * took.seconds / HOUR)
    assert took.dollars == pytest.approx(2 * took.device_hours)
    assert plan.durations().keys() == {"flops_training", "flops_exact"}
    assert all(row.devices is None for row in estimate(planned_model("tiny"), device=CLAIMED_V100).run_memory())
    assert duration(3.14e23, CLAIMED_V100).seconds / YEAR == pytest.approx(355.6, abs=0.05)


def test_a_run_is_planned_as_it_was(tiny_run: Path) -> None:
    planned = planned_model(tiny_run)
    assert planned.config.d_model == 32
    assert (planned.tokens, planned.batch_tokens, planned.learning_rate) == (6 * 256, 256, 1e-2)
    assert planned_model(tiny_run / "run.json").config == planned.config
    assert planned_model(tiny_run / "model" / "config.json").config == planned.config
    assert planned_model("default").config == pellucid.load("default").config


def test_a_file_of_config_keys_is_a_shape(tmp_path: Path) -> None:
    (tmp_path / "shape.json").write_text(json.dumps(GPTConfig.preset("gpt2").to_dict()), encoding="utf-8")
    planned = planned_model(tmp_path / "shape.json")
    assert planned.config == GPTConfig.preset("gpt2")
    assert planned.tokens == TOKENS_PER_PARAMETER * planned.config.parameters()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gpt5"], r"neither a preset.*gpt3-175b"),
        (["tiny", "--tokens", "0"], "tokens must be at least 1"),
        (["tiny", "--context", "129"], "longer than the model's 128"),
        (["tiny", "--context", "0"], "context must be at least 1"),
        (["tiny", "--batch", "-1"], "batch must be at least 1"),
        (["tiny", "--device", "v100", "--devices", "0"], "devices must be at least 1"),
        (["tiny", "--device", "h9000"], r"no figures are kept for the device 'h9000'.*--flops"),
        (["tiny", "--flops", "0"], "flops must be a number above 0"),
        (["tiny", "--device", "v100", "--price", "-1"], "price must be a number above 0"),
        (["tiny", "--device", "v100", "--memory", "0GB"], "memory must be a number above 0"),
        (["tiny", "--flops", "1T", "--utilisation", "1.5"], "utilisation is a share"),
        (["tiny", "--flops", "1T", "--utilisation", "nan"], "utilisation is a share"),
    ],
)
def test_what_cannot_be_planned_is_said_in_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *arguments]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    with pytest.raises(PellucidError, match=words):
        raise PellucidError(shown.err)
    assert shown.err.count("\n") == 1


def test_damaged_files_are_named(tmp_path: Path) -> None:
    for name, text, words in (
        ("a.json", "{", "not a JSON file"), ("b.json", "[]", "not a config"), ("c.json", '{"n_layers": 2}', "lacks"),
        ("run.json", '{"config": {}}', "run.json lacks 'recipe'"),
        ("d.json", '{"n_layers": "x", "d_model": 4, "n_heads": 2}', "d.json"),
    ):  # fmt: skip
        (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(PellucidError, match=words):
            planned_model(tmp_path / name)


def test_wrong_use_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan"]) == main(["plan", "tiny", "--all"]) == main(["plan", "--all", "--tokens", "3B"]) == 2
    assert main(["plan", "tiny", "--devices", "4"]) == main(["plan", "tiny", "--utilisation", "0.5"]) == 2
    assert "name a device with --device" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["plan", "tiny", "--memory", "80 elephants"])
    assert "80 elephants" in capsys.readouterr().err


def test_json_is_one_object_of_the_promised_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "gpt3-175b", "--device", "v100", "--devices", "1024", "--json"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    plan = json.loads(shown)
    promised = {
        "parameters", "per_block", "matrices", "flops_training", "pf_days", "flops_exact", "kv_bytes_per_token",
    }  # fmt: skip
    assert promised <= plan.keys()
    assert plan["published"]["pf_days"] == 3640
    assert [round(claim["years"], 1) for claim in plan["published_claim"]] == [355.6, 352.7]
    assert main(["plan", "--all", "--json"]) == 0
    assert [each["model"] for each in json.loads(capsys.readouterr().out)["sizes"]] == list(PUBLISHED)


def test_tables_fit_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["plan", "gpt3-175b", "--device", "v100", "--devices", "1000", "--memory", "32GB"]) == 0
    shown = capsys.readouterr().out
    for words in ("174,604,259,328", "386 matrices", "578", "24.91%", "355.6 years", "$4.634M", "3,638", "memory given"):
        assert words in shown
    assert main(["plan", "--all"]) == 0
    all_sizes = capsys.readouterr().out
    assert max(map(len, (shown + all_sizes).splitlines())) <= 80
    rows = [line for line in all_sizes.splitlines() if line.startswith("gpt3-") and "e+" in line]
    assert len(rows) == len(published_sizes()) == 8


@pytest.mark.long
def test_this_machine_is_measured_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "tiny", "--measure"]) == 0
    assert "This machine (measured)" in capsys.readouterr().out


def test_planning_a_preset_imports_no_torch() -> None:
    code = (
        "import sys; from pellucid.cli import main; assert main(['plan', 'gpt3-175b', '--device', 'v100']) == 0; "
        "assert main(['plan', '--all', '--json']) == 0; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True)


def test_numbers_read_and_written_with_units() -> None:
    assert [quantity(text) for text in ("300B", "28T", "80GB", "3e11", "1.5", ".5k", "1GiB", "10_000")] == [
        300e9, 28e12, 80e9, 3e11, 1.5, 500, 2**30, 10_000,
    ]  # fmt: skip
    for text in ("1e400", "-1e999T"):
        with pytest.raises(argparse.ArgumentTypeError, match="larger than any number"):
            quantity(text)
    assert (size(4_718_592), size(999), size(999_600_000), count(260e9)) == ("4.72 MB", "999 bytes", "1,000 MB", "260B")
    assert (span(90), span(YEAR * 355.6), money(4_634_226), money(12.5)) == ("1.5 minutes", "355.6 years", "$4.634M", "$12.50")
