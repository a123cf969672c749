"""`pellucid finetune`: fine-tunes a model on examples or text."""

import argparse
import sys

from pellucid.cli.parsing import utf8_text
from pellucid.cli.run_options import add_options, given_options
from pellucid.training.options import FinetuningOptions


HELP = "fine-tune a model on examples"
DESCRIPTION = """Fine-tunes a model on examples or on plain text. Examples are JSON lines, {"prompt": ..., "completion": ...}, a
JSON array of such objects, or CSV with the columns prompt and completion. A tenth of them is held out, of few up to a
fifth; RUN/model is the model that answers most of those exactly, and of several the one with the lowest loss on them.
At the end some are shown with the answers before and after. Without a budget: 4 epochs."""
EXAMPLE = """pellucid finetune examples.jsonl --out runs/tuned
  pellucid finetune reviews.csv --out runs/reviews -m runs/book
  pellucid generate -m runs/tuned "a prompt of the same kind" --temperature 0"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("examples", nargs="?", metavar="EXAMPLES", help="a .jsonl, .json or .csv file, or text")
    parser.add_argument("--out", required=True, metavar="RUN", help="the run directory")
    parser.add_argument("-m", "--model", help="the model to start from (default: the embedded model)")
    add_options(parser, FinetuningOptions, {"prompt": utf8_text})
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the order and of the held-out split (default 0)")
    parser.add_argument("--no-record", action="store_true", help="keep no record of the run (RUN/finetuning.pellucid)")
    parser.add_argument("--resume", action="store_true", help="resume the run in --out; with EXAMPLES: or start it")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    if not args.resume and not args.examples:
        print("pellucid finetune: give EXAMPLES for a new run, or --resume for one that exists", file=sys.stderr)
        return 2
    options = given_options(args, FinetuningOptions)
    from pellucid import finetune
    from pellucid.cli.display import RunDisplay, stop_on_signals
    from pellucid.cli.reports import finish_run

    with RunDisplay(json=args.json) as live, stop_on_signals(live) as stop:
        done = finetune(
            args.examples, args.out, model=args.model, seed=args.seed, resume=args.resume,
            record=not args.no_record, observers=[live], stop=stop, **options,
        )  # fmt: skip
    return finish_run(done, json=args.json)
