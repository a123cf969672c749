"""A part of a page of docs/ that a tool generates: the lines between <!-- NAME --> and <!-- /NAME -->."""

import argparse
import re
import sys
from pathlib import Path


DOCS = Path(__file__).resolve().parent.parent / "docs"


def run(tool: str, page: str, name: str, text: str) -> int:
    """The command line of such a tool: prints the text, or with --write or --check updates or compares the page.

    Args:
        tool: the tool's docstring. page: a file of docs/. name: of the section. text: what the tool generates.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description=tool, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--write", action="store_true", help=f"update docs/{page}")
    what.add_argument("--check", action="store_true", help=f"exit 1 if docs/{page} differs")
    chosen = parser.parse_args()
    if not (chosen.write or chosen.check):
        print(text, end="")
        return 0
    path = DOCS / page
    written = path.read_text(encoding="utf-8")
    found = re.search(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", written, re.DOTALL)
    if not found:
        print(f"{page} has no place for it: a line <!-- {name} --> and, below it, <!-- /{name} -->", file=sys.stderr)
        return 1
    if chosen.write:
        path.write_text(written[: found.start()] + text + written[found.end() :], encoding="utf-8", newline="\n")
    elif found[0] != text:
        print(f"{name} in {page} is out of date: python {sys.argv[0]} --write", file=sys.stderr)
        return 1
    return 0
