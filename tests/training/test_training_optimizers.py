"""Optimizers by name, documents kept apart, and what a step tells of the machine."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from models import lively
from test_training_options import CONFIG, assert_resumes_to_the_bit, train
from torch import nn

import pellucid
from pellucid.cli import main
from pellucid.corpus import Document
from pellucid.errors import PellucidError
from pellucid.gpt.document_mask import DocumentMask
from pellucid.gpt.pattern import parse
from pellucid.runs.recipe import Recipe
from pellucid.training.muon import Muon
from pellucid.training.optimizers import CombinedOptimizer, make_optimizer, names, restore, state_of
from pellucid.training.option_table import parse_setting
from pellucid.training.step import loss_and_gradients


RECIPE = Recipe.scaled(1e-3, 10_000)
EOT = CONFIG.vocab_size - 1


def steps(optimizer: torch.optim.Optimizer, model: pellucid.GPT, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        torch.manual_seed(number)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()


@pytest.mark.parametrize("name", names())
def test_every_optimizer_goes_on_from_what_is_saved_of_it(name: str) -> None:
    whole, half, rest = (pellucid.GPT(CONFIG, seed=1) for _ in range(3))
    steps(make_optimizer(whole, RECIPE, name), whole, 4)
    begun = make_optimizer(half, RECIPE, name)
    steps(begun, half, 2)
    rest.load_state_dict(half.state_dict())
    after = make_optimizer(rest, RECIPE, name)
    restore(rest, after, {key: value.clone() for key, value in state_of(half, begun)})
    steps(after, rest, 2, first=2)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), rest.parameters(), strict=True))
    assert not torch.equal(next(whole.parameters()), next(half.parameters()))


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "muon"},
        {"optimizer": "sgd", "optimizer_settings": {"momentum": 0.9}, "learning_rate": 0.1},
        {"optimizer": "nadam"},
    ],
    ids=["muon", "sgd", "nadam"],
)
def test_a_run_resumes_to_the_bit_and_says_what_it_took(
    documents: list[Document], tmp_path: Path, options: dict[str, Any]
) -> None:
    run = assert_resumes_to_the_bit(documents, tmp_path, **options)
    written = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    assert {key: written[key] for key in options if key != "learning_rate"} == {
        key: value for key, value in options.items() if key != "learning_rate"
    }
    losses = [line["loss"] for line in run.metrics() if "loss" in line]
    assert losses[-1] < losses[0]
    verified(run)


def verified(run: pellucid.Run) -> None:
    """The record's steps, taken again with that optimizer and those masks."""
    with pellucid.open(run.record) as record:
        report = pellucid.verify(record, run.path)
    assert report.ok, str(report)


def test_muon_has_the_matrices_of_the_blocks_and_adamw_the_rest() -> None:
    model = pellucid.GPT(CONFIG)
    both = make_optimizer(model, RECIPE, "muon")
    assert isinstance(both, CombinedOptimizer)
    muon, adamw = both.parts
    taken = {id(p) for group in muon.param_groups for p in group["params"]}
    assert {n for n, p in model.named_parameters() if id(p) in taken} == {
        f"h.{block}.{name}.weight" for block in (0, 1) for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }
    assert isinstance(muon, Muon) and isinstance(adamw, torch.optim.AdamW)
    assert sum(len(g["params"]) for part in both.parts for g in part.param_groups) == len(list(model.parameters()))
    decays = {id(p): g["weight_decay"] for part in both.parts for g in part.param_groups for p in g["params"]}
    assert {decays[id(p)] for p in model.parameters() if p.dim() == 2} == {0.1}
    assert {decays[id(p)] for p in model.parameters() if p.dim() < 2} == {0.0}


@pytest.mark.parametrize("size", [(24, 8), (8, 24), (16, 16)])
@pytest.mark.parametrize("settings", [{}, {"adjust_lr_fn": "match_rms_adamw"}, {"nesterov": False, "ns_steps": 3, "eps": 1e-3}])
def test_muon_in_float32_is_pytorch_s_up_to_rounding(size: tuple[int, int], settings: dict[str, Any]) -> None:
    """In bfloat16 it is PyTorch's own; in float32 as far from it as bfloat16 rounds, and near the same in float64."""
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(size, generator=generator)
    single, double, half, reference = (
        nn.Parameter(start.clone().to(dtype)) for dtype in (torch.float32, torch.float64, torch.float32, torch.float32)
    )
    known = {"lr": 0.02, "weight_decay": 0.1} | settings
    optimizers = (
        Muon([single], "float32", **known), Muon([double], "float32", **known), Muon([half], **known),
        torch.optim.Muon([reference], **known),
    )  # fmt: skip
    for _ in range(4):
        gradient = torch.randn(size, generator=generator)
        for parameter in (single, double, half, reference):
            parameter.grad = gradient.to(parameter.dtype)
        for optimizer in optimizers:
            optimizer.step()
    assert torch.equal(half, reference)
    torch.testing.assert_close(single, double.float(), rtol=1e-4, atol=1e-5)
    moved = (reference - start).norm()
    assert (single - reference).norm() < 0.02 * moved, (single - reference).norm() / moved


def test_a_run_with_muon_multiplies_in_the_dtype_of_the_run(documents: list[Document], tmp_path: Path) -> None:
    for dtype, settings, expected in (
        ("float32", {}, "float32"), ("bfloat16", {}, "bfloat16"), ("float32", {"matmul_dtype": "bfloat16"}, "bfloat16"),
    ):  # fmt: skip
        path = tmp_path / f"{dtype}-{len(settings)}"
        run = train(documents, path, steps=2, optimizer="muon", dtype=dtype, optimizer_settings=settings or None)
        assert run.plan.optimizer_settings == {"matmul_dtype": expected}
    with pytest.raises(PellucidError, match="matmul_dtype must be bfloat16 or float32"):
        train(documents, tmp_path / "run", steps=2, optimizer="muon", optimizer_settings={"matmul_dtype": "int8"})


def test_the_default_is_written_as_if_there_were_no_choice(documents: list[Document], tmp_path: Path) -> None:
    run = train(documents, tmp_path / "run", steps=2)
    written = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    assert not {"optimizer", "optimizer_settings", "mask_documents"} & set(written)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"optimizer": "lion"}, r"unknown optimizer 'lion': choose from .*adamw.*muon.*sgd"),
        ({"dtype": "float16"}, "dtype must be float32 or bfloat16, not 'float16'"),
        ({"optimizer": "lbfgs"}, "unknown optimizer 'lbfgs'"),
        ({"optimizer": "sgd", "optimizer_settings": {"beta": 1}}, "SGD takes no 'beta': it has .*momentum"),
        ({"optimizer": "adamw", "optimizer_settings": {"eps": -1.0}}, "AdamW does not take these settings: .*epsilon"),
        ({"optimizer_settings": {"eps": 1.0}}, "optimizer settings need an optimizer"),
        (
            {"mask_documents": True, "config": CONFIG.replace(pattern=(parse("compressed(3,3)"), parse("dense")))},
            "leave out mask_documents",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    documents: list[Document], tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(PellucidError, match=says):
        train(documents, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_settings_are_read_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_setting("momentum=0.9") == ("momentum", 0.9)
    assert parse_setting("nesterov=true") == ("nesterov", True)
    assert parse_setting("ns_steps=5") == ("ns_steps", 5)
    assert parse_setting("betas=0.9,0.99") == ("betas", (0.9, 0.99))
    with pytest.raises(SystemExit) as stopped:
        main(["train", "x.txt", "--out", "run", "--optimizer-setting", "momentum"])
    assert stopped.value.code == 2 and "no name and value, such as momentum=0.9" in capsys.readouterr().err


texts = st.lists(st.lists(st.integers(0, EOT - 1), max_size=12), min_size=1, max_size=5)


@cases(25)
@given(
    texts=texts, before=st.lists(st.integers(0, EOT - 1), max_size=6),
    pattern=st.sampled_from(["dense", "banded(4)", "strided(3)", "heads(strided(3),dense)"]),
)  # fmt: skip
def test_a_document_is_read_as_if_it_were_alone(texts: list[list[int]], before: list[int], pattern: str) -> None:
    config = CONFIG.replace(n_ctx=80, pattern=(parse(pattern),) * 2)
    model = lively(pellucid.GPT(config, seed=2))
    model.wpe.weight.zero_()  # positions go on through the window: without them, alone is the same
    pieces = [before, *([EOT, *text] for text in texts)]
    ids = torch.tensor([[token for piece in pieces for token in piece]])
    together = model.hidden(ids, DocumentMask(config, ids, EOT))[0]
    place = 0
    for piece in pieces:
        if piece:
            alone = model.hidden(torch.tensor([piece]))[0]
            torch.testing.assert_close(together[place : place + len(piece)], alone, atol=2e-4, rtol=2e-4)
        place += len(piece)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_gradient_crosses_the_end_of_a_document(dtype: torch.dtype) -> None:
    model = pellucid.GPT(CONFIG, seed=2)
    ids = torch.randint(EOT, (2, 20), generator=torch.Generator().manual_seed(0))
    ids[:, 10] = EOT
    targets = torch.full_like(ids, -100)
    targets[:, 10:] = ids.roll(-1, 1)[:, 10:]  # losses of the second document alone
    ids[:, 3] = 7
    loss_and_gradients(model, ids, targets, micro_batch=1, dtype=dtype, document=EOT)
    assert model.wpe.weight.grad is not None
    assert not model.wpe.weight.grad[:10].any() and model.wpe.weight.grad[10:20].all(dim=1).all()


@pytest.mark.long
def test_a_run_that_keeps_documents_apart_resumes_and_is_verified(documents: list[Document], tmp_path: Path) -> None:
    run = assert_resumes_to_the_bit(documents, tmp_path, mask_documents=True)
    assert run.plan.mask_documents
    verified(run)
    crossing = train(documents, tmp_path / "crossing")
    assert [line["loss"] for line in run.metrics() if "loss" in line] != [
        line["loss"] for line in crossing.metrics() if "loss" in line
    ]


def test_a_step_tells_its_operations_and_how_long_it_waited(tiny_run: Path) -> None:
    lines = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    taken = [line for line in lines if "loss" in line]
    plan = json.loads((tiny_run / "run.json").read_text(encoding="utf-8"))
    config = pellucid.GPTConfig.from_dict(plan["config"])
    tokens = taken[0]["tokens"]
    for line in taken:
        assert 0 <= line["waiting"] < 1
        assert line["flops_per_s"] == pytest.approx(3 * config.flops(tokens) * line["tokens_per_s"] / tokens, rel=1e-2)
        assert line["matmul_share"] > 0


def test_weights_and_biases_receives_the_numbers(
    documents: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, Any]] = []

    class Run:
        def log(self, numbers: dict[str, Any], step: int) -> None:
            told.append(("log", {**numbers, "step": step}))

        def finish(self) -> None:
            told.append(("finish", None))

    def init(**settings: Any) -> Run:
        told.append(("init", settings))
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Settings=lambda: SimpleNamespace(project=None)))
    from pellucid.training.wandb import WeightsAndBiases

    train(documents, tmp_path / "run", steps=4, observers=[WeightsAndBiases(tmp_path / "run")])
    kinds = [kind for kind, _ in told]
    assert kinds[0] == "init" and kinds[-1] == "finish"
    assert told[0][1]["project"] == "pellucid" and told[0][1]["name"] == "run" and told[0][1]["config"]["total_steps"] == 4
    logged = [values for kind, values in told if kind == "log"]
    assert [values["step"] for values in logged if "train/loss" in values] == [1, 2, 3, 4]
    assert any("held_out/bits_per_byte" in values for values in logged) and any("sample" in values for values in logged)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(PellucidError, match="pip install wandb"):
        WeightsAndBiases(tmp_path / "run")
