"""A run: planned once, kept in a directory, resumable.

    RUN/run.json          the plan          RUN/corpus/        the text as tokens
    RUN/metrics.jsonl     a line a step     RUN/checkpoints/   to go on from
    RUN/model/            the newest model; `pellucid generate -m RUN` reads it
"""

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid import events
from pellucid.corpus.documents import Document, read_documents
from pellucid.corpus.shards import TokenCorpus, build_corpus, open_corpus
from pellucid.corpus.windows import Windows, sequential
from pellucid.errors import PellucidError
from pellucid.events import Observer, emit
from pellucid.generate.load import load
from pellucid.generate.model import GPT
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.presets import preset as find_preset
from pellucid.text import Tokenizer, r50k, train_tokenizer
from pellucid.train import machine
from pellucid.train.held_out import held_out_loss
from pellucid.train.loop import METRICS, Batches, run_steps
from pellucid.train.plan import Plan, log_spaced
from pellucid.train.recipe import Recipe
from pellucid.train.step import loss_and_gradients, make_optimizer, update


Source = str | Path | Document
MICRO_BATCH_TOKENS = 4096  # enough rows to keep the matrix products busy, few enough to stay in cache
HELD_OUT_TOKENS = 16_384  # read at each look; the same tokens every time
CALIBRATION_STEPS = 4
# Choice: the share of a time budget left for looks at held-out text, samples, checkpoints and a machine that is shared.
TIME_RESERVE = 0.12
# Choice: without a budget a run sees 20 tokens a parameter, but no text more than 8 times.
TOKENS_PER_PARAMETER = 20
MOST_EPOCHS = 8


@dataclass(frozen=True, slots=True)
class Run:
    """A run directory and where it stands.

    Attributes:
        path: the directory. plan: what it does.
        step, tokens: done so far. finished: whether that is all.
    """

    path: Path
    plan: Plan
    step: int
    tokens: int

    @property
    def finished(self) -> bool:
        """Whether every step of the plan is done."""
        return self.step >= self.plan.total_steps

    def model(self) -> GPT:
        """The newest model."""
        return load(self.path)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`."""
        with (self.path / METRICS).open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]


class WindowBatches:
    """Batches of shuffled windows: the article's window slid over all the text, without replacement in an epoch."""

    def __init__(self, corpus: TokenCorpus, tokenizer: Tokenizer, n_ctx: int, batch: int, seed: int) -> None:
        self.windows = Windows(corpus.train, n_ctx, seed=seed)
        self.n_ctx, self.size = n_ctx, batch
        self.token_bytes = token_lengths(tokenizer)
        looks = -(-HELD_OUT_TOKENS // n_ctx)
        self.looked_at = list(islice(sequential(corpus.held_out, n_ctx), looks))

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """(B, T) ids and the (B, T) tokens that follow them."""
        windows = torch.from_numpy(self.windows.batch(step * self.size, self.size))
        return windows[:, :-1], windows[:, 1:]

    def tokens_before(self, step: int) -> int:
        """Every window trains on n_ctx tokens."""
        return step * self.size * self.n_ctx

    def epoch_at(self, step: int) -> float:
        """Windows seen over windows there are."""
        return step * self.size / len(self.windows)

    def held_out(self, model: GPT, dtype: torch.dtype) -> tuple[float, float]:
        """(nats a token, bits a byte) of the first `HELD_OUT_TOKENS` held-out tokens."""
        return held_out_loss(model, self.looked_at, self.token_bytes, dtype=dtype)


def token_lengths(tokenizer: Tokenizer) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(V,) bytes of text that each token stands for; 0 for end-of-text."""
    return np.array(
        [0 if token == tokenizer.eot else len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size)]
    )


def train(
    corpus: Source | Sequence[Source],
    out: str | Path,
    *,
    preset: str | None = None,
    config: GPTConfig | None = None,
    tokens: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    held_out: Source | Sequence[Source] | None = None,
    tokenizer: Tokenizer | str | None = None,
    batch_tokens: int | None = None,
    learning_rate: float | None = None,
    checkpoint_every: int | None = None,
    prompt: str | None = None,
    resume: bool = False,
    observers: Sequence[Observer] = (),
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Trains a model on text, or goes on with a run.

    Args:
        corpus: files or folders of UTF-8 text, or documents. Ignored when resuming.
        out: the run directory; new, or that of the run to resume.
        preset, config: the shape; `preset="cpu-2m"` if neither is given. The vocabulary is the tokenizer's.
        tokens, steps, minutes: how much; at most one of them. Minutes become tokens once, by timing a few steps.
            Default: 20 tokens a parameter, at most 8 times through the text.
        held_out: text to measure on and never to train on. Default: about 5 % of `corpus`, whole documents where it can.
        tokenizer: a tokenizer, "r50k" (GPT-3's own), "train" (one trained on this text, of the shape's vocabulary size), or
            a directory that holds one. Default: "r50k" for GPT presets, else "train".
        batch_tokens, learning_rate: default: the preset's.
        checkpoint_every: steps between checkpoints; default: 20 in a run, and one at the end.
        prompt: what samples continue; default: the first words of the held-out text.
        observers: told of every event. stop: asked after each step; True saves and returns.

    Returns:
        The run; `.finished` is False if it was stopped.

    Raises:
        PellucidError: unreadable or too little text, unknown preset, a run directory that exists, a damaged checkpoint.
    """
    run = Path(out)
    machine.keep_freed_memory()
    if resume:
        plan = Plan.load(run)
        if plan.kind != "train":
            raise PellucidError(f"{run} is a {plan.kind} run: resume it with pellucid {plan.kind} --resume --out {run}")
    else:
        one_budget(tokens=tokens, steps=steps, minutes=minutes)
        shape, rate, per_step = _shape(preset, config, learning_rate, batch_tokens)
        with new_run(run) as draft:
            _prepare(corpus, held_out, draft, shape, tokenizer, seed, observers)
            plan = _plan(
                draft, shape, tokens=tokens, steps=steps, minutes=minutes, seed=seed, learning_rate=rate,
                batch_tokens=per_step, checkpoint_every=checkpoint_every, prompt=prompt, observers=observers,
            )  # fmt: skip
    built = open_corpus(run / "corpus", verify=resume)
    words = Tokenizer.load(run / "corpus")
    batches = WindowBatches(built, words, plan.config.n_ctx, plan.batch, plan.seed)
    model = GPT(plan.config, tokenizer=words, seed=plan.seed)
    state = run_steps(run, plan, model, batches, observers=observers, stop=stop)
    return Run(path=run, plan=plan, step=state.step, tokens=state.tokens)


@contextmanager
def new_run(run: Path) -> Iterator[Path]:
    """A run directory in the making: prepared beside its place, under its own name only when it is whole.

    Raises:
        PellucidError: there is something in its place already.
    """
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise PellucidError(f"{run} exists: choose another --out, or go on with it by --resume")
    run = run.absolute()  # of "." and "a/..", too, there is a name
    draft = run.with_name(f".{run.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)  # what an interrupted preparation left
    try:
        draft.mkdir(parents=True)
        yield draft
        if run.exists():
            run.rmdir()  # empty; on Windows a directory cannot replace another
        os.replace(draft, run)
    except OSError as error:
        raise PellucidError(f"cannot make the run {run}: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def one_budget(**budget: float | None) -> None:
    """Refuses two answers to "how much?".

    Raises:
        PellucidError: more than one is given.
    """
    if sum(value is not None for value in budget.values()) > 1:
        raise PellucidError(f"give one of {', '.join(budget)}, not several")


def _shape(
    preset: str | None, config: GPTConfig | None, learning_rate: float | None, batch_tokens: int | None
) -> tuple[GPTConfig, float, int]:
    if preset and config:
        raise PellucidError("give a preset or a config, not both")
    if config is None:
        preset = preset or "cpu-2m"
        chosen = find_preset(preset)
        config = GPTConfig.preset(preset)
        return config, learning_rate or chosen.learning_rate, batch_tokens or chosen.batch_tokens
    # Choice: a shape of one's own gets a rate that falls with width as the presets' do, and a batch of a few windows.
    return config, learning_rate or min(4e-3, 0.5 / config.d_model), batch_tokens or max(4096, 4 * config.n_ctx)


def _prepare(
    corpus: Source | Sequence[Source],
    held_out: Source | Sequence[Source] | None,
    run: Path,
    shape: GPTConfig,
    tokenizer: Tokenizer | str | None,
    seed: int,
    observers: Sequence[Observer],
) -> None:
    """Text -> tokenizer -> shards, in `run/corpus`. The text is gone through twice, a file at a time."""
    tokenizer = tokenizer or ("r50k" if shape.name.startswith("gpt") else "train")
    if tokenizer == "train":
        emit(observers, events.Progress(stage="training the tokenizer", done=0))
        tokenizer = train_tokenizer((d.text for d in documents_of(corpus)), shape.vocab_size)
    elif isinstance(tokenizer, str):
        tokenizer = r50k() if tokenizer == "r50k" else Tokenizer.load(tokenizer)
    emit(observers, events.Progress(stage="turning text into tokens", done=0))
    built = build_corpus(
        documents_of(corpus), tokenizer, run / "corpus", seed=seed,
        held_out=None if held_out is None else documents_of(held_out),
    )  # fmt: skip
    tokenizer.save(run / "corpus")
    emit(observers, events.Progress(stage="turning text into tokens", done=len(built.train), unit="tokens"))


def documents_of(source: Source | Sequence[Source]) -> Iterator[Document]:
    """Documents as they are, then those read from files and folders; the same again at each call."""
    sources = [source] if isinstance(source, str | Path | Document) else list(source)
    yield from (s for s in sources if isinstance(s, Document))
    if paths := [s for s in sources if not isinstance(s, Document)]:
        yield from read_documents(paths)


def _plan(
    run: Path,
    shape: GPTConfig,
    *,
    tokens: int | None,
    steps: int | None,
    minutes: float | None,
    seed: int,
    learning_rate: float,
    batch_tokens: int,
    checkpoint_every: int | None,
    prompt: str | None,
    observers: Sequence[Observer],
) -> Plan:
    """Makes every choice of the run in `run` (its corpus is there already) and writes it down."""
    built, tokenizer = open_corpus(run / "corpus", verify=False), Tokenizer.load(run / "corpus")
    config = shape.replace(vocab_size=tokenizer.vocab_size)
    windows = len(Windows(built.train, config.n_ctx, seed=seed))  # refuses a text shorter than one window
    batch = max(1, batch_tokens // config.n_ctx)
    micro_batch = max(1, min(batch, MICRO_BATCH_TOKENS // config.n_ctx))
    dtype = machine.compute_dtype()
    if minutes is not None:
        emit(observers, events.Progress(stage="timing a few steps", done=0))
        batches = WindowBatches(built, tokenizer, config.n_ctx, batch, seed)
        seconds = seconds_per_step(config, batches, micro_batch, dtype, seed)
        steps = int(minutes * 60 * (1 - TIME_RESERVE) / seconds)
    elif steps is None:
        if tokens is None:
            tokens = min(TOKENS_PER_PARAMETER * config.parameters(), MOST_EPOCHS * windows * config.n_ctx)
        steps = -(-tokens // (batch * config.n_ctx))
    if steps < 1:
        raise PellucidError("the budget is less than one step: give more tokens, steps or minutes, or a smaller preset")
    plan = Plan(
        kind="train",
        config=config,
        recipe=Recipe.scaled(learning_rate, steps * batch * config.n_ctx),
        seed=seed,
        batch=batch,
        micro_batch=micro_batch,
        total_steps=steps,
        dtype=str(dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        held_out_every=max(1, steps // 20),
        checkpoint_every=checkpoint_every or max(1, steps // 20),
        sample_at=log_spaced(steps),
        sample_prompt=_first_words(built, tokenizer) if prompt is None else prompt,
        source={
            "tokenizer": tokenizer.fingerprint,
            "train_tokens": len(built.train),
            "held_out_tokens": len(built.held_out),
            "held_out_by": built.manifest["held_out"],
        },
        machine=dict(machine.describe()),
    )
    plan.save(run)
    return plan


def seconds_per_step(
    config: GPTConfig, batches: Batches, micro_batch: int, dtype: torch.dtype, seed: int
) -> float:
    """The median time of a few steps of a throw-away model (measured)."""
    model = GPT(config, seed=seed).train()
    optimizer = make_optimizer(model, Recipe.scaled(1e-4, 1))
    times = []
    for step in range(CALIBRATION_STEPS + 2):
        began = time.perf_counter()
        ids, targets = batches.batch(step)
        loss_and_gradients(model, ids, targets, micro_batch=micro_batch, dtype=dtype)
        update(optimizer, model.parameters(), lr=1e-4, clip=1.0)
        times.append(time.perf_counter() - began)
    return float(np.median(times[2:]))  # the first steps also pay for memory and set-up


def _first_words(built: TokenCorpus, tokenizer: Tokenizer) -> str:
    """The first few plain words of the held-out text: what every sample of the run continues."""
    opening = tokenizer.decode(i for i in built.held_out[0:400].tolist() if i != tokenizer.eot)
    words = re.search(r"\b[^\W\d_]+( [^\W\d_]+){2,3}\b", opening)
    return words[0] if words else " ".join(opening.split()[:3])
