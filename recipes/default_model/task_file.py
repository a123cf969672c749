"""Writes the queries of the families for `pellucid evaluate`, one file in the package.

    python -m recipes.default_model.task_file DATA

They are the groups that this recipe's `evaluate` measures (`groups_of`, seed 0): the same queries, examples and formats.
"""

import argparse
import bz2
import json
from collections.abc import Iterator
from pathlib import Path

from pellucid.evaluation import families as published
from pellucid.files import write_whole
from recipes.default_model.evaluate import MARKUP_HELD_OUT, QUERIES, groups_of
from recipes.default_model.lexicon import Lexicon


SEED = 0


def lines(lexicon: Lexicon, queries: int = QUERIES, seed: int = SEED) -> Iterator[str]:
    """The lines of the file: a JSON object a query, family by family."""
    for name in published.NAMES:
        family = MARKUP_HELD_OUT if name == published.MARKUP_HELD_OUT else name
        for group in groups_of(family, lexicon, queries, seed):
            values = {
                "family": name, "task": group.prompt.task, "format": group.prompt.format, "prompt": group.prompt.query,
                "completion": group.answer, "examples": list(group.prompt.examples),
            }  # fmt: skip
            yield json.dumps(values, separators=(",", ":")) + "\n"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    packed = bz2.compress("".join(lines(Lexicon.load(parser.parse_args().data))).encode())
    write_whole(published.FAMILIES, packed)
    print(f"{published.FAMILIES}: {len(packed):,} bytes")


if __name__ == "__main__":
    main()
