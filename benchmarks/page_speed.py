"""A page with a model, opened from disk in Chromium: seconds to the first token, tokens per second beside native, memory.

    python benchmarks/page_speed.py [--model MODEL] [--answers 50]

Native and page generate the same tokens in turn, on one thread: 200 tokens after the same prompt, without recording, three
times each; the fastest counts. Memory is that of the page's process (resident, not shared): when the model is ready, after
answers with their records, and after a collection of garbage that is asked for. What is waited for is one selector: searching
a page for a text allocates a third as much in it as the page itself. Needs Chromium and the Python package playwright.
"""

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from time import perf_counter, sleep
from typing import Any
from urllib.parse import urlencode


os.environ["OMP_NUM_THREADS"] = "1"

from pellucid.generation.text_generator import open_text_generator
from pellucid.serve.model_page.write import write_model_page


TOKENS, ROUNDS = 200, 3
EXACT = "--js-flags=--no-enable-fma3"


def resident(browser: Any) -> int:
    """Bytes of the page's process, the largest of the browser's page processes, in memory and not shared with others."""
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    pids = [process["id"] for process in processes if process["type"] == "renderer"]
    pages = []
    for pid in pids:
        fields = Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()
        pages.append(int(fields[1]) - int(fields[2]))
    return max(pages) * os.sysconf("SC_PAGE_SIZE")


def write_answers(page: Any, count: int) -> None:
    """Has the page write recorded answers, one after the other, each with a seed of its own."""
    for option, value in (("temperature", ""), ("top_p", ""), ("max_tokens", "24")):
        page.locator(f"#option-{option}").fill(value)
    page.locator("textarea.prompt").fill("The king said")
    for number in range(1, count + 1):
        page.locator("#option-seed").fill(str(number))
        page.locator("form [type=submit]").click()
        page.locator(f"a[download='answer-{number}.pellucid']").wait_for()


def print_memory(driver: Any, chromium: str, file: Path, count: int) -> None:
    """Prints the memory of a page's process."""
    browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    try:
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.goto(f"{file.as_uri()}#/ask")
        page.get_by_text("It runs in this page").wait_for()
        sizes = [resident(browser)]
        write_answers(page, count)
        sizes.append(resident(browser))
        page.context.new_cdp_session(page).send("HeapProfiler.collectGarbage")
        sleep(1)  # freed pages go back to the system a little later
        sizes.append(resident(browser))
        ready, after, collected = (round(size / 1e6) for size in sizes)
        print(f"memory: {ready} MB ready, {after} MB after {count} recorded answers, {collected} MB after a collection")
    finally:
        browser.close()


def main() -> None:
    """Measures, and prints a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--answers", type=int, default=50)
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    native = open_text_generator(args.model)
    options = {"max_tokens": TOKENS, "seed": 3}

    def native_rate() -> float:
        began = perf_counter()
        drawn = len(native.generate("Once upon a time", **options).ids)
        return drawn / (perf_counter() - began)

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        written = write_model_page(Path(folder) / "page.html", args.model)
        print(f"page: {written.bytes:,} bytes, of which {written.shown_bytes:,} are the story's film")
        for name, flags in (("relaxed", []), ("exact", [EXACT])):
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", *flags])
            try:
                page = browser.new_page()
                page.set_default_timeout(120_000)
                began = perf_counter()
                state = urlencode({"prompt": "Once upon a time", "seed": 3, "max_tokens": 1})
                page.goto(f"{written.path.as_uri()}#/ask?{state}")
                page.locator("[aria-label='the answer as it is written'] .output").first.wait_for()
                print(f"{name}: first token {perf_counter() - began:.2f} s after opening")
                page.locator("#record").wait_for()
                rates = []
                for _ in range(ROUNDS):
                    native_now = native_rate()
                    page.evaluate("address => { location.hash = '#/'; location.hash = address; }", "#/ask")
                    page.locator("#record").uncheck()
                    for option, value in options.items():
                        page.locator(f"#option-{option}").fill(str(value))
                    for option in ("temperature", "top_p"):
                        page.locator(f"#option-{option}").fill("")
                    page.locator("textarea.prompt").fill("Once upon a time")
                    page.get_by_role("button", name="Write").click()
                    page.get_by_text("ended by").wait_for()
                    words = page.locator(".running").inner_text()
                    rates.append((float(words.split("last answer: ")[1].split(" ")[0]), native_now))
                best, best_native = max(one for one, _ in rates), max(one for _, one in rates)
                print(f"{name}: {best:,.0f} tokens/s, native {best_native:,.0f}, ratio {best / best_native:.2f}")
            finally:
                browser.close()
        print_memory(driver, chromium, written.path, args.answers)


if __name__ == "__main__":
    main()
