"""The backends of `bench generate` and `bench prefill`, each in a worker: ours, `transformers` and llama.cpp.

The request `{"prompts": [[ids], ...], "tokens": n}` generates n tokens after each prompt, greedily and ignoring end of text;
`_answer` describes the answer. `{"logits": file, "prompts": [[ids]]}` writes the logits (N, V) of all positions of one prompt
to a file instead, as raw float32.

V vocabulary.
"""

import os
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pellucid.bench.attention import peak_bytes
from pellucid.bench.worker import Work


if TYPE_CHECKING:
    from pellucid.gpt.config import GPTConfig

# llama.cpp's tensor types by our weights: the same number of bits, or the nearest that it has.
GGUF = {"float32": "F32", "bf16": "F16", "int8": "Q8_0"}
KERNEL = {"float32": "float32", "bf16": "bfloat16", "int8": "int8"}  # the kernel's names for them
CORES = os.cpu_count() or 1
PRESET = "gpt2"
VOCABULARY = 50257  # of the prompts' ids
AT_ONCE = 2048  # tokens in a llama.cpp batch at most; it splits them by 512, its default


def write_models(folder: Path, config: "GPTConfig | None" = None) -> dict[str, str]:
    """Writes the same random model for every backend; returns file names by reader. None: `PRESET`, with its tokenizer."""
    from pellucid.formats import gguf
    from pellucid.generation.model import GPT
    from pellucid.gpt.config import GPTConfig
    from pellucid.text.r50k import r50k

    shape = config or GPTConfig.preset(PRESET)
    model = GPT(shape, tokenizer=None if config else r50k(), seed=1).eval()
    model.save(folder / "model")
    files = {"model": str(folder / "model")}
    if find_spec("llama_cpp") is not None:
        for kind in GGUF.values():
            gguf.write(model, model.tokenizer, folder / f"{kind}.gguf", kind=kind)
            files[kind] = str(folder / f"{kind}.gguf")
    return files


def prompt(length: int, number: int = 0) -> list[int]:
    """Token ids without a pattern; the same for the same number, and different from the first on for another."""
    return [(i * i * 7919 + 12345 * i + 104729 * number) % VOCABULARY for i in range(length)]


def _answer(began: float, times: Sequence[float], ended: float, ids: Sequence[Sequence[int]]) -> dict[str, Any]:
    """A worker's answer.

    Attributes:
        first: seconds until the first token (prefill). writing: seconds from then to the last token. whole: seconds in all.
        each: seconds between one token and the next (between steps, with many streams).
        ids: generated after each prompt. peak: peak memory of the process in bytes.
    """
    each = [b - a for a, b in pairwise(times)]
    return {
        "first": times[0] - began, "writing": times[-1] - times[0], "whole": ended - began, "each": each,
        "ids": [list(some) for some in ids], "peak": peak_bytes(),
    }  # fmt: skip


def ours(directory: str, kernel: str, weights: str | None) -> tuple[Work, dict[str, Any]]:
    """Sets our side up: requests are submitted to an engine together, which reads equal prompts once."""
    from pellucid.engine.engine import Engine
    from pellucid.engine.options import SamplingOptions
    from pellucid.engine.request import Request
    from pellucid.generation.text_generator import open_text_generator
    from pellucid.runtime.runner import TokenSpan

    # As in `pellucid generate`. No token ends an answer, as with the peers; no prefix is reused between requests.
    runner = open_text_generator(directory, kernel=kernel, weights=weights).runner  # type: ignore[arg-type]
    engine = Engine(runner, tokenizer=None, end_of_text=-1, prefix_cache=False)

    def logits(file: str, ids: list[int]) -> None:
        sequence = runner.open(len(ids))
        (found,) = runner.run([TokenSpan(sequence, 0, ids, "all")])
        runner.close(sequence)
        assert found is not None
        found.tofile(file)

    def work(request: dict[str, Any]) -> dict[str, Any]:
        if "logits" in request:
            logits(request["logits"], request["prompts"][0])
            return {}
        options = SamplingOptions(max_tokens=request["tokens"], temperature=0, seed=0)
        began, times = perf_counter(), []
        groups = [engine.submit(Request(prompt=ids, options=options)) for ids in request["prompts"]]
        while not engine.idle:
            if engine.step():
                times.append(perf_counter())
        return _answer(began, times, perf_counter(), [[token.id for token in group.sequences[0].tokens] for group in groups])

    return work, {"path": f"Pellucid, {runner.path}, {runner.mode}"}


def transformers(directory: str, dtype: str) -> tuple[Work, dict[str, Any]]:
    """Sets `transformers` up: its `generate` with defaults. Prompts must have one length."""
    import torch
    import transformers as peer

    model: Any = peer.GPT2LMHeadModel.from_pretrained(directory, attn_implementation="sdpa", dtype=getattr(torch, dtype))
    model.requires_grad_(False).train(False)

    class Clock(peer.StoppingCriteria):
        """Notes the time after each token, and never stops."""

        def __init__(self) -> None:
            self.times: list[float] = []

        def __call__(self, input_ids: torch.Tensor, scores: Any, **others: Any) -> torch.Tensor:
            self.times.append(perf_counter())
            return torch.zeros(len(input_ids), dtype=torch.bool)

    def work(request: dict[str, Any]) -> dict[str, Any]:
        ids, clock = torch.tensor(request["prompts"]), Clock()
        began = perf_counter()
        with torch.inference_mode():
            write_models = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=request["tokens"], do_sample=False,
                eos_token_id=None, pad_token_id=0, stopping_criteria=peer.StoppingCriteriaList([clock]),
            )  # fmt: skip
        return _answer(began, clock.times, perf_counter(), write_models[:, ids.shape[1] :].tolist())

    return work, {"path": f"transformers {peer.__version__} {dtype}"}


def llama_cpp(file: str, flash: bool, positions: int = 1024, streams: int = 1) -> tuple[Work, dict[str, Any]]:
    """Sets llama.cpp up through its C API: a thread per core, the file mapped. Equal prompts are read once.

    Args:
        flash: with its flash attention. positions: of each of `streams` sequences.
    """
    llama = _Llama(file, flash, positions, streams)

    def work(request: dict[str, Any]) -> dict[str, Any]:
        if "logits" in request:
            llama.logits(request["prompts"][0]).tofile(request["logits"])
            return {}
        began, times = perf_counter(), []
        ids: list[list[int]] = [[] for _ in request["prompts"]]
        now = llama.read(request["prompts"])
        for step in range(request["tokens"]):
            if step:
                now = llama.step(now, [len(p) + step - 1 for p in request["prompts"]])
            times.append(perf_counter())
            for own, token in zip(ids, now, strict=True):
                own.append(token)
        return _answer(began, times, perf_counter(), ids)

    words = f"llama.cpp (llama-cpp-python {llama.peer.__version__}) {Path(file).stem}"
    return work, {"path": f"{words}{', flash attention' * flash}"}


class _Llama:
    """A llama.cpp context with one reused batch."""

    def __init__(self, file: str, flash: bool, positions: int, streams: int) -> None:
        self.peer = peer = import_module("llama_cpp")
        peer.llama_backend_init()
        self._model: Any = peer.llama_model_load_from_file(file.encode(), peer.llama_model_default_params())
        wanted = peer.llama_context_default_params()
        wanted.n_ctx, wanted.n_seq_max, wanted.n_batch = positions * streams, streams, AT_ONCE
        wanted.n_threads = wanted.n_threads_batch = CORES
        wanted.flash_attn_type, wanted.no_perf = int(flash), True
        self._context: Any = peer.llama_init_from_model(self._model, wanted)
        if not self._model or not self._context:
            raise RuntimeError(f"llama.cpp does not take {Path(file).name}")
        self._memory: Any = peer.llama_get_memory(self._context)
        self._vocabulary = int(peer.llama_vocab_n_tokens(peer.llama_model_get_vocab(self._model)))
        self._batch: Any = peer.llama_batch_init(AT_ONCE, 0, 1)
        self._fields = [np.ctypeslib.as_array(getattr(self._batch, name), (AT_ONCE,)) for name in ("token", "pos", "logits")]
        np.ctypeslib.as_array(self._batch.n_seq_id, (AT_ONCE,))[:] = 1
        self._sequences = [self._batch.seq_id[place] for place in range(AT_ONCE)]

    def read(self, prompts: list[list[int]]) -> list[int]:
        """Prefills all prompts; returns the likeliest next token of each."""
        self.peer.llama_memory_clear(self._memory, True)
        equal = len(prompts) > 1 and all(p == prompts[0] for p in prompts)
        found: list[int] = []
        for sequence, ids in enumerate(prompts[:1] if equal else prompts):
            for first in range(0, len(ids), AT_ONCE):
                some = ids[first : first + AT_ONCE]
                self._decode(some, range(first, first + len(some)), [sequence] * len(some), [len(some) - 1])
            found.append(self._likeliest(len(some) - 1))
        if equal:
            for sequence in range(1, len(prompts)):
                self.peer.llama_memory_seq_cp(self._memory, 0, sequence, 0, -1)
            found *= len(prompts)
        return found

    def step(self, ids: list[int], places: list[int]) -> list[int]:
        """Decodes one token of every sequence; returns the likeliest next tokens."""
        self._decode(ids, places, range(len(ids)), range(len(ids)))
        return [self._likeliest(row) for row in range(len(ids))]

    def logits(self, ids: list[int]) -> NDArray[np.float32]:
        """(N, V) logits of all positions of a prompt."""
        self.peer.llama_memory_clear(self._memory, True)
        self._decode(ids, range(len(ids)), [0] * len(ids), range(len(ids)))
        return np.stack([self._row(row).copy() for row in range(len(ids))])

    def _decode(self, ids: Sequence[int], places: Sequence[int], sequences: Sequence[int], wanted: Sequence[int]) -> None:
        token, place, logits = self._fields
        token[: len(ids)], place[: len(ids)], logits[: len(ids)] = ids, places, 0
        logits[list(wanted)] = 1
        for cell, sequence in zip(self._sequences, sequences, strict=False):
            cell[0] = sequence
        self._batch.n_tokens = len(ids)
        if failed := self.peer.llama_decode(self._context, self._batch):
            raise RuntimeError(f"llama_decode gave {failed}")

    def _likeliest(self, row: int) -> int:
        return int(np.argmax(self._row(row)))

    def _row(self, row: int) -> NDArray[np.float32]:
        logits: Any = self.peer.llama_get_logits_ith(self._context, row)
        found: NDArray[np.float32] = np.ctypeslib.as_array(logits, (self._vocabulary,))
        return found
