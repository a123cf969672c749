"""draw/: widths and outlines of the bundled fonts, and the colours."""

import hashlib
import io
import string
from importlib.resources import files
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pellucid.draw.backends.raster import png_of
from pellucid.draw.film import font, glyphs, palette
from pellucid.draw.film.truetype import EM
from pellucid.errors import PellucidError


FACES = sorted(glyphs.FILES)
SIGNS = "·↵⇥␣█▁▂▃▄▅▆▇→←↑↓…–—“”‘’×÷±≤≥≠≈∞√∑−─│┌┐└┘├┤┬┴┼"
LETTERS = string.ascii_letters + string.digits + string.punctuation + "äöüßéèñçåøŁłžŠœΑΩαβγδλμπσθЖжЯяЮіЇ½²₂€"


def is_in_a_font(character: str) -> bool:
    """Whether it is drawn by an outline of a font, and not as a byte box."""
    return any(character in glyphs.face(family, 400).characters for family in glyphs.FAMILIES)


@pytest.mark.parametrize(("family", "weight"), FACES)
def test_every_sign_that_pictures_use_is_there(family: str, weight: int) -> None:
    assert [c for c in LETTERS + SIGNS if not is_in_a_font(c)] == []
    assert [c for c in LETTERS if c not in glyphs.face(family, weight).characters] == []
    assert all(glyphs.path(c, family, weight) for c in LETTERS + SIGNS)
    assert glyphs.path(" ", family, weight) == ""


@pytest.mark.long
@pytest.mark.parametrize(("family", "weight"), FACES)
def test_advances_and_outlines_are_those_that_freetype_reads(family: str, weight: int) -> None:
    """The oracle: another reader of the same files."""
    image_font = pytest.importorskip("PIL.ImageFont", reason="Pillow is not installed")
    image, image_draw, image_chops = (pytest.importorskip(f"PIL.{name}") for name in ("Image", "ImageDraw", "ImageChops"))
    pytest.importorskip("resvg_py", reason="resvg-py is not installed")
    with files("pellucid.draw").joinpath("fonts", glyphs.FILES[family, weight]).open("rb") as opened:
        oracle = image_font.truetype(opened, EM, layout_engine=image_font.Layout.BASIC)
        for character in LETTERS:
            assert glyphs.advance(character, family, weight) == oracle.getlength(character), character
        for character in "agR&é@Ж":
            outline = f'<path transform="translate(100 1000)scale(1 -1)" d="{glyphs.path(character, family, weight)}"/>'
            svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="1400" height="1400">{outline}</svg>'
            ours = image.open(io.BytesIO(png_of(svg, 1400))).getchannel("A")
            theirs = image.new("L", (1400, 1400))
            image_draw.Draw(theirs).text((100, 1000), character, 255, oracle, anchor="ls")
            edges = image_chops.difference(ours, theirs).histogram()
            different = sum(edges[128:])
            assert different < 0.01 * theirs.histogram()[255], character  # of its ink: the edges alone


def test_digits_are_equally_wide() -> None:
    for family, weight in FACES:
        assert len({glyphs.advance(digit, family, weight) for digit in string.digits}) == 1


@pytest.mark.parametrize("character", ["\n", "\x1b", "\u202e", "\ud800", "\U0010ffff", "🙂👍"])
def test_a_byte_box_holds_its_bytes_in_its_own_room(character: str) -> None:
    for width in (glyphs.box_advance(character), 4000):
        xs = [x for contour in glyphs.byte_box(character, width) for x, _, _ in contour]
        assert min(xs) > 0 and max(xs) < width
    count = min(4, len(character.encode("utf-8", "surrogatepass")))
    drawn = sum(len(glyphs.glyph(digit, "mono")[1]) for digit in character.encode("utf-8", "surrogatepass").hex().upper()[:6])
    assert len(glyphs.byte_box(character, glyphs.box_advance(character))) >= 2 + min(drawn, count)
    assert glyphs.byte_box(character, 1500) != glyphs.byte_box("\x07", 1500)


def test_what_one_family_lacks_is_taken_from_the_other() -> None:
    assert glyphs.path("⇥", "mono") == glyphs.path("⇥", "sans") != ""
    assert glyphs.path("\ufffd") and len(glyphs.glyph("\ufffd")[1]) == 1 + len(glyphs.glyph("?")[1])


def test_the_chinese_font_holds_gb_2312_level_1_and_its_signs_in_equal_widths() -> None:
    found = glyphs.chinese_face()
    codes = [bytes([row, column]) for row in range(0xB0, 0xD8) for column in range(0xA1, 0xFF)]
    level_1 = [code.decode("gb2312") for code in codes if code < b"\xd7\xfa"]
    assert len(level_1) == 3755 and set(level_1) - set(found.characters) == set("锨耪谰毖")  # which the source file lacks
    assert set("，。、！？：；（）《》「」【】ひらがなカタカナㄅ") <= set(found.characters)
    assert set(found.advances) == {EM}
    assert all(found.contours(glyph) for character, glyph in found.characters.items() if character != "\u3000")
    assert not set(found.characters) & glyphs.outlined()


@given(some.text(max_size=40), some.floats(0, 300), some.sampled_from(FACES))
def test_text_never_leaves_the_width_it_is_fitted_to(text: str, width: float, face: tuple[str, int]) -> None:
    shown = font.fit(text, width, 16, *face)
    assert font.text_width(shown, 16, *face) <= width
    assert shown in (text, "") or (shown.endswith("…") and text.startswith(shown[:-1]))


@given(some.text(alphabet="ab Wi.中", max_size=60), some.floats(20, 300), some.one_of(some.none(), some.integers(1, 3)))
def test_lines_fit_and_lose_nothing(text: str, width: float, most: int | None) -> None:
    lines = font.wrap(text, width, 16, lines=most)
    assert all(font.text_width(line, 16) <= width for line in lines)
    assert most is None or len(lines) <= most
    if most is None:
        assert "".join(lines).replace(" ", "") == "".join(text.split())
    assert all(line == line.strip() != "" for line in lines[:-1])


def test_a_line_too_narrow_for_a_character_is_refused() -> None:
    with pytest.raises(PellucidError, match="holds no character"):
        font.wrap("word", 3, 16)
    with pytest.raises(PellucidError, match="no font serif 400"):
        font.text_width("a", 16, "serif")


def test_the_fonts_are_those_of_the_readme() -> None:
    folder = files("pellucid.draw").joinpath("fonts")
    readme = folder.joinpath("README.md").read_text(encoding="utf-8")
    for name in (*glyphs.FILES.values(), glyphs.CHINESE_FILE):
        content = folder.joinpath(name).read_bytes()
        assert len(content) < (1_500_000 if name == glyphs.CHINESE_FILE else 120_000)
        assert hashlib.sha256(content).hexdigest() in readme
    for licence in ("OFL-Inter.txt", "OFL-JetBrainsMono.txt"):
        text = folder.joinpath(licence).read_text(encoding="utf-8")
        assert "SIL OPEN FONT LICENSE Version 1.1" in text
        assert "with Reserved Font Name" not in text.split("PREAMBLE")[0]
    chinese = folder.joinpath("OFL-NotoSansSC.txt").read_text(encoding="utf-8")
    assert "SIL OPEN FONT LICENSE Version 1.1" in chinese and "Reserved Font Name 'Source'" in chinese.split("PREAMBLE")[0]


# Colours.


def test_text_can_be_read_on_every_colour() -> None:
    """WCAG 2.2, 1.4.3 (AA): 4.5 to 1."""
    assert palette.contrast("#000000", "#ffffff") == pytest.approx(21)
    for pale in palette.PALE:
        assert palette.contrast(palette.INK, pale) >= 4.5, pale
        assert palette.ink_on(pale) == palette.INK
    for strong in palette.STRONG:
        assert palette.contrast(strong, palette.PAPER) >= 4.5, strong
    for fill, strong in ((palette.PRETRAINING_FILL, palette.PRETRAINING), (palette.FINETUNING_FILL, palette.FINETUNING)):
        assert palette.contrast(fill, strong) >= 4.5  # the title of a frame
    assert palette.contrast(palette.QUIET, palette.PANEL) >= 4.5


# Viénot, Brettel, Mollon 1999: what a colour looks like without red (protanopia) or green (deuteranopia) cones, on linear RGB.
BLIND = {
    "protanopia": ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0)),
    "deuteranopia": ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0)),
}


def seen(colour: str, kind: str) -> tuple[float, ...]:
    linear = [palette._linear(channel / 255) for channel in palette.channels(colour)]
    return tuple(min(max(sum(w * v for w, v in zip(row, linear, strict=True)), 0), 1) for row in BLIND[kind])


def brightness(rgb: tuple[float, ...]) -> float:
    y = 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]
    return 116 * y ** (1 / 3) - 16 if y > 216 / 24389 else y * 24389 / 27


@pytest.mark.parametrize("kind", BLIND)
def test_palettes_do_not_need_hue(kind: str) -> None:
    """Brightness alone orders the sequential one, and each half of the diverging one; its halves differ in blue."""
    for name in ("sequential", "grey"):
        values = [brightness(seen(colour, kind)) for colour in palette.table(name)[::15]]
        assert all(a - b > 1.5 for a, b in pairwise(values)), name
    low, high = palette.table("diverging")[:129:16], palette.table("diverging")[255:127:-16]
    for half in (low, high):
        values = [brightness(seen(colour, kind)) for colour in half]
        assert all(b - a > 1.5 for a, b in pairwise(values))
    for cold, warm in zip(low[:-2], high[:-2], strict=False):
        (r0, _, b0), (r1, _, b1) = seen(cold, kind), seen(warm, kind)
        assert b0 - r0 > 0.05 and r1 - b1 > 0.05


def test_palettes_are_the_same_everywhere() -> None:
    tables = b"".join(palette.table_bytes(name) for name in palette.PALETTES)
    assert len(tables) == 3 * 768
    assert hashlib.sha256(tables).hexdigest() == "b61b66000fd13f7a9f7b23898c5a3e7d412578a46882ada295920b2741d440bf"
    assert palette.table("diverging")[128] == "#f7f7f7"
    with pytest.raises(PellucidError, match="no palette 'jet'"):
        palette.table("jet")
    with pytest.raises(PellucidError, match="not a colour"):
        palette.channels("#12345G")
