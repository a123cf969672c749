"""The annotated tree of the package in docs/architecture.md: every module with the first sentence of its docstring.

    python tools/tree.py            prints it
    python tools/tree.py --write    puts it into docs/architecture.md, between <!-- tree --> and <!-- /tree -->
    python tools/tree.py --check    exit 1 if docs/architecture.md has another (CI)

Rooms stand in the order of the layers in pyproject.toml, top to bottom.
"""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from page_section import run


ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "pellucid"


def sentence(path: Path) -> str:
    """The first sentence of a module's docstring, as plain text."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not docstring:
        sys.exit(f"{path.relative_to(ROOT).as_posix()} has no docstring")
    first = docstring.split("\n\n")[0].replace("\n", " ").split(". ")[0]
    return first.replace("`", "").removesuffix(".")


def layers() -> list[str]:
    """Rooms and single modules below the package's top, by layer."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    chosen = next(contract for contract in contracts if contract["type"] == "layers")
    return [name.strip().removeprefix("pellucid.") for layer in chosen["layers"] for name in layer.split("|")]


def rows(folder: Path, depth: int) -> Iterator[tuple[str, str]]:
    """(indented name, first sentence) of a room, its modules and the rooms inside it."""
    yield f"{'  ' * depth}{folder.name}/", sentence(folder / "__init__.py")
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        if (path / "__init__.py").exists():
            yield from rows(path, depth + 1)
        elif path.suffix == ".py" and path.stem != "__init__":
            yield f"{'  ' * (depth + 1)}{path.name}", sentence(path)


def tree() -> str:
    """The tree as a Markdown code block."""
    listed = [("src/pellucid/", sentence(PACKAGE / "__init__.py"))]
    names = layers()
    found = {path.name if path.is_dir() else path.stem for path in PACKAGE.iterdir() if is_ours(path)}
    if found != set(names):
        sys.exit(f"layers in pyproject.toml and src/pellucid differ: {', '.join(sorted(found ^ set(names)))}")
    for name in names:
        room = PACKAGE / name
        listed += rows(room, 1) if room.is_dir() else [(f"  {name}.py", sentence(room.with_suffix(".py")))]
    width = max(len(left) for left, _ in listed) + 2
    return "\n".join(["```text", *(f"{left:<{width}}{right}" for left, right in listed), "```", ""])


def is_ours(path: Path) -> bool:
    """Whether a name in the package is a room, or a module with a layer of its own."""
    return (path / "__init__.py").exists() or (path.suffix == ".py" and not path.stem.startswith("__"))


if __name__ == "__main__":
    sys.exit(run(__doc__, "architecture.md", "tree", tree()))
