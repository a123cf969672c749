"""Every picture of the README, from one run of the real demo.

    python tools/pictures.py            writes docs/pictures (needs tmux, Chromium and the extras `pictures` and `test`)
    python tools/pictures.py --demo D   from a demo that is there already, without a new picture of the terminal

The demo runs in a terminal of 110 columns, its records are drawn by `pellucid figures`, and its page is photographed in a
browser: every picture is one that a user gets.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.ansi import AnsiDecoder
from terminal_picture import picked, picture


OUT = Path(__file__).resolve().parent.parent / "docs" / "pictures"
LARGEST = {"story.png": 350_000}  # bytes of a picture
LARGEST_OTHER = 2_000_000
MOVING = ("step", "tokens", "xray")  # as GIF; the others are stills
STILL = ("pretraining", "windows", "parameters")
COLUMNS, ROWS = 110, 200
PATIENCE = 600  # seconds for the demo
SIZE = {"width": 1200, "height": 820}
STORY = {"width": 1280, "height": 1040}  # the first of the five steps, whole


def run_demo(out: Path) -> str:
    """Runs the demo in a terminal of its own; returns what it printed, with its escape sequences for colours."""
    if not shutil.which("tmux"):
        sys.exit("the picture of the terminal needs tmux: install it, or give --demo")
    done = out.with_suffix(".done")
    command = f"cd {out.parent} && clear && pellucid demo --no-serve --out {out.name}; touch {done}; sleep 999"
    session = f"pellucid-{time.monotonic_ns()}"
    tmux = ("tmux", "-L", session)
    subprocess.run([*tmux, "new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), command], check=True)
    try:
        began = time.monotonic()
        while not done.exists():
            if time.monotonic() - began > PATIENCE:
                sys.exit(f"the demo did not end in {PATIENCE} s")
            time.sleep(0.5)
        seen = subprocess.run([*tmux, "capture-pane", "-e", "-p", "-S", "-"], check=True, capture_output=True)
        return seen.stdout.decode("utf-8")
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)


def draw(demo: Path) -> None:
    """Draws the figures that the demo's records give."""
    for names, kind in ((MOVING, "gif"), (STILL, "svg")):
        subprocess.run(
            ["pellucid", "figures", str(demo), "--out", str(OUT), "--format", kind, "--only", ",".join(names)], check=True
        )


def photograph(demo: Path) -> None:
    """Photographs in a browser the story as the studio serves it, and the x-ray of the demo's own page."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    from pellucid.serve import Studio

    found = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
    if not found:
        sys.exit("the picture of the page needs Chromium")
    with sync_playwright() as playwright, Studio([demo], port=0) as studio:
        browser = playwright.chromium.launch(executable_path=found[0], args=["--no-sandbox"])
        page = browser.new_page(viewport=STORY, device_scale_factor=2, reduced_motion="reduce")
        page.goto(studio.url)
        page.get_by_text("What is simplified").first.wait_for()
        page.screenshot(path=OUT / "story.png")
        with Image.open(OUT / "story.png") as file:  # 256 colours are enough for a page, and half of the bytes
            whole = file.convert("RGB")
        whole.quantize(palette=whole.quantize(256)).save(OUT / "story.png", optimize=True)
        page = browser.new_page(viewport=SIZE)
        page.goto((demo / "index.html").resolve().as_uri())
        tale = page.get_by_role("link", name="tale.pellucid").first.get_attribute("href")
        page.goto(f"{page.url}{tale}/3/4")
        page.get_by_text("It would say next").wait_for()
        page.screenshot(path=OUT / "studio.png")
        browser.close()


def main() -> None:
    """Runs the demo and writes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, metavar="DIR", help="a demo that is there already")
    chosen = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        demo = chosen.demo or Path(scratch) / "pellucid-demo-1"
        if chosen.demo is None:
            screen = AnsiDecoder().decode(run_demo(demo).rstrip())
            (OUT / "demo.svg").write_text(picture(picked(list(screen), ""), "pellucid demo"), encoding="utf-8")
        draw(demo)
        photograph(demo)
    for path in sorted(OUT.iterdir()):
        size = path.stat().st_size
        print(f"{path.name}: {size:,} bytes")
        if size > (largest := LARGEST.get(path.name, LARGEST_OTHER)):
            sys.exit(f"{path.name} is larger than {largest:,} bytes")


if __name__ == "__main__":
    main()
