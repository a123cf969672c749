"""Compiling the kernel: once, into a place that can be trusted, and a reason in one line where that fails."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pellucid.generate.kernel import build, library
from pellucid.generate.kernel.build import Unavailable


posix = pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PELLUCID_KERNEL", raising=False)
    return tmp_path / "cache"


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_it_is_compiled_once(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "FLAGS", ("-O0", *build.FLAGS[1:]))  # it is not run here
    assert not build.is_built()
    path = build.library_path()
    assert build.is_built() and [file.name for file in fresh.iterdir()] == [path.name]
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: pytest.fail("compiled again"))
    assert build.library_path() == path


def test_other_sources_make_another_library(fresh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = build._fingerprint(False)
    shutil.copytree(build.SOURCES, tmp_path / "sources")
    monkeypatch.setattr(build, "SOURCES", tmp_path / "sources")
    assert build._fingerprint(False) == before != build._fingerprint(True)
    with (tmp_path / "sources" / "pass.c").open("a", encoding="utf-8") as file:
        file.write("\n")
    assert build._fingerprint(False) != before


def test_without_a_compiler_it_says_so(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler --flag")
    with pytest.raises(Unavailable, match=r"^no C compiler \(no-such-compiler --flag\)$"):
        build.library_path()


@posix
def test_a_compiler_that_fails_is_quoted_and_leaves_nothing(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'error: it is Sunday' >&2\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    with pytest.raises(Unavailable, match="could not compile it: error: it is Sunday"):
        build.library_path()
    assert list(fresh.iterdir()) == []


@posix
def test_a_library_that_others_may_write_is_refused(fresh: Path) -> None:
    fresh.mkdir()
    planted = fresh / f"kernel-{build._fingerprint(False)}{build.SUFFIX}"
    planted.write_bytes(b"")
    planted.chmod(0o666)
    with pytest.raises(Unavailable, match="others may write"):
        build.library_path()
    planted.chmod(0o600)
    fresh.chmod(0o777)
    with pytest.raises(Unavailable, match="others may write"):
        build.library_path()


@posix
def test_a_cache_that_cannot_be_made_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(Unavailable, match="cannot write"):
        build.library_path()


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_KERNEL", "off")
    library.kernel.cache_clear()
    assert library.why_not() == "PELLUCID_KERNEL=off"
