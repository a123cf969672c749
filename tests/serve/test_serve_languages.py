"""The language of what the server sends: asked for by `lang`, else the server's; texts without a translation are English."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import ask

import pellucid
from pellucid.draw.figures import FIGURES
from pellucid.errors import PellucidError
from pellucid.languages import language, tr
from pellucid.record.schema import SCHEMA
from pellucid.serve import Studio, write_page


@pytest.fixture(scope="module")
def tale(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record that lacks what most figures need."""
    path = tmp_path_factory.mktemp("records") / "tale.pellucid"
    pellucid.xray(pellucid.load(tiny_run), "the fox", max_tokens=3, seed=1, keep=("lens",)).save(path)
    return path


@pytest.fixture(scope="module")
def studio(tale: Path) -> Iterator[Studio]:
    with Studio([tale], port=0, lang="zh") as served:
        yield served


def test_the_page_is_in_the_language_asked_for_else_the_servers(studio: Studio) -> None:
    for path, code in (("/", "zh"), ("/?lang=zh", "zh"), ("/?lang=en", "en")):
        title = {"zh": "Pellucid 工作室", "en": "Pellucid studio"}[code]
        page = ask(studio, path).body.decode()
        assert f'<html lang="{code}">' in page and f"<title>{title}</title>" in page
    for path in ("/", "/api/sources", "/api/figures/record-1/xray", "/api/figures/record-1/xray/file"):
        answer = ask(studio, f"{path}?lang=xx")
        assert answer.status == 400 and answer.error == "lang must be one of en, zh, not 'xx'", path


def test_what_is_listed_is_translated(studio: Studio) -> None:
    chinese, english = (ask(studio, f"/api/sources?lang={code}").json() for code in ("zh", "en"))
    assert [one["about"] for one in english["known_figures"]] == [one.about for one in FIGURES.values()]
    with language("zh"):
        assert [one["about"] for one in chinese["known_figures"]] == [tr(one.about) for one in FIGURES.values()]
        assert all(meaning == tr(text) for text, meaning in chinese["meanings"].items())
    assert set(chinese["meanings"]) <= {spec.meaning for spec in SCHEMA["generation"]} and english["meanings"] == {}
    assert [one["models"][0]["title"] for one in (chinese, english)] == ["内置模型", "the embedded model"]
    assert [one["options"][0]["help"] for one in (chinese, english)] == ["最多写多少个词元", "tokens to write at most"]


def test_figures_are_drawn_in_the_language(studio: Studio) -> None:
    """Also the one that has no record, and as a file."""
    for code in ("zh", "en"):
        with language(code):
            film = pellucid.one_parameter(width=500)
        found = ask(studio, f"/api/figures/built-in/one-parameter?width=500&lang={code}").json()
        assert [found["title"], found["alt"]] == [film.title, film.alt]
        saved = ask(studio, f"/api/figures/built-in/one-parameter/file?format=svg&width=500&lang={code}").body
        assert film.title.encode() in saved
    assert "there is no 'built-in'" in ask(studio, "/api/figures/built-in/xray").error


def test_a_figure_that_its_record_does_not_give_is_no_error(studio: Studio) -> None:
    answer = ask(studio, "/api/figures/record-1/embedding?lang=en")
    assert answer.status == 200 and "--out tale.pellucid" in answer.json()["command"] and "embedding" in answer.json()["why"]


def test_a_static_page_carries_the_language_it_is_written_in(tale: Path, tmp_path: Path) -> None:
    with language("zh"):
        page = write_page(tmp_path / "page.html", [tale]).read_text(encoding="utf-8")
    data = json.loads(page.split('id="pellucid-data">')[1].split("</script>")[0])
    with language("zh"):
        assert '<html lang="zh">' in page and data["known_figures"][0]["about"] == tr(FIGURES["overview"].about)
    assert '<html lang="en">' in write_page(tmp_path / "page.html", [tale]).read_text(encoding="utf-8")


def test_another_language_is_refused(tale: Path) -> None:
    with pytest.raises(PellucidError, match="no language 'xx'"):
        Studio([tale], port=0, lang="xx")
