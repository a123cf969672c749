"""draw/: texts of any script. Every text has a width that every format keeps, and no character breaks an SVG."""

import io
import json
import re
import xml.etree.ElementTree as ElementTree
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from pellucid.draw import Film, FilmSegment, Text
from pellucid.draw.backends import raster, svg
from pellucid.draw.film.font import fit, text_width, wrap
from pellucid.draw.film.glyphs import FILES, WIDE_BOX, glyph
from pellucid.draw.film.text_runs import LONGEST, text_runs
from pellucid.text.graphemes import graphemes


SVG = "{http://www.w3.org/2000/svg}"
SCRIPTS = {
    "Chinese": "从前有一个国王，他有三个儿子。",
    "Arabic": "كان يا ما كان، في قديم الزمان",
    "Hindi": "एक समय की बात है, क्षत्रिय",
    "emoji": "👩‍👩‍👧🇩🇪👍🏽1️⃣❤️🏴\U000e0067\U000e0062\U000e007f",
    "Hebrew": "היה היה פעם",
    "Thai": "กาลครั้งหนึ่ง",
    "Korean": "옛날 옛적에",
    "Vietnamese": "Ngày xửa ngày xưa, tie\u0302\u0301ng",
    "controls": "\x00\x07\x1b\t\n\r\n\u2028\u2029\u202e\u200b\ufeff\ufffe\U0010ffff\ud800\udc00\u0301",
    "marks": "a" + "\u0301" * 40 + "e\u0301x\u0301\ufffd",
}
ANY = some.one_of(
    some.text(max_size=12),
    some.text(some.characters(), max_size=6),
    some.text("".join(SCRIPTS.values()) + "ab .,", max_size=16),
)
FACES = some.sampled_from(sorted(FILES))


def film(*strings: str, size: float = 20, **rest: Any) -> Film:
    nodes = tuple(Text(10, 30 + 30 * i, string, size, **rest) for i, string in enumerate(strings))
    return Film("texts", 400, 300, (FilmSegment("all", 0, 10, ((1, 10),)),), nodes, alt="Texts.")


@given(ANY, FACES)
@example("\ud800\udc00 \ufdd0\U0001fffe", ("sans", 400))
def test_the_runs_of_a_text_are_the_text_and_no_run_is_wider_than_its_room(text: str, face: tuple[str, int]) -> None:
    runs = text_runs(text, *face)
    assert text_width(text, 20, *face) == pytest.approx(sum(run.advance for run in runs) * 20 / 1000)
    for run in runs:
        assert 0 <= run.length <= run.advance and run.advance > 0
        assert run.advance <= LONGEST * len(graphemes(run.text))
        if not run.length:
            advance, contours = glyph(run.text, *face)
            assert advance == run.advance and all(x < advance + 400 for contour in contours for x, _, _ in contour)
    joined = "".join(run.text for run in runs)
    assert normalize("NFC", joined) == normalize("NFC", text)


@given(some.lists(ANY, min_size=1, max_size=4), FACES, some.sampled_from(["start", "middle", "end"]))
def test_every_text_is_a_well_formed_svg_in_which_its_width_is_kept(
    texts: list[str], face: tuple[str, int], anchor: str
) -> None:
    drawn = film(*texts, family=face[0], weight=face[1], anchor=anchor)
    for reader_fonts in (True, False):
        root = ElementTree.fromstring(svg.still(drawn, reader_fonts=reader_fonts).encode("utf-8"))
        assert reader_fonts or not list(root.iter(f"{SVG}text"))
        for element in root.iter(f"{SVG}text"):
            length = float(element.get("textLength", "nan"))
            middle = float(element.get("x", "nan"))
            assert length > 0 and element.get("lengthAdjust") == "spacingAndGlyphs" and element.text
            ends = [
                (left, left + width) for text in texts for width in [text_width(text, 20, *face)]
                for left in [10 - {"start": 0, "middle": width / 2, "end": width}[anchor]]
            ]  # fmt: skip
            assert any(left - 0.02 <= middle - length / 2 and middle + length / 2 <= right + 0.02 for left, right in ends)


@given(ANY, some.floats(0, 200), FACES)
def test_cut_and_broken_texts_fit_and_are_whole_clusters(text: str, width: float, face: tuple[str, int]) -> None:
    shown = fit(text, width, 16, *face)
    assert text_width(shown, 16, *face) <= width
    if shown not in (text, ""):
        kept = graphemes(shown.removesuffix("…"))
        assert shown.endswith("…") and kept == graphemes(text)[: len(kept)]
    if width > LONGEST * 16 / 1000:
        lines = wrap(text, width, 16, *face)
        assert all(text_width(line, 16, *face) <= width for line in lines)
        assert "".join(lines).replace(" ", "") == "".join(text.split()).replace(" ", "")


@pytest.mark.parametrize("name", SCRIPTS)
def test_pixels_show_chinese_and_byte_boxes_the_rest(name: str) -> None:
    """The picture of pixels has as much ink as letters have, inside of the width that the layout has."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    pytest.importorskip("resvg_py", reason="resvg-py is not installed")
    string = SCRIPTS[name][:12]
    picture = image.open(io.BytesIO(raster.png(film(string, size=20)))).convert("L").point(lambda value: 255 * (value < 200))
    left, top, right, bottom = picture.getbbox()
    assert left >= 8 and right <= 12 + text_width(string, 20) and top >= 5 and bottom <= 40
    assert right > 5 + text_width(string.rstrip(), 20)


def test_right_to_left_pieces_are_isolated_and_keep_their_words_in_order() -> None:
    root = ElementTree.fromstring(svg.still(film("a مرحبا، بك b", "שלום 12")).encode("utf-8"))
    found = [(e.text, e.get("direction"), e.get("unicode-bidi")) for e in root.iter(f"{SVG}text")]
    assert found == [("مرحبا، بك", "rtl", "isolate"), ("שלום", "rtl", "isolate")]


def test_wide_texts_break_anywhere_but_before_a_comma_and_after_a_quotation_mark() -> None:
    lines = wrap("他说：从前有一个国王，他有三个儿子。GPT 读了三本书", 16 * 6, 16)
    assert all(line[0] not in "，。：" for line in lines) and len(lines) <= 6
    for width in range(40, 200, 7):
        assert all(line[-1] not in "（“" for line in wrap("他说（从前）：“你好”，“再见”（“三个儿子”）。", width, 16))
    assert wrap("GPT 从前有一个国王", 16 * 6, 16)[0] == "GPT 从前有"[: len(wrap("GPT 从前有一个国王", 16 * 6, 16)[0])]
    assert len(wrap("GPT 从前有一个国王", 16 * 6, 16)[0]) > 4  # not broken at the space alone


def test_a_film_holds_the_runs_of_what_its_fonts_lack_and_no_others() -> None:
    written = json.loads(film("plain", "你 a", "\x07").to_json(glyphs=True))
    assert written["text_runs"] == {"sans-400": {"\x07": ["\x07"], "你 a": [["你", 1000, 1000, False], " ", "a"]}}
    assert set(written["glyphs"]["sans-400"]) == set("plain \x07")
    assert re.fullmatch(r"(M[-\d ]+([hvlq][-\d ]+)*z)+", written["glyphs"]["sans-400"]["\x07"][1])
    assert text_runs("\u202e")[0].advance == WIDE_BOX


def test_heavier_chinese_has_heavier_outlines_in_pixels() -> None:
    plain, heavy = (svg.still(film("中a", weight=weight), reader_fonts=False) for weight in (400, 600))
    assert "stroke" not in plain and heavy.count("stroke-width") == 1
    assert "stroke" not in svg.still(film("中a", weight=600))
