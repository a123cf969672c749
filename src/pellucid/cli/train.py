"""`pellucid train`: a model from text."""

import argparse
import sys
from pathlib import Path
from typing import Any

from pellucid.cli.plan import whole
from pellucid.events import Observer


HELP = "train a model on text"
DESCRIPTION = """Trains a model on text files or folders, into a run directory that can be resumed.
Without a budget: 20 tokens a parameter, at most 8 times through the text.
With --dry-run: what that would be, how long it would take here, and what memory; nothing is kept."""
EXAMPLE = """pellucid train book.txt --out runs/book --preset cpu-2m --minutes 10
  pellucid train book.txt --parameters 10M --dry-run
  pellucid train --resume --out runs/book"""

PLANNED = (
    "preset", "parameters", "tokens", "steps", "minutes", "seed", "checkpoint_every", "batch_tokens", "batch_ramp",
    "learning_rate", "tokenizer", "held_out", "prompt", "keep", "keep_best", "skip_spikes", "patience",
    "optimizer", "optimizer_settings", "mask_documents", "dtype",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("text", nargs="*", metavar="TEXT", help="UTF-8 files or folders")
    parser.add_argument("--out", metavar="RUN", help="the run directory")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--preset", help="the model's shape (default cpu-2m)")
    shape.add_argument(
        "--parameters", type=whole, metavar="N", help="about how many it should have, as 10M: shape, rate and batch follow"
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--tokens", type=int, metavar="N", help="train on this many tokens")
    budget.add_argument("--steps", type=int, metavar="N", help="take this many steps")
    budget.add_argument("--minutes", type=float, metavar="N", help="train for about this long")
    parser.add_argument("--seed", type=int, metavar="N", help="of first weights and order (default 0)")
    parser.add_argument("--checkpoint-every", type=int, metavar="STEPS", help="default: 20 times in a run")
    parser.add_argument("--keep", type=int, metavar="N", help="how many checkpoints stay, the newest (default 2)")
    parser.add_argument(
        "--keep-best", action="store_true", default=None, help="end with the model of the lowest held-out loss, not the last"
    )
    parser.add_argument(
        "--skip-spikes", type=float, metavar="Z",
        help="leave out a step whose loss or gradient is Z standard deviations above those before it (default: none)",
    )  # fmt: skip
    parser.add_argument(
        "--patience", type=int, metavar="LOOKS", help="end when held-out loss has not fallen in so many looks (default: never)"
    )
    parser.add_argument("--batch-tokens", type=int, metavar="N", help="tokens in a step (default: the preset's)")
    parser.add_argument(
        "--batch-ramp", action="store_true", default=None, help="let the batch grow to that, in GPT-3's proportions"
    )
    parser.add_argument("--learning-rate", type=float, metavar="X", help="the peak (default: the preset's)")
    parser.add_argument("--optimizer", metavar="NAME", help="adamw (default), muon, or another of torch.optim, as sgd")
    parser.add_argument(
        "--optimizer-setting", type=_setting, action="append", dest="optimizer_settings", metavar="NAME=VALUE",
        help="of its class, as momentum=0.9; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--mask-documents", action="store_true", default=None, help="let no token see another document (default: as in GPT-3)"
    )
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16"], help="of the matrix products (default: bfloat16 where the CPU has it)"
    )
    parser.add_argument("--tokenizer", metavar="WHAT", help='"r50k", "train" or a directory (default: by preset)')
    parser.add_argument("--held-out", action="append", metavar="TEXT", help="text to measure on; may be repeated")
    parser.add_argument("--prompt", help="what samples continue (default: the first held-out words)")
    parser.add_argument("--no-record", action="store_true", help="keep no record of the run (RUN/training.pellucid)")
    parser.add_argument("--tensorboard", action="store_true", help="also write RUN/tensorboard/ (needs that package)")
    parser.add_argument(
        "--wandb", nargs="?", const="", metavar="PROJECT", help="also log to Weights & Biases (needs the package wandb)"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and stop; needs no --out")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out; needs no TEXT")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def _setting(text: str) -> tuple[str, Any]:
    from pellucid.training.optimizers import parse_setting

    try:
        return parse_setting(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(chosen: argparse.Namespace) -> int:
    """Runs the command."""
    if chosen.resume == bool(chosen.text):
        print("pellucid train: give TEXT for a new run, or --resume for one that exists", file=sys.stderr)
        return 2
    if chosen.resume and (given := [name for name in PLANNED if getattr(chosen, name) is not None]):
        print(f"pellucid train: a run goes on as it was planned: leave out --{given[0].replace('_', '-')}", file=sys.stderr)
        return 2
    if (chosen.dry_run and chosen.resume) or not (chosen.out or chosen.dry_run):
        print("pellucid train: give --out RUN; only a --dry-run of a new run needs none", file=sys.stderr)
        return 2
    choices = {name: getattr(chosen, name) for name in PLANNED if name != "seed"}
    if choices["optimizer_settings"] is not None:
        choices["optimizer_settings"] = dict(choices["optimizer_settings"])
    if chosen.dry_run:
        return _dry_run(chosen, choices)
    from pellucid.api.runs import train
    from pellucid.cli.display import RunDisplay, stop_on_signals
    from pellucid.cli.reports import finish_run, print_scaling
    from pellucid.training.tensorboard import TensorBoard
    from pellucid.training.wandb import WeightsAndBiases

    with RunDisplay(json=chosen.json) as live, stop_on_signals(live) as stop:
        if chosen.parameters is not None:
            print_scaling(chosen.parameters, live.console)
        boards: list[Observer] = [TensorBoard(Path(chosen.out))] if chosen.tensorboard else []
        if chosen.wandb is not None:
            boards.append(WeightsAndBiases(Path(chosen.out), chosen.wandb or None))
        done = train(
            chosen.text, chosen.out, seed=chosen.seed or 0, resume=chosen.resume, record=not chosen.no_record,
            observers=[live, *boards], stop=stop, **choices,
        )  # fmt: skip
    return finish_run(done, json=chosen.json)


def _dry_run(chosen: argparse.Namespace, choices: dict[str, Any]) -> int:
    from pellucid.cli.display import RunDisplay
    from pellucid.cli.output import print_json
    from pellucid.cli.reports import print_preview
    from pellucid.gpt.scaling import shape_for
    from pellucid.planning.preview import Preview
    from pellucid.training.run import rehearse

    with RunDisplay(json=chosen.json) as live:
        plan, pace = rehearse(chosen.text, seed=chosen.seed or 0, observers=[live], **choices)
    preview = Preview(plan=plan, pace=pace, dial=shape_for(chosen.parameters) if chosen.parameters else None)
    if chosen.json:
        print_json(preview.to_dict())
    else:
        print_preview(preview)
    return 0
