"""Preparing a run's text: what an interrupt leaves, what goes on, and what is shown meanwhile."""

import io
from pathlib import Path
from typing import Any

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from stories import story

import pellucid
from pellucid import events
from pellucid.cli.display import RunDisplay
from pellucid.corpus import Document, documents, encoder
from pellucid.corpus.build import ENCODING, INDEXING, TRAINING
from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.locks import locked
from pellucid.runs.files import RUN_FILE
from pellucid.training.prepare import DRAFT, new_run


CONFIG = GPTConfig(vocab_size=300, n_ctx=32, n_layers=1, d_model=16, n_heads=2)
TEXT = [Document(str(seed), story(150, seed)) for seed in range(8)]


@pytest.fixture(scope="module", autouse=True)
def small_steps() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "PART_CHARS", 200)
        patch.setattr("pellucid.corpus.build._PROGRESS_CHARS", 300)
        patch.setattr(encoder, "GROUP_CHARS", 300)
        patch.setattr(encoder, "SAVE_CHARS", 900)
        yield


def train(out: Path, *observers: events.Observer) -> pellucid.Run:
    return pellucid.train(TEXT, out, config=CONFIG, steps=1, batch_tokens=64, record=False, observers=observers)


def contents(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in [*(run / "corpus").iterdir(), run / RUN_FILE]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return contents(train(tmp_path_factory.mktemp("whole") / "run").path)


@cases(6)
@given(stage=st.sampled_from([INDEXING, TRAINING, ENCODING]), times=st.lists(st.integers(1, 12), min_size=1, max_size=3))
def test_an_interrupted_preparation_goes_on_or_leaves_nothing(
    stage: str, times: list[int], whole: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path_factory.mktemp("cut") / "deep" / "run"
    seen: list[str] = []

    def interrupt(event: events.Event) -> None:
        if isinstance(event, events.Progress):
            seen.append(event.stage)
            if seen.count(stage) == times[0]:
                raise KeyboardInterrupt

    while times:
        seen.clear()
        try:
            train(out, interrupt)
        except KeyboardInterrupt:
            times = times[1:]
            if stage != ENCODING:
                assert not out.parent.exists()
                return
            assert {path.name for path in out.iterdir()} <= {DRAFT, ".lock"}
            assert [path.name for path in (out / DRAFT).iterdir()] == [".corpus.partial"]
        else:
            break
    if times == []:
        seen.clear()
        run = train(out, lambda event: seen.append(getattr(event, "stage", "")))
        assert TRAINING not in seen  # it was trained before
        assert contents(run.path) == whole
        assert not (out / DRAFT).exists()


def test_a_run_that_another_process_prepares_is_left_alone(tmp_path: Path) -> None:
    draft = tmp_path / DRAFT
    draft.mkdir()
    (draft / "kept").write_text("theirs", encoding="utf-8")
    with locked(tmp_path), pytest.raises(PellucidError, match="in use"), new_run(tmp_path):
        pass
    assert (draft / "kept").exists()


def shown(*told: events.Event, terminal: bool) -> tuple[str, str]:
    """What a display writes to stdout and to stderr."""
    out, errors = (Console(file=io.StringIO(), force_terminal=terminal, width=100) for _ in range(2))
    with RunDisplay(console=out, errors=errors) as live:
        for event in told:
            live(event)
    return out.file.getvalue(), errors.file.getvalue()  # type: ignore[attr-defined]


@given(total=st.integers(1, 10**10), parts=st.integers(1, 4), stage=st.sampled_from([INDEXING, TRAINING, ENCODING]))
@cases(10)
def test_progress_is_a_line_on_a_terminal_and_nothing_elsewhere(total: int, parts: int, stage: str) -> None:
    told: list[events.Event] = [
        events.Progress(stage=stage, done=total * i // parts, total=total, unit="bytes") for i in range(1, parts + 1)
    ]
    assert shown(*told, terminal=False) == ("", "")
    out, errors = shown(*told, events.Progress(stage="the next", done=0), terminal=True)
    assert "the next" in out and stage not in out
    assert f"{stage}: {total / 1e6:,.1f} of {total / 1e6:,.1f} MB" in errors
    assert ("MB/s" in errors) == (parts > 1)
