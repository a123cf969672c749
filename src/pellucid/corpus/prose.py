"""Training text when the user gives none: the documentation inside Python's standard library."""

import ast
import sysconfig
import warnings
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

from pellucid.corpus.documents import Document


# Tests and tools with little documentation, and packages that are not the standard library's.
_SKIPPED = {"test", "tests", "idlelib", "idle_test", "lib2to3", "turtledemo", "ensurepip", "pydoc_data",
            "site-packages", "dist-packages", "lib-dynload", "__pycache__"}  # fmt: skip


def python_prose() -> Iterator[Document]:
    """The language reference's help topics, then the docstrings of the standard library, a document a module.

    Modules are parsed, never imported. Their order is that of their names; a document is a module's docstring and those of its
    classes and functions in the order of the source. Missing modules (some distributions omit parts, a frozen one has no
    sources) and those that cannot be parsed are skipped. A full CPython 3.11 has some 2 MB of this text.
    """
    yield from _topics()
    library = Path(sysconfig.get_path("stdlib"))
    for file in sorted(_sources(library), key=lambda file: file.relative_to(library).parts):
        text = _docstrings(file)
        if text:
            yield Document(f"python/{file.relative_to(library).as_posix()}", text)


def _topics() -> Iterator[Document]:
    try:
        from pydoc_data.topics import topics  # a module of data only
    except ImportError:
        return
    for name, text in sorted(topics.items()):
        yield Document(f"python/topics/{name}", text.strip())


def _sources(directory: Path) -> Iterator[Path]:
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        if path.suffix == ".py":
            yield path
        elif path.is_dir() and path.name not in _SKIPPED and "." not in path.name:
            yield from _sources(path)


def _docstrings(file: Path) -> str:
    """All docstrings of a module, without their indents, a blank line between them."""
    try:
        source = file.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the library's own code
            tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError):
        return ""
    return "\n\n".join(text for text in map(cleandoc, _walk(tree)) if text)


def _walk(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    docstring = ast.get_docstring(node, clean=False)
    if docstring:
        yield docstring
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _walk(child)
