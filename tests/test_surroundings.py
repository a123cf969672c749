"""The same results whatever the caller's program made of NumPy and PyTorch: error states, default device and dtype, modes."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

import pellucid
from pellucid.corpus import Document
from pellucid.generation.text_generator import open_text_generator
from pellucid.text.bytes_to_characters import BYTE_ORDER


TOKENIZER = pellucid.Tokenizer([bytes([b]) for b in BYTE_ORDER])
TEMPERATURES = (0.0, 1e-300, 1e-30, 0.01, 1.0, 1e30)


@contextmanager
def default_device(name: str) -> Iterator[None]:
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "numpy raises": partial(np.errstate, all="raise"),
    "meta device": partial(default_device, "meta"),
    "device context": partial(torch.device, "meta"),
    "float64": partial(default_dtype, torch.float64),
    "bfloat16": partial(default_dtype, torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no grad": torch.no_grad,
    "autocast": partial(torch.autocast, "cpu", torch.bfloat16),
    "deterministic": deterministic,
}
surroundings = st.lists(st.sampled_from(sorted(SURROUNDINGS)), min_size=1, max_size=4, unique=True)


@contextmanager
def inside(names: list[str]) -> Iterator[None]:
    """All of these surroundings at once, and every warning an error."""
    with ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in names:
            stack.enter_context(SURROUNDINGS[name]())
        yield


CUTS: tuple[dict[str, Any], ...] = (
    {}, {"top_p": 0.5}, {"top_k": 3}, {"min_p": 0.1}, {"repetition_penalty": 1.5, "logit_bias": {5: -100}},
)  # fmt: skip


def generated(model: Any, temperature: float, cut: dict[str, Any]) -> list[Any]:
    """A completion, a score, a beam and a stream."""
    few = {"max_tokens": 2, "seed": 1}
    return [
        model.generate("the fox", temperature=temperature, logprobs=2, **few, **cut), model.score("the fox", logprobs=2),
        model.beam("the", max_tokens=2), list(model.stream("the", **few)),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> pellucid.GPT:
    return pellucid.load(tiny_run)


@cases(8)
@given(names=surroundings, temperature=st.sampled_from(TEMPERATURES), cut=st.sampled_from(CUTS))
def test_generating_depends_on_prompt_and_options_alone(
    tiny_run: Path, model: pellucid.GPT, names: list[str], temperature: float, cut: dict[str, Any]
) -> None:
    expected = generated(model, temperature, cut)
    plain = open_text_generator(tiny_run)
    expected_of_plain = generated(plain, temperature, cut)
    with inside(names):
        assert generated(model, temperature, cut) == expected
        assert generated(pellucid.load(tiny_run), temperature, cut) == expected
        assert generated(plain, temperature, cut) == expected_of_plain
        assert generated(open_text_generator(tiny_run, weights="bfloat16"), temperature, cut)


@cases(2)
@given(names=surroundings)
def test_records_are_made_and_verified(names: list[str]) -> None:
    config = pellucid.GPTConfig(vocab_size=257, n_ctx=8, n_layers=1, d_model=8, n_heads=2)
    model = pellucid.GPT(config, tokenizer=TOKENIZER)
    usual = pellucid.xray(model, "a", max_tokens=2, seed=1)
    with inside(names):
        record = pellucid.xray(model, "a", max_tokens=2, seed=1)
        assert pellucid.verify(record, model).ok
        record.figure("tokens", width=400)
    for name in usual:
        if usual.entry(name).truth != "measured":
            np.testing.assert_array_equal(usual[name], record[name], name)


@pytest.fixture(scope="module")
def weights(documents: list[Document], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[bytes]]]:
    folder = tmp_path_factory.mktemp("surroundings")
    yield folder, trained(documents, folder / "usual")


def trained(documents: list[Document], out: Path) -> list[bytes]:
    """The weights of a tiny run, and of one that is fine-tuned from it; both records are verified."""
    config = pellucid.GPTConfig(vocab_size=260, n_ctx=16, n_layers=1, d_model=16, n_heads=2)
    run = pellucid.train(documents[:2], out, config=config, steps=2, batch_tokens=32, learning_rate=1e-2, seed=7)
    tuned = pellucid.finetune(
        [pellucid.Example(prompt=f"a{i}", completion=f" b{i}") for i in range(12)], out.with_name(f"{out.name}-tuned"),
        model=run.model(), steps=2, batch=2, seed=3,
    )  # fmt: skip
    for one in (run, tuned):
        assert one.record is not None
        with pellucid.open(one.record) as record:
            assert pellucid.verify(record).ok
    return [(one.path / "model" / "model.safetensors").read_bytes() for one in (run, tuned)]


@pytest.mark.long
@cases(4)
@given(names=surroundings)
def test_training_depends_on_its_arguments_alone(
    documents: list[Document], weights: tuple[Path, list[bytes]], names: list[str]
) -> None:
    folder, expected = weights
    with inside(names):
        assert trained(documents, folder / str(len(list(folder.iterdir())))) == expected


@cases(10)
@given(names=surroundings)
def test_what_the_caller_set_is_there_afterwards(model: pellucid.GPT, names: list[str]) -> None:
    def state() -> list[Any]:
        made = torch.empty(0)
        return [
            np.geterr(), made.dtype, made.device, torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"), torch.are_deterministic_algorithms_enabled(),
        ]  # fmt: skip

    with inside(names):
        before = state()
        for _ in model.stream("the", max_tokens=2, seed=1):
            assert state() == before  # between two tokens, too
        record = pellucid.xray(model, "the", max_tokens=1, seed=1)
        pellucid.verify(record, model)
        assert state() == before
        with pytest.raises(pellucid.PellucidError):
            pellucid.load("no/such/model")
        assert state() == before


SCALARS: dict[str, Callable[[Any], Any]] = {
    "NumPy": lambda value: {bool: np.bool_, int: np.int64, float: np.float64}[type(value)](value),
    "array": np.array,
    "torch": lambda value: torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None),
}


@pytest.mark.parametrize("kind", SCALARS)
def test_scalars_of_numpy_and_torch_are_numbers(kind: str, documents: list[Document], tmp_path: Path) -> None:
    """Each option as such a scalar gives what it gives as Python's number, in files, too."""

    def work(as_given: Callable[[Any], Any], out: Path) -> list[Any]:
        f = as_given
        config = pellucid.GPTConfig(
            vocab_size=f(260), n_ctx=f(16), n_layers=f(1), d_model=f(16), n_heads=f(2), dropout=f(0.1), qkv_bias=f(True)
        )
        run = pellucid.train(
            documents[:2], out, config=config, steps=f(1), batch_tokens=f(32), learning_rate=f(0.01), seed=f(3), keep=f(2),
            mask_documents=f(True), optimizer="sgd", optimizer_settings={"momentum": f(0.5)}, record=f(False),
        )  # fmt: skip
        model = run.model()
        few = {"max_tokens": f(2), "seed": f(1), "temperature": f(0.5), "top_k": f(9), "top_p": f(0.9), "slide": f(False)}
        record = pellucid.xray(model, "the", max_tokens=f(1), seed=f(1), candidates=f(3))
        plan = run.plan.to_dict() | {"machine": None, "threads": None}
        return [
            plan, model.generate("the", n=f(2), best_of=f(3), logprobs=f(1), logit_bias=[(f(5), f(1.0))], **few),
            model.beam("a", width=f(2), length_penalty=f(0.5), max_tokens=f(2)), model.score("the", logprobs=f(1)),
            record.figure("tokens", width=f(400)).to_json() != "", config.flops(f(3)), config.kv_bytes(f(3)),
        ]  # fmt: skip

    assert work(SCALARS[kind], tmp_path / "scalars") == work(lambda value: value, tmp_path / "plain")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.long
def test_a_forked_process_generates_the_same(tiny_run: Path) -> None:
    """In a process of its own: this one's threads are no part of it."""
    code = f"""
import os, pellucid
from pellucid.generation.text_generator import open_text_generator
models = pellucid.load({str(tiny_run)!r}), open_text_generator({str(tiny_run)!r})
texts = [model.generate("the fox", max_tokens=4, seed=1).ids for model in models]
child = os.fork()
if child == 0:
    os._exit(int(texts != [model.generate("the fox", max_tokens=4, seed=1).ids for model in models]))
_, status = os.waitpid(child, 0)
assert status == 0, status
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
