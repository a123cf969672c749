"""`pellucid reproduce`: what a model of the package was made from, and the commands that make it again."""

import argparse
import sys


HELP = "name what the embedded model was made from, and make it again"
DESCRIPTION = """Names the books that a model of the package was trained and measured on, with the SHA-256 of each, the seeds
and the commands of its recipe. With --corpus DIR it compares the books there with these hashes, and with --out OUT it writes
the commands as OUT/reproduce.sh. --run runs that script, in a checkout of the source (the recipe is not part of the package):
hours. The text, its order and the recipe are then the same; processors round products of matrices differently."""
EXAMPLE = """pellucid reproduce default
  pellucid reproduce default --corpus books --out again
  pellucid reproduce default --corpus books --out again --run"""
SCRIPT = "reproduce.sh"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("model", metavar="MODEL", help="default, or another model of the package")
    parser.add_argument("--corpus", metavar="DIR", help="the folder of the books: index.csv and books/")
    parser.add_argument("--out", metavar="OUT", help="folder for reproduce.sh, and for what it makes (needs --corpus)")
    parser.add_argument("--run", dest="execute", action="store_true", help="run the script (needs --out)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    if (args.out is not None and args.corpus is None) or (args.execute and args.out is None):
        missing = "--out needs --corpus DIR, the folder of the books" if args.corpus is None else "--run needs --out OUT"
        print(f"pellucid reproduce: {missing}", file=sys.stderr)
        return 2
    from pathlib import Path

    from pellucid.api.reproduce import check_corpus, commands_for, model_recipe
    from pellucid.cli.output import print_json, printable
    from pellucid.command_lines import shown_path
    from pellucid.files import make_folder, write_whole
    from pellucid.languages import counted, tr

    recipe = model_recipe(args.model)
    check = None if args.corpus is None else check_corpus(recipe, args.corpus)
    out = sys.stderr if args.json else sys.stdout
    if args.json:
        found = {} if check is None else {
            "corpus": {kind: [book.path for book in getattr(check, kind)] for kind in ("same", "changed", "missing")}
        }  # fmt: skip
        print_json(recipe.to_dict() | found)
    else:
        for book in recipe.books:
            print(f"{book.part:10}  {book.sha256}  {book.path}  {book.author}: {book.title}")
        print()
    for part in ("train", "validation", "test"):
        count = sum(book.part == part for book in recipe.books)
        print(tr("{part}: {books}", part=part, books=counted(count, "book")), file=out)
    print(tr("fingerprint: {fingerprint}", fingerprint=recipe.fingerprint), file=out)
    seeds = ", ".join(f"{name} {seed}" for name, seed in recipe.seeds.items())
    print(tr("seeds: {seeds}", seeds=seeds), file=out)
    for note in recipe.notes:
        print(note, file=out)
    for command in recipe.commands:
        print(f"  {command}", file=out)
    if check is None:
        return 0
    for problem, books in (("missing", check.missing), ("changed", check.changed)):
        for book in books:
            print(f"{args.corpus}: {printable(book.path)} {problem}", file=sys.stderr)
    if not check.is_whole:
        bad = len(check.missing) + len(check.changed)
        line = tr("{path}: {bad:,} of {all:,} books are missing or changed", path=args.corpus, bad=bad, all=len(recipe.books))
        print(f"pellucid: {line}", file=sys.stderr)
        return 1
    print(tr("{path}: all {all:,} books are there, as they were", path=args.corpus, all=len(recipe.books)), file=out)
    if args.out is None:
        return 0
    folder = Path(args.out)
    make_folder(folder)
    lines = "\n".join(commands_for(recipe, args.corpus, args.out))
    write_whole(folder / SCRIPT, f"#!/bin/sh\nset -eu\n{lines}\n")
    print(tr("run it in a checkout with: sh {path}", path=shown_path(folder / SCRIPT)), file=out)
    return _run(folder / SCRIPT) if args.execute else 0


def _run(script: object) -> int:
    """The script's exit status; Ctrl-C ends it, too."""
    import subprocess

    return subprocess.run(["sh", str(script)], check=False).returncode
