"""The job of training on text: its checks, its tokenized text, its schedule, and the model with initial weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pellucid.corpus.documents import Source
from pellucid.corpus.shards import TokenCorpus, open_corpus
from pellucid.errors import PellucidError
from pellucid.events import Observer
from pellucid.generation.model import GPT
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.config_json import read_config
from pellucid.gpt.document_mask import check_patterns
from pellucid.gpt.presets import preset as find_preset
from pellucid.gpt.scaling import VOCABULARY, shape_for
from pellucid.runs.files import CORPUS, RUN_FILE
from pellucid.runs.plan import DAMAGED, Plan
from pellucid.runs.recipe import DEFAULT_OPTIMIZER, MAX_EPOCHS, TOKENS_PER_PARAMETER, Recipe
from pellucid.runtime.device import resolve_device
from pellucid.text import Tokenizer
from pellucid.training import checkpoint
from pellucid.training.batches import Batches, WindowBatches, ramp_of, refuse_too_little_held_out, windows_to_hold_out
from pellucid.training.first_weights import BY_NAME, FIRST_WEIGHTS, new_model
from pellucid.training.memory_limit import refuse_too_large
from pellucid.training.optimizers import check_optimizer
from pellucid.training.options import TrainingOptions
from pellucid.training.planner import Precision, Workload, at_least_one
from pellucid.training.prepare import prepare_corpus
from pellucid.training.sample_prompt import opening_words


DEFAULT_PRESET = "cpu-2m"


class TrainingJob:
    """Training a model on text (`planner.Job`).

    Args:
        corpus: files or folders of UTF-8 text, or documents.
        options: what was asked for.
    """

    kind = "train"

    def __init__(self, corpus: Source | Sequence[Source], options: TrainingOptions) -> None:
        self.corpus, self.options = corpus, options

    @property
    def has_data(self) -> bool:
        """Whether text was given."""
        return bool(self.corpus)

    def arguments(self) -> dict[str, Any]:
        """The text that was given."""
        return {"corpus": self.corpus} if self.corpus else {}

    def check(self) -> None:
        """Refuses what cannot be trained: a pattern that documents cannot be masked in, an optimizer, too little memory.

        Raises:
            PellucidError: the message names it.
        """
        options = self.options
        config, learning_rate, batch_tokens = shape_of(options)
        if options.mask_documents:
            check_patterns(config)
        precision = Precision.of(options)
        check_optimizer(options.learning_rate or learning_rate, options.optimizer, options.optimizer_settings)
        refuse_too_large(
            config, batch_tokens, precision.dtype, options.optimizer or DEFAULT_OPTIMIZER, options.optimizer_settings,
            precision.device,
        )  # fmt: skip

    def prepare(self, run: Path, seed: int, observers: Sequence[Observer]) -> Workload:
        """Writes `run/corpus`: the text as tokens, and its tokenizer."""
        config, learning_rate, batch_tokens = shape_of(self.options)
        tokenizer = self.options.tokenizer
        if tokenizer is None and self.options.parameters and config.vocab_size == VOCABULARY:
            tokenizer = "r50k"
        prepare_corpus(self.corpus, self.options.held_out, run, config, tokenizer, seed, observers)
        return TextWorkload(run, self.options, config, learning_rate, batch_tokens, seed)

    def open(self, run: Path, plan: Plan, *, verify: bool) -> tuple[GPT, Batches]:
        """A new model of the plan's shape, and the batches of `run/corpus`."""
        tokenizer = Tokenizer.load(run / CORPUS)
        self._check_shape(run, plan, tokenizer)
        return new_model(plan, tokenizer), self.open_batches(run, plan, tokenizer, verify=verify)

    @staticmethod
    def open_batches(run: Path, plan: Plan, tokenizer: Tokenizer, *, verify: bool) -> WindowBatches:
        """The batches of `run/corpus`."""
        return WindowBatches.of(plan, open_corpus(run / CORPUS, verify=verify), tokenizer)

    @staticmethod
    def _check_shape(run: Path, plan: Plan, tokenizer: Tokenizer) -> None:
        """Compares the plan's shape with the files of the run before a model of that shape is made.

        Raises:
            PellucidError: they differ, or there is no checkpoint yet and the model does not fit into memory.
        """
        newest = checkpoint.newest(run)
        if plan.config.vocab_size != tokenizer.vocab_size:
            counts = f"{plan.config.vocab_size:,} tokens, and the tokenizer has {tokenizer.vocab_size:,}"
            raise PellucidError(f"{run / RUN_FILE} says {counts}: {DAMAGED}")
        if newest is None:
            refuse_too_large(
                plan.config, plan.batch * plan.config.n_ctx, getattr(torch, plan.dtype), plan.optimizer,
                plan.optimizer_settings, resolve_device(plan.device),
            )  # fmt: skip
            return
        try:
            stored = read_config(newest)
        except PellucidError:
            return  # loading the checkpoint names the damaged file, and how to go on
        if stored != plan.config:
            raise PellucidError(f"{run / RUN_FILE} says another shape than the checkpoint {newest.name}: {DAMAGED}")


class TextWorkload(Workload):
    """Training on the text in `run/corpus` (`planner.Workload`).

    Args:
        config: the shape that was asked for; the tokenizer decides on its vocabulary.
        batch_tokens: in a full batch.

    Raises:
        PellucidError: the text or the batch is shorter than one window.
    """

    kind = "train"
    checkpoints = None  # as many as evaluations

    def __init__(
        self, run: Path, options: TrainingOptions, config: GPTConfig, learning_rate: float, batch_tokens: int, seed: int
    ) -> None:
        self.options, self.learning_rate, self.seed = options, learning_rate, seed
        self.corpus, self.tokenizer = open_corpus(run / CORPUS, verify=False), Tokenizer.load(run / CORPUS)
        self.config = config.replace(
            vocab_size=self.tokenizer.vocab_size,
            end_of_text=self.tokenizer.eot,
            start_of_text=self.tokenizer.eot if self.tokenizer.begin is None else self.tokenizer.begin,
        )
        self.positions, self.batch = config.n_ctx, batch_tokens // config.n_ctx
        held_out = windows_to_hold_out(self.corpus, config.n_ctx)
        self.batches = windows = WindowBatches(
            self.corpus, self.tokenizer, config.n_ctx, max(1, self.batch), seed, held_out_windows=held_out
        )
        refuse_too_little_held_out(windows)
        self.epoch_tokens = len(windows.windows) * config.n_ctx
        if self.batch < 1:
            raise PellucidError(f"batch_tokens is {batch_tokens}, less than one window of {config.n_ctx}: give that or more")
        source = {
            FIRST_WEIGHTS: BY_NAME,
            "tokenizer": self.tokenizer.fingerprint,
            "train_tokens": len(self.corpus.train),
            "held_out_tokens": len(self.corpus.held_out),
            "held_out_by": self.corpus.manifest["held_out"],
        }
        self.plan_fields = {"source": source, "held_out_windows": held_out}

    def schedule(self, learning_rate: float, timed_steps: int | None) -> tuple[int, Recipe]:
        """(steps, recipe): GPT-3's schedule stretched over the tokens of the budget, with a batch ramp if one was asked for."""
        options, full_batch = self.options, self.batch * self.positions
        steps = options.steps
        if timed_steps is not None:
            tokens = timed_steps * full_batch
        elif steps is not None:
            tokens = steps * full_batch
        elif options.tokens is not None:
            tokens = options.tokens
        else:
            tokens = min(TOKENS_PER_PARAMETER * self.config.parameters(), MAX_EPOCHS * self.epoch_tokens)
        ramp = Recipe.ramp(tokens, full_batch) if options.batch_ramp else {}
        before = ramp_of(Recipe.scaled(learning_rate, max(1, tokens), **ramp), self.batch, self.positions)
        batches = WindowBatches(self.corpus, self.tokenizer, self.positions, self.batch, self.seed, before)
        steps = at_least_one(batches.steps_for(tokens) if steps is None else steps)
        return steps, Recipe.scaled(learning_rate, batches.tokens_before(steps), **ramp)

    def default_prompt(self) -> str:
        """The first few plain words of the held-out text."""
        return _first_words(self.corpus, self.tokenizer)


def shape_of(options: TrainingOptions) -> tuple[GPTConfig, float, int]:
    """The shape that was asked for, its peak learning rate, and the tokens of a full batch.

    Raises:
        PellucidError: an unknown preset, or so few parameters that no shape has them.
    """
    rate, batch_tokens = options.learning_rate, options.batch_tokens
    if options.parameters is not None:
        derived = shape_for(options.parameters)
        return derived.config, rate or derived.learning_rate, batch_tokens or derived.batch_tokens
    if options.config is None:
        name = DEFAULT_PRESET if options.preset is None else options.preset
        chosen = find_preset(name)
        return GPTConfig.preset(name), rate or chosen.learning_rate, batch_tokens or chosen.batch_tokens
    # Choice: a shape of one's own gets a rate that falls with width as the presets' do, and a batch of a few windows.
    config = options.config
    return config, rate or min(4e-3, 0.5 / config.d_model), batch_tokens or max(4096, 4 * config.n_ctx)


def _first_words(corpus: TokenCorpus, tokenizer: Tokenizer) -> str:
    """The first few plain words of the held-out text."""
    opening = tokenizer.decode(i for i in corpus.held_out[0:400].tolist() if i != tokenizer.eot)
    return opening_words(opening, tokenizer)
