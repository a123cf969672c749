"""`pellucid convert`: writes a model in another format, and compares the result."""

import argparse
import sys
from pathlib import Path

from pellucid.cli.output import print_json
from pellucid.command_lines import shown_path


HELP = "write a model in another format"
DESCRIPTION = """Writes a model in another format, reads it back, runs both on the same random prompts and prints the largest
difference of their logits. A model that the format cannot compute exactly is refused, with the reasons, unless --allow-lossy
is given. SRC may be a directory, a run, a GGUF file, or a name on the Hugging Face hub.
The loss by --quantize is measured in bits per byte, before and after: on the first 16,384 tokens of --measure FILES (text that
the model was not trained on), or else on text that the model generates."""
EXAMPLE = """pellucid convert runs/book book-neo --to hf-gpt-neo
  pellucid convert runs/book book-int8 --to pellucid --quantize int8 --measure held-out.txt"""
KINDS = ("int8", "int4", "float16", "bfloat16")
OWN_TEXTS, OWN_TOKENS = 16, 256  # generated texts to measure on, and tokens of each
FORMATS = ("pellucid", "hf-gpt2", "hf-gpt-neo", "hf-opt", "gguf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("source", metavar="SRC", help="the model: default, a directory, a run, a .gguf file, or a hub name")
    parser.add_argument("destination", metavar="DST", help="a directory (gguf: a file) that does not exist")
    parser.add_argument("--to", required=True, choices=FORMATS, help="the format to write")
    parser.add_argument("--quantize", choices=KINDS, help="dtype to round the weights to, in formats that have it")
    parser.add_argument("--measure", action="append", metavar="FILE", help="text to measure bits per byte on; may be repeated")
    parser.add_argument("--allow-lossy", action="store_true", help="also write a model that the format computes differently")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from pellucid.corpus.documents import read_documents
    from pellucid.formats.convert import convert
    from pellucid.generation.load import load

    model = load(args.source)
    measure: str | list[list[int]] | None = None
    name = ""
    if args.measure:
        measure = "\n\n".join(document.text for document in read_documents(args.measure, on_skip=_print_skipped))
        name = " ".join(args.measure)
    elif args.quantize and model.tokenizer is not None:
        many = min(OWN_TOKENS, model.config.n_ctx)
        nothing: list[list[int]] = [[]]
        written = model.generate(nothing, max_tokens=many, n=OWN_TEXTS, seed=0)
        measure = [[*answer.prompt_ids, *answer.ids] for answer in written]
        name = f"text that the model generates ({OWN_TEXTS} times up to {many} tokens, seed 0)"
    done = convert(
        model, model.tokenizer, args.destination, to=args.to, quantize=args.quantize, allow_lossy=args.allow_lossy,
        measure=measure, measure_name=name,
    )  # fmt: skip
    if args.json:
        print_json(done.to_dict())
    out = sys.stderr if args.json else sys.stdout
    storage = f", {done.quantize}" * (done.quantize is not None)
    print(f"{shown_path(done.path)}: {done.target}{storage}, read back by {done.read_by}", file=out)
    for line in done.lost:
        print(f"  lost: {line}", file=out)
    lengths = ", ".join(map(str, done.prompts))
    print(
        f"  largest difference {done.largest_difference:.3g} in logits of up to {done.largest_logit:.3g}, on random prompts of "
        f"{lengths} tokens; the same token likeliest at {done.same_likeliest:.2%} of the positions",
        file=out,
    )
    print(f"  {done.bytes:,} bytes; the weights as float32 are {done.float32_bytes:,}", file=out)
    if seen := done.measured:
        print(
            f"  {seen.after:.4f} bits per byte, {seen.before:.4f} before ({seen.after - seen.before:+.4f}), "
            f"on {seen.tokens:,} tokens of {seen.text}",
            file=out,
        )
    return 0


def _print_skipped(path: Path, reason: str) -> None:
    print(f"not read: {shown_path(path)}: {reason}", file=sys.stderr)
