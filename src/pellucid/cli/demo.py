"""`pellucid demo`: train, generate, fine-tune and draw, in one command."""

import argparse
import math
import time
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HELP = "train, generate and fine-tune on this machine, in about two minutes, and see all of it"
DESCRIPTION = """Trains a small GPT-3-shaped model on your text (or on six children's books), generates text
with it and with the embedded model, fine-tunes the embedded model on a small task, records all of it, draws the article's
figures from the records, and writes everything to a folder with a page. Then serves that folder until Ctrl-C."""
EXAMPLE = """pellucid demo
  pellucid demo --text my-book.txt --seconds 120 --out my-demo"""

FINETUNE_SECONDS = 20.0
TIME_LIMIT = 1.3  # of a run, relative to its planned time
PROMPT = "Once upon a time"
RECORDED = 24  # tokens of the recorded completion


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--text", nargs="+", metavar="FILE_OR_DIR", help="text to train on (default: six story books)")
    parser.add_argument("--seconds", type=float, default=60, metavar="N", help="how long to train (default 60)")
    parser.add_argument("--out", metavar="DIR", help="the folder to write (default: a new pellucid-demo-N)")
    parser.add_argument("--no-serve", action="store_true", help="exit when all files are written, without serving the page")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of training and sampling (default 0)")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""

    from rich.text import Text

    from pellucid import finetune, train
    from pellucid.arguments import path_of
    from pellucid.cli.display import RunDisplay, run_console, stop_on_signals
    from pellucid.cli.output import command, print_json, prompt_words, shown_path
    from pellucid.cli.reports import SHOWN, TEMPERATURE, TOP_P, finish_run, print_answers, print_completion, run_json
    from pellucid.cli.studio import serve
    from pellucid.cli.summary import write_summary
    from pellucid.corpus import story_books
    from pellucid.errors import PellucidError
    from pellucid.finetuning.answers import held_out_answers
    from pellucid.finetuning.tasks import number_words
    from pellucid.generation.load import load
    from pellucid.interpret.capture import xray
    from pellucid.serve import Studio
    from pellucid.serve.studio.folder import draw_folder

    if not 5 <= args.seconds < float("inf"):
        raise PellucidError(f"--seconds must be 5 or more, not {args.seconds:g}")
    console = run_console(json=args.json)
    out = numbered_folder() if args.out is None else path_of("--out", args.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PellucidError(f"{out} exists: choose another --out")

    console.rule("[bold]1. Training: expose it to lots of text")
    text = args.text or list(story_books())
    named = ", ".join(map(shown_path, args.text or ())) or ", ".join(book.name for book in text)
    console.print(Text(f"text: {named}"))
    with RunDisplay(console=console) as live, stop_on_signals(live) as stop_requested:
        stop = Deadline(stop_requested, args.seconds)
        trained = train(
            text, out / "run", preset="tiny", minutes=args.seconds / 60, seed=args.seed,
            prompt=None if args.text else PROMPT, observers=[live], stop=stop,
        )  # fmt: skip
    if not trained.finished and stop_requested():
        return finish_run(trained, json=args.json)

    if not trained.finished:
        console.print("stopped at its time limit: this machine is busier than when it was timed")
    console.rule("[bold]2. Generating: one token at a time")
    print_completion(console, trained.model(), trained.plan.sample_prompt, "the model you just trained", seed=args.seed)
    base = load()
    print_completion(console, base, PROMPT, "the embedded model, trained longer, on stories", seed=args.seed)

    console.rule("[bold]3. Fine-tuning: better at one task")
    with RunDisplay(console=console) as live, stop_on_signals(live) as stop_requested:
        stop = Deadline(stop_requested, FINETUNE_SECONDS)
        tuned = finetune(
            number_words(), out / "tuned", model=base, minutes=FINETUNE_SECONDS / 60, batch=32, seed=args.seed,
            observers=[live], stop=stop,
        )  # fmt: skip
    if not tuned.finished and stop_requested():
        return finish_run(tuned, json=args.json)
    rows = held_out_answers(out / "tuned")
    print_answers(console, rows[:SHOWN], tuned)

    console.rule("[bold]4. Seen through: the figures, drawn from what was recorded")
    tale = xray(base, PROMPT, max_tokens=RECORDED, temperature=TEMPERATURE, top_p=TOP_P, seed=args.seed)
    tale.save(out / "tale.pellucid")
    runs = (out / "run", out / "tuned")
    page, drawn, absent = draw_folder(out, title="Pellucid: a demo", runs=runs, command=command("studio", out))
    stems = ", ".join(one.planned.stem for one in drawn)
    console.print(Text(f"{len(drawn)} figures in {shown_path(page.parent / 'figures')}: {stems}"))
    for lack in absent:
        console.print(Text(str(lack)), soft_wrap=True)

    summary = write_summary(out, trained, tuned, rows)
    console.rule("[bold]5. Yours")
    words = f"{shown_path(page)} shows all of it, without a server; {shown_path(summary)} says what happened; go on with"
    console.print(Text(words))
    for line in (
        ("generate", "-m", out / "run", *prompt_words(trained.plan.sample_prompt)),
        ("generate", "-m", out / "tuned", "777 =>", "--temperature", 0),
        ("generate", PROMPT, "--tokens"),
        ("verify", out / "tale.pellucid"),
    ):
        console.print(Text("  " + command(*line)), soft_wrap=True)
    summary_json = {"out": str(out), "page": str(page), "trained": run_json(trained), "tuned": run_json(tuned)}
    if args.no_serve:
        if args.json:
            print_json(summary_json)
        return 0

    def announce(studio: Studio) -> None:
        if args.json:
            print_json(summary_json | {"url": studio.url})
        console.print(Text(f"and with a prompt box, live: {studio.url}"), soft_wrap=True)

    return serve(Studio([out]), announce, browser=True)


class Deadline:
    """A `stop` for `train`: stops a run that takes much longer than planned, as on a machine that became busy.

    The run is saved and can be resumed; the demo continues with what was trained. The time starts at the run's first step.
    """

    def __init__(self, stop_requested: "Callable[[], bool]", seconds: float) -> None:
        self.stop_requested, self.seconds = stop_requested, seconds
        self.end = math.inf

    def __call__(self) -> bool:
        """Whether to stop now; called after each step."""
        self.end = min(self.end, time.monotonic() + TIME_LIMIT * self.seconds)
        return self.stop_requested() or time.monotonic() >= self.end


def numbered_folder() -> "Path":
    """The first of pellucid-demo-1, -2, ... that does not exist."""
    from itertools import count
    from pathlib import Path

    return next(path for path in (Path(f"pellucid-demo-{n}") for n in count(1)) if not path.exists())
