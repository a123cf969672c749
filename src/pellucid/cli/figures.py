"""`pellucid figures`: draws the article's figures from records."""

import argparse
import sys


HELP = "draw the article's figures from records"
DESCRIPTION = """Draws every figure that the records in the named folders give, and prints the command that would make a
missing one. svg and png are stills; gif, webp, mp4 and html are animated. An html file is self-contained."""
EXAMPLE = """pellucid figures runs/book tale.pellucid --out pictures
  pellucid figures tale.pellucid --out pictures --format svg,gif --only xray"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("records", nargs="+", metavar="DIR|RECORD", help="records, or folders that hold them at any depth")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the pictures")
    parser.add_argument("--format", default="svg,html", metavar="LIST", help="of svg,png,gif,webp,mp4,html (default svg,html)")
    parser.add_argument("--only", metavar="LIST", help="names of figures to draw (default: all that the records give)")
    parser.add_argument("--width", type=int, metavar="PIXELS", help="width of png, gif, webp and mp4, 1 to 8192 (default 960)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from pellucid.cli.output import print_json, shown_path
    from pellucid.draw.figure_files import DrawnFigure, draw_figures, find_records
    from pellucid.errors import PellucidError

    out = sys.stderr if args.json else sys.stdout

    def print_files(one: DrawnFigure) -> None:
        for path in one.files:
            size, origin = path.stat().st_size, shown_path(one.planned.record)
            print(f"{shown_path(path)}: {size:,} bytes, from {origin}", file=out, flush=True)

    wanted = None if args.only is None else _names(args.only)
    records, formats = find_records(args.records), _names(args.format)
    drawn, absent = draw_figures(records, args.out, formats, wanted=wanted, width=args.width, on_drawn=print_files)
    if args.json:
        print_json({
            "figures": [
                {"figure": one.planned.figure, "record": str(one.planned.record), "files": [str(path) for path in one.files]}
                for one in drawn
            ],
            "missing": [{"figure": one.figure, "why": one.why, "command": one.command} for one in absent],
        })  # fmt: skip
    for lack in absent:
        print(lack, file=out)
    if not drawn:
        raise PellucidError("no figure could be drawn from these records")
    return 0


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]
