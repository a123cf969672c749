"""Points (x, y) for the film `one-parameter`: the built-in table, a CSV file, or pairs of numbers; each checked.

A CSV file has two columns, x and y, separated by commas, semicolons or tabs; the first line may name them. With semicolons or
tabs numbers may have decimal commas. What else a line may hold is refused, with its number.
"""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

from pellucid.arguments import as_float, path_of, shown
from pellucid.errors import PellucidError
from pellucid.files import reading
from pellucid.languages import mark, tr


FEWEST, MOST = 3, 100_000  # points of a table; each step of the descent computes with all of them
LARGEST, SMALLEST = 1e12, 1e-9  # of a number's size; of the largest x and y of a table
MOST_BYTES = 16 << 20  # of a file
LONGEST_NAME = 40  # characters of a column's name
NUMBER = re.compile(r"[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
SEPARATORS = {
    ";": mark("Columns are separated by semicolons."), "\t": mark("Columns are separated by tabs."),
    ",": mark("Columns are separated by commas."),
}  # fmt: skip

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PointTable:
    """Points and what is known of them.

    Attributes:
        points: (x, y) each. names: of the points, "" for one without. x, y: the names of the columns.
        source: where the numbers are from, in a few words, which stand on the picture.
        remarks: how a file was read, a sentence each.
    """

    points: tuple[Point, ...]
    names: tuple[str, ...]
    x: str
    y: str
    source: str
    remarks: tuple[str, ...] = ()


_NEBULAE = (
    ("S. Mag.", 0.032, 170), ("L. Mag.", 0.034, 290), ("N.G.C. 6822", 0.214, -130), ("N.G.C. 598", 0.263, -70),
    ("N.G.C. 221", 0.275, -185), ("N.G.C. 224", 0.275, -220), ("N.G.C. 5457", 0.45, 200), ("N.G.C. 4736", 0.5, 290),
    ("N.G.C. 5194", 0.5, 270), ("N.G.C. 4449", 0.63, 200), ("N.G.C. 4214", 0.8, 300), ("N.G.C. 3031", 0.9, -30),
    ("N.G.C. 3627", 0.9, 650), ("N.G.C. 4826", 0.9, 150), ("N.G.C. 5236", 0.9, 500), ("N.G.C. 1068", 1.0, 920),
    ("N.G.C. 5055", 1.1, 450), ("N.G.C. 7331", 1.1, 500), ("N.G.C. 4258", 1.4, 500), ("N.G.C. 4151", 1.7, 960),
    ("N.G.C. 4382", 2.0, 500), ("N.G.C. 4472", 2.0, 850), ("N.G.C. 4486", 2.0, 800), ("N.G.C. 4649", 2.0, 1090),
)  # fmt: skip
# E. Hubble, "A relation between distance and radial velocity among extra-galactic nebulae", Proceedings of the National Academy
# of Sciences 15 (1929), 168-173, table 1: r in units of 10^6 parsecs, v in km/s.
NEBULAE = PointTable(
    points=tuple((distance, float(velocity)) for _, distance, velocity in _NEBULAE),
    names=tuple(name for name, _, _ in _NEBULAE),
    x=mark("a galaxy's distance, million parsecs"),
    y=mark("a galaxy's velocity away from us, km/s"),
    source=mark("E. Hubble, PNAS 15 (1929), 168, table 1"),
)


def point_table(points: Any = None, *, x: str = "x", y: str = "y") -> PointTable:
    """The built-in table for None, a CSV file's for a path, else that of (x, y) pairs; a table as it is.

    Args:
        x, y: the names of the columns of pairs.

    Raises:
        PellucidError: not such a table; fewer than three points, or more than 100,000; x all equal; y all 0;
            numbers too large or too small.
    """
    if points is None:
        return replace(NEBULAE, x=tr(NEBULAE.x), y=tr(NEBULAE.y), source=tr(NEBULAE.source))
    if isinstance(points, PointTable):
        return points
    if isinstance(points, str | Path):
        return read_points(points)
    try:
        pairs = list(points)
    except TypeError:
        raise PellucidError(f"points must be pairs (x, y) or a CSV file, not {shown(points)}") from None
    found = tuple(_pair(number, pair) for number, pair in enumerate(pairs))
    table = PointTable(points=found, names=("",) * len(found), x=_name(x), y=_name(y), source=tr("points given by a program"))
    _check(table, "points")
    return table


def read_points(path: str | Path) -> PointTable:
    """The table of a CSV file of two columns.

    Raises:
        PellucidError: it cannot be read, is no such file, or its points cannot be fitted; the message names the line.
    """
    path = path_of("points", path)
    text, remarks = _text(path)
    separator = _separator(text)
    rows = _rows(text, separator, path)
    if rows and rows[0][1][0].lower() in ("sep=", f"sep={separator}") and not any(rows[0][1][1:]):  # a spreadsheet's note
        rows = rows[1:]
    if not rows:
        raise PellucidError(f"{path} is empty: give a line for each point, x and y")
    for line, cells in rows:
        if len(cells) != 2:
            columns = "1 column" if len(cells) == 1 else f"{len(cells)} columns"
            hint = "; separate columns by semicolons where numbers have decimal commas" if separator == "," else ""
            raise PellucidError(f"{path}, line {line}: {columns}: give two, x and y{hint}")
    names = ("x", "y")
    if not any(_is_number(cell, separator) for cell in rows[0][1]):
        names = (_name(rows[0][1][0]) or "x", _name(rows[0][1][1]) or "y")
        remarks.append(tr("The first line names the columns: {x}, {y}.", x=names[0], y=names[1]))
        rows = rows[1:]
    remarks.append(tr(SEPARATORS[separator]))
    _check_numbers(rows, separator, path)
    if any("," in cell for _, cells in rows for cell in cells):
        remarks.append(tr("Numbers have decimal commas."))
    points = tuple((_value(cells[0]), _value(cells[1])) for _, cells in rows)
    table = PointTable(
        points=points, names=tuple(f"line {line}" for line, _ in rows), x=names[0], y=names[1],
        source=tr("file {name}", name=path.name),
        remarks=tuple(remarks),
    )  # fmt: skip
    _check(table, str(path))  # names the line in English, as every error does
    return replace(table, names=tuple(tr("line {number}", number=line) for line, _ in rows))


def _text(path: Path) -> tuple[str, list[str]]:
    """A file's text, and a remark where it begins with a byte order mark."""
    try:
        with reading(path) as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise PellucidError(f"cannot read points from {path}: {error.strerror or error}") from error
    if len(data) > MOST_BYTES:
        raise PellucidError(f"{path} has more than {MOST_BYTES:,} bytes: give a part of it")
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise PellucidError(f"{path} is no text in UTF-8: save it as CSV UTF-8") from None
    marked = encoding == "utf-16" or data[:3] == b"\xef\xbb\xbf"
    return text, [tr("The file begins with a byte order mark.")] if marked else []


def _separator(text: str) -> str:
    """What separates columns in the last line, which holds numbers: a semicolon or a tab where there is one."""
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    return next((separator for separator in SEPARATORS if separator in last), ",")


def _rows(text: str, separator: str, path: Path) -> list[tuple[int, list[str]]]:
    """The lines that are not empty, with their numbers; empty cells after the second are left out."""
    found = []
    rows = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for cells in rows:
            cells = [" ".join(cell.replace("\ufeff", "").split()) for cell in cells]
            while len(cells) > 2 and not cells[-1]:
                cells.pop()
            if any(cells):
                found.append((rows.line_num, cells))
    except csv.Error as error:
        raise PellucidError(f"{path}, line {rows.line_num}: {error}") from None
    return found


def _is_number(cell: str, separator: str) -> bool:
    return NUMBER.fullmatch(cell.replace("\u2212", "-")) is not None and not (separator == "," and "," in cell)


def _value(cell: str) -> float:
    return float(cell.replace("\u2212", "-").replace(",", "."))


def _check_numbers(rows: list[tuple[int, list[str]]], separator: str, path: Path) -> None:
    wrong = [(line, cell) for line, cells in rows for cell in cells if not _is_number(cell, separator)]
    if wrong:
        line, cell = wrong[0]
        others = len({number for number, _ in wrong}) - 1
        more = "" if not others else f" (and {others:,} more lines like it)" if others > 1 else " (and 1 more line like it)"
        raise PellucidError(f"{path}, line {line}: {shown(cell)} is not a number{more}: correct it or leave the line out")
    commas = [line for line, cells in rows if any("," in cell for cell in cells)]
    points = [line for line, cells in rows if any("." in cell for cell in cells)]
    if commas and points:
        comma, point = commas[0], points[0]
        raise PellucidError(f"{path}: a decimal comma in line {comma} and a decimal point in line {point}: use one of them")


def _pair(number: int, pair: Any) -> Point:
    try:
        x, y = pair
    except (TypeError, ValueError):
        raise PellucidError(f"points[{number}] must be a pair (x, y), not {shown(pair)}") from None
    one, other = as_float(x), as_float(y)
    if one is None or other is None:
        raise PellucidError(f"points[{number}] must be two finite numbers, not {shown(pair)}")
    return one, other


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise PellucidError(f"the names x and y of points must be text, not {shown(name)}")
    name = " ".join(name.split())
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _check(table: PointTable, where: str) -> None:
    """Raises PellucidError for points to which no w can be fitted, or which no axis can show."""
    points: Iterable[Point] = table.points
    if len(table.points) > MOST:
        raise PellucidError(f"{where}: {len(table.points):,} points, and at most {MOST:,} are fitted: give a part of them")
    if len(table.points) < FEWEST:
        raise PellucidError(f"{where}: {len(table.points)} of at least {FEWEST} points: give more")
    for number, point in enumerate(points):
        for value in point:
            if abs(value) > LARGEST:
                place = table.names[number] or f"point {number}"
                raise PellucidError(f"{where}, {place}: {value:g} is larger than {LARGEST:g}: use a larger unit")
    xs, ys = zip(*table.points, strict=True)
    if len(set(xs)) == 1:
        raise PellucidError(f"{where}: x is {xs[0]:g} in every point: a line needs points with different x")
    if not any(ys):
        raise PellucidError(f"{where}: y is 0 in every point: there is nothing to fit")
    for name, values in (("x", xs), ("y", ys)):
        if max(map(abs, values)) < SMALLEST:
            raise PellucidError(f"{where}: no {name} is larger than {SMALLEST:g}: use a smaller unit")
