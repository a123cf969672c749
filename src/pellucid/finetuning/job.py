"""The fine-tuning job: the same loop as training, from trained weights, on examples or on text of one's own.

    RUN/base/          the model before      RUN/examples.jsonl, held_out.jsonl   what it learned from, and what not
    RUN/model/         the best on held-out examples      RUN/finetuning.pellucid   the record, if there is one
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from pellucid.corpus.shards import open_corpus
from pellucid.errors import PellucidError
from pellucid.events import Observer
from pellucid.finetuning.examples import Example, ExampleBatches, read_examples, split, write_examples
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.runs.plan import LOOKS, Plan, log_spaced, spaced
from pellucid.runs.recipe import Recipe
from pellucid.training import machine
from pellucid.training.batches import WindowBatches
from pellucid.training.budget import calibration_seconds, check_positive, measure_pace, one_budget
from pellucid.training.loop import Batches, run_steps
from pellucid.training.prepare import new_run, prepare_corpus
from pellucid.training.run import Run, fitting_prompt, refuse_changes
from pellucid.training.step import micro_batch_of


EPOCHS = 4  # choice: the default of GPT-3's own fine-tuning service
BATCH = 16
# Choice: fine-tuning starts from a fifth of the rate that suits training a model of this width from nothing.
RATE_BY_WIDTH = 0.1
HELD_OUT_FRACTION = 0.1

WriteRecord = Callable[[Path, Plan], None]  # writes the record of a finished run, from its directory and its plan


def finetune(
    examples: str | Path | Sequence[Example],
    out: str | Path,
    *,
    model: str | Path | GPT = "default",
    epochs: float | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    prompt: str | None = None,
    dtype: str | None = None,
    record: bool = True,
    resume: bool = False,
    observers: Sequence[Observer] = (),
    stop: Callable[[], bool] = lambda: False,
    write_record: WriteRecord | None = None,
) -> Run:
    """Fine-tunes a model, or goes on with a run.

    Args:
        examples: a JSONL file of prompt and completion, a list of `Example`, or a file or folder of plain text. Ignored
            when resuming.
        out: the run directory; new, or that of the run to resume.
        model: what to start from: anything `load` takes, or a model.
        epochs, steps, minutes: how much; at most one. Default: 4 times through.
        batch: examples in a step (for plain text: windows). Default: 16, fewer if there are few examples.
        learning_rate: the peak. Default: 0.1 / d_model, a fifth of what training from nothing would take.
        prompt: what samples continue. Default: that of a held-out example.
        dtype: of the matrix products, as in `train`.
        record: keep `finetuning.pellucid` in the run at its end: both models beside each other, as pictures need it.
        observers, stop: as in `train`.
        write_record: writes the record at the end (`pellucid.finetune` passes `interpret`'s); None: no record is written.

    Returns:
        The run. While it goes on `RUN/model` is the newest model; at the end it is the one with the lowest held-out
        loss, which may be the one before any step: see `metrics.jsonl`.

    Raises:
        PellucidError: no examples, an example longer than the context, a run directory that exists, a damaged checkpoint.
    """
    run = Path(out)
    record = record and write_record is not None
    machine.keep_freed_memory()
    if resume:
        plan = Plan.load(run, kind="finetune")
        machine.refuse_other_operators(compiled=plan.compiled)
        refuse_changes(
            epochs=epochs, steps=steps, minutes=minutes, batch=batch, learning_rate=learning_rate, prompt=prompt,
            dtype=dtype,
        )  # fmt: skip
    else:
        one_budget(epochs=epochs, steps=steps, minutes=minutes)
        check_positive(epochs=epochs, steps=steps, minutes=minutes, batch=batch, learning_rate=learning_rate)
        compute = machine.dtype_of(dtype)
        with new_run(run) as draft:
            base = model if isinstance(model, GPT) else load(model)
            few = _prepare(examples, draft, base, seed, observers)
            budget = (epochs, steps, minutes)
            recorded = record and write_record is not None
            plan = _plan(draft, base, budget, batch or few, learning_rate, seed, prompt, compute, recorded)
    tuned = load(run / "base").requires_grad_(True)
    batches = batches_of(run, tuned, plan.batch, plan.seed)
    state = run_steps(run, plan, tuned, batches, observers=observers, stop=stop)
    if write_record and record and plan.record and state.step == plan.total_steps:
        write_record(run, plan)
    return Run(path=run, plan=plan, step=state.step, tokens=state.tokens)


def _prepare(
    examples: str | Path | Sequence[Example], run: Path, base: GPT, seed: int, observers: Sequence[Observer]
) -> int:
    """Puts everything the run needs into its directory: the model before, and what it will learn from.

    Returns:
        A batch that suits: 16, or so few that an epoch still has several steps.
    """
    batch = BATCH
    if isinstance(examples, str | Path) and Path(examples).suffix.lower() == ".json":
        raise PellucidError(f"{examples}: examples are a .jsonl file, an object a line; plain text has another ending")
    tokenizer = base.require_tokenizer()
    if isinstance(examples, str | Path) and Path(examples).suffix.lower() != ".jsonl":
        prepare_corpus(examples, None, run, base.config, tokenizer, seed, observers)
    else:
        pairs = read_examples(examples) if isinstance(examples, str | Path) else list(examples)
        train, held_out = split(pairs, fraction=HELD_OUT_FRACTION, seed=seed)
        ExampleBatches(train, held_out, tokenizer, base.config.n_ctx, 1, seed)  # refuses an example that is too long
        write_examples(train, run / "examples.jsonl")
        write_examples(held_out, run / "held_out.jsonl")
        batch = min(BATCH, max(1, len(train) // 8))
    base.save(run / "base")
    return batch


def batches_of(run: Path, base: GPT, batch: int, seed: int) -> Batches:
    """Where a fine-tuning run's data comes from: its examples, or its text."""
    tokenizer = base.require_tokenizer()
    if (run / "corpus").exists():
        return WindowBatches(open_corpus(run / "corpus"), tokenizer, base.config.n_ctx, batch, seed)
    train, held_out = (read_examples(run / name) for name in ("examples.jsonl", "held_out.jsonl"))
    return ExampleBatches(train, held_out, tokenizer, base.config.n_ctx, batch, seed)


def _plan(
    run: Path,
    base: GPT,
    budget: tuple[float | None, int | None, float | None],
    batch: int,
    learning_rate: float | None,
    seed: int,
    prompt: str | None,
    dtype: torch.dtype,
    record: bool,
) -> Plan:
    epochs, steps, minutes = budget
    batches = batches_of(run, base, batch, seed)
    compiled = machine.has_operators(dtype)
    micro_batch = micro_batch_of(batch, batches.batch(0)[0].shape[1])
    threads, looks = torch.get_num_threads(), LOOKS
    if minutes is not None:
        seconds = calibration_seconds(minutes)
        pace = measure_pace(base.config, batches, micro_batch, dtype, compiled, seed, seconds=seconds)
        (steps, looks), threads = pace.plan(minutes), pace.threads
    elif steps is None:
        steps = math.ceil((EPOCHS if epochs is None else epochs) / batches.epoch_at(1))
    if steps < 1:
        raise PellucidError("the budget is less than one step: give more epochs, steps or minutes")
    if prompt is None:
        held_out = read_examples(run / "held_out.jsonl") if (run / "held_out.jsonl").exists() else []
        prompt = held_out[len(held_out) // 2].prompt if held_out else ""
    plan = Plan(
        kind="finetune",
        config=base.config,
        recipe=Recipe.scaled(
            learning_rate or RATE_BY_WIDTH / base.config.d_model,
            batches.tokens_before(steps),
            warmup_tokens=batches.tokens_before(steps // 10),  # none in a run of a few steps
        ),
        seed=seed,
        batch=batch,
        micro_batch=micro_batch,
        total_steps=steps,
        dtype=str(dtype).removeprefix("torch."),
        compiled=compiled,
        threads=threads,
        held_out_every=spaced(steps, looks),
        checkpoint_every=spaced(steps, 4),
        sample_at=log_spaced(steps),
        sample_prompt=fitting_prompt(prompt, base.require_tokenizer(), base.config.n_ctx),
        keep_best=True,
        record=record,
        source={"base": base.config.name or "model", "tokenizer": base.require_tokenizer().fingerprint},
        machine=dict(machine.describe()),
    )
    plan.save(run)
    return plan
