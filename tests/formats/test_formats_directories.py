"""Directories as they are found: shards, other prefixes, other dtypes, names on the hub; and what is wrong with them."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hugging_face import VOCAB, ids_of, library, published
from safetensors.torch import load_file, save_file

import pellucid
from pellucid.errors import PellucidError


@pytest.fixture(scope="module")
def neo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "neo"
    published("gpt_neo", path)
    return path


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "gpt2"
    published("gpt2", path)
    return path


@pytest.fixture
def copy(neo: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(neo, tmp_path / "model"))


def tensors_of(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "model.safetensors")


def put_back(directory: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, directory / "model.safetensors")


def change_config(directory: Path, **changes: Any) -> None:
    file = directory / "config.json"
    values = json.loads(file.read_text(encoding="utf-8")) | changes
    values = {key: value for key, value in values.items() if value != "gone"}
    file.write_text(json.dumps(values), encoding="utf-8")


def same(a: pellucid.GPT, b: pellucid.GPT) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_shards_are_one_model(neo: Path, tmp_path: Path) -> None:
    library().AutoModelForCausalLM.from_pretrained(neo).save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2 and not (tmp_path / "model.safetensors").exists()
    assert same(pellucid.load(tmp_path), pellucid.load(neo))


@pytest.mark.parametrize("name", ["gpt2", "neo"])
def test_prefixes_masks_and_a_tied_head_may_be_there_or_not(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    source: Path = request.getfixturevalue(name)
    copied = Path(shutil.copytree(source, tmp_path / "model"))
    tensors = {key.removeprefix("transformer."): tensor for key, tensor in tensors_of(source).items()}
    mask = "attn.bias" if name == "gpt2" else "attn.attention.bias"
    tensors[f"h.0.{mask}"] = torch.ones(1, 1, 4, 4, dtype=torch.uint8).tril()
    tensors[f"h.0.{mask.replace('bias', 'masked_bias')}"] = torch.tensor(-1e9)
    tensors["lm_head.weight"] = tensors["wte.weight"].clone()
    put_back(copied, tensors)
    assert same(pellucid.load(copied), pellucid.load(source))


@pytest.mark.parametrize("prefix", ["", "decoder.", "model.decoder."])
def test_opt_s_older_names_are_read(prefix: str, tmp_path: Path) -> None:
    published("opt-350m", tmp_path)
    expected = pellucid.load(tmp_path)
    put_back(tmp_path, {prefix + name.removeprefix("model.decoder."): tensor for name, tensor in tensors_of(tmp_path).items()})
    assert same(pellucid.load(tmp_path), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_are_read_into_float32_or_as_they_are(copy: Path, dtype: torch.dtype) -> None:
    put_back(copy, {name: tensor.to(dtype) for name, tensor in tensors_of(copy).items()})
    stored = tensors_of(copy)["transformer.wte.weight"]
    assert torch.equal(pellucid.load(copy).wte.weight, stored.float())
    assert torch.equal(pellucid.load(copy, dtype=dtype).wte.weight, stored)


def _without(name: str) -> Callable[[Path], None]:
    return lambda path: put_back(path, {key: tensor for key, tensor in tensors_of(path).items() if key != name})


def _with(name: str, tensor: torch.Tensor) -> Callable[[Path], None]:
    return lambda path: put_back(path, tensors_of(path) | {name: tensor})


def _said(**changes: Any) -> Callable[[Path], None]:
    return lambda path: change_config(path, **changes)


def _nan(path: Path) -> None:
    tensors = tensors_of(path)
    tensors["transformer.h.1.mlp.c_fc.weight"][3, 4] = torch.nan
    put_back(path, tensors)


def _under(*prefixes: str) -> Callable[[Path], None]:
    return lambda path: put_back(path, {prefix + name: one for name, one in tensors_of(path).items() for prefix in prefixes})


def _named(name: str) -> Callable[[Path], None]:
    return lambda path: (path / "model.safetensors").rename(path / name) and None


def _adapter(path: Path) -> None:
    (path / "adapter_config.json").write_text("{}", encoding="utf-8")


def _pickled(path: Path) -> None:
    (path / "model.safetensors").rename(path / "pytorch_model.bin")


def _escaping(path: Path) -> None:
    (path / "model.safetensors").rename(path / "model-1.safetensors")
    index = {"weight_map": {"transformer.wte.weight": "../model-1.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _lost_shard(path: Path) -> None:
    (path / "model.safetensors").rename(path / "model-1.safetensors")
    index = {"weight_map": {"transformer.wte.weight": "model-1.safetensors", "transformer.wpe.weight": "model-2.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _wrong_shard(path: Path) -> None:
    _without("transformer.wpe.weight")(path)
    _lost_shard(path)
    save_file({"score.weight": torch.zeros(2)}, path / "model-2.safetensors")


Q, WTE = "transformer.h.2.attn.attention.q_proj.weight", "transformer.wte.weight"
BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (_without(Q), r"model\.safetensors lacks the tensor 'h\.2\.attn\.attention\.q_proj\.weight' \(1 missing"),
    "extra": (_with("ln_e.weight", torch.zeros(32)), r"model\.safetensors holds a tensor .* belong: 'ln_e\.weight'.*save_p"),
    "shape": (_with(Q, torch.zeros(32, 31)), r"model\.safetensors: 'h\.2\..*q_proj\.weight' .* \(32, 31\), .* \(32, 32\)"),
    "a dimension": (_with(Q, torch.zeros(32)), r"q_proj\.weight' has shape \(32,\)"),
    "NaN": (_nan, r"model\.safetensors: 'h\.1\.mlp\.c_fc\.weight' holds NaN"),
    "whole numbers": (_with(WTE, torch.zeros(VOCAB, 32, dtype=torch.int64)), r"'wte\.weight' holds int64, not floating-point"),
    "vocabulary": (_said(vocab_size=98), r"'wte\.weight' has shape \(97, 32\), .* vocab_size in config\.json is 97"),
    "key": (_said(hidden_size="gone"), r"config\.json lacks keys, which then have their usual values: hidden_size \(2048\)"),
    "window": (_said(window_size=0), r"config\.json: window_size must be a whole number from 1"),
    "heads": (_said(num_heads=5), r"config\.json: hidden_size \(32\) must be a multiple of num_heads \(5\)"),
    "a word": (_said(hidden_size="wide"), r"config\.json: hidden_size must be a whole number .*not 'wide'"),
    "layers": (_said(num_layers=3), r"config\.json: attention_layers is for 4 layers, but num_layers is 3"),
    "kind": (_said(attention_layers=["global", "sparse", "local", "local"]), "global or local, not 'sparse'"),
    "activation": (_said(activation_function="silu"), r"config\.json: activation_function 'silu' is not supported"),
    "another model": (_said(model_type="gptj"), r"model_type 'gptj' is not one .*rotary"),
    "head": (_with("lm_head.weight", torch.zeros(VOCAB, 32)), r"'lm_head\.weight' is not 'wte\.weight' again"),
    "no head": (_said(tie_word_embeddings=False), r"not tied, but 'lm_head\.weight' is missing"),
    "pickle": (_pickled, r"pytorch_model\.bin, which can run code.*python -c \"import sys, transformers"),
    "path": (_escaping, r"index\.json names '\.\./model-1\.safetensors', which is not a safetensors file beside it"),
    "no shard": (_lost_shard, r"index\.json names model-2\.safetensors, which is not there"),
    "wrong shard": (_wrong_shard, r"says that 'transformer\.wpe\.weight' lies in model-2\.safetensors, which lacks it"),
    "adapter": (_adapter, r"adapter \(adapter_config\.json\).*merge_and_unload.*remove adapter_config\.json"),
    "two models": (_under("student.", "teacher."), r"model\.safetensors: it holds two models, under 'student\.' and 'tea"),
    "a second model": (_under("", "teacher."), r"does not belong: 'teacher\.transformer\..*save_pretrained"),
    "twice": (_with("wte.weight", torch.ones(VOCAB, 32)), r"'wte\.weight' twice, as '.*' and '.*', which differ"),
    "blocks": (_said(num_layers=2, attention_layers=["global"] * 2), r"config\.json says 2 blocks, and the file has 4"),
    "another library": (_named("tf_model.h5"), r"but tf_model\.h5, TensorFlow's: convert it"),
    "another name": (_named("weights.safetensors"), r"but weights\.safetensors: .* call it model\.safetensors"),
    "no weights": (lambda path: (path / "model.safetensors").unlink(), r"it has no model\.safetensors"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_said_in_one_line_that_names_it(what: str, copy: Path) -> None:
    spoil, words = BAD[what]
    spoil(copy)
    with pytest.raises(PellucidError, match=words) as caught:
        pellucid.load(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changes", [{"enable_bias": False}, {"layer_norm_elementwise_affine": False}])
def test_an_opt_that_is_not_read_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    published("opt", tmp_path)
    change_config(tmp_path, **changes)
    with pytest.raises(PellucidError, match=r"config\.json: .* is False, which asks for"):
        pellucid.load(tmp_path)


def test_an_adapter_alone_is_named(tmp_path: Path) -> None:
    _adapter(tmp_path)
    with pytest.raises(PellucidError, match=r"holds an adapter \(adapter_config\.json\).*and save that$"):
        pellucid.load(tmp_path)


def test_an_end_outside_the_vocabulary_never_comes(gpt2: Path, tmp_path: Path) -> None:
    """A small GPT2Config keeps GPT-2's own ids unless it is told otherwise."""
    copied = Path(shutil.copytree(gpt2, tmp_path / "model"))
    (copied / "generation_config.json").unlink()  # it would count before config.json
    change_config(copied, bos_token_id=50256, eos_token_id=50256)
    model = pellucid.load(copied)
    assert len(model.generate(ids_of(4), max_tokens=40, seed=1).ids) == 40
    with pytest.raises(PellucidError, match=r"starts from token 50256 here.*give a prompt"):
        model.generate(max_tokens=3)
    model.save(tmp_path / "again")
    assert pellucid.load(tmp_path / "again").config == model.config
    change_config(copied, bos_token_id=None, eos_token_id=None)
    assert pellucid.load(copied).end_of_text == VOCAB
    change_config(copied, bos_token_id="gone", eos_token_id="gone")
    assert pellucid.load(copied).end_of_text == 50256
    change_config(copied, eos_token_id=[7])
    assert pellucid.load(copied).end_of_text == 7


def test_without_a_tokenizer_ids_work_and_text_says_why_not(copy: Path) -> None:
    assert pellucid.load(copy).generate([5, 6], max_tokens=3, seed=1).text == ""
    with pytest.raises(PellucidError, match=r"no usable tokenizer: there is no tokenizer\.json in .*give token ids"):
        pellucid.load(copy).generate("text")
    (copy / "spiece.model").write_bytes(b"\x0a")
    with pytest.raises(PellucidError, match=r"spiece\.model in .* is SentencePiece's"):
        pellucid.load(copy).generate("text")


def test_a_name_on_the_hub_is_fetched_without_pickles(neo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[str]]] = []

    def snapshot_download(name: str, *, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(neo)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    assert same(pellucid.load("someone/small-neo"), pellucid.load(neo))
    assert [name for name, _ in asked] == ["someone/small-neo"]
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=lambda *_, **__: str(neo.parent)))
    with pytest.raises(PellucidError, match=r"has no safetensors.*save_pretrained\(sys.argv\[2\]\)\" someone/pickled pickled$"):
        pellucid.load("someone/pickled")
    assert not [pattern for pattern in asked[0][1] if pattern.endswith(("bin", "pt", "*", "py"))]


def test_a_hub_that_cannot_be_asked_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def snapshot_download(name: str, **_: object) -> str:
        raise ConnectionError("no route\nand more")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    with pytest.raises(PellucidError, match=r"no directory someone/neo here, and .* hub does not give it: no route$"):
        pellucid.load("someone/neo")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as if it were not installed
    with pytest.raises(PellucidError, match="pip install huggingface_hub"):
        pellucid.load("someone/neo")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "someone").mkdir()
    with pytest.raises(PellucidError, match="no such directory"):  # a folder of that name is here: the name is a path
        pellucid.load("someone/neo")


