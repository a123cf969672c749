"""The cache of compiled libraries: whoever can change it could run code here, and whatever lies in it may be damaged."""

import ctypes
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

from pellucid.native import compiler, shared_library
from pellucid.native.cache_directory import cache_directory, check_directory, digest_file
from pellucid.native.errors import Unavailable
from pellucid.native.shared_library import Library


if os.name != "posix":
    pytest.skip("permissions as POSIX has them", allow_module_level=True)
needs_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
SOURCE = "int answer(void) { return 42; }\n"


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PELLUCID_KERNEL", raising=False)
    monkeypatch.delenv("CC", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def small(tmp_path: Path) -> Library:
    """A library that is compiled in no time."""
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "answer.c").write_text(SOURCE, encoding="utf-8")
    return Library("small", tmp_path / "sources", ("-O0",), ("answer",))


def compiled(tmp_path: Path, source: str) -> bytes:
    """Another library's bytes."""
    (tmp_path / "other.c").write_text(source, encoding="utf-8")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "other.so", tmp_path / "other.c"], check=True)
    return (tmp_path / "other.so").read_bytes()


def answers(library: ctypes.CDLL) -> int:
    return int(library.answer())


def write_with_digest(path: Path, data: bytes) -> None:
    """A file that is what the cache says it is."""
    path.write_bytes(data)
    path.chmod(0o700)
    digest_file(path).write_text(shared_library.hashlib.sha256(data).hexdigest(), encoding="utf-8")


def truncate(path: Path, scratch: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(file.seek(0, 2) // 2)


def flip_a_byte(path: Path, scratch: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def replace_by_link(path: Path, scratch: Path) -> None:
    path.rename(scratch / "moved.so")
    path.symlink_to(scratch / "moved.so")


def replace_by_fifo(path: Path, scratch: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_sparse(path: Path, scratch: Path) -> None:
    os.truncate(path, 1 << 40)


DAMAGE: dict[str, Callable[[Path, Path], Any]] = {
    "truncated": truncate,
    "empty": lambda path, scratch: path.write_bytes(b""),
    "a byte": flip_a_byte,
    "text": lambda path, scratch: path.write_text("library", encoding="utf-8"),
    "other code": lambda path, scratch: path.write_bytes(compiled(scratch, "int answer(void) { return 7; }")),
    "other symbols": lambda path, scratch: write_with_digest(path, compiled(scratch, "int question(void) { return 7; }")),
    "no library": lambda path, scratch: write_with_digest(path, b"library"),
    "no digest": lambda path, scratch: digest_file(path).unlink(),
    "a binary digest": lambda path, scratch: digest_file(path).write_bytes(b"\xff\0" * 1000),
    "digest a link": lambda path, scratch: replace_by_link(digest_file(path), scratch),
    "digest a FIFO": lambda path, scratch: replace_by_fifo(digest_file(path), scratch),
    "others may write it": lambda path, scratch: path.chmod(0o722),
    "link": replace_by_link,
    "FIFO": replace_by_fifo,
    "a terabyte": make_sparse,
}


@needs_compiler
@pytest.mark.parametrize("damage", sorted(DAMAGE))
def test_a_damaged_library_is_compiled_again(fresh: Path, small: Library, tmp_path: Path, damage: str) -> None:
    path = small.path()
    DAMAGE[damage](path, tmp_path)
    assert answers(small.load()) == 42
    assert stat.S_IMODE(path.lstat().st_mode) == 0o700 and not list(fresh.glob("*.part"))
    before = path.lstat().st_mtime_ns
    assert answers(small.load()) == 42 and path.lstat().st_mtime_ns == before


@needs_compiler
@cases(25)
@given(data=st.data())
def test_any_change_of_its_bytes_is_seen(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "bytes"
    folder.mkdir(exist_ok=True)
    original = folder / "original"
    if not original.exists():
        original.write_bytes(compiled(folder, SOURCE))
    damaged = bytearray(original.read_bytes())
    place = data.draw(st.integers(0, len(damaged) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "append"])):
        case "flip":
            damaged[place] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            del damaged[place:]
        case _:
            damaged.append(0)
    path = folder / "cached.so"
    write_with_digest(path, original.read_bytes())
    os.close(shared_library.open_library(path))
    path.write_bytes(damaged)
    with pytest.raises(shared_library.UnusableFile, match="not as it was compiled"):
        shared_library.open_library(path)


def take_compiler(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Makes a shell script the C compiler."""
    fake = folder / "cc"
    fake.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    fake.chmod(0o755)
    monkeypatch.setenv("CC", str(fake))


@needs_compiler
def test_a_compiler_that_makes_something_else_is_not_called_at_each_start(
    fresh: Path, small: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_compiler(tmp_path, monkeypatch, 'while [ $# -gt 1 ]; do [ "$1" = -o ] && echo nonsense > "$2"; shift; done')
    with pytest.raises(Unavailable, match=r"^a library just compiled could not be loaded: "):
        small.load()
    assert not small.would_compile()
    with pytest.raises(Unavailable, match="from an earlier attempt"):
        small.load()


@needs_compiler
def test_what_is_loaded_is_what_was_checked(
    fresh: Path, small: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another library takes the path between the check and the loading: on Linux it is not the one that is loaded."""
    if sys.platform != "linux" or not Path("/proc/self/fd").exists():
        pytest.skip("no loading by descriptor here")
    path = small.path()
    other = compiled(tmp_path, "int answer(void) { return 7; }")
    load = ctypes.CDLL

    def swap_first(name: str) -> ctypes.CDLL:
        path.unlink()
        path.write_bytes(other)
        return load(name)

    monkeypatch.setattr(shared_library.ctypes, "CDLL", swap_first)
    assert answers(small.load()) == 42
    monkeypatch.setattr(shared_library.ctypes, "CDLL", load)
    assert answers(small.load()) == 42, "and a second is not taken for the first, which has the name of a descriptor, too"


@needs_compiler
def test_two_libraries_are_two(fresh: Path, small: Library, tmp_path: Path) -> None:
    first = small.load()
    (tmp_path / "sources" / "answer.c").write_text(SOURCE.replace("42", "43"), encoding="utf-8")
    assert (answers(first), answers(small.load())) == (42, 43)


# Whose the directories are.

OTHER_USER = 54321


@cases(60)
@given(data=st.data())
def test_no_directory_above_may_be_changed_by_others(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """The oracle: each directory on the way is this user's or root's; the last is closed to others, those above it at least
    sticky."""
    directory = tmp_path_factory.mktemp("ancestors")
    made = []
    for name in "abc":
        directory /= name
        directory.mkdir()
        made.append(directory)
    allowed = True
    with pytest.MonkeyPatch.context() as patch:
        owners = {}
        for path in made:
            mode = data.draw(st.sampled_from([0o700, 0o755, 0o775, 0o757, 0o777, 0o1777, 0o1775, 0o750]))
            owner = data.draw(st.sampled_from([os.getuid(), os.getuid(), 0, OTHER_USER]))
            path.chmod(mode)
            owners[str(path)] = owner
            closed = not mode & 0o022 or (mode & stat.S_ISVTX and path != directory)
            allowed = allowed and bool(closed) and owner != OTHER_USER
        lstat = os.lstat

        def owned(path: Any) -> os.stat_result:
            info = list(lstat(path))
            info[stat.ST_UID] = owners.get(os.fspath(path), info[stat.ST_UID])
            return os.stat_result(info)

        patch.setattr(os, "lstat", owned)
        if allowed:
            check_directory(directory)
        else:
            with pytest.raises(Unavailable, match=r"others may write|belongs to another user"):
                check_directory(directory)
    for path in made:
        path.chmod(0o700)


@needs_compiler
@pytest.mark.parametrize("missing", [False, True])
def test_a_cache_below_a_directory_that_others_may_write_is_not_used(
    fresh: Path, small: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: bool
) -> None:
    """They could rename what lies in it, whatever the permissions of the cache itself."""
    shared = tmp_path / "shared"
    monkeypatch.setenv("PELLUCID_CACHE", str(shared / "own" / "cache"))
    if not missing:
        small.path()
    shared.mkdir(exist_ok=True)
    shared.chmod(0o777)
    assert not small.would_compile(), "which would be announced"
    for use in (small.load, small.path):
        with pytest.raises(Unavailable, match=rf"^others may write {shared}: set PELLUCID_CACHE to a directory that only you"):
            use()
    shared.chmod(0o1777)
    assert answers(small.load()) == 42


@needs_compiler
def test_a_link_on_the_way_is_resolved_once(
    fresh: Path, small: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "link" / "cache"))
    assert small.path().parent == tmp_path.resolve() / "real" / "cache"
    (tmp_path / "real").chmod(0o777)
    with pytest.raises(Unavailable, match=r"others may write .*/real"):
        small.load()


@needs_compiler
@pytest.mark.parametrize("named", [".", "cache", "./a/../b"])
def test_a_relative_cache_is_one_place(
    fresh: Path, small: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("PELLUCID_CACHE", named)
    assert cache_directory().is_absolute() and answers(small.load()) == 42
    assert small.path().is_relative_to(tmp_path.resolve() / "work")


@needs_compiler
def test_directories_made_for_it_are_closed_to_others(fresh: Path, small: Library) -> None:
    before = os.umask(0)
    try:
        path = small.path()
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(one.stat().st_mode) for one in (path, path.parent, digest_file(path), fresh / "compiling.lock")}
    assert modes <= {0o700, 0o600}
    assert answers(small.load()) == 42


def test_no_place_for_a_cache_is_a_reason(small: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PELLUCID_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/to/nothing")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/somebody"))
    assert cache_directory() == Path("/home/somebody/.cache/pellucid"), "the specification ignores a relative one"

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(Unavailable, match=r"^no directory for compiled libraries: Could not determine home"):
        small.load()
    assert not small.would_compile()
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setenv("PELLUCID_CACHE", "relative")
    with pytest.raises(Unavailable, match=r"^no directory for compiled libraries: "):
        small.load()


# Compilers that do not end, and what they leave.

HANGING = """
sleep 1000 &
echo $! $$ > {pids}.part
mv {pids}.part {pids}
wait
"""
CHILD = """
import sys
from pathlib import Path
from pellucid.native.shared_library import Library
Library("small", Path(sys.argv[1]), (), ("answer",)).load()
"""


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited for a minute"
        time.sleep(0.02)


def is_running(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        return not Path("/proc/self/stat").exists()


def hanging_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pids = tmp_path / "pids"
    take_compiler(tmp_path, monkeypatch, HANGING.format(pids=pids))
    return pids


@pytest.mark.parametrize("signal_sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_compiler_that_hangs_ends_with_this_process(
    fresh: Path, small: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signal_sent: signal.Signals
) -> None:
    """And so does what it started."""
    pids = hanging_compiler(tmp_path, monkeypatch)
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(small.sources)], stderr=subprocess.DEVNULL)
    wait_for(pids.exists)
    processes = [int(number) for number in pids.read_text(encoding="utf-8").split()]
    assert all(map(is_running, processes))
    child.send_signal(signal_sent)
    child.wait(60)
    wait_for(lambda: not any(map(is_running, processes)))


def test_a_compiler_that_takes_too_long_is_killed(
    fresh: Path, small: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = hanging_compiler(tmp_path, monkeypatch)
    wait = subprocess.Popen.wait

    def begun_only(self: Any, timeout: float | None = None) -> int:
        if timeout == compiler.COMPILER_TIMEOUT:  # which nobody waits for here
            wait_for(pids.exists)
            raise subprocess.TimeoutExpired("cc", timeout)
        return wait(self, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", begun_only)
    with pytest.raises(Unavailable, match=r"could not compile it: no end after 180 seconds$"):
        small.path()
    wait_for(lambda: not any(is_running(int(number)) for number in pids.read_text(encoding="utf-8").split()))
    assert not list(fresh.glob("*.part"))


@needs_compiler
def test_what_killed_builds_left_is_removed(fresh: Path, small: Library) -> None:
    target = small.location(plain=False)
    fresh.mkdir(mode=0o700)
    for name, age in (("old", 3600), ("new", 0)):
        part = fresh / f"{target.stem}{name}.part"
        part.touch()
        os.utime(part, (time.time() - age,) * 2)
    small.path()
    assert [part.name for part in fresh.glob("*.part")] == [f"{target.stem}new.part"]


@pytest.mark.parametrize("content", [b"\xff\xfe\0", b"why\nTraceback", b"", b"x" * 10**6])
def test_a_damaged_note_of_a_failure_is_a_line_or_nothing(
    fresh: Path, small: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    take_compiler(tmp_path, monkeypatch, "printf 'error: \\377 no\\nmore\\n' >&2; exit 3")
    with pytest.raises(Unavailable, match=r"could not compile it: error: � no$"):
        small.path()
    (note,) = fresh.glob("*.failed")
    note.write_bytes(content)
    with pytest.raises(Unavailable) as found:
        small.path()
    assert "\n" not in str(found.value)
    note.unlink(missing_ok=True)
    os.mkfifo(note)
    with pytest.raises(Unavailable, match="could not compile it"):
        small.path()
