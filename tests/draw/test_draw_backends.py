"""draw/: the back ends. What is written is well-formed, the same twice, small enough, and shows what the film says."""

import hashlib
import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zlib
from pathlib import Path as FilePath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pellucid.draw import Caption, Clip, Film, FilmSegment, Gradient, Group, Image, Keyframes, Matrix, Path, Rect, Shows, Text
from pellucid.draw.backends import animation, png, raster, svg
from pellucid.draw.backends.html import PageFigure, gallery, page, player
from pellucid.draw.components import parts
from pellucid.draw.film import palette
from pellucid.draw.film.font import text_width
from pellucid.errors import PellucidError


SVG = "{http://www.w3.org/2000/svg}"
NASTY = "<script>alert('&')</script> \"]]>\x00\x1b￾\ud800 --> </text>"


def zoo(**rest: Any) -> Film:
    """A film with every kind of node, of which some moves."""
    weights = Matrix.of([[(17 * row + 5 * column) % 256 for column in range(12)] for row in range(8)])
    nodes = (
        Rect(Keyframes((0, 10), (2, 200, "move")), 10, 60, 30, 6, Gradient(palette.TRAINED), palette.FOLLOWED, 2, id="model"),
        Text(
            20, 80, Keyframes((0, "step 0"), (1, "step 10 中")), 18, 600, label="a label",
            shows=Shows("steps", (), 10, "replayed"),
        ),
        Path(
            (("M", 10, 150), ("Q", 60, 90, 110, 150), ("L", 200, 150)),
            stroke=palette.INPUT,
            draw=Keyframes((0, 0), (2, 1, "linear")),
        ),
        Image(weights, "diverging", 220, 60, 120, 80, label="weights"),
        Clip((Text(10, 190, "clipped here", 20, family="mono"),), 10, 170, 90, 30),
        Group(
            (Rect(0, 0, 20, 20, fill="#123456"), Rect(0, 0, 9, 9)),
            x=300,
            y=150,
            scale=1.5,
            opacity=Keyframes((0, 0), (1, 1, "linear")),
        ),
        parts.measured(Text(380, 195, "1.5 s", 14, anchor="end", shows=Shows("timings", (0,), None, "measured"))),
    )
    attributes = {
        "title": "A zoo",
        "width": 400,
        "height": 200,
        "segments": (FilmSegment("moves", 0, 5, ((2, 5),)), FilmSegment("rests", 5, 10, ((6, 9),))),
        "nodes": nodes,
        "captions": (Caption(0, 2, "It moves."), Caption(2, 10, "It rests.")),
        "alt": "All kinds.",
        "notes": ("Toy.",),
    }
    return Film(**{**attributes, **rest})


# PNG of a matrix.


@given(some.binary(max_size=3000))
def test_our_deflate_is_read_by_zlib(data: bytes) -> None:
    assert zlib.decompress(png.deflate(data)) == data


@pytest.mark.parametrize(
    "data",
    [
        b"a" * 70_000,
        bytes(range(256)) * 300,
        b"ab" * 9 + bytes(i * i % 251 for i in range(80_000)),
        b"x" * 40_000 + b"y" + b"x" * 40_000,
    ],
)
def test_our_deflate_finds_matches(data: bytes) -> None:
    written = png.deflate(data)
    assert zlib.decompress(written) == data
    assert len(written) <= len(data) + 5 * (len(data) // 65535 + 1) + 6
    assert len(data) < 70_000 or len(written) < len(data) / 20


def test_a_matrix_is_a_png_of_its_cells() -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    matrix = Matrix.of([[0, 128, 255], [1, 2, 3]])
    read = image.open(io.BytesIO(png.encode(matrix, "sequential")))
    assert read.size == (3, 2)
    colours = palette.table("sequential")
    assert read.convert("RGB").tobytes() == bytes(c for value in matrix.data for c in palette.channels(colours[value]))


# SVG.


def test_an_svg_is_the_same_twice_and_everywhere() -> None:
    document = svg.still(zoo(), 1.5)
    assert document == svg.still(Film.from_json(zoo().to_json()), 1.5)
    code = (
        "import sys; from pellucid.draw import Film; from pellucid.draw.backends.svg import still; "
        "sys.stdout.buffer.write(still(Film.from_json(sys.stdin.buffer.read().decode('utf-8')), 1.5).encode('utf-8'))"
    )
    again = subprocess.run([sys.executable, "-c", code], input=zoo().to_json().encode("utf-8"), capture_output=True, check=True)
    assert again.stdout == document.encode("utf-8")
    digest = hashlib.sha256(document.encode("utf-8")).hexdigest()  # look at the picture before you change it
    assert digest == "70d35f890866a508966c1f0010c8608ded0af42bf67afca64e1da64b8273d7cc"


def test_an_svg_is_well_formed_and_says_what_it_shows() -> None:
    document = svg.still(zoo(), 1.5)
    root = ElementTree.fromstring(document)
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title").text == "A zoo"  # type: ignore[union-attr]
    assert root.find(f"{SVG}desc").text == "All kinds.\nSimplified: Toy."  # type: ignore[union-attr]
    assert {e.get("data-shows") for e in root.iter()} >= {"steps step 10, replayed", "timings[0], measured"}
    assert {e.get("data-text") for e in root.iter()} >= {"step 10 中", "clipped here", "1.5 s"}
    assert "a label\nsteps step 10, replayed" in {e.text for e in root.iter(f"{SVG}title")}
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    used = re.findall(r'(?:href="#|url\(#)([^")]+)', document)
    assert set(used) <= set(ids)
    assert [e.text for e in root.iter(f"{SVG}text")] == ["中"]  # the other letters are outlines: no font is needed
    outside = [
        v for e in root.iter() for k, v in e.attrib.items() if "://" in v or (k == "href" and v[0] != "#" and v[:5] != "data:")
    ]
    assert outside == []


def test_text_of_users_is_never_markup() -> None:
    nasty = zoo(
        title=NASTY, alt=NASTY, notes=(NASTY,), captions=(Caption(0, 10, NASTY),),
        segments=(FilmSegment(NASTY, 0, 10, ((9, 10),)),),
        nodes=(Text(0, 50, NASTY, label=NASTY, id=NASTY, shows=Shows(NASTY)),),
    )  # fmt: skip
    root = ElementTree.fromstring(svg.still(nasty, captions=True).encode("utf-8"))
    assert not any("script" in element.tag for element in root.iter())
    document = page(nasty)
    document.encode("utf-8")
    assert document.count("<script") == 2 and document.count("</script") == 2
    for raw in ("<script>alert", "\x00", "\x1b"):
        assert raw not in document


def test_a_large_still_is_small() -> None:
    """300 nodes and 600 letters: at most 200 kB."""
    words = [f"·token{i % 7}{'äß中Ж'[i % 4]}" for i in range(75)]
    tokens = [
        parts.token(word, 12.37 * i, 9.81 * i, 20, 12, id=f"t{i}", label=word, shows=Shows("tokens", (i,), 3, "given"))
        for i, word in enumerate(words)
    ]
    large = zoo(nodes=(*tokens, *(Rect(i * 3.33, 5.55, 2.22, 1.11, fill="#123456", stroke="#654321") for i in range(150))))
    drawn = large.at(0)
    assert len(drawn) == 300 and sum(len(p["string"]) for p in drawn if p["kind"] == "text") >= 600
    assert len(svg.still(large).encode("utf-8")) <= 200_000


def test_captions_have_a_band_of_their_own() -> None:
    long = "A caption so long that it takes more than one line on a picture as narrow as this one, to be sure."
    film = zoo(captions=(Caption(0, 4, long), Caption(4, 10, "Short.")))
    height, lines, size = svg.caption_band(film)
    assert lines == 2 and height >= lines * size
    for t in (0, 5):
        for primitive in svg.caption_primitives(film, t):
            if primitive["kind"] == "text":
                half = text_width(primitive["string"], primitive["size"]) / 2
                assert primitive["x"] - half >= 0 and primitive["x"] + half <= film.width
                assert film.height + size * 0.7 < primitive["y"] < film.height + height - size * 0.2
    assert svg.still(film) == svg.still(film, captions=False)
    assert ElementTree.fromstring(svg.still(film, captions=True)).get("height") == str(int(film.height + height))


# Pixels. The extra `pictures` may be missing: then these say so.


@pytest.fixture
def image() -> Any:
    pytest.importorskip("resvg_py", reason="resvg-py is not installed: pip install 'pellucid[pictures]'")
    return pytest.importorskip("PIL.Image", reason="Pillow is not installed: pip install 'pellucid[pictures]'")


@pytest.mark.parametrize("width", [200, 400, 800])
def test_a_png_has_the_right_colours_in_the_right_places(image: Any, width: int) -> None:
    content = raster.png(zoo(), 9, width=width)
    assert content == raster.png(zoo(), 9, width=width)
    picture = image.open(io.BytesIO(content)).convert("RGB")
    assert picture.size == (width, width // 2)
    scale = width / 400

    def at(x: float, y: float) -> tuple[int, int, int]:
        return picture.getpixel((int(x * scale), int(y * scale)))  # type: ignore[no-any-return]

    assert at(395, 5) == palette.channels(palette.PAPER)
    assert at(310, 160) == palette.channels("#123456")
    table = palette.table("diverging")
    assert at(225, 65) == palette.channels(table[0])  # cells are not smoothed
    assert at(225, 75) == palette.channels(table[17])
    assert at(335, 65) == palette.channels(table[55])
    assert at(150, 185) == palette.channels(palette.PAPER)  # behind the clip


def test_a_gif_has_few_frames_and_one_palette(image: Any) -> None:
    content = animation.gif(zoo(), width=200)
    assert content == animation.gif(zoo(), width=200)
    picture = image.open(io.BytesIO(content))
    frames = zoo().frames()
    assert picture.n_frames == len(frames) <= 48
    assert picture.info["loop"] == 0
    total, seen = 0, set()
    for i in range(picture.n_frames):
        picture.seek(i)
        total += picture.info["duration"]
        seen |= {colour for _, colour in picture.convert("RGB").getcolors(10_000)}
    assert total == 10_000
    assert len(seen) <= 256
    assert palette.channels(palette.PAPER) in seen
    tables, descriptors = gif_tables(content)
    assert (tables, descriptors) == (256, [False] * len(frames))


def gif_tables(content: bytes) -> tuple[int, list[bool]]:
    """(colours of the global table, whether each picture has a table of its own), by the GIF89a specification."""
    at = 13 + 3 * (2 << (content[10] & 7))
    own = []
    while content[at] != 0x3B:
        if content[at] == 0x2C:
            own.append(bool(content[at + 9] & 128))
            at += 11 + (3 * (2 << (content[at + 9] & 7)) if own[-1] else 0)
        else:
            at += 2
        while content[at]:
            at += content[at] + 1
        at += 1
    return 2 << (content[10] & 7), own


def test_the_colours_of_a_gif_are_near_the_true_ones(image: Any) -> None:
    film = zoo(nodes=(Image(Matrix.of([list(range(256))]), "sequential", 0, 0, 400, 200),), captions=())
    wanted = image.open(io.BytesIO(raster.png(film, width=256))).convert("RGB").tobytes()
    shown = image.open(io.BytesIO(animation.gif(film, width=256))).convert("RGB").tobytes()
    assert max(abs(a - b) for a, b in zip(wanted, shown, strict=True)) <= 6


def test_the_gradient_of_a_model_comes_out_without_bands_beside_all_colours_of_matrices(image: Any) -> None:
    """No channel of it is more than 3 of 255 from its own; of a palette of 64 colours it would be 12."""
    others = [Image(Matrix.of([list(range(256))]), name, 0, 100 + 30 * i, 400, 30) for i, name in enumerate(palette.PALETTES)]
    film = zoo(nodes=(Rect(0, 0, 400, 100, fill=Gradient(palette.TRAINED)), *others), captions=())
    wanted, shown = (
        image.open(io.BytesIO(content)).convert("RGB").crop((0, 0, 300, 75)).tobytes()
        for content in (raster.png(film, width=300), animation.gif(film, width=300))
    )
    assert max(abs(a - b) for a, b in zip(wanted, shown, strict=True)) <= 3


def test_a_webp_moves_and_is_exact(image: Any) -> None:
    content = animation.webp(zoo(), width=200)
    assert content == animation.webp(zoo(), width=200)
    picture = image.open(io.BytesIO(content))
    assert picture.n_frames == len(zoo().frames())
    last = image.open(io.BytesIO(raster.png(zoo(), 9, width=200, captions=True))).convert("RGB")
    picture.seek(picture.n_frames - 1)
    assert picture.convert("RGB").tobytes() == last.tobytes()


def test_an_mp4_is_made_where_there_is_ffmpeg(image: Any, tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        animation.ffmpeg()
    except PellucidError as problem:
        pytest.skip(str(problem))
    content = animation.mp4(zoo(), width=101, max_frames=3)
    assert content[4:8] == b"ftyp"
    assert content == animation.mp4(zoo(), width=101, max_frames=3)
    monkeypatch.setattr(animation, "ENCODER", ("-c:v", "no-such-encoder"))
    with pytest.raises(PellucidError, match="ffmpeg could not make the MP4"):
        animation.mp4(zoo(), width=50, max_frames=3)
    monkeypatch.setattr(animation, "ffmpeg", lambda: str(tmp_path / "gone"))
    with pytest.raises(PellucidError, match="gone cannot be run"):
        animation.mp4(zoo(), width=50, max_frames=3)


def test_durations_do_not_drift() -> None:
    frames = Film(
        "thirds", 1, 1, (FilmSegment("s", 0, 10, ((9, 10),)),), (Rect(Keyframes((0, 0), (9, 900, "linear")), 0, 1, 1),)
    ).frames()
    durations = animation.milliseconds(frames)
    assert sum(durations) == 10_000 and all(duration % 10 == 0 and duration > 0 for duration in durations)


@pytest.mark.parametrize("kind", ["png", "gif", "webp"])
def test_a_missing_package_is_named(kind: str, tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(PellucidError, match=r"pip install 'pellucid\[pictures\]'"):
        zoo().save(tmp_path / f"zoo.{kind}")
    assert list(tmp_path.iterdir()) == []


def test_without_ffmpeg_an_mp4_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setattr(animation.shutil, "which", lambda _: None)
    with pytest.raises(PellucidError, match="pip install imageio-ffmpeg"):
        animation.mp4(zoo())


# The page.


def test_a_page_holds_its_films_once_and_stands_alone() -> None:
    wide, narrow = zoo(), zoo(width=240)
    second = PageFigure(heading="Second", film=zoo(title="B"))
    document = gallery("A run", [PageFigure(heading="First", film=wide, narrow=narrow), second])
    data = json.loads(re.search(r'class="pellucid-films">(.*?)</script>', document, re.DOTALL).group(1))  # type: ignore[union-attr]
    read = [{name: layout and Film.from_json(json.dumps(layout)) for name, layout in one.items()} for one in data["films"]]
    assert read == [{"wide": wide, "narrow": narrow}, {"wide": zoo(title="B"), "narrow": None}]
    for part in ("glyphs", "text_runs"):
        assert data[part] == json.loads(wide.to_json(glyphs=True))[part]  # the same letters, once for all
    assert document.count(player()) == 1
    bare = document.replace(player(), "")
    assert re.findall(r"(?:src|href)=\"(?!#|data:)", bare) == []
    assert {url for url in re.findall(r"\w+://[^\s\"'<]+", bare)} == {"http://www.w3.org/2000/svg"}
    words = ("default-src 'none'", ">First</h2>", "Transcript", "It moves.", "It rests.", "Simplified: Toy.")
    for part in (*words, svg.still(wide, prefix="f0-")):
        assert part in document
    ids = re.findall(r' id="([^"]+)"', bare)
    assert len(ids) == len(set(ids))
    assert page(wide) == page(zoo())


def test_a_page_refuses_what_does_not_fit() -> None:
    with pytest.raises(PellucidError, match="as many segments"):
        page(zoo(), zoo(segments=(FilmSegment("all", 0, 10, ((9, 10),)),)))
    with pytest.raises(PellucidError, match="needs a film"):
        gallery("nothing", [])


# Saving.


def test_saving_goes_by_suffix_and_is_whole_or_not_at_all(tmp_path: FilePath) -> None:
    for name in ("a.svg", "b.HTML"):
        path = zoo().save(tmp_path / name)
        assert path.read_text(encoding="utf-8").lstrip().startswith(("<svg", "<!doctype html>"))
    assert zoo().save(tmp_path / "t.svg", t=0).read_bytes() != (tmp_path / "a.svg").read_bytes()
    for name, rest, said in (
        ("a.jpg", {}, "no picture of the kind 'jpg'"),
        ("a", {}, "no picture of the kind ''"),
        ("a.gif", {"t": 1}, "leave t out"),
        ("a.svg", {"width": 9}, "leave width out"),
        ("a.svg", {"t": 99}, "from 0 to 10 s"),
        ("no/a.svg", {}, "cannot write"),
    ):
        with pytest.raises(PellucidError, match=said):
            zoo().save(tmp_path / name, **rest)  # type: ignore[arg-type]
    assert {path.name for path in tmp_path.iterdir()} == {"a.svg", "b.HTML", "t.svg"}
    (tmp_path / "full.svg").mkdir()
    with pytest.raises(PellucidError, match="cannot write"):
        zoo().save(tmp_path / "full.svg")
    assert not list(tmp_path.glob(".*"))


def test_a_size_that_makes_no_sense_is_refused() -> None:
    for width in (0, -5, 100_000):
        with pytest.raises(PellucidError, match="pixels wide"):
            raster.png(zoo(), width=width)


# Parts and the house.


@pytest.mark.parametrize("piece", ["a", "·robot", "中文", "·internationalization", ""])
@pytest.mark.parametrize("w", [None, 40.0])
def test_a_token_stays_in_its_box(piece: str, w: float | None) -> None:
    box, *words = zoo(nodes=(parts.token(piece, 10, 10, 24, 16, w=w),)).at(0)
    for word in words:
        half = text_width(word["string"], word["size"], "mono") / 2
        assert box["x"] < word["x"] - half and word["x"] + half < box["x"] + box["w"]
    assert w is not None or not words or words[0]["string"] == piece


@pytest.mark.parametrize("anchor", ["start", "middle", "end"])
def test_what_was_measured_carries_a_clock_in_its_own_room(anchor: str) -> None:
    number = Text(200, 50, "12 ms", 20, anchor=anchor, shows=Shows("timings", (), None, "measured"))
    clock, text = zoo(nodes=(parts.measured(number),)).at(0)
    right = max(x for _, *numbers in clock["d"] for x in numbers[::2])
    left = min(x for _, *numbers in clock["d"] for x in numbers[::2])
    end = text["x"] + text_width("12 ms", 20)
    assert right < text["x"]
    assert {"start": abs(left - 200), "middle": abs((left + end) / 2 - 200), "end": abs(end - 200)}[anchor] < 2
    assert text["shows"]["truth"] == clock["shows"]["truth"] == "measured"


def test_nothing_that_draws_is_random_or_looks_at_a_clock() -> None:
    folder = FilePath(svg.__file__).parents[1]
    sources = sorted(folder.rglob("*.py"))
    assert len(sources) > 10
    for path in sources:
        source = path.read_text(encoding="utf-8")
        modules = set(re.findall(r"^\s*(?:from|import) ([\w.]+)", source, re.MULTILINE))
        assert not {m for m in modules if m.split(".")[0] in ("random", "secrets", "time", "datetime", "torch")}, path.name
        assert not re.search(r"np\.random|Math\.random|Date\.now|performance\.now|getBoundingClientRect", source), path.name
        shapes = tuple(f"pellucid.gpt.{name}" for name in ("config", "pattern", "published"))  # no weights: those need torch
        rooms = ("draw", "record", "text", "arguments", "errors", "events", "files", "languages", "strict_json")
        allowed = ("pellucid.numpy_defaults", "pellucid.runs.recipe", *(f"pellucid.{room}" for room in rooms), *shapes)
        assert all(m.startswith(allowed) for m in modules if m.startswith("pellucid")), path.name
