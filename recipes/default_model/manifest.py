"""What `pellucid reproduce` says of the models in the package: books with hashes, seeds, commands (`assets/recipes.json`).

    python -m recipes.default_model.manifest MODEL --data DATA [--name small]        one that `export` wrote, as `-m` calls it

An entry of that name is replaced; the others stay. `first` is that of an earlier model, whose weights `default` began with.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from pellucid.api.reproduce import RECIPES
from pellucid.files import write_whole
from recipes.default_model.prepare import DATA


def entry(training: dict[str, Any], data: dict[str, Any], *, compact: bool) -> dict[str, Any]:
    """The entry of a model of this recipe.

    Args:
        training: its `training.json`. data: the data folder's `data.json`.
        compact: whether it was exported so.
    """
    program, run = "python -m recipes.default_model", "{out}/run"
    begun = "{out}/begun/model" if training.get("begun_with") else None
    settings = (
        f"{f'--begin-with {begun}' if begun else '--shape ' + training['config']['name']} --batch {training['batch']} "
        f"--micro-batch {training['micro_batch']} --learning-rate {training['learning_rate']:g} "
        f"--warmup-tokens {training['warmup_tokens']} --dtype {training['dtype']}"
    )
    flat = training["decay_from"] or training["tokens"]
    commands = ["pellucid reproduce first --corpus {corpus} --out {out}/begun --run"] if begun else []
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
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--name", default="default")
    chosen = parser.parse_args()
    training, data = (
        json.loads(file.read_text(encoding="utf-8")) for file in (chosen.model / "training.json", chosen.data / DATA)
    )
    made = entry(training, data, compact=training.get("compact", False))
    entries = json.loads(RECIPES.read_text(encoding="utf-8")) if RECIPES.is_file() else {}
    write_whole(RECIPES, json.dumps(entries | {chosen.name: made}, indent=0, ensure_ascii=False) + "\n")
    print(f"{RECIPES}: {RECIPES.stat().st_size:,} bytes, {', '.join(sorted({*entries, chosen.name}))}")


if __name__ == "__main__":
    main()
