"""Trains the default model: a run without a fixed end that may be killed at any time.

    python -m recipes.default_model.train RUN --data DATA                  a new run without end, at a constant learning rate
    python -m recipes.default_model.train RUN --data DATA --begin-with MODEL
                                                                           the same, from a model's weights
    python -m recipes.default_model.train RUN --resume                     resumes a run from its newest checkpoint
    python -m recipes.default_model.train RUN2 --decay-from RUN/checkpoints/STEP --tokens N
                                                                           the decay: the rate falls to a tenth over N tokens
    torchrun --nproc-per-node N -m recipes.default_model.train RUN --resume
                                                                           in N processes that share the windows of a step

RUN holds `run.json` (all settings), `log.jsonl` (a line for each start: processor, versions, threads, dtype), `metrics.jsonl`
(a line for each step and each evaluation) and `checkpoints/`. A step is a function of the weights, the optimizer's state and
the step's number, so a run that was killed and resumed equals an uninterrupted one to the bit, on the same kind of processor
with the same number of processes.
"""

import argparse
import json
import math
import os
import platform
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pellucid.corpus import open_corpus
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.fingerprint import fingerprint
from pellucid.locks import locked
from pellucid.runs.recipe import Recipe
from pellucid.text import Tokenizer
from pellucid.training.memory_limit import retain_freed_memory
from pellucid.training.optimizers import make_optimizer
from pellucid.training.placement import has_operators
from pellucid.training.step import loss_and_gradients, update
from recipes.default_model import checkpoints
from recipes.default_model.books import VALIDATION
from recipes.default_model.evaluate import OFTEN, WINDOWS_A_BOOK, average_scores, bits_per_byte, few_shot
from recipes.default_model.families import HELD_OUT
from recipes.default_model.settings import SHAPES, Settings, shape
from recipes.default_model.windows import Mixture, Shares


METRICS, LOG = "metrics.jsonl", "log.jsonl"
QUERIES = 24  # of each family, in an evaluation during training


class Run:
    """A run in its folder: model, averaged weights, optimizer, data, and the steps and tokens so far."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.settings = folder, settings
        data = Path(settings.data)
        config = GPTConfig.from_dict(settings.config)
        tokenizer = Tokenizer.load(data)
        if tokenizer.fingerprint != settings.tokenizer:
            raise ValueError(f"{data} holds another tokenizer than this run began with: prepare the same data, or give --data")
        self.dtype: torch.dtype = getattr(torch, settings.dtype)
        self.model = GPT(config, tokenizer=tokenizer, seed=settings.seed)
        self.model.requires_grad_()
        self.averaged = GPT(config, tokenizer=tokenizer, seed=settings.seed)
        self.average = {name: p.data for name, p in self.averaged.named_parameters()}
        beta1, beta2 = settings.betas
        recipe = Recipe.scaled(
            settings.learning_rate, 1, weight_decay=settings.weight_decay, beta1=beta1, beta2=beta2
        )  # of which the optimizer takes these alone
        self.optimizer = make_optimizer(self.model, recipe, "muon", {"matmul_dtype": settings.dtype})
        self.mixture = Mixture.open(
            data, config.n_ctx, shares=Shares(tasks=settings.tasks, markup=settings.markup), seed=settings.seed,
            eot_from=settings.eot_from,
        )  # fmt: skip
        self.corpus = open_corpus(data / "prose", verify=False)
        self.step = self.tokens = 0
        if (found := checkpoints.newest(folder)) is not None:
            self.step, self.tokens = checkpoints.load(found, self.model, self.average, self.optimizer)

    def take_step(self) -> dict[str, Any]:
        """Takes the next step; returns its line of metrics."""
        settings, began, began_cpu = self.settings, time.perf_counter(), time.process_time()
        ids, targets = (_share(tensor) for tensor in self.mixture.batch(self.step, settings.batch))
        self.model.train()
        loss = loss_and_gradients(
            self.model, ids, targets, micro_batch=settings.micro_batch, dtype=self.dtype, compiled=has_operators(self.dtype)
        )
        loss = self._mean_over_processes(loss)
        lr = settings.learning_rate_at(self.tokens)
        norm = update(self.optimizer, self.model.parameters(), lr=lr, clip=settings.clip)
        if not math.isfinite(loss + norm):
            raise ValueError(f"the loss is no longer a number at step {self.step + 1}: begin again with a lower learning rate")
        self._average_weights(settings.average_at(self.step))
        self.step += 1
        self.tokens += settings.batch_tokens
        seconds = time.perf_counter() - began
        return {
            "step": self.step, "tokens": self.tokens, "loss": loss, "lr": lr, "grad_norm": norm,
            "tokens_per_s": round(settings.batch_tokens / seconds, 1), "cpu_s": round(time.process_time() - began_cpu, 2),
        }  # fmt: skip

    def _mean_over_processes(self, loss: float) -> float:
        """Averages the gradients over all processes; returns the mean of their losses."""
        if not dist.is_initialized():
            return loss
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        together = torch.cat([torch.tensor([loss]), *(gradient.flatten() for gradient in gradients)])
        dist.all_reduce(together)
        together /= dist.get_world_size()
        parts = together[1:].split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        return float(together[0].item())

    @torch.no_grad()
    def _average_weights(self, stays: float) -> None:
        for name, p in self.model.named_parameters():
            self.average[name].lerp_(p.data, 1 - stays)

    def evaluate(self) -> dict[str, Any]:
        """Measures the averaged weights on held-out books and few-shot prompts; returns a line of metrics."""
        began = time.perf_counter()
        bits = bits_per_byte(self.averaged, self.corpus, VALIDATION, windows_a_book=WINDOWS_A_BOOK, dtype=self.dtype)
        line: dict[str, Any] = {"step": self.step, "tokens": self.tokens, "bits_per_byte": round(bits, 5)}
        for name, families in (("held_out", HELD_OUT), ("trained", OFTEN)):
            scores = few_shot(self.averaged, self.mixture.lexicon, families, queries=QUERIES)
            line[name] = average_scores(scores) | {
                "families": {family: [s["gain"], *s["accuracy"].values()] for family, s in scores.items()}
            }
        return line | {"seconds": round(time.perf_counter() - began, 1)}

    def save(self) -> Path:
        """Writes a checkpoint of the current state; returns its folder."""
        return checkpoints.save(
            self.folder, self.model, self.average, self.optimizer, step=self.step, tokens=self.tokens,
            kept=self.crossed(self.settings.keep_every),
        )  # fmt: skip

    def crossed(self, every: int) -> bool:
        """Whether the last step passed a multiple of `every` tokens."""
        return self.step > 0 and self.tokens // every > (self.tokens - self.settings.batch_tokens) // every


def train(
    folder: Path,
    settings: Settings,
    *,
    until: int | None = None,
    evaluate: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Trains up to a number of tokens, to the end of the decay, or until it is asked to stop.

    Args:
        folder: with a `run.json`, and with checkpoints if a run is resumed.
        settings: those of `run.json`, perhaps with another dtype or number of threads.
        until: tokens; None: to the end of the decay, or without end.
        evaluate: whether there are evaluations during training.
        stop: asked before and after each step; True in any process saves a checkpoint and ends the run.

    With `torch.distributed` initialized, each process computes its share of a step's windows; only the first one writes.
    """
    torch.set_num_threads(settings.threads)
    retain_freed_memory()
    end = min((tokens for tokens in (until, settings.end) if tokens is not None), default=None)
    writes = _rank() == 0
    with locked(folder) if writes else nullcontext():
        run = Run(folder, settings)
        if writes:
            _append(folder / LOG, _start_line(run))
            _cut_metrics(folder / METRICS, run.step)
        saved, stopping = time.monotonic(), _any_process(stop())
        while not stopping and (end is None or run.tokens < end):
            line = run.take_step()
            over = end is not None and run.tokens >= end
            stopping = _any_process(stop())
            if not writes:
                continue
            _append(folder / METRICS, line)
            if evaluate and (over or run.crossed(settings.evaluate_every)):
                _append(folder / METRICS, run.evaluate())
            due = time.monotonic() - saved >= settings.checkpoint_seconds
            if over or due or stopping or run.crossed(settings.keep_every):
                run.save()
                saved = time.monotonic()
    return run


def begin_with(model: GPT, folder: Path, settings: Settings) -> Settings:
    """Makes a new run whose checkpoint of step 0 has a model's weights; returns its settings.

    Args:
        model: of the run's shape, with the tokenizer of the run's data.
    """
    settings = replace(settings, begun_with=fingerprint(model))
    run = Run(folder, settings)
    for begun in (run.model, run.averaged):
        begun.load_state_dict(model.state_dict())
    run.save()
    settings.save(folder)
    return settings


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _share(windows: Tensor) -> Tensor:
    """This process's windows of a step: (windows / processes, n_ctx)."""
    if not dist.is_initialized():
        return windows
    return windows.chunk(dist.get_world_size())[dist.get_rank()]


def _any_process(asked: bool) -> bool:
    """Whether `asked` is true in any process; every process gets the same answer."""
    if not dist.is_initialized():
        return asked
    found = torch.tensor(int(asked))
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return bool(found.item())


def begin_decay(checkpoint: Path, folder: Path, tokens: int) -> Settings:
    """Makes a new run from a checkpoint of another, in which the learning rate decays over `tokens`; returns its settings."""
    state = checkpoints.read_state(checkpoint)
    settings = replace(Settings.load(checkpoint.parent.parent), decay_from=state["tokens"], decay_tokens=tokens)
    into = checkpoints.folder(folder, state["step"])
    into.parent.mkdir(parents=True)
    shutil.copytree(checkpoint, into)
    settings.save(folder)
    return settings


def _start_line(run: Run) -> dict[str, Any]:
    """The line of `log.jsonl` for a start."""
    settings = run.settings
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"), "step": run.step, "tokens": run.tokens,
        "processor": _processor(), "capability": torch.backends.cpu.get_cpu_capability(), "torch": torch.__version__,
        "python": platform.python_version(), "threads": settings.threads, "dtype": settings.dtype,
    }  # fmt: skip


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    found = {key.strip(): value.strip() for key, value in named.items()}
    return f"{found.get('model name', platform.machine())}, family {found.get('cpu family')}, model {found.get('model')}"


def _append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _cut_metrics(path: Path, step: int) -> None:
    """Removes the lines of steps after the checkpoint that a run resumes from: these steps are taken again."""
    if not path.exists():
        return
    kept: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (json.JSONDecodeError, KeyError):
            continue  # a line that a kill cut short
    part = path.with_suffix(".part")
    part.write_text("".join(kept), encoding="utf-8")
    os.replace(part, path)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--data", type=Path, help="what prepare made; with --resume: where that is now")
    parser.add_argument("--begin-with", type=Path, metavar="MODEL", help="a model directory: its shape and weights")
    parser.add_argument("--decay-from", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--tokens", type=int, help="stop there; with --decay-from: how long the decay is")
    parser.add_argument("--shape", choices=sorted(SHAPES), help="of a new run; default: default")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), help="of the matrix products; default float32, or as before"
    )
    parser.add_argument("--threads", type=int, help="default 1, or as before")
    for name in ("learning-rate", "weight-decay"):
        parser.add_argument(f"--{name}", type=float)
    for name in ("seed", "tasks", "markup", "eot-from", "batch", "micro-batch", "warmup-tokens", "evaluate-every"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--no-evaluation", action="store_true", help="no evaluation during training")
    chosen = parser.parse_args()
    data = chosen.data.resolve() if chosen.data else None
    until = chosen.tokens
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1 and not chosen.resume:
        parser.error("begin the run in one process (with --tokens 0), then --resume it in several")
    if chosen.decay_from is not None:
        if chosen.tokens is None or chosen.resume:
            parser.error("--decay-from begins a new run and needs --tokens")
        settings, until = begin_decay(chosen.decay_from, chosen.run, chosen.tokens), None
    elif chosen.resume:
        settings = Settings.load(chosen.run)
    else:
        if data is None:
            parser.error("a new run needs --data")
        if (chosen.run / "run.json").exists():
            parser.error(f"{chosen.run} is a run already: give --resume")
        tokenizer = Tokenizer.load(data)
        names = (
            "learning_rate",
            "weight_decay",
            "seed",
            "tasks",
            "markup",
            "eot_from",
            "batch",
            "micro_batch",
            "warmup_tokens",
            "evaluate_every",
        )
        given = {name: getattr(chosen, name) for name in names if getattr(chosen, name) is not None}
        if chosen.begin_with and chosen.shape:
            parser.error("--begin-with brings its shape: leave --shape out")
        begun = load(chosen.begin_with) if chosen.begin_with else None
        config = begun.config if begun else shape(chosen.shape or "default", tokenizer.vocab_size)
        settings = Settings(config=config.to_dict(), data=str(data), tokenizer=tokenizer.fingerprint, **given)
        chosen.run.mkdir(parents=True, exist_ok=True)
        if begun:
            if begun.require_tokenizer().fingerprint != tokenizer.fingerprint:
                parser.error(f"{data} was not prepared with the tokenizer of {chosen.begin_with}")
            settings = begin_with(begun, chosen.run, settings)
    now = {"data": str(data) if data else None, "dtype": chosen.dtype, "threads": chosen.threads}
    settings = replace(settings, **{name: value for name, value in now.items() if value is not None})
    if not (chosen.run / "run.json").exists():
        settings.save(chosen.run)
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda which, frame: asked.append(which))
    if processes > 1:
        dist.init_process_group("gloo")
        if settings.batch % processes:
            parser.error(f"{settings.batch} windows a step are not shared alike by {processes} processes")
    train(chosen.run, settings, until=until, evaluate=not chosen.no_evaluation, stop=lambda: bool(asked))
    if processes > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
