"""The fine-tuning job: training's planner and loop, from trained weights, on examples or on plain text.

    RUN/base/                 the model before fine-tuning
    RUN/model/                the model after: the best on held-out examples, or the last
    RUN/examples.jsonl        the examples to train on; held_out.jsonl: the others
    RUN/general.json          text on which forgetting is measured
    RUN/finetuning.pellucid   the record, if there is one
    RUN/adapter/              with LoRA, the adapters in PEFT's format
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from pellucid.arguments import flag, instance, path_of, shown
from pellucid.corpus.shards import open_corpus
from pellucid.errors import PellucidError
from pellucid.events import Notice, Observer, emit
from pellucid.finetuning import service_2021
from pellucid.finetuning.example_files import (
    SUFFIXES,
    TABLES,
    holds_examples,
    read_example_file,
    read_examples,
    write_examples,
)
from pellucid.finetuning.examples import Example, ExampleBatches
from pellucid.finetuning.general import general_text
from pellucid.finetuning.lora import LoraModel
from pellucid.finetuning.peft_format import export_adapter
from pellucid.finetuning.split import held_apart, split
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.generation.resolve import DEFAULT
from pellucid.languages import tr
from pellucid.runs.files import BASE, CORPUS, EXAMPLES, HELD_OUT_EXAMPLES
from pellucid.runs.plan import Plan
from pellucid.runs.recipe import Recipe
from pellucid.training.batches import Batches, WindowBatches, refuse_too_little_held_out, windows_to_hold_out
from pellucid.training.loop import Stop
from pellucid.training.memory_limit import refuse_large_batch
from pellucid.training.option_table import takes_options
from pellucid.training.options import FinetuningKeywords, FinetuningOptions
from pellucid.training.planner import Workload, at_least_one
from pellucid.training.prepare import prepare_corpus
from pellucid.training.run import Run, can_be_recorded, run_job


BATCH = 16
CHECKPOINTS = 4  # in a run
# Choice: the peak rate of fine-tuning is 0.1 / d_model, a fifth of the rate at which this width is trained from random weights.
RATE_BY_WIDTH = 0.1
MULTIPLIER = 0.2  # that fifth, as `learning_rate_multiplier`
LORA_RATE = 20.0  # choice: adapters take so many times that rate (docs/log.md)

WriteRecord = Callable[[Path, Plan], None]  # writes the record of a finished run, from its directory and its plan


@takes_options(FinetuningOptions)
def finetune(
    examples: str | Path | Sequence[Example],
    out: str | Path,
    *,
    model: str | Path | GPT | None = None,
    held_out: str | Path | Sequence[Example] | None = None,
    seed: int | None = None,
    record: bool = True,
    resume: bool = False,
    observers: Sequence[Observer] = (),
    stop: Stop = lambda: False,
    write_record: WriteRecord | None = None,
    **options: Unpack[FinetuningKeywords],
) -> Run:
    """Fine-tunes a model, or resumes a run.

    Args:
        examples: a file of prompts and completions (JSON lines, a JSON array, or CSV: `example_files`), a list of `Example`, or
            a file or folder of plain text. May be empty, such as `[]`, where a run is resumed.
        out: the run directory; new, or that of the run to resume.
        model: what to start from: anything `load` takes, or a model. None: the embedded model.
        held_out: examples to measure on and never to train on, in the same forms. None: a part of `examples`.
        seed: of the order of examples, and of which are held out; 0 if not given.
        record: keep `finetuning.pellucid` in the run at its end: both models beside each other, as pictures need it.
        resume, observers, stop: as in `train`.
        write_record: writes the record at the end (`pellucid.finetune` passes `interpret`'s); None: no record is written.
        options: `pellucid.training.options.FinetuningOptions` documents each: the budget (epochs, steps or minutes; default: 4
            epochs), batch (default: 16 examples, fewer if there are few), learning_rate (default: 0.1 / d_model, a fifth of
            the rate for training from random weights) or learning_rate_multiplier, prompt_loss_weight, choose, recipe, LoRA
            (lora_rank, lora_alpha, lora_targets), prompt (default: that of a held-out example), dtype, device.

    With LoRA, `RUN/model` and all checkpoints have the adapters merged in, and `RUN/adapter` holds them in PEFT's format.

    Returns:
        The run. During the run `RUN/model` is the newest model; at the end it is the one that answers the most held-out
        examples exactly, and of several such models the one with the lowest held-out loss (on text: the lowest held-out loss).
        It may be the model before the first step: see `metrics.jsonl`.

    Raises:
        PellucidError: no examples, an example longer than the context, a run directory that exists, a damaged checkpoint, no
            such device.
    """
    given = () if flag("resume", resume) and not examples else _examples("examples", examples)
    if model is not None and not isinstance(model, GPT):
        path_of("model", model)
    apart = None if held_out is None else _examples("held_out", held_out)
    job = FinetuningJob(given, model, FinetuningOptions(**options), apart)
    recorded = flag("record", record) and write_record is not None
    run = run_job(job, path_of("out", out), seed=seed, record=recorded, resume=resume, observers=observers, stop=stop)
    finished = run.step == run.plan.total_steps
    if write_record and record and run.plan.record and finished and can_be_recorded(run.path, run.plan, observers):
        write_record(run.path, run.plan)
    export_adapter(run.path, run.plan)
    return run


def _examples(name: str, given: Any) -> Path | list[Example]:
    """A path, or a list of examples. Raises PellucidError for anything else."""
    if isinstance(given, str | Path):
        return path_of(name, given)
    if not isinstance(given, Iterable) or isinstance(given, bytes | Mapping):
        raise PellucidError(f"{name} must be a file, a folder, or a list of pellucid.Example, not {shown(given)}")
    return [instance(name, one, Example, "pellucid.Example each, or a file") for one in given]


class FinetuningJob:
    """Fine-tuning a model on examples or on text (`training.planner.Job`)."""

    kind = "finetune"

    def __init__(
        self, examples: str | Path | Sequence[Example], model: str | Path | GPT | None, options: FinetuningOptions,
        held_out: Path | Sequence[Example] | None = None,
    ) -> None:  # fmt: skip
        self.examples, self.model, self.options, self.held_out = examples, model, options, held_out

    @property
    def has_data(self) -> bool:
        """Whether examples or text were given."""
        return bool(self.examples)

    def arguments(self) -> dict[str, Any]:
        """The examples and the model that were given."""
        given = (("examples", self.examples), ("model", self.model), ("held_out", self.held_out))
        return {name: value for name, value in given if value}

    def check(self, *, alone: bool) -> None:
        """Checks the arguments before anything is read.

        Raises:
            PellucidError: a table in a format that is not read.
        """
        if isinstance(self.examples, str | Path) and Path(self.examples).suffix.lower() in TABLES:
            raise PellucidError(
                f"{self.examples}: save the table as CSV in UTF-8, with columns named prompt and completion in its first row "
                f"(examples are read from {', '.join(SUFFIXES)})"
            )

    def prepare(self, run: Path, seed: int, observers: Sequence[Observer]) -> Workload:
        """Writes into the run directory the base model, the general text, and the examples or the text."""
        base = self.model if isinstance(self.model, GPT) else load(self.model or "default")
        tokenizer, batch = base.require_tokenizer(), BATCH
        if isinstance(self.examples, str | Path) and not holds_examples(Path(self.examples)):
            if self.held_out is not None:
                raise PellucidError(f"{self.examples} is text without prompts: leave out held_out, which goes with examples")
            if self.options.recipe or self.options.prompt_loss_weight:
                raise PellucidError(f"{self.examples} is text without prompts: leave out recipe and prompt_loss_weight")
            prepare_corpus(self.examples, None, run, base.config, tokenizer, seed, observers)
        else:
            pairs = self._pairs(observers)
            divided = split(pairs, seed=seed) if self.held_out is None else held_apart(pairs, self._held_out_pairs())
            train, held_out = divided.train, divided.held_out
            ExampleBatches(train, held_out, tokenizer, base.config.n_ctx, 1, seed)  # refuses an example that is too long
            write_examples(train, run / EXAMPLES)
            write_examples(held_out, run / HELD_OUT_EXAMPLES)
            if divided.warning:
                emit(observers, Notice(divided.warning))
            batch = min(BATCH, max(1, len(train) // 8))  # so few that an epoch still has several steps
            if self.options.recipe:
                batch = service_2021.batch_of(len(train))
        base.save(run / BASE)
        named = None if isinstance(self.model, GPT) or self.model in (None, DEFAULT) else Path(self.model)
        directory = named if named is not None and named.is_dir() else None  # not a GGUF file, nor a name on the hub
        general_text(directory, tokenizer, base.config.n_ctx).save(run)
        return ExampleWorkload(run, base, self.options, self.options.batch or batch, seed)

    def _pairs(self, observers: Sequence[Observer]) -> list[Example]:
        """The examples that were given. Notices tell a file's format, and whether prompts and completions run together."""
        given = self.examples
        if isinstance(given, str | Path):
            found = read_example_file(Path(given))
            pairs = found.examples
            text = tr("{path}: {count:,} examples, read as {what}", path=given, count=len(pairs), what=found.what)
            emit(observers, Notice(text))
        else:
            pairs = list(given)
        joined = [one for one in pairs if one.prompt and (one.prompt[-1] + one.completion[0]).isalnum()]
        if len(joined) > len(pairs) // 2:
            read = joined[0].prompt[-20:] + joined[0].completion[:20]
            text = tr(
                "nothing separates prompts from completions: the model reads {read!r}; let completions begin with a space",
                read=read,
            )  # fmt: skip
            emit(observers, Notice(text))
        return pairs

    def _held_out_pairs(self) -> list[Example]:
        given = self.held_out
        return read_example_file(given).examples if isinstance(given, Path) else list(given or ())

    def open(self, run: Path, plan: Plan, *, verify: bool) -> tuple[GPT, Batches]:
        """The model to be trained, as it is before the first step, and its batches."""
        model = first_model(run, plan)
        return model, batches_of(run, model, plan)


class ExampleWorkload(Workload):
    """Fine-tuning on the examples or the text in a run directory (`training.planner.Workload`)."""

    kind = "finetune"
    checkpoints = CHECKPOINTS

    def __init__(self, run: Path, base: GPT, options: FinetuningOptions, batch: int, seed: int) -> None:
        self.run, self.options, self.batch = run, options, batch
        self.config, self.tokenizer = base.config, base.require_tokenizer()
        corpus = open_corpus(run / CORPUS, verify=False) if (run / CORPUS).exists() else None
        held_out = 0 if corpus is None else windows_to_hold_out(corpus, base.config.n_ctx)
        refuse_large_batch(batch * base.config.n_ctx)
        service = options.recipe is not None
        prompts = service_2021.PROMPT_LOSS_WEIGHT if service else 0.0
        prompts = prompts if options.prompt_loss_weight is None else options.prompt_loss_weight
        self.batches = _batches(run, base, batch, seed, held_out, prompts)
        if isinstance(self.batches, WindowBatches):
            refuse_too_little_held_out(self.batches)
        self.positions = self.batches.batch(0)[0].shape[1]
        self.learning_rate = RATE_BY_WIDTH / base.config.d_model
        multiplier = options.learning_rate_multiplier or (service_2021.multiplier_of(batch) if service else None)
        if multiplier is not None:
            self.learning_rate *= multiplier / MULTIPLIER
        elif options.lora is not None:
            self.learning_rate *= LORA_RATE
        source: dict[str, Any] = {"base": self.config.name or "model", "tokenizer": self.tokenizer.fingerprint}
        if isinstance(self.batches, ExampleBatches):
            source |= {"train_examples": len(self.batches.train), "held_out_examples": len(self.batches.held_out_examples)}
        keep_best = (options.choose or ("last" if service else "best")) == "best"
        self.plan_fields = {
            "keep_best": keep_best, "source": source, "held_out_windows": held_out, "lora": options.lora,
            "prompt_loss_weight": prompts,
        }  # fmt: skip

    def schedule(self, learning_rate: float, timed_steps: int | None) -> tuple[int, Recipe]:
        """(steps, recipe): a tenth of the steps is warm-up, none in a run of fewer than ten."""
        options, steps = self.options, timed_steps if self.options.steps is None else self.options.steps
        if steps is None:
            epochs = service_2021.EPOCHS if options.epochs is None else options.epochs
            steps = math.ceil(epochs / self.batches.epoch_at(1))
        tokens, warmup = (self.batches.tokens_before(count) for count in (at_least_one(steps), steps // 10))
        return steps, Recipe.scaled(learning_rate, tokens, warmup_tokens=warmup)

    def stand_in(self, plan: Plan) -> GPT:
        """A model of the run's shape with its adapters, on which steps are timed."""
        model = super().stand_in(plan)
        return model if plan.lora is None else LoraModel(model, plan.lora)

    def default_prompt(self) -> str:
        """The prompt of a held-out example; "" for text."""
        path = self.run / HELD_OUT_EXAMPLES
        held_out = read_examples(path, of_a_run=True) if path.exists() else []
        return held_out[len(held_out) // 2].prompt if held_out else ""


def first_model(run: Path, plan: Plan) -> GPT:
    """The model of a fine-tuning run before any step: the base, or the base with its adapters."""
    base = load(run / BASE)
    return base.requires_grad_(True) if plan.lora is None else LoraModel(base, plan.lora, seed=plan.seed)


def batches_of(run: Path, base: GPT, plan: Plan) -> Batches:
    """The batches of a fine-tuning run: of its examples, or of its text."""
    return _batches(run, base, plan.batch, plan.seed, plan.held_out_windows, plan.prompt_loss_weight)


def _batches(run: Path, base: GPT, batch: int, seed: int, held_out_windows: int, prompt_loss_weight: float) -> Batches:
    tokenizer = base.require_tokenizer()
    if (run / CORPUS).exists():
        corpus = open_corpus(run / CORPUS)
        return WindowBatches(
            corpus, tokenizer, base.config.n_ctx, batch, seed, held_out_windows=held_out_windows
        )
    train, held_out = (read_examples(run / name, of_a_run=True) for name in (EXAMPLES, HELD_OUT_EXAMPLES))
    return ExampleBatches(train, held_out, tokenizer, base.config.n_ctx, batch, seed, prompt_loss_weight)
