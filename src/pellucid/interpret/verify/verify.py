"""`verify(record, model)`: recomputes a record's numbers and compares them.

The formulas and tolerances are in the module of each kind: `generation`, `training`, `finetuning`.
"""

from pathlib import Path

import torch

from pellucid.arguments import instance, path_of
from pellucid.errors import PellucidError
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.interpret.verify.finetuning import verify_finetuning
from pellucid.interpret.verify.generation import GenerationVerifier
from pellucid.interpret.verify.identity import recorded_model, tokens_and_options
from pellucid.interpret.verify.report import ChunkResult, Report
from pellucid.interpret.verify.training import TrainingVerifier
from pellucid.record import Record, check
from pellucid.runtime.inference_mode import inference_mode


def verify(record: Record, model: GPT | str | Path | None = None) -> Report:
    """Recomputes a record's numbers and compares them.

    Args:
        model: of a generation, the recorded model (in any dtype that converts to the recorded one) or anything that `load`
            takes. Of a run, its directory; default: the directory that the record's file is in.

    Returns:
        One result a chunk; `ok` says whether everything that could be recomputed is within its tolerance, `complete` whether
        that was everything.

    Raises:
        PellucidError: the record is damaged, lacks what recomputing needs, or names another model, tokenizer, prompt, seed or
            run; or a file of the run is missing.
    """
    instance("record", record, Record, "an open record (pellucid.open(path))")
    if model is not None and not isinstance(model, GPT):
        path_of("model", model)
    check(record, partial=True)
    if record.kind == "generation":
        chunks = _generation(record, model)
    elif record.kind == "training":
        chunks = TrainingVerifier(record, _run_directory(record, model)).results()
    else:
        chunks = verify_finetuning(record, _run_directory(record, model))
    where = str(record.path) if record.path is not None else "in memory"
    return Report(record=where, model=record.provenance.model, dtype=record.provenance.dtype, chunks=chunks)


def _generation(record: Record, model: GPT | str | Path | None) -> tuple[ChunkResult, ...]:
    if model is None:
        raise PellucidError("a generation record is verified with its model: name it (-m)")
    loaded = model if isinstance(model, GPT) else load(model)
    exact = recorded_model(record, loaded)
    ids, options = tokens_and_options(record, loaded)
    with inference_mode(exact), torch.inference_mode():
        verifier = GenerationVerifier(record, exact, ids, options)
        return tuple(verifier.result(name) for name in record)


def _run_directory(record: Record, model: GPT | str | Path | None) -> Path:
    """The run directory that is named, or the one that the record's file is in."""
    if isinstance(model, GPT):
        raise PellucidError(f"a {record.kind} record is verified with its run's directory, not with a model alone: name it")
    if model is None and record.path is None:
        raise PellucidError(f"this {record.kind} record lies in no run's directory: name that (-m RUN)")
    return Path(model) if model is not None else Path(str(record.path)).parent
