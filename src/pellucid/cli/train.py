"""`pellucid train`: a model from text."""

import argparse
import sys


HELP = "train a model on text"
DESCRIPTION = """Trains a model on text files or folders, into a run directory that can be resumed.
Without a budget: 20 tokens a parameter, at most 8 times through the text."""
EXAMPLE = """pellucid train book.txt --out runs/book --preset cpu-2m --minutes 10
  pellucid train --resume --out runs/book"""

PLANNED = (
    "preset", "tokens", "steps", "minutes", "seed", "checkpoint_every", "batch_tokens", "learning_rate", "tokenizer",
    "held_out", "prompt",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("text", nargs="*", metavar="TEXT", help="UTF-8 files or folders")
    parser.add_argument("--out", required=True, metavar="RUN", help="the run directory")
    parser.add_argument("--preset", help="the model's shape (default cpu-2m)")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--tokens", type=int, metavar="N", help="train on this many tokens")
    budget.add_argument("--steps", type=int, metavar="N", help="take this many steps")
    budget.add_argument("--minutes", type=float, metavar="N", help="train for about this long")
    parser.add_argument("--seed", type=int, metavar="N", help="of first weights and order (default 0)")
    parser.add_argument("--checkpoint-every", type=int, metavar="STEPS", help="default: 20 times in a run")
    parser.add_argument("--batch-tokens", type=int, metavar="N", help="tokens in a step (default: the preset's)")
    parser.add_argument("--learning-rate", type=float, metavar="X", help="the peak (default: the preset's)")
    parser.add_argument("--tokenizer", metavar="WHAT", help='"r50k", "train" or a directory (default: by preset)')
    parser.add_argument("--held-out", action="append", metavar="TEXT", help="text to measure on; may be repeated")
    parser.add_argument("--prompt", help="what samples continue (default: the first held-out words)")
    parser.add_argument("--no-record", action="store_true", help="keep no record of the run (RUN/training.pellucid)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out; needs no TEXT")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(chosen: argparse.Namespace) -> int:
    """Runs the command."""
    if chosen.resume == bool(chosen.text):
        print("pellucid train: give TEXT for a new run, or --resume for one that exists", file=sys.stderr)
        return 2
    if chosen.resume and (given := [name for name in PLANNED if getattr(chosen, name) is not None]):
        print(f"pellucid train: a run goes on as it was planned: leave out --{given[0].replace('_', '-')}", file=sys.stderr)
        return 2
    from pellucid.cli.show import Live, finish_run, stop_on_signals
    from pellucid.train.run import train

    with Live(json=chosen.json) as live, stop_on_signals(live) as stop:
        done = train(
            chosen.text, chosen.out, preset=chosen.preset, tokens=chosen.tokens, steps=chosen.steps,
            minutes=chosen.minutes, seed=chosen.seed or 0, checkpoint_every=chosen.checkpoint_every,
            batch_tokens=chosen.batch_tokens, learning_rate=chosen.learning_rate, tokenizer=chosen.tokenizer,
            held_out=chosen.held_out, prompt=chosen.prompt, resume=chosen.resume, record=not chosen.no_record,
            observers=[live], stop=stop,
        )  # fmt: skip
    return finish_run(done, json=chosen.json)
