"""Fine-tuning: examples become batches whose loss counts completions only, and the best model is what remains."""

import json
from pathlib import Path

import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

import pellucid
from pellucid import Example
from pellucid.errors import PellucidError
from pellucid.finetuning.answers import greedy_answers
from pellucid.finetuning.example_files import read_examples
from pellucid.finetuning.examples import ExampleBatches
from pellucid.finetuning.split import split
from pellucid.finetuning.tasks import in_words, number_words
from pellucid.generation.model import GPT
from pellucid.gpt.arrangements import alternating
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.loss import IGNORE
from pellucid.text import Tokenizer, train_tokenizer
from pellucid.training import checkpoint


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([e.prompt + e.completion + "\n" for e in number_words()], 400)


@pytest.fixture(scope="module")
def base(tokenizer: Tokenizer) -> GPT:
    config = GPTConfig(
        vocab_size=tokenizer.vocab_size, n_ctx=32, n_layers=2, d_model=64, n_heads=4, pattern=alternating(2, band=8)
    )
    return GPT(config, tokenizer=tokenizer, seed=1)


def right(model: GPT, examples: list[Example]) -> int:
    return sum(text == e.completion for text, e in zip(greedy_answers(model, examples), examples, strict=True))


def test_numbers_in_words() -> None:
    known = {0: "zero", 9: "nine", 13: "thirteen", 20: "twenty", 45: "forty-five", 100: "one hundred",
             382: "three hundred eighty-two", 711: "seven hundred eleven", 999: "nine hundred ninety-nine"}  # fmt: skip
    assert {n: in_words(n) for n in known} == known
    assert len({in_words(n) for n in range(1000)}) == 1000


def test_targets_are_the_completion_and_its_end(tokenizer: Tokenizer) -> None:
    examples = [Example("7 =>", " seven"), Example("382 =>", " three hundred eighty-two"), Example("", "x")]
    batches = ExampleBatches(examples, examples, tokenizer, n_ctx=32, batch=3, seed=0)
    ids, targets = batches.batch(0)
    assert ids.shape == targets.shape
    found = set()
    for row_ids, row_targets in zip(ids.tolist(), targets.tolist(), strict=True):
        counted = [i for i, t in enumerate(row_targets) if t != IGNORE]
        assert counted == list(range(counted[0], counted[-1] + 1))
        prompt = tokenizer.decode([t for t in row_ids[: counted[0] + 1] if t != tokenizer.eot])
        *completion, end = (row_targets[i] for i in counted)
        assert end == tokenizer.eot
        assert row_ids[counted[0] + 1 : counted[-1] + 1] == completion  # what is predicted is what is read next
        assert all(t == tokenizer.eot for t in row_ids[counted[-1] + 1 :])
        found.add(Example(prompt, tokenizer.decode(completion)))
    assert found == set(examples)


def test_filling_and_prompts_change_no_loss(base: GPT, tokenizer: Tokenizer) -> None:
    """The mean over a padded batch is the mean over its examples' completion tokens, each computed alone and unpadded."""
    examples = number_words([7, 382, 40])
    batches = ExampleBatches(examples, examples, tokenizer, n_ctx=32, batch=3, seed=0)
    together = base(*batches.batch(0)).item()
    total, count = 0.0, 0
    for example in examples:
        prompt = tokenizer.encode(example.prompt)
        rest = [*tokenizer.encode(example.completion), tokenizer.eot]
        log_p = base(torch.tensor([prompt + rest[:-1]]))[0, len(prompt) - 1 :].log_softmax(-1)
        total -= log_p[range(len(rest)), rest].sum().item()
        count += len(rest)
    assert together == pytest.approx(total / count, rel=1e-5)
    assert batches.held_out(base, torch.float32)[0] == pytest.approx(total / count, rel=1e-5)


@pytest.fixture(scope="module")
def learned(base: GPT) -> GPT:
    """A model that answers some numbers right and others wrong."""
    model = base.copy().requires_grad_(True)
    batches = ExampleBatches(number_words(range(16)), [], base.require_tokenizer(), 32, 16, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(80):
        optimizer.zero_grad()
        model(*batches.batch(step)).backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("batch", [1, 5, 64])
def test_an_exact_answer_is_what_generating_writes(learned: GPT, batch: int) -> None:
    """The count during a run, from one pass over all tokens, is that of the answers that are generated token by token."""
    tokenizer = learned.require_tokenizer()
    examples = [*number_words(range(40)), Example("7 =>", " seven\n"), Example("", " seven"), Example("8 =>", " eight")]
    for end in (False, True):  # the end of the text, or the end of the line, whichever the model has learned to write
        chosen = [Example(e.prompt, e.completion + "\n") for e in examples[:30]] if end else examples
        batches = ExampleBatches(chosen[:1], chosen, tokenizer, n_ctx=32, batch=batch, seed=0)
        found, count = batches.answers(learned)
        assert count == len(chosen) and found == right(learned, chosen)
        assert end or 5 < found < count


def test_the_end_of_the_line_ends_an_answer_of_one_line(learned: GPT) -> None:
    tokenizer = learned.require_tokenizer()
    batches = ExampleBatches(number_words([1]), number_words([1]), tokenizer, n_ctx=32, batch=1, seed=0)
    line_end = tokenizer.encode("\n")[0]
    assert batches._ends(line_end, one_line=True) and not batches._ends(line_end, one_line=False)
    assert batches._ends(tokenizer.eot, one_line=False) and not batches._ends(tokenizer.encode("s")[0], one_line=True)


@cases(30)
@given(n=st.integers(1, 40), batch=st.integers(1, 7), seed=st.integers(0, 5))
def test_every_epoch_shows_every_example_once(tokenizer: Tokenizer, n: int, batch: int, seed: int) -> None:
    examples = number_words(range(n))
    batches = ExampleBatches(examples, examples[:1], tokenizer, n_ctx=32, batch=batch, seed=seed)
    steps = range(-(-2 * n // batch))
    shown = [ids for step in steps for ids, _ in batches._chosen(step)]
    for epoch in (shown[:n], shown[n : 2 * n]):
        assert sorted(epoch) == sorted(ids for ids, _ in batches.train)
    assert batches.tokens_before(len(steps)) == sum(len(ids) - 1 for ids in shown)


@given(st.lists(st.sampled_from(number_words(range(12))), min_size=2, max_size=40), st.integers(0, 3))
def test_split_never_trains_on_what_it_holds_out(examples: list[Example], seed: int) -> None:
    if len(set(examples)) < 2:
        with pytest.raises(PellucidError, match="two different examples"):
            split(examples, seed=seed)
        return
    divided = split(examples, seed=seed)
    train, held_out = divided.train, divided.held_out
    assert train
    assert held_out
    assert not set(train) & set(held_out)
    assert set(train) | set(held_out) == set(examples)
    padded = [Example(f" {one.prompt}", f"{one.completion}\n") for one in examples]  # the same texts
    texts = {(one.prompt.strip(), one.completion.strip()) for one in split([*examples, *padded], seed=seed).train}
    assert texts == {(one.prompt.strip(), one.completion.strip()) for one in train}


def test_a_long_example_is_refused_and_nothing_is_left(base: GPT, tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match="the model reads 32"):
        pellucid.finetune([Example("7 =>", " seven" * 40), Example("8 =>", " eight")], tmp_path / "run", model=base)
    assert not any(tmp_path.iterdir())


@pytest.mark.long
def test_finetuning_learns_a_task_and_keeps_the_best(base: GPT, tmp_path: Path) -> None:
    """Digits to words for numbers below a hundred, from random weights."""
    before = {name: p.clone() for name, p in base.named_parameters()}
    run = pellucid.finetune(number_words(range(100)), tmp_path / "run", model=base, epochs=60, learning_rate=1e-2)
    assert run.finished
    assert all(torch.equal(p, before[name]) for name, p in base.named_parameters())  # the model given is not touched
    looks = [line for line in run.metrics() if "held_out_loss" in line]
    assert looks[0]["step"] == 0
    best = min(looks, key=lambda line: (-line["right"], line["held_out_loss"]))
    lowest = min(looks, key=lambda line: line["held_out_loss"])
    assert looks[0]["right"] == 0 and lowest["right"] < best["right"]  # the lowest loss is not the most right answers
    assert json.loads((tmp_path / "run" / "best" / "best.json").read_text(encoding="utf-8"))["step"] == best["step"]
    tuned = run.model()
    train, held_out = (read_examples(tmp_path / "run" / name) for name in ("examples.jsonl", "held_out.jsonl"))
    assert (len(train), len(held_out)) == (80, 20)
    assert right(base, train) == 0
    newest = checkpoint.newest(tmp_path / "run")
    assert newest is not None
    assert right(pellucid.load(newest), train) >= 60  # the last one has learned its examples by heart
    batches = ExampleBatches(train, held_out, tuned.require_tokenizer(), 32, 16, 0)
    again = batches.held_out(tuned, getattr(torch, run.plan.dtype))[0]
    assert again == pytest.approx(best["held_out_loss"], rel=1e-3)  # model/ is the best model, not the last


@pytest.mark.long
def test_a_finetuning_run_resumes_to_the_bit(base: GPT, tmp_path: Path) -> None:
    whole = pellucid.finetune(number_words(range(60)), tmp_path / "whole", model=base, steps=12)
    asked = iter([False] * 4 + [True])
    cut = pellucid.finetune(number_words(range(60)), tmp_path / "cut", model=base, steps=12, stop=lambda: next(asked))
    assert cut.step == 5
    assert not cut.finished
    done = pellucid.finetune([], tmp_path / "cut", resume=True)
    assert done.finished
    for name in ("model.safetensors", "optimizer.safetensors"):
        a, b = (checkpoint.newest(run.path) for run in (whole, done))
        assert a is not None
        assert b is not None
        assert (a / name).read_bytes() == (b / name).read_bytes()
    model = [(run.path / "model" / "model.safetensors").read_bytes() for run in (whole, done)]
    assert model[0] == model[1]
    with pytest.raises(PellucidError, match="finetune --resume"):
        pellucid.train([], tmp_path / "cut", resume=True)


def test_examples_that_are_held_out_may_be_given_apart(base: GPT, tmp_path: Path) -> None:
    examples, apart = number_words(range(40)), number_words([3, 500, 501, 500])
    run = pellucid.finetune(examples, tmp_path / "run", model=base, held_out=apart, steps=1, record=False)
    held_out, train = (read_examples(run.path / name, of_a_run=True) for name in ("held_out.jsonl", "examples.jsonl"))
    assert held_out == apart[:3] and train == [one for one in examples if one not in apart]
    same = pellucid.finetune(examples, tmp_path / "run", model=base, held_out=apart, steps=1, record=False, resume=True)
    assert same.step == 1
    with pytest.raises(PellucidError, match="held_out"):
        pellucid.finetune(examples, tmp_path / "run", model=base, held_out=apart[:1], steps=1, record=False, resume=True)
    with pytest.raises(PellucidError, match="an example to train on that is not held out"):
        pellucid.finetune(apart, tmp_path / "other", model=base, held_out=apart, steps=1)
    text = tmp_path / "text.txt"
    text.write_text("some text " * 50, encoding="utf-8")
    with pytest.raises(PellucidError, match="leave out held_out"):
        pellucid.finetune(text, tmp_path / "third", model=base, held_out=apart, steps=1)


def test_finetuning_on_plain_text(base: GPT, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n".join(e.prompt + e.completion for e in number_words(range(300))), encoding="utf-8")
    run = pellucid.finetune(text, tmp_path / "run", model=base, steps=30, learning_rate=5e-3)
    looks = [line["held_out_loss"] for line in run.metrics() if "held_out_loss" in line]
    assert looks[-1] < looks[0]
