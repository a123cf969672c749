"""What `pellucid reproduce` says of the models in the package: books with hashes, seeds, commands (`assets/recipes.json`).

    python -m recipes.default_model.manifest first CORPUS                            the model of November 2026
    python -m recipes.default_model.manifest MODEL --data DATA [--name small]        one that `export` wrote, as `-m` calls it

An entry of that name is replaced; the others stay.
"""

import argparse
import csv
import json
import re
from pathlib import Path
from typing import Any

from pellucid.api.reproduce import RECIPES
from pellucid.files import sha256, write_whole
from recipes.default_model.books import TEST
from recipes.default_model.prepare import DATA


ASSETS = RECIPES.parent
_CARD_LINE = re.compile(r"- (.+?): \*(.+)\*")


def first_entry(corpus: Path) -> dict[str, Any]:
    """The entry of the first embedded model, whose books its card lists by author and title."""
    card = (ASSETS / "default" / "MODEL_CARD.md").read_text(encoding="utf-8")
    listed = {(found[1], found[2]) for line in card.splitlines() if (found := _CARD_LINE.fullmatch(line))}
    with (corpus / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["author"], row["title"]) in listed]
    if len(rows) != len(listed):
        raise ValueError(f"the card lists {len(listed)} books, and the index has {len(rows)} of them")
    return {
        "seeds": {"run": 3},
        "notes": [
            "The run was not kept: the command is put together from the model card (24,002,560 tokens in 5,860 steps).",
            "The hashes are of the books as they were when this list was written.",
        ],
        "commands": [
            "pellucid train {train} {held_out} --out {out}/run --preset cpu-6m --steps 5860 --seed 3",
            "pellucid convert {out}/run {out}/model --to pellucid --quantize int8",
        ],
        "books": [
            {"path": row["path"], "title": row["title"], "author": row["author"],
             "part": "test" if row["path"] in TEST else "train", "sha256": sha256(corpus / row["path"])}
            for row in rows
        ],
    }  # fmt: skip


def entry(training: dict[str, Any], data: dict[str, Any], *, compact: bool, begun_with: str = "first") -> dict[str, Any]:
    """The entry of a model of this recipe.

    Args:
        training: its `training.json`. data: the data folder's `data.json`.
        compact: whether it was exported so.
        begun_with: the entry of the model whose weights the run began with, if it did.
    """
    program, run = "python -m recipes.default_model", "{out}/run"
    begun = "{out}/begun/model" if training.get("begun_with") else None
    settings = (
        f"{f'--begin-with {begun}' if begun else '--shape ' + training['config']['name']} --batch {training['batch']} "
        f"--micro-batch {training['micro_batch']} --learning-rate {training['learning_rate']:g} "
        f"--warmup-tokens {training['warmup_tokens']} --dtype {training['dtype']}"
    )
    flat = training["decay_from"] or training["tokens"]
    commands = [f"pellucid reproduce {begun_with} --corpus {{corpus}} --out {{out}}/begun --run"] if begun else []
    commands += [
        f"{program}.prepare {{corpus}} --out {{out}}/data{f' --tokenizer {begun}' if begun else ''}",
        f"{program}.train {run} --data {{out}}/data {settings} --seed {training['seed']} --tokens {flat}",
    ]
    last = run
    if training["decay_from"] is not None:
        last = "{out}/end"
        checkpoint = f'"$(ls -d {run}/checkpoints/step-* | tail -1)"'
        commands.append(f"{program}.train {last} --decay-from {checkpoint} --tokens {training['decay_tokens']}")
    notes = [f"{training['tokens']:,} tokens; tokenizer {training['tokenizer']}."]
    if training["decay_from"] is not None and training["tokens"] < training["decay_from"] + training["decay_tokens"]:
        notes.append(f"The last training command was stopped after {training['tokens']:,} tokens in all.")
    flags = f"--storage {training['storage']}" + (" --compact" if compact else "")
    commands += [
        f'{program}.export "$(ls -d {last}/checkpoints/step-* | tail -1)" --data {{out}}/data --out {{out}}/model {flags}',
        f"{program}.card {{out}}/model --data {{out}}/data --corpus {{corpus}}",
    ]
    return {
        "seeds": {"data": data["seed"], "run": training["seed"]},
        "notes": notes, "commands": commands,
        "books": [{name: book[name] for name in ("path", "title", "author", "part", "sha256")} for book in data["books"]],
    }  # fmt: skip


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model directory, or: first")
    parser.add_argument("corpus", nargs="?", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--name", default="default")
    chosen = parser.parse_args()
    if chosen.model == "first":
        if chosen.corpus is None:
            parser.error("first needs CORPUS, the folder of the books")
        made = first_entry(chosen.corpus)
    else:
        if chosen.data is None:
            parser.error("a model needs --data DATA")
        folder = Path(chosen.model)
        training, data = (
            json.loads(file.read_text(encoding="utf-8")) for file in (folder / "training.json", chosen.data / DATA)
        )
        made = entry(training, data, compact=training.get("compact", False))
    entries = json.loads(RECIPES.read_text(encoding="utf-8")) if RECIPES.is_file() else {}
    write_whole(RECIPES, json.dumps(entries | {chosen.name: made}, indent=0, ensure_ascii=False) + "\n")
    print(f"{RECIPES}: {RECIPES.stat().st_size:,} bytes, {', '.join(sorted({*entries, chosen.name}))}")


if __name__ == "__main__":
    main()
