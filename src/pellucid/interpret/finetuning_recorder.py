"""The record of a fine-tuning run: the models before and after, compared by weight matrix and by answer.

Q weight matrices, N steps, E evaluations, Z windows of G targets. A finished run holds both models, so no watcher is needed
while it trains.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pellucid.errors import PellucidError
from pellucid.finetuning.answers import answered
from pellucid.finetuning.example_files import read_examples
from pellucid.finetuning.examples import Example
from pellucid.finetuning.general import GeneralText, read_general
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.gpt.fingerprint import fingerprint
from pellucid.interpret.capture import PIECES, piece_table
from pellucid.interpret.training_chunks import thumbnail_source
from pellucid.interpret.training_stats import losses, norms, thumbnail, weights_of
from pellucid.record import Provenance, RecordWriter, as_uint8, describe, open_record
from pellucid.runs.files import BASE, HELD_OUT_EXAMPLES, MODEL, RECORDS
from pellucid.runs.metrics import read_metrics
from pellucid.runs.plan import Plan
from pellucid.runtime.inference_mode import inference_mode
from pellucid.text import Tokenizer
from pellucid.training import checkpoint
from pellucid.version import __version__


Array = Any
RECORD = RECORDS["finetune"]
MAX_EXAMPLES = 24  # answered for the record


def record_finetuning(run: Path, plan: Plan) -> None:
    """Writes `RUN/finetuning.pellucid` of a finished run, unless it is there already.

    Raises:
        PellucidError: a file of the run is missing or damaged, or the record cannot be written.
    """
    base, tuned = load(run / BASE), load(run / MODEL)
    named = fingerprint(tuned)
    path = run / RECORD
    if not _is_written(path, named):
        with RecordWriter(path, "finetuning", finetuning_provenance(run, plan, tuned, named)) as writer:
            _write(writer, run, plan, base, tuned)


def _is_written(path: Path, model: str) -> bool:
    try:
        with open_record(path) as record:
            return record.kind == "finetuning" and record.provenance.model == model
    except PellucidError:
        return False


def finetuning_provenance(run: Path, plan: Plan, tuned: GPT, named: str) -> Provenance:
    """The provenance of a finished run's record.

    Args:
        named: the fingerprint of `tuned`.
    """
    kept = checkpoint.best(run) if plan.keep_best else None
    return Provenance(
        pellucid=__version__,
        model=named,
        config=plan.config.to_dict(),
        parameters=plan.config.parameters(),
        dtype=plan.dtype,
        tokenizer=tuned.require_tokenizer().fingerprint,
        step=kept.step if kept is not None else plan.total_steps,
        seed=plan.seed,
        machine=plan.machine | {"threads": plan.threads},
    )


def _write(writer: RecordWriter, run: Path, plan: Plan, base: GPT, tuned: GPT) -> None:
    def add(name: str, value: Any, source: dict[str, str] | None = None, **parts: str) -> None:
        description = describe("finetuning", f"finetuning/{name}")
        writer.add(f"finetuning/{name}".format(**parts), value, source=source, **description)

    names = [name for name, _ in plan.config.matrices()]
    found = answers(base, tuned, held_out_examples(run)[:MAX_EXAMPLES])
    add("plan", plan.to_dict() | {"seed": str(plan.seed)})
    add("answers", found)
    add("matrices", names)
    add("change", change_norms(base, tuned))
    add("weights", norms(weights_of(base)).numpy())
    for name, change in zip(names, change_maps(base, tuned), strict=True):
        add("thumbnails/{matrix}", as_uint8(change), thumbnail_source(name), matrix=name)
    lines = read_metrics(run, until=plan.total_steps)
    add("steps/loss", np.array([line["loss"] for line in lines if "loss" in line], np.float64))
    held_out = [line for line in lines if "held_out_loss" in line]
    add("held_out/steps", np.array([line["step"] for line in held_out], np.int64))
    add("held_out/loss", np.array([line["held_out_loss"] for line in held_out], np.float64))
    if held_out and all("right" in line for line in held_out):
        add("held_out/right", np.array([line["right"] for line in held_out], np.int64))
        add("held_out/examples", np.int64(held_out[-1]["examples"]))
    general = read_general(run, plan.config.vocab_size)
    if general is not None:
        add("general/ids", general.ids, general_source(general))
        add("general/loss", general_losses(base, tuned, general, plan))
    for name, value in zip(PIECES, piece_tables(tuned.require_tokenizer(), found, general), strict=True):
        writer.add(name, value, **describe("finetuning", name))


def general_source(general: GeneralText) -> dict[str, str]:
    """The `source` of the general text's ids."""
    return {"text": general.origin}


def general_losses(base: GPT, tuned: GPT, general: GeneralText, plan: Plan) -> Array:
    """(2, Z, G) float32: each model's loss on every target of the general text, in the run's own arithmetic."""
    found = []
    for model in (base, tuned):
        with inference_mode(model):
            found.append(losses(model, general.ids, getattr(torch, plan.dtype)))
    return np.stack(found)


def held_out_examples(run: Path) -> list[Example]:
    """The examples that were not trained on; none if the run trained on plain text."""
    held_out = run / HELD_OUT_EXAMPLES
    return read_examples(held_out, of_a_run=True) if held_out.is_file() else []


def change_norms(base: GPT, tuned: GPT) -> Array:
    """(Q,) L2 norm of the change of each matrix."""
    return norms(after - before for before, after in zip(weights_of(base), weights_of(tuned), strict=True)).numpy()


def change_maps(base: GPT, tuned: GPT) -> list[Array]:
    """For each matrix the mean |change| by tile, as `training_stats.thumbnail` divides it."""
    names = [name for name, _ in base.config.matrices()]
    pairs = zip(names, weights_of(base), weights_of(tuned), strict=True)
    return [thumbnail(name, (after - before).abs()) for name, before, after in pairs]


def answers(base: GPT, tuned: GPT, examples: Sequence[Example]) -> list[dict[str, str]]:
    """Each model's greedy answer to each prompt, as the record holds it."""
    return [one.to_dict() for one in answered(base, tuned, examples)]


def piece_tables(
    tokenizer: Tokenizer, found: Sequence[dict[str, str]], general: GeneralText | None
) -> tuple[Array, Array, Array]:
    """The chunks `pieces/` for every token of prompts, answers and general text."""
    texts = [(text, name != "prompt") for one in found for name, text in one.items()]
    tokens = {token for text, answer in texts for token in tokenizer.encode(text, continued=answer)}
    return piece_table(tokenizer, tokens.union(general.ids.ravel().tolist() if general is not None else ()))
