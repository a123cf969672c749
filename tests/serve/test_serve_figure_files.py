"""Figures as files: the right bytes, one at a time, cancelled with the request; long prompts; whether a run runs."""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import ask, until

import pellucid
from pellucid.draw.backends import raster
from pellucid.draw.backends.save import content
from pellucid.errors import PellucidError
from pellucid.languages import LANGUAGES, language, tr
from pellucid.locks import is_locked, locked
from pellucid.serve import Studio
from pellucid.serve.studio import figure_files, figures
from pellucid.serve.studio.figure_files import MAX_WAITING, MEDIA_TYPES
from pellucid.serve.studio.long_prompt import fitting_end
from pellucid.text.tokenizer import Tokenizer


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def tale(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "tale.pellucid"
    pellucid.xray(pellucid.load(tiny_run), "the fox", max_tokens=3, seed=1).save(path)
    return path


@pytest.fixture(scope="module")
def studio(tale: Path, tiny_run: Path) -> Iterator[Studio]:
    with Studio([tale, tiny_run], port=0) as served:
        yield served


def address(kind: str, width: int = 480) -> str:
    return f"/api/figures/record-1/xray/file?format={kind}&width={width}"


@pytest.mark.parametrize(
    "kind", ["svg", "png", "html", "gif", "webp"]
)
def test_a_file_is_what_film_save_writes(studio: Studio, tale: Path, kind: str) -> None:
    answer = ask(studio, address(kind))
    with pellucid.open(tale) as record:
        film = record.figure("xray", width=480)
    assert answer.body == content(film, kind, width=None if kind in ("svg", "html") else 480)
    assert answer.headers["content-type"] == MEDIA_TYPES[kind]
    assert answer.headers["content-disposition"] == f'attachment; filename="xray.{kind}"'


def test_what_cannot_be_saved_is_said(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there are html, png, svg, gif, webp, mp4" in ask(studio, address("pdf")).error
    assert "at most 1280 wide" in ask(studio, address("gif", 1281)).error
    assert "240 to 2400 wide" in ask(studio, address("png", 9000)).error
    assert ask(studio, "/api/figures/record-9/xray/file").status == 404
    assert ask(studio, address("png"), origin="http://evil.example").status == 403

    def missing(name: str, what: str) -> Any:
        raise PellucidError(f"{what} needs a package that is not installed: pip install 'pellucid[pictures]'")

    monkeypatch.setattr(raster, "needed", missing)
    assert "pip install 'pellucid[pictures]'" in ask(studio, address("png")).error


@pytest.mark.parametrize("lacks", [(), ("mp4",), ("gif", "webp", "mp4", "png")])
def test_the_listing_says_which_formats_can_be_written_here(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, lacks: tuple[str, ...]
) -> None:
    def check(kind: str) -> None:
        if kind in lacks:
            raise raster.MissingPackageError(f"a file .{kind}", raster.LACKING)

    monkeypatch.setattr("pellucid.draw.backends.save.check_packages", check)
    figure_files._lacking.cache_clear()
    try:
        for code in LANGUAGES:
            listed = ask(studio, f"/api/sources?lang={code}").json()["formats"]
            assert [one["format"] for one in listed] == list(MEDIA_TYPES)
            with language(code):
                expected = dict.fromkeys(lacks, tr(raster.LACKING))
            assert {one["format"]: one["missing"] for one in listed if "missing" in one} == expected
    finally:
        figure_files._lacking.cache_clear()


def test_one_is_drawn_at_a_time_and_ends_with_its_request(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended, go = threading.Semaphore(0), threading.Semaphore(0), threading.Event()
    running: list[int] = []
    original = figures._CancellableFilm.at

    def held(film: Any, t: float) -> Any:
        begun.release()
        running.append(1)
        assert len(running) == 1
        try:
            assert go.wait(20)
            return original(film, t)
        except BaseException:
            ended.release()
            raise
        finally:
            running.pop()

    monkeypatch.setattr(figures._CancellableFilm, "at", held)
    connections = [http.client.HTTPConnection("127.0.0.1", studio.port, timeout=20) for _ in range(2 + MAX_WAITING)]
    for connection in connections[:-1]:
        connection.request("GET", address("svg"))
    assert begun.acquire(timeout=20)
    files = studio._server.config.app.state.files  # type: ignore[union-attr]
    until(lambda: files._waiting == MAX_WAITING)
    assert ask(studio, address("svg")).status == 429
    sock = connections[0].sock
    assert isinstance(sock, socket.socket)
    sock.shutdown(socket.SHUT_RDWR)  # the page leaves: its drawing ends before the next picture
    sock.close()
    go.set()
    for connection in connections[1:-1]:
        with closing(connection), connection.getresponse() as response:
            assert response.status == 200
            response.read()
    until(lambda: not files._lock.locked())


@pytest.fixture(scope="module")
def tokenizer(tiny_run: Path) -> Tokenizer:
    found = pellucid.load(tiny_run).tokenizer
    assert found is not None
    return found


@given(st.text(alphabet=st.sampled_from("ab \n好é🙂"), max_size=80), st.integers(min_value=-1, max_value=60))
def test_the_end_of_a_prompt_that_fits(tokenizer: Tokenizer, text: str, room: int) -> None:
    end = fitting_end(text, room, tokenizer)
    assert text.endswith(end)
    assert not end or len(tokenizer.encode_prompt(end)) <= room
    if 0 <= len(tokenizer.encode_prompt(text)) <= room:
        assert end == text
    if end and end != text and " " in text[-len(end) - 1 :][:1]:
        assert not end[0].isspace()  # it begins with a word


def test_whether_a_folder_is_locked(tmp_path: Path) -> None:
    assert is_locked(tmp_path) is False
    with locked(tmp_path):
        assert is_locked(tmp_path) is True
    assert is_locked(tmp_path) is False
    assert is_locked(tmp_path / "nowhere") is False


def test_a_run_says_whether_it_runs(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("run.json", "metrics.jsonl"):
        (run / name).write_bytes((tiny_run / name).read_bytes())
    with Studio([run], port=0) as studio:
        (told,) = ask(studio, "/api/sources").json()["runs"]
        assert told["running"] is False and told["idle"] >= 0
        with locked(run):
            (told,) = ask(studio, "/api/sources").json()["runs"]
            assert told["running"] is True


def test_an_address_that_others_can_type(monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid.serve.studio import server

    here = Studio([], port=0)
    here.close()
    assert here.network_url is None
    monkeypatch.setattr(server, "network_address", lambda family: "192.168.7.5")
    everywhere = Studio([], "0.0.0.0", port=0)
    try:
        assert everywhere.network_url == f"http://192.168.7.5:{everywhere.port}/"
        assert everywhere.url == f"http://127.0.0.1:{everywhere.port}/"
    finally:
        everywhere.close()
