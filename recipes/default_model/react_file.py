"""Writes the article's React example as a task of `pellucid evaluate`: descriptions and code, one file in the package.

    python -m recipes.default_model.react_file DATA

The elements are those of the grammar of the training windows (`markup`), without nested ones, in React's dialect. The examples,
for prompts and for fine-tuning, are of its training part. The queries are of its held-out part: each has a pair of element and
colour that is in no example and in no training window.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from pellucid.evaluation.react import FILE
from pellucid.files import write_whole
from recipes.default_model.draws import Draws
from recipes.default_model.lexicon import Lexicon
from recipes.default_model.markup import DIALECTS, Element, code, describe, draw_allowed


SEED = 1
EXAMPLES, QUERIES = 400, 60
_REACT = 9  # the purpose in the key of these draws (`windows`, `prepare` and `evaluate` have 1 to 8)


def pairs(lexicon: Lexicon, count: int, *, held_out: bool, seed: int) -> Iterator[tuple[str, str]]:
    """(description, code) pairs with different descriptions."""
    draws, seen = Draws(seed, _REACT, held_out), set[str]()
    while len(seen) < count:
        element = draw_allowed(draws, lexicon, held_out=held_out)
        if not is_single(element):
            continue
        description = describe(element, draws)
        if description not in seen:
            seen.add(description)
            yield description, code(element, DIALECTS["react"], capital=True)


def is_single(element: Element) -> bool:
    """Whether it is a single element without others inside: eight examples of nested ones would not fit into the context."""
    return element.inside is None and element.many == 1


def lines(lexicon: Lexicon, *, examples: int = EXAMPLES, queries: int = QUERIES, seed: int = SEED) -> Iterator[str]:
    """The lines of the task's file."""
    yield json.dumps({"format": "code", "compare": "html"}) + "\n"
    for prompt, completion in pairs(lexicon, queries, held_out=True, seed=seed):
        yield json.dumps({"prompt": prompt, "completion": completion}) + "\n"
    for prompt, completion in pairs(lexicon, examples, held_out=False, seed=seed):
        yield json.dumps({"prompt": prompt, "completion": completion, "example": True}) + "\n"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    text = "".join(lines(Lexicon.load(parser.parse_args().data)))
    write_whole(FILE, text)
    print(f"{FILE}: {len(text.encode()):,} bytes")


if __name__ == "__main__":
    main()
