"""The studio's story, its explained words, asking and saving: by keyboard alone, on a phone, checked by axe-core."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe import serious_findings
from serving import ask, checked_page, studio_for

import pellucid
from pellucid.draw.figures import FIGURES
from pellucid.serve import Studio
from pellucid.serve.studio.folder import draw_folder


pytestmark = pytest.mark.long


ROOT = Path(__file__).resolve().parents[2]
TITLES = ("To begin: one number", "1. Train", "2. Write", "3. Look inside", "4. Prime", "5. Fine-tune")
SCRIPTS = "你好，世界 🙂 مرحبا the fox"


@pytest.fixture(scope="module")
def folder(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and a record of a text in several scripts."""
    place = tmp_path_factory.mktemp("story")
    shutil.copytree(tiny_run, place / "run", ignore=shutil.ignore_patterns("checkpoints", "corpus"))
    pellucid.xray(pellucid.load(tiny_run), SCRIPTS, max_tokens=5, seed=1).save(place / "tale.pellucid")
    return place


@pytest.fixture(scope="module")
def studio(folder: Path) -> Iterator[Studio]:
    with Studio([folder], port=0) as served:
        yield served


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A checked page."""
    with checked_page(browser) as found:
        yield found


def figures_asked(page: Any) -> list[str]:
    """The names of the figures that were asked for."""
    return [request.url.split("/")[6].split("?")[0] for request in page.asked if "/api/figures/" in request.url]


def test_the_story_loads_each_figure_when_it_is_scrolled_to(page: Any, studio: Studio) -> None:
    page.goto(studio.url)
    page.get_by_role("heading", name="How it works, in five steps").wait_for()
    assert tuple(page.locator("section h2").all_inner_texts()) == TITLES
    page.locator(".player").first.wait_for()
    assert "xray" not in figures_asked(page)
    assert page.evaluate("document.getAnimations().length") == 0
    page.get_by_role("button", name="3. Look inside").click()
    xray = page.get_by_role("region", name="3. Look inside")
    xray.locator(".player").wait_for()
    assert "xray" in figures_asked(page) and "stack" not in figures_asked(page)
    xray.get_by_role("button", name="stack", exact=True).click()
    xray.get_by_role("group", name="Block after block").or_(xray.locator(".player")).first.wait_for()
    assert "stack" in figures_asked(page)
    xray.get_by_text("Words in this picture").click()
    assert "block" in xray.locator("details[open]").inner_text()


def test_a_step_without_a_figure_says_what_it_would_show(page: Any, folder: Path) -> None:
    with studio_for(page, [folder / "tale.pellucid"]) as studio:
        page.goto(studio.url)
        for number, name in ((1, "pretraining"), (4, "priming"), (5, "finetuning")):
            step = page.get_by_role("region", name=TITLES[number])
            step.get_by_text("Nothing here shows this yet.").wait_for()
            if name in FIGURES:
                assert FIGURES[name].about in step.inner_text() and FIGURES[name].command in step.inner_text()


def test_each_step_says_which_model_its_figure_is_of(page: Any, studio: Studio, tmp_path: Path) -> None:
    page.goto(studio.url)
    train = page.get_by_role("region", name="1. Train").locator(".about")
    train.wait_for()
    parameters = f"{pellucid.open_run(studio.catalog.run('run-1')).plan.config.parameters():,} parameters"
    assert "the model of the run \"run\"" in train.inner_text() and "began as random numbers" in train.inner_text()
    write = page.get_by_role("region", name="2. Write").locator(".about")
    assert write.inner_text().startswith("The same model as in the step before")
    assert parameters in train.inner_text() and parameters in write.inner_text()
    ask(studio, "/api/generate", method="POST", body={"prompt": "the", "max_tokens": 1})
    page.reload()
    drawn = page.get_by_role("region", name="2. Write")
    drawn.get_by_label("Drawn from").select_option(index=1)
    drawn.get_by_text("Another model than in the step before: the embedded model").wait_for()


def test_words_are_explained_by_hover_focus_and_tap(page: Any, studio: Studio) -> None:
    page.goto(f"{studio.url}#/run/run-1")
    word = page.get_by_role("button", name="ln V")
    tip = page.get_by_role("tooltip")
    word.hover()
    text = tip.inner_text()
    assert text.startswith("ln V: The loss of pure guessing") and "vocab_size in config.json" in text
    tip.hover()  # it stays while the pointer is on it
    assert tip.count() == 1
    page.mouse.move(0, 0)
    tip.wait_for(state="detached")
    word.focus()
    assert word.get_attribute("aria-describedby") == tip.get_attribute("id")
    page.keyboard.press("Escape")
    tip.wait_for(state="detached")
    page.locator("p.big").get_by_role("button", name="loss").click()
    assert "This number: loss in the line of step 6 of metrics.jsonl" in tip.inner_text()
    page.get_by_role("heading").first.click()
    tip.wait_for(state="detached")
    page.get_by_role("link", name="Words").click()
    terms = page.locator("dt").all_inner_texts()
    assert len(terms) == len(json.loads((ROOT / "studio/src/glossary/en.json").read_text("utf-8"))) and "perplexity" in terms


def test_a_long_prompt_is_trimmed_by_a_button_and_bytes_stand_below_their_character(page: Any, studio: Studio) -> None:
    page.goto(f"{studio.url}#/ask")
    form = page.locator("form select").first
    assert form.locator("option").first.inner_text() == "the embedded model"
    assert page.get_by_label("Prompt").input_value() == "Once upon a time"
    form.select_option("model-1")
    page.get_by_label("Prompt").fill("so the fox " * 40 + SCRIPTS)
    page.get_by_label("Max tokens").fill("4")
    page.get_by_label("Record what happens inside").uncheck()
    page.get_by_role("button", name="Write").click()
    assert "slide" not in page.get_by_text("The prompt is too long").inner_text()  # no option of this form
    page.get_by_role("button", name="Keep the end of the prompt that fits").click()
    page.refused = 1
    assert page.get_by_label("Prompt").input_value().endswith(SCRIPTS)
    page.get_by_role("button", name="Write").click()
    page.get_by_text("ended by the limit of tokens").wait_for()
    read, drawn = (page.locator(f".pieces > .{kind}").last.bounding_box() for kind in ("read", "drawn"))
    assert read and drawn and read["height"] == pytest.approx(drawn["height"], abs=0.5)
    whole = page.locator(".character").filter(has_text="世")
    assert whole.locator(".token").all_inner_texts() == ["\\xe4", "\\xb8", "\\x96"]
    assert page.locator("p.text").text_content().startswith(page.get_by_label("Prompt").input_value())
    page.get_by_label("Prompt").fill("x" * 20_001)
    page.get_by_role("button", name="Keep its end").click()
    assert len(page.get_by_label("Prompt").input_value()) == 20_000


FOCUSED = """() => {
    let at = document.activeElement;
    while (at.shadowRoot && at.shadowRoot.activeElement) at = at.shadowRoot.activeElement;
    const label = at.getAttribute("aria-label") || (at.labels && at.labels[0] ? at.labels[0] : at).innerText || "";
    const { top, bottom, height } = at.getBoundingClientRect();
    return [label.trim(), at === document.body || (bottom > 0 && top < innerHeight && height > 0)];
}"""


def test_story_ask_compare_and_save_by_keyboard_alone(browser: Any, studio: Studio, tmp_path: Path) -> None:
    """On a phone, with less motion asked for."""

    with checked_page(browser) as page:
        page.emulate_media(reduced_motion="reduce")
        page.set_viewport_size({"width": 360, "height": 740})

        def go(name: str) -> None:
            """Tabs to the control of this name."""
            for _ in range(400):
                page.keyboard.press("Tab")
                label, visible = page.evaluate(FOCUSED)
                assert visible, f"the focus is out of sight at {label!r}"
                if label.startswith(name):
                    return
            raise AssertionError(f"{name} is never reached")

        page.goto(studio.url)
        page.locator(".player").first.wait_for()
        go("2. Write")
        page.keyboard.press("Enter")
        page.get_by_role("region", name="2. Write").locator(".player").wait_for()
        assert page.get_by_role("button", name="Play", exact=True).count() == 0  # less motion: pictures one by one
        page.evaluate("document.querySelectorAll('section')[2].querySelector('button').focus()")
        go("Save this figure")
        page.keyboard.press("Enter")
        go("Save tokens as PNG")
        with page.expect_download() as saved:
            page.keyboard.press("Enter")
        saved.value.save_as(tmp_path / "tokens.png")
        assert (tmp_path / "tokens.png").read_bytes().startswith(b"\x89PNG") and saved.value.suggested_filename == "tokens.png"
        page.reload()
        go("Ask the model")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Ask the model").wait_for()
        go("Prompt")
        page.keyboard.press("Control+a")
        page.keyboard.type("the fox")
        go("Model")
        page.keyboard.type("run")
        go("Max tokens")
        page.keyboard.press("Control+a")
        page.keyboard.type("6")
        go("Seed")
        page.keyboard.type("5")
        go("Two answers side by side")
        page.keyboard.press("Space")
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Shift+Tab")
        go("Its temperature")
        page.keyboard.type("0")
        go("Write")
        page.keyboard.press("Enter")
        for number, temperature in ((1, 0.8), (2, 0)):
            answer = page.get_by_role("region", name=f"answer {number}")
            answer.get_by_role("link", name="Inside this very answer").wait_for()
            options = {"max_tokens": 6, "top_p": 0.95, "temperature": temperature, "seed": 5}
            written = pellucid.load(studio.catalog.model("model-1")[0]).generate("the fox", **options)
            if number == 1 or temperature == 0:
                assert answer.locator("p.text").text_content() == "the fox" + written.text
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("width", [360, 1200])
def test_axe_core_finds_nothing_serious(browser: Any, studio: Studio, width: int) -> None:
    record = next(one["id"] for one in ask(studio, "/api/sources").json()["records"] if one.get("kind") == "generation")
    with checked_page(browser) as page:
        page.set_viewport_size({"width": width, "height": 800})
        for place in ("#/", "#/ask/model-1", "#/words", "#/run/run-1", f"#/record/{record}"):
            page.goto(studio.url + place)
            page.reload()
            page.locator("h1").wait_for()
            if place == "#/":
                page.locator(".player").first.wait_for()
                for summary in page.locator("summary").filter(has_text="this").all():
                    summary.click()
                page.locator("details[open] .whole button").first.focus()
            elif "ask" in place:
                page.get_by_label("Prompt").fill(SCRIPTS)
                page.get_by_label("Max tokens").fill("3")
                page.get_by_role("button", name="Write").click()
                page.locator("[role=gridcell]").first.wait_for()
            elif "record" in place:
                page.locator("[role=gridcell]").first.wait_for()
            assert serious_findings(page) == [], f"{place}, {width} wide"


COVERED = """() => {
    const found = [];
    for (const one of document.querySelectorAll("h1, h2, h3, dt, dd, label, main button, main a, nav a")) {
        const box = one.getBoundingClientRect();
        const [x, y] = [box.left + box.width / 2, box.top + Math.min(box.height / 2, 12)];
        if (!box.width || !box.height || y < 0 || y >= innerHeight || x < 0 || x >= innerWidth) continue;
        if (one.closest(".scroll, .tokens, details:not([open])")) continue; // they scroll by themselves
        const top = document.elementFromPoint(x, y);
        if (!top || one.contains(top) || top.contains(one)) continue;
        found.push(`${one.tagName} ${one.textContent} below ${top.className}`);
    }
    return found;
}"""


def test_nothing_is_covered_on_a_phone(page: Any, studio: Studio) -> None:
    page.set_viewport_size({"width": 360, "height": 640})
    record = next(one["id"] for one in ask(studio, "/api/sources").json()["records"] if one.get("kind") == "generation")
    for place in ("#/", "#/ask", "#/words", "#/run/run-1", f"#/record/{record}"):
        page.goto(studio.url + place)
        page.reload()
        page.locator("h1").wait_for()
        if "record" in place:
            page.locator("[role=gridcell]").first.wait_for()
        height = page.evaluate("document.documentElement.scrollHeight")
        for top in range(0, height, 400):
            page.evaluate(f"scrollTo(0, {top})")
            assert page.evaluate(COVERED) == [], f"{place} at {top}"
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, place


def test_the_static_page_is_the_same_story(page: Any, folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    written, drawn, _ = draw_folder(copy, title="Ours", runs=[copy / "run"], command="pellucid studio copy")
    assert {"xray", "pretraining", "loss"} <= {one.planned.figure for one in drawn}
    page.goto(written.as_uri())
    page.get_by_role("heading", name="How it works, in five steps").wait_for()
    assert tuple(page.locator("section h2").all_inner_texts()) == TITLES
    assert page.locator(".player").count() < len(drawn)  # the others are not near the window yet
    page.get_by_role("button", name="3. Look inside").click()
    step = page.get_by_role("region", name="3. Look inside")
    step.locator(".player").wait_for()
    assert step.get_by_role("button", name="embedding").count() == 1
    assert page.get_by_role("heading", name="loss: a plain chart").count() == 1
    saved = {path.name for path in (copy / "figures").iterdir()}
    assert {"one-parameter.svg", "one-parameter.html", "one-parameter.png", "xray.png"} <= saved
    step.get_by_text("Save this figure").click()
    for link in step.locator("details a").all():
        assert (copy / str(link.get_attribute("href"))).is_file()
    assert "pellucid figures" in step.locator("details code").inner_text()
    assert page.locator(".card.record").count() == len(list(copy.rglob("*.pellucid")))
    page.goto(f"{written.as_uri()}#/run/run-1")
    page.get_by_role("button", name="pretraining").click()
    page.locator(".player").wait_for()
    assert [request.url for request in page.asked if not request.url.startswith("file:")] == []
