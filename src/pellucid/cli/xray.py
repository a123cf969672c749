"""`pellucid xray`: generates, and records the model's activations."""

import argparse
import sys

from pellucid.cli.generate import add_ablation, add_sampling
from pellucid.cli.parsing import utf8_text


HELP = "generate, and record what happens inside the model"
DESCRIPTION = """Continues a prompt, as `generate` does, and records what the model computes: each step's distribution with its
cut and its draw, every block's input, the logit lens, attention, the cache, times.
The record is one file; figures are drawn from it, and `pellucid verify` recomputes it."""
EXAMPLE = 'pellucid xray "Once upon a time" --max-tokens 20 --seed 1 --out tale.pellucid'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("prompt", nargs="?", type=utf8_text, metavar="PROMPT", help="what to continue; - reads standard input")
    parser.add_argument("--out", required=True, metavar="FILE", help="the record to write, such as tale.pellucid")
    parser.add_argument("-m", "--model", default="default", help="a model or run directory (default: the embedded model)")
    add_sampling(parser)
    add_ablation(parser)
    parser.add_argument("--keep", metavar="GROUPS", help="groups to record: block_inputs,lens,attention,writes (default: all)")
    parser.add_argument(
        "--record-dtype", choices=("float32",), help="record block inputs and attention without rounding; the file is several "
        "times as large (default: bfloat16, and attention in float16, rounded row by row)",
    )  # fmt: skip
    parser.add_argument("--candidates", type=int, default=20, metavar="K", help="likeliest tokens listed per step (default 20)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from pathlib import Path

    from pellucid.cli.generate import ablation, read_prompt, sampling
    from pellucid.cli.output import command, print_json, shown_path
    from pellucid.files import check_target, replaces
    from pellucid.generation.load import load
    from pellucid.interpret.capture import KEEP, xray
    from pellucid.languages import tr

    check_target(args.out, what="the record")
    prompt = read_prompt(args.prompt)
    model = load(args.model)
    groups = KEEP if args.keep is None else tuple(group for group in args.keep.split(",") if group)
    record = xray(
        model, prompt, keep=groups, candidates=args.candidates, record_dtype=args.record_dtype, **sampling(args),
        **ablation(args),
    )  # fmt: skip
    record.save(args.out)
    kept = replaces(args.out)  # else it went into a FIFO, or to standard output, where nothing may follow it
    size = Path(args.out).stat().st_size if kept else len(record.to_bytes())
    read, drawn = record["generation/prompt_ids"].tolist(), record["generation/steps/drawn_ids"].tolist()
    text = model.tokenizer.decode(drawn) if model.tokenizer else ""
    if args.json:
        print_json({
            "record": str(args.out), "bytes": size, "text": text, "ids": drawn, "prompt_ids": read,
            "seed": record.provenance.seed, "model": record.provenance.model, "chunks": len(record),
        })  # fmt: skip
    out = sys.stderr if args.json or not kept else sys.stdout
    if not args.json:
        print(f"{prompt or ''}{text}", file=out)
    line = tr(
        "{path}: {read} tokens read, {drawn} drawn (seed {seed}), {chunks} chunks, {size:,} bytes", path=shown_path(args.out),
        read=len(read), drawn=len(drawn), seed=record.provenance.seed, chunks=len(record), size=size,
    )  # fmt: skip
    print(line, file=out)
    named = [] if args.model == "default" else ["-m", Path(args.model) if args.model[:1] == "-" else args.model]
    if kept:
        print(tr("check it with: {command}", command=command("verify", Path(args.out), *named)), file=out)
    return 0
