"""draw/figures: the frame that all figures share: the registry, sheets, timelines, pieces, numbers, rows of tokens."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import is_dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
from cases import cases
from finetuning_records import finetuning_record
from generation_records import CHINESE, EMOJI, generation
from hypothesis import given
from hypothesis import strategies as some
from pictures import assert_legible
from plan_records import plan_record
from priming_records import priming
from training_records import training_record

from pellucid.draw import Keyframes
from pellucid.draw.components.marks import diverging, earlier_width, flow, sequential
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, animate, instant, visible_during, visible_from
from pellucid.draw.figures import FIGURES, figure, figures_of
from pellucid.draw.views.labels import in_bytes, in_seconds, in_short, percent, three_digits
from pellucid.draw.views.model_info import read_model
from pellucid.draw.views.model_parts import block_name, level_name, matrix_name
from pellucid.draw.views.pieces import read_pieces
from pellucid.errors import PellucidError
from pellucid.record import KINDS, Record


def test_every_figure_says_what_it_is_and_how_to_make_its_record() -> None:
    for name, one in FIGURES.items():
        assert name.isidentifier() and one.kind in KINDS and one.command.startswith("pellucid ") and 20 < len(one.about) < 128
        assert one.layout.__name__ == name and one.view.__name__ == f"{name}_view" and one.layout.__doc__ and one.view.__doc__
    assert {name for kind in KINDS for name in figures_of(kind)} == set(FIGURES)


def test_what_cannot_be_drawn_is_refused_with_what_would_help() -> None:
    record = generation()
    with pytest.raises(PellucidError, match=r"no figure 'cat': there are .*tokens"):
        record.figure("cat")
    with pytest.raises(PellucidError, match="240 to 8192"):
        record.figure("tokens", width=200)
    for name in figures_of("training"):
        with pytest.raises(PellucidError, match=r"from a training record, and this is a generation record.*pellucid train"):
            figure(record, name)
    without = generation(leave_out=["generation/lens"])
    with pytest.raises(PellucidError, match=r"generation/lens/ids is not in this record.*pellucid xray"):
        without.figure("xray")


def test_a_record_gives_its_figure() -> None:
    record = generation()
    assert record.figure("tokens") == figure(record, "tokens") == FIGURES["tokens"].draw(record)
    assert record.figure("tokens", width=360).height > 360


def made(kind: str, blocks: int = 2) -> Record:
    """A record of the kind, of a model of so many blocks."""
    if kind == "training":
        return training_record(layers=blocks)
    makers: dict[str, Callable[..., Record]] = {
        "generation": generation, "finetuning": finetuning_record, "priming": priming, "plan": plan_record,
    }  # fmt: skip
    return makers[kind](blocks=blocks)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_laid_out_from_frozen_values_alone(name: str) -> None:
    """Once the values are read, the record is not asked again: it is closed here."""
    with made(FIGURES[name].kind) as record:
        view, whole = FIGURES[name].view(record), record.figure(name)
    assert is_dataclass(view) and view.__dataclass_params__.frozen and type(view).__doc__  # type: ignore[attr-defined]
    assert FIGURES[name].layout(view) == whole


@pytest.mark.parametrize("name", FIGURES)
def test_names_on_pictures_are_plain_and_blocks_are_counted_from_1(name: str) -> None:
    """Tensors' names stand where a mark is pointed at; in words a block is never number 0, and all of them have a number."""
    blocks = 3
    record = made(FIGURES[name].kind, blocks=blocks)
    found = set()
    for width in (360, 960):
        film = record.figure(name, width=width)
        drawn = [p for t in film.stills() for p in film.at(t)]
        strings = {p["string"] for p in drawn if p["kind"] == "text"}
        said = [*strings, film.alt, *film.notes, *(caption.text for caption in film.captions)]
        assert not [words for words in said if re.search(r"\b(c_attn|c_proj|c_fc|wte|wpe|h\.\d)\b", words)]
        numbers = re.findall(r"\bb(?:lock)? (\d+)\b", "; ".join([*said, *(p["label"] for p in drawn)]))
        found |= set(map(int, numbers))
    assert found <= set(range(1, blocks + 1))
    unnumbered = ("tokens", "windows", "pretraining", "loss", "context", "embedding", "timetable")
    assert found == set(range(1, blocks + 1)) or name in unnumbered


@cases(30)
@given(level=some.integers(0, 200))
def test_a_level_is_called_by_the_block_that_it_comes_out_of(level: int) -> None:
    assert level_name(level) == ("embedding" if level == 0 else f"after {block_name(level - 1)}")
    assert matrix_name(f"h.{level}.attn.c_attn") == f"block {level + 1}, attention: query, key, value"
    assert matrix_name("wpe") == "position embedding" and matrix_name("other.weight") == "other.weight"


SIZES = [(960, True, 540), (1920, True, 1080), (720, True, 405), (360, False, 640)]


@pytest.mark.parametrize(("width", "wide", "height"), SIZES)
def test_a_sheet_is_wide_or_upright(width: float, wide: bool, height: int) -> None:
    sheet = Sheet.of(width)
    assert sheet.wide is wide and round(sheet.h * sheet.scale) == height
    assert sheet.small * (1 if wide else 360 / width * sheet.scale) >= 11


# Timelines.

steps_of = some.lists(some.tuples(some.floats(0, 1.2), some.floats(0.1, 1.2), some.just("words")), min_size=1, max_size=4)


@given(some.lists(steps_of, min_size=1, max_size=4))
def test_transitions_follow_each_other_and_segments_are_long_enough(segments: list[list[tuple[float, float, str]]]) -> None:
    timeline = Timeline()
    transitions = [transition for i, segment in enumerate(segments) for transition in timeline.segment(f"part {i}", *segment)]
    assert transitions[0].start == 0 and all(a.end == b.start for a, b in pairwise(transitions))
    assert all(transition.start <= transition.settled <= transition.end for transition in transitions)
    for segment in timeline.segments():
        assert 5 <= segment.end - segment.start <= 10


def test_a_value_changes_with_its_transitions() -> None:
    timeline = Timeline()
    one, two = timeline.segment("a", (1.0, 1.0, ""), (1.0, 2.0, ""))
    assert visible_from(two) == Keyframes((0.0, 0.0), (3.0, 1.0))
    assert animate(0, (instant(4.0), 1)) == Keyframes((0, 0), (4.0, 1))
    assert animate(3.0, (one, 3.0)) == 3.0
    assert animate(0.0, (one, 5.0, "move"), (two, 1.0)) == Keyframes((0, 0.0), (1.0, 5.0, "move"), (2.0, 1.0))
    assert animate(0.0, (two, 5.0, "linear")) == Keyframes((0, 0.0), (2.0, 0.0), (3.0, 5.0, "linear"))
    assert animate(0, (one, 1, "settle")) == Keyframes((0, 0), (1.0, 1))
    there = visible_during([two])
    assert [there.at(t) for t in (0, 1.9, 2.0, 4.9, 5.0)] == [0, 0, 1, 1, 0]


def test_the_same_words_are_one_caption() -> None:
    timeline = Timeline()
    timeline.segment("a", (0, 2, "one"), (0, 3, "one"), (0, 1, "two"), (0, 1, ""))
    assert [(c.start, c.end, c.text) for c in timeline.captions()] == [(0, 5, "one"), (5, 6, "two")]


# Words.


def test_tokens_are_shown_with_spaces_bytes_and_whole_characters() -> None:
    pieces = read_pieces(generation())
    assert [pieces.shown(token) for token in (0, 11, CHINESE[0], EMOJI[0], 16, 17)] == [
        "·the", "↵", "\\xe4", "\\xf0", "\\x00", "·«é»"
    ]  # fmt: skip
    ids = [0, *CHINESE, 7, *EMOJI, 0]
    assert pieces.characters(ids) == [(1, 4, "中"), (5, 9, "🎉")]
    assert pieces.sentence(ids) == " the中 ship🎉 the"
    assert pieces.characters([CHINESE[0], 0, CHINESE[1]]) == []  # bytes that never become a character
    bare = read_pieces(generation(pieces=False))
    assert bare.shown(7) == "#7" and bare.described(7) == "token 7" and bare.sentence([7, 8]) == "#7 #8"


@pytest.mark.parametrize(
    ("share", "words"),
    [(1, "100%"), (0.9996, ">99.9%"), (0.997, "99.7%"), (0.42, "42%"), (0.0994, "9.9%"), (0.031, "3.1%"), (0.002, "0.20%"),
     (1e-6, "<0.01%"), (0, "0%")],
)  # fmt: skip
def test_a_probability_never_claims_more_than_it_is(share: float, words: str) -> None:
    assert percent(share) == words


@given(some.floats(1e-30, 1e14))
def test_three_digits_are_right_to_half_a_percent(value: float) -> None:
    number = three_digits(value).replace(" × 10", "e").translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-"))
    assert abs(float(number) - value) <= value * 0.0051


def test_numbers_have_units() -> None:
    assert [in_bytes(n) for n in (512, 1000, 49_152, 9_663_676_416)] == ["512 bytes", "1.00 kB", "49.2 kB", "9.66 GB"]
    assert [in_seconds(s) for s in (0.0123, 0.99951, 12.34)] == ["12.3 ms", "1.00 s", "12.3 s"]
    assert [in_short(n) for n in (9999, 5_918_720, 174_600_000_000)] == ["9,999", "5.92 M", "175 B"]


def test_the_footer_names_the_model() -> None:
    assert read_model(generation()).footer == ("made-up: 12,345 parameters", "seed 7 · model 01234567")


@pytest.mark.parametrize(
    ("known", "line"),
    [({"seed": 2**64 - 1}, "seed 18446744073709551615 · model 01234567"),
     ({"seed": 2**32 - 1, "step": 600_000, "checkpoint": "step-00600000"}, "seed 4294967295 · step 600,000 · model 01234567")],
)  # fmt: skip
def test_the_footer_is_whole_and_explains_the_clock(known: dict[str, Any], line: str) -> None:
    record = generation()
    record.provenance = replace(record.provenance, **known)
    timeline = Timeline()
    timeline.segment("a", (0, 5, "words"))
    for width in (360, 960):
        film = Sheet.of(width).film(read_model(record), "A title", [], timeline, alt="", measured=True)
        shown = [p["string"] for p in film.at(0) if p["kind"] == "text"]
        assert "measured" in shown and not any("…" in string for string in shown)
        assert any(string.endswith(line) for string in shown)
        assert_legible(film, least=11)


def test_drawing_figures_loads_no_torch() -> None:
    code = "import sys, pellucid.draw.figures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Rows and colours.


@given(some.lists(some.text("abc·", min_size=1, max_size=30), max_size=60), some.floats(200, 912), some.integers(1, 4))
def test_rows_of_tokens_keep_the_newest_and_never_overlap(strings: list[str], width: float, rows: int) -> None:
    places, hidden = flow(strings, 10, 20, width, 26, 14, rows=rows)
    assert len(places) == len(strings) and all(place is None for place in places[:hidden])
    shown = [place for place in places[hidden:] if place is not None]
    assert len(shown) == len(strings) - hidden
    for a, b in pairwise(shown):
        assert (a.y == b.y and a.right < b.x) or (b.y > a.bottom and b.x == 10)
    assert all(box.x >= 10 and box.right <= 10 + width + 1e-6 and box.y < 20 + rows * 30 for box in shown)
    if hidden and shown and shown[0].y == 20:  # a wide token leaves "… 2 earlier" alone in the first row
        assert shown[0].x >= 10 + earlier_width(hidden, 14)


def test_colours_stand_for_the_numbers_of_their_legend() -> None:
    assert list(sequential([[0.0, 0.5, 1.0]], 0, 1).data) == [0, 128, 255]
    assert list(diverging([[-2.0, 0.0, 2.0]], 2).data) == [1, 128, 255]
    with pytest.raises(AssertionError):
        diverging([[3.0]], 2)
