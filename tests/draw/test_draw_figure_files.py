"""Every figure that some records allow: found, named, drawn, and what is missing said."""

import json
import multiprocessing
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from models import lively

import pellucid
from pellucid.cli import main
from pellucid.draw.backends import pool
from pellucid.draw.backends.save import content
from pellucid.draw.figure_files import draw_figures, find_records, plan_figures
from pellucid.draw.figures import FIGURES, figure
from pellucid.draw.film.film import Film
from pellucid.errors import PellucidError
from pellucid.record import open_record


GIVEN = [name for name, one in FIGURES.items() if one.kind == "generation"]
OTHERS = [name for name, one in FIGURES.items() if one.kind != "generation"]


@pytest.fixture(scope="module")
def tale(tmp_path_factory: pytest.TempPathFactory, tiny_run: Path) -> Path:
    """The record of a short answer."""
    path = tmp_path_factory.mktemp("records") / "tale.pellucid"
    pellucid.xray(lively(pellucid.load(tiny_run)), "the fox", max_tokens=4, seed=1).save(path)
    return path


def test_records_are_found_at_any_depth_and_each_once(tale: Path, tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    copy = deep / "copy.pellucid"
    copy.write_bytes(tale.read_bytes())
    (deep / "notes.txt").write_text("no record", encoding="utf-8")
    assert find_records([tmp_path]) == [copy]
    assert find_records([tale, tmp_path, copy]) == [tale, copy]
    assert find_records([copy, deep / ".." / "b"]) == [copy]  # one file, named in two ways


def test_what_cannot_be_found_is_named(tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match=r"there is no record or folder .*nothing"):
        find_records([tmp_path / "nothing"])
    with pytest.raises(PellucidError, match=r"no record .* below .*: pellucid xray"):
        find_records([tmp_path])


def test_a_figure_of_one_record_has_its_own_name(tale: Path) -> None:
    found, absent = plan_figures([tale])
    assert [planned.stem for planned in found] == GIVEN
    assert [one.figure for one in absent] == OTHERS
    assert all(one.command.startswith("pellucid ") for one in absent)


def test_records_called_alike_are_told_apart_by_their_folders(tale: Path, tmp_path: Path) -> None:
    paths = [tmp_path / name / "tale.pellucid" for name in ("one", "two")]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(tale.read_bytes())
    stems = [planned.stem for planned in plan_figures(paths, GIVEN[:1])[0]]
    assert stems == [f"{GIVEN[0]}-one-tale", f"{GIVEN[0]}-two-tale"]


def test_records_that_no_folder_names_tell_apart_are_numbered(tale: Path, tmp_path: Path) -> None:
    """One folder leaves the first and the last alike, two or more the first two."""
    paths = [tmp_path / folder / inner / "tale.pellucid" for folder, inner in (("a", "b-c"), ("a-b", "c"), ("x", "b-c"))]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_bytes(tale.read_bytes())
    stems = [planned.stem for planned in plan_figures(paths, GIVEN[:1])[0]]
    assert stems == [f"{GIVEN[0]}-tale-{number}" for number in (1, 2, 3)]


def test_the_command_draws_what_there_is_and_says_what_is_not(
    tale: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pictures" / "new"
    assert main(["figures", str(tale.parent), "--out", str(out), "--format", "svg,html", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [one["figure"] for one in printed["figures"]] == GIVEN
    files = sorted(path.name for path in out.iterdir())
    assert files == sorted(f"{name}.{kind}" for name in GIVEN for kind in ("svg", "html"))
    assert {path for one in printed["figures"] for path in one["files"]} == {str(out / name) for name in files}
    assert [(one["figure"], one["command"]) for one in printed["missing"]] == [(n, FIGURES[n].command) for n in OTHERS]
    svg = (out / f"{GIVEN[0]}.svg").read_bytes()
    with pellucid.open(tale) as record:
        record.figure(GIVEN[0]).save(tmp_path / "same.svg")
    assert svg == (tmp_path / "same.svg").read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "tiff"], "no picture of the kind 'tiff'"),
        (["--format", ","], "name a format"),
        (["--only", "portrait"], "no figure 'portrait'"),
        (["--only", OTHERS[0] if OTHERS else "none"], "no figure"),
    ],
)
def test_wrong_wishes_are_one_line(
    words: list[str], said: str, tale: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["figures", str(tale), "--out", str(tmp_path / "out"), *words]) == 1
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_a_damaged_record_and_a_file_in_the_way_are_one_line(
    tale: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = tmp_path / "half.pellucid"
    half.write_bytes(tale.read_bytes()[:200])
    assert main(["figures", str(half), "--out", str(tmp_path / "out")]) == 1
    assert str(half) in capsys.readouterr().err
    taken = tmp_path / "file"
    taken.write_text("in the way", encoding="utf-8")
    assert main(["figures", str(tale), "--out", str(taken / "out")]) == 1
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.long
def test_several_processes_draw_the_same_files(tale: Path, tmp_path: Path) -> None:
    formats, wanted = ("svg", "png", "gif", "html"), ["tokens", "stack"]
    told: list[str] = []
    for count in (1, 2):
        drawn, _ = draw_figures(
            [tale], tmp_path / str(count), formats, wanted=wanted, width=240, processes=count,
            on_drawn=lambda one: told.append(one.planned.figure),
        )  # fmt: skip
        assert [one.planned.figure for one in drawn] == wanted
    assert told == wanted * 2
    for path in sorted((tmp_path / "1").iterdir()):
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes(), path.name


def test_a_process_that_is_killed_is_replaced_by_this_one(tale: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_record(tale) as record:
        film = figure(record, "tokens", width=240)
    with pool.render_pool(2) as render:
        monkeypatch.setattr(pool.ProcessPoolExecutor, "submit", lambda *_, **__: failed)
        failed: Future[bytes] = Future()
        failed.set_exception(BrokenProcessPool("killed"))
        assert render(film, "svg", None)() == content(film, "svg")
        monkeypatch.setattr(pool.ProcessPoolExecutor, "submit", broken)  # as it is from then on
        assert render(film, "svg", None)() == content(film, "svg")


def broken(*_: object, **__: object) -> None:
    raise BrokenProcessPool("killed")


def slow(film: Film, kind: str, *, width: int | None) -> bytes:
    """As slow as a long film. Here, where another process finds it."""
    time.sleep(600)
    return b""


@pytest.mark.long
def test_an_interrupt_does_not_wait_for_what_is_drawn(tale: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_record(tale) as record:
        film = figure(record, "tokens", width=240)
    monkeypatch.setattr(pool, "content", slow)
    with pytest.raises(KeyboardInterrupt), pool.render_pool(2) as render:
        render(film, "svg", None)
        while not multiprocessing.active_children():
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("missing", ["resvg_py", "PIL.Image"])
def test_what_needs_no_missing_package_is_drawn(
    tale: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    argv = ["figures", str(tale), "--out", str(tmp_path / "p"), "--only", "tokens", "--format"]
    assert main([*argv, "svg,gif,html"]) == 0
    printed = capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == ["tokens.html", "tokens.svg"]
    assert "not drawn: *.gif" in printed and "pip install 'pellucid[pictures]', or '.[pictures]' in a checkout" in printed
    assert main([*argv, "gif"]) == 1
    assert "pip install 'pellucid[pictures]'" in capsys.readouterr().err
