"""Generation records for tests, made by arithmetic: no model, no random number, the same on every machine."""

from collections.abc import Sequence
from io import BytesIO
from math import nan
from typing import Any

import numpy as np

from pellucid.api.records import Record
from pellucid.record import Provenance, RecordWriter, StoredArray, as_triangle, check, describe


WORDS = (
    " the", " of", " and", " a", " to", ",", ".", " ship", " sea", " captain", " was", "\n", "\t", " extraordinarily-long-word",
    " I", "ing", "\x00", " «é»",
)  # fmt: skip
PIECES = tuple(word.encode() for word in WORDS) + tuple("中🎉".encode()[i : i + 1] for i in range(7))
CHINESE, EMOJI = (18, 19, 20), (21, 22, 23, 24)
VOCABULARY = 64  # the other tokens are single letters


def piece_of(token: int) -> bytes:
    """The bytes of a token of this vocabulary."""
    return PIECES[token] if token < len(PIECES) else bytes([ord("A") + token - len(PIECES)])


def distribution(seed: int, temperature: float = 1.0) -> Any:
    """(V,) probabilities that depend on two whole numbers."""
    logits = np.array([(token * 37 + seed * 17 + token * token * 3) % 29 / 5.0 for token in range(VOCABULARY)])
    weights = np.exp((logits - logits.max()) / temperature)
    return weights / weights.sum()


def generation(
    prompt: Sequence[int] = (1, 7, 9), steps: int = 4, *, blocks: int = 3, heads: int = 2, band: int | None = None,
    temperature: float = 1.0, top_k: int | None = None, candidates: int = 12, pieces: bool = True,
    leave_out: Sequence[str] = (), earlier: bool = False,
) -> Record:  # fmt: skip
    """A generation record that `record.check` finds complete, less the chunks to leave out (by the start of their names).

    Args:
        earlier: attention as schema 1.0 kept it, in uint8 steps of 1/255.
        band: of every second block, the first included; None: all blocks are dense.
    """
    positions, width = len(prompt) + steps - 1, 8 * heads
    drawn, chunks = _steps(len(prompt), steps, temperature, top_k, candidates)
    chunks |= {"prompt_ids": np.array(prompt, np.int32), "steps/drawn_ids": np.array(drawn, np.int32)}
    lens = [[distribution(3 * level + 7 * position) for position in range(positions)] for level in range(blocks + 1)]
    order = np.array([[np.argsort(-p, kind="stable")[:5] for p in row] for row in lens])
    chunks["lens/ids"] = order.astype(np.int32)
    chunks["lens/logprobs"] = np.log(np.take_along_axis(np.array(lens), order, axis=-1)).astype(np.float32)
    pattern = [f"banded({band})" if band and block % 2 == 0 else "dense" for block in range(blocks)]
    reaches = [band if band and block % 2 == 0 else 4096 for block in range(blocks)]
    chunks["cells"] = _cells(len(prompt), steps, reaches, positions)
    for level in range(blocks + 1):
        chunks[f"block_inputs/{level}"] = np.array(
            [[(level + position * c) % 7 / 7 for c in range(width)] for position in range(positions)], np.float32
        )
    for block, reach in enumerate(reaches):
        h, q, k = np.ogrid[:heads, :positions, :positions]
        scores = ((h + q * 5 + k * k) % 11 + 1) * ((q - reach < k) & (k <= q))
        weights = scores / scores.sum(axis=-1, keepdims=True)
        codes = np.rint(255 * weights[:, *np.tril_indices(positions)]).astype(np.uint8)
        stored = StoredArray(codes, "uint8", (0.0, 1.0), triangle=True) if earlier else as_triangle(weights)
        chunks[f"attention/{block}"] = stored
    if not earlier:
        chunks |= _vectors(width, prompt[-1], chunks["steps/topk_ids"][0][:5].tolist())
    if not earlier:
        following = [*prompt, *drawn][1:]
        own = np.array([[row[token] for row, token in zip(level, following, strict=True)] for level in lens])
        chunks["lens/next_logprobs"] = np.log(own).astype(np.float32)
        chunks["lens/next_ranks"] = (np.array(lens) > own[..., None]).sum(-1).astype(np.int32)
        grid = np.add.outer(np.arange(blocks) * 3, np.arange(positions))
        chunks["writes/attention"] = (grid % 7 / 7 + 0.5).astype(np.float32)
        chunks["writes/mlp"] = (grid % 5 / 5 + 0.25).astype(np.float32)
    chunks["timings/steps"] = np.array([0.02 if i == 0 else 0.004 + i % 3 / 1000 for i in range(steps)])
    chunks["cache_bytes"] = np.array([2 * 4 * blocks * width * -(-positions // 8) * 8])
    provenance = Provenance(
        pellucid="0.1.0", model="0123456789abcdef" * 4, parameters=12_345, dtype="float32", seed=7,
        config={"vocab_size": VOCABULARY, "n_ctx": 4096, "n_layers": blocks, "d_model": width, "n_heads": heads,
                "pattern": pattern, "name": "made-up"},
        prompt_ids=tuple(prompt), sampling={"max_tokens": steps, "temperature": temperature, "top_k": top_k, "top_p": None},
    )  # fmt: skip
    buffer = BytesIO()
    with RecordWriter(buffer, "generation", provenance) as writer:
        for name, value in chunks.items():
            full, place = f"generation/{name}", name.rsplit("/", 1)
            if not full.startswith(tuple(leave_out)):
                known = {"block_inputs": "{level}", "attention": "{block}"}.get(place[0])
                writer.add(full, value, **describe("generation", f"generation/{place[0]}/{known}" if known else full))
        if pieces:
            found = [piece_of(token) for token in range(VOCABULARY)]
            for name, value in {
                "ids": np.arange(VOCABULARY, dtype=np.int32),
                "starts": np.cumsum([0, *map(len, found)]).astype(np.int32),
                "bytes": np.frombuffer(b"".join(found), np.uint8),
            }.items():
                writer.add(f"pieces/{name}", value, **describe("generation", f"pieces/{name}"))
    buffer.seek(0)
    record = Record.open(buffer)
    check(record, partial=bool(leave_out))
    return record


def _vectors(width: int, token: int, likeliest: Sequence[int]) -> dict[str, Any]:
    """The followed position's vectors, and the tokens nearest to its own."""
    rows = np.array([[(t * 13 + c * 7) % 23 / 23 - 0.5 for c in range(width)] for t in range(VOCABULARY)], np.float32)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = units @ units[token]
    nearest = [t for t in np.argsort(-cosines, kind="stable").tolist() if t != token][:8]
    return {
        "embedding/token": rows[token],
        "embedding/position": np.array([c % 5 / 10 - 0.2 for c in range(width)], np.float32),
        "embedding/nearest_ids": np.array(nearest, np.int32),
        "embedding/nearest_cosines": cosines[nearest],
        "output/vector": np.array([c % 3 - 1.0 for c in range(width)], np.float32),
        "output/rows": rows[likeliest],
    }


def _steps(
    prompt: int, steps: int, temperature: float, top_k: int | None, candidates: int
) -> tuple[list[int], dict[str, Any]]:
    drawn: list[int] = []
    found: dict[str, list[Any]] = {name: [] for name in (
        "drawn_logprobs", "topk_ids", "topk_logprobs", "topk_shares", "kept", "draw", "drawn_span"
    )}  # fmt: skip
    for i in range(steps):
        own = distribution(i)
        order = np.argsort(-own, kind="stable")
        left = order[:top_k] if top_k else order
        shares = np.zeros(VOCABULARY)
        if temperature:
            shares[left] = distribution(i, temperature)[left]
        else:
            shares[order[0]] = 1.0
        shares /= shares.sum()
        u = (0.137 + i * 0.618) % 1.0
        ends = np.cumsum(shares)
        token = int(np.searchsorted(ends, u, side="right")) if temperature else int(order[0])
        drawn.append(token)
        found["drawn_logprobs"].append(np.log(own[token]))
        found["topk_ids"].append(order[:candidates])
        found["topk_logprobs"].append(np.log(own[order[:candidates]]))
        found["topk_shares"].append(shares[order[:candidates]])
        found["kept"].append(len(left) if temperature else 1)
        found["draw"].append(u if temperature else nan)
        found["drawn_span"].append((ends[token] - shares[token], ends[token]))
    kinds = {"topk_ids": np.int32, "kept": np.int32, "draw": np.float64, "drawn_span": np.float64}
    return drawn, {f"steps/{name}": np.array(values, kinds.get(name, np.float32)) for name, values in found.items()}


def _cells(prompt: int, steps: int, reaches: Sequence[int], positions: int) -> Any:
    """States by (step, block, position): 0 not there yet, 1 computed in this step, 2 kept, 3 behind the band."""
    def state(step: int, reach: int, position: int) -> int:
        newest = prompt - 1 + step
        if position > newest:
            return 0
        if position >= (0 if step == 0 else newest):
            return 3 if position <= newest - reach and step else 1
        return 3 if position <= newest - reach else 2

    return np.array(
        [[[state(step, reach, position) for position in range(positions)] for reach in reaches] for step in range(steps)],
        np.uint8,
    )
