"""`pellucid demo`: the article in five chapters on this machine: train, write, look inside, prime, fine-tune."""

import argparse
from typing import TYPE_CHECKING

from pellucid.languages import LANGUAGES


if TYPE_CHECKING:
    from pathlib import Path

MOST_SECONDS = 604_800
HELP = "train, generate, look inside, prime and fine-tune on this machine, in about two minutes, and see all of it"
DESCRIPTION = """Trains a small GPT-3-shaped model on your text (or on six story books), generates text with it and with
the embedded model, records what happens inside, primes the embedded model with examples and fine-tunes it on them, draws the
article's figures from the records, and writes everything to a folder with a page. Then serves that folder until Ctrl-C."""
EXAMPLE = """pellucid demo
  pellucid demo --text my-book.txt --seconds 120 --out my-demo"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--text", nargs="+", metavar="FILE_OR_DIR", help="text to train on (default: six story books)")
    parser.add_argument("--seconds", type=float, default=60, metavar="N", help="how long to train (default 60)")
    parser.add_argument("--out", metavar="DIR", help="the folder to write (default: a new pellucid-demo-N)")
    parser.add_argument("--live", action="store_true", help="put the embedded model into the page, which then writes offline")
    parser.add_argument("--no-serve", action="store_true", help="exit when all files are written, without serving the page")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of training and sampling (default 0)")
    parser.add_argument("--lang", choices=LANGUAGES, help="language of the words and the page (default: the locale's)")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from pellucid.languages import language

    with language(args.lang):
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    from pellucid.arguments import path_of
    from pellucid.cli.demo_chapters import Demo
    from pellucid.cli.display import run_console
    from pellucid.cli.reports import finish_run
    from pellucid.errors import PellucidError

    if not 5 <= args.seconds <= MOST_SECONDS:
        raise PellucidError(f"--seconds must be from 5 to {MOST_SECONDS:,}, a week, not {args.seconds:g}")
    out = numbered_folder() if args.out is None else path_of("--out", args.out)
    there = out.resolve()  # of new/.. the folder that it will be when new is there
    if there.exists() and (not there.is_dir() or any(there.iterdir())):
        raise PellucidError(f"{out} exists: choose another --out")
    demo = Demo(console=run_console(json=args.json), out=out, seed=args.seed, live=args.live)

    trained = demo.train(args.text, args.seconds)
    if trained is None:
        return finish_run(demo.runs[-1], json=args.json)
    demo.write(trained)
    demo.look_inside()
    demo.prime()
    tuned = demo.finetune()
    if tuned is None:
        return finish_run(demo.runs[-1], json=args.json)
    return demo.show(trained, tuned, json=args.json, serves=not args.no_serve)


def numbered_folder() -> "Path":
    """The first of pellucid-demo-1, -2, ... that does not exist."""
    from itertools import count
    from pathlib import Path

    return next(path for path in (Path(f"pellucid-demo-{n}") for n in count(1)) if not path.exists())
