"""Priming records for tests, made by arithmetic: no model, no random number, the same on every machine."""

from collections.abc import Sequence
from io import BytesIO
from itertools import pairwise
from typing import Any

import numpy as np
from generation_records import VOCABULARY, distribution, piece_of

from pellucid.api.records import Record
from pellucid.record import Provenance, RecordWriter, check, describe


INPUT, OUTPUT = (7, 8, 13), (9, 10)
FORMAT, SEPARATOR = (5,), (11,)  # "," and a line break


def priming(
    shots: Sequence[int] = (0, 1, 8), *, task: Sequence[int] = (0, 1, 2, 3), given: Sequence[int] = INPUT,
    output: Sequence[int] = OUTPUT, answer: Sequence[int] = (9, 12), blocks: int = 3, heads: int = 2, candidates: int = 8,
    pieces: bool = True, right: bool = False, dtype: str = "float16",
) -> Record:  # fmt: skip
    """A priming record that `record.check` finds complete.

    Args:
        task, given, output: tokens of the task, and of each example's input and output. right: the likeliest answer is right.
    """
    ids, parts, roles, starts = [], [], [], [0]

    def add(tokens: Sequence[int], part: int, role: int) -> None:
        ids.extend(tokens)
        parts.extend([part] * len(tokens))
        roles.extend([role] * len(tokens))

    for count in shots:
        if task:
            add(task, 0, 0)
            add(SEPARATOR, 0, 3)
        for number in range(1, count + 1):
            for tokens, role in ((given, 1), (FORMAT, 3), (output, 2), (SEPARATOR, 3)):
                add(tokens, number, role)
        add(given, count + 1, 1)
        add(FORMAT, count + 1, 3)
        starts.append(len(ids))
    own = [[distribution(3 * count + place) for place in range(len(answer))] for count in shots]
    order = [np.argsort(-row[0], kind="stable")[:candidates] for row in own]
    greedy = [[int(np.argmax(p)) for p in row] for row in own]
    if right:
        greedy = [list(answer)] * len(shots)
    h, o = np.ogrid[:heads, : len(ids)]
    chunks: dict[str, Any] = {
        "prompt": {"task": "t", "examples": [], "query": "q", "answer": "a", "format": "arrow"},
        "shots": np.array(shots, np.int32), "ids": np.array(ids, np.int32), "starts": np.array(starts, np.int32),
        "parts": np.array(parts, np.int32), "roles": np.array(roles, np.uint8), "answer_ids": np.array(answer, np.int32),
        "logprobs": np.log([[p[token] for p, token in zip(row, answer, strict=True)] for row in own]).astype(np.float32),
        "topk_ids": np.array(order, np.int32),
        "topk_logprobs": np.log([row[0][top] for row, top in zip(own, order, strict=True)]).astype(np.float32),
        "greedy_ids": np.array(greedy, np.int32),
        "greedy_logprobs": np.log(
            [[p[token] for p, token in zip(row, said, strict=True)] for row, said in zip(own, greedy, strict=True)]
        ).astype(np.float32),
    }  # fmt: skip
    for block in range(blocks):
        scores = ((h + o * 7 + block * 3 + o * o) % 13 + 1).astype(np.float64)
        for start, end in pairwise(starts):
            scores[:, start:end] /= scores[:, start:end].sum(-1, keepdims=True)
        chunks[f"attention/{block}"] = scores.astype(dtype)
    width = 8 * heads
    provenance = Provenance(
        pellucid="0.1.0", model="0123456789abcdef" * 4, parameters=12_345, dtype="float32",
        config={"vocab_size": VOCABULARY, "n_ctx": 4096, "n_layers": blocks, "d_model": width, "n_heads": heads,
                "pattern": ["dense"] * blocks, "name": "made-up"},
    )  # fmt: skip
    buffer = BytesIO()
    with RecordWriter(buffer, "priming", provenance) as writer:
        for name, value in chunks.items():
            known = "attention/{block}" if name.startswith("attention/") else name
            writer.add(f"priming/{name}", value, **describe("priming", f"priming/{known}"))
        if pieces:
            found = [piece_of(token) for token in range(VOCABULARY)]
            for name, value in {
                "ids": np.arange(VOCABULARY, dtype=np.int32),
                "starts": np.cumsum([0, *map(len, found)]).astype(np.int32),
                "bytes": np.frombuffer(b"".join(found), np.uint8),
            }.items():
                writer.add(f"pieces/{name}", value, **describe("priming", f"pieces/{name}"))
    buffer.seek(0)
    record = Record.open(buffer)
    check(record)
    return record
