"""Small training records for tests of figures, made by arithmetic: real tokens, numbers that no model computed."""

import io
import math
from typing import Any

import numpy as np

from pellucid.api.records import Record
from pellucid.gpt.config import GPTConfig
from pellucid.record import Provenance, RecordWriter, as_uint8, describe
from pellucid.text import r50k


TEXT = (
    "Once upon a time there was a robot who had never read a book. It must obey the orders given it by human beings, "
    "and it must protect its own existence; but nobody had told it what a story was, or why the lamp in the old "
    "library burned all night. "
)
OTHER = "古い図書館で、ロボットは本を読んだ。🤖📚 机器人读了一本很老的书，第二天又读了一本。Ünïcödé naïveté — “quoted” ‽ "
LONG = "Donaudampfschifffahrtsgesellschaftskapitän internationalization telecommunications responsibilities         pass "


def training_record(
    *,
    text: str = TEXT,
    steps: int = 300,
    tracks: int = 16,
    layers: int = 2,
    held_out: bool = True,
    corrected: int | None = 1,
    without: tuple[str, ...] = (),
    change: dict[str, Any] | None = None,
) -> Record:
    """A training record of a run of so many steps.

    Args:
        text: where every piece comes from. tracks: of the model. layers: its blocks. held_out: whether text was held out.
        corrected: what `example/corrected` says; None for a record of an earlier version.
        without: beginnings of names to leave out. change: chunks to hold other values.
    """
    tokenizer = r50k()
    config = GPTConfig(n_layers=layers, d_model=16, n_heads=2, n_ctx=tracks, vocab_size=tokenizer.vocab_size)
    ids = tokenizer.encode(text)
    while len(ids) < 6 * tracks:
        ids += [tokenizer.eot, *tokenizer.encode(text)]
    names = [name for name, _ in config.matrices()]
    example_step = max(1, steps // 8)
    moments = sorted({0, *(2**i for i in range(steps.bit_length())), example_step - 1, steps})
    at = np.arange(1, steps + 1)
    ln_v = math.log(config.vocab_size)
    loss = 2.9 + (ln_v - 2.9) / (1 + (at - 1) / 30) + (at * 7919 % 101 - 50) / 300
    chunks: dict[str, Any] = {}

    def noise(*shape: int, salt: int = 1) -> np.ndarray:
        """Numbers from 0 to 1 that look like no pattern."""
        return (np.arange(math.prod(shape)) * 2654435761 * (2 * salt + 1) % 997).reshape(shape) / 997

    chunks["plan"] = {
        "kind": "train", "seed": 1, "batch": 4, "total_steps": steps, "config": config.to_dict(),
        "source": {"train_tokens": 54_321, "held_out_tokens": 2_345 if held_out else 0},
    }  # fmt: skip
    chunks["steps/tokens"] = (at * 4 * tracks).astype(np.int64)
    chunks["steps/lr"] = (1e-3 * np.minimum(1, at / 20)).astype(np.float32)
    chunks["steps/loss"] = loss.astype(np.float32)
    chunks["steps/grad_norm"] = (0.4 + 2 / at).astype(np.float32)
    chunks["steps/tokens_per_s"] = (12_000 + at * 37 % 500).astype(np.float32)
    chunks["moments/steps"] = np.array(moments, np.int64)
    chunks["matrices"] = names
    count = len(moments)
    chunks["moments/weights"] = (4 + 3 * noise(count, len(names), salt=2)).astype(np.float32)
    chunks["moments/gradients"] = (0.02 + 0.3 * noise(count, len(names), salt=3)).astype(np.float32)
    chunks["moments/gradients"][-1] = np.nan
    chunks["moments/updates"] = (0.002 + 0.04 * noise(count, len(names), salt=4)).astype(np.float32)
    chunks["moments/updates"][-1] = np.nan
    chunks["window/ids"] = np.array(ids[: tracks + 1], np.int32)
    chunks["window/loss"] = (ln_v * (0.3 + 0.7 * noise(count, tracks, salt=5))).astype(np.float32)
    prompt = text[:9]
    continuation = (text[9:] * 3)[:160]
    chunks["samples"] = [
        {
            "step": step,
            "tokens": 4 * tracks * step,
            "prompt": prompt,
            "text": continuation[: 60 + 9 * i] if i else "\x00 q\ufffd;\n z  x",
        }
        for i, step in enumerate(moments)
    ]
    example = ids[tracks : 2 * tracks + 1]
    track = tracks // 2
    label = example[track + 1]
    others = [token for token in dict.fromkeys(ids) if token != label][:7]
    chunks["example/step"] = np.array(example_step, np.int64)
    chunks["example/ids"] = np.array(example, np.int32)
    before = (1 + 6 * noise(tracks, salt=6)).astype(np.float32)
    before[track] = 2.5
    after = before * np.float32(0.8)
    chunks["example/loss"] = np.stack([before, after])
    chunks["example/track"] = np.array(track, np.int64)
    if corrected is not None:
        chunks["example/corrected"] = np.array(corrected, np.int64)
    chunks["example/topk_ids"] = np.array([[*others[:2], label, *others[2:]], [label, *others]], np.int32)
    shares = [
        [0.3, 0.2, math.exp(-2.5), 0.07, 0.05, 0.03, 0.02, 0.01],
        [math.exp(-2.0), 0.13, 0.1, 0.05, 0.05, 0.03, 0.02, 0.01],
    ]
    chunks["example/topk_logprobs"] = np.log(np.array(shares)).astype(np.float32)
    stretch = ids[tracks : 3 * tracks + 1]
    chunks["stretch/ids"] = np.array(stretch, np.int32)
    chunks["stretch/starts"] = np.array([0, tracks], np.int32)
    chunks["stretch/loss"] = (0.05 + 8 * noise(2, tracks, salt=7) ** 2).astype(np.float32)
    if held_out:
        looked = np.array(moments, np.int64)
        chunks["held_out/steps"] = looked
        chunks["held_out/loss"] = (3.1 + (ln_v - 3.1) / (1 + looked / 30)).astype(np.float32)
        chunks["held_out/bits_per_byte"] = (1.2 + 2 / (1 + looked / 30)).astype(np.float32)
    chunks = {f"training/{name}": value for name, value in chunks.items()} | (change or {})
    named = sorted(set(ids) | {int(token) for token in chunks["training/example/topk_ids"].ravel()})
    pieces = [tokenizer.token_bytes(token) for token in named]
    starts = np.cumsum([0, *map(len, pieces)])
    chunks |= {
        "pieces/ids": np.array(named, np.int32),
        "pieces/starts": starts.astype(np.int32),
        "pieces/bytes": np.frombuffer(b"".join(pieces), np.uint8),
    }
    where = Provenance(
        pellucid="0.1.0", model="sha256:" + "0" * 64, config=config.to_dict(), parameters=config.parameters(), dtype="float32",
        step=steps, seed=1,
    )  # fmt: skip
    buffer = io.BytesIO()
    with RecordWriter(buffer, "training", where) as writer:
        for name, value in chunks.items():
            if not name.startswith(without):
                writer.add(name, value, **describe("training", name))
        for name in names:
            if not "training/thumbnails/".startswith(without):
                words = describe("training", "training/thumbnails/{matrix}")
                writer.add(f"training/thumbnails/{name}", as_uint8(noise(count, 4, 4)), **words)
    buffer.seek(0)
    return Record.open(buffer)
