"""Files of models, runs and records are opened by `pellucid.files.reading`: what is no regular file is refused, at once."""

import ast
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from generation_records import generation
from test_writers import PACKAGE

import pellucid
from pellucid.errors import PellucidError
from pellucid.files import reading, write_whole
from pellucid.formats import gguf_read
from pellucid.runs.metrics import MAX_LINE_BYTES, MetricsWriter, last_line, read_metrics
from pellucid.serve.studio.sources import SourceCatalog


METHODS = {"read_text", "read_bytes", "fromfile", "loadtxt", "genfromtxt"}
FUNCTIONS = {"open", "io.open", "io.FileIO", "np.load", "np.memmap"}
# What else may open a file to read it, and why.
ALLOWED = {
    "files.py": "it is `reading` itself", "locks.py": "files without content, opened without following links",
    "corpus/documents.py": "text of the user's own, of which `corpus.utf8` has seen that it is a file",
    "corpus/utf8.py": "the same",
    "corpus/shards.py": "memmap, of a file whose kind and size were checked",
    "finetuning/example_files.py": "examples that a user names, which may come through a FIFO; a run's are opened by `reading`",
    "resources.py": "what the kernel says",
    "cli/streams.py": "the null device",
    "bench/attention.py": "what the kernel says", "bench/generate.py": "weights that the bench itself has just written",
    "native/shared_library.py": "sources in this package, and what the kernel says",
    "native/cache_directory.py": "opened without following links, and checked",
    "draw/film/glyphs.py": "in this package", "draw/backends/html.py": "in this package", "text/r50k.py": "in this package",
    "serve/tuning/process.py": "what the kernel says",
    "serve/studio/page.py": "in this package", "serve/model_page/kernels.py": "in this package",
}  # fmt: skip


def reads(module: ast.Module) -> Iterator[str]:
    """What in a module opens a file by its name to read it."""
    for node in ast.walk(module):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        last = name.rpartition(".")[2]
        modes = [word.value for word in node.keywords if word.arg == "mode"]
        modes += [each for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        opens = last == "open" and any(isinstance(mode, ast.Constant) and mode.value in ("r", "rb", "rt") for mode in modes)
        if opens or name in FUNCTIONS or (last in METHODS and isinstance(node.func, ast.Attribute)):
            yield name


def test_the_search_finds_what_reads() -> None:
    reading_ones = """
open(p); open(p, "rb"); p.open("rb"); Path(p).open(mode="r"); p.read_text(encoding="utf-8"); p.read_bytes(); np.load(p)
np.memmap(p, mode="r"); np.fromfile(p)
"""
    assert len(list(reads(ast.parse(reading_ones)))) == 9
    assert not list(reads(ast.parse("""Record.open(x); runner.open(4); os.open(p, 0); reading(p); p.write_text("x")""")))


@pytest.mark.long
def test_one_function_opens_files_to_read() -> None:
    found = {
        name for path in sorted(PACKAGE.rglob("*.py"))
        if (name := path.relative_to(PACKAGE).as_posix()) and list(reads(ast.parse(path.read_text(encoding="utf-8"))))
    }  # fmt: skip
    assert found - set(ALLOWED) == set()
    assert set(ALLOWED) - found <= {"native/cache_directory.py"}  # what is allowed is there


def fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def device(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def unix_socket(path: Path) -> None:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path)[-100:] if len(str(path)) > 100 else str(path))


KINDS: dict[str, Callable[[Path], None]] = {"a FIFO": fifo, "a device": device, "a socket": unix_socket, "a folder": Path.mkdir}


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs")
@pytest.mark.parametrize("kind", list(KINDS))
def test_what_is_no_regular_file_is_refused_at_once(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    KINDS[kind](Path("x"))
    with pytest.raises(OSError, match="not a regular file"):
        reading(Path("x"))


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs")
@pytest.mark.parametrize("kind", ["a FIFO", "a device"])
def test_readers_of_models_records_and_runs(kind: str, tmp_path: Path) -> None:
    """Each file that they read in turn is no regular one."""
    make, folder = KINDS[kind], tmp_path / "model"
    folder.mkdir()
    pellucid.GPT(pellucid.GPTConfig(vocab_size=30, n_ctx=8, n_layers=1, d_model=8, n_heads=2), seed=1).save(folder)
    for file in sorted(folder.iterdir()):
        kept = file.read_bytes()
        make(file)
        with pytest.raises(PellucidError, match=file.name):
            pellucid.load(folder)
        file.unlink()
        file.write_bytes(kept)
    pellucid.load(folder)
    for name in ("tale.pellucid", "model.gguf"):
        make(tmp_path / name)
        with pytest.raises(PellucidError, match="regular file"):
            (pellucid.open if name.endswith("pellucid") else gguf_read.read)(tmp_path / name)


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs")
def test_a_run_whose_metrics_are_no_file_is_listed(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_bytes((tiny_run / "run.json").read_bytes())
    fifo(run / "metrics.jsonl")
    assert last_line(run) is None
    assert len(SourceCatalog([run]).listing()["runs"]) == 1
    with pytest.raises(PellucidError, match=r"metrics\.jsonl: it is not a regular file"):
        read_metrics(run)
    with pytest.raises(OSError, match="not a regular file"):
        MetricsWriter(run, keep_steps=1)


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_model_is_not_saved_into_a_fifo(name: str, tmp_path: Path) -> None:
    """And nothing else of it is written before that is seen."""
    fifo(tmp_path / name)
    model = pellucid.GPT(pellucid.GPTConfig(vocab_size=30, n_ctx=8, n_layers=1, d_model=8, n_heads=2), seed=1)
    with pytest.raises(PellucidError, match="not a regular file"):
        model.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(sys.platform == "win32", reason="no such permissions")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
def test_what_is_replaced_keeps_its_permissions(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old", encoding="utf-8")
    path.chmod(mode)
    write_whole(path, "new")
    assert (path.read_text(encoding="utf-8"), path.stat().st_mode & 0o777) == ("new", mode)


def test_a_line_without_end_is_refused_early(tmp_path: Path) -> None:
    """Only as much of it is read as it takes to see that it is too long."""
    path = tmp_path / "metrics.jsonl"
    with path.open("wb") as file:
        file.write(b'{"step": 1, "tokens": 5}\n{"step": ')
        file.truncate(1 << 36)  # 64 GiB of zeros, which take no disk
    with pytest.warns(UserWarning, match=f"1 damaged line left out .line 2: it has more than {MAX_LINE_BYTES:,} bytes"):
        assert read_metrics(tmp_path) == [{"step": 1, "tokens": 5}]


def test_a_record_in_memory_needs_no_file() -> None:
    assert pellucid.open(generation().to_bytes()).kind == "generation"
