"""`xray`: generates, and records the activations, distributions and draws of the generation.

T positions, C width, H heads, L blocks, S steps, K candidates of a step, J of the lens.
"""

from collections import abc
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from time import perf_counter
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.arguments import instance, one_of, shown, whole_number
from pellucid.engine.completion import Token
from pellucid.engine.engine import Engine
from pellucid.engine.sampling import uniform
from pellucid.engine.sequence import Sequence
from pellucid.errors import PellucidError
from pellucid.generation.mixin import OnePrompt
from pellucid.generation.model import GPT
from pellucid.gpt.ablation import MeanOutputs, Replacements
from pellucid.gpt.decoder import Block
from pellucid.gpt.fingerprint import fingerprint
from pellucid.gpt.torch_defaults import torch_defaults
from pellucid.interpret.formulas import (
    StepDistribution,
    attention_source,
    attention_weights,
    block_input_source,
    cache_cells,
    lens,
    lens_source,
    step_distribution,
)
from pellucid.interpret.tap import ActivationTap
from pellucid.interpret.vectors import embedding_source, embedding_vectors, nearest_tokens, output_source, read_out
from pellucid.record import Provenance, Record, RecordWriter, as_bfloat16, as_triangle, describe, open_record
from pellucid.runtime.inference_mode import inference_mode
from pellucid.runtime.module_changes import find_change
from pellucid.runtime.runner import AblatingRunner, TokenSpan
from pellucid.runtime.runner_selection import mean_outputs, torch_runner
from pellucid.text.tokenizer import Tokenizer
from pellucid.training.machine import describe as describe_machine
from pellucid.version import __version__


RecordDtype = Literal["float32"]  # what block inputs and attention are recorded in, other than by default
KEEP = ("block_inputs", "lens", "attention", "writes")  # the groups; tokens, steps, cells, times and pieces are always kept
LENS_CANDIDATES = 5  # candidates at each level and position
PIECES = ("pieces/ids", "pieces/starts", "pieces/bytes")  # the chunks that `piece_table` gives
WRITES = ("attention", "mlp")  # the parts of a block that add to the stream, as chunks `generation/writes/` name them
SAMPLE_INDEX = 0  # the sample index that the draws are hashed with: the first of a prompt


@torch_defaults()
def xray(
    model: GPT, prompt: OnePrompt = None, *, keep: Collection[str] = KEEP, candidates: int = 20,
    record_dtype: RecordDtype | None = None, on_token: Callable[[Token, StepDistribution], None] | None = None,
    on_chunk: Callable[[str], None] | None = None, **generate_options: Any,
) -> Record:  # fmt: skip
    """Generates as `model.generate` does, and records the model's activations, distributions and draws.

    The torch runner computes, in fast mode. Where `generate` uses the C kernel, log-probabilities agree up to rounding and
    tokens except at near ties; with PELLUCID_KERNEL=off both are equal to the bit.

    Args:
        prompt: as `generate` takes it.
        keep: the groups to record, of `KEEP`: "block_inputs" (T x C numbers a level, bfloat16,
            and the vectors of the last prompt token), "lens" (5 candidates at
            each position and level, rank and log-probability of the token that follows), "attention" (T x T / 2 numbers a
            head, float16, rounded row by row: `record.triangle`) and "writes" (two norms a block and position). A record with
            all of them passes `record.check`.
        candidates: likeliest tokens to list at each step.
        record_dtype: "float32" records block inputs and attention without rounding; a file is then several times as large.
        on_token: called with each token as soon as it is drawn, and the distribution it was drawn from. An exception ends the
            generation and is passed on.
        on_chunk: called with the name of each chunk before it is written, likewise.
        generate_options: those of `generate`, except n, best_of, logprobs and slide; `ablate` among them.

    Returns:
        An open record in memory; `save` writes it to a file.

    Raises:
        PellucidError: as `generate`; an unknown group or dtype; or nothing to record (max_tokens = 0).
    """
    instance("model", model, GPT, "a model (pellucid.load(...))")
    if record_dtype is not None:
        one_of("record_dtype", record_dtype, get_args(RecordDtype))
    if not isinstance(keep, abc.Iterable):
        raise PellucidError(f"keep must be some of {', '.join(KEEP)}, not {shown(keep)}")
    keep = (keep,) if isinstance(keep, str) else tuple(keep)
    if unknown := [group for group in keep if not isinstance(group, str) or group not in KEEP]:
        raise PellucidError(f"unknown group to keep {shown(unknown[0])}: use some of {', '.join(KEEP)}")
    candidates = whole_number("candidates", candidates, 1)
    for name in ("n", "best_of", "logprobs"):
        if name in generate_options:
            raise PellucidError(f"an x-ray records one answer and its likeliest tokens: leave out {name}")
    if generate_options.get("slide"):
        raise PellucidError("an x-ray records one window, from its first position to its last: leave out slide")
    sequence = model.new_sequence(prompt, **generate_options)
    if sequence.finish_reason is not None:
        raise PellucidError("max_tokens is 0: nothing is drawn, so there is nothing to record; set it to 1 or more")
    generation = capture_generation(model, sequence, keep, min(candidates, model.config.vocab_size), on_token)
    buffer = BytesIO()
    with inference_mode(model), RecordWriter(buffer, "generation", _provenance(model, sequence)) as writer:
        _write(_ChunkWriter(writer, on_chunk), model, sequence, keep, generation, exact=record_dtype == "float32")
    buffer.seek(0)
    return open_record(buffer)


@dataclass(frozen=True, slots=True)
class CapturedGeneration:
    """A finished generation with its activations, distributions and times; views are computed from these.

    Attributes:
        tap: activations, and the time in each block.
        steps: each step's distribution. times: each step's seconds.
        cache_bytes: allocated by the runner for the sequence's keys and values.
        cached: whether it cached any; a model with hooks is computed without a cache.
    """

    tap: ActivationTap
    steps: list[StepDistribution]
    times: list[float]
    cache_bytes: int
    cached: bool


def capture_generation(
    model: GPT, sequence: Sequence, keep: Collection[str], candidates: int,
    on_token: Callable[[Token, StepDistribution], None] | None = None,
) -> CapturedGeneration:  # fmt: skip
    """Generates one sequence with a tap. The steps' distributions are computed between the steps, outside of their times.

    Raises:
        PellucidError: the model was changed so that what is to be kept cannot be seen.
    """
    check_blocks(model)
    tap = ActivationTap(model.config.n_layers, keep, clock=model.wte.weight.device.type == "cpu")
    runner = _LogitsRunner(model, tap)
    engine = Engine(runner, tokenizer=sequence.tokenizer, end_of_text=sequence.end_ids, chunk=model.config.n_ctx)
    engine.add(sequence)
    steps: list[StepDistribution] = []
    times: list[float] = []
    while sequence.finish_reason is None:
        counts = None if sequence.token_counts is None else dict(sequence.token_counts)  # copied: the step changes them
        start = perf_counter()
        drawn = engine.step()  # one sequence, whose prompt is read in one forward pass
        times.append(perf_counter() - start)
        if sequence.error is not None:
            raise sequence.error
        if not steps and (missing := tap.missing()) is not None:
            raise hidden_from_tap(model, *missing)
        ((_, token),) = drawn
        u = uniform(sequence.options.seed, SAMPLE_INDEX, token.position)
        steps.append(step_distribution(runner.logits, sequence.options, u, token.id, candidates, counts))
        if on_token is not None:
            on_token(token, steps[-1])
    return CapturedGeneration(tap, steps, times, runner.cache_bytes, runner.cached)


def check_blocks(model: GPT) -> None:
    """Raises PellucidError for a model with another number of blocks than its config states."""
    if len(model.h) != model.config.n_layers:
        raise PellucidError(
            f"h holds {len(model.h)} blocks, but the config states n_layers {model.config.n_layers}: a record has "
            "one for each; move the weights into a GPT of the config that they have"
        )


def hidden_from_tap(model: GPT, block: int, group: str) -> PellucidError:
    """The error of a module that does not show the tap what is to be kept (`ActivationTap.missing`)."""
    inside = group == "attention" and isinstance(model.h[block], Block)
    module, name = (model.h[block].attn, f"h.{block}.attn") if inside else (model.h[block], f"h.{block}")
    return PellucidError(
        f"{name} is a {type(module).__name__} that hands nothing to the tap (`gpt.tap`), so {group!r} "
        "cannot be recorded: leave it out of keep, or let its forward pass `tap` on to the module that it replaced"
    )


class _LogitsRunner:
    """A runner that keeps the logits of the last step, and the bytes allocated for its sequence."""

    def __init__(self, model: GPT, tap: ActivationTap) -> None:
        self._runner = runner = torch_runner(model, tap)
        self._model = model
        self.config, self.mode, self.cached, self.path = runner.config, runner.mode, runner.cached, runner.path
        self.sequence_bytes, self.close, self.copy = runner.sequence_bytes, runner.close, runner.copy
        self.logits = np.empty(0, np.float32)
        self.cache_bytes = 0

    def open(self, capacity: int) -> int:
        """See `Runner.open`."""
        if self.cached:
            self.cache_bytes = max(self.cache_bytes, self._runner.sequence_bytes(capacity))
        return self._runner.open(capacity)

    def ablate(self, sequence: int, what: Replacements) -> None:
        """See `AblatingRunner`."""
        assert isinstance(self._runner, AblatingRunner)
        self._runner.ablate(sequence, what)

    def mean_outputs(self, ids: abc.Sequence[int]) -> MeanOutputs:
        """See `AblatingRunner`: by a runner without the tap, which would see this pass, too."""
        return mean_outputs(self._model, ids)

    def run(self, spans: abc.Sequence[TokenSpan]) -> list[NDArray[np.float32] | None]:
        """See `Runner.run`."""
        found = self._runner.run(spans)
        (logits,) = found
        assert logits is not None
        self.logits = logits
        return found


class _ChunkWriter:
    """Adds generation chunks with the schema's descriptions, and collects the token ids that need pieces."""

    def __init__(self, writer: RecordWriter, on_chunk: Callable[[str], None] | None) -> None:
        self.writer = writer
        self.on_chunk = on_chunk
        self.tokens: set[int] = set()

    def add(self, name: str, value: Any, source: Mapping[str, Any] | None = None, **parts: int) -> None:
        if self.on_chunk is not None:
            self.on_chunk(f"generation/{name}".format(**parts))
        description = describe("generation", f"generation/{name}")
        self.writer.add(f"generation/{name}".format(**parts), value, source=source, **description)

    def add_ids(self, name: str, ids: Any, source: Mapping[str, Any] | None = None) -> None:
        """Adds token ids, whose pieces the record will hold too."""
        array = np.asarray(ids, np.int32)
        self.tokens.update(array.ravel().tolist())
        self.add(name, array, source)

    def add_pieces(self, tokenizer: Tokenizer) -> None:
        for name, value in zip(PIECES, piece_table(tokenizer, self.tokens), strict=True):
            self.writer.add(name, value, **describe("generation", name))


def piece_table(tokenizer: Tokenizer, tokens: Iterable[int]) -> tuple[Any, Any, Any]:
    """The chunks `pieces/ids` (ascending), `pieces/starts` (where each id's bytes begin) and `pieces/bytes`."""
    ids = sorted(tokens)
    found = [tokenizer.token_bytes(token) for token in ids]
    starts = np.cumsum([0, *map(len, found)]).astype(np.int32)
    return np.array(ids, np.int32), starts, np.frombuffer(b"".join(found), np.uint8)


def _write(
    chunks: _ChunkWriter, model: GPT, sequence: Sequence, keep: Collection[str], generation: CapturedGeneration, *, exact: bool
) -> None:
    config, tap, steps = model.config, generation.tap, generation.steps
    drawn = [token.id for token in sequence.tokens]
    ids = [*sequence.prompt, *drawn]
    chunks.add_ids("prompt_ids", sequence.prompt)
    chunks.add_ids("steps/drawn_ids", drawn)
    chunks.add("steps/drawn_logprobs", np.array([token.logprob for token in sequence.tokens], np.float32))
    chunks.add_ids("steps/topk_ids", [one.topk_ids for one in steps])
    chunks.add("steps/topk_logprobs", np.array([one.topk_logprobs for one in steps], np.float32))
    chunks.add("steps/topk_shares", np.array([one.topk_shares for one in steps], np.float32))
    chunks.add("steps/kept", np.array([one.kept for one in steps], np.int32))
    chunks.add("steps/draw", np.array([one.draw for one in steps], np.float64))
    chunks.add("steps/drawn_span", np.array([one.drawn_span for one in steps], np.float64))
    if "block_inputs" in keep:
        for level in range(config.n_layers + 1):
            numbers = _array(tap.block_input(level))
            source = block_input_source(config, level)
            chunks.add("block_inputs/{level}", numbers if exact else as_bfloat16(numbers), source, level=level)
    if "lens" in keep:
        count = min(LENS_CANDIDATES, config.vocab_size)
        following = torch.tensor(ids[1:], device=tap.block_input(0).device)
        found = [lens(model, tap.block_input(level), count, following) for level in range(config.n_layers + 1)]
        source = lens_source(model)
        chunks.add_ids("lens/ids", np.stack([_array(level.ids) for level in found]), source)
        chunks.add("lens/logprobs", np.stack([_array(level.logprobs) for level in found]), source)
        chunks.add("lens/next_ranks", np.stack([_array(level.next_ranks) for level in found]).astype(np.int32), source)
        chunks.add("lens/next_logprobs", np.stack([_array(level.next_logprobs) for level in found]), source)
    if "block_inputs" in keep:
        _write_vectors(chunks, model, tap.block_input(config.n_layers), sequence.prompt, steps[0])
    if "writes" in keep:
        norms = [[part.float().norm(dim=-1) for part in tap.written(block)] for block in range(config.n_layers)]
        for place, name in enumerate(WRITES):
            chunks.add(f"writes/{name}", np.stack([_array(pair[place]) for pair in norms]))
    if "attention" in keep:
        for block, pattern in enumerate(config.pattern):
            weights = attention_weights(*tap.queries_and_keys(block), pattern, model.compressor(block))
            triangles = as_triangle(_array(weights), "float32" if exact else "float16")
            chunks.add("attention/{block}", triangles, attention_source(config, block), block=block)
    cells = cache_cells(config.pattern, len(sequence.prompt), len(steps), cached=generation.cached)
    chunks.add("cells", cells.numpy())
    chunks.add("timings/steps", np.array(generation.times))
    if block_times := tap.block_times():
        chunks.add("timings/blocks", np.array(block_times))
    chunks.add("cache_bytes", np.array([generation.cache_bytes]))
    if model.tokenizer is not None:
        chunks.add_pieces(model.tokenizer)


def _write_vectors(chunks: _ChunkWriter, model: GPT, last: Tensor, prompt: list[int], step: StepDistribution) -> None:
    """Adds the vectors of the followed position, the last of the prompt.

    Args:
        last: (T, C) output of the last block. step: the first.
    """
    followed, rows = len(prompt) - 1, step.topk_ids[:LENS_CANDIDATES]
    token, position = embedding_vectors(model, prompt[-1], followed)
    chunks.add("embedding/token", _array(token), embedding_source(model, prompt[-1]))
    chunks.add("embedding/position", _array(position), {"tensor": "wpe.weight", "row": followed})
    nearest, cosines = nearest_tokens(model, prompt[-1])
    chunks.add_ids("embedding/nearest_ids", _array(nearest), {"tensor": "wte.weight"})
    chunks.add("embedding/nearest_cosines", _array(cosines), {"tensor": "wte.weight"})
    chunks.add("output/vector", _array(read_out(model, last[: followed + 1])[-1]), output_source(model))
    chunks.add("output/rows", _array(model.wte.weight[rows]), {"tensor": "wte.weight", "rows": rows})


def _array(tensor: Tensor) -> Any:
    """A record's array: any float as float32, integers as they are."""
    return (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy()


def _provenance(model: GPT, sequence: Sequence) -> Provenance:
    options = sequence.options
    return replace(
        model_provenance(model), seed=options.seed, prompt_ids=tuple(sequence.prompt),
        sampling=options.recorded() | {"sample": SAMPLE_INDEX},
        ablation=None if sequence.ablation is None else sequence.ablation.to_dict(),
    )  # fmt: skip


def model_provenance(model: GPT) -> Provenance:
    """What a record states of the model that it was made with, and of the machine."""
    machine = describe_machine() | {"threads": torch.get_num_threads(), "device": str(model.wte.weight.device)}
    if (change := find_change(model)) is not None:
        machine["model_change"] = change.reason
    return Provenance(
        pellucid=__version__,
        model=fingerprint(model),
        config=model.config.to_dict(),
        parameters=model.config.parameters(),
        dtype=str(model.wte.weight.dtype).removeprefix("torch."),
        tokenizer=model.tokenizer.fingerprint if model.tokenizer else None,
        machine=machine,
    )
