"""The pages in docs/ name what there is: files, functions, links; their marked Python runs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "pellucid"
PAGES = sorted((ROOT / "docs").glob("*.md"))
METHODS = (ast.FunctionDef, ast.AsyncFunctionDef)

pytestmark = pytest.mark.skipif(not PAGES, reason="an installed copy has no docs")


def defined(path: Path) -> set[str]:
    """Functions, classes and methods of a module, methods as Class.method and by themselves."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{child.name}" for child in node.body if isinstance(child, METHODS)}
    return found


def test_the_journeys_name_files_and_functions_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## The tree")[0]
    named = re.findall(r"`([a-z_/0-9]+\.(?:py|c))(?:: ([\w.]+))?`", text)
    assert len(named) > 25
    for path, name in named:
        place = ROOT / path if path.startswith("tests/") else PACKAGE / path
        assert place.is_file(), path
        assert not name or name in defined(place), f"{path}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    files = [link.split("#")[0] for link in links if "://" not in link and link[0] != "#"]
    assert [file for file in files if not (page.parent / file).exists()] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "log"], ids=lambda page: page.stem)
def test_named_modules_exist(page: Path) -> None:
    """`room/module.py` in backquotes, and `pellucid.room.module`. The log speaks of code as it was."""
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"`(?:src/pellucid/)?((?:[a-z_]+/)+[a-z_0-9]+\.(?:py|c|h))`", text):
        assert (PACKAGE / path).is_file() or (ROOT / path).is_file() or (ROOT / "studio" / path).is_file(), path
    for dotted in re.findall(r"\bpellucid((?:\.[a-z_]+){2,})\b", text):
        first = PACKAGE / Path(*dotted.strip(".").split(".")[:1])
        assert first.is_dir() or first.with_suffix(".py").is_file(), dotted


MARKED = [
    pytest.param(code, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"^<!-- test -->\n```python\n(.*?)^```$", page.read_text("utf-8"), re.S | re.M), 1)
]


def test_there_are_marked_examples() -> None:
    assert len(MARKED) >= 2


@pytest.mark.long
@pytest.mark.parametrize("code", MARKED)
def test_marked_examples_run(code: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0 and done.stdout, f"{code}\n{done.stdout}\n{done.stderr}"
