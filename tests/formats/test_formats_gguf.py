"""GGUF: our bytes are the format's, what is read is what was written, others read the same model, and hostile files fail."""

import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from models import lively

import pellucid
from pellucid.errors import PellucidError
from pellucid.formats import gguf
from pellucid.formats.gguf_blocks import TENSOR_TYPES, decode, encode
from pellucid.formats.gguf_container import header_bytes, read_header
from pellucid.gpt.config import ACTIVATIONS
from pellucid.planning.memory import weight_bytes
from pellucid.text import r50k, train_tokenizer


TEXT = "the fox ran over a hill and saw one small bird that sang, 12 of them; naïve ☃!\n\n It's 'we'll' "


def dense(**changes: Any) -> pellucid.GPT:
    """A small dense model with a tokenizer of its own and weights that are far from each other."""
    tokenizer = train_tokenizer([TEXT * 20], 288)
    shape = {"vocab_size": tokenizer.vocab_size, "n_ctx": 48, "n_layers": 2, "d_model": 64, "n_heads": 4} | changes
    shape.setdefault("pattern", ("dense",) * shape["n_layers"])
    return lively(pellucid.GPT(pellucid.GPTConfig(**shape), tokenizer=tokenizer, seed=3))


@pytest.fixture(scope="module")
def model() -> pellucid.GPT:
    return dense()


def test_header_is_the_format_s_byte_for_byte() -> None:
    """Written out by hand from the format's description."""
    made = header_bytes(
        {"a": "gpt2", "n": 7, "e": 0.5, "b": True, "s": ["x", "yz"], "i": [1, -1]},
        [("w", (2, 32), TENSOR_TYPES["Q8_0"]), ("v", (3,), TENSOR_TYPES["F32"])],
    )
    golden = b"GGUF" + bytes([3, 0, 0, 0]) + bytes([2, *[0] * 7]) + bytes([6, *[0] * 7])

    def u64(value: int) -> bytes:
        return bytes([value, *[0] * 7])

    def u32(value: int) -> bytes:
        return bytes([value, 0, 0, 0])

    golden += u64(1) + b"a" + u32(8) + u64(4) + b"gpt2"
    golden += u64(1) + b"n" + u32(4) + u32(7)
    golden += u64(1) + b"e" + u32(6) + bytes([0, 0, 0, 0x3F])
    golden += u64(1) + b"b" + u32(7) + b"\x01"
    golden += u64(1) + b"s" + u32(9) + u32(8) + u64(2) + u64(1) + b"x" + u64(2) + b"yz"
    golden += u64(1) + b"i" + u32(9) + u32(5) + u64(2) + u32(1) + b"\xff" * 4
    golden += u64(1) + b"w" + u32(2) + u64(32) + u64(2) + u32(8) + u64(0)
    golden += u64(1) + b"v" + u32(1) + u64(3) + u32(0) + u64(96)  # 2 * 34 bytes, padded to 96
    assert made == golden + bytes(-len(golden) % 32)


def plain_q8_0(numbers: np.ndarray) -> tuple[bytes, list[float]]:
    """A block of 32 as the format says, number by number."""
    scale = np.float32(max(abs(numbers))) / np.float32(127)
    steps = []
    for x in numbers:
        exact = np.float32(x) * (np.float32(1) / scale) if scale else np.float32(0)
        away = np.floor(np.abs(exact.astype(np.float64)) + 0.5)
        steps.append(int(np.copysign(away, exact)))
    half = np.float16(scale)
    if not half:  # numbers too small for any scale are zeros
        steps = [0] * 32
    return half.tobytes() + struct.pack("32b", *steps), [float(np.float32(half) * np.float32(q)) for q in steps]


def plain_q4_0(numbers: np.ndarray) -> tuple[bytes, list[float]]:
    """A block of 32 as the format says, number by number."""
    largest = next(x for x in numbers if abs(x) == max(abs(numbers)))
    scale = np.float32(largest) / np.float32(-8)
    steps = []
    for x in numbers:
        exact = np.float32(x) * (np.float32(1) / scale) if scale else np.float32(0)
        steps.append(min(15, max(0, int(np.float32(exact + np.float32(8.5))))))
    half = np.float16(scale)
    if not half:  # numbers too small for any scale are zeros
        steps = [8] * 32
    packed = bytes(steps[j] | steps[j + 16] << 4 for j in range(16))
    return half.tobytes() + packed, [float(np.float32(half) * np.float32(q - 8)) for q in steps]


FINITE = st.floats(-1e4, 1e4, width=32, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 1e-30)


@cases(30)
@given(arrays(np.float32, (1, 64), elements=FINITE))
@pytest.mark.parametrize(("kind", "plain"), [("Q8_0", plain_q8_0), ("Q4_0", plain_q4_0)])
def test_blocks_agree_with_plain_arithmetic(kind: str, plain: Any, numbers: np.ndarray) -> None:
    made = encode(torch.from_numpy(numbers), TENSOR_TYPES[kind], search=False)
    oracle = [plain(block) for block in numbers.reshape(-1, 32)]
    assert made.numpy().tobytes() == b"".join(raw for raw, _ in oracle)
    assert decode(made, TENSOR_TYPES[kind]).tolist() == [x for _, back in oracle for x in back]


@cases(50)
@given(arrays(np.float32, (1, 64), elements=st.floats(-100, 100, width=32)))
def test_blocks_are_off_by_half_a_step_at_most(numbers: np.ndarray) -> None:
    x = torch.from_numpy(numbers)
    largest = x.view(-1, 32).abs().amax(1, keepdim=True)
    for kind, steps in (("Q8_0", 127), ("Q4_0", 8)):
        off = (decode(encode(x, TENSOR_TYPES[kind], search=False), TENSOR_TYPES[kind]).view(-1, 32) - x.view(-1, 32)).abs()
        # Half a step; a whole one where Q4_0's scale has no 16th step for the other sign; and the scale's own rounding.
        allowed = largest / steps * (0.5 if kind == "Q8_0" else 1.0) * 1.01 + largest * 2**-11 + 127 * 2**-24
        assert (off <= allowed).all()


@pytest.mark.parametrize("kind", TENSOR_TYPES)
def test_what_is_read_is_what_was_written(kind: str, model: pellucid.GPT, tmp_path: Path) -> None:
    written = gguf.write(model, model.tokenizer, tmp_path / "m.gguf", kind=kind)
    found = gguf.read(tmp_path / "m.gguf")
    assert (found.config, found.tokenizer) == (model.config, model.tokenizer)
    tensors = dict(found.tensors())
    assert list(tensors) == [name for name, _ in model.named_parameters()]
    for name, parameter in model.named_parameters():
        matrix = parameter.dim() == 2 and name != "wpe.weight"
        want = decode(encode(parameter, TENSOR_TYPES[kind]), TENSOR_TYPES[kind]).view_as(parameter) if matrix else parameter
        assert torch.equal(tensors[name], want), name
    assert written.bytes == (tmp_path / "m.gguf").stat().st_size
    assert written.lossy == tuple(gguf.lossy(model, kind))
    assert bool(written.lossy) == (kind != "F32")
    assert list(tmp_path.iterdir()) == [tmp_path / "m.gguf"]
    off = {name: (tensors[name] - p).abs().max().item() for name, p in model.named_parameters() if "c_fc.weight" in name}
    assert written.rounding["ffn_up.weight"].largest == max(off.values())
    assert written.rounding["ffn_up.weight"].kind == kind
    assert (written.rounding["ffn_up.weight"].rms > 0) == (kind != "F32")
    assert written.rounding["ffn_up.bias"].kind == "F32" and written.rounding["ffn_up.bias"].largest == 0


def test_sizes_are_the_plan_s(model: pellucid.GPT, tmp_path: Path) -> None:
    for kind, dtype in (("F32", "float32"), ("Q8_0", "int8"), ("Q4_0", "int4")):
        gguf.write(model, None, tmp_path / "m.gguf", kind=kind)
        entries = gguf.read(tmp_path / "m.gguf").entries.values()
        assert sum(entry.bytes for entry in entries) == weight_bytes(model.config, dtype)


def test_rows_that_are_no_whole_blocks_stay_float32(tmp_path: Path) -> None:
    odd = dense(d_model=40, n_layers=1)
    gguf.write(odd, odd.tokenizer, tmp_path / "m.gguf", kind="Q4_0")
    found = gguf.read(tmp_path / "m.gguf")
    kinds = {name: entry.kind.name for name, entry in found.entries.items()}
    assert kinds["wte.weight"] == kinds["h.0.mlp.c_fc.weight"] == "F32"  # rows of 40
    assert kinds["h.0.mlp.c_proj.weight"] == "Q4_0"  # rows of 160
    assert torch.equal(dict(found.tensors())["wte.weight"], odd.wte.weight)


def test_a_banded_model_is_named_lossy_with_its_reach(tmp_path: Path) -> None:
    banded = dense(pattern=("banded(16)", "banded(17)"))
    assert any("banded(17), which" in reason and "up to 16 tokens" in reason for reason in gguf.lossy(banded, "F32"))
    written = gguf.write(banded, banded.tokenizer, tmp_path / "m.gguf")
    assert len(written.lossy) == 1
    assert gguf.read(tmp_path / "m.gguf").config == banded.config  # here the pattern comes back
    assert gguf.lossy(dense(pattern=("banded(48)", "dense")), "F32") == []  # a band as wide as the context is dense
    (lost,) = gguf.lossy(dense(pattern=("heads(local(9),column(1))", "dense")), "F32")
    assert "up to 9 tokens" in lost


def test_a_target_says_what_is_lost_and_reads_as_llama_cpp_runs(model: pellucid.GPT, tmp_path: Path) -> None:
    banded = dense(pattern=("banded(16)", "dense"))
    assert gguf.TARGET.losses(model, None) == gguf.TARGET.losses(model, "int4") == []  # rounding was asked for
    assert len(gguf.TARGET.losses(banded, "int8")) == 1
    assert gguf.TARGET.losses(dense().double(), None) == ["float64 weights are rounded to float32"]
    with pytest.raises(PellucidError, match="cannot be a GGUF file"):
        gguf.TARGET.losses(dense(activation=ACTIVATIONS[1]), None)
    ids = torch.arange(48)[None] * 3
    for quantize, kind in ((None, "F32"), ("int8", "Q8_0"), ("int4", "Q4_0"), ("float16", "F16"), ("bfloat16", "BF16")):
        gguf.TARGET.write(banded, banded.tokenizer, tmp_path / "m.gguf", quantize)
        logits, who = gguf.TARGET.read(tmp_path / "m.gguf")
        assert "dense" in who
        assert {e.kind.name for e in gguf.read(tmp_path / "m.gguf").entries.values()} == {"F32", kind}
        if quantize is None:
            off = (logits(ids) - banded(ids)).abs().amax(-1)[0]
            assert off[:16].max() < 1e-4 and off[16:].max() > 1e-2  # the same up to the band, and not beyond
            assert torch.equal(logits(ids), model(ids))  # the dense model of the same weights
    gguf.TARGET.write(dense().to(torch.bfloat16), None, tmp_path / "m.gguf", None)
    assert gguf.read(tmp_path / "m.gguf").entries["wte.weight"].kind.name == "BF16"  # nothing lost, half the size


def test_sixteen_bit_weights_lose_nothing_in_their_own_kind() -> None:
    halves = dense().to(torch.bfloat16).float()
    assert gguf.lossy(halves, "BF16") == []
    assert gguf.lossy(halves, "F16") != [] or all(torch.equal(p, p.half().float()) for p in halves.parameters() if p.dim() == 2)


def test_a_matrix_that_gpt2_has_not_is_refused(model: pellucid.GPT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pellucid.GPTConfig, "matrices", lambda _: [("wte", (1, 1)), ("h.0.attn.k_convolution", (1, 1))])
    with pytest.raises(PellucidError, match=r"no place for the matrix h\.0\.attn\.k_convolution"):
        gguf.write(model, None, tmp_path / "m.gguf")


def test_what_cannot_be_written_is_refused_and_leaves_the_old_file(model: pellucid.GPT, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"before")
    huge = dense()
    huge.h[1].mlp.c_proj.weight[5, 5] = 1e9
    for refused, tokenizer, kind, words in (
        (model, None, "Q5_K", "unknown GGUF kind"),
        (dense(d_ff=96), None, "F32", "4 x d_model"),
        (model, r50k(), "F32", "not its own"),
        (huge, None, "F16", "too large for F16"),
        (huge, None, "Q8_0", "too large for Q8_0"),
        (huge, None, "Q4_0", "too large for Q4_0"),
    ):
        with pytest.raises(PellucidError, match=words):
            gguf.write(refused, tokenizer, path, kind=kind)
    assert gguf.refusals(model.config) == []
    with pytest.raises(PellucidError, match="cannot write"):
        gguf.write(model, None, tmp_path / "missing" / "m.gguf")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


# Others' readers.


@pytest.fixture(scope="module")
def package() -> ModuleType:
    return pytest.importorskip("gguf", reason="the gguf package (llama.cpp's own reader) is not installed")


@pytest.mark.parametrize("kind", TENSOR_TYPES)
def test_the_gguf_package_reads_the_same(kind: str, model: pellucid.GPT, package: ModuleType, tmp_path: Path) -> None:
    gguf.write(model, model.tokenizer, tmp_path / "m.gguf", kind=kind)
    reader = package.GGUFReader(tmp_path / "m.gguf")
    ours = dict(gguf.read(tmp_path / "m.gguf").tensors())
    by_name = {tensor.name: tensor for tensor in reader.tensors}
    assert list(by_name) == [gguf.gguf_name(name) for name in ours]
    for name, numbers in ours.items():
        tensor = by_name[gguf.gguf_name(name)]
        assert list(tensor.shape) == list(reversed(numbers.shape))
        theirs = package.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(theirs.reshape(numbers.shape), numbers.numpy()), name
    fields = {key: field.contents() for key, field in reader.fields.items()}
    assert fields["general.architecture"] == "gpt2"
    assert (
        fields["general.file_type"]
        == {t.name: t.value for t in package.LlamaFileType}[{"F32": "ALL_F32"}.get(kind, f"MOSTLY_{kind}")]
    )
    assert fields["gpt2.attention.head_count"] == 4
    assert fields["tokenizer.ggml.token_type"][-1] == package.TokenType.CONTROL
    assert fields["tokenizer.ggml.tokens"][-1] == "<|endoftext|>"


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_the_gguf_package_quantizes_to_the_same_bytes(kind: str, package: ModuleType) -> None:
    numbers = np.random.default_rng(1).standard_normal((64, 96)).astype(np.float32)
    numbers[3] = 0
    theirs = package.quants.quantize(numbers, package.GGMLQuantizationType[kind])
    assert encode(torch.from_numpy(numbers), TENSOR_TYPES[kind], search=False).numpy().tobytes() == theirs.tobytes()


def test_transformers_reads_the_same_model(model: pellucid.GPT, package: ModuleType, tmp_path: Path) -> None:
    """Its own GGUF reader turns the matrices; `from_pretrained(gguf_file=...)` does no more, but wants accelerate."""
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    gguf.write(model, model.tokenizer, tmp_path / "m.gguf")
    c = model.config
    theirs = GPT2LMHeadModel(GPT2Config(
        vocab_size=c.vocab_size, n_positions=c.n_ctx, n_layer=c.n_layers, n_embd=c.d_model, n_head=c.n_heads,
        bos_token_id=c.vocab_size - 1, eos_token_id=c.vocab_size - 1,
    )).eval()  # fmt: skip
    loaded = load_gguf_checkpoint(str(tmp_path / "m.gguf"), return_tensors=True, model_to_load=theirs)
    left = theirs.load_state_dict(loaded["tensors"], strict=False)
    assert left.missing_keys == ["lm_head.weight"] and left.unexpected_keys == []  # tied
    theirs.tie_weights()
    ids = torch.arange(c.n_ctx)[None] * 5 % c.vocab_size
    logits = model(ids)
    # Both in float32: other orders of the same sums.
    torch.testing.assert_close(theirs(ids).logits, logits, atol=1e-4 * logits.abs().max().item(), rtol=0)
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path), gguf_file="m.gguf")
    assert model.tokenizer
    assert tokenizer(TEXT)["input_ids"] == model.tokenizer.encode(TEXT)


@pytest.mark.parametrize("kind", ["F32", "F16"])
@pytest.mark.parametrize("which", ["random", "embedded"])
def test_llama_cpp_writes_the_same_tokens(which: str, kind: str, tmp_path: Path) -> None:
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip builds it in ten minutes")
    if which == "random":
        model, prompt = dense(), "the fox ran over"
    else:  # the embedded model's weights, every block dense
        embedded = pellucid.load()
        shape = embedded.config.replace(pattern=("dense",) * embedded.config.n_layers)
        model = pellucid.GPT(shape, tokenizer=embedded.tokenizer).eval().requires_grad_(False)
        model.load_state_dict(embedded.state_dict())
        prompt = "Once upon a time there was a king who had"
    assert model.tokenizer
    gguf.write(model, model.tokenizer, tmp_path / "m.gguf", kind=kind)
    theirs = llama_cpp.Llama(
        str(tmp_path / "m.gguf"), n_ctx=model.config.n_ctx, n_threads=1, verbose=False, logits_all=True,
        type_k=0, type_v=0,  # a float32 cache, as ours
    )  # fmt: skip
    for text in (prompt, TEXT):
        assert theirs.tokenize(text.encode(), add_bos=False, special=False) == model.tokenizer.encode(text)
    assert theirs.token_eos() == model.tokenizer.eot
    ids = model.tokenizer.encode(prompt)
    theirs.eval(ids)
    logits = torch.from_numpy(np.array(theirs.scores[: len(ids)]))
    ours = model(torch.tensor([ids]))[0]
    # llama.cpp looks GELU up in a table of float16, and multiplies F16 weights with activations rounded to it.
    assert (logits - ours).abs().max() < 2e-3 * ours.abs().max()
    theirs.reset()
    steps = zip(theirs.generate(ids, temp=0.0), range(32), strict=False)
    wrote = model.generate(ids, max_tokens=32, temperature=0).ids
    assert [token for token, _ in steps][: len(wrote)] == wrote


# Files that are not what they say.


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "m.gguf"
    small = pellucid.GPTConfig(vocab_size=260, n_ctx=4, n_layers=1, d_model=32, n_heads=2, pattern=("dense",))
    gguf.write(pellucid.GPT(small), None, path, kind="Q8_0")
    return path.read_bytes()


def opens(path: Path, content: bytes) -> bool:
    """Whether it is read; anything but a clear refusal is an error."""
    path.write_bytes(content)
    try:
        found = gguf.read(path)
        return len(list(found.tensors())) == len(found.entries)
    except PellucidError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return False


def test_a_file_cut_anywhere_is_refused(whole: bytes, tmp_path: Path) -> None:
    assert opens(tmp_path / "m.gguf", whole)
    for length in [*range(0, 1400, 13), len(whole) // 2, len(whole) - 40]:
        assert not opens(tmp_path / "m.gguf", whole[:length])


@cases(100)
@given(st.data())
def test_a_damaged_header_is_refused_or_harmless(whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, 1900))
        damage = data.draw(st.sampled_from([b"\xff", b"\x00", b"\x7f", b"\xff" * 8, b"\x00\x00\x00\x80", b"\x01"]))
        damaged[at : at + len(damage)] = damage
    opens(tmp_path_factory.getbasetemp() / "damaged.gguf", bytes(damaged))


def patched(whole: bytes, key: bytes, skip: int, new: bytes) -> bytes:
    """The file with the bytes `skip` after a key's or tensor's name replaced."""
    at = whole.index(key) + len(key) + skip
    return whole[:at] + new + whole[at + len(new) :]


@pytest.mark.parametrize(
    ("key", "skip", "new", "words"),
    [
        (b"GGUF", -4, b"GGML", "does not begin with GGUF"),
        (b"GGUF", 0, struct.pack("<I", 1), "version 1"),
        (b"GGUF", 0, struct.pack(">I", 3), "big-endian"),
        (b"GGUF", 4, struct.pack("<Q", 2**60), "more than"),
        (b"GGUF", 12, struct.pack("<Q", 2**60), "more than"),
        (b"general.architecture", 4, struct.pack("<Q", 2**62), "more than"),
        (b"general.architecture", 12, b"bert", "architecture 'bert'"),
        (b"general.architecture", 0, struct.pack("<I", 99), "type 99"),
        (b"gpt2.block_count", 4, struct.pack("<I", 2**31), "2,147,483,648 blocks"),
        (b"gpt2.block_count", 4, struct.pack("<I", 30), "in 30 blocks"),
        (b"gpt2.embedding_length", 4, struct.pack("<I", 2**31), "d_model must be a whole number"),
        (b"gpt2.embedding_length", 4, struct.pack("<I", 64), "has shape"),
        (b"gpt2.attention.head_count", 4, struct.pack("<I", 0), "n_heads"),
        (b"gpt2.attention.layer_norm_epsilon", 4, struct.pack("<f", float("nan")), "epsilon nan"),
        (b"token_embd.weight", 0, struct.pack("<I", 0), "0 dimensions"),
        (b"token_embd.weight", 4, struct.pack("<Q", 2**63), "does not lie inside"),
        (b"token_embd.weight", 4, struct.pack("<Q", 31), "whole number of blocks"),
        (b"token_embd.weight", 20, struct.pack("<I", 12), "of kind 12"),
        (b"position_embd.weight", 24, struct.pack("<Q", 2**40), "does not lie inside"),
        (b"position_embd.weight", 24, struct.pack("<Q", 33), "multiple of 32"),
        (b"position_embd.weight", 24, struct.pack("<Q", 0), "overlaps"),
        (b"position_embd.weight", -7, b"wright ", "lacks the tensor"),
    ],
)
def test_lies_are_named(whole: bytes, key: bytes, skip: int, new: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(patched(whole, key, skip, new))
    with pytest.raises(PellucidError, match=words):
        gguf.read(tmp_path / "m.gguf")


def test_weights_that_are_no_numbers_are_named(whole: bytes, tmp_path: Path) -> None:
    content = whole[:-64] + struct.pack("<f", float("nan")) + whole[-60:]
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(PellucidError, match="NaN or infinite"):
        list(gguf.read(tmp_path / "m.gguf").tensors())


def test_an_output_matrix_is_taken_where_it_is_the_token_matrix_again_and_refused_otherwise(tmp_path: Path) -> None:
    model, path = dense(n_layers=1), tmp_path / "m.gguf"
    gguf.write(model, model.tokenizer, path)
    with path.open("rb") as file:
        values = read_header(file, path.stat().st_size, path).values
    tensors = {gguf.gguf_name(name): parameter for name, parameter in model.named_parameters()}
    for output, reads in ((model.wte.weight, True), (model.wte.weight + 1, False)):
        table = tensors | {"output.weight": output}
        content = header_bytes(values, [(name, tuple(t.shape), TENSOR_TYPES["F32"]) for name, t in table.items()])
        for tensor in table.values():
            raw = tensor.numpy().tobytes()
            content += raw + bytes(-len(raw) % 32)
        assert opens(path, content) == reads
    with pytest.raises(PellucidError, match="output matrix of its own"):
        gguf.read(path)


def with_key(model: pellucid.GPT, path: Path, key: str, change: Any) -> Path:
    """The model's file with another value of a key."""
    gguf.write(model, model.tokenizer, path)
    with path.open("rb") as file:
        values = dict(read_header(file, path.stat().st_size, path).values)
    values[key] = change(values.get(key))
    named = model.named_parameters()
    content = header_bytes(values, [(gguf.gguf_name(n), tuple(p.shape), TENSOR_TYPES["F32"]) for n, p in named])
    for parameter in model.parameters():
        raw = parameter.numpy().tobytes()
        content += raw + bytes(-len(raw) % 32)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("key", "change", "words"),
    [
        ("tokenizer.ggml.merges", lambda merges: [*merges[:-1], "a b c"], "a merge is two tokens"),
        ("tokenizer.ggml.merges", lambda merges: [*merges, "q q"], "lacks 'qq'"),
        ("tokenizer.ggml.tokens", lambda tokens: tokens[:-1], "not complete"),
        ("tokenizer.ggml.tokens", lambda tokens: [tokens[1], *tokens[1:]], "is there twice"),
        ("tokenizer.ggml.eos_token_id", lambda _: 5000, "eos_token_id is 5000"),
    ],
)
def test_a_damaged_tokenizer_is_refused(key: str, change: Any, words: str, model: pellucid.GPT, tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match=words):
        gguf.read(with_key(model, tmp_path / "m.gguf", key, change))


@pytest.mark.parametrize(
    ("key", "change", "words"),
    [
        ("tokenizer.ggml.merges", lambda merges: merges[::-1], "cannot be reached"),
        ("tokenizer.ggml.pre", lambda _: "llama-bpe", "'llama-bpe'; only gpt2's is read"),
        ("tokenizer.ggml.model", lambda _: "llama", "'llama', 'gpt-2'; only gpt2's is read"),
        ("tokenizer.ggml.add_eos_token", lambda _: True, "add_eos_token is on"),
        ("tokenizer.ggml.add_space_prefix", lambda _: True, "add_space_prefix is on"),
    ],
)
def test_a_model_whose_tokenizer_is_of_another_sort_takes_ids(
    key: str, change: Any, words: str, model: pellucid.GPT, tmp_path: Path
) -> None:
    found = pellucid.load(with_key(model, tmp_path / "m.gguf", key, change))
    assert found.tokenizer is None and torch.equal(found.wte.weight, model.wte.weight)
    with pytest.raises(PellucidError, match=words):
        found.generate("the")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match=r"cannot read .*nothing.gguf"):
        gguf.read(tmp_path / "nothing.gguf")
