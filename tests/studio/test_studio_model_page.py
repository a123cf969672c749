"""A page that holds a model, opened from disk in a browser without a network: it writes what `pellucid generate` writes, to the
bits of its log-probabilities; its records open in Python and verify; it proves honest records and refuses forged ones."""

import json
import math
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

import pytest
from axe import serious_findings
from cases import TIMES
from models import lively
from tampering import leaves, other_array, other_value, replaced_leaf, signed_again, with_header
from tokenizer_directories import STORY

import pellucid
from pellucid.draw.views.labels import percent, three_digits
from pellucid.errors import PellucidError
from pellucid.generation.text_generator import open_text_generator
from pellucid.gpt.pattern import Banded, Dense, Strided
from pellucid.record import StoredArray
from pellucid.serve.model_page.write import write_model_page
from pellucid.serve.studio.long_prompt import fitting_end
from pellucid.text import train_tokenizer


pytestmark = pytest.mark.long

VARIANTS = {"fused multiply-add": (), "exact arithmetic": ("--js-flags=--no-enable-fma3",)}
PROMPTS = [
    "", "Once upon a time", "The king said", "It's 12 o'clock,", "\n\n", "   two  spaces ", "\u00fcber die Stra\u00dfe",
    "\u4e2d\u6587\uff0c", "A robot must", "\U0001f98a \U0001f469\u200d\U0001f467", "I", '"Where are you going?"',
    "the the the the", "x" * 60, "He was", "\tTab", "<|endoftext|>", "1+1=", "She'll", "Why?",
]  # fmt: skip
CHOICES = [
    {}, {"temperature": 0}, {"temperature": 0.8, "top_p": 0.95}, {"top_k": 20}, {"min_p": 0.05, "temperature": 1.3},
    {"presence_penalty": 0.5, "frequency_penalty": 0.5, "repetition_penalty": 1.2},
]  # fmt: skip


@contextmanager
def chromium(*flags: str) -> Iterator[Any]:
    """Chromium, without a network."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no browser: none of chromium, chromium-browser, google-chrome is here")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox", *flags])
        yield started
        started.close()


@contextmanager
def opened(browser: Any, file: Path, **options: Any) -> Iterator[Any]:
    """The page from disk. It must log nothing, and ask for nothing but itself and its own worker."""
    context = browser.new_context(offline=True, **({"viewport": {"width": 1200, "height": 800}} | options))
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if request.url[:5] not in ("file:", "blob:") else None)
    page.set_default_timeout(60_000)
    page.goto(file.as_uri())
    yield page
    context.close()
    assert not said, said


@pytest.fixture(scope="module")
def default_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model_page(tmp_path_factory.mktemp("page") / "page.html").path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pellucid.GPT, Path]:
    """A small model's directory, the model, and its page, which shows a record of it."""
    folder = tmp_path_factory.mktemp("small")
    config = pellucid.GPTConfig(vocab_size=289, n_ctx=64, n_layers=2, d_model=24, n_heads=3, pattern=(Banded(5), Dense()))
    lively(pellucid.GPT(config, seed=3, tokenizer=train_tokenizer([STORY], 289))).save(folder / "model")
    model = pellucid.load(folder / "model")
    pellucid.xray(model, "the fox", max_tokens=8, seed=5, top_k=40, top_p=0.85).save(folder / "tale.pellucid")
    page = write_model_page(folder / "page.html", folder / "model", [folder / "tale.pellucid"]).path
    return folder / "model", model, page


def record_of(page: Any, state: dict[str, Any], folder: Path) -> pellucid.Record:
    """The record of the answer that an address states, saved from the page."""
    page.evaluate("address => { location.hash = '#/'; location.hash = address; }", f"#/ask?{urlencode(state)}")
    saved = page.get_by_role("link", name="save this record")
    saved.wait_for()
    with page.expect_download() as download:
        saved.click()
    file = folder / f"{state['seed']}.pellucid"
    download.value.save_as(file)
    return pellucid.open(file)


@pytest.mark.parametrize("variant", VARIANTS)
def test_twenty_prompts_give_the_ids_and_bits_of_generate(variant: str, default_page: Path, tmp_path: Path) -> None:
    generator = open_text_generator("default")
    with chromium(*VARIANTS[variant]) as browser, opened(browser, default_page) as page:
        page.goto(f"{default_page.as_uri()}#/ask")
        page.get_by_text("It runs in this page").wait_for()
        assert ("no fused multiply-add" in page.locator(".running").inner_text()) == (variant == "exact arithmetic")
        some = PROMPTS if TIMES > 1 or variant == "fused multiply-add" else PROMPTS[:3] + PROMPTS[9:11]
        for prompt in some:
            seed = PROMPTS.index(prompt)
            options = {"max_tokens": 6, **CHOICES[seed % len(CHOICES)]}
            expected = generator.generate(prompt or None, seed=seed, **options)
            with record_of(page, {"prompt": prompt, "seed": seed, **options}, tmp_path) as record:
                assert record["generation/prompt_ids"].tolist() == expected.prompt_ids, prompt
                assert record["generation/steps/drawn_ids"].tolist() == expected.ids, prompt
                bits = [struct.pack("<f", number) for number in record["generation/steps/drawn_logprobs"].tolist()]
                assert bits == [struct.pack("<f", number) for number in expected.logprobs], prompt
                if seed in (2, 10):
                    report = record.verify(pellucid.load())
                    assert report.ok and report.complete, str(report)


def forgeries(record: pellucid.Record) -> Iterator[bytes]:
    """The record with one number or one word changed, and good checksums."""
    random = Random(0)
    for name in record:
        entry = record.entry(name)
        array = other_array(record.stored(name), random)
        yield signed_again(record, {name: StoredArray(array, entry.dtype, entry.scale, entry.triangle)}).to_bytes()
    for path, value in leaves(record.header):
        if path[0] == "provenance":
            yield with_header(record, replaced_leaf(record.header, path, other_value(value, random)))


def refused(model: pellucid.GPT, data: bytes) -> bool:
    """Whether Python finds a record false."""
    try:
        with pellucid.open(data) as record:
            return not record.verify(model).ok
    except PellucidError:
        return True


def test_an_honest_record_is_proved_and_forged_ones_are_not(small: tuple[Path, pellucid.GPT, Path]) -> None:
    _, model, file = small
    honest = pellucid.xray(model, "the hare", max_tokens=8, seed=5, top_k=40, top_p=0.85, temperature=1.1)
    forged = [data for data in forgeries(honest) if refused(model, data)]
    assert len(forged) >= 40  # test_studio_proof.py asks the page's code in node of all of them
    forged = forged if TIMES > 1 else forged[:: len(forged) // 8]

    def stamp(data: bytes) -> str:
        page.evaluate("() => (location.hash = '#/')")
        page.locator("input[type=file]").set_input_files(
            {"name": "a.pellucid", "mimeType": "application/octet-stream", "buffer": data}
        )
        found = page.locator(".stamp, p[role=alert]")
        page.locator("button:has-text('Prove it'), p[role=alert]").first.wait_for()
        if page.get_by_role("button", name="Prove it").count():
            page.get_by_role("button", name="Prove it").click()
        found.first.wait_for()
        return str(found.first.inner_text())

    with chromium() as browser, opened(browser, file) as page:
        assert stamp(honest.to_bytes()).lower() == "proved"
        for data in forged:
            assert stamp(data).lower() != "proved"


def test_a_token_is_exchanged_and_the_same_seed_goes_on(small: tuple[Path, pellucid.GPT, Path]) -> None:
    folder, _, file = small
    generator = open_text_generator(folder)
    options = {"seed": 4, "temperature": 1.1}
    first = generator.generate("the fox", max_tokens=10, logprobs=5, **options)
    with chromium() as browser, opened(browser, file) as page:
        page.goto(f"{file.as_uri()}#/ask?{urlencode({'prompt': 'the fox', 'max_tokens': 10, **options})}")
        page.get_by_role("link", name="save this record").wait_for()
        assert first.top_logprobs is not None
        outside = next(i for i, top in enumerate(first.top_logprobs) if first.ids[i] not in dict(top))
        page.locator("button.pick").nth(outside).click()
        likely = page.get_by_role("list", name="the likeliest tokens of this step").get_by_role("listitem")
        assert likely.filter(has_text="drawn").count() == 1 and likely.count() == 6
        page.locator("button.pick").nth(3).click()
        other = next(token for token, _ in first.top_logprobs[3] if token != first.ids[3])
        ids = [*first.prompt_ids, *first.ids[:3], other]
        expected = generator.generate(ids, max_tokens=6, **options)
        page.get_by_role("list", name="the likeliest tokens of this step").get_by_role("button").first.click()
        assert generator.tokenizer is not None
        page.get_by_role("group", name="the answer's text").filter(has_text=generator.tokenizer.decode(ids)).wait_for()
        page.locator("button.pick").nth(expected.ids.__len__() - 1).wait_for()
        page.get_by_role("link", name="save this record").wait_for()
        with page.expect_download() as download:
            page.get_by_role("link", name="save this record").click()
        with pellucid.open(Path(download.value.path()).read_bytes()) as record:
            assert record["generation/prompt_ids"].tolist() == ids
            assert record["generation/steps/drawn_ids"].tolist() == expected.ids


def test_the_page_opens_in_the_browsers_language_and_keeps_what_was_typed_when_it_changes(
    small: tuple[Path, pellucid.GPT, Path], tmp_path: Path
) -> None:
    fixed = write_model_page(tmp_path / "english.html", small[0], lang="en").path
    state = urlencode({"prompt": "the fox", "seed": 4, "max_tokens": 3})
    with chromium() as browser:
        for file, code, title in ((small[2], "zh", "模型"), (fixed, "en", "a model")):
            with opened(browser, file, locale="zh-CN") as page:
                assert title in page.title() and page.locator("html").get_attribute("lang") == code
        with opened(browser, small[2], locale="fr-FR") as page:
            assert page.locator("html").get_attribute("lang") == "en"
            page.goto(f"{small[2].as_uri()}#/ask?{state}")
            page.get_by_text("ended by").wait_for()
            page.locator("textarea.prompt").fill("typed")
            page.get_by_role("link", name="中文").click()
            answer = page.locator(".text[role=group]")
            page.locator("button.pick").nth(2).wait_for()
            assert page.locator("textarea.prompt").input_value() == "typed" and answer.inner_text().startswith("the fox")


def test_the_x_ray_of_an_answer_is_filled_anew_for_the_next(small: tuple[Path, pellucid.GPT, Path]) -> None:
    def shown() -> list[Any]:
        page.locator("section.panel[aria-busy=false]").wait_for()
        attributes = "all => all.map((one) => [one.ariaLabel, one.ariaSelected, one.title])"
        cells = page.locator("[role=gridcell]").evaluate_all(attributes)
        return [*cells, page.locator("section.panel").inner_text().split("ms, measured")[0].split("◷")[0]]

    first = {"prompt": "the fox", "max_tokens": 45, "seed": 9}
    second = {"prompt": "a hare and", "max_tokens": 40, "seed": 5}
    with chromium() as browser, opened(browser, small[2], viewport={"width": 1200, "height": 400}) as page:
        page.goto(f"{small[2].as_uri()}#/ask?{urlencode(second)}")
        expected = shown()
        page.evaluate("address => { location.hash = '#/'; location.hash = address; }", f"#/ask?{urlencode(first)}")
        page.get_by_role("link", name="save this record").wait_for()
        page.get_by_role("button", name="all 20 recorded").click()
        page.get_by_role("group", name="attention head").get_by_role("button", name="head 1").click()
        page.get_by_role("gridcell", name="position 0, embedding").click()
        page.get_by_role("heading", name="embedding").wait_for()
        assert shown() != expected
        page.evaluate("const grid = document.querySelector('[role=grid]'); grid.first = true; grid.scrollTop = 1e6;")
        page.get_by_role("gridcell", name="position 45").first.wait_for()
        for option, value in second.items():
            page.locator("textarea.prompt" if option == "prompt" else f"#option-{option}").fill(str(value))
        page.get_by_role("button", name="Write", exact=True).click()
        page.locator("a[download='answer-3.pellucid']").wait_for()
        assert shown() == expected
        assert page.evaluate("document.querySelector('[role=grid]').first")  # the elements of the first answer's


@pytest.mark.parametrize("width", [1200, 375])
def test_axe_core_finds_nothing_serious_in_a_page_with_a_model(small: tuple[Path, pellucid.GPT, Path], width: int) -> None:
    state = urlencode({"prompt": "the fox", "max_tokens": 6, "seed": 4})
    with chromium() as browser, opened(browser, small[2], viewport={"width": width, "height": 800}) as page:
        for address in ("#/", f"#/ask?{state}", "#/prime"):
            page.evaluate("address => { location.hash = '#/words'; location.hash = address; }", address)
            if "ask" in address:
                page.get_by_role("button", name="Prove it").click()
                page.locator(".stamp").wait_for()
                page.locator("button.pick").first.click()
            if "prime" in address:
                page.get_by_label("Numbers of examples", exact=True).fill("0, 1")
                page.get_by_role("button", name="Compare").click()
                page.get_by_role("group", name="the whole prompt").wait_for()
            assert serious_findings(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.get_by_role("link", name="\u4e2d\u6587").click()
        assert page.evaluate("document.documentElement.lang") == "zh"


def test_a_figure_of_an_answer_is_saved_as_a_page_and_a_picture(
    small: tuple[Path, pellucid.GPT, Path], tmp_path: Path
) -> None:
    with chromium() as browser, opened(browser, small[2]) as page:
        page.goto(f"{small[2].as_uri()}#/ask?{urlencode({'prompt': 'the fox', 'max_tokens': 6, 'seed': 4})}")
        page.get_by_role("link", name="save this record").wait_for()
        page.get_by_role("button", name="tokens", exact=True).click()
        page.get_by_text("Save this figure").click()
        for name in ("html", "png"):
            with page.expect_download() as download:
                page.get_by_role("button", name=f"Save tokens as {name.upper()}").click()
            download.value.save_as(tmp_path / f"tokens.{name}")
        assert (tmp_path / "tokens.png").read_bytes().startswith(b"\x89PNG")
        with opened(browser, tmp_path / "tokens.html") as saved:
            assert "6 written" in saved.locator("svg.picture").first.inner_html()


def test_priming_in_the_page_gives_the_probabilities_of_python(small: tuple[Path, pellucid.GPT, Path]) -> None:
    prompt = pellucid.Prompt("", [("fox", "hare"), ("the", "a")], "dog", "equals")
    state = {"examples": json.dumps(prompt.examples), "query": "dog", "answer": "cat", "format": "equals", "shots": "0, 2"}
    generator = open_text_generator(small[0])
    with chromium() as browser, opened(browser, small[2]) as page:
        page.goto(f"{small[2].as_uri()}#/prime?{urlencode(state)}")
        page.get_by_role("group", name="the whole prompt").wait_for()
        assert page.get_by_role("group", name="the whole prompt").inner_text() == prompt.text
        shown = page.locator("tbody tr td:nth-child(2)").all_inner_texts()
        for count, words in zip((0, 2), shown, strict=True):
            ids, start = prompt.shots(count).answered(generator, "cat")
            chance = math.exp(sum(number or 0.0 for number in generator.score(ids).logprobs[start:]))
            assert words.strip() == (percent(chance) if chance >= 1e-4 else three_digits(chance))


def test_the_keyboard_alone_asks_and_exchanges_a_token(small: tuple[Path, pellucid.GPT, Path]) -> None:
    def focused() -> str:
        return str(page.evaluate("document.activeElement.innerText.trim()"))

    with chromium() as browser, opened(browser, small[2]) as page:
        page.goto(f"{small[2].as_uri()}#/ask")
        page.get_by_text("It runs in this page").wait_for()
        page.get_by_role("textbox", name="Prompt").fill("the fox")
        page.get_by_label("Max tokens").fill("50")
        page.get_by_role("button", name="Write", exact=True).focus()
        page.keyboard.press("Enter")
        page.get_by_role("link", name="save this record").wait_for()
        assert focused() == "Write"
        page.get_by_role("button", name="Copy the text").focus()
        drawn = page.locator("button.pick").all_inner_texts()
        page.keyboard.press("Tab")
        assert focused() == drawn[0]
        for key, place in (("ArrowRight", 1), ("End", -1), ("ArrowRight", -1), ("ArrowLeft", -2), ("Home", 0)):
            page.keyboard.press(key)
            assert focused() == drawn[place]
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.get_by_role("list", name="the likeliest tokens of this step").wait_for()
        page.keyboard.press("Tab")  # past all the others
        assert focused() == "take it"


def test_a_prompt_that_is_too_long_is_cut_to_its_end_that_fits(small: tuple[Path, pellucid.GPT, Path]) -> None:
    folder, _, file = small
    tokenizer = open_text_generator(folder).tokenizer
    assert tokenizer is not None
    state = {"prompt": "the fox and the hare " * 40, "max_tokens": 8, "seed": 4}
    end = fitting_end(str(state["prompt"]), 64 + 1 - 8, tokenizer)
    with chromium() as browser, opened(browser, file) as page:
        page.goto(f"{file.as_uri()}#/ask?{urlencode(state)}")
        page.get_by_role("button", name="Keep the end of the prompt that fits").click()
        assert page.get_by_role("textbox", name="Prompt").input_value() == end
        page.get_by_role("button", name="Write", exact=True).click()
        page.get_by_role("link", name="save this record").wait_for()


def test_an_address_that_states_what_an_option_does_not_take_is_not_answered(small: tuple[Path, pellucid.GPT, Path]) -> None:
    with chromium() as browser, opened(browser, small[2]) as page:
        for state, says in (
            ({"temperature": "0,8"}, "Temperature must be a number"), ({"top_p": "NaN"}, "Top-p must be a number"),
            ({"max_tokens": "1e9"}, "Max tokens must be a whole number"), ({"stop": "x" * 1_000_000}, "1,000,001 characters"),
            ({"prompt": "x" * 1_000_000}, "1,000,000 characters"),
        ):  # fmt: skip
            address = f"#/ask?{urlencode({'prompt': 'the fox', 'seed': 4} | state)}"
            page.evaluate("address => { location.hash = '#/words'; location.hash = address; }", address)
            page.get_by_role("alert").filter(has_text=says).wait_for()
            page.get_by_text("It runs in this page").wait_for()
            assert page.get_by_role("region", name="the answer").count() == 0
        assert len(page.get_by_role("textbox", name="Prompt").input_value()) == 65_536  # the last one's end
        examples = urlencode({"query": "the fox", "answer": "runs", "examples": json.dumps([["x" * 1_000_000, ""]])})
        page.evaluate("address => { location.hash = address; }", f"#/prime?{examples}")
        page.get_by_role("alert").filter(has_text="characters for this form").wait_for()
        assert all(len(one.input_value()) < 1000 for one in page.get_by_role("textbox").all())


def test_what_a_browser_lacks_is_said_and_the_rest_is_there(small: tuple[Path, pellucid.GPT, Path]) -> None:
    no_wasm = "const Plain = Blob; window.Blob = class extends Plain { constructor(parts, options) {"
    no_wasm += " super(options?.type === 'text/javascript' ? ['delete self.WebAssembly;', ...parts] : parts, options); } };"
    lacks = {
        "does not start the page's worker": "delete window.Worker;",
        "WebAssembly": no_wasm,
    }
    with chromium() as browser:
        for says, script in lacks.items():
            with opened(browser, small[2]) as page:
                page.add_init_script(script)
                page.goto("about:blank")
                page.goto(f"{small[2].as_uri()}#/ask")
                page.get_by_role("alert").filter(has_text=says).wait_for()
                page.get_by_role("link", name="Story").click()
                page.get_by_role("link", name="tale.pellucid").click()
                page.get_by_role("button", name="Prove it").click()
                assert page.locator(".stamp").inner_text().lower() == "refused"


def test_a_worker_that_does_not_answer_is_said_after_a_while(small: tuple[Path, pellucid.GPT, Path]) -> None:
    with chromium() as browser, opened(browser, small[2]) as page:
        page.clock.install()
        page.add_init_script("window.Worker = class { postMessage() {} terminate() {} };")
        page.goto("about:blank")
        page.goto(f"{small[2].as_uri()}#/ask")
        page.get_by_text("The model is being unpacked").wait_for()
        page.get_by_role("button", name="Write", exact=True).click()
        page.clock.fast_forward(29_000)
        slow = page.get_by_role("status").filter(has_text="This takes long")
        assert not slow.count()
        page.clock.fast_forward(2_000)
        slow.wait_for()
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("stopped after 0 tokens").wait_for()
        assert page.get_by_role("button", name="Stop").is_disabled()


def test_a_record_whose_header_holds_anything_is_shown_or_refused(small: tuple[Path, pellucid.GPT, Path]) -> None:
    honest = pellucid.open((small[2].parent / "tale.pellucid").read_bytes())
    object_without_text = {"toString": 1, "valueOf": 1}
    changes: list[tuple[tuple[str, ...], Any]] = [
        (("ablation",), {"parts": "x"}), (("ablation",), {"parts": [[9, "mlp"]], "by": "zero"}),
        (("sampling", "temperature"), object_without_text), (("config", "name"), object_without_text),
    ]  # fmt: skip
    with chromium() as browser, opened(browser, small[2]) as page:
        for path, value in changes:
            data = with_header(honest, replaced_leaf(honest.header, ("provenance", *path), value))
            page.evaluate("() => { location.hash = '#/words'; location.hash = '#/'; }")
            page.locator("input[type=file]").set_input_files(
                {"name": "a.pellucid", "mimeType": "application/octet-stream", "buffer": data}
            )
            page.get_by_role("alert").wait_for()


def test_a_model_that_a_page_cannot_run_is_refused_by_name(tmp_path: Path) -> None:
    config = pellucid.GPTConfig(vocab_size=289, n_ctx=64, n_layers=2, d_model=24, n_heads=3, pattern=(Strided(5), Dense()))
    pellucid.GPT(config, seed=3, tokenizer=train_tokenizer([STORY], 289)).save(tmp_path / "strided")
    with pytest.raises(PellucidError, match=r"attention by strided\(5\)"):
        write_model_page(tmp_path / "page.html", tmp_path / "strided")
    pellucid.GPT(config.replace(pattern=(Dense(), Dense())), seed=3).save(tmp_path / "mute")
    with pytest.raises(PellucidError, match="needs a tokenizer"):
        write_model_page(tmp_path / "page.html", tmp_path / "mute")
    assert not (tmp_path / "page.html").exists()
