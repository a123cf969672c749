"""`pellucid verify`: is a record true?"""

import argparse
import sys


HELP = "compute a record's numbers again with its model"
DESCRIPTION = """Computes every derived number of a record again, in float32, with the model that it names, and compares.
Exit status: 0 all within their tolerances, 1 not so, or the record is another model's. Times are measured: they cannot be
computed again, and are said to be so."""
EXAMPLE = "pellucid verify tale.pellucid -m runs/book"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("file", metavar="FILE", help="a record")
    parser.add_argument("-m", "--model", default="default", help="a model or run directory (default: the embedded model)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(chosen: argparse.Namespace) -> int:
    """Runs the command."""
    from pellucid.cli.output import print_json
    from pellucid.generate.load import load
    from pellucid.record import open_record
    from pellucid.xray.verify import verify

    with open_record(chosen.file) as record:
        report = verify(record, load(chosen.model))
    if chosen.json:
        print_json(report.to_dict())
    print(report, file=sys.stderr if chosen.json else sys.stdout)
    return 0 if report.ok else 1
