"""The studio in Chinese, at three widths: story, words, asking, saving, the switch; axe-core; no English left over."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from axe import serious_findings
from serving import checked_page, studio_for

import pellucid
from pellucid.serve.studio.folder import draw_folder


pytestmark = pytest.mark.long

TITLES = ["开头：只有一个数", "1. 训练", "2. 写作", "3. 看看内部", "4. 示例引导", "5. 微调"]
# The page's own words: what people read in it and what is read out, without films, code and what comes from files.
WORDS = """() => {
    const own = [...document.querySelectorAll(".studio h1, h2, h3, label, button, summary, legend, nav a, p, dt, th")];
    const said = own.filter((one) => !one.closest(".missing em, .samples, .text, .tokens, .whole, .pieces, .scroll, option"));
    const labels = [...document.querySelectorAll("[aria-label], [title], [placeholder]")];
    const attributes = ["aria-label", "title", "placeholder"];
    return [
        ...said.map((one) => {
            const copy = one.cloneNode(true);
            copy.querySelectorAll("code, option, a, button, .state, .token, .piece").forEach((part) => part.remove());
            return copy.textContent;
        }),
        ...labels
            .filter((one) => !one.closest(".token, .scroll, .panel li, .pieces, code"))
            .flatMap((one) => attributes.map((name) => one.getAttribute(name))),
    ].filter(Boolean);
}"""
# Names that Chinese texts keep: commands, files, formats, kinds of numbers, units.
KEPT = re.compile(
    r"\b(pip install [\w-]+|ffmpeg|WebP|"
    r"Pellucid|EN|[Tt]op-[kp]|[Mm]in-p|logits?|ln|V|MLP|GPT-3|X|HTML|PNG|SVG|GIF|WEBP|MP4|kB|MB|ms|u|e|JSON|Tab|softmax|tiny\w*|"
    r"float32|metrics\.jsonl|config\.json|\w+\.pellucid|\w+/\w+\.pellucid|run|tale|the|fox|s|n)\b"
)


def english_in(page: Any) -> list[str]:
    """Texts of the page with English words that stand in it for no good reason."""
    return [text for text in page.evaluate(WORDS) if re.search(r"[A-Za-z]{3,}", KEPT.sub("", text))]


def test_the_studio_is_in_chinese(browser: Any, tiny_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "studio"
    shutil.copytree(tiny_run, folder / "run", ignore=shutil.ignore_patterns("checkpoints", "corpus"))
    model = pellucid.load(tiny_run)
    pellucid.xray(model, "the fox", max_tokens=3, seed=1, keep=("lens",)).save(folder / "a-less.pellucid")
    pellucid.xray(model, "the fox", max_tokens=5, seed=1).save(folder / "tale.pellucid")
    with checked_page(browser) as page, studio_for(page, [folder]) as studio:
        for width in (360, 960, 1440):
            page.set_viewport_size({"width": width, "height": 800})
            page.goto(studio.url)
            page.get_by_role("link", name="中文").click()
            page.wait_for_url("**/?lang=zh#/")
            assert page.locator("html").get_attribute("lang") == "zh"
            page.locator("section h2").nth(len(TITLES) - 1).wait_for()
            assert page.locator("section h2").all_inner_texts() == TITLES
            opening = page.get_by_role("region", name=TITLES[0])
            opening.get_by_role("button", name="播放").wait_for()
            page.get_by_role("button", name="3. 看看内部").click()
            look = page.get_by_role("region", name="3. 看看内部")
            look.get_by_role("button", name="播放").wait_for()
            look.get_by_role("button", name="块的堆叠").click()
            look.get_by_label("画自").wait_for()
            look.get_by_role("button", name="播放").wait_for()  # of the record that gives it
            assert look.get_by_label("画自").locator("option:checked").inner_text() == "tale.pellucid"
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert english_in(page) == [] and serious_findings(page) == []
            look.get_by_text("保存这张图").click()
            with page.expect_download() as saved:
                look.get_by_role("button", name="存为 SVG").click()
            assert saved.value.suggested_filename == "stack.svg"
            page.locator(".lead button").focus()
            assert page.get_by_role("tooltip").inner_text().startswith("词元：模型读写的单位")
            page.get_by_role("link", name="词语").click()
            page.get_by_role("heading", name="词语").wait_for()
            assert english_in(page) == [] and serious_findings(page) == []
            page.goto(f"{studio.url}?lang=zh#/ask/model-1")
            page.get_by_label("提示").fill("the fox")
            page.get_by_label("最多词元数").fill("3")
            page.get_by_role("button", name="写作").click()
            page.get_by_text("结束原因：词元数上限").wait_for()
            page.locator("[role=gridcell]").first.wait_for()
            page.get_by_text("第 1 步：抽取").wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert english_in(page) == [] and serious_findings(page) == []
            page.goto(f"{studio.url}?lang=zh#/run/run-1")
            page.locator("figure").wait_for()
            assert english_in(page) == [] and serious_findings(page) == []
            page.get_by_role("link", name="EN").click()
            page.wait_for_url("**/?lang=en#/run/run-1")
            page.get_by_text("What it wrote on the way").or_(page.get_by_role("heading", name="Records")).first.wait_for()


def test_the_static_page_and_its_films_are_in_chinese(browser: Any, tiny_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_run, folder / "run", ignore=shutil.ignore_patterns("checkpoints", "corpus"))
    with pellucid.languages.language("zh"):
        written, _, _ = draw_folder(folder, title="副本", runs=[folder / "run"], command="pellucid studio copy")
    with checked_page(browser) as page:
        page.goto(written.as_uri())
        page.get_by_role("button", name="播放").first.wait_for()
        assert page.locator("section h2").all_inner_texts()[: len(TITLES)] == TITLES
        assert page.get_by_role("link", name="EN").count() == 0 and english_in(page) == []
