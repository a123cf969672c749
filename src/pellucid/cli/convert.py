"""`pellucid convert`: a model in another format, checked."""

import argparse
import sys


HELP = "write a model in another format"
DESCRIPTION = """Writes a model in another format, reads it back, runs both on the same random prompts and prints the largest
difference of their logits. What the format cannot compute the same is refused, with what would be lost, unless --allow-lossy
is given. SRC may be a directory, a run, or a name on the Hugging Face hub."""
EXAMPLE = "pellucid convert runs/book book-neo --to hf-gpt-neo"
KINDS = ("int8", "int4", "float16", "bfloat16")
FORMATS = ("pellucid", "hf-gpt2", "hf-gpt-neo", "hf-opt", "gguf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("source", metavar="SRC", help="what -m takes elsewhere: default, a directory, a run, org/name")
    parser.add_argument("destination", metavar="DST", help="a directory (gguf: a file) that is not there yet")
    parser.add_argument("--to", required=True, choices=FORMATS, help="the format")
    parser.add_argument("--quantize", choices=KINDS, help="round the weights to this, in formats that have it")
    parser.add_argument("--allow-lossy", action="store_true", help="write also what the format computes otherwise")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(chosen: argparse.Namespace) -> int:
    """Runs the command."""
    from pellucid.cli.output import print_json
    from pellucid.formats.convert import convert
    from pellucid.generate.load import load

    model = load(chosen.source)
    done = convert(
        model, model.tokenizer, chosen.destination, to=chosen.to, quantize=chosen.quantize, allow_lossy=chosen.allow_lossy
    )
    if chosen.json:
        print_json(done.to_dict())
    out = sys.stderr if chosen.json else sys.stdout
    print(
        f"{done.path}: {done.target}{f', {done.quantize}' * (done.quantize is not None)}, read back by {done.read_by}", file=out
    )
    for line in done.lost:
        print(f"  lost: {line}", file=out)
    lengths = ", ".join(map(str, done.prompts))
    print(
        f"  largest difference {done.largest_difference:.3g} in logits of up to {done.largest_logit:.3g}, on random prompts of "
        f"{lengths} tokens; the same token likeliest at {done.same_likeliest:.2%} of the places",
        file=out,
    )
    return 0
