"""draw/: the film of one number fitted to points: the fit against NumPy's, the picture, and files that people have."""

import json
import sys
from hashlib import sha256
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import cases
from hypothesis import assume, given
from hypothesis import strategies as st
from pictures import assert_described, assert_legible

import pellucid
from pellucid.cli import main
from pellucid.draw import Film
from pellucid.draw.backends.svg import still
from pellucid.draw.figures.one_parameter import one_parameter as layout
from pellucid.draw.views.labels import four_digits
from pellucid.draw.views.one_parameter import MOST_SHOWN, STEPS, OneParameterView, one_parameter_view
from pellucid.draw.views.points import MOST, NEBULAE, point_table


numbers = st.floats(-1e12, 1e12).filter(lambda value: value == 0 or abs(value) > 1e-9) | st.integers(-50, 50)
tables = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=40)


def fitted(points: Any) -> OneParameterView:
    return one_parameter_view(point_table(points), model="tiny", parameters=1234)


def texts(film: Film, t: float) -> list[str]:
    return [p["string"] for p in film.at(t) if p["kind"] == "text"]


@cases(60)
@given(points=tables)
def test_the_steps_are_those_of_gradient_descent_and_the_best_is_numpy_s(points: list[tuple[float, float]]) -> None:
    try:
        view = fitted(points)
    except pellucid.PellucidError as refused:
        assert len({x for x, _ in points}) == 1 or not any(y for _, y in points), refused
        return
    x, y = np.array(points, float).T
    best = np.linalg.lstsq(x[:, None], y, rcond=None)[0][0]
    largest = float(np.sqrt((y * y).mean() / (x * x).mean()))
    assert isclose(view.best.w, best, rel_tol=1e-9, abs_tol=1e-9 * largest)
    assert view.steps[0].w == (largest if abs(view.best.w) < 0.1 * largest else 0) or isclose(view.steps[0].w, largest)
    for before, after in zip(view.steps, view.steps[1:], strict=False):
        assert after.w == before.w - view.rate * before.slope
        assert after.error <= before.error * (1 + 1e-12)
        rest, was = after.w - view.best.w, before.w - view.best.w
        assert isclose(rest, was / 2, rel_tol=1e-6, abs_tol=1e-9 * largest)  # half of the way
    for step in (*view.steps, view.best):
        assert isclose(step.error, ((y - step.w * x) ** 2).mean(), rel_tol=1e-9, abs_tol=1e-15 * float((y * y).mean()))
        slope = (-2 * x * (y - step.w * x)).mean()
        assert isclose(step.slope, slope, rel_tol=1e-6, abs_tol=1e-9 * largest * float((x * x).mean()))
    assert len(view.steps) == STEPS + 1


@cases(5)
@given(points=tables, names=st.tuples(st.text(max_size=60), st.text(max_size=60)))
def test_every_table_gives_a_legible_film(points: list[tuple[float, float]], names: tuple[str, str]) -> None:
    assume(len({x for x, _ in points}) > 1 and any(y for _, y in points))
    table = point_table(points, x=names[0], y=names[1])
    view = one_parameter_view(table, model="tiny", parameters=5_918_720)
    for width, least in ((360, 11), (960, 12)):
        film = layout(view, width=width)
        assert_legible(film, least=least, moving=False)
        assert len(film.frames(48)) <= 48


def test_the_built_in_points_are_those_of_the_published_table() -> None:
    """Hubble's table 1: its mean is not printed there, but that of the line through 0 is in every textbook of regression."""
    view = fitted(None)
    assert len(view.points) == 24 and view.points[2] == (0.214, -130) and view.points[-1] == (2.0, 1090)
    assert four_digits(view.best.w) == "423.9"
    x, y = np.array(view.points).T
    assert np.polyfit(x, y, 1) == pytest.approx([454.16, -40.78], abs=0.01)


GOLDEN = {960: "ac33e099f56e3599", 360: "ac47b56de9b8e577"}


@pytest.mark.parametrize("width", GOLDEN)
def test_the_pictures_are_the_golden_ones(width: int) -> None:
    """To the byte, at every still. A change that is meant to be seen is looked at, and its digest written here."""
    film = layout(fitted(None), width=width)
    drawn = "".join(still(film, t) for t in film.stills())
    assert sha256(drawn.encode("utf-8")).hexdigest()[:16] == GOLDEN[width]


@pytest.mark.parametrize("width", (360, 960))
def test_the_film_is_legible_described_and_names_its_sources(width: int) -> None:
    film = pellucid.one_parameter(width=width)
    assert_legible(film)
    assert_described(film)
    sources = {p["shows"]["chunk"] for t in film.stills() for p in film.at(t) if p["shows"]}
    assert sources == {"points", "steps", "config"}
    assert any(NEBULAE.source in string for string in texts(film, 0.0))
    assert pellucid.one_parameter(width=width).to_json() == film.to_json()
    assert film.changes() == [(t, t) for t, _ in film.changes()]  # jumps only: no w between two steps is drawn


def test_the_picture_shows_each_step_s_numbers() -> None:
    view, film = fitted(None), layout(fitted(None))
    for number, step in enumerate(view.steps):
        rests = [start for segment in film.segments for start, _ in segment.rests]
        t = rests[4 + number]
        shown = texts(film, t)
        assert f"w = {four_digits(step.w)}" in shown and f"error = {four_digits(step.error)}" in shown
        residuals = [p for p in film.at(t) if p["kind"] == "rect" and p["fill"] == "#b35300"]
        assert sum(p["opacity"] for p in residuals) > 20
    assert "Now 1,234 of them" in texts(film, film.stills()[-1])


def test_the_last_number_is_that_of_the_embedded_model() -> None:
    count = pellucid.load().config.parameters()
    film = pellucid.one_parameter()
    assert f"Now {count:,} of them" in texts(film, film.stills()[-1]) and f"{count:,} numbers" in film.alt


def test_of_many_points_some_are_drawn_and_the_film_says_so() -> None:
    view = fitted([(i, 2 * i + i % 7) for i in range(1, 4000)])
    film = layout(view)
    drawn = {tuple(p["shows"]["index"]) for p in film.at(0) if p["shows"] and p["shows"]["chunk"] == "points" and p["label"]}
    assert len(drawn) == MOST_SHOWN and any(note.startswith("120 of 3,999 points") for note in film.notes)


def test_points_on_a_line_leave_no_error() -> None:
    film = layout(fitted([(i, 1.609344 * i) for i in range(1, 9)]))
    assert any("no error is left" in caption.text for caption in film.captions)


READ = {
    "plain": ("1,2\n2,4.5\n3,5\n", ("x", "y"), (2.0, 4.5)),
    "named": ("area,price\n1,2\n2,4.5\n3,5\n", ("area", "price"), (2.0, 4.5)),
    "semicolons and decimal commas": ("a;b\n1;2\n2;4,5\n3;5\n", ("a", "b"), (2.0, 4.5)),
    "tabs, empty lines and a last cell": ("1\t2\t\n\n2\t4,5\n \t \n3\t5", ("x", "y"), (2.0, 4.5)),
    "a byte order mark": ("\ufeffa,b\n1,2\n2,4.5\n3,5\n", ("a", "b"), (2.0, 4.5)),
    "quotes, a minus sign, exponents": ('"a, in m","b"\r\n"1",2\r\n\u22122e0,"4.5"\r\n3,+5\r\n', ("a, in m", "b"), (-2.0, 4.5)),
    "a spreadsheet's note": ("sep=;\nx;y\n1;2\n2;4,5\n3;5\n", ("x", "y"), (2.0, 4.5)),
}


@pytest.mark.parametrize("case", READ)
@pytest.mark.parametrize("encoding", ("utf-8", "utf-16"))
def test_files_that_people_have_are_read(case: str, encoding: str, tmp_path: Path) -> None:
    text, names, second = READ[case]
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    table = point_table(tmp_path / "a.csv")
    assert (table.x, table.y) == names and table.points[1] == second and len(table.points) == 3
    assert any("byte order mark" in remark for remark in table.remarks) == (encoding == "utf-16" or "\ufeff" in text)
    assert any("decimal commas" in remark for remark in table.remarks) == ("4,5" in text)


REFUSED = {
    "": "is empty",
    "x,y\n": "0 of at least 3 points",
    "1,2\n2,3\n": "2 of at least 3 points",
    "1,2\n2,n/a\n3,4\n5,\n": "line 2: 'n/a' is not a number (and 1 more line like it)",
    "a,b\n1,2\n2,3,4\n": "line 3: 3 columns: give two, x and y; separate columns by semicolons",
    "1\n2\n3\n": "line 1: 1 column: give two",
    "1;2\n1;3\n1;4\n": "x is 1 in every point",
    49 * "3,4\n": "x is 3 in every point",
    "1,0\n2,0\n3,0\n": "y is 0 in every point",
    "1;2,5\n2;3.5\n3;4\n": "a decimal comma in line 1 and a decimal point in line 2",
    "1,2\n2,3e13\n3,4\n": "line 2: 3e+13 is larger than 1e+12",
    "1e-12,2\n2e-12,3\n3e-12,4\n": "no x is larger than 1e-09",
    "1,2\n2,inf\n3,4\n": "line 2: 'inf' is not a number",
    "1,2\n2,1_0\n3,4\n": "line 2: '1_0' is not a number",
    '1,2\n2,"3\n': "line 2: unexpected end of data",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_fitted_is_refused_in_one_line(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    assert main(["figures", "--one-parameter", str(tmp_path / "a.csv"), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert REFUSED[text] in said and said.count("\n") == 1 and "a.csv" in said


@pytest.mark.parametrize("data", (b"1,2\n\xff,3\n", b"\xff\xfe1"))
def test_what_is_no_text_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(pellucid.PellucidError, match="is no text in UTF-8"):
        point_table(tmp_path / "a.csv")


def test_more_points_than_a_film_can_be_fitted_to_are_refused() -> None:
    assert len(point_table((i, i) for i in range(MOST)).points) == MOST
    with pytest.raises(pellucid.PellucidError, match="100,001 points, and at most 100,000 are fitted: give a part"):
        point_table((i, i) for i in range(MOST + 1))


WRONG = ([(1, 2), (2,), (3, 4)], [(1, 2), (2, "a"), (3, 4)], [(1, 2), (2, float("nan"))], 7, [1, 2, 3])


@pytest.mark.parametrize("wrong", WRONG)
def test_points_of_a_program_are_checked(wrong: Any) -> None:
    with pytest.raises(pellucid.PellucidError, match="points"):
        pellucid.one_parameter(wrong)


def test_the_command_draws_it_without_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text("area;price\n1;2\n2;4,5\n3;5\n", encoding="utf-8")
    for source, name in (([], NEBULAE.source), ([str(tmp_path / "a.csv")], "file a.csv")):
        words = ["figures", "--one-parameter", *source, "--out", str(tmp_path / "out"), "--format", "svg,html", "--json"]
        assert main(words) == 0
        printed, said = capsys.readouterr()
        files = [str(tmp_path / "out" / f"one-parameter.{kind}") for kind in ("svg", "html")]
        drawn = {"figure": "one-parameter", "record": None, "source": name, "files": files}
        assert json.loads(printed) == {"figures": [drawn], "missing": []}
        assert all(Path(file).stat().st_size > 1000 for file in files)
    assert "a.csv: Numbers have decimal commas.\n" in said
    assert main(["figures", "--out", str(tmp_path / "out")]) == 1
    assert "give --one-parameter" in capsys.readouterr().err


def test_what_can_be_drawn_is_drawn_and_the_rest_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    words = ["figures", "--one-parameter", "--out", str(tmp_path), "--json", "--format"]
    assert main([*words, "svg,png,html"]) == 0
    printed, said = capsys.readouterr()
    found = json.loads(printed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one-parameter.html", "one-parameter.svg"]
    assert [lack["figure"] for lack in found["missing"]] == ["*.png"]
    assert "pip install" in found["missing"][0]["why"] and "*.png" in said
    assert main([*words, "png"]) == 1
    assert "pip install" in capsys.readouterr().err


def test_names_of_columns_do_not_move_the_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "t\x1b[2J.csv"
    table.write_text("a\x1b[31mred,\u202e👨\u200d👩\n1,2\n2,3\n3,5\n", encoding="utf-8")
    assert main(["figures", "--one-parameter", str(table), "--out", str(tmp_path / "out"), "--format", "svg"]) == 0
    printed = capsys.readouterr().out
    assert printed.replace("\u200d", "").replace("\n", "").isprintable()
    assert "a\\x1b[31mred, \\u202e👨\u200d👩" in printed and "t\\x1b[2J.csv" in printed
