"""`verify(record, model)`: recomputes a record's numbers and compares them.

The formulas and tolerances are in the module of each kind: `generation`, `priming`, `training`, `finetuning`.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pellucid.arguments import instance, path_of
from pellucid.errors import PellucidError
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.gpt.torch_defaults import torch_defaults
from pellucid.interpret.verify.ablation import recorded_ablation
from pellucid.interpret.verify.finetuning import FinetuningVerifier
from pellucid.interpret.verify.generation import GenerationVerifier
from pellucid.interpret.verify.identity import NOISE, recorded_model, tokens_and_options
from pellucid.interpret.verify.priming import PrimingVerifier
from pellucid.interpret.verify.report import ChunkResult, Report, WordResult
from pellucid.interpret.verify.sampling_words import sampling_words
from pellucid.interpret.verify.training import TrainingVerifier
from pellucid.interpret.verify.words import change_words, chunk_words, header_words, provenance_words
from pellucid.record import Record, check, open_record
from pellucid.runtime.inference_mode import inference_mode


@torch_defaults()
def verify(
    record: Record | str | Path, model: GPT | str | Path | None = None, *,
    on_progress: Callable[[str], None] = lambda line: None,
) -> Report:  # fmt: skip
    """Recomputes a record's numbers and compares them.

    Args:
        record: open, or a record's file.
        model: of a generation or a priming, the recorded model (in any dtype that converts to the recorded one) or anything
            that `load` takes. Of a run, its directory; default: the directory that the record's file is in.
        on_progress: called with a line before each part that may take long: of a training record, each of its weights.

    Returns:
        One result a chunk and one a word of the header; `ok` says whether everything that could be recomputed is within its
        tolerance and no word differs from its source, `complete` whether every chunk could be recomputed, `unverified` which
        words have nothing to be compared with.

    Raises:
        PellucidError: the record is damaged, lacks what recomputing needs, or names another model, tokenizer, prompt, seed or
            run; or a file of the run is missing.
    """
    if isinstance(record, str | Path):
        with open_record(path_of("record", record)) as opened:
            return verify(opened, model, on_progress=on_progress)
    instance("record", record, Record, "an open record (pellucid.open(path)), or its path")
    if model is not None and not isinstance(model, GPT):
        path_of("model", model)
    check(record, partial=True)
    if record.kind == "generation":
        chunks, words = _generation(record, model)
    elif record.kind == "priming":
        chunks, words = _priming(record, model)
    elif record.kind == "training":
        verifier = TrainingVerifier(record, _run_directory(record, model), on_progress)
        chunks, words = verifier.results(), verifier.words()
    else:
        of_both = FinetuningVerifier(record, _run_directory(record, model))
        chunks, words = of_both.results(), of_both.words()
    for one in chunks:
        if one.difference is None:
            _ = record[one.chunk]  # what was not compared must at least be readable, with the digest in the chunk table
    where = str(record.path) if record.path is not None else "in memory"
    words = (*header_words(record), *words)
    return Report(record=where, model=record.provenance.model, dtype=record.provenance.dtype, chunks=chunks, words=words)


def _generation(record: Record, model: GPT | str | Path | None) -> tuple[tuple[ChunkResult, ...], tuple[WordResult, ...]]:
    loaded, recorded, upcast = _models(record, model)
    ids, options = tokens_and_options(record, loaded)
    ablation = recorded_ablation(record, loaded)
    sources = _sources(record, loaded, recorded) | {"prompt_ids": record.provenance.prompt_ids}  # was compared
    with _inference(recorded, upcast):
        verifier = GenerationVerifier(record, recorded, upcast, ids, options, ablation)
        words = (
            *provenance_words(record, sources, loaded.config),
            *sampling_words(record, loaded, verifier.steps),
            *verifier.ablation_words(),
            *chunk_words(record, verifier.sources()),
            *verifier.scale_words(),
            *change_words(record, recorded),
        )
        return tuple(verifier.result(name) for name in record), words


def _priming(record: Record, model: GPT | str | Path | None) -> tuple[tuple[ChunkResult, ...], tuple[WordResult, ...]]:
    loaded, recorded, upcast = _models(record, model)
    with _inference(recorded, upcast):
        verifier = PrimingVerifier(record, recorded, upcast, loaded.tokenizer)
        words = (
            *provenance_words(record, _sources(record, loaded, recorded), loaded.config),
            *chunk_words(record, verifier.sources()),
            *change_words(record, recorded),
        )
        return tuple(verifier.result(name) for name in record), words


def _models(record: Record, model: GPT | str | Path | None) -> tuple[GPT, GPT, GPT | None]:
    """The model that was given, the recorded one, and that in float32 where it computed in fewer bits."""
    if model is None:
        raise PellucidError(f"a {record.kind} record is verified with its model: name it, as in record.verify(model)")
    loaded = model if isinstance(model, GPT) else load(model)
    recorded = recorded_model(record, loaded)
    return loaded, recorded, None if NOISE[record.provenance.dtype] else recorded.copy().float()


def _sources(record: Record, loaded: GPT, recorded: GPT) -> dict[str, Any]:
    """What the provenance must state of the model; the first three were compared by `recorded_model`."""
    named = record.provenance
    sources: dict[str, Any] = {name: getattr(named, name) for name in ("model", "config", "parameters")}
    if recorded is loaded:  # else it was converted to the dtype that the record states, which nothing confirms
        sources["dtype"] = named.dtype
    if loaded.tokenizer is not None:
        sources["tokenizer"] = loaded.tokenizer.fingerprint
    return sources


@contextmanager
def _inference(*models: GPT | None) -> Iterator[None]:
    """Inference mode of several models; each is left in the reverse order."""
    with ExitStack() as modes:
        for each in models:
            if each is not None:
                modes.enter_context(inference_mode(each))
        yield


def _run_directory(record: Record, model: GPT | str | Path | None) -> Path:
    """The run directory that is named, or the one that the record's file is in."""
    if isinstance(model, GPT):
        raise PellucidError(f"a {record.kind} record is verified with its run's directory, not with a model alone: name it")
    if model is None and record.path is None:
        raise PellucidError(f"this {record.kind} record lies in no run's directory: give that (on the command line -m RUN)")
    return Path(model) if model is not None else Path(str(record.path)).parent
