"""What each kind of record holds, and how large a generation is."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pellucid.errors import PellucidError
from pellucid.record import (
    SCHEMA,
    Kind,
    Provenance,
    Record,
    RecordWriter,
    StoredArray,
    as_bfloat16,
    as_triangle,
    as_uint8,
    check,
    describe,
    open_record,
)
from pellucid.record.encoding import NUMBERS
from pellucid.record.entry import TRUTHS, valid_name


MATRICES = ["wte", "wpe", "h.0.attn.c_attn", "h.0.mlp.c_fc"]
LETTERS = dict(
    P=4, S=3, T=6, L=2, H=2, C=8, K=5, J=5, A=6, I=3, F=4, D=8, U=9, Y=30,
    B=2, O=9, V=3, N=11, M=3, Q=len(MATRICES), W=7, X=6, E=2, R=13, Z=2, G=6
)  # fmt: skip
CONFIG = {"n_layers": 2, "n_heads": 2, "d_model": 8}


def provenance(config: dict[str, Any]) -> Provenance:
    return Provenance(pellucid="0.1.0", model="m", config=config, parameters=1, dtype="float32")


def sized(shape: tuple[str | int, ...]) -> tuple[int, ...]:
    sizes = {"?": 4, **LETTERS, **{f"{letter}+1": size + 1 for letter, size in LETTERS.items()}}
    return tuple(sizes[part] if isinstance(part, str) else part for part in shape)


def build(kind: Kind, change: dict[str, Any] | None = None, config: dict[str, Any] = CONFIG) -> Record:
    """A record with every chunk that the schema names; `change` gives other values, or None to leave a chunk out."""
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    with RecordWriter(buffer, kind, provenance(config)) as writer:
        for spec in SCHEMA[kind]:
            value: Any
            if spec.dtypes == ("json",):
                value = MATRICES if spec.name.endswith("matrices") else []
            elif spec.triangle:
                value = as_triangle(np.tril(rng.random(sized(spec.shape))))
            elif spec.scaled:
                value = as_uint8(rng.normal(size=sized(spec.shape)))
            elif spec.dtypes[0] == "bfloat16":
                value = as_bfloat16(rng.normal(size=sized(spec.shape)).astype(np.float32))
            else:
                value = rng.integers(0, 100, sized(spec.shape)).astype(NUMBERS[spec.dtypes[0]])
            counts = {"level": range(3), "block": range(2), "matrix": MATRICES}
            (key,) = re.findall(r"{(\w+)}", spec.name) or [""]
            for part in counts.get(key, [""]):
                name = spec.name.format(**{key: part}) if key else spec.name
                chosen = (change or {}).get(name, value)
                if chosen is not None:
                    writer.add(name, chosen, **describe(kind, spec.name))
    buffer.seek(0)
    return open_record(buffer)


@pytest.mark.parametrize("kind", list(SCHEMA))
def test_a_complete_record_passes(kind: Kind) -> None:
    sizes = check(build(kind))
    assert sizes.items() <= LETTERS.items() and sizes["L"] == 2
    optional = {spec.name: None for spec in SCHEMA[kind] if not spec.required and "{" not in spec.name}
    check(build(kind, optional))


@pytest.mark.parametrize("kind", list(SCHEMA))
def test_the_table_is_sound(kind: Kind) -> None:
    names = [spec.name for spec in SCHEMA[kind]]
    assert len(set(names)) == len(names)
    for spec in SCHEMA[kind]:
        assert valid_name(re.sub(r"{(level|block|matrix)}", "0", spec.name)) and spec.meaning and spec.truth in TRUTHS
        assert spec.dtypes == ("json",) or set(spec.dtypes) <= set(NUMBERS)
        sized(spec.shape)
        assert spec.name.startswith(("pieces/", f"{kind}/"))
    assert describe(kind, names[0])["meaning"]
    with pytest.raises(PellucidError, match=f"schema of a {kind} record has no x"):
        describe(kind, "x")


WRONG: list[tuple[Kind, dict[str, Any], str]] = [
    ("generation", {"generation/prompt_ids": None}, "generation/prompt_ids is missing"),
    ("generation", {"generation/block_inputs/2": None}, "generation/block_inputs/2 is missing"),
    ("generation", {"generation/attention/1": None}, "generation/attention/1 is missing"),
    ("generation", {"pieces/ids": None}, "must all be there"),
    ("generation", {"generation/prompt_ids": np.zeros(4, np.int64)}, "prompt_ids is int64, not int32"),
    ("generation", {"generation/cells": np.zeros((3, 6), np.uint8)}, r"shape \(3, 6\), not \(S, L, T\)"),
    ("generation", {"generation/cells": np.zeros((3, 3, 6), np.uint8)}, r"\(S, L, T\) has L = 2"),
    ("generation", {"generation/lens/ids": np.zeros((2, 6, 5), np.int32)}, r"\(L\+1, T, J\) has L\+1 = 3"),
    ("generation", {"generation/steps/topk_ids": np.zeros((3, 9), np.int32)}, r"\(S, K\) has K = 9"),
    ("generation", {"generation/prompt_ids": np.zeros(9, np.int32)}, "6 positions cannot come of 9 tokens and 3"),
    ("generation", {"generation/attention/0": np.zeros((2, 6, 6), np.uint8)}, "not stored as lower triangles"),
    ("generation", {"generation/prompt_ids": StoredArray(np.zeros(4, "<u2"), "uint16")}, "is uint16"),
    ("training", {"training/thumbnails/wte": None}, "training/thumbnails/wte is missing"),
    ("training", {"training/matrices": None}, "training/matrices is missing"),
    ("training", {"training/matrices": {"a": 1}}, "not a list of names"),
    ("training", {"training/window/ids": np.zeros(7, np.int32)}, r"\(M, W\) has W = 6"),
    ("training", {"training/example/step": np.zeros(1, np.int64)}, r"shape \(1,\), not \(\)"),
    ("finetuning", {"finetuning/answers": None}, "finetuning/answers is missing"),
    ("priming", {"priming/attention/1": None}, "priming/attention/1 is missing"),
    ("priming", {"priming/attention/0": np.zeros((2, 8), np.float32)}, r"\(H, O\) has O = 9"),
    ("priming", {"priming/starts": np.zeros(2, np.int32)}, r"\(B\+1\) has B\+1 = 3"),
    ("priming", {"priming/logprobs": np.zeros((2, 4), np.float32)}, r"\(B, V\) has V = 3"),
    ("finetuning", {"finetuning/change": np.zeros(5, np.float32)}, r"\(Q\) has Q = 4"),
]


@pytest.mark.parametrize(("kind", "change", "says"), WRONG, ids=[says for _, _, says in WRONG])
def test_what_is_wrong_is_named(kind: Kind, change: dict[str, Any], says: str) -> None:
    with pytest.raises(PellucidError, match=f"the {kind} record in memory is not complete: .*{says}"):
        check(build(kind, change))


def test_configs_that_are_none() -> None:
    for config in ({}, CONFIG | {"n_layers": "two"}, CONFIG | {"n_layers": 10**12}, CONFIG | {"n_layers": 0}):
        with pytest.raises(PellucidError, match="states no valid n_layers"):
            check(build("generation", config=config))
    with pytest.raises(PellucidError, match="and 19,996 more"):
        check(build("generation", config=CONFIG | {"n_layers": 10_000}))


def test_a_wrong_truth_class_is_named() -> None:
    buffer = io.BytesIO()
    with RecordWriter(buffer, "generation", provenance(CONFIG)) as writer:
        name = "generation/prompt_ids"
        writer.add(name, np.zeros(4, np.int32), truth="measured", meaning="ids")
        for i in range(8):
            writer.add(f"views/{i}", i, truth="derived", meaning="other chunks are allowed")
    with pytest.raises(PellucidError, match="prompt_ids is measured, not given") as error:
        check(open_record(buffer.getvalue()))
    assert "views" not in str(error.value)


def generation(path: Path, encoding: str | None = None) -> Record:
    """40 tokens, half of them drawn, 12 blocks of width 768 with 12 heads, statistics as a real model's.

    encoding: of block inputs.
    """
    rng = np.random.default_rng(0)
    blocks, heads, width, tracks, steps, listed = 12, 12, 768, 40, 20, 20
    config = {"n_layers": blocks, "n_heads": heads, "d_model": width, "n_ctx": 1024, "vocab_size": 50257}
    seen: set[int] = set()

    def ids(*shape: int) -> np.ndarray[Any, Any]:
        made = (rng.zipf(1.2, shape) % 50257).astype(np.int32)
        seen.update(made.ravel().tolist())
        return made

    def logprobs(*shape: int) -> np.ndarray[Any, Any]:
        return -np.sort(rng.exponential(3, shape)).astype(np.float32)

    with RecordWriter(path, "generation", provenance(config)) as writer:

        def add(name: str, value: Any, how: str | None = None, **parts: int) -> None:
            words = describe("generation", f"generation/{name}")
            source = {"tensor": f"h.{parts['block']}"} if parts else None
            writer.add(f"generation/{name}".format(**parts), value, **(words | {"encoding": how}), source=source)

        add("prompt_ids", ids(steps))
        add("steps/drawn_ids", ids(steps))
        add("steps/drawn_logprobs", logprobs(steps))
        add("steps/topk_ids", ids(steps, listed))
        add("steps/topk_logprobs", logprobs(steps, listed))
        add("steps/topk_shares", np.exp(logprobs(steps, listed)))
        add("steps/kept", rng.integers(1, 50257, steps).astype(np.int32))
        add("steps/draw", rng.random(steps))
        add("steps/drawn_span", rng.random((steps, 2)))
        for level in range(blocks + 1):
            stream = rng.normal(size=(tracks, width)) * (0.2 + level / 4) * np.exp(rng.normal(0, 0.3, width))
            add("block_inputs/{level}", as_bfloat16(stream.astype(np.float32)), encoding, level=level, block=level)
        add("lens/ids", ids(blocks + 1, tracks, 5))
        add("lens/logprobs", logprobs(blocks + 1, tracks, 5))
        for block in range(blocks):
            scores = np.exp(2 * rng.normal(size=(heads, tracks, tracks))) * np.tri(tracks)
            add("attention/{block}", as_triangle(scores / scores.sum(-1, keepdims=True)), block=block)
        add("cells", np.tril(np.full((steps, tracks), 2, np.uint8), steps)[:, None].repeat(blocks, 1))
        add("timings/steps", rng.normal(0.03, 0.001, steps))
        add("timings/blocks", rng.normal(0.002, 0.0001, (steps, blocks)))
        pieces = [rng.integers(97, 123, 1 + token % 9).astype(np.uint8) for token in sorted(seen)]
        starts = np.cumsum([0, *map(len, pieces)]).astype(np.int32)
        listed_ids = np.array(sorted(seen), np.int32)
        for name, value in (("ids", listed_ids), ("starts", starts), ("bytes", np.concatenate(pieces))):
            writer.add(f"pieces/{name}", value, **describe("generation", f"pieces/{name}"))
    return open_record(path)


def test_a_generation_of_40_tokens_is_at_most_1_mb(tmp_path: Path) -> None:
    with generation(tmp_path / "usual.pellucid") as record:
        sizes = check(record)
        assert (sizes["P"], sizes["S"], sizes["T"], sizes["C"], sizes["L"]) == (20, 20, 40, 768, 12)
        entries = [record.entry(name) for name in record.names("generation/block_inputs/")]
        assert sum(entry.plain_bytes for entry in entries) == 13 * 40 * 768 * 2
        assert sum(record.entry(name).plain_bytes for name in record.names("generation/attention/")) == 2 * 12 * 12 * 820
    assert (tmp_path / "usual.pellucid").stat().st_size <= 750_000
    generation(tmp_path / "raw.pellucid", "raw").close()  # even if block inputs could not be compressed
    assert (tmp_path / "raw.pellucid").stat().st_size <= 1_000_000
