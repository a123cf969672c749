"""`pellucid finetune`: a trained model, made better at one task."""

import argparse
import sys

from pellucid.cli.run_options import add_options, flag_of, given_options
from pellucid.training.options import FinetuningOptions


HELP = "fine-tune a model on examples"
DESCRIPTION = """Fine-tunes a model on examples (JSONL, a line each: {"prompt": ..., "completion": ...}) or on plain text.
A tenth of the examples is held out; RUN/model is the model that did best on those. Without a budget: 4 times through."""
EXAMPLE = """pellucid finetune examples.jsonl --out runs/tuned
  pellucid generate -m runs/tuned "a prompt of the same kind" --temperature 0"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("examples", nargs="?", metavar="EXAMPLES", help="a .jsonl file, or text")
    parser.add_argument("--out", required=True, metavar="RUN", help="the run directory")
    parser.add_argument("-m", "--model", help="what to start from (default: the embedded model)")
    add_options(parser, FinetuningOptions)
    parser.add_argument("--seed", type=int, metavar="N", help="of order and split (default 0)")
    parser.add_argument("--no-record", action="store_true", help="keep no record of the run (RUN/finetuning.pellucid)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out; needs no EXAMPLES")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(chosen: argparse.Namespace) -> int:
    """Runs the command."""
    if chosen.resume == bool(chosen.examples):
        print("pellucid finetune: give EXAMPLES for a new run, or --resume for one that exists", file=sys.stderr)
        return 2
    options = given_options(chosen, FinetuningOptions)
    planned = [f"--{name}" for name in ("model", "seed") if getattr(chosen, name) is not None]
    planned += [flag_of(name, FinetuningOptions) for name in options]
    if chosen.resume and planned:
        print(f"pellucid finetune: a run goes on as it was planned: leave out {planned[0]}", file=sys.stderr)
        return 2
    from pellucid import finetune
    from pellucid.cli.display import RunDisplay, stop_on_signals
    from pellucid.cli.reports import finish_run

    with RunDisplay(json=chosen.json) as live, stop_on_signals(live) as stop:
        done = finetune(
            chosen.examples, chosen.out, model=chosen.model or "default", seed=chosen.seed or 0, resume=chosen.resume,
            record=not chosen.no_record, observers=[live], stop=stop, **options,
        )  # fmt: skip
    return finish_run(done, json=chosen.json)
