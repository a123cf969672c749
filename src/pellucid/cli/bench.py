"""`pellucid bench`: Pellucid timed against a peer."""

import argparse
import sys


HELP = "time Pellucid and a peer in turn, on this machine"
DESCRIPTION = """Times Pellucid and a peer in turn and prints the medians and their ratio (above 1: Pellucid is better).
Without SUBJECT, lists what can be measured. Only an idle machine gives numbers worth quoting."""
EXAMPLE = "pellucid bench xray --rounds 7"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("subject", nargs="?", metavar="SUBJECT", help="the benchmark to run")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds, in each of which both run once (default 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from pellucid.bench.compare import run_subject, subjects, table, to_json
    from pellucid.cli.output import print_json

    if args.subject is None:
        if args.json:
            print_json({"subjects": subjects()})
        else:
            print("\n".join(f"{name:<12} {about}" for name, about in subjects().items()))
        return 0
    found = run_subject(args.subject, rounds=args.rounds)
    if args.json:
        print_json(to_json(found))
    print(table(found), file=sys.stderr if args.json else sys.stdout)
    return 0
