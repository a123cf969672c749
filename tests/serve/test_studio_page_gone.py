"""The studio's page when its server is gone: it goes on with its own copy of the model, to the same tokens, and says so."""

from pathlib import Path
from typing import Any

import pytest
from serving import ask

import pellucid
from pellucid.gpt.pattern import Dense, Strided
from pellucid.serve import Studio


pytestmark = pytest.mark.long


def test_the_page_goes_on_without_its_server(browser: Any, tiny_run: Path) -> None:
    with Studio([tiny_run], port=0) as studio:
        page = browser.new_page()
        page.set_default_timeout(60_000)
        with page.expect_response(lambda response: response.url.endswith("/page")) as copied:
            page.goto(f"{studio.url}#/ask")
            page.get_by_label("Seed").fill("3")
            page.get_by_role("button", name="Write").click()
            page.get_by_role("link", name="save this record").wait_for()
        assert copied.value.ok
        copied.value.finished()
        first = page.get_by_role("group", name="the answer's text").inner_text()
    page.get_by_role("button", name="Write").click()
    page.get_by_text("this page goes on with its own copy of the model").wait_for()
    page.get_by_role("link", name="save this record").wait_for()
    assert page.get_by_role("group", name="the answer's text").inner_text() == first
    with page.expect_download() as download:
        page.get_by_role("link", name="save this record").click()
    with pellucid.open(Path(download.value.path()).read_bytes()) as record:
        assert "kernel" in record.provenance.machine and record.verify(pellucid.load()).ok
    page.close()


def test_weights_leave_a_studio_of_this_machine_only(tiny_run: Path, tmp_path: Path) -> None:
    config = pellucid.GPTConfig(vocab_size=300, n_ctx=64, n_layers=2, d_model=24, n_heads=3, pattern=(Strided(5), Dense()))
    pellucid.GPT(config, seed=3, tokenizer=pellucid.load(tiny_run).tokenizer).save(tmp_path / "strided")
    with Studio([tmp_path / "strided"], port=0) as studio:
        names = {one["title"]: one["id"] for one in ask(studio, "/api/sources").json()["models"]}
        assert "strided(5)" in ask(studio, f"/api/models/{names['strided']}/page").json()["why"]
        assert ask(studio, "/api/models/no-such/page").status == 404
    with Studio([], host="0.0.0.0", port=0) as studio:
        assert ask(studio, "/api/models/default/page").status == 404
        assert ask(studio, "/api/sources").json()["copies"] is False
