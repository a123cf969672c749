"""The terminal in Chinese: what a run, a token, a priming and a verification print, and that their columns stay in place."""

import io
import re

import pytest
from rich.console import Console

from pellucid import events
from pellucid.cli.display import RunDisplay
from pellucid.cli.prime import shots_table
from pellucid.cli.token_lines import print_tokens
from pellucid.engine.completion import Token
from pellucid.generation.load import load
from pellucid.generation.prompt import Prompt
from pellucid.gpt.config import GPTConfig
from pellucid.interpret.verify.report import ChunkResult, Report, WordResult
from pellucid.languages import LANGUAGES, language
from pellucid.text.graphemes import columns


PLAN = {
    "recipe": {"total_tokens": 2048, "learning_rate": 0.004, "ramp_tokens": 512}, "total_steps": 2, "dtype": "float32",
    "compiled": True, "threads": 2, "source": {},
}  # fmt: skip
NAMES = {"ln", "float32", "cpu", "GFLOP", "Ctrl", "once", "book"}  # the same in every language


def run_lines(*, terminal: bool, width: int = 200) -> str:
    """What the display of a short run prints."""
    config = load("default").config.to_dict()
    step = events.StepDone(2, 2048, 3.0, 0.004, 1.0, 500.0, 0.5, 0.01, 2e9, 0.6)
    out = io.StringIO()
    with RunDisplay(console=Console(file=out, width=width, force_terminal=terminal, color_system=None)) as live:
        live(events.Progress("reading the text", 3, unit="files"))
        live(events.Skipped("book", "一"))
        live(events.RunStarted(PLAN | {"config": config}, 1, 1024))
        live(events.StepSkipped(1, 1024, 9.0, 8.0, 7.0))
        live(events.Sampled(2, 2048, "once", "书"))
        live(events.HeldOut(2, 2048, 2.0, 1.5, 3, 4))
        live.stopping = True
        live(step)
        live(events.RunFinished(2, 2048, "done"))
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())


@pytest.mark.parametrize("terminal", [False, True])
def test_a_run_speaks_chinese_alone(terminal: bool) -> None:
    with language("zh"):
        shown = run_lines(terminal=terminal)
    assert set(re.findall(r"[A-Za-z][a-z0-9]+|GFLOP", shown)) <= NAMES
    assert "从第 1 步继续" in shown and "4 题答对 3 题" in shown.replace("个留出示例中 3 个", "题答对 3 题")
    assert "stopping" in run_lines(terminal=True)


@pytest.mark.parametrize("spoken", LANGUAGES)
def test_lines_keep_to_80_columns_or_are_whole(spoken: str) -> None:
    out = io.StringIO()
    with language(spoken):
        print_tokens(load("default"), [], Console(file=out, width=200))
        step, *others = [line for line in run_lines(terminal=False, width=40).splitlines() if "2/2" in line]
    assert columns(out.getvalue().rstrip()) <= 80
    assert columns(step) > 40 and not others and "500" in step and "0:00" in step


def test_a_loss_is_expected_only_of_runs_like_those_of_the_fit() -> None:
    config = GPTConfig.preset("tiny", vocab_size=4096).to_dict()
    plan = PLAN | {"config": config, "source": {"train_tokens": 300_000}}
    plan["recipe"] = {"total_tokens": 256_000, "learning_rate": 0.004}
    printed = {}
    for optimizer in ("adamw", "muon"):
        out = io.StringIO()
        with RunDisplay(console=Console(file=out, width=200)) as live:
            live(events.RunStarted(plan | {"optimizer": optimizer}, 0, 0))
        printed[optimizer] = "expected at the end" in out.getvalue()
    assert printed == {"adamw": True, "muon": False}


def test_columns_stay_in_place_in_every_language() -> None:
    rows = [
        {"shots": n, "prompt_tokens": 7, "logprob": -float(n), "probability": 0.5, "greedy": "│中文", "right": True}
        for n in (0, 1)
    ]  # fmt: skip
    one = ChunkResult(chunk="│generation/cells", truth="derived", ok=True)
    report = Report(
        record="r", model="m", dtype="float32", words=(WordResult(word="│provenance/seed", status="differs"),),
        chunks=(one, ChunkResult(chunk="│pieces/ids", truth="given", ok=False)),
    )  # fmt: skip
    for code in ("en", "zh"):
        out = io.StringIO()
        with language(code):
            table = shots_table(Prompt("", (), "q"), "a", rows).replace("greedy", "│greedy").replace("贪心", "│贪心")
            print_tokens(load("default"), [Token(262, "│".encode(), "│", -1.0, (), 5)], Console(file=out, width=90))
        bars = [columns(line.partition("│")[0]) for line in f"{table}\n{report}".splitlines() if "│" in line]
        assert len(bars) == 6 and len(set(bars[:3])) == len(set(bars[3:])) == 1
        assert columns(out.getvalue().splitlines()[0].partition("its" if code == "en" else "它")[0]) == 16
