"""studio/: the player in a browser, against Python's display lists; and what it does when it is used."""

import gzip
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path as FilePath
from typing import Any

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as some
from node import STUDIO, require_node_packages
from test_draw_backends import zoo
from test_draw_film import GOLDEN, film, trees

from pellucid.draw import Caption, Film, FilmSegment, Image, Keyframes, Matrix, Node, Rect, Shows, Text
from pellucid.draw.backends import raster
from pellucid.draw.backends.html import PageFigure, gallery, page, player
from pellucid.draw.backends.svg import fine
from pellucid.draw.film.font import text_width
from pellucid.draw.film.keyframes import rounded, text_of
from pellucid.draw.film.resolve import Primitive


NASTY = "<img src=x onerror=\"document.title='gone'\"><script>document.title='gone'</script>"


# In node: the two languages agree on every bit.


pytestmark = pytest.mark.long

ANSWER = """
import { createInterface } from "node:readline";
const { readFilm } = await import(process.argv[1]);
for await (const line of createInterface({ input: process.stdin })) {
  const { film, times } = JSON.parse(line);
  const read = readFilm(film);
  console.log(JSON.stringify(times.map((t) => read.at(t))));
}
"""


@pytest.fixture(scope="module")
def node() -> Iterator[Callable[[Any], Any]]:
    """The bundle in node: from {film, times} to the display lists."""
    path = shutil.which("node")
    if path is None:
        pytest.skip("node is not installed")
    bundle = (FilePath(raster.__file__).parents[2] / "assets" / "studio" / "player.js").as_uri()
    process = subprocess.Popen(
        [path, "--input-type=module", "--eval", ANSWER, bundle], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    )
    assert process.stdin is not None and process.stdout is not None

    def ask(told: Any) -> Any:
        print(json.dumps(told), file=process.stdin, flush=True)
        return json.loads(process.stdout.readline())  # type: ignore[union-attr]

    yield ask
    process.stdin.close()
    process.wait(30)
    process.stdout.close()


@cases()  # on a busy machine
@given(some.lists(trees, max_size=4), some.lists(some.floats(0, 10), min_size=3, max_size=3))
def test_two_languages_draw_the_same_bits(node: Callable[[Any], Any], nodes: list[Node], times: list[float]) -> None:
    one = film(*nodes)
    assert node({"film": json.loads(one.to_json()), "times": times}) == [one.at(t) for t in times]


# The bundles.


def test_the_player_is_small_and_stands_alone() -> None:
    assert len(gzip.compress(player().encode("utf-8"), 9)) <= 60_000
    told = player()
    assert player().isascii()
    assert not re.search(r"\bimport\b\s*[\w{(\"'*]|\brequire\(", told)
    assert not re.search(r"\beval\(|\bFunction\(|innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser", told)
    assert not re.search(r"Math\.random|Date\b|performance\.now|fetch\(|XMLHttpRequest|localStorage|cookie", told)
    assert set(re.findall(r"\w+://[^\s\"'`]+", told)) <= {"http://www.w3.org/2000/svg"}


def test_the_bundles_are_what_the_sources_give(tmp_path: FilePath) -> None:
    require_node_packages()
    subprocess.run(["node", "build.mjs", "--out", str(tmp_path)], cwd=STUDIO, check=True)
    shipped = FilePath(raster.__file__).parents[2] / "assets" / "studio"
    for made in sorted(tmp_path.iterdir()):
        assert made.read_bytes() == (shipped / made.name).read_bytes(), f"{made.name}: run npm run build in studio/"
    assert {made.name for made in tmp_path.iterdir()} == {kept.name for kept in shipped.iterdir()}


# In a browser.


@pytest.fixture
def shown(browser: Any, tmp_path: FilePath) -> Iterator[Callable[..., Any]]:
    """Opens a document. Fails afterwards if anything was said on the console, or if a request left the page."""
    contexts, heard = [], []

    def show(document: str, width: int = 960, **options: Any) -> Any:
        path = tmp_path / f"{len(contexts)}.html"
        path.write_text(document, encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        opened = context.new_page()
        opened.on("console", lambda message: heard.append(message.text))
        opened.on("pageerror", lambda problem: heard.append(str(problem)))
        own = (path.as_uri(), "data:", "blob:")
        opened.on("request", lambda asked: asked.url.startswith(own) or heard.append(asked.url))
        opened.goto(path.as_uri())
        return opened

    yield show
    for context in contexts:
        context.close()
    assert heard == []


def run(opened: Any, code: str, number: int = 0) -> Any:
    """Evaluates code that knows `p`, the page's player of that number."""
    return opened.evaluate(f"() => {{ const p = document.querySelectorAll('figure')[{number}].pellucid; return {code}; }}")


# What stands in the page: each visible mark's tag and attributes, as the display list says them.
MARKS = """[...p.host.shadowRoot.querySelectorAll('svg.picture [data-node]:not([display])')].map(outer => {
  const mark = outer.firstElementChild, all = e => Object.fromEntries([...e.attributes].map(a => [a.name, a.value]));
  const image = mark.querySelector('image:not([display])');
  const clip = outer.getAttribute('viewBox'), id = outer.dataset.id ?? '';
  const told = {node: +outer.dataset.node, tag: mark.localName, clip, id};
  const fill = mark.getAttribute('fill') ?? '', gradient = fill.startsWith('url(') &&
    [...p.host.shadowRoot.querySelectorAll(fill.slice(4, -1) + ' stop')].map(s => s.getAttribute('stop-color'));
  const {d, ...rest} = all(mark);
  return {...told, ...rest, ...('data-text' in rest ? {} : d ? {d} : {}), ...(gradient ? {fill: gradient} : {}),
    ...(image ? {cell: all(image)} : {})};
})"""


def expected(primitive: Primitive) -> dict[str, Any]:
    """The same from a primitive."""
    kind = primitive["kind"]
    told: dict[str, Any] = {"node": primitive["node"], "id": primitive["id"], "clip": None}
    told["tag"] = {"rect": "rect", "text": "path", "path": "path", "image": "g"}[kind]
    if primitive["clip"]:
        told["clip"] = " ".join(map(text_of, primitive["clip"]))
    if primitive["opacity"] < 1:
        told["opacity"] = text_of(primitive["opacity"])
    names = {"x": "x", "y": "y", "width": "w", "height": "h"}
    box = {name: text_of(primitive[key]) for name, key in names.items() if key in primitive}
    if kind in ("rect", "path"):
        fill = primitive["fill"]
        told["fill"] = fill["gradient"] if isinstance(fill, dict) else fill or "none"
        if primitive["stroke"]:
            told["stroke"] = primitive["stroke"]
            if primitive["stroke_width"] != 1:
                told["stroke-width"] = text_of(primitive["stroke_width"])
            if primitive["dash"]:
                told["stroke-dasharray"] = " ".join(map(text_of, primitive["dash"]))
    match kind:
        case "rect":
            return {**told, **box, **({"rx": text_of(primitive["rx"])} if primitive["rx"] else {})}
        case "path":
            d = "".join(name + " ".join(map(text_of, numbers)) for name, *numbers in primitive["d"])
            if primitive["stroke"] and not primitive["dash"]:
                told |= {"stroke-linejoin": "round", "stroke-linecap": "round"}
            return {**told, "d": d}
        case "text":
            width = text_width(primitive["string"], primitive["size"], primitive["family"], primitive["weight"])
            x = rounded(primitive["x"] - {"start": 0, "middle": width / 2, "end": width}[primitive["anchor"]])
            scale = fine(primitive["size"] / 1000)
            place = f"translate({text_of(x)} {text_of(primitive['y'])})scale({scale} -{scale})"
            return {**told, "fill": primitive["fill"], "data-text": primitive["string"], "transform": place}
    return {**told, "cell": {**box, "data-matrix": str(primitive["matrix"])}}


def test_every_golden_film_stands_in_the_page_as_its_lists_say(shown: Callable[..., Any]) -> None:
    cases = json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]
    films = [Film.from_json(json.dumps(case["film"])) for case in cases]
    opened = shown(gallery("Golden", [PageFigure(heading=one.title, film=one) for one in films]))
    for number, case in enumerate(cases):
        moments = case["at"] + case["at"][::-2]  # and back: what is shown does not depend on what was shown before
        lists = run(opened, f"{json.dumps([m['t'] for m in moments])}.map(t => {{ p.seek(t); return {MARKS}; }})", number)
        for moment, marks in zip(moments, lists, strict=True):
            for mark in marks:
                for name in ("href", "class", "preserveAspectRatio"):
                    mark.get("cell", {}).pop(name, None)
            assert marks == [expected(primitive) for primitive in moment["list"]], (case["name"], moment["t"])
    ids = opened.evaluate(
        "() => [...document.querySelectorAll('figure')].flatMap(f => "
        "[...f.pellucid.host.shadowRoot.querySelectorAll('[id]')].map(e => e.id))"
    )
    assert len(ids) >= 3 and len(ids) == len(set(ids))  # gradients: no two films share one


@pytest.mark.parametrize("t", [1.0, 6.0])
def test_the_picture_in_the_browser_looks_like_the_one_from_python(shown: Callable[..., Any], t: float) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    pytest.importorskip("resvg_py", reason="resvg-py is not installed")
    one = zoo()
    opened = shown(page(one), width=432)  # 400 and the page's margins
    run(opened, f"p.seek({t})")
    opened.add_style_tag(content="body { zoom: 1 }")
    box = opened.locator("svg.picture").bounding_box()
    taken = image.open(io.BytesIO(opened.locator("svg.picture").screenshot())).convert("RGB")
    drawn = image.open(io.BytesIO(raster.png(one, t, width=round(box["width"])))).convert("RGB")
    size = (100, 50)  # soft: the two smooth edges in their own ways, and frames start at fractions of pixels
    pairs = zip(taken.resize(size, 4).tobytes(), drawn.resize(size, 4).tobytes(), strict=True)
    differences = [abs(a - b) for a, b in pairs]
    assert sum(differences) / len(differences) < 2
    assert sum(d > 60 for d in differences) / len(differences) < 0.005


def test_nothing_plays_by_itself_and_the_buttons_play_and_pause(shown: Callable[..., Any]) -> None:
    opened = shown(page(zoo()))
    assert run(opened, "[p.t, p.playing, p.draws]") == [6, False, 1]
    opened.get_by_label("Speed").select_option("0.25")  # 40 s: time enough for the slowest machine
    opened.get_by_role("button", name="Play").click()
    opened.wait_for_function("() => document.querySelector('figure').pellucid.t > 0.1")
    assert run(opened, "p.playing && p.t < 6")  # from the start: at the last still nothing more would change
    opened.get_by_role("button", name="Pause").click()
    stands, draws = run(opened, "[p.t, p.draws]")
    opened.wait_for_timeout(60)
    assert run(opened, "[p.t, p.draws, p.playing]") == [stands, draws, False]


def test_playing_moves_the_time_as_the_browsers_frames_do_and_draws_only_what_changes(shown: Callable[..., Any]) -> None:
    opened = shown(page(zoo()))
    opened.evaluate("""() => {
      const waiting = [];
      window.requestAnimationFrame = (frame) => waiting.push(frame);
      window.cancelAnimationFrame = () => waiting.splice(0);
      window.frame = (ms) => waiting.splice(0, 1).forEach((frame) => frame(ms));
    }""")

    def frames(*moments: int) -> list[float]:
        told = run(opened, f"{json.dumps(moments)}.map(ms => {{ frame(ms); return p.t; }})")
        return [round(t, 6) for t in told]

    run(opened, "p.play()")
    assert frames(5000, 5100, 5150, 9999) == [0, 0.1, 0.15, 0.4]  # a page that was hidden goes on from where it was
    opened.get_by_label("Speed").select_option("2")
    assert frames(10099) == [0.6]
    opened.get_by_label("Speed").select_option("1")
    draws = run(opened, "(p.seek(4.7), p.play(), p.draws)")
    assert frames(0, 100, 200, 300) == [4.7, 4.8, 4.9, 5.0]
    assert run(opened, "[p.draws, p.playing]") == [draws, True]  # time goes on, but nothing changes: nothing is drawn
    run(opened, "(p.seek(1.5), p.play())")
    draws = run(opened, "p.draws")
    assert frames(0, 100, 200) == [1.5, 1.6, 1.7]
    assert run(opened, "p.draws") == draws + 2
    run(opened, "(p.seek(5.9), p.play())")
    assert frames(*range(0, 5000, 200))[-2:] == [10, 10]
    assert run(opened, "[p.t, p.playing]") == [10, False]
    assert run(opened, "(p.play(), [p.t, p.playing])") == [0, True]


def test_stepping_scrubbing_and_keys_move_the_time(shown: Callable[..., Any]) -> None:
    opened = shown(page(zoo()))
    opened.keyboard.press("Home")  # one film on a page: its keys work wherever the focus is
    assert run(opened, "p.t") == 0
    assert opened.locator(".caption").text_content() == "It moves."
    for key, t in (("ArrowRight", 2), ("ArrowRight", 6), ("ArrowRight", 6), ("ArrowLeft", 2), ("ArrowLeft", 0), ("End", 10)):
        opened.keyboard.press(key)
        assert run(opened, "p.t") == t, key
    opened.keyboard.press("Home")
    opened.keyboard.press(" ")
    assert run(opened, "p.playing")
    opened.keyboard.press(" ")
    assert not run(opened, "p.playing")
    opened.get_by_role("button", name="Step back").click()
    assert run(opened, "p.t") == 0
    opened.get_by_role("button", name="Step on").click()
    assert run(opened, "p.t") == 2
    opened.keyboard.press("Enter")  # a focused button keeps its own keys
    assert run(opened, "p.t") == 6
    slider = opened.get_by_role("slider", name="Time")
    slider.fill("1.25")
    assert run(opened, "p.t") == 1.25
    assert slider.get_attribute("aria-valuetext") == "1.3 of 10.0 s, moves"
    slider.press("ArrowRight")
    assert run(opened, "p.t") == 1.5
    box = slider.bounding_box()
    opened.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert abs(run(opened, "p.t") - 5) < 0.1
    opened.get_by_text("Transcript").click()
    opened.get_by_role("button", name="moves").click()
    assert run(opened, "p.t") == 2


def test_keys_of_several_players_are_their_own(shown: Callable[..., Any]) -> None:
    opened = shown(gallery("Two", [PageFigure(heading="One", film=zoo()), PageFigure(heading="Two", film=zoo(title="Second"))]))
    opened.keyboard.press("Home")
    assert [run(opened, "p.t", i) for i in (0, 1)] == [6, 6]  # nobody is meant
    opened.locator(".stage").nth(1).focus()
    opened.keyboard.press("Home")
    assert [run(opened, "p.t", i) for i in (0, 1)] == [6, 0]
    assert opened.get_by_role("link", name="Two").get_attribute("href") == "#figure-1"
    assert opened.content().count("<script") == 2  # the player stands there once


def test_less_motion_means_stills_also_while_it_runs(shown: Callable[..., Any]) -> None:
    opened = shown(page(zoo()), reduced_motion="reduce")
    assert opened.get_by_text("less motion").is_visible()
    assert not opened.locator("button.play").is_visible() and not opened.get_by_label("Speed").is_visible()
    for key, t in (("ArrowLeft", 2), ("ArrowLeft", 2), (" ", 2), ("ArrowRight", 6), ("Home", 2), ("End", 6)):
        opened.keyboard.press(key)
        assert run(opened, "[p.t, p.playing]") == [t, False], key
    slider = opened.get_by_role("slider", name="Time")
    assert slider.get_attribute("max") == "1"
    slider.fill("0")
    assert run(opened, "p.t") == 2
    assert slider.get_attribute("aria-valuetext") == "picture 1 of 2: moves"
    opened.emulate_media(reduced_motion="no-preference")
    opened.wait_for_function("() => !document.querySelector('figure').pellucid.host.shadowRoot.querySelector('.play').hidden")
    opened.get_by_label("Speed").select_option("0.25")
    opened.locator(".stage").focus()
    opened.keyboard.press("Home")
    opened.keyboard.press(" ")
    assert run(opened, "p.playing")
    opened.emulate_media(reduced_motion="reduce")
    opened.wait_for_function("() => !document.querySelector('figure').pellucid.playing")
    assert run(opened, "p.t") == 2  # the first still, though it had just begun


def test_the_width_of_the_player_chooses_the_layout(shown: Callable[..., Any]) -> None:
    wide, narrow = zoo(width=960, height=300), zoo(width=360, height=400)
    opened = shown(page(wide, narrow), width=960)
    run(opened, "p.seek(1.5)")
    for width, units in ((960, 960), (360, 360), (1920, 960), (660, 360), (700, 960)):
        opened.set_viewport_size({"width": width, "height": 800})
        opened.wait_for_function(f"() => document.querySelector('figure').pellucid.film.width === {units}")
        assert run(opened, "p.t") == 1.5
        assert run(opened, MARKS)[0]["x"] == expected((wide if units == 960 else narrow).at(1.5)[0])["x"]
        across = opened.evaluate("() => document.documentElement.scrollWidth")
        assert across <= width, "the page scrolls sideways"
        box = opened.locator("svg.picture").bounding_box()
        assert abs(box["width"] / box["height"] - (960 / 300 if units == 960 else 360 / 400)) < 0.02
    assert opened.locator("svg.picture").count() == 1


def test_layouts_with_other_times_show_the_same_moment(shown: Callable[..., Any]) -> None:
    times = (FilmSegment("moves", 0, 7.5, ((3, 7.5),)), FilmSegment("rests", 7.5, 13, ((8, 12),)))
    narrow = zoo(width=300, segments=times, captions=(Caption(0, 13, "Narrow."),), notes=("Less is shown.",))
    opened = shown(page(zoo(), narrow))

    def at(width: int) -> Any:
        opened.set_viewport_size({"width": width, "height": 800})
        units = 300 if width < 640 else 400
        opened.wait_for_function(f"() => document.querySelector('figure').pellucid.film.width === {units}")
        return run(opened, "p.t")

    assert [run(opened, "p.t"), at(360), at(960)] == [6, 8, 6]  # the same still
    run(opened, "p.seek(1)")
    assert at(360) == 1.5  # as far in the same segment
    assert opened.locator(".caption").text_content() == "Narrow."
    assert opened.locator(".note").all_text_contents() == ["Less is shown."]
    opened.keyboard.press("End")
    assert run(opened, "p.t") == 13
    assert at(960) == 10


def test_marks_say_what_they_show_to_pointer_and_keyboard(shown: Callable[..., Any]) -> None:
    weights = Matrix.of([[row * 16 + column for column in range(16)] for row in range(8)])
    nodes = (
        Rect(10, 10, 80, 40, fill="#d9f2dc", id="plain"),
        Rect(
            Keyframes((0, 100), (2, 200, "linear")), 10, 80, 40, fill="#fcdcea", label=NASTY, shows=Shows("logits", (0, 11), 4),
            id="told",
        ),
        Text(240, 36, "drawn over it", 12, anchor="middle"),
        Image(weights, "sequential", 10, 100, 160, 80, label="weights", shows=Shows("w", (), None, "replayed"), id="image"),
        Text(200, 150, "1.5 s", 20, id="clock", shows=Shows("timings", (3,), None, "measured")),
    )  # fmt: skip
    opened = shown(page(zoo(nodes=nodes)))
    tip, heard = opened.locator(".tip"), opened.locator("[aria-live].unseen")

    def said() -> list[str]:
        return [line for line in tip.locator("p").all_inner_texts() if line]

    def over(name: str, x: float = 0.5, y: float = 0.5) -> None:
        box = opened.locator(f"[data-id={name}]").bounding_box()
        opened.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])

    over("told")  # through the text above it, which says nothing of its own
    derived = "derived: anyone can compute it again from the checkpoint"
    assert said() == [NASTY, "logits[0,11], step 4", derived]
    over("plain")
    assert not tip.is_visible()
    over("image", x=3.5 / 16, y=2.5 / 8)
    assert "row 2, column 3: shade 35 of 0 to 255" in tip.inner_text()
    frame, cells = (opened.locator(selector).bounding_box() for selector in (".frame", ".cells:visible"))
    assert abs(frame["x"] + frame["width"] / 2 - (cells["x"] + cells["width"] * 3.5 / 16)) < 1  # around that cell
    assert "replayed" in tip.inner_text() and not tip.locator("svg").is_visible()
    over("clock")
    assert said()[:2] == ["1.5 s", "timings[3]"]
    assert "measured" in tip.inner_text() and tip.locator("svg").is_visible()
    stage, note = opened.locator(".stage").bounding_box(), tip.bounding_box()
    assert note["x"] >= stage["x"] and note["x"] + note["width"] <= stage["x"] + stage["width"]
    opened.keyboard.press("Escape")
    assert not tip.is_visible()

    opened.locator(".stage").focus()
    for part in ("logits[0,11]", "weights; w; replayed", "1.5 s; timings[3]", "logits[0,11]"):
        opened.keyboard.press("ArrowDown")
        assert part in heard.text_content() and tip.is_visible()
    opened.keyboard.press("ArrowUp")
    assert "timings[3]" in heard.text_content()
    assert run(opened, "p.host.shadowRoot.querySelector('.frame').getAttribute('display')") is None
    opened.keyboard.press("Escape")
    assert not tip.is_visible()
    assert opened.locator("ul.unseen li").all_text_contents() == ["drawn over it", "1.5 s"]
    assert opened.title() == "A zoo" and opened.locator("img").count() == 0


def test_text_of_users_is_never_markup_in_the_page(shown: Callable[..., Any]) -> None:
    nasty = zoo(
        title=NASTY, alt=NASTY, notes=(NASTY,), captions=(Caption(0, 10, NASTY),),
        segments=(FilmSegment(NASTY, 0, 10, ((9, 10),)),),
        nodes=(Text(0, 50, NASTY, 9, label=NASTY, id="nasty", shows=Shows(NASTY)),),
    )  # fmt: skip
    opened = shown(gallery(NASTY, [PageFigure(heading=NASTY, film=nasty)]))
    assert opened.title() == NASTY
    assert opened.locator("img").count() == 0
    assert run(opened, "p.host.shadowRoot.querySelectorAll('script, img').length") == 0
    assert run(opened, f"{MARKS}[0]['data-text']") == NASTY
    for selector in (".caption", ".note", "h2", ".caption"):
        assert NASTY in opened.locator(selector).first.text_content()


def test_without_scripts_there_is_the_last_still_and_the_transcript(shown: Callable[..., Any]) -> None:
    opened = shown(page(zoo()), java_script_enabled=False)
    box = opened.locator("figure > svg").bounding_box()
    assert box["width"] == 600 and abs(box["height"] - 300) <= 2
    opened.get_by_text("Transcript").click()
    for told in ("moves, 0 to 5 s: It moves. It rests.", "rests, 5 to 10 s: It rests.", "Simplified: Toy.", "All kinds."):
        assert opened.get_by_text(told).last.is_visible(), told


# What stands in for a notebook: the module from a Blob, twice, and a model with get, on and off.
NOTEBOOK = """async ({source, films}) => {
  const module = async () => (await import(URL.createObjectURL(new Blob([source], {type: "text/javascript"})))).default;
  const cell = document.body.appendChild(document.createElement("div"));
  const inner = cell.attachShadow({mode: "open"}).appendChild(document.createElement("div"));
  const outer = document.body.appendChild(document.createElement("div"));
  const heard = new Map();
  const model = {get: name => name === "film" ? films[0] : undefined, on: (e, f) => heard.set(e, f), off: e => heard.delete(e)};
  const ends = [(await module()).render({model, el: inner}), (await module()).render({model, el: outer})];
  const count = () => [inner, outer].map(el => el.childElementCount);
  const picture = el => el.firstElementChild.firstElementChild.shadowRoot.querySelector("svg.picture");
  const fill = el => picture(el).querySelector("[data-id=model] rect").getAttribute("fill");
  const told = {shown: count(), fills: [inner, outer].map(fill)};
  films[0] = films[1];
  heard.get("change:film")();
  told.changed = picture(outer).getAttribute("viewBox");
  ends.forEach(end => end());
  return {...told, ended: count(), left: heard.size};
}"""


def test_a_notebook_shows_several_and_takes_them_away_again(shown: Callable[..., Any]) -> None:
    opened = shown("<!doctype html><title>notebook</title>")
    films = [zoo().to_json(glyphs=True), zoo(width=480).to_json(glyphs=True)]
    told = opened.evaluate(NOTEBOOK, {"source": player(), "films": films})
    assert told["shown"] == [1, 1] and all(fill.startswith("url(#pellucid-") for fill in told["fills"])
    assert told["changed"] == "0 0 480 200"
    assert told["ended"] == [0, 0] and told["left"] == 0
