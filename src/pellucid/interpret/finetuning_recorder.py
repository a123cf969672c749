"""Recording a fine-tuning run: the model before beside the model after, matrix by matrix and answer by answer.

Q weight matrices, N steps. Nothing is watched: a finished run holds both models, and the record is made of the two.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.errors import PellucidError
from pellucid.finetuning.examples import Example, read_examples
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.gpt.fingerprint import fingerprint
from pellucid.interpret.capture import pieces
from pellucid.interpret.training_stats import norms, thumbnail, weights_of
from pellucid.record import Provenance, RecordWriter, as_uint8, describe, open_record
from pellucid.runs.files import BASE, HELD_OUT_EXAMPLES, MODEL, RECORDS
from pellucid.runs.metrics import read_metrics
from pellucid.runs.plan import Plan
from pellucid.text import Tokenizer
from pellucid.training import checkpoint
from pellucid.version import __version__


Array = Any
RECORD = RECORDS["finetune"]
ASKED = 24  # examples, at most
ROOM = 3  # tokens that an answer may have more than the expected one


def record_finetuning(run: Path, plan: Plan) -> None:
    """Writes `RUN/finetuning.pellucid` of a finished run, unless it is there already.

    Raises:
        PellucidError: a file of the run is missing or damaged, or the record cannot be written.
    """
    base, tuned = load(run / BASE), load(run / MODEL)
    named = fingerprint(tuned)
    path = run / RECORD
    if not _written(path, named):
        with RecordWriter(path, "finetuning", _provenance(run, plan, tuned, named)) as writer:
            _write(writer, run, plan, base, tuned)


def _written(path: Path, model: str) -> bool:
    try:
        with open_record(path) as record:
            return record.kind == "finetuning" and record.provenance.model == model
    except PellucidError:
        return False


def _provenance(run: Path, plan: Plan, tuned: GPT, named: str) -> Provenance:
    kept = checkpoint.best(run) if plan.keep_best else None
    return Provenance(
        pellucid=__version__,
        model=named,
        config=plan.config.to_dict(),
        parameters=plan.config.parameters(),
        dtype=plan.dtype,
        tokenizer=tuned.require_tokenizer().fingerprint,
        step=kept[0] if kept is not None else plan.total_steps,
        seed=plan.seed,
        machine=plan.machine | {"threads": plan.threads},
    )


def _write(writer: RecordWriter, run: Path, plan: Plan, base: GPT, tuned: GPT) -> None:
    def add(name: str, value: Any, source: dict[str, str] | None = None, **parts: str) -> None:
        words = describe("finetuning", f"finetuning/{name}")
        writer.add(f"finetuning/{name}".format(**parts), value, source=source, **words)

    names = [name for name, _ in plan.config.matrices()]
    asked = answers(base, tuned, examples_of(run))
    add("plan", plan.to_dict() | {"seed": str(plan.seed)})
    add("answers", asked)
    add("matrices", names)
    add("change", changes(base, tuned))
    add("weights", norms(weights_of(base)).numpy())
    for name, moved in zip(names, maps(base, tuned), strict=True):
        add("thumbnails/{matrix}", as_uint8(moved), {"tensor": f"{name}.weight"}, matrix=name)
    steps = [line["loss"] for line in read_metrics(run, until=plan.total_steps) if "loss" in line]
    add("steps/loss", np.array(steps, np.float64))
    for name, value in zip(("ids", "starts", "bytes"), named_pieces(tuned.require_tokenizer(), asked), strict=True):
        writer.add(f"pieces/{name}", value, **describe("finetuning", f"pieces/{name}"))


def examples_of(run: Path) -> list[Example]:
    """The first examples that the run was not trained on; none if it learned from text."""
    held_out = run / HELD_OUT_EXAMPLES
    return read_examples(held_out)[:ASKED] if held_out.is_file() else []


def changes(base: GPT, tuned: GPT) -> Array:
    """(Q,) L2 norms of what was added to each matrix."""
    return norms(after - before for before, after in zip(weights_of(base), weights_of(tuned), strict=True)).numpy()


def maps(base: GPT, tuned: GPT) -> list[Array]:
    """For each matrix the mean |change| by tile, as `moment.thumbnail` cuts it."""
    names = [name for name, _ in base.config.matrices()]
    pairs = zip(names, weights_of(base), weights_of(tuned), strict=True)
    return [thumbnail(name, (after - before).abs()) for name, before, after in pairs]


def answers(base: GPT, tuned: GPT, examples: Sequence[Example]) -> list[dict[str, str]]:
    """What both models find likeliest after each prompt: up to its end, or a few tokens longer than the expected answer."""
    found = []
    for example in examples:
        prompt = tuned.require_tokenizer().encode_prompt(example.prompt)
        wanted = len(tuned.require_tokenizer().encode(example.completion)) + ROOM
        room = min(wanted, tuned.config.n_ctx + 1 - max(1, len(prompt)))
        stop = () if "\n" in example.completion else ("\n",)
        both = [model.generate(prompt, max_tokens=room, temperature=0, stop=stop, seed=0).text for model in (base, tuned)]
        found.append({"prompt": example.prompt, "expected": example.completion, "before": both[0], "after": both[1]})
    return found


def named_pieces(tokenizer: Tokenizer, asked: Sequence[dict[str, str]]) -> tuple[Array, Array, Array]:
    """The chunks `pieces/` for every token of prompts and answers."""
    return pieces(tokenizer, {token for one in asked for text in one.values() for token in tokenizer.encode(text)})
