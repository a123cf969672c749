"""The studio's pages in a browser: they show what stands in the record, whoever wrote it, and nothing leaves the page."""

import itertools
import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import lively
from serving import checked_page, studio_for

import pellucid
from pellucid.draw.components import chart
from pellucid.draw.film import palette
from pellucid.engine import options as option_table
from pellucid.engine.options import SamplingOption
from pellucid.errors import PellucidError
from pellucid.record import Record, RecordWriter, StoredArray, open_record
from pellucid.serve import Studio, write_page
from pellucid.serve.studio.generate_request import parse_generate_request
from pellucid.text import piece


pytestmark = pytest.mark.long


HOSTILE = b"<img src=x onerror=alert(1)><script>alert(2)</script>"
LONG = pellucid.GPTConfig(vocab_size=300, n_ctx=256, n_layers=12, d_model=24, n_heads=3)


@pytest.fixture(scope="module")
def folder(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with samples, and records: a usual one, one with less in it, a long one, and one that somebody else wrote."""
    place = tmp_path_factory.mktemp("shown")
    run = place / "run"
    shutil.copytree(tiny_run, run, ignore=shutil.ignore_patterns("checkpoints", "corpus"))
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": 6, "tokens": 1, "prompt": "the", "sample": HOSTILE.decode()}) + "\n")
    model = pellucid.load(tiny_run)
    tale = pellucid.xray(model, "the fox ran over", max_tokens=9, seed=1, temperature=0.8, top_k=50)
    tale.save(place / "tale.pellucid")
    pellucid.xray(model, "the fox", max_tokens=3, seed=1, keep=("lens",)).save(place / "less.pellucid")
    large = lively(pellucid.GPT(LONG, tokenizer=model.tokenizer, seed=3))
    pellucid.xray(large, "the fox", max_tokens=190, seed=1).save(place / "long.pellucid")
    rewritten(tale, place / "hostile.pellucid")
    return place


def rewritten(record: Record, path: Path) -> None:
    """The same record, every piece of it replaced by markup."""
    with RecordWriter(path, record.kind, record.provenance) as writer:
        count = len(record["pieces/ids"])
        ours = {
            "pieces/starts": np.arange(count + 1, dtype=np.int32) * len(HOSTILE),
            "pieces/bytes": np.frombuffer(HOSTILE * count, np.uint8),
        }
        for name in record:
            entry = record.entry(name)
            value = ours.get(name, StoredArray(record.stored(name), entry.dtype, entry.scale, entry.triangle))
            writer.add(name, value, truth=entry.truth, meaning=entry.meaning, unit=entry.unit)


@pytest.fixture(scope="module")
def studio(folder: Path) -> Iterator[Studio]:
    records = [folder / f"{name}.pellucid" for name in ("tale", "less", "long", "hostile")]
    with Studio([folder / "run", *records], port=0) as served:
        yield served


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A checked page."""
    with checked_page(browser) as found:
        yield found


def chosen(page: Any) -> Any:
    """The selected cell."""
    return page.locator("[role=gridcell][aria-selected=true]")


def test_the_x_ray_shows_what_stands_in_the_record(page: Any, studio: Studio, folder: Path) -> None:
    with open_record(folder / "tale.pellucid") as record:
        lens, logprobs = record["generation/lens/ids"], record["generation/lens/logprobs"]
        attention = record["generation/attention/0"]  # of the block whose output level 1 is
        ids = [*record["generation/prompt_ids"].tolist(), *record["generation/steps/drawn_ids"].tolist()]
        starts, data = record["pieces/starts"], record["pieces/bytes"].tobytes()
        pieces = [piece(data[a:b]) for a, b in itertools.pairwise(starts)]
        label = {token: text or f"#{token}" for token, text in zip(record["pieces/ids"].tolist(), pieces, strict=True)}
        norms = {level: (record[f"generation/block_inputs/{level}"] ** 2).sum(1) ** 0.5 for level in (0, 1, 2)}
        prompt, tracks = len(record["generation/prompt_ids"]), lens.shape[1]
        kept, draw = record["generation/steps/kept"], record["generation/steps/draw"]
        entries = [record.entry(name) for name in record]
        data_start = len(record.to_bytes()) - max(entry.offset + entry.stored_bytes for entry in entries)
        places = {e.name: (data_start + e.offset, data_start + e.offset + e.stored_bytes) for e in entries}
    page.goto(f"{studio.url}#/record/record-1/{prompt - 1}/1")
    chosen(page).wait_for()
    cells = page.locator("[role=gridcell][id]")
    assert cells.count() == tracks * 3
    shown = [cell.split(" = ") for cell in cells.evaluate_all("all => all.map(c => c.id + ' = ' + c.textContent)")]
    for name, text in shown:
        track, level = map(int, name.split("-")[-2:])
        assert text == label[int(lens[level, track, 0])]
    panel = page.locator("section.panel")

    def labels(name: str) -> list[str]:
        found = panel.get_by_role("list", name=name).get_by_role("listitem")
        found.first.wait_for()
        return list(found.evaluate_all("all => all.map(one => one.getAttribute('aria-label'))"))

    def looked_at(track: int, level: int, head: int | None = None) -> None:
        page.locator(f"section.panel[aria-busy=false] h2:has-text('position {track},')").wait_for()
        assert float(panel.locator("p.number").inner_text()) == pytest.approx(norms[level][track], rel=1e-3)
        best = labels("logit lens")
        assert len(best) == lens.shape[2]
        for j, told in enumerate(best):
            share = math.exp(logprobs[level, track, j])
            assert told.startswith(f"{label[int(lens[level, track, j])]}: ")
            assert abs(percent(told) - share) < 0.006
        if level == 1:
            weights = attention[:, track].mean(0) if head is None else attention[head, track]
            read = labels("attention")
            assert len(read) == min(6, track + 1)
            top = sorted(range(track + 1), key=lambda key: (-weights[key], key))[: len(read)]
            for key, told in zip(top, read, strict=True):
                assert told.startswith(f"{label[ids[key]]}: ") and abs(percent(told) - weights[key]) < 0.006

    looked_at(prompt - 1, 1)
    assert "after block 1," in panel.inner_text() and "Block 1 reads from" in panel.inner_text()
    assert f"{kept[0]} of 300 tokens were left" in panel.inner_text() and f"u = {draw[0]:.4f}" in panel.inner_text()
    panel.get_by_role("button", name="head 1").click()
    looked_at(prompt - 1, 1, head=1)
    # By keyboard, and by mouse.
    page.get_by_role("grid").focus()
    for key, at in (("ArrowDown", (prompt, 1)), ("ArrowLeft", (prompt, 0)), ("End", (prompt, 2)), ("ArrowUp", (prompt - 1, 2))):
        page.keyboard.press(key)
        looked_at(*at, head=1)
    assert page.url.endswith(f"/{prompt - 1}/2")
    page.locator(f"[id$='-{0}-{1}']").click()
    looked_at(0, 1, head=1)
    assert "Ignored: the next token is given by the prompt" in panel.inner_text()
    # Where a number stands, and how far it can be trusted.
    panel.get_by_role("list", name="logit lens").get_by_role("listitem").nth(2).focus()
    origin = page.locator(".origin")
    assert "generation/lens/logprobs[1, 0, 2]" in origin.inner_text() and "derived" in origin.inner_text()
    # Only what is shown is read: the other levels' and blocks' chunks stay where they are.
    start = len(page.asked)
    page.goto(f"{studio.url}#/record/record-1/{prompt}/0")
    page.reload()
    looked_at(prompt, 0)
    labels("the step's likeliest tokens")
    spans = [request.headers["range"] for request in page.asked[start:] if "range" in request.headers]
    read = {int(a): int(b) + 1 for a, b in (span.removeprefix("bytes=").split("-") for span in spans)}
    kept_away = {name for name, (a, b) in places.items() if not any(x <= a and b <= y for x, y in read.items())}
    unread = {"block_inputs/1", "block_inputs/2", "attention/0", "attention/1", "cells"}
    assert {f"generation/{name}" for name in unread} <= kept_away
    assert "generation/block_inputs/0" not in kept_away


def percent(told: str) -> float:
    found = re.search(r": ([<>]?)([\d.]+)%", told)
    assert found, told
    return 0.0 if found[1] == "<" else float(found[2]) / 100


def test_what_a_record_lacks_is_said(page: Any, studio: Studio) -> None:
    page.goto(f"{studio.url}#/record/record-2")
    chosen(page).wait_for()
    panel = page.locator("section.panel")
    page.locator("section.panel[aria-busy=false]").wait_for()
    assert panel.get_by_text("Not in this record.").count() == 2  # its vector and attention; the lens is there
    assert panel.get_by_role("list", name="logit lens").get_by_role("listitem").count() == 5
    page.goto(f"{studio.url}#/record/nothing")
    page.get_by_text("there is no 'nothing' here").wait_for()
    page.refused = 1  # the browser says so, too


def test_a_run_that_cannot_be_read_is_listed_with_the_reason(page: Any, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "run", tmp_path / "torn")
    (tmp_path / "torn" / "run.json").write_text("{", encoding="utf-8")
    with studio_for(page, [tmp_path / "torn"]) as studio:
        page.goto(studio.url)
        page.get_by_text("run.json cannot be read").wait_for()
        page.get_by_role("link", name="torn/training.pellucid").first.wait_for()


def test_a_long_record_stays_light(page: Any, studio: Studio) -> None:
    page.goto(f"{studio.url}#/record/record-3/150/12")
    chosen(page).wait_for()
    grid = page.get_by_role("grid")
    assert int(grid.get_attribute("aria-rowcount")) > 190
    assert page.locator("[role=row]").count() < 60
    assert page.locator("[id$='-150-12']").is_visible()
    grid.focus()
    page.keyboard.press("PageDown")
    page.keyboard.press("PageUp")
    page.keyboard.press("ArrowLeft")
    assert chosen(page).get_attribute("id").endswith("-150-11")
    assert page.locator(".arcs path").count() <= 40
    grid.evaluate("box => box.scrollTop = 0")
    page.locator("[id$='-0-12']").wait_for()
    assert page.locator("[role=row]").count() < 60


def test_a_prompt_is_answered_token_by_token_and_then_inspected(page: Any, studio: Studio, folder: Path) -> None:
    page.goto(f"{studio.url}#/ask/model-1")
    page.get_by_label("Prompt").fill("the fox")
    for name, value in (("Max tokens", "7"), ("Temperature", "0.7"), ("Top-p", "0.9"), ("Seed", "11")):
        page.get_by_label(name).fill(value)
    page.get_by_text("More options").click()
    for name, value in (("Top-k", "30"), ("Min-p", "0.001"), ("Frequency penalty", "0.5")):
        page.get_by_label(name).fill(value)
    page.get_by_role("button", name="Write").click()
    page.get_by_role("heading", name="Inside this very answer").wait_for()
    chosen(page).wait_for()
    page.get_by_text("temperature 0.7, top-k 30, top-p 0.9, min-p 0.001, frequency penalty 0.5").wait_for()
    model = pellucid.load(folder / "run")
    rules = {"temperature": 0.7, "top_k": 30, "top_p": 0.9, "min_p": 0.001, "frequency_penalty": 0.5}
    written = model.generate("the fox", max_tokens=7, seed=11, **rules)
    tokens = page.locator(".pieces .token").all_inner_texts()
    assert model.tokenizer is not None
    expected = [piece(model.tokenizer.token_bytes(token)) for token in (*written.prompt_ids, *written.ids)]
    assert [token.replace("\xa0", " ") for token in tokens] == expected
    assert f"{len(written.ids)} tokens, seed 11" in page.locator("p.status").first.inner_text()
    page.get_by_label("Max tokens").fill("300")  # more than fit: the server says so
    page.get_by_role("button", name="Write").click()
    page.get_by_role("alert").filter(has_text="leaves room for").wait_for()
    page.refused = 1
    page.goto(studio.url)
    page.get_by_role("link", name="answer 1, written here by").first.wait_for()


def test_the_form_has_an_input_for_each_row_of_the_table(page: Any, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of every type, added before the server starts: the form shows them, and what it sends the server parses."""
    rows = (
        SamplingOption(
            name="typical_mass", type="float", default=1.0, minimum=0, above_minimum=True, maximum=1, help="a <b>rule</b>"
        ),
        SamplingOption(name="window_tokens", type="int", default=None, minimum=1, nullable=True, help="looks back so far"),
        SamplingOption(name="fast_draws", type="bool", default=False, help="draws quickly"),
        SamplingOption(name="banned_texts", type="texts", default=(), help="never writes these"),
        SamplingOption(name="token_boosts", type="biases", default=(), help="wants these"),
    )  # fmt: skip
    monkeypatch.setattr(option_table, "SAMPLING_OPTIONS", (*option_table.SAMPLING_OPTIONS, *rows))
    bodies: list[bytes] = []

    def answer(route: Any) -> None:  # nothing implements the new options: the page's request goes no further
        bodies.append(route.request.post_data_buffer)
        route.fulfill(content_type="text/event-stream", body='event: error\ndata: {"error": "seen"}\n\n')

    page.route("**/api/generate", answer)
    page.route("**/api/models/*/page", lambda route: route.fulfill(json={"why": "options that nothing implements"}))
    with studio_for(page, [tiny_run]) as studio:
        page.goto(f"{studio.url}#/ask/model-1")
        page.get_by_role("button", name="Write").click()
        page.get_by_role("alert").filter(has_text="seen").wait_for()
        details = page.get_by_text("More options")
        details.focus()
        page.keyboard.press("Enter")
        page.set_viewport_size({"width": 360, "height": 700})
        heights = set()
        for option in option_table.recordable_options():
            control = page.locator(f"#option-{option.name}")
            control.focus()
            label = control.evaluate("found => found.labels[0].textContent")
            named = {"stop": "stop texts"}.get(option.name, option.name.replace("_", " "))  # a button is named Stop
            assert control.is_visible() and label.strip().lower().replace("-", " ") == named
            described = page.locator(f"#{control.get_attribute('aria-describedby')}").text_content()
            heights.add(page.locator("form").bounding_box()["height"])
            assert described.startswith(option.help) and page.locator("form span.hint").text_content() == described
        assert len(heights) == 1, "a hint moves the buttons"
        page.get_by_label("Seed").fill("9007199254740993")
        page.get_by_label("Typical mass").fill("0.25")
        page.get_by_label("Window tokens").fill("12")
        page.get_by_label("Fast draws").press("Space")
        page.get_by_label("Banned texts").fill("\\n\n the")
        page.get_by_label("Token boosts").fill("3=-1.5, 4=2")
        with page.expect_response("**/api/generate"):
            page.get_by_label("Typical mass").press("Enter")
        assert parse_generate_request(bodies[0]).options == {"temperature": 0.8, "top_p": 0.95, "max_tokens": 40}
        assert parse_generate_request(bodies[1]).options == {
            "temperature": 0.8, "top_p": 0.95, "max_tokens": 40, "seed": 2**53 + 1, "typical_mass": 0.25, "window_tokens": 12,
            "fast_draws": True, "banned_texts": ("\n", " the"), "token_boosts": ((3, -1.5), (4, 2.0)),
        }  # fmt: skip
        details.click()  # closed: what is wrong in it opens it
        page.evaluate("document.getElementById('option-typical_mass').value = 0")
        page.get_by_label("Prompt").focus()
        page.get_by_role("button", name="Write").click()
        page.get_by_role("alert").filter(has_text="Typical mass must be a number, more than 0 and at most 1").wait_for()
        assert page.evaluate("document.activeElement.id") == "option-typical_mass"
        assert page.get_by_label("Typical mass").get_attribute("aria-invalid") == "true" and len(bodies) == 2


def test_plain_answers_of_two_pages_at_once(browser: Any, studio: Studio, folder: Path) -> None:
    """They show text and tokens, and no record is made of them; by keyboard, on a phone."""
    model, before = pellucid.load(folder / "run"), studio.catalog._count
    assert model.tokenizer is not None
    prompts = ("the fox", "a hill and")
    with checked_page(browser) as first, checked_page(browser) as second:
        for page, prompt in zip((first, second), prompts, strict=True):
            page.set_viewport_size({"width": 360, "height": 700})
            page.goto(f"{studio.url}#/ask/model-1")
            page.get_by_label("Prompt").fill(prompt)
            page.get_by_label("Seed").fill("5")
            page.get_by_text("More options").click()
            page.get_by_label("Stop texts").focus()
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            page.get_by_label("Record what happens inside").press("Space")
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.textContent") == "Write"
        for page in (first, second):
            page.keyboard.press("Enter")
        for page, prompt in zip((first, second), prompts, strict=True):
            written = model.generate(prompt, max_tokens=40, temperature=0.8, top_p=0.95, seed=5)
            page.get_by_text(f"{len(written.ids)} tokens, seed 5").wait_for()
            assert page.locator("p.text").text_content() == prompt + written.text
            tokens = page.locator(".pieces .token").all_inner_texts()
            pieces = [piece(model.tokenizer.token_bytes(token)) for token in (*written.prompt_ids, *written.ids)]
            assert [token.replace("\xa0", " ") for token in tokens] == pieces
            assert page.get_by_role("grid").count() == 0
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert studio.catalog._count == before


def test_a_run_is_followed_while_it_writes(page: Any, studio: Studio, folder: Path) -> None:
    page.goto(f"{studio.url}#/run/run-1")
    page.get_by_text("6 of 6 steps").wait_for()
    assert "Loss by step, 6 steps of 6" in page.locator("figure svg").get_attribute("aria-label")
    assert "2 blocks (banded(128) and dense), width 32, 2 heads" in page.locator("dl").inner_text()
    assert HOSTILE.decode() in page.locator(".samples").inner_text()
    with (folder / "run" / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": 7, "tokens": 1, "loss": 1.25, "tokens_per_s": 3.0}) + "\n")
    page.get_by_text("7 of 6 steps").wait_for()
    assert "to 1.25 nats" in page.locator("figure svg").get_attribute("aria-label")


def test_texts_of_a_record_are_never_markup(page: Any, studio: Studio) -> None:
    page.goto(studio.url)
    page.get_by_text("<img src=x onerror=alert(1)>").first.wait_for()
    page.goto(f"{studio.url}#/record/record-4")
    chosen(page).wait_for()
    assert page.locator(".tokens .token").first.inner_text() == HOSTILE.decode().replace(" ", "·")
    assert page.locator("#pellucid-studio img, #pellucid-studio script").count() == 0
    assert page.evaluate("document.scripts.length") == 1


def test_a_page_without_a_server(page: Any, folder: Path, tmp_path: Path) -> None:
    films = [chart.loss_chart([1, 2, 3], [3.0, 2.0, 1.5], width=width, title="Losses <b>") for width in (960, 400)]
    path = write_page(
        tmp_path / "index.html", [folder / "tale.pellucid", folder / "less.pellucid", folder / "hostile.pellucid"],
        figures=[("Losses", *films)], runs=[folder / "run"], title="Mine </script><script>alert(3)</script>",
        command="pellucid studio my-demo",
    )  # fmt: skip
    text = path.read_text(encoding="utf-8")
    assert "default-src 'none'" in text and text.lower().count("</script>") == 2
    page.goto(path.as_uri())
    page.get_by_role("heading", name="What is here").wait_for()
    assert page.title() == "Mine </script><script>alert(3)</script>"
    page.get_by_role("button", name="Play").wait_for()
    page.get_by_role("link", name="tale.pellucid").click()
    chosen(page).wait_for()
    assert "generation/lens/logprobs" in page.locator(".origin").inner_text()
    page.get_by_role("link", name="Ask the model").click()
    assert "pellucid studio my-demo" in page.locator("p.note").inner_text()
    assert page.get_by_role("button", name="Write").count() == 0
    page.get_by_role("link", name="Story").click()
    page.get_by_role("link", name="run", exact=True).click()
    page.get_by_text("of 6 steps").wait_for()
    page.evaluate("location.hash = '#/record/record-2'")
    page.get_by_text("Not in this record.").first.wait_for()
    assert [request.url for request in page.asked if not request.url.startswith("file:")] == []
    with pytest.raises(PellucidError, match="needs something to show"):
        write_page(tmp_path / "none.html", [])
    with pytest.raises(PellucidError, match="cannot write the page"):
        write_page(tmp_path / "no" / "where.html", [folder / "tale.pellucid"])


def test_every_page_fits_a_phone(page: Any, studio: Studio) -> None:
    width = 360
    page.set_viewport_size({"width": width, "height": 700})
    for place in ("#/", "#/ask", "#/run/run-1", "#/record/record-3/150/12", "#/record/record-4"):
        page.goto(studio.url + place)
        page.locator("h1").wait_for()
        if "record" in place:
            chosen(page).wait_for()
            box, grid = chosen(page).bounding_box(), page.get_by_role("grid").bounding_box()
            assert grid["x"] <= box["x"] and box["x"] + box["width"] <= grid["x"] + grid["width"] + 1  # it is in view
        assert page.evaluate("document.documentElement.scrollWidth") <= width, place


def test_colours_are_the_palette_s() -> None:
    folder = Path(__file__).parents[2] / "studio" / "src" / "studio"
    source = (folder / "colours.ts").read_text(encoding="utf-8")
    constants = re.findall(r'^const (\w+) = "(#\w{6})";', source, re.MULTILINE)
    properties = re.findall(r"^    --([\w-]+): (#\w{6});", (folder / "App.svelte").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(constants) == 2 and len(properties) == 11
    for name, colour in constants + properties:
        assert getattr(palette, name.upper().replace("-", "_")) == colour
    assert re.findall(r'"(#\w{6})"', source.split("SERIES = [")[1].split("]")[0]) == list(palette.SERIES)
    stops = re.findall(r'"(#\w{6})"', source.split("SEQUENTIAL = [")[1].split("]")[0])
    assert stops == [palette.table("sequential")[round(i * 255 / 16)] for i in range(17)]
