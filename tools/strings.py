"""The translated texts: finds them in the code, and checks `src/pellucid/languages/*.json` against them.

    python tools/strings.py              adds missing texts to each file with the translation "", drops those that are gone
    python tools/strings.py --check      exit 1 if a text is missing, untranslated or gone, or has other placeholders (CI)

A text is the literal first argument of `tr(...)` or `mark(...)`, the second and third of `plural(...)`, the noun of
`counted(...)` after a count, in both numbers, in Python and TypeScript alike, or what a table says: the meaning or unit of a
chunk in the schema of records, the name of a figure and what it shows, the help of a sampling option.
"""

import argparse
import ast
import json
import re
import string
import sys
from collections.abc import Iterator
from pathlib import Path

from pellucid.draw.figures import FIGURES, ONE_PARAMETER
from pellucid.engine.options import recordable_options
from pellucid.record.schema import SCHEMA


ROOT = Path(__file__).resolve().parent.parent
LANGUAGES = ROOT / "src/pellucid/languages"
# Which of a call's arguments are texts.
ARGUMENTS = {"tr": slice(0, 1), "mark": slice(0, 1), "plural": slice(1, 3), "counted": slice(1, 2)}
_CALL = re.compile(r"\b(tr|mark|plural|counted)\(")
_LITERAL = re.compile(r'\s*("(?:[^"\\\n]|\\.)*")\s*([,)])')


def python_texts(source: str, name: str) -> Iterator[str]:
    """The texts of a Python file, in its order. Exits where an argument is no literal; a variable of `tr` is a marked text."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in ARGUMENTS:
            continue
        for argument in node.args[ARGUMENTS[node.func.id]]:
            if node.func.id == "tr" and isinstance(argument, ast.Name | ast.Attribute | ast.Subscript | ast.Call):
                continue  # a marked text
            if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
                if name.endswith("languages/translate.py"):
                    continue
                sys.exit(f"{name}:{node.lineno}: {node.func.id}() takes a literal: {ast.unparse(argument)}")
            yield from forms(node.func.id, argument.value)


def forms(function: str, literal: str) -> tuple[str, ...]:
    """The texts that a literal argument stands for."""
    return (f"{{count:,}} {literal}", f"{{count:,}} {literal}s") if function == "counted" else (literal,)


def typescript_texts(source: str, name: str) -> Iterator[str]:
    """The texts of a TypeScript or Svelte file. A first argument that is not a literal is taken for a marked text."""
    for call in _CALL.finditer(source):
        at, wanted = call.end(), ARGUMENTS[call[1]]
        if wanted.start:  # the count
            comma = source.find(",", at)
            at = comma + 1
        for _ in range(wanted.stop - wanted.start):
            literal = _LITERAL.match(source, at)
            if literal is None:
                if call[1] in ("plural", "counted") and not name.endswith("src/language.ts"):
                    sys.exit(f"{name}: {call[1]}() takes literals: {source[call.start() : call.start() + 60]!r}")
                break
            yield from forms(call[1], json.loads(literal[1]))
            at = literal.end()


def texts() -> dict[str, str]:
    """Every text with the first file that has it."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "src/pellucid").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for text in python_texts(path.read_text(encoding="utf-8"), name):
            found.setdefault(text, name)
    for path in sorted([*(ROOT / "studio/src").rglob("*.ts"), *(ROOT / "studio/src").rglob("*.svelte")]):
        name = path.relative_to(ROOT).as_posix()
        for text in typescript_texts(path.read_text(encoding="utf-8"), name):
            found.setdefault(text, name)
    for specs in SCHEMA.values():
        for spec in specs:
            for text in filter(None, (spec.meaning, spec.unit)):
                found.setdefault(text, "src/pellucid/record/schema.py")
    found.setdefault(ONE_PARAMETER, "src/pellucid/draw/figures/__init__.py")
    for figure in FIGURES.values():
        found.setdefault(figure.name, "src/pellucid/draw/figures/__init__.py")
        found.setdefault(figure.about, "src/pellucid/draw/figures/__init__.py")
    for option in recordable_options():
        found.setdefault(option.help, "src/pellucid/engine/options.py")
    return found


def placeholders(text: str) -> set[str]:
    """The names in braces; empty where the text is no format string."""
    try:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}
    except ValueError:
        return set()


def problems(found: dict[str, str], table: dict[str, str]) -> list[str]:
    """What is wrong with a language's table, a line each."""
    lines = []
    for text, where in found.items():
        translated = table.get(text, "")
        if not translated:
            lines.append(f"{where}: no translation of {text!r}")
        elif placeholders(text) != placeholders(translated):
            lines.append(f"{where}: other placeholders than {text!r}: {translated!r}")
    return lines + [f"no longer in the code: {text!r}" for text in table if text not in found]


def main() -> int:
    """Updates or checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if something is missing or wrong")
    check = parser.parse_args().check
    found, failed = texts(), False
    for path in sorted(LANGUAGES.glob("*.json")):
        table = json.loads(path.read_text(encoding="utf-8"))
        if not check:
            table = {text: table.get(text, "") for text in found}
            path.write_text(json.dumps(table, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        for line in problems(found, table):
            failed = True
            print(f"{path.name}: {line}", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
