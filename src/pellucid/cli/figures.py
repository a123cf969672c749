"""`pellucid figures`: draws the article's figures from records."""

import argparse
import sys
from typing import TYPE_CHECKING, Any, TextIO

from pellucid.languages import LANGUAGES, language, tr


if TYPE_CHECKING:
    from pellucid.draw.figure_files import MissingFigure

MOST_PROCESSES = 8  # each takes about 150 MB
HELP = "draw the article's figures from records"
DESCRIPTION = """Draws every figure that the records in the named folders give, and prints the command that would make a
missing one. svg and png are stills; gif, webp, mp4 and html are animated. An html file is self-contained. --one-parameter
draws the film of a model with one number, fitted to the points of a CSV file of two columns, or to built-in ones."""
EXAMPLE = """pellucid figures runs/book tale.pellucid --out pictures
  pellucid figures tale.pellucid --out pictures --format svg,gif --only xray
  pellucid figures --one-parameter prices.csv --out pictures --lang zh"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("records", nargs="*", metavar="DIR|RECORD", help="records, or folders that hold them at any depth")
    parser.add_argument("--one-parameter", nargs="?", const="", metavar="FILE.csv", help="the film of one number, fitted")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the pictures")
    parser.add_argument("--format", default="svg,html", metavar="LIST", help="of svg,png,gif,webp,mp4,html (default svg,html)")
    parser.add_argument("--only", metavar="LIST", help="names of figures to draw (default: all that the records give)")
    parser.add_argument("--width", type=int, metavar="PIXELS", help="width of png, gif, webp and mp4, 1 to 8192 (default 960)")
    parser.add_argument("--lang", choices=LANGUAGES, help="of the words on the pictures (default: of the locale)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    with language(args.lang):
        return _draw(args)


def _draw(args: argparse.Namespace) -> int:
    from pellucid.cli.output import print_json
    from pellucid.command_lines import shown_path
    from pellucid.draw.figure_files import DrawnFigure, MissingFigure, draw_figures, find_records
    from pellucid.errors import PellucidError

    out = sys.stderr if args.json else sys.stdout

    def print_files(one: DrawnFigure) -> None:
        for path in one.files:
            size, origin = path.stat().st_size, shown_path(one.planned.record)
            print(_file_words(shown_path(path), size, origin), file=out, flush=True)

    wanted = None if args.only is None else _names(args.only)
    formats = _names(args.format)
    if not args.records and args.one_parameter is None:
        raise PellucidError("name a record or a folder of records, or give --one-parameter")
    records = find_records(args.records) if args.records else []
    figures, drawn, absent = [], list[DrawnFigure](), list[MissingFigure]()
    if args.one_parameter is not None:
        fit, absent = _one_parameter(args.one_parameter or None, args.out, formats, args.width, out)
        figures.append(fit)
    if records:
        drawn, lacking = draw_figures(
            records, args.out, formats, wanted=wanted, width=args.width, processes=_processes(formats), on_drawn=print_files
        )
        absent = list(dict.fromkeys([*absent, *lacking]))  # a format that is missing is missing for both
    if args.json:
        figures += [
            {"figure": one.planned.figure, "record": str(one.planned.record), "files": [str(path) for path in one.files]}
            for one in drawn
        ]
        missing = [{"figure": one.figure, "why": one.why, "command": one.command} for one in absent]
        print_json({"figures": figures, "missing": missing})
    for lack in absent:
        print(lack, file=out)
    if records and not drawn:
        raise PellucidError("no figure could be drawn from these records")
    return 0


def _processes(formats: list[str]) -> int:
    """How many processes draw: one is faster where nothing moves in pixels."""
    from pellucid.resources import available_cpus

    return min(available_cpus(), MOST_PROCESSES) if set(formats) & {"gif", "webp", "mp4"} else 1


def _one_parameter(
    source: str | None, out: str, formats: list[str], width: int | None, lines: TextIO
) -> tuple[dict[str, Any], "list[MissingFigure]"]:
    """Draws the film of points, and prints how a file was read; returns what is said of it in JSON, and what is missing."""
    from pellucid.api.one_parameter import one_parameter
    from pellucid.cli.output import printable
    from pellucid.command_lines import shown_path
    from pellucid.draw.figure_files import PHONE, SCREEN, write_film
    from pellucid.draw.figures import ONE_PARAMETER
    from pellucid.draw.views.points import point_table

    table = point_table(source)
    for remark in table.remarks:
        print(printable(f"{source}: {remark}"), file=lines)
    wide, narrow = (one_parameter(table, width=size) for size in (SCREEN, PHONE))
    files, lacking = write_film(ONE_PARAMETER, wide, narrow, out, formats, width=width)
    for path in files:
        print(_file_words(shown_path(path), path.stat().st_size, printable(table.source)), file=lines, flush=True)
    found = {"figure": ONE_PARAMETER, "record": None, "source": table.source, "files": [str(path) for path in files]}
    return found, lacking


def _file_words(path: str, size: int, origin: str) -> str:
    """A file that was written, in a line."""
    return tr("{path}: {size:,} bytes, from {origin}", path=path, size=size, origin=origin)


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]
