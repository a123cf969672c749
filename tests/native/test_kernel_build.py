"""Compiling the kernel: once, into a place that can be trusted, and a reason in one line where that fails."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.native import shared_library
from pellucid.native.cache_directory import digest_file
from pellucid.native.errors import Unavailable
from pellucid.native.shared_library import Library
from pellucid.runtime.kernel import library


LOCK = "compiling.lock"
FAILING = "#!/bin/sh\necho 'error: it is Sunday' >&2\nexit 1\n"
# Waits until both processes have begun, and a little, for the other one to come this far if nothing holds it up.
SLOW = """#!/bin/sh
echo called >> {calls}
until [ -e {begun}.1 ] && [ -e {begun}.2 ]; do sleep 0.1; done
sleep 0.5
while [ $# -gt 1 ]; do [ "$1" = -o ] && echo library > "$2"; shift; done
"""
CHILD = """
import sys
from dataclasses import replace
from pathlib import Path
from pellucid.runtime.kernel.library import KERNEL
Path(sys.argv[1]).touch()
print(KERNEL.path())
"""
posix = pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PELLUCID_KERNEL", raising=False)
    return tmp_path / "cache"


def names(directory: Path) -> set[str]:
    return {file.name for file in directory.iterdir()}


def script(path: Path, text: str) -> str:
    """A compiler."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return str(path)


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_it_is_compiled_once(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_library, "FLAGS", ("-O0", *shared_library.FLAGS[1:]))  # it is not run here
    assert library.KERNEL.would_compile()
    path = library.KERNEL.path()
    assert not library.KERNEL.would_compile() and names(fresh) == {path.name, digest_file(path).name, LOCK}
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: pytest.fail("compiled again"))
    assert library.KERNEL.path() == path


def test_other_sources_make_another_library(fresh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = library.KERNEL.location(plain=False)
    shutil.copytree(library.KERNEL.sources, tmp_path / "sources")
    copied = replace(library.KERNEL, sources=tmp_path / "sources")
    assert copied.location(plain=False) == before != copied.location(plain=True)
    with (tmp_path / "sources" / "forward.c").open("a", encoding="utf-8") as file:
        file.write("\n")
    assert copied.location(plain=False) != before


def test_without_a_compiler_it_says_so(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler --flag")
    with pytest.raises(Unavailable, match=r"^no C compiler \(no-such-compiler --flag\)$"):
        library.KERNEL.path()


@posix
def test_a_compiler_that_fails_is_quoted_and_not_called_again(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CC", script(tmp_path / "broken", FAILING))
    with pytest.raises(Unavailable, match=r"could not compile it: error: it is Sunday$"):
        library.KERNEL.path()
    (note,) = fresh.glob("*.failed")
    assert names(fresh) == {note.name, LOCK} and not library.KERNEL.would_compile()
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", lambda *args, **kwargs: pytest.fail("compiled again"))
        why = rf"it is Sunday \(from an earlier attempt; the next is made after a day, or once {note} is removed\)$"
        with pytest.raises(Unavailable, match=why):
            library.KERNEL.path()

    def tries_again() -> bool:
        if not library.KERNEL.would_compile():
            return False
        with pytest.raises(Unavailable, match=r"Sunday$"):
            library.KERNEL.path()
        return not library.KERNEL.would_compile()

    script(tmp_path / "broken", FAILING + "# another version\n")
    assert tries_again()
    monkeypatch.setattr(shared_library, "FLAGS", ("-O0", *shared_library.FLAGS[1:]))
    assert tries_again()
    monkeypatch.setenv("CC", script(tmp_path / "other", FAILING))
    assert tries_again()
    for old in fresh.glob("*.failed"):
        os.utime(old, (0, 0))
    assert tries_again()


@pytest.mark.long
@posix
@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_a_compiler_that_was_mended_leaves_the_library_only(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = shared_library.FLAGS
    target = library.KERNEL.location(plain=False)
    monkeypatch.setattr(Library, "location", lambda self, plain: target)
    monkeypatch.setattr(shared_library, "FLAGS", ("--no-such-flag",))
    with pytest.raises(Unavailable, match="could not compile it"):
        library.KERNEL.path()
    (note,) = fresh.glob("*.failed")
    os.utime(note, (0, 0))
    monkeypatch.setattr(shared_library, "FLAGS", ("-O0", *flags[1:]))
    path = library.KERNEL.path()
    assert names(fresh) == {path.name, digest_file(path).name, LOCK}


@posix
def test_of_two_processes_one_compiles(fresh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls, begun = tmp_path / "calls", tmp_path / "begun"
    monkeypatch.setenv("CC", script(tmp_path / "slow", SLOW.format(calls=calls, begun=begun)))
    both = [
        subprocess.Popen([sys.executable, "-c", CHILD, f"{begun}.{number}"], stdout=subprocess.PIPE, encoding="utf-8")
        for number in (1, 2)
    ]
    found = {process.communicate(timeout=120)[0].strip() for process in both}
    assert found == {str(path) for path in fresh.glob("kernel-*") if path.suffix != ".sha256"} and len(found) == 1
    assert calls.read_text(encoding="utf-8") == "called\n"


@posix
def test_a_cache_that_cannot_be_made_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(Unavailable, match="cannot write"):
        library.KERNEL.path()


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_KERNEL", "off")
    library.kernel.cache_clear()
    assert library.unavailable_reason() == "PELLUCID_KERNEL=off"
