"""Writes what `pellucid reproduce` prints about a model: books with hashes, seeds, commands (`assets/recipes.json`).

    python -m recipes.default_model.manifest MODEL --data DATA [--name small] [--keep-as NAME]

MODEL is a directory that `export` wrote. An entry of the same name is replaced, or kept as NAME: a model that began with the
weights of an earlier one names that one's entry, which it finds by the fingerprint. Equal lists of books are written once.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from pellucid.api.reproduce import RECIPES
from pellucid.files import write_whole
from pellucid.generation.load import load
from pellucid.gpt.fingerprint import fingerprint
from recipes.default_model.prepare import DATA


def entry(
    training: dict[str, Any], data: dict[str, Any], *, fingerprint: str, compact: bool, begun_with: str | None = None
) -> dict[str, Any]:
    """The entry of a model of this recipe.

    Args:
        training: its `training.json`. data: the data folder's `data.json`.
        fingerprint: of the model as it is stored.
        compact: whether it was exported so.
        begun_with: the name of the entry of the model whose weights it began with.
    """
    program, run = "python -m recipes.default_model", "{out}/run"
    begun = "{out}/begun/model" if begun_with else None
    settings = (
        f"{f'--begin-with {begun}' if begun else '--shape ' + training['config']['name']} --batch {training['batch']} "
        f"--micro-batch {training['micro_batch']} --learning-rate {training['learning_rate']:g} "
        f"--warmup-tokens {training['warmup_tokens']} --dtype {training['dtype']}"
    )
    if training.get("eot_from") is not None:
        settings += f" --eot-from {training['eot_from']}"
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
        "fingerprint": fingerprint, "seeds": {"data": data["seed"], "run": training["seed"]},
        "notes": notes, "commands": commands,
        "books": [{name: book[name] for name in ("path", "title", "author", "part", "sha256")} for book in data["books"]],
    }  # fmt: skip


def name_of(model: str, entries: dict[str, Any]) -> str:
    """The name of the entry of the model with that fingerprint.

    Raises:
        ValueError: there is none.
    """
    for name, found in entries.items():
        if found["fingerprint"] == model:
            return name
    raise ValueError(f"{RECIPES} has no entry of the model {model[:16]}, whose weights this one began with")


def with_entry(entries: dict[str, Any], name: str, made: dict[str, Any], *, keep_as: str | None = None) -> dict[str, Any]:
    """The entries with one added or replaced, equal lists of books written once (`books_of` names the entry that has them).

    Raises:
        ValueError: an entry of the name `keep_as` exists already, or there is nothing to keep.
    """
    whole = {
        key: {"books": entries[found["books_of"]]["books"] if "books_of" in found else found["books"]}
        | {field: value for field, value in found.items() if field not in ("books", "books_of")}
        for key, found in entries.items()
    }  # fmt: skip
    if keep_as is not None:
        if keep_as in whole or name not in whole:
            raise ValueError(f"the entry {name} cannot be kept as {keep_as}: there are {', '.join(whole) or 'none'}")
        whole = {keep_as if key == name else key: found for key, found in whole.items()}
    whole[name] = made
    written: dict[str, Any] = {}
    for key, found in whole.items():
        same = next((other for other, has in written.items() if has.get("books") == found["books"]), None)
        rest = {field: value for field, value in found.items() if field != "books"}
        written[key] = rest | ({"books": found["books"]} if same is None else {"books_of": same})
    return written


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--name", default="default")
    parser.add_argument("--keep-as", metavar="NAME", help="keep the entry that is replaced under this name")
    chosen = parser.parse_args()
    training, data = (
        json.loads(file.read_text(encoding="utf-8")) for file in (chosen.model / "training.json", chosen.data / DATA)
    )
    entries = json.loads(RECIPES.read_text(encoding="utf-8")) if RECIPES.is_file() else {}
    begun_with = name_of(training["begun_with"], entries) if training.get("begun_with") else None
    if begun_with == chosen.name:
        if chosen.keep_as is None:
            parser.error(f"{chosen.model} began with the model {chosen.name}: keep its entry (--keep-as)")
        begun_with = chosen.keep_as
    made = entry(
        training, data, fingerprint=fingerprint(load(chosen.model)), compact=training.get("compact", False),
        begun_with=begun_with,
    )  # fmt: skip
    entries = with_entry(entries, chosen.name, made, keep_as=chosen.keep_as)
    write_whole(RECIPES, json.dumps(entries, indent=0, ensure_ascii=False) + "\n")
    print(f"{RECIPES}: {RECIPES.stat().st_size:,} bytes, {', '.join(sorted(entries))}")


if __name__ == "__main__":
    main()
