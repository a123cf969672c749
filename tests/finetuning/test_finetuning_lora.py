"""LoRA: step 0 is the base, merged is unmerged, runs resume to the bit, PEFT reads the adapters; and the weight of prompts."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

import pellucid
from pellucid import Example
from pellucid.errors import PellucidError
from pellucid.finetuning import service_2021
from pellucid.finetuning.examples import ExampleBatches
from pellucid.finetuning.lora import LoraModel
from pellucid.finetuning.peft_format import save_adapter
from pellucid.finetuning.tasks import number_words
from pellucid.generation.model import GPT
from pellucid.gpt.arrangements import all_dense, alternating
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.loss import IGNORE
from pellucid.runs.lora import TARGETS, LoraSettings
from pellucid.text import Tokenizer, train_tokenizer
from pellucid.training import checkpoint
from pellucid.training.step import loss_and_gradients


TARGET_LISTS = st.lists(
    st.sampled_from([name for name in TARGETS if name != "c_attn"]), min_size=1, unique=True
) | st.sampled_from([["c_attn"], ["c_attn", "c_fc"]])


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([e.prompt + e.completion + "\n" for e in number_words()], 300)


@pytest.fixture(scope="module")
def base(tokenizer: Tokenizer) -> GPT:
    config = GPTConfig(
        vocab_size=tokenizer.vocab_size, n_ctx=32, n_layers=2, d_model=32, n_heads=4, pattern=alternating(2, band=8)
    )
    return GPT(config, tokenizer=tokenizer, seed=1)


def trained(base: GPT, settings: LoraSettings) -> LoraModel:
    """A model whose adapters change something: B is no longer 0."""
    model, generator = LoraModel(base, settings, seed=3), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.adapters():
            if ".lora_B." in name:
                parameter.normal_(0.0, 0.1, generator=generator)
    return model


def test_the_counts_of_the_paper_need_no_memory() -> None:
    """Hu et al. 2021, table 4: 4.7M and 37.7M parameters of GPT-3 175B."""
    config = GPTConfig.preset("gpt3-175b")
    assert LoraSettings(rank=1).parameters(config) == 4_718_592
    assert LoraSettings(rank=8, targets="v,q").parameters(config) == 37_748_736


@cases(6)
@given(rank=st.integers(1, 6), alpha=st.sampled_from([None, 0.5, 16.0]), targets=TARGET_LISTS)
def test_adapters_begin_as_nothing_and_merge_into_the_weights(
    base: GPT, rank: int, alpha: float | None, targets: list[str]
) -> None:
    """Step 0 equals the base to the bit; merged equals unmerged within 1e-5, and W + alpha / rank B A by hand."""
    settings = LoraSettings(rank=rank, alpha=alpha, targets=targets)
    ids = torch.randint(0, base.config.vocab_size, (2, 20), generator=torch.Generator().manual_seed(rank))
    fresh = LoraModel(base, settings, seed=3)
    assert torch.equal(fresh(ids), base(ids))
    for (name, kept), (_, weight) in zip(fresh.merged().named_parameters(), base.named_parameters(), strict=True):
        assert torch.equal(kept.view(torch.int32), weight.view(torch.int32)), name
    assert sum(p.numel() for _, p in fresh.adapters()) == settings.parameters(base.config)
    assert {name for name, p in fresh.named_parameters() if p.requires_grad} == {name for name, _ in fresh.adapters()}

    model = trained(base, settings)
    merged = model.merged()
    rounding = 1e-5 * max(1, (alpha or rank) / rank)  # of float32: it grows with what the adapters add
    assert (model(ids) - merged(ids)).abs().max() < rounding < (model(ids) - base(ids)).abs().max()
    found, width = dict(merged.named_parameters()), base.config.d_model
    wanted = {name: p.clone() for name, p in base.named_parameters()}
    weights = dict(model.adapters())
    for block in range(2):
        for target in targets:
            matrix, third = TARGETS[target]
            key = f"h.{block}.{matrix}"
            change = sum(  # a column of B times a row of A, one after the other
                weights[f"{key}.lora_B.{target.split('.')[-1]}"][:, r, None]
                * weights[f"{key}.lora_A.{target.split('.')[-1]}"][r]
                for r in range(rank)
            ) * ((alpha or rank) / rank)  # fmt: skip
            rows = slice(None) if third is None else slice(third * width, (third + 1) * width)
            wanted[f"{key}.weight"][rows] += change
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-6)


def test_only_adapters_learn_and_the_gradient_is_that_of_the_merged_weight(base: GPT) -> None:
    """d loss / d B = alpha / r (d loss / d W) A^T: the frozen weight's own gradient, computed on the merged model."""
    settings = LoraSettings(rank=2, alpha=6, targets="k,mlp.c_proj")
    model = trained(base, settings)
    plain = model.merged().requires_grad_(True)
    ids = torch.randint(0, base.config.vocab_size, (3, 12), generator=torch.Generator().manual_seed(0))
    for one in (model, plain):
        loss_and_gradients(one, ids, ids.roll(-1, 1), micro_batch=2, dtype=torch.float32)
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {name for name, _ in model.adapters()}
    adapters, of = dict(model.adapters()), dict(plain.named_parameters())
    width = base.config.d_model
    for matrix, key, rows in (("h.1.mlp.c_proj", "c_proj", slice(None)), ("h.0.attn.c_attn", "k", slice(width, 2 * width))):
        grad = of[f"{matrix}.weight"].grad
        assert grad is not None
        a, b = adapters[f"{matrix}.lora_A.{key}"], adapters[f"{matrix}.lora_B.{key}"]
        torch.testing.assert_close(b.grad, 3 * grad[rows] @ a.T, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(a.grad, 3 * b.T @ grad[rows], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("given_options", "words"),
    [
        ({"lora_rank": 0}, "lora_rank must be a number above 0"), ({"lora_rank": 33}, "at most the model's width, 32, not 33"),
        ({"lora_rank": 2, "lora_targets": "q,w"}, "unknown LoRA target 'w'"), ({"lora_targets": "q"}, "go with lora_rank"),
        ({"lora_rank": 2, "lora_targets": ["q", "c_attn"]}, "adapt the same rows twice"), ({"lora_alpha": 2.0}, "lora_rank"),
        ({"lora_rank": 2, "lora_targets": []}, "must be names"), ({"lora_rank": 2, "lora_alpha": 0}, "above 0"),
        ({"prompt_loss_weight": 1.5}, "prompt_loss_weight must be a finite number, 0 to 1"),
        ({"choose": "any"}, "best or last"),
        ({"learning_rate": 1e-3, "learning_rate_multiplier": 0.1}, "one of learning_rate, learning_rate_multiplier"),
    ],
)  # fmt: skip
def test_wrong_options_are_named_and_leave_nothing(
    base: GPT, tmp_path: Path, given_options: dict[str, Any], words: str
) -> None:
    with pytest.raises(PellucidError) as found:
        pellucid.finetune(number_words(range(20)), tmp_path / "run", model=base, steps=1, **given_options)
    assert words in str(found.value)
    assert not any(tmp_path.iterdir())


def test_a_run_with_lora_resumes_to_the_bit_and_every_tool_opens_it(base: GPT, tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": base, "steps": 6, "lora_rank": 2, "lora_targets": "q,v", "learning_rate": 3e-2}
    examples = number_words(range(30))
    whole = pellucid.finetune(examples, tmp_path / "whole", **options)
    asked = iter([False, False, True])
    cut = pellucid.finetune(examples, tmp_path / "cut", stop=lambda: next(asked), **options)
    assert cut.step == 3 and (cut.path / "adapter" / "adapter_model.safetensors").is_file()
    assert pellucid.finetune(examples, tmp_path / "cut", resume=True, **options).finished
    newest = [checkpoint.newest(run.path) for run in (whole, cut)]
    for name in ("model.safetensors", "adapters.safetensors", "optimizer.safetensors"):
        assert all(path is not None for path in newest)
        assert len({(path / name).read_bytes() for path in newest if path is not None}) == 1
    for name in ("model/model.safetensors", "adapter/adapter_model.safetensors"):
        assert (whole.path / name).read_bytes() == (cut.path / name).read_bytes()
    assert sorted(path.name for path in (whole.path / "model").iterdir()) == sorted(
        path.name for path in (whole.path / "base").iterdir()
    )  # a plain model directory
    changed = {
        name.rpartition(".")[0].rpartition(".")[2]
        for (name, after), before in zip(whole.model().named_parameters(), base.parameters(), strict=True)
        if not torch.equal(after, before)
    }
    assert changed == {"c_attn"}
    k = slice(32, 64)
    assert torch.equal(whole.model().h[0].attn.c_attn.weight[k], base.h[0].attn.c_attn.weight[k])  # type: ignore[index, union-attr]
    assert whole.record is not None
    with pellucid.open(whole.record) as record:
        report = record.verify(whole.path)
    assert report.ok, [one for one in report.chunks if not one.ok]
    with pytest.raises(PellucidError, match="lora_rank"):
        pellucid.finetune([], tmp_path / "cut", resume=True, lora_rank=3)


def test_damaged_adapters_are_named(base: GPT, tmp_path: Path) -> None:
    model = trained(base, LoraSettings(rank=2))
    model.save(tmp_path)
    LoraModel(base, LoraSettings(rank=2)).restore(tmp_path)
    with pytest.raises(PellucidError, match="holds other adapters"):
        LoraModel(base, LoraSettings(rank=3)).restore(tmp_path)
    (tmp_path / "adapters.safetensors").write_bytes(b"x")
    with pytest.raises(PellucidError, match=r"adapters.safetensors is missing or damaged"):
        model.restore(tmp_path)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of PEFT, about transformers
@pytest.mark.parametrize("targets", ["q,v", "k", "c_attn,mlp.c_proj", "q,k,v,attn.c_proj,c_fc,mlp.c_proj", "attn.c_proj"])
def test_peft_reads_the_adapters(tmp_path: Path, targets: str) -> None:
    """Random weights and adapters: PEFT's model, unmerged and merged, computes what ours computes, and trains what it says."""
    import peft
    from transformers import GPT2LMHeadModel

    config = GPTConfig(vocab_size=64, n_ctx=16, n_layers=2, d_model=32, n_heads=4, pattern=all_dense(2))
    model = trained(GPT(config, seed=1), LoraSettings(rank=3, alpha=5, targets=targets))
    GPT(config, seed=1).save(tmp_path / "base")
    save_adapter(model, tmp_path / "adapter", base=str(tmp_path / "base"))
    with torch.no_grad():
        theirs = peft.PeftModel.from_pretrained(GPT2LMHeadModel.from_pretrained(tmp_path / "base"), tmp_path / "adapter").eval()
        ids = torch.randint(0, 64, (2, 16), generator=torch.Generator().manual_seed(0))
        ours = model(ids)
        assert (theirs(ids).logits - ours).abs().max() < 1e-5 < (ours - GPT(config, seed=1)(ids)).abs().max()
        automatic = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter").eval()
        assert torch.equal(automatic(ids).logits, theirs(ids).logits)
        theirs.save_pretrained(tmp_path / "again")
        merged = theirs.merge_and_unload()
        assert (merged(ids).logits - ours).abs().max() < 1e-5
    for name in ("adapter", "again"):
        written = json.loads((tmp_path / name / "adapter_config.json").read_text(encoding="utf-8"))
        assert (written["r"], written["lora_alpha"], written["fan_in_fan_out"]) == (3, 5, True)
    parameters = {name: p.detach() for name, p in merged.named_parameters()}
    weight = model.merged().h[1].mlp.c_proj.weight  # type: ignore[union-attr]
    torch.testing.assert_close(parameters["transformer.h.1.mlp.c_proj.weight"].T, weight, rtol=0, atol=1e-6)


@cases(8)
@given(weight=st.sampled_from([0.01, 0.1, 1.0]), batch=st.integers(1, 5), micro_batch=st.integers(1, 5))
def test_prompts_count_by_their_weight(base: GPT, tokenizer: Tokenizer, weight: float, batch: int, micro_batch: int) -> None:
    """The loss is the weighted mean of plain cross-entropies, its gradient that of PyTorch's; micro-batches change neither."""
    examples = [*number_words([7, 382, 40]), Example("", " one"), Example("a longer prompt =>", " x")]
    batches = ExampleBatches(examples, examples, tokenizer, 32, batch, 1, weight)
    (ids, targets), weights = batches.batch(0), batches.weights(0)
    assert weights is not None
    model = base.copy().requires_grad_(True)
    loss = loss_and_gradients(model, ids, targets, micro_batch=micro_batch, dtype=torch.float32, weights=weights)
    grads = {name: p.grad for name, p in model.named_parameters()}

    other = base.copy().requires_grad_(True)
    total, count = torch.zeros(()), 0.0
    for tokens, start in batches._chosen(0):
        logits = other(torch.tensor([tokens[:-1]]))[0]
        losses = F.cross_entropy(logits, torch.tensor(tokens[1:]), reduction="none")
        factors = torch.tensor([weight if place < start else 1.0 for place in range(1, len(tokens))])
        total, count = total + (losses * factors).sum(), count + factors.sum().item()
    (total / count).backward()
    assert loss == pytest.approx((total / count).item(), rel=1e-5)
    assert model(ids, targets, target_weights=weights).item() == pytest.approx(loss, rel=1e-5)
    for name, parameter in other.named_parameters():
        torch.testing.assert_close(grads[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_a_weight_of_zero_and_the_best_model_are_what_a_run_does_by_itself(base: GPT, tmp_path: Path) -> None:
    """To the bit, and `run.json` and `arguments.json` of a run without the new options say nothing of them."""
    examples = number_words(range(24))
    usual = pellucid.finetune(examples, tmp_path / "usual", model=base, steps=4)
    named = pellucid.finetune(
        examples, tmp_path / "named", model=base, steps=4, prompt_loss_weight=0.0, choose="best", learning_rate_multiplier=0.2
    )
    for name in ("model/model.safetensors", "best/best.json", "run.json"):
        assert (usual.path / name).read_bytes() == (named.path / name).read_bytes()
    assert not {"lora", "prompt_loss_weight"} & set(json.loads((usual.path / "run.json").read_text(encoding="utf-8")))
    batches = ExampleBatches(examples, examples, base.require_tokenizer(), 32, 4, 0)
    assert batches.weights(0) is None and (batches.batch(0)[1][:, 0] == IGNORE).all()


def test_the_service_of_2021(base: GPT, tmp_path: Path) -> None:
    """Its defaults, scaled to the examples; what is given goes before them."""
    assert [service_2021.batch_of(n) for n in (1, 400, 1000, 10**6)] == [1, 1, 2, 256]
    assert [service_2021.multiplier_of(n) for n in (1, 15, 16, 127, 128, 256)] == [0.05, 0.05, 0.1, 0.1, 0.2, 0.2]
    examples = number_words(range(30))
    run = pellucid.finetune(examples, tmp_path / "run", model=base, recipe="2021", stop=lambda: True)
    plan = run.plan
    assert (plan.batch, plan.total_steps, plan.prompt_loss_weight, plan.keep_best) == (1, 4 * 24, 0.01, False)
    assert plan.recipe.learning_rate == pytest.approx(0.05 * 0.5 / 32)
    shutil.rmtree(run.path)
    run = pellucid.finetune(examples, run.path, model=base, recipe="2021", steps=2)
    newest = checkpoint.newest(run.path)
    assert newest is not None and run.kept is None and run.finished
    assert (newest / "model.safetensors").read_bytes() == (run.path / "model" / "model.safetensors").read_bytes()
    shutil.rmtree(run.path)
    changed = pellucid.finetune(
        examples, run.path, model=base, recipe="2021", steps=1, batch=5, learning_rate=1e-3, choose="best",
        prompt_loss_weight=0.0,
    )  # fmt: skip
    plan = changed.plan
    assert (plan.batch, plan.recipe.learning_rate, plan.prompt_loss_weight, plan.keep_best) == (5, 1e-3, 0.0, True)
    (tmp_path / "text.txt").write_text("Some text, without prompts. " * 40, encoding="utf-8")
    with pytest.raises(PellucidError, match="text without prompts"):
        pellucid.finetune(tmp_path / "text.txt", tmp_path / "other", model=base, recipe="2021")
