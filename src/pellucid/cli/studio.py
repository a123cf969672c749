"""`pellucid studio`: serves runs, records and models to the browser."""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from pellucid.languages import LANGUAGES, language, tr


if TYPE_CHECKING:
    from collections.abc import Callable

    from pellucid.serve import Studio


HELP = "show runs, records and models in the browser"
DESCRIPTION = """Serves a page on this machine: runs with their losses as they train, records of the activations of a
model, the figures drawn from them, and a prompt whose completion appears token by token and can then be inspected.
Without a source it shows the embedded model. Nothing is loaded from other servers, and requests of other sites are refused."""
EXAMPLE = """pellucid studio
  pellucid studio runs/book tale.pellucid"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "sources", nargs="*", metavar="RUN|RECORD|MODEL", help="run or model directories, records, folders of such, or default"
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default 127.0.0.1: this machine only)")
    parser.add_argument("--port", type=int, metavar="N", help="default: 7355, or the next one that is free; 0: any free one")
    parser.add_argument(
        "--record-dtype", choices=("float32",), help="of the records of completions, as `xray` takes it (default: rounded)"
    )
    parser.add_argument("--lang", choices=LANGUAGES, help="of the page; it has a switch (default: of the locale)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--json", action="store_true", help="one JSON object with the address on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the command, until Ctrl-C or SIGTERM."""
    with language(args.lang):
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    from pellucid.cli.output import print_json
    from pellucid.serve import Studio

    def announce(studio: "Studio") -> None:
        if args.json:
            print_json({
                "url": studio.url, "network_url": studio.network_url, "host": studio.host, "port": studio.port,
            })  # fmt: skip
        else:
            print(studio.url)
            if studio.network_url is not None:
                print(tr("from other machines: {url}", url=studio.network_url))

    studio = Studio(args.sources, args.host, args.port, record_dtype=args.record_dtype, lang=args.lang)
    return serve(studio, announce, browser=not args.no_browser)


def serve(studio: "Studio", announce: "Callable[[Studio], None]", *, browser: bool) -> int:
    """Serves until Ctrl-C or SIGTERM, which is success. Returns the exit status.

    Args:
        announce: called when connections are accepted. browser: open one where there is a display.
    """
    import signal
    import webbrowser
    from types import FrameType

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        with studio:
            announce(studio)
            sys.stdout.flush()
            print(tr("Ctrl-C ends it"), file=sys.stderr, flush=True)
            if browser and has_display():
                webbrowser.open(studio.url)
            studio.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)
    return 1


def has_display() -> bool:
    """Whether there is a display: without one a text browser would take over this terminal."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
