"""`pellucid plan`: parameters, memory, time and cost of a model, estimated."""

import argparse
import re
from math import isfinite


HELP = "parameters, memory, time and cost of a model, before anything is run"
DESCRIPTION = """Estimates for a model: parameters by matrix, the operations of training (the paper's count and an exact one),
memory to train and to run, and time and cost on devices whose figures are given. Nothing is allocated."""
EXAMPLE = """pellucid plan gpt3-175b
  pellucid plan gpt3-1.3b --tokens 26B --devices 8 --flops 100T --memory 80GB --price 2 --utilisation 0.4
  pellucid plan --all"""

# Decimal as in data sheets; binary with an i.
UNITS = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12, "P": 10**15,
    "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip

SHAPED = ("tokens", "context", "batch", "device", "devices", "flops", "memory", "price", "utilisation", "measure")


def quantity(text: str) -> float:
    """A number with an optional unit: `300B`, `28T`, `80GB`, `3e11`."""
    found = re.fullmatch(r"(-?[\d_]*\.?\d+(?:[eE][+-]?\d+)?)\s*([A-Za-z]*)", text.strip())
    if not found or found[2] not in UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number with a unit, such as 300B, 28T, 80GB or 3e11")
    value = float(found[1]) * UNITS[found[2]]
    if not isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is larger than any number that is accepted here")
    return value


def whole(text: str) -> int:
    """The same, rounded to an int."""
    return round(quantity(text))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "what", nargs="?", metavar="PRESET|DIR|FILE", help="a preset, a model or run directory, or its config.json or run.json"
    )
    parser.add_argument("--all", action="store_true", help="the eight sizes of GPT-3 beside the paper's Table D.1")
    parser.add_argument("--tokens", type=whole, metavar="N", help="training tokens (default: GPT-3's; else 20 a parameter)")
    parser.add_argument("--context", type=int, metavar="N", help="tokens of a sequence (default: the model's whole context)")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="sequences at once, in memory (default 1)")
    parser.add_argument("--device", metavar="NAME", help="a device with known figures (v100), or a name for yours")
    parser.add_argument("--devices", type=int, default=1, metavar="N", help="number of devices (default 1)")
    parser.add_argument("--flops", type=quantity, metavar="F", help="operations a second of one device, such as 28T")
    parser.add_argument("--memory", type=quantity, metavar="M", help="bytes of one device, such as 80GB")
    parser.add_argument("--price", type=quantity, metavar="P", help="dollars an hour of one device")
    parser.add_argument("--utilisation", type=float, metavar="U", help="share of the rate that training reaches (default 1)")
    parser.add_argument("--measure", action="store_true", help="time this machine for two seconds, and plan for it too")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    import sys
    from dataclasses import asdict

    from pellucid.cli.output import print_json
    from pellucid.planning import device_spec, estimate, planned_model
    from pellucid.planning.estimate import published_sizes

    if args.all == (args.what is not None):
        print("pellucid plan: name a preset, a directory or a config file, or give --all", file=sys.stderr)
        return 2
    if args.all and (given := [name for name in SHAPED if getattr(args, name) not in (None, 1, False)]):
        print(f"pellucid plan: --all shows the sizes as they were trained: leave out --{given[0]}", file=sys.stderr)
        return 2
    if args.all:
        sizes = published_sizes()
        if args.json:
            print_json({"sizes": [size.to_dict() for size in sizes]})
        else:
            from pellucid.cli.plan_tables import print_sizes

            print_sizes(sizes)
        return 0
    numbers = (args.flops, args.memory, args.price)
    if (args.devices != 1 or args.utilisation is not None) and args.device is None and not any(numbers):
        print("pellucid plan: name a device with --device, or give its rate with --flops", file=sys.stderr)
        return 2
    spec = device_spec(args.device, flops=args.flops, memory=args.memory, price=args.price)
    planned = estimate(
        planned_model(args.what), tokens=args.tokens, context=args.context, batch=args.batch, device=spec,
        count=args.devices, utilisation=1.0 if args.utilisation is None else args.utilisation,
    )  # fmt: skip
    measured = None
    if args.measure:
        from pellucid.planning.measure import measure

        measured = measure()
    if args.json:
        print_json(planned.to_dict() | {"measured": asdict(measured) if measured else None})
    else:
        from pellucid.cli.plan_tables import print_estimate

        print_estimate(planned, measured, utilisation_given=args.utilisation is not None)
    return 0
