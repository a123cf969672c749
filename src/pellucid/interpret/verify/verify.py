"""Is a record true? Its numbers are computed again and compared.

How, and within which tolerances, says the module of each kind: `generation_again`, `training_again`, `finetuning_again`.
"""

from pathlib import Path

import torch

from pellucid.errors import PellucidError
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.interpret.verify.finetuning import finetuning_rows
from pellucid.interpret.verify.generation import GenerationAgain, same_model, same_words
from pellucid.interpret.verify.report import Report, Row
from pellucid.interpret.verify.training import TrainingAgain
from pellucid.record import Record, check
from pellucid.runtime.inference_mode import inference_mode


def verify(record: Record, model: GPT | str | Path | None = None) -> Report:
    """Computes a record's numbers again and compares them.

    Args:
        model: of a generation: the one that was recorded, in any dtype from which the recorded one can be made, or where
            `load` finds it. Of a run: its directory, which has to hold what it was made of; by default the record's own.

    Returns:
        What was found for each chunk; `ok` says whether all that could be computed again is within its tolerance, and
        `complete` whether that was everything.

    Raises:
        PellucidError: the record is damaged, lacks what replaying takes, or names another model, tokenizer, prompt, seed or
            run; or what it takes is not there.
    """
    check(record, partial=True)
    if record.kind == "generation":
        rows = _generation(record, model)
    elif record.kind == "training":
        rows = TrainingAgain(record, _run_of(record, model)).rows()
    else:
        rows = finetuning_rows(record, _run_of(record, model))
    where = str(record.path) if record.path is not None else "in memory"
    return Report(record=where, model=record.provenance.model, dtype=record.provenance.dtype, rows=rows)


def _generation(record: Record, model: GPT | str | Path | None) -> tuple[Row, ...]:
    if model is None:
        raise PellucidError("a generation is verified with its model: name it (-m)")
    loaded = model if isinstance(model, GPT) else load(model)
    exact = same_model(record, loaded)
    ids, options = same_words(record, loaded)
    with inference_mode(exact), torch.inference_mode():
        again = GenerationAgain(record, exact, ids, options)
        return tuple(again.row(name) for name in record)


def _run_of(record: Record, model: GPT | str | Path | None) -> Path:
    """The run directory: the named one, or that which the record lies in."""
    if isinstance(model, GPT):
        raise PellucidError(f"a {record.kind} record is verified with its run's directory, not with a model alone: name it")
    if model is None and record.path is None:
        raise PellucidError(f"this {record.kind} record lies in no run's directory: name that (-m RUN)")
    return Path(model) if model is not None else Path(str(record.path)).parent
