"""Comparing: who is timed when, what a ratio means, and what the command prints. No speed is tested."""

import json
from collections.abc import Iterator

import pytest

from pellucid import bench
from pellucid.bench import compare
from pellucid.bench.compare import Comparison, Rounds, interleaved, run_subject, subjects, table, to_json
from pellucid.cli import main
from pellucid.errors import PellucidError


def test_both_take_turns_and_the_first_one_alternates() -> None:
    order: list[str] = []
    ours, peer = iter([9.0, 1.0, 2.0, 4.0]), iter([9.0, 2.0, 2.0, 2.0])

    def note(name: str, times: Iterator[float]) -> float:
        order.append(name)
        return next(times)

    found = interleaved(lambda: note("ours", ours), lambda: note("peer", peer), rounds=3, warm_ups=1)
    assert order == ["peer", "ours", "ours", "peer", "peer", "ours", "ours", "peer"]
    assert (found.ours, found.peers) == ((1.0, 2.0, 4.0), (2.0, 2.0, 2.0))  # the warm-up is left out
    assert found.ratio == 1.0
    with pytest.raises(PellucidError, match="rounds must be 1 or more"):
        interleaved(lambda: 1.0, lambda: 1.0, rounds=0)


def test_what_does_not_time_itself_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.5, 20.0, 22.0])
    monkeypatch.setattr(compare, "perf_counter", lambda: next(clock))
    assert interleaved(lambda: None, lambda: None, rounds=1, warm_ups=0) == Rounds((0.5,), (2.0,))


def test_a_ratio_above_one_is_better_for_rates_and_for_costs() -> None:
    rounds = Rounds(ours=(1.0, 2.0, 4.0), peers=(2.0, 6.0, 8.0))
    assert rounds.seconds("a", "p", per=4) == Comparison("a", 0.5, "s", "p", 1.5, 2.0)
    assert rounds.rate("a", "p", work=12) == Comparison("a", 6.0, "tokens/s", "p", 2.0, 2.0)


def test_subjects_are_the_modules_of_the_room() -> None:
    assert "xray" in subjects() and "compare" not in subjects()
    assert all(about and "\n" not in about for about in subjects().values())
    with pytest.raises(PellucidError, match=r"unknown subject 'speed': choose from .*xray"):
        run_subject("speed")
    assert bench.run_subject is run_subject


ROWS = [Comparison("train/tiny", 1234.5678, "tokens/s", "without", 1200.0, 1.0288)]


def test_the_table_and_the_json() -> None:
    lines = table(ROWS).splitlines()
    assert lines[1].split() == ["train/tiny", "1,235", "tokens/s", "1,200", "tokens/s", "without", "1.029"]
    assert "cores" in lines[-1] and "torch" in lines[-1]
    values = json.loads(json.dumps(to_json(ROWS), allow_nan=False))
    assert values["comparisons"] == [
        {"name": "train/tiny", "value": 1234.5678, "unit": "tokens/s", "peer": "without", "peer_value": 1200.0,
         "ratio": 1.0288}
    ]  # fmt: skip
    assert {"platform", "cores", "torch", "threads"} <= values["machine"].keys()


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[int] = []
    monkeypatch.setattr("pellucid.bench.xray.comparisons", lambda rounds: (asked.append(rounds), ROWS)[1])
    assert main(["bench", "xray", "--rounds", "2", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["comparisons"][0]["ratio"] == 1.0288 and "train/tiny" in err and asked == [2]
    assert main(["bench", "xray"]) == 0
    assert "train/tiny" in capsys.readouterr().out and asked == [2, 5]
    assert main(["bench"]) == 0 and main(["bench", "--json"]) == 0
    assert "xray" in capsys.readouterr().out
    assert main(["bench", "speed"]) == 1
    assert "unknown subject" in capsys.readouterr().err
