"""`pellucid export-page`: writes one HTML file that holds a model and runs it in a browser."""

import argparse
import sys

from pellucid.languages import LANGUAGES


HELP = "write one HTML file that holds a model and runs it in a browser"
DESCRIPTION = """Writes one HTML file with a model inside: opened from a disk or a memory stick, offline, it writes text token
by token, opens the x-ray of each answer, and recomputes the numbers of any record it is given. It needs no server, no network
and no installation. The file also tells the story of the records and runs that are named.
The first argument is the model, unless it is a record: "default" is the embedded one; a run directory is model and story at
once."""
EXAMPLE = """pellucid export-page --out page.html
  pellucid export-page runs/book --out book.html
  pellucid export-page default runs/book tale.pellucid --out page.html"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help="the model (default: the embedded one)")
    parser.add_argument("shown", nargs="*", metavar="RECORD|RUN", help="records, runs and folders whose story the page tells")
    parser.add_argument("--out", required=True, metavar="FILE.html", help="the page")
    parser.add_argument("--quantize", choices=("int8", "int4"), help="round the weights to 8.5 or 4.5 bits: a smaller page")
    parser.add_argument("--lang", choices=LANGUAGES, help="of the page; it has a switch (default: of the browser)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    import os
    from pathlib import Path

    from pellucid.cli.output import print_json
    from pellucid.command_lines import shown_path
    from pellucid.languages import tr
    from pellucid.record import SUFFIX
    from pellucid.runs.files import RUN_FILE
    from pellucid.serve.model_page.page_model import LARGE_BYTES
    from pellucid.serve.model_page.write import write_model_page

    model, shown = args.model, list(args.shown)
    if model is not None and Path(model).suffix == SUFFIX:
        model, shown = None, [model, *shown]
    elif model is not None and os.path.exists(os.path.join(model, RUN_FILE)) and not shown:
        shown = [model]
    source = "default" if model is None else model
    written = write_model_page(args.out, source, shown, quantize=args.quantize, lang=args.lang)
    page, out = written.model.page, sys.stderr if args.json else sys.stdout
    weights = page["weights"]
    if args.json:
        print_json(
            {
                "page": str(written.path), "bytes": written.bytes, "shown_bytes": written.shown_bytes, "model": page["title"],
                "fingerprint": page["fingerprint"], "weights": dict(weights), "missing": [str(one) for one in written.missing],
            }
        )  # fmt: skip
    own = written.bytes - written.shown_bytes
    path = shown_path(written.path)
    print(
        tr("{path}: {size:,} bytes, {shown:,} more for what it shows", path=path, size=own, shown=written.shown_bytes), file=out
    )
    values = {"name": page["title"], "parameters": page["parameters"], "bits": weights["bits"], "sha": weights["sha256"][:16]}
    print(tr("model {name}: {parameters:,} parameters, {bits:.2f} bits each in the file, SHA-256 {sha}", **values), file=out)
    if written.model.converted:
        print(
            tr("its weights are written anew for the page: pellucid convert MODEL DIR --to pellucid gives the same file"),
            file=out,
        )
    for lack in written.missing:
        print(lack, file=out)
    if len(written.model.weights) > LARGE_BYTES:
        print(tr("warning: a page of this size is slow to send and to open; --quantize int4 makes it smaller"), file=sys.stderr)
    return 0
