"""The README's tree of the house: every file of src/pellucid with the first sentence of its docstring.

    python tools/tree.py            prints it
    python tools/tree.py --write    puts it into README.md, between <!-- tree --> and <!-- /tree -->
    python tools/tree.py --check    exit 1 if README.md has another (CI)

Rooms stand in the order of the layers in pyproject.toml, top to bottom.
"""

import argparse
import ast
import re
import sys
import tomllib
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "pellucid"
README = ROOT / "README.md"
BETWEEN = re.compile(r"(?<=<!-- tree -->\n).*?(?=<!-- /tree -->)", re.DOTALL)


def sentence(path: Path) -> str:
    """The first sentence of a module's docstring, as it stands in plain text."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not docstring:
        sys.exit(f"{path.relative_to(ROOT).as_posix()} has no docstring")
    first = docstring.split("\n\n")[0].replace("\n", " ").split(". ")[0]
    return first.replace("`", "").removesuffix(".")


def layers() -> list[str]:
    """Rooms and single files below the package's top, by layer."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    chosen = next(contract for contract in contracts if contract["type"] == "layers")
    return [name.strip().removeprefix("pellucid.") for layer in chosen["layers"] for name in layer.split("|")]


def tree() -> str:
    """The tree as a Markdown code block."""
    rows = [("src/pellucid/", sentence(PACKAGE / "__init__.py"))]
    names = layers()
    found = {path.name if path.is_dir() else path.stem for path in PACKAGE.iterdir() if is_ours(path)}
    if found != set(names):
        sys.exit(f"layers in pyproject.toml and src/pellucid differ: {', '.join(sorted(found ^ set(names)))}")
    for name in names:
        room = PACKAGE / name
        if not room.is_dir():
            rows.append((f"  {name}.py", sentence(room.with_suffix(".py"))))
            continue
        rows.append((f"  {name}/", sentence(room / "__init__.py")))
        rows += [(f"    {path.name}", sentence(path)) for path in sorted(room.glob("*.py")) if path.stem != "__init__"]
    width = max(len(left) for left, _ in rows) + 2
    return "\n".join(["```text", *(f"{left:<{width}}{right}" for left, right in rows), "```", ""])


def is_ours(path: Path) -> bool:
    """Whether a name in the package is a room or a file with a layer of its own."""
    return (path / "__init__.py").exists() or (path.suffix == ".py" and not path.stem.startswith("__"))


def main() -> int:
    """Prints, writes or checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--write", action="store_true", help="update README.md")
    what.add_argument("--check", action="store_true", help="exit 1 if README.md has another tree")
    chosen = parser.parse_args()
    if not (chosen.write or chosen.check):
        print(tree(), end="")
        return 0
    readme = README.read_text(encoding="utf-8")
    found = BETWEEN.search(readme)
    if not found:
        print("README.md has no place for the tree: a line <!-- tree --> and, below it, a line <!-- /tree -->", file=sys.stderr)
        return 1
    if chosen.write:
        README.write_text(readme[: found.start()] + tree() + readme[found.end() :], encoding="utf-8", newline="\n")
    elif found[0] != tree():
        print("README.md's tree is out of date: python tools/tree.py --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
