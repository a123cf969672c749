"""A run: planned once, kept in a directory, resumable.

    RUN/run.json          the plan          RUN/corpus/        the text as tokens
    RUN/metrics.jsonl     a line a step     RUN/checkpoints/   to go on from
    RUN/model/            the newest model; `pellucid generate -m RUN` reads it
    RUN/training.pellucid the record, if there is one; with moments/ (what it is made of) and example/ (a checkpoint)
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from pellucid import events
from pellucid.corpus.shards import TokenCorpus, open_corpus
from pellucid.corpus.windows import Windows
from pellucid.errors import PellucidError
from pellucid.events import Observer, emit
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.documents import check_patterns
from pellucid.gpt.presets import preset as find_preset
from pellucid.gpt.scaling import VOCABULARY, shape_for
from pellucid.runs.files import METRICS, RECORDS
from pellucid.runs.plan import LOOKS, Plan, log_spaced, spaced
from pellucid.runs.recipe import DEFAULT, Recipe
from pellucid.text import Tokenizer
from pellucid.training import checkpoint, machine
from pellucid.training.batches import WindowBatches, ramp_of
from pellucid.training.budget import Pace, calibration_seconds, check_positive, measure_pace, one_budget
from pellucid.training.first_weights import BY_NAME, FIRST_WEIGHTS, new_model
from pellucid.training.loop import ended, run_steps
from pellucid.training.optimizers import check_optimizer
from pellucid.training.prepare import Source, new_run, prepare_corpus
from pellucid.training.step import micro_batch_of
from pellucid.training.watch import recorder_of


# Choice: without a budget a run sees 20 tokens a parameter, but no text more than 8 times.
TOKENS_PER_PARAMETER = 20
MOST_EPOCHS = 8
# Choices that a plan holds as they are given.
AS_GIVEN = ("keep", "keep_best", "skip_spikes", "patience", "optimizer", "optimizer_settings", "mask_documents")


@dataclass(frozen=True, slots=True)
class Run:
    """A run directory and where it stands.

    Attributes:
        path: the directory. plan: what it does.
        step, tokens: done so far. stopped_learning: whether it ended before its last step, as `patience` asked for.
    """

    path: Path
    plan: Plan
    step: int
    tokens: int
    stopped_learning: bool = False

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.step >= self.plan.total_steps or self.stopped_learning

    @property
    def kept(self) -> tuple[int, float] | None:
        """(step, held-out loss) of the model that a finished run keeps, if it keeps the best and not the last."""
        return checkpoint.best(self.path) if self.plan.keep_best and self.finished else None

    @property
    def record(self) -> Path | None:
        """The record's file, if there is one: `pellucid.open` reads it."""
        path = self.path / RECORDS[self.plan.kind]
        return path if path.is_file() else None

    def model(self) -> GPT:
        """The newest model."""
        return load(self.path)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`; one that a kill cut short is left out."""
        with (self.path / METRICS).open(encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.endswith("}\n")]


def train(
    corpus: Source | Sequence[Source],
    out: str | Path,
    *,
    preset: str | None = None,
    config: GPTConfig | None = None,
    parameters: int | None = None,
    tokens: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    held_out: Source | Sequence[Source] | None = None,
    tokenizer: Tokenizer | str | None = None,
    batch_tokens: int | None = None,
    batch_ramp: bool | None = None,
    learning_rate: float | None = None,
    checkpoint_every: int | None = None,
    keep: int | None = None,
    keep_best: bool | None = None,
    skip_spikes: float | None = None,
    patience: int | None = None,
    optimizer: str | None = None,
    optimizer_settings: Mapping[str, Any] | None = None,
    mask_documents: bool | None = None,
    dtype: str | None = None,
    prompt: str | None = None,
    record: bool = True,
    resume: bool = False,
    observers: Sequence[Observer] = (),
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Trains a model on text, or goes on with a run.

    Args:
        corpus: files or folders of UTF-8 text, or documents. Ignored when resuming.
        out: the run directory; new, or that of the run to resume.
        preset, config: the shape; `preset="cpu-2m"` if neither is given. The vocabulary is the tokenizer's.
        parameters: or how many it should have: shape, learning rate and batch follow from that (`gpt.dial`).
        tokens, steps, minutes: how much; at most one of them. Minutes become tokens once, by timing a few steps.
            Default: 20 tokens a parameter, at most 8 times through the text.
        held_out: text to measure on and never to train the model on. Default: about 5 % of `corpus`, whole documents
            where it can.
        tokenizer: a tokenizer, "r50k" (GPT-3's own), "train" (one trained on this text, of the shape's vocabulary size), or
            a directory that holds one. Default: "r50k" for GPT presets, else "train".
        batch_tokens, learning_rate: default: the preset's.
        batch_ramp: let the batch grow to `batch_tokens` in GPT-3's proportions (`Recipe.ramp`). A run of so many steps then
            sees fewer tokens; one of so many tokens takes more steps.
        checkpoint_every: steps between checkpoints; default: 20 in a run, and one at the end.
        keep: checkpoints that stay, the newest; default: 2.
        keep_best: let `RUN/model` end as the model with the lowest held-out loss (it also stays in `best/`), not the last one.
        skip_spikes: leave out a step whose loss or gradient lies more than so many standard deviations above those of up to
            128 steps before it (`guard`). Default: none is left out.
        patience: end the run when held-out loss has not fallen in so many looks in a row. Default: it goes to its end.
        optimizer: "adamw" (GPT-3's, and the default), "muon", or another of `torch.optim` by name (`optimizers`).
        optimizer_settings: what else its class is given, such as {"momentum": 0.9}.
        mask_documents: let no token see another document's than its own (`gpt.documents`). Default: as in GPT-3, they do.
        dtype: of the matrix products, "float32" or "bfloat16". Default: bfloat16 where the CPU multiplies it natively.
        prompt: what samples continue; default: the first words of the held-out text.
        record: keep `training.pellucid` in the run, from which pictures are drawn: some steps' gradients, updates and
            weights in summary, losses by token, an example. A run that was begun without goes on without.
        observers: told of every event. stop: asked after each step; True saves and returns.
        resume: go on with the run in `out` as it was planned; nothing else may be given then but observers, stop, and
            `record=False`, which leaves the record as it is.

    On Linux the process keeps the memory it frees from then on (`machine.keep_freed_memory`).

    Returns:
        The run; `.finished` is False if it was stopped.

    Raises:
        PellucidError: unreadable or too little text, unknown preset, a run directory that exists, a damaged checkpoint.
    """
    run = Path(out)
    machine.keep_freed_memory()
    choices = {
        "preset": preset, "config": config, "parameters": parameters, "tokens": tokens, "steps": steps, "minutes": minutes,
        "held_out": held_out, "tokenizer": tokenizer, "batch_tokens": batch_tokens, "batch_ramp": batch_ramp,
        "learning_rate": learning_rate, "checkpoint_every": checkpoint_every, "keep": keep, "keep_best": keep_best,
        "skip_spikes": skip_spikes, "patience": patience, "optimizer": optimizer, "optimizer_settings": optimizer_settings,
        "mask_documents": mask_documents, "dtype": dtype, "prompt": prompt,
    }  # fmt: skip
    if resume:
        plan = Plan.load(run, kind="train")
        machine.refuse_other_operators(compiled=plan.compiled)
        refuse_changes(**choices)
    else:
        refuse_impossible(choices)
        with new_run(run) as draft:
            plan = _prepare(corpus, draft, choices, seed=seed, record=record, observers=observers)
    built = open_corpus(run / "corpus", verify=resume)
    words = Tokenizer.load(run / "corpus")
    batches = WindowBatches.of(plan, built, words)
    model = new_model(plan, words)
    recorder = recorder_of(run, plan, model, batches) if record and plan.record else None
    listening = observers if recorder is None else [*observers, recorder.observe]
    state = run_steps(run, plan, model, batches, observers=listening, stop=stop, watcher=recorder)
    over = ended(plan, state) and state.step < plan.total_steps
    return Run(path=run, plan=plan, step=state.step, tokens=state.tokens, stopped_learning=over)


def rehearse(
    corpus: Source | Sequence[Source],
    *,
    seed: int = 0,
    seconds: float = 3.0,
    observers: Sequence[Observer] = (),
    **choices: Any,
) -> tuple[Plan, Pace]:
    """What `train` would do with the same arguments, without doing it: the text is gone through, and nothing is kept.

    Args:
        seconds: how long to time steps of full batches. choices: `train`'s that make the plan, `preset` to `prompt`.

    Raises:
        PellucidError: as `train`.
    """
    refuse_impossible(choices)
    with TemporaryDirectory() as folder:
        plan = _prepare(corpus, Path(folder), choices, seed=seed, record=True, observers=observers)
        emit(observers, events.Progress(stage="timing a few steps", done=0))
        built, words = open_corpus(Path(folder) / "corpus", verify=False), Tokenizer.load(Path(folder) / "corpus")
        batches = WindowBatches(built, words, plan.config.n_ctx, plan.batch, plan.seed)
        dtype: torch.dtype = getattr(torch, plan.dtype)
        return plan, measure_pace(plan.config, batches, plan.micro_batch, dtype, plan.compiled, plan.seed, seconds=seconds)


def refuse_impossible(choices: Mapping[str, Any]) -> None:
    """Refuses two answers to one question, and numbers that cannot be, before anything is done.

    Raises:
        PellucidError: the message names them.
    """
    one_budget(**{name: choices.get(name) for name in ("tokens", "steps", "minutes")})
    numbers = ("tokens", "steps", "minutes", "batch_tokens", "learning_rate", "checkpoint_every", "keep", "skip_spikes",
               "patience")  # fmt: skip
    check_positive(**{name: choices.get(name) for name in numbers})
    shape, rate, batch_tokens = _shape(choices)
    if choices.get("mask_documents"):
        check_patterns(shape)
    dtype = machine.dtype_of(choices.get("dtype"))
    optimizer, settings = choices.get("optimizer"), choices.get("optimizer_settings")
    check_optimizer(rate, optimizer, settings)
    machine.refuse_too_large(shape, batch_tokens, dtype, optimizer or DEFAULT, settings)


def _prepare(
    corpus: Source | Sequence[Source],
    draft: Path,
    choices: Mapping[str, Any],
    *,
    seed: int,
    record: bool,
    observers: Sequence[Observer],
) -> Plan:
    """The corpus and the plan of a new run, in `draft`."""
    shape, rate, per_step = _shape(choices)
    tokenizer = choices.get("tokenizer")
    if tokenizer is None and choices.get("parameters") and shape.vocab_size == VOCABULARY:
        tokenizer = "r50k"
    prepare_corpus(corpus, choices.get("held_out"), draft, shape, tokenizer, seed, observers)
    return _plan(
        draft, shape, choices, seed=seed, learning_rate=rate, batch_tokens=per_step, record=record, observers=observers
    )


def refuse_changes(**given: object) -> None:
    """A plan is made once: a resumed run takes no other.

    Raises:
        PellucidError: something is given.
    """
    for name, value in given.items():
        if value is not None:
            raise PellucidError(f"a run goes on as it was planned: {name} cannot be given with resume; start a new run")


def _shape(choices: Mapping[str, Any]) -> tuple[GPTConfig, float, int]:
    """The shape, its peak learning rate, and the tokens of a full batch."""
    preset, config, parameters = (choices.get(name) for name in ("preset", "config", "parameters"))
    learning_rate, batch_tokens = choices.get("learning_rate"), choices.get("batch_tokens")
    if preset and config:
        raise PellucidError("give a preset or a config, not both")
    if parameters is not None:
        if preset or config:
            raise PellucidError("give parameters, a preset or a config, not several")
        derived = shape_for(parameters)
        return derived.config, learning_rate or derived.learning_rate, batch_tokens or derived.batch_tokens
    if config is None:
        preset = preset or "cpu-2m"
        chosen = find_preset(preset)
        config = GPTConfig.preset(preset)
        return config, learning_rate or chosen.learning_rate, batch_tokens or chosen.batch_tokens
    # Choice: a shape of one's own gets a rate that falls with width as the presets' do, and a batch of a few windows.
    return config, learning_rate or min(4e-3, 0.5 / config.d_model), batch_tokens or max(4096, 4 * config.n_ctx)


def _plan(
    run: Path,
    shape: GPTConfig,
    choices: Mapping[str, Any],
    *,
    seed: int,
    learning_rate: float,
    batch_tokens: int,
    record: bool,
    observers: Sequence[Observer],
) -> Plan:
    """Makes every choice of the run in `run` (its corpus is there already) and writes it down."""
    tokens, steps, minutes = (choices.get(name) for name in ("tokens", "steps", "minutes"))
    checkpoint_every, prompt = choices.get("checkpoint_every"), choices.get("prompt")
    as_given = {name: choices[name] for name in AS_GIVEN if choices.get(name) is not None}
    built, tokenizer = open_corpus(run / "corpus", verify=False), Tokenizer.load(run / "corpus")
    config = shape.replace(
        vocab_size=tokenizer.vocab_size,
        end_of_text=tokenizer.eot,
        start_of_text=tokenizer.eot if tokenizer.begin is None else tokenizer.begin,
    )
    windows = len(Windows(built.train, config.n_ctx, seed=seed))  # refuses a text shorter than one window
    batch = batch_tokens // config.n_ctx
    if batch < 1:
        raise PellucidError(f"batch_tokens is {batch_tokens}, less than one window of {config.n_ctx}: give that or more")
    micro_batch = micro_batch_of(batch, config.n_ctx)
    dtype = machine.dtype_of(choices.get("dtype"))
    compiled = machine.has_operators(dtype)
    threads, looks = torch.get_num_threads(), LOOKS
    if minutes is not None:
        emit(observers, events.Progress(stage="timing a few steps", done=0))
        batches = WindowBatches(built, tokenizer, config.n_ctx, batch, seed)
        pace = measure_pace(config, batches, micro_batch, dtype, compiled, seed, seconds=calibration_seconds(minutes))
        (full_steps, looks), threads = pace.plan(minutes), pace.threads
        tokens = full_steps * batch * config.n_ctx
    elif steps is not None:
        tokens = steps * batch * config.n_ctx
    elif tokens is None:
        tokens = min(TOKENS_PER_PARAMETER * config.parameters(), MOST_EPOCHS * windows * config.n_ctx)
    ramp = Recipe.ramp(tokens, batch * config.n_ctx) if choices.get("batch_ramp") else {}
    recipe = Recipe.scaled(learning_rate, max(1, tokens), **ramp)
    batches = WindowBatches(built, tokenizer, config.n_ctx, batch, seed, ramp_of(recipe, batch, config.n_ctx))
    if steps is None:
        steps = batches.steps_for(tokens)
    if steps < 1:
        raise PellucidError("the budget is less than one step: give more tokens, steps or minutes, or a smaller preset")
    plan = Plan(
        kind="train",
        config=config,
        recipe=Recipe.scaled(learning_rate, batches.tokens_before(steps), **ramp),
        seed=seed,
        batch=batch,
        micro_batch=micro_batch,
        total_steps=steps,
        dtype=str(dtype).removeprefix("torch."),
        compiled=compiled,
        threads=threads,
        held_out_every=spaced(steps, looks),
        checkpoint_every=checkpoint_every or spaced(steps, looks),
        sample_at=log_spaced(steps),
        sample_prompt=fitting_prompt(_first_words(built, tokenizer) if prompt is None else prompt, tokenizer, config.n_ctx),
        record=record,
        **as_given,
        source={
            FIRST_WEIGHTS: BY_NAME,
            "tokenizer": tokenizer.fingerprint,
            "train_tokens": len(built.train),
            "held_out_tokens": len(built.held_out),
            "held_out_by": built.manifest["held_out"],
        },
        machine=dict(machine.describe()),
    )
    plan.save(run)
    return plan


def fitting_prompt(prompt: str, tokenizer: Tokenizer, n_ctx: int) -> str:
    """The prompt of a run's samples, if the model can read it.

    Raises:
        PellucidError: it is longer than the context.
    """
    if (tokens := len(tokenizer.encode_prompt(prompt))) > n_ctx:
        raise PellucidError(f"the sample prompt has {tokens} tokens, the model reads {n_ctx}: shorten it")
    return prompt


def _first_words(built: TokenCorpus, tokenizer: Tokenizer) -> str:
    """The first few plain words of the held-out text: what every sample of the run continues."""
    opening = tokenizer.decode(i for i in built.held_out[0:400].tolist() if i != tokenizer.eot)
    words = re.search(r"\b[^\W\d_]+( [^\W\d_]+){2,3}\b", opening)
    return words[0] if words else " ".join(opening.split()[:3])
