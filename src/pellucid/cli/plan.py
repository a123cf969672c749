"""`pellucid plan`: parameters, memory, time and cost of a model, estimated."""

import argparse
import re
import sys
from math import isfinite

from pellucid.arguments import path_of
from pellucid.languages import LANGUAGES


HELP = "parameters, memory, time and cost of a model, before anything is run"
DESCRIPTION = """Estimates for a model: parameters by matrix, the operations of training (the paper's count and an exact one),
memory to train and to run, and time and cost on devices whose figures are given. With --gpus and --gpu: every way to lay the
training out over a cluster that fits, ranked, with each rank's memory and a step's timetable. Nothing is allocated."""
EXAMPLE = """pellucid plan gpt3-175b
  pellucid plan gpt3-1.3b --tokens 26B --devices 8 --flops 100T --memory 80GB --price 2 --utilisation 0.4
  pellucid plan --all
  pellucid plan gpt3-175b --gpus 1024 --gpu h100
  pellucid plan gpt3-175b --gpus 1024 --gpu a100 --mesh tp=8,pp=16 --price 2"""

# Decimal as in data sheets; binary with an i.
UNITS = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12, "P": 10**15,
    "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip

SHAPED = (
    "gpus", "gpu", "mesh", "sequences", "tokens", "context", "batch", "device", "devices", "flops", "memory", "price",
    "utilisation", "measure",
)  # fmt: skip
CLUSTER = ("record", "mesh", "sequences", "dtype", "bandwidth", "link", "network", "per_node", "power")
SINGLE = ("device", "utilisation")


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


def _axes(text: str) -> dict[str, int]:
    from pellucid.errors import PellucidError
    from pellucid.training.mesh import parse_axes

    try:
        return parse_axes(text)
    except PellucidError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


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
    cluster = parser.add_argument_group("a cluster")
    cluster.add_argument("--gpus", type=whole, metavar="N", help="lay the training out over N devices")
    cluster.add_argument("--gpu", metavar="NAME", help="v100, a100, h100, b200, xeon-6980p, epyc-9965, or a name for yours")
    cluster.add_argument("--mesh", type=_axes, metavar="M", help="degrees to keep: some of dp=16,tp=8,pp=8,cp=1")
    cluster.add_argument("--sequences", type=int, metavar="N", help="sequences of a step (default: near the preset's batch)")
    cluster.add_argument("--dtype", choices=("bfloat16", "float32"), help="of products (default bfloat16)")
    cluster.add_argument("--bandwidth", type=quantity, metavar="B", help="bytes a second of a device's memory, such as 3.3TB")
    cluster.add_argument("--link", type=quantity, metavar="B", help="bytes a second to its neighbours in a node, one direction")
    cluster.add_argument("--network", type=quantity, metavar="B", help="bytes a second of a device out of its node")
    cluster.add_argument("--per-node", type=int, metavar="N", help="devices of a node")
    cluster.add_argument("--power", type=quantity, metavar="W", help="watts of a device at most")
    cluster.add_argument("--record", metavar="FILE", help="write the plan as a record, which figures draw and verify checks")
    cluster.add_argument("--lang", choices=LANGUAGES, help="language of the words (default: the locale's)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
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
    if args.gpus is not None or args.gpu is not None:
        return _run_cluster(args)
    if given := [name for name in CLUSTER if getattr(args, name) is not None]:
        print(f"pellucid plan: --{given[0].replace('_', '-')} is for a cluster: give --gpus and --gpu too", file=sys.stderr)
        return 2
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


def _run_cluster(args: argparse.Namespace) -> int:
    from pellucid.cli.output import print_json
    from pellucid.languages import language
    from pellucid.planning import device_spec, planned_model
    from pellucid.planning.cluster import plan_cluster

    if args.gpus is None or args.gpu is None:
        print("pellucid plan: a cluster takes both --gpus N and --gpu NAME", file=sys.stderr)
        return 2
    unused = [name for name in SINGLE if getattr(args, name) is not None]
    unused += [name for name, usual in (("devices", 1), ("batch", 1), ("measure", False)) if getattr(args, name) != usual]
    if unused:
        print(f"pellucid plan: --{unused[0]} is not for a cluster: leave it out beside --gpus", file=sys.stderr)
        return 2
    device = device_spec(
        args.gpu, flops=args.flops, memory=args.memory, price=args.price, bandwidth=args.bandwidth, link=args.link,
        network=args.network, per_node=args.per_node, power=args.power,
    )  # fmt: skip
    assert device is not None
    plan = plan_cluster(
        planned_model(args.what), device, args.gpus, sequences=args.sequences, context=args.context, tokens=args.tokens,
        dtype=args.dtype or "bfloat16", mesh=args.mesh,
    )  # fmt: skip
    if args.record is not None and plan.ranked:
        from pellucid.planning.cluster.record import write_plan

        write_plan(plan, path_of("record", args.record))
    if args.json:
        from pellucid.planning.cluster.report import plan_dict

        print_json(plan_dict(plan))
    else:
        from pellucid.cli.plan_cluster import print_cluster_plan

        with language(args.lang):
            print_cluster_plan(plan)
    return 0 if plan.ranked else 1
