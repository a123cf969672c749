"""`pellucid finetune`: fine-tunes a model on examples or text."""

import argparse
import sys
from collections.abc import Mapping

from pellucid.cli.parsing import utf8_text
from pellucid.cli.run_options import add_options, given_options
from pellucid.training.options import FinetuningOptions


HELP = "fine-tune a model on examples"
DESCRIPTION = """Fine-tunes a model on examples or on plain text. Examples are JSON lines, {"prompt": ..., "completion": ...}, a
JSON array of such objects, or CSV with the columns prompt and completion. A tenth of them is held out (if there are few,
up to a fifth). RUN/model is the model that answers most held-out examples exactly, and of several such models the one with
the lowest loss on them. At the end some are shown with the answers before and after. Without a budget: 4 epochs.
--lora-rank trains small adapters and leaves the weights frozen; RUN/model has them merged in, RUN/adapter has them for PEFT.
--check tells what is wrong with a file of examples, and --prepare writes a mended one; neither trains."""
EXAMPLE = """pellucid finetune examples.jsonl --out runs/tuned
  pellucid finetune reviews.csv --out runs/reviews -m runs/book
  pellucid finetune examples.jsonl --out runs/small --lora-rank 8 --lora-targets q,v
  pellucid finetune examples.jsonl --check
  pellucid generate -m runs/tuned "a prompt of the same kind" --temperature 0"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("examples", nargs="?", metavar="EXAMPLES", help="a .jsonl, .json or .csv file, or text")
    parser.add_argument("--out", metavar="RUN", help="the run directory; not needed with --check and --prepare")
    parser.add_argument("-m", "--model", help="the model to start from (default: the embedded model)")
    add_options(parser, FinetuningOptions, {"prompt": utf8_text})
    parser.add_argument("--held-out", metavar="FILE", help="examples to measure on (default: a part of EXAMPLES is held out)")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the order and of the held-out split (default 0)")
    parser.add_argument("--no-record", action="store_true", help="keep no record of the run (RUN/finetuning.pellucid)")
    parser.add_argument("--resume", action="store_true", help="resume the run in --out; with EXAMPLES: or start it")
    parser.add_argument("--check", action="store_true", help="print what is wrong with EXAMPLES, by line, and train nothing")
    parser.add_argument("--prepare", metavar="FILE", help="like --check, and write the mended examples to FILE (JSON lines)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    options = given_options(args, FinetuningOptions)
    if wrong := _wrong_use(args, options):
        print(f"pellucid finetune: {wrong}", file=sys.stderr)
        return 2
    if args.check or args.prepare is not None:
        from pellucid.cli.check_examples import check_examples

        return check_examples(args.examples, out=args.prepare, model=args.model or "default", json=args.json)
    from pellucid import finetune
    from pellucid.cli.display import RunDisplay, stop_on_signals
    from pellucid.cli.reports import finish_run

    with RunDisplay(json=args.json) as live, stop_on_signals(live) as stop:
        done = finetune(
            args.examples, args.out, model=args.model, held_out=args.held_out, seed=args.seed, resume=args.resume,
            record=not args.no_record, observers=[live], stop=stop, **options,
        )  # fmt: skip
    return finish_run(done, json=args.json)


def _wrong_use(args: argparse.Namespace, options: Mapping[str, object]) -> str | None:
    """The error of flags that do not go together, in a line; None where they do."""
    if args.check or args.prepare is not None:
        training = {
            "--out": args.out, "--resume": args.resume, "--seed": args.seed, "--held-out": args.held_out,
            "--no-record": args.no_record,
        }  # fmt: skip
        needless = [flag for flag, value in training.items() if value not in (None, False)]
        needless += ["--" + name.replace("_", "-") for name in options]
        if needless:
            return f"--check and --prepare train nothing: leave out {', '.join(needless)}"
        return None if args.examples else "--check and --prepare need EXAMPLES: a file"
    if args.out is None:
        return "give --out RUN, the run directory (or --check, to check EXAMPLES)"
    if not args.resume and not args.examples:
        return "give EXAMPLES for a new run, or --resume for one that exists"
    return None
