"""`pellucid verify`: recomputes a record's numbers and compares them."""

import argparse
import sys
from time import monotonic


HELP = "recompute a record's numbers with its model or run, and compare"
DESCRIPTION = """Recomputes the numbers of a record and compares them: of a generation or a priming every derived one, in the
recorded dtype, with its model; of a training run those of the steps whose weights the run still has, and the steps after
them. Compares the words of its header with the model, the run and the schema.
Exit status: 0 if all are within their tolerances, 1 if not, or if the record was made from another model. The report names what
could not be checked: times, steps whose checkpoint is gone, numbers whose tolerance is more than a tenth of their range, words
that nothing here confirms."""
EXAMPLE = """pellucid verify tale.pellucid -m runs/book
  pellucid verify runs/book/training.pellucid"""

QUIET_SECONDS = 2.0  # between lines of progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("file", metavar="FILE", help="a record")
    parser.add_argument(
        "-m", "--model", help="a model or run directory (default: the embedded model; of a run's record: its folder)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from pellucid.cli.output import print_json
    from pellucid.interpret.verify.verify import verify
    from pellucid.languages import tr
    from pellucid.record import open_record

    shown = monotonic()

    def print_progress(line: str) -> None:
        nonlocal shown
        if monotonic() - shown >= QUIET_SECONDS:
            shown = monotonic()
            print(tr("verifying: {line}", line=line), file=sys.stderr, flush=True)

    with open_record(args.file) as record:
        usual = "default" if record.kind in ("generation", "priming") else None
        report = verify(record, usual if args.model is None else args.model, on_progress=print_progress)
    if args.json:
        print_json(report.to_dict())
    print(report, file=sys.stderr if args.json else sys.stdout)
    return 0 if report.ok else 1
