"""`pellucid finetune`: a trained model, made better at one task."""

import argparse
import sys


HELP = "fine-tune a model on examples"
DESCRIPTION = """Fine-tunes a model on examples (JSONL, a line each: {"prompt": ..., "completion": ...}) or on plain text.
A tenth of the examples is held out; RUN/model is the model that did best on those. Without a budget: 4 times through."""
EXAMPLE = """pellucid finetune examples.jsonl --out runs/tuned
  pellucid generate -m runs/tuned "a prompt of the same kind" --temperature 0"""

PLANNED = (
    "model", "epochs", "steps", "minutes", "batch", "learning_rate", "seed", "prompt", "dtype",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("examples", nargs="?", metavar="EXAMPLES", help="a .jsonl file, or text")
    parser.add_argument("--out", required=True, metavar="RUN", help="the run directory")
    parser.add_argument("-m", "--model", help="what to start from (default: the embedded model)")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--epochs", type=float, metavar="N", help="times through the examples (default 4)")
    budget.add_argument("--steps", type=int, metavar="N", help="take this many steps")
    budget.add_argument("--minutes", type=float, metavar="N", help="train for about this long")
    parser.add_argument("--batch", type=int, metavar="N", help="examples in a step (default 16, fewer for few examples)")
    parser.add_argument("--learning-rate", type=float, metavar="X", help="the peak (default: by width)")
    parser.add_argument("--seed", type=int, metavar="N", help="of order and split (default 0)")
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16"], help="of the matrix products (default: bfloat16 where the CPU has it)"
    )
    parser.add_argument("--prompt", help="what samples continue (default: a held-out prompt)")
    parser.add_argument("--no-record", action="store_true", help="keep no record of the run (RUN/finetuning.pellucid)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out; needs no EXAMPLES")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(chosen: argparse.Namespace) -> int:
    """Runs the command."""
    if chosen.resume == bool(chosen.examples):
        print("pellucid finetune: give EXAMPLES for a new run, or --resume for one that exists", file=sys.stderr)
        return 2
    if chosen.resume and (given := [name for name in PLANNED if getattr(chosen, name) is not None]):
        print(f"pellucid finetune: a run goes on as it was planned: leave out --{given[0].replace('_', '-')}", file=sys.stderr)
        return 2
    from pellucid.api.runs import finetune
    from pellucid.cli.display import RunDisplay, stop_on_signals
    from pellucid.cli.reports import finish_run

    with RunDisplay(json=chosen.json) as live, stop_on_signals(live) as stop:
        done = finetune(
            chosen.examples, chosen.out, model=chosen.model or "default", epochs=chosen.epochs, steps=chosen.steps,
            minutes=chosen.minutes, batch=chosen.batch, learning_rate=chosen.learning_rate, seed=chosen.seed or 0,
            prompt=chosen.prompt, dtype=chosen.dtype, resume=chosen.resume, record=not chosen.no_record, observers=[live],
            stop=stop,
        )  # fmt: skip
    return finish_run(done, json=chosen.json)
