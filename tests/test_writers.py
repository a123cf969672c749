"""Every file is written by `pellucid.files` and `pellucid.folders`: no other source opens one for writing, or moves one."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest


PACKAGE = Path(__file__).resolve().parent.parent / "src" / "pellucid"
WRITERS = ("files.py", "folders.py", "locks.py")
WRITING_MODE = re.compile(r"[rwxabtU+]*[wxa+][rwxabtU+]*")
METHODS = {
    "write_text", "write_bytes", "rename", "symlink_to", "hardlink_to", "tofile", "save_file", "serialize_file",
    "savez", "savetxt", "savez_compressed",
}  # fmt: skip
FUNCTIONS = {
    "os.open", "os.replace", "os.rename", "os.renames", "os.link", "os.symlink", "os.truncate", "torch.save", "np.save",
}  # fmt: skip
MODULES = {"tempfile"}
COPIES = {"copy", "copy2", "copyfile", "copyfileobj", "copytree", "move", "make_archive", "unpack_archive"}

# What else may stand in a source, and why.
ALLOWED = {
    ("native/*", "*"): "the compiler writes the file; who may load what is there is checked in that room",
    ("bench/*", "*"): "scratch files of measurements, in a folder that nobody else can write to and that goes away",
    ("draw/backends/animation.py", "tempfile.TemporaryFile"): "what ffmpeg says, unnamed and outside of any output",
    ("serve/model_page/page_model.py", "tempfile.gettempdir"): "where a private folder is made, which goes away",
    ("finetuning/row_stream.py", "tempfile.SpooledTemporaryFile"): "columns of a table that is checked, unnamed",
    ("training/run.py", "tempfile.TemporaryDirectory"): "a dry run's corpus, in a private folder that goes away",
    ("cli/streams.py", "os.open"): "the null device, in place of a closed stream",
    ("cli/streams.py", "open w"): "the null device, in place of a closed stream",
    ("record/writer.py", "shutil.copyfileobj"): "from one open file into another",
}


def writes(module: ast.Module) -> Iterator[str]:
    """What in a module opens a file for writing, or makes, moves or copies one."""
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and node.module in {"os", "shutil", *MODULES}:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in names if name in FUNCTIONS or _copies(name) or node.module in MODULES)
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        last = name.rpartition(".")[2]
        if name in FUNCTIONS or _copies(name) or name.partition(".")[0] in MODULES:
            yield name
        elif last in METHODS:
            yield f".{last}"
        elif last == "touch" and not node.args:  # a path's; a cache's takes an entry
            yield ".touch"
        elif last == "replace" and len(node.args) == 1 and not node.keywords:  # a path's; a text's takes two
            yield ".replace"
        elif last in ("open", "fdopen", "memmap") and (mode := _mode(node, first=name == "open" or last != "open")):
            yield f"{last} {mode}"


def _copies(name: str) -> bool:
    module, _, function = name.rpartition(".")
    return module == "shutil" and function in COPIES


def _mode(call: ast.Call, *, first: bool) -> str:
    """The mode of a call that opens a file for writing; ? where only running it tells; empty where it reads."""
    given = [word.value for word in call.keywords if word.arg == "mode"] or call.args[first : first + 1]
    if not given:
        return ""
    if isinstance(given[0], ast.Constant):
        mode = given[0].value
        return mode if isinstance(mode, str) and WRITING_MODE.fullmatch(mode) else ""
    return "?" if any(word.arg == "mode" for word in call.keywords) or first else ""


def allowed(path: str, found: str) -> bool:
    folder = path.rpartition("/")[0]
    return any((place, what) in ALLOWED for place in (path, f"{folder}/*") for what in (found, "*"))


def test_the_search_finds_what_writes() -> None:
    """The check itself can fail."""
    writing = """
open(p, "w"); open(p, mode="ab"); p.open("x"); Path(p).open(mode="r+b"); open(p, mode); os.fdopen(fd, "wb"); p.write_text("x")
p.write_bytes(b); p.replace(q); p.rename(q); os.replace(a, b); shutil.copyfile(a, b); tempfile.mkstemp(); save_file(t, p)
os.open(p, 0); p.touch(); a.tofile(p); np.save(p, a); np.memmap(p, mode="w+"); shutil.move(a, b)
from os import replace
from tempfile import NamedTemporaryFile
"""
    assert len(list(writes(ast.parse(writing)))) == 22
    reading = """
open(p); open(p, "rb"); p.open(); p.open("rb"); Record.open(x); runner.open(4); open(p, "r", 1); np.memmap(p, mode="r")
s.replace("a", "b"); config.replace(n=1); shutil.rmtree(p); film.save(p); cache.touch(x)
"""
    assert not list(writes(ast.parse(reading)))


@pytest.mark.long
def test_only_these_files_write() -> None:
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name not in WRITERS and (seen := set(writes(ast.parse(path.read_text(encoding="utf-8"))))):
            found[name] = seen
    refused = {name: kinds for name, seen in found.items() if (kinds := {kind for kind in seen if not allowed(name, kind)})}
    assert refused == {}
    used = {place for name, seen in found.items() for kind in seen for place in ALLOWED if _covers(place, name, kind)}
    assert used == set(ALLOWED)  # what is allowed is there


def _covers(place: tuple[str, str], name: str, kind: str) -> bool:
    return place[0] in (name, f"{name.rpartition('/')[0]}/*") and place[1] in (kind, "*")


@pytest.mark.parametrize("name", WRITERS)
def test_the_writers_are_where_this_test_looks(name: str) -> None:
    assert list(writes(ast.parse((PACKAGE / name).read_text(encoding="utf-8"))))
