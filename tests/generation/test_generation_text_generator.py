"""Writing without PyTorch: the same text as with it, from the same files, and refusals in one line."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from models import lively

import pellucid
from pellucid.cli import main
from pellucid.errors import PellucidError
from pellucid.formats.weights import WeightArrays, open_weights
from pellucid.generation import open_runner
from pellucid.generation.resolve import ASSETS, DEFAULT
from pellucid.generation.text_generator import TextGenerator, open_text_generator
from pellucid.gpt.costs import parameter_shapes
from pellucid.gpt.pattern import Banded, Compressed, Dense
from pellucid.runtime.kernel.library import unavailable_reason


TOLERANCE = 1e-4  # of log-probabilities: float32 sums in another order
SHAPE = pellucid.GPTConfig(vocab_size=97, n_ctx=32, n_layers=2, d_model=24, n_heads=3, pattern=(Banded(5), Dense()))
RELATIVES = {
    "GPT-3": SHAPE,
    "GPT-Neo": pellucid.GPTConfig(
        vocab_size=50, n_ctx=8, n_layers=1, d_model=8, n_heads=2, qkv_bias=False, attention_scale=False
    ),
    "OPT-350m": pellucid.GPTConfig(
        vocab_size=50, n_ctx=8, n_layers=2, d_model=8, n_heads=2, d_embed=4, norm="post", final_norm=False, activation="relu"
    ),
    "compressed": pellucid.GPTConfig(vocab_size=50, n_ctx=8, n_layers=2, d_model=8, n_heads=2, pattern=(Compressed(), Dense())),
}  # fmt: skip
needs_kernel = pytest.mark.skipif(unavailable_reason() is not None, reason=f"no kernel here: {unavailable_reason()}")


@pytest.fixture(scope="module")
def by_kernel() -> TextGenerator:
    return open_text_generator(kernel="only")


@pytest.fixture(scope="module")
def by_torch() -> TextGenerator:
    return open_text_generator(kernel="off")


@needs_kernel
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("prompt", [None, "Once upon a time", "The king – no, the queen – said:\n"])
def test_the_embedded_model_writes_the_same_with_and_without_torch(
    by_kernel: TextGenerator, by_torch: TextGenerator, prompt: str | None, seed: int
) -> None:
    # A token would differ if its draw fell into the 1e-6 or so by which the two sums differ: one of these 240 in some thousand
    # choices of seeds.
    options = {"max_tokens": 30, "temperature": 0.9, "top_p": 0.95, "seed": seed, "logprobs": 2}
    fast, slow = by_kernel.generate(prompt, **options), by_torch.generate(prompt, **options)
    assert (fast.text, fast.ids, fast.finish_reason) == (slow.text, slow.ids, slow.finish_reason)
    assert fast.logprobs == pytest.approx(slow.logprobs, abs=TOLERANCE)
    assert [token.id for token in by_kernel.stream(prompt, **options)] == fast.ids


def test_a_writer_is_asked_as_a_model_is(by_torch: TextGenerator) -> None:
    model = pellucid.load()
    asked = [one.generate(["Once", "The old woman"], max_tokens=5, seed=3, n=2) for one in (by_torch, model)]
    assert [answer.ids for answer in asked[0]] == [answer.ids for answer in asked[1]]
    with pytest.raises(PellucidError, match="temperature must be 0"):
        by_torch.generate("Once", temperature=-1)
    with pytest.raises(PellucidError, match="max_tokens"):
        by_torch.new_sequence("Once", max_tokens=9999)


@pytest.mark.parametrize("name", RELATIVES)
def test_every_tensor_is_listed_without_torch(name: str) -> None:
    with torch.device("meta"):
        model = pellucid.GPT(RELATIVES[name])
    listed = dict(parameter_shapes(RELATIVES[name]))
    assert listed == {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert sum(map(np.prod, listed.values())) == RELATIVES[name].parameters()


@pytest.mark.parametrize("name", RELATIVES)
@pytest.mark.parametrize("storage", ["float32", "bfloat16", "float16", "int8", "int4"])
def test_the_arrays_of_a_file_are_the_models(name: str, storage: str, tmp_path: Path) -> None:
    lively_ = lively if RELATIVES[name].final_norm else (lambda model: model)
    lively_(pellucid.GPT(RELATIVES[name], seed=1)).save(tmp_path, storage=storage)
    model = pellucid.load(tmp_path)
    with open_weights(tmp_path, RELATIVES[name]) as (stored, sources):
        arrays = WeightArrays(RELATIVES[name], stored, sources)
        assert len(arrays) == len(list(arrays)) == len(list(model.parameters()))
        for name_, parameter in model.named_parameters():
            array = arrays[name_]
            if array.dtype in (np.int8, np.uint8):  # in groups: tests of `quantize` say what they stand for
                assert arrays[name_ + ".scale"].dtype == np.float16 and name_ != "wpe.weight"
                continue
            wide = (array.astype(np.uint32) << 16).view(np.float32) if array.dtype == np.uint16 else array.astype(np.float32)
            assert np.array_equal(wide, parameter.numpy()), name_


@needs_kernel
@pytest.mark.parametrize("storage", ["float32", "bfloat16", "float16", "int8", "int4"])
def test_the_kernel_reads_what_a_directory_holds(storage: str, tmp_path: Path) -> None:
    lively(pellucid.GPT(SHAPE, seed=1)).save(tmp_path, storage=storage)
    options = {"max_tokens": 20, "seed": 3}
    fast, slow = (open_text_generator(tmp_path, kernel=kernel).generate([1, 2, 3], **options) for kernel in ("only", "off"))
    assert fast.ids == slow.ids
    assert fast.logprobs == pytest.approx(slow.logprobs, abs=TOLERANCE)


@needs_kernel
@cases(40)
@given(st.integers(0, 2000), st.integers(0, 255), st.booleans())
def test_damaged_files_are_refused_in_words_or_read_as_they_are(tmp_path_factory, where: int, what: int, cut: bool) -> None:
    directory = tmp_path_factory.mktemp("damaged")
    lively(pellucid.GPT(SHAPE, seed=1)).save(directory)
    file = directory / "model.safetensors"
    data = bytearray(file.read_bytes())
    if cut:
        del data[-1 - where :]
    else:
        data[where] = what
    file.write_bytes(data)
    found = []
    for kernel in ("only", "off"):  # both have one reader
        try:
            found.append(open_text_generator(directory, kernel=kernel).generate([1], max_tokens=2, seed=1).ids)
        except PellucidError as error:
            assert "model.safetensors" in str(error) and "\n" not in str(error)
            found.append(str(error))
    assert found[0] == found[1]


@needs_kernel
def test_the_choice_of_who_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PELLUCID_KERNEL", raising=False)
    lively(pellucid.GPT(SHAPE, seed=1)).save(tmp_path / "known")
    lively(pellucid.GPT(RELATIVES["compressed"], seed=1)).save(tmp_path / "unknown")
    path = lambda name, **options: open_text_generator(tmp_path / name, **options).runner.path  # noqa: E731
    assert path("known").startswith("kernel") and path("unknown") == "PyTorch float32"
    assert path("known", weights="bfloat16").endswith("bfloat16") and path("known", weights="int4").endswith("int4")
    assert path("known", kernel="off", weights="bfloat16") == "PyTorch bfloat16"
    with pytest.raises(open_runner.KernelUnavailable, match=r"no kernel here: it does not support attention by compressed"):
        path("unknown", kernel="only")
    with pytest.raises(PellucidError, match=r"only the kernel computes with int8 weights.*does not support"):
        path("unknown", weights="int8")
    with pytest.raises(PellucidError, match="leave out --kernel off"):
        path("known", kernel="off", weights="int4")
    with pytest.raises(PellucidError, match="unknown weights 'int2'"):
        path("known", weights="int2")
    with pytest.raises(PellucidError, match="unknown choice of kernel 'on'"):
        path("known", kernel="on")
    told: list[str] = []
    path("known", notify=told.append)
    assert told == []
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "empty"))  # the kernel is loaded already
    monkeypatch.setenv("CC", "no-such-compiler")
    path("known", notify=told.append)
    assert told == [], "nothing is compiled"
    monkeypatch.delenv("CC")
    path("known", notify=told.append)
    path("unknown", notify=told.append)
    assert told == ["compiling the kernel, once for this machine (--kernel off does without it)"]
    monkeypatch.setenv("PELLUCID_KERNEL", "off")
    assert path("known").startswith("PyTorch")


def test_no_compiler_is_no_obstacle(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def none(*_: object) -> None:
        raise open_runner.KernelUnavailable("no kernel here: no C compiler (cc)")

    monkeypatch.delenv("PELLUCID_KERNEL", raising=False)
    monkeypatch.setattr(open_runner, "_pack", none)
    assert main(["generate", "Once", "--max-tokens", "2", "--seed", "1", "-v"]) == 0
    said = capsys.readouterr().err
    assert said.startswith("pellucid: no kernel here: no C compiler (cc)\n") and "PyTorch float32: opened in" in said
    assert main(["generate", "Once", "--max-tokens", "2", "--kernel", "only"]) == 1
    assert capsys.readouterr().err == "pellucid: no kernel here: no C compiler (cc)\n"


COLD = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pellucid.cli import main
assert main(["generate", "A robot must", "--max-tokens", "8", "--seed", "1", "--json", *sys.argv[1:]]) == 0
print(*sorted(sys.modules), file=sys.stderr)
"""


@needs_kernel
def test_an_answer_from_the_kernel_imports_no_torch(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", COLD, "--kernel", "only"],
        capture_output=True, text=True, check=False, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded = done.stderr.split()
    unused = {"torch", "safetensors", "rich", "tokenizers", "pellucid.cli.train", "pellucid.native.compiler"}
    assert not unused & set(loaded)
    assert json.loads(done.stdout)["ids"] == pellucid.load(ASSETS / DEFAULT).generate("A robot must", max_tokens=8, seed=1).ids


@pytest.mark.parametrize("kernel", ["auto", "off"])
def test_threads_share_a_writer(kernel: str) -> None:
    generator = open_text_generator(kernel=kernel)  # type: ignore[arg-type]
    prompts = [f"The king said {number}" for number in range(6)]
    alone = [generator.generate(prompt, max_tokens=6, seed=1).ids for prompt in prompts]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(6) as pool:
            numbers = list(pool.map(lambda _: [generator.runner.open(1) for _ in range(50)], range(6)))
            written = list(pool.map(lambda prompt: generator.generate(prompt, max_tokens=6, seed=1).ids, prompts))
    finally:
        sys.setswitchinterval(interval)
    assert written == alone and len({number for some in numbers for number in some}) == 300
