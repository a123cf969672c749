"""A generation as a record: it is the generation itself that is watched, not one made for the picture.

T tracks, C width, H heads, L blocks, S steps, K candidates of a step, J of the lens.
"""

from collections import abc
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid import __version__
from pellucid.engine.completion import Token
from pellucid.engine.engine import Engine
from pellucid.engine.sampling import uniform
from pellucid.engine.sequence import Sequence
from pellucid.errors import PellucidError
from pellucid.generation.mixin import OnePrompt
from pellucid.generation.model import GPT
from pellucid.gpt.fingerprint import fingerprint
from pellucid.interpret.formulas import Step, attention_weights, cells, lens, lens_source, step
from pellucid.interpret.tap import Watch
from pellucid.record import Provenance, Record, RecordWriter, Stored, as_bfloat16, as_triangle, describe, open_record
from pellucid.runtime.inference_mode import inference_mode
from pellucid.runtime.runner import TokenSpan
from pellucid.runtime.torch_runner import TorchRunner
from pellucid.text.tokenizer import Tokenizer
from pellucid.training.machine import describe as describe_machine


KEEP = ("block_inputs", "lens", "attention")  # the large groups; tokens, steps, cells, times and pieces are always kept
LENS = 5  # candidates at each level and track
SAMPLE = 0  # which of a prompt's answers: the first


def xray(
    model: GPT, prompt: OnePrompt = None, *, keep: Collection[str] = KEEP, candidates: int = 20,
    on_token: Callable[[Token, Step], None] | None = None, **generate_options: Any,
) -> Record:  # fmt: skip
    """Generates as `model.generate` does, and records what happened on the way.

    It is PyTorch that is watched, in fast mode. Where `generate` takes the kernel, log-probabilities agree up to rounding, and
    tokens but for near ties; with PELLUCID_KERNEL=off both are the same to the bit.

    Args:
        prompt: as `generate` takes it.
        keep: the groups to record, of `KEEP`: "block_inputs" (T x C numbers a level, as bfloat16), "lens" (5 candidates at
            each track and level) and "attention" (T x T / 2 bytes a head). A record with all of them passes `record.check`.
        candidates: likeliest tokens to list at each step.
        on_token: told of each token as soon as it is drawn, with what it was drawn from. What it raises ends the generation,
            and comes out of here.
        generate_options: all others that `generate` takes, but for n, best_of, logprobs and slide.

    Returns:
        A record in memory, open; `save` puts it into a file.

    Raises:
        PellucidError: as `generate`; an unknown group; or nothing to record (max_tokens = 0).
    """
    keep = (keep,) if isinstance(keep, str) else tuple(keep)
    if unknown := sorted(set(keep) - set(KEEP)):
        raise PellucidError(f"unknown group to keep {unknown[0]!r}: use some of {', '.join(KEEP)}")
    if isinstance(candidates, bool) or not isinstance(candidates, int) or candidates < 1:
        raise PellucidError(f"candidates must be a whole number, 1 or more, not {candidates!r}")
    for name in ("n", "best_of", "logprobs"):
        if name in generate_options:
            raise PellucidError(f"an x-ray records one answer and its likeliest tokens: leave out {name}")
    if generate_options.get("slide"):
        raise PellucidError("an x-ray records one window, from its first track to its last: leave out slide")
    row = model.new_sequence(prompt, **generate_options)
    if row.finish_reason is not None:
        raise PellucidError("max_tokens is 0: nothing is drawn, so there is nothing to record; set it to 1 or more")
    seen = watched(model, row, keep, min(candidates, model.config.vocab_size), on_token)
    buffer = BytesIO()
    with inference_mode(model), RecordWriter(buffer, "generation", _provenance(model, row)) as writer:
        _write(_Chunks(writer), model, row, keep, seen)
    buffer.seek(0)
    return open_record(buffer)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is there when an answer is written, before anything is made of it.

    Attributes:
        watch: the tensors that went by, and the time in each block.
        steps: each step's distribution. times: each step's seconds.
    """

    watch: Watch
    steps: list[Step]
    times: list[float]


def watched(
    model: GPT, row: Sequence, keep: Collection[str], candidates: int, on_token: Callable[[Token, Step], None] | None = None
) -> Seen:
    """Writes the answer and watches. What the steps list is computed between the steps, and not timed."""
    watch = Watch(model.config.n_layers, keep, clock=model.wte.weight.device.type == "cpu")
    runner = _Noting(model, tap=watch)
    engine = Engine(runner, tokenizer=row.tokenizer, end_of_text=row.end_of_text, chunk=model.config.n_ctx)
    engine.add(row)
    steps: list[Step] = []
    times: list[float] = []
    while row.finish_reason is None:
        counts = None if row.token_counts is None else dict(row.token_counts)  # what was drawn before this step
        began = perf_counter()
        drawn = engine.step()  # of the one answer; its prompt is read as a whole
        times.append(perf_counter() - began)
        if row.error is not None:
            raise row.error
        ((_, token),) = drawn
        u = uniform(row.options.seed, SAMPLE, token.position)
        steps.append(step(runner.logits, row.options, u, token.id, candidates, counts))
        if on_token is not None:
            on_token(token, steps[-1])
    return Seen(watch, steps, times)


class _Noting(TorchRunner):
    """Remembers the logits of the last step."""

    logits: NDArray[np.float32]

    def run(self, segments: abc.Sequence[TokenSpan]) -> list[NDArray[np.float32] | None]:
        """See `TorchRunner.run`."""
        found = super().run(segments)
        (logits,) = found
        assert logits is not None
        self.logits = logits
        return found


class _Chunks:
    """Adds chunks with the words that the schema has for them."""

    def __init__(self, writer: RecordWriter) -> None:
        self.writer = writer
        self.tokens: set[int] = set()

    def add(self, name: str, value: Any, source: Mapping[str, Any] | None = None, **parts: int) -> None:
        words = describe("generation", f"generation/{name}")
        self.writer.add(f"generation/{name}".format(**parts), value, source=source, **words)

    def add_ids(self, name: str, ids: Any, source: Mapping[str, Any] | None = None) -> None:
        """Token ids, whose pieces the record will hold."""
        array = np.asarray(ids, np.int32)
        self.tokens.update(array.ravel().tolist())
        self.add(name, array, source)

    def add_pieces(self, tokenizer: Tokenizer) -> None:
        for name, value in zip(("ids", "starts", "bytes"), pieces(tokenizer, self.tokens), strict=True):
            self.writer.add(f"pieces/{name}", value, **describe("generation", f"pieces/{name}"))


def pieces(tokenizer: Tokenizer, tokens: Iterable[int]) -> tuple[Any, Any, Any]:
    """Token ids ascending, where the bytes of each begin, and all bytes: the chunks `pieces/`."""
    ids = sorted(tokens)
    found = [tokenizer.token_bytes(token) for token in ids]
    starts = np.cumsum([0, *map(len, found)]).astype(np.int32)
    return np.array(ids, np.int32), starts, np.frombuffer(b"".join(found), np.uint8)


def _write(chunks: _Chunks, model: GPT, row: Sequence, keep: Collection[str], seen: Seen) -> None:
    config, watch, steps = model.config, seen.watch, seen.steps
    chunks.add_ids("prompt_ids", row.prompt)
    chunks.add_ids("steps/drawn_ids", [token.id for token in row.tokens])
    chunks.add("steps/drawn_logprobs", np.array([token.logprob for token in row.tokens], np.float32))
    chunks.add_ids("steps/topk_ids", [one.topk_ids for one in steps])
    chunks.add("steps/topk_logprobs", np.array([one.topk_logprobs for one in steps], np.float32))
    chunks.add("steps/topk_shares", np.array([one.topk_shares for one in steps], np.float32))
    chunks.add("steps/kept", np.array([one.kept for one in steps], np.int32))
    chunks.add("steps/draw", np.array([one.draw for one in steps], np.float64))
    chunks.add("steps/drawn_span", np.array([one.drawn_span for one in steps], np.float64))
    if "block_inputs" in keep:
        for level in range(config.n_layers + 1):
            source = {"input_of": f"h.{level}"} if level < config.n_layers else {"output_of": f"h.{level - 1}"}
            chunks.add("block_inputs/{level}", as_bfloat16(_array(watch.level(level))), source, level=level)
    if "lens" in keep:
        found = [lens(model, watch.level(level), min(LENS, config.vocab_size)) for level in range(config.n_layers + 1)]
        source = lens_source(model)
        chunks.add_ids("lens/ids", np.stack([_array(ids) for ids, _ in found]), source)
        chunks.add("lens/logprobs", np.stack([_array(logprobs) for _, logprobs in found]), source)
    if "attention" in keep:
        for block, pattern in enumerate(config.pattern):
            weights = attention_weights(*watch.queries_and_keys(block), pattern, model.compressor(block))
            heads = [as_triangle(_array(head)) for head in weights]  # head by head: each passes through float64
            formula = {"formula": "softmax(q k^T / sqrt(d_head))" if config.attention_scale else "softmax(q k^T)"}
            source = {"tensor": f"h.{block}.attn", "pattern": str(pattern)} | formula
            stacked = Stored(np.stack([head.array for head in heads]), "uint8", (0.0, 1.0), triangle=True)
            chunks.add("attention/{block}", stacked, source, block=block)
    chunks.add("cells", cells(config.pattern, len(row.prompt), len(steps)).numpy())
    chunks.add("timings/steps", np.array(seen.times))
    if block_times := watch.block_times():
        chunks.add("timings/blocks", np.array(block_times))
    if model.tokenizer is not None:
        chunks.add_pieces(model.tokenizer)


def _array(tensor: Tensor) -> Any:
    """As a record takes it: float32 stays, wider and narrower floats become it."""
    return (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy()


def _provenance(model: GPT, row: Sequence) -> Provenance:
    options = row.options
    return Provenance(
        pellucid=__version__,
        model=fingerprint(model),
        config=model.config.to_dict(),
        parameters=model.config.parameters(),
        dtype=str(model.wte.weight.dtype).removeprefix("torch."),
        tokenizer=model.tokenizer.fingerprint if model.tokenizer else None,
        seed=options.seed,
        prompt_ids=tuple(row.prompt),
        sampling=options.recorded() | {"sample": SAMPLE},
        machine=describe_machine() | {"threads": torch.get_num_threads(), "device": str(model.wte.weight.device)},
    )  # fmt: skip

