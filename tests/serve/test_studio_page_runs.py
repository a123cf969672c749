"""The studio's pages: runs whose files are damaged, file names that are not UTF-8, an answer whose record is being read."""

import json
import os
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cases import TIMES
from serving import ask, checked_page, studio_for

import pellucid
from pellucid.runs.metrics import last_line
from pellucid.serve import Studio, write_page


pytestmark = pytest.mark.long


VALUES = ("3", "0.5", '"text"', '"3"', "null", "true", "[]", "{}", "NaN", "Infinity", "1e400", "-5", "9e99", "9e9", "[[[[")
KEYS = ("step", "tokens", "loss", "held_out_loss", "bits_per_byte", "tokens_per_s", "prompt", "sample")


def run_folder(tiny_run: Path, place: Path, metrics: bytes, **changed: Any) -> Path:
    """A run with these metrics, and a plan in which some keys are changed."""
    place.mkdir()
    plan = json.loads((tiny_run / "run.json").read_text(encoding="utf-8"))
    (place / "run.json").write_text(json.dumps({**plan, **changed}), encoding="utf-8")
    (place / "metrics.jsonl").write_bytes(metrics)
    return place


def a_line(draw: random.Random, step: int) -> bytes:
    """A line of metrics, damaged or not."""
    fields = {"step": str(step), "loss": f"{6 / step:.3f}", "tokens_per_s": "100.5"}
    for _ in range(draw.choice((0, 0, 1, 2))):
        fields[draw.choice(KEYS)] = draw.choice(VALUES)
    line = "{" + ", ".join(f'"{key}": {value}' for key, value in fields.items()) + "}"
    return os.urandom(50).replace(b"\n", b"") if draw.random() < 0.1 else line.encode()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A checked page."""
    with checked_page(browser) as found:
        yield found


def test_a_run_with_damaged_metrics_is_shown(page: Any, tiny_run: Path, tmp_path: Path) -> None:
    """Whatever stands between them: the first and the last step are shown, and the page goes on."""
    runs = []
    for seed in range(5 * TIMES):
        draw = random.Random(seed)
        lines = [a_line(draw, step) for step in range(1, 12)]
        ends = (b'{"step": 0, "loss": 7.25}', *lines, b'{"step": 12, "loss": 0.25}')
        runs.append(run_folder(tiny_run, tmp_path / f"damaged-{seed}", b"\n".join(ends) + b"\n", total_steps=40))
    with studio_for(page, runs) as studio:
        for number in range(1, len(runs) + 1):
            page.goto(f"{studio.url}#/run/run-{number}")
            page.get_by_role("heading", name=f"damaged-{number - 1}").wait_for()
            page.locator("p.big:has-text('12 of 40 steps'):has-text('0.250')").wait_for()
            assert "to 0.25 nats" in page.get_by_role("img").get_attribute("aria-label")


def test_a_run_that_goes_on_after_a_damaged_line_and_one_that_is_begun_anew(page: Any, tiny_run: Path, tmp_path: Path) -> None:
    run = run_folder(tiny_run, tmp_path / "run", b'{"step": 1, "loss": "text"}\n{"step": 2, "loss": 2.5}\n', total_steps=40)
    with studio_for(page, [run]) as studio:
        page.goto(f"{studio.url}#/run/run-1")
        page.locator("p.big:has-text('2 of 40 steps')").wait_for()
        page.get_by_role("alert").filter(has_text="1 line of metrics.jsonl").wait_for()
        with (run / "metrics.jsonl").open("ab") as file:
            file.write(b'{"step": 3, "loss": NaN}\n{"step": 4, "loss": 2.25}\n')
        page.locator("p.big:has-text('4 of 40 steps')").wait_for()
        page.get_by_role("alert").filter(has_text="2 lines of metrics.jsonl").wait_for()
        anew = b"".join(b'{"step": %d, "loss": 1.125, "note": "%b"}\n' % (step, b"x" * 90) for step in range(1, 40))
        (run / "metrics.jsonl").write_bytes(anew)
        page.locator("p.big:has-text('39 of 40 steps')").wait_for()
        assert "39 steps of 40" in page.get_by_role("img").get_attribute("aria-label")
        page.get_by_role("alert").wait_for(state="detached")


def test_a_plan_that_cannot_be_shown_is_named(page: Any, tiny_run: Path, tmp_path: Path) -> None:
    keys = ("batch", "total_steps", "threads", "config", "recipe", "source")
    page.refused = len(keys)  # the browser says so, too
    runs = [run_folder(tiny_run, tmp_path / key, b'{"step": 1, "loss": 2.5}\n', **{key: "text"}) for key in keys]
    with studio_for(page, runs) as studio:
        for number, key in enumerate(keys, start=1):
            page.goto(f"{studio.url}#/run/run-{number}")
            page.get_by_role("heading", name=key).wait_for()
            page.get_by_role("alert").filter(has_text=key).wait_for()


def test_a_line_without_an_end_is_reported(tiny_run: Path, tmp_path: Path) -> None:
    run = run_folder(tiny_run, tmp_path / "run", b"\x00" * (1 << 21))
    with Studio([run], port=0) as studio:
        assert "a line has more than 1,048,576 bytes" in ask(studio, "/api/runs/run-1/metrics").error
        (run / "run.json").write_bytes(b'{"kind": "train", "total_steps": 5, "loss": NaN}')
        assert "run.json of this run cannot be read" in ask(studio, "/api/runs/run-1").error
        (run / "run.json").write_bytes(b'{"kind": "train", "total_steps": 5, "deep": ' + b"[" * 100_000)
        assert "run.json of this run cannot be read" in ask(studio, "/api/runs/run-1").error


@pytest.mark.parametrize("seed", range(20 * TIMES))
def test_the_last_step_is_that_of_the_last_readable_line(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    lines = [a_line(draw, step) for step in range(1, draw.randint(2, 12))]
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join(lines) + draw.choice((b"\n", b"", b'\n{"step": 9')))
    expected = None
    for line in lines:
        try:
            step = json.loads(line)["step"]
        except (ValueError, TypeError):
            continue
        expected = step if type(step) is int and step >= 0 else expected
    found = last_line(tmp_path)
    assert (found and found.step) == expected


def test_a_finished_run_says_so_and_another_how_far_it_is(page: Any, tiny_run: Path, tmp_path: Path) -> None:
    half = run_folder(tiny_run, tmp_path / "half", b'{"step": 3, "loss": 2.5}\n')
    none = run_folder(tiny_run, tmp_path / "none", b"")
    states = ("6 of 6 steps: finished", "3 of 6 steps: not running", "0 of 6 steps: not running")
    expected = tuple(f"training, {state}" for state in states)
    with studio_for(page, [tiny_run, half, none]) as studio:
        assert [run.get("steps") for run in ask(studio, "/api/sources").json()["runs"]] == [6, 3, None]
        page.goto(studio.url)
        page.locator(".run").first.wait_for()
        assert tuple(text.splitlines()[-1] for text in page.locator(".run p:first-of-type").all_inner_texts()) == expected
        page.goto(f"{studio.url}#/run/run-1")
        page.locator("p.big:has-text('finished 6 of 6 steps')").wait_for()
    told = (expected[0], "training, 3 of 6 steps: not finished")  # a copy cannot know whether it runs
    written = write_page(tmp_path / "page.html", [], runs=[tiny_run, half])
    page.goto(written.as_uri())
    page.locator(".run").first.wait_for()
    assert tuple(text.splitlines()[-1] for text in page.locator(".run p:first-of-type").all_inner_texts()) == told


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are Unicode there")
def test_file_names_that_are_not_utf_8(page: Any, tiny_run: Path, tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    run = Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe run\n"))
    shutil.copytree(tiny_run, run, ignore=shutil.ignore_patterns("checkpoints", "corpus"))
    pellucid.xray(pellucid.load(tiny_run), "the fox", max_tokens=3, seed=1).save(run / os.fsdecode(b"\xe9.pellucid"))
    (folder / os.fsdecode(b"\xe8.pellucid")).write_bytes(b"no record")
    with studio_for(page, [folder]) as studio:
        told = ask(studio, "/api/sources").json()
        assert [len(told[kind]) for kind in ("runs", "records", "models")] == [1, 3, 2]
        page.goto(studio.url)
        for kind, count in (("run", 1), ("record", 3), ("model", 2)):
            page.locator(f".card.{kind} > a").first.wait_for()
            assert page.locator(f".card.{kind} > a").count() == count
        page.locator(".card.run > a").click()
        page.locator("p.big:has-text('6 of 6 steps')").wait_for()
        (record,) = (one for one in told["records"] if one.get("kind") == "generation")
        page.goto(f"{studio.url}#/record/{record['id']}")
        page.locator("[role=gridcell]").first.wait_for()
        body = {"model": told["models"][1]["id"], "prompt": "the", "max_tokens": 1}
        assert b"event: done" in ask(studio, "/api/generate", method="POST", body=body).body
        newest = ask(studio, "/api/sources").json()["records"][-1]
        assert newest["title"].startswith("answer 1, written here by \udcff\udcfe run")
        assert ask(studio, f"/api/figures/{record['id']}/tokens").status == 200


def test_the_answer_stays_while_its_record_is_read(page: Any, tiny_run: Path) -> None:
    held: list[Any] = []
    with studio_for(page, [tiny_run]) as studio:
        holds = True
        page.route("**/records/answer-*", lambda route: held.append(route) if holds else route.continue_())
        page.goto(f"{studio.url}#/ask/model-1")
        page.get_by_role("button", name="Write").click()
        page.get_by_role("heading", name="Inside this very answer").wait_for()
        answer = page.get_by_label("the answer as it is written")
        assert answer.is_visible() and answer.locator(".drawn").count() > 0
        drawn = answer.locator(".drawn").count()
        holds = False
        for route in held:
            route.continue_()
        page.locator("[role=gridcell]").first.wait_for()
        assert answer.locator(".drawn").count() == drawn and page.get_by_label("the text, token by token").count() == 0
