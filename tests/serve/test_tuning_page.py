"""The studio's page of a key's files and jobs: a file is dropped, mended by a button, and a model is made of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from serving import checked_page
from tuning import EXAMPLES, Caller, jsonl

from pellucid.serve.openai.models import EngineSettings, open_models
from pellucid.serve.openai.server import Service
from pellucid.serve.openai.settings import ServiceSettings


pytestmark = pytest.mark.long
DROP = """(content) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([content], "dropped.jsonl"));
  const dropped = new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
  document.querySelector(".drop").dispatchEvent(dropped);
}"""


def test_from_a_dropped_file_to_a_model(browser: Any, tiny_run: Path, tmp_path: Path) -> None:
    models = open_models([f"tiny={tiny_run}"], EngineSettings())
    content = jsonl([*EXAMPLES, EXAMPLES[0], ("no separator", " a\n")]).decode()
    settings = ServiceSettings(drain_seconds=0)
    with Service(models, port=0, settings=settings, data=tmp_path / "data") as service, checked_page(browser) as page:
        page.set_default_timeout(90_000)
        page.goto(f"{service.url}/#/tuning")
        page.wait_for_selector("text=Drop a .jsonl file here")
        page.refused += 1  # a file that is none is told by its line
        page.evaluate(DROP, '{"prompt": "a ->", "completion": " b"}\n{oh no}\n')
        assert "line 2: not an example" in page.locator("[role=alert]").inner_text()
        page.evaluate(DROP, content)
        program = Caller(service)  # of the same key
        sent = program.upload(filename="sent.jsonl")["id"]
        page.locator("li.card", has_text="sent.jsonl").wait_for()
        program(f"/v1/files/{sent}", "DELETE")
        page.locator("li.card", has_text="sent.jsonl").wait_for(state="detached")
        file = page.locator("li.card", has_text="dropped.jsonl")
        assert "(line 31)" in file.inner_text() and "(line 32)" in file.inner_text()
        file.get_by_role("button", name="Mend: ' ->' is put there").click()
        one = page.locator("li.card", has_text="dropped_prepared.jsonl")
        one.wait_for()
        assert "but not here" not in one.inner_text() and "earlier line" in one.inner_text()
        file.get_by_role("button", name="Mend all of it, as a new file").click()
        page.locator("li.card", has_text="31 examples").first.wait_for()
        made = page.locator("li.card", has_text="31 examples").first
        made.get_by_label("Times through the examples").fill("2")
        made.get_by_label("Part of the name").fill("dropped")
        made.get_by_role("button", name="Fine-tune").click()
        page.locator("figure svg[role=img]").first.wait_for()  # its losses, as they come
        page.locator("strong", has_text="succeeded").wait_for()
        page.locator("table td.after").first.wait_for()
        assert page.locator("code", has_text="ft:tiny:anonymous:dropped:").count() == 1
        page.get_by_role("button", name="finetuning").click()
        page.locator(".pellucid-player, .player, figure svg").nth(1).wait_for()
        page.get_by_role("link", name="Ask it").click()
        page.wait_for_selector("textarea")
        page.goto(f"{service.url}/#/tuning")
        page.get_by_role("button", name="Delete the model").click()
        page.get_by_role("button", name="Delete the model").wait_for(state="detached")
        listed = page.evaluate("() => fetch('/v1/models').then((answer) => answer.json())")
        assert [model["id"] for model in listed["data"]] == ["tiny"], json.dumps(listed)
        page.goto("about:blank")
