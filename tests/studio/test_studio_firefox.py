"""A page that holds a model, opened from disk in Firefox: the tokens of `pellucid generate`, an x-ray, a figure, a proof."""

from pathlib import Path
from urllib.parse import urlencode

import pytest
from firefox import firefox

from pellucid.generation.text_generator import open_text_generator
from pellucid.serve.model_page.write import write_model_page


pytestmark = pytest.mark.long
SAVED = "[...document.querySelectorAll('a')].find(one => one.textContent === 'save this record')"


def test_a_page_from_disk_generates_draws_and_proves_in_firefox(tmp_path: Path) -> None:
    file = write_model_page(tmp_path / "page.html").path
    expected = open_text_generator("default").generate("Once upon a time", max_tokens=8, seed=3)
    with firefox(tmp_path) as browser:
        state = urlencode({"prompt": "Once upon a time", "max_tokens": 8, "seed": 3})
        browser.go(f"{file.as_uri()}#/ask?{state}")
        browser.until(f"{SAVED} !== undefined")
        assert "It runs in this page" in browser.run("document.querySelector('.running').innerText")
        text = browser.run("document.querySelector('p.text').innerText")
        assert text == f"Once upon a time{expected.text}"
        browser.run("[...document.querySelectorAll('button')].find(one => one.textContent === 'tokens').click()")
        browser.run("document.querySelector('.figure').scrollIntoView()")
        browser.until("[...document.querySelectorAll('.figure *')].some(one => one.shadowRoot?.querySelector('svg.picture'))")
        browser.run("[...document.querySelectorAll('button')].find(one => one.textContent === 'Prove it').click()")
        assert browser.until("document.querySelector('.stamp')?.textContent") == "proved"
        assert not browser.said, browser.said
