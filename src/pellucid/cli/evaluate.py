"""`pellucid evaluate`: a model's scores on tasks, with no, one and several examples in the prompt."""

import argparse
import sys
from typing import Any

from pellucid.cli.prime import numbers_of_shots


HELP = "score a model on tasks with 0, 1 and more examples in the prompt"
DESCRIPTION = """Asks a model the queries of tasks with different numbers of examples in the prompt, and prints the metrics of
the GPT-3 paper with intervals, and what the examples add (few-shot minus zero-shot). No weight changes.
TASKS are joined by commas: arithmetic (the paper's ten tasks), words (its five word tasks), families_held_out (eight
families of small tasks that the embedded models never trained on), families_frequent (the twelve that they trained on most),
families_trained (all 65 that they trained on), families_markup (descriptions with code), a single task by its name
(two_digit_addition, parity_label, ...), FILE.jsonl (queries of your own), FILE.txt (perplexity and bits per byte of a text).
FILE.jsonl has a query a line, {"prompt": "...", "completion": "..."}, multiple choice with "choices": ["...", "..."];
its first line may be {"task": "the task in words", "format": "arrow, equals, qa, code or plain"}.
react is the article's example, from descriptions to code, compared as trees. With --finetune the model is also fine-tuned
on the task's examples and asked again; DIR then has the records of the figures priming and finetuning.
With --out every sample is kept in DIR, and the same command resumes an evaluation that was interrupted."""
EXAMPLE = """pellucid evaluate --tasks two_digit_addition,capitals.jsonl --shots 0,1,8 --out scores
  pellucid evaluate --tasks react --shots 0,1,6 --orders 1 --queries 40 --finetune --out react"""
_FINETUNING_OPTIONS = ("epochs", "batch", "learning_rate_multiplier")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--tasks", required=True, metavar="TASKS", help="names of tasks, and files, joined by commas")
    parser.add_argument(
        "--shots", type=numbers_of_shots, default=(0, 1, 8), metavar="LIST", help="numbers of examples (default: 0,1,8)"
    )
    parser.add_argument("-m", "--model", default="default", help="a model or run directory (default: the embedded model)")
    parser.add_argument("--queries", type=int, default=100, metavar="N", help="the first N of each task (default 100; 0: all)")
    parser.add_argument("--orders", type=int, default=3, metavar="N", help="draws of examples for each query (default 3)")
    parser.add_argument("--seed", type=int, default=0, help="of tasks, drawn examples and intervals (default 0)")
    parser.add_argument("--out", metavar="DIR", help="folder for every sample, the scores, their table and chart")
    parser.add_argument(
        "--finetune", action="store_true", help="also fine-tune on the task's examples, and compare (one task; needs --out)"
    )
    parser.add_argument("--epochs", type=float, metavar="N", help="with --finetune: epochs (default 4)")
    parser.add_argument("--batch", type=int, metavar="N", help="with --finetune: examples in a step (default 16)")
    parser.add_argument(
        "--learning-rate-multiplier", type=float, metavar="X", help="with --finetune: as in pellucid finetune (default 0.2)"
    )
    parser.add_argument("--contamination", metavar="RUN", help="a run or its text: report the queries that are in it")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    if wrong := _wrong_use(args):
        print(f"pellucid evaluate: {wrong}", file=sys.stderr)
        return 2
    from pathlib import Path

    from pellucid.api.finetuned_scores import compare_with_finetuning
    from pellucid.cli.display import RunDisplay, stop_on_signals
    from pellucid.cli.output import print_json
    from pellucid.cli.streams import INTERRUPTED
    from pellucid.command_lines import shown_path
    from pellucid.errors import PellucidError
    from pellucid.evaluation.evaluate import evaluate
    from pellucid.evaluation.samples import CHART, SCORES, TABLE
    from pellucid.generation.load import load

    asked: dict[str, Any] = {
        "shots": args.shots, "queries": args.queries or None, "orders": args.orders, "seed": args.seed,
    }  # fmt: skip
    if args.finetune:
        with RunDisplay(json=True) as live, stop_on_signals(live) as stop:

            def report(line: str) -> None:
                live.plan = {}  # no run is training: there is nothing to save, and a signal ends the command at once
                print(line, file=sys.stderr)

            options = {name: getattr(args, name) for name in _FINETUNING_OPTIONS if getattr(args, name) is not None}
            try:
                scores = compare_with_finetuning(
                    args.model, args.tasks, args.out, **asked, report=report, observers=[live], stop=stop, **options
                )
            except PellucidError as error:
                if not stop():
                    raise
                print(f"pellucid evaluate: {error}", file=sys.stderr)
                return INTERRUPTED
    else:
        scores = evaluate(
            load(args.model), args.tasks, out=args.out, contamination=args.contamination, **asked,
            report=lambda line: print(line, file=sys.stderr),
        )  # fmt: skip
    if args.json:
        print_json(scores.to_dict())
    print(scores.markdown(), end="", file=sys.stderr if args.json else sys.stdout)
    if args.out is not None:
        written = ", ".join(name for name in (SCORES, TABLE, CHART) if (Path(args.out) / name).exists())
        print(f"{shown_path(args.out)}: {written}", file=sys.stderr if args.json else sys.stdout)
    return 0


def _wrong_use(args: argparse.Namespace) -> str | None:
    """The error of flags that do not go together, in a line; None where they do."""
    if args.finetune and args.out is None:
        return "--finetune needs --out DIR, which keeps the run"
    if args.finetune and args.contamination is not None:
        return "--contamination does not go with --finetune: leave out one of them"
    given = [f"--{name.replace('_', '-')}" for name in _FINETUNING_OPTIONS if getattr(args, name) is not None]
    if given and not args.finetune:
        return f"{given[0]} is an option of fine-tuning: add --finetune"
    return None
