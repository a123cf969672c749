"""`pellucid train`: trains a model on text."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pellucid.cli.parsing import utf8_text
from pellucid.cli.plan import whole
from pellucid.cli.run_options import add_options, given_options
from pellucid.cli.streams import INTERRUPTED, print_error
from pellucid.errors import PellucidError
from pellucid.events import Observer
from pellucid.training.mesh import OtherRankFailed, RankError, rank, world_size
from pellucid.training.options import TrainingOptions


if TYPE_CHECKING:
    from pellucid import Run

MAIN_RANK_SECONDS = 30.0  # for rank 0 to say what all ranks find
AS_ONE = 5.0  # seconds in which the signals that torchrun's processes get count as one
HELP = "train a model on text"
DESCRIPTION = """Trains a model on text files or folders, into a run directory that can be resumed.
Without a budget: 20 tokens a parameter, at most 8 times through the text.
With --dry-run: prints the plan, its time on this machine and its memory; nothing is kept."""
EXAMPLE = """pellucid train book.txt --out runs/book --preset cpu-2m --minutes 10
  pellucid train book.txt --parameters 10M --dry-run
  pellucid train --resume --out runs/book
  pellucid train book.txt --out runs/book --minutes 10 --resume      # starts or goes on: what a restart script types"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("text", nargs="*", metavar="TEXT", help="UTF-8 files or folders")
    parser.add_argument("--out", metavar="RUN", help="the run directory")
    add_options(parser, TrainingOptions, {"parameters": whole, "prompt": utf8_text})
    parser.add_argument("--seed", type=int, metavar="N", help="seed of first weights and data order (default 0)")
    parser.add_argument("--no-record", action="store_true", help="keep no record of the run (RUN/training.pellucid)")
    parser.add_argument("--tensorboard", action="store_true", help="also write RUN/tensorboard/ (needs that package)")
    parser.add_argument(
        "--wandb", nargs="?", const="", metavar="PROJECT", help="also log to Weights & Biases (needs the package wandb)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan, its time and memory, and stop; needs no --out")
    parser.add_argument("--resume", action="store_true", help="resume the run in --out; with TEXT: or start it")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    if not args.resume and not args.text:
        print("pellucid train: give TEXT for a new run, or --resume for one that exists", file=sys.stderr)
        return 2
    options = given_options(args, TrainingOptions)
    if (args.dry_run and args.resume) or not (args.out or args.dry_run):
        print("pellucid train: give --out RUN; only a --dry-run of a new run needs none", file=sys.stderr)
        return 2
    if args.dry_run:
        return _dry_run(args, options)
    try:
        done = _train(args, options)
    except (PellucidError, KeyboardInterrupt) as error:
        if world_size() == 1:
            raise
        _end_rank(error)
    if rank():
        return 0 if done.finished else INTERRUPTED
    from pellucid.cli.reports import finish_run

    return finish_run(done, json=args.json)


def _train(args: argparse.Namespace, options: dict[str, Any]) -> "Run":
    """Trains with a display; of torchrun's processes one has it."""
    from rich.console import Console

    from pellucid import train
    from pellucid.cli.display import RunDisplay, stop_on_signals
    from pellucid.cli.reports import print_scaling
    from pellucid.training.tensorboard import TensorBoard
    from pellucid.training.wandb import WeightsAndBiases

    console = Console(quiet=True) if rank() else None
    as_one = AS_ONE if world_size() > 1 else 0.0
    with RunDisplay(json=args.json, console=console) as live, stop_on_signals(live, as_one=as_one) as stop:
        if args.parameters is not None:
            print_scaling(args.parameters, live.console)
        boards: list[Observer] = []
        if args.tensorboard and rank() == 0:
            boards.append(TensorBoard(Path(args.out)))
        if args.wandb is not None and rank() == 0:
            boards.append(WeightsAndBiases(Path(args.out), args.wandb or None))
        return train(
            args.text, args.out, seed=args.seed, resume=args.resume, record=not args.no_record,
            observers=[live, *boards], stop=stop, **options,
        )  # fmt: skip


def _end_rank(error: PellucidError | KeyboardInterrupt) -> NoReturn:
    """Ends this process of several at once: a thread of it may wait for one that is gone. One of them says why."""
    if isinstance(error, KeyboardInterrupt):
        os._exit(INTERRUPTED)
    if isinstance(error, OtherRankFailed):
        os._exit(1)
    if rank() and not isinstance(error, RankError):  # found before the ranks met: rank 0 is about to find it, too
        try:
            time.sleep(MAIN_RANK_SECONDS)  # torchrun ends this process when rank 0 has said it
        except KeyboardInterrupt:
            os._exit(INTERRUPTED)
        error = RankError(f"rank {rank()}: {error}")
    print_error(f"pellucid: {error}")
    os._exit(1)


def _dry_run(args: argparse.Namespace, options: dict[str, Any]) -> int:
    from pellucid.cli.display import RunDisplay
    from pellucid.cli.output import print_json
    from pellucid.cli.reports import print_preview
    from pellucid.gpt.scaling import shape_for
    from pellucid.planning.preview import Preview
    from pellucid.training.run import dry_run

    with RunDisplay(json=args.json) as live:
        plan, throughput = dry_run(args.text, seed=args.seed, observers=[live], **options)
    scaled_shape = shape_for(args.parameters) if args.parameters else None
    preview = Preview(plan=plan, throughput=throughput, scaled_shape=scaled_shape)
    if args.json:
        print_json(preview.to_dict())
    else:
        print_preview(preview)
    return 0
