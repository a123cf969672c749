"""Builds the embedded default model.

    python recipes/default_model.py files CORPUS               the training and held-out books, as arguments
    pellucid train $(...) --held-out ... --out RUN             with what the line above printed
    python recipes/default_model.py embed RUN CORPUS           saves it in the package, with its model card

CORPUS is a folder with an `index.csv` whose columns are path, title, author ... and, last, whether author and translator
are believed dead for 70 years. Only rows that say yes are used: a wheel ships worldwide. Five books, named by path in
`default_model/books.py`, are held out; sixteen more (validation) are left out. The folder `default_model/` makes the model that
is to replace this one.
"""

import argparse
import json
import shlex
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from default_model.books import Book, read_index

from pellucid.corpus import open_corpus, sequential
from pellucid.generation.load import load
from pellucid.runs.plan import Plan
from pellucid.training.held_out import held_out_loss


ASSETS = Path(__file__).parent.parent / "src" / "pellucid" / "assets" / "default"


def books(corpus: Path) -> tuple[list[Book], list[Book]]:
    """(to train on, held out)."""
    index = read_index(corpus)
    return [book for book in index if book.part == "train"], [book for book in index if book.part == "test"]


def print_command(corpus: Path) -> None:
    """Prints the training command's text arguments."""
    train, held_out = books(corpus)
    words = [str(corpus / book.path) for book in train]
    for book in held_out:
        words += ["--held-out", str(corpus / book.path)]
    print(shlex.join(words))


def embed(run: Path, corpus: Path) -> None:
    """Saves the run's newest model as int8 in the package, with its model card."""
    plan = Plan.load(run, kind="train")
    built = open_corpus(run / "corpus")
    before = load(run)
    before.save(ASSETS, storage="int8")
    after = load(ASSETS)
    tokenizer = after.require_tokenizer()
    windows = list(sequential(built.held_out, plan.config.n_ctx))
    lengths = np.array(tokenizer.byte_lengths)
    bits = {
        name: held_out_loss(model, windows, lengths, dtype=torch.float32, rows=8)[1]
        for name, model in (("float32", before), ("int8", after))
    }
    with (run / "metrics.jsonl").open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    steps = [line for line in lines if "loss" in line]
    seconds = [(b["tokens"] - a["tokens"]) / b["tokens_per_s"] for a, b in pairwise(steps)]
    write_card(plan, books(corpus), bits, tokens=steps[-1]["tokens"], minutes=sum(seconds) / 60)
    size = sum(path.stat().st_size for path in ASSETS.iterdir())
    print(f"{ASSETS}: {size:,} bytes; held-out bits per byte {bits}")


def write_card(
    plan: Plan,
    titles: tuple[list[Book], list[Book]],
    bits: dict[str, float],
    *,
    tokens: int,
    minutes: float,
) -> None:
    """Writes `MODEL_CARD.md` beside the weights."""
    train, held_out = titles
    config, recipe = plan.config, plan.recipe
    patterns = ", ".join(str(p) for p in config.pattern)
    lines = [
        "# The embedded default model",
        "",
        "A small language model of GPT-3's architecture, trained on older stories in English, for learning and experiments.",
        "",
        f"- **Shape**: {config.parameters():,} parameters; {config.n_layers} blocks ({patterns}), width {config.d_model}, "
        f"{config.n_heads} heads, context of {config.n_ctx} positions, vocabulary of {config.vocab_size:,} tokens "
        "(byte-level BPE of the same books).",
        f"- **Training**: {tokens:,} tokens ({tokens / plan.source['train_tokens']:.1f} epochs) in "
        f"{minutes:.0f} minutes of steps on {plan.threads} CPU thread(s) ({plan.machine['platform']}, matrix products in "
        f"{plan.dtype}), with `pellucid train`: peak learning rate {recipe.learning_rate:g}, batch "
        f"{plan.batch * config.n_ctx:,} tokens, seed {plan.seed}, GPT-3's schedule. Built by `recipes/default_model.py`.",
        f"- **Held out**: {len(held_out)} whole books, {plan.source['held_out_tokens']:,} tokens: "
        f"**{bits['int8']:.4f} bits per byte** as shipped (int8 in groups of 32); {bits['float32']:.4f} before "
        "quantization.",
        "- **Intended use**: seeing how a language model works, sentences in the style of its books, short fine-tuning.",
        "- **Not for**: facts, advice, or any decision. It was trained on the books below only, makes things up, is coherent",
        "  for a few sentences, follows no instructions, and knows no language but English.",
        "- **Bias**: the books are old and hold views of their time about peoples, women and class; the model repeats them.",
        "- **Rights**: books whose author and translator are believed dead for 70 years, in the public domain in the US, most",
        "  as edited by Standard Ebooks (CC0) or Project Gutenberg volunteers (GITenberg). The weights are under this",
        "  project's licence.",
        "",
        f"## Training text ({len(train)} books)",
        "",
        *(f"- {book.author}: *{book.title}*" for book in train),
        "",
        f"## Held-out text ({len(held_out)} books)",
        "",
        *(f"- {book.author}: *{book.title}*" for book in held_out),
    ]
    (ASSETS / "MODEL_CARD.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Runs one of the two steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("files").add_argument("corpus", type=Path)
    step = commands.add_parser("embed")
    step.add_argument("run", type=Path)
    step.add_argument("corpus", type=Path)
    chosen = parser.parse_args()
    if chosen.command == "files":
        print_command(chosen.corpus)
    else:
        embed(chosen.run, chosen.corpus)


if __name__ == "__main__":
    main()
