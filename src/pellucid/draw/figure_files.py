"""Draws every figure of some records into files: which record gives which figure, the files' names, what is missing."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from pellucid.arguments import path_of, whole_number
from pellucid.draw.backends.html import page
from pellucid.draw.backends.pool import Render, render_pool
from pellucid.draw.backends.raster import LARGEST, MissingPackageError
from pellucid.draw.backends.save import KINDS, check_packages
from pellucid.draw.figures import FIGURES, LacksChunk, figure, unknown_figure
from pellucid.draw.film.film import Film
from pellucid.errors import PellucidError
from pellucid.files import check_target, make_folder, write_whole
from pellucid.languages import tr
from pellucid.record import SUFFIX, Kind, check, open_record


SCREEN, PHONE = 960.0, 360.0  # widths of the two films of a figure


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFigure:
    """A figure that is to be drawn from one record.

    Attributes:
        figure: its name. record: the record's file. stem: the name of the figure's files, without a suffix.
    """

    figure: str
    record: Path
    stem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingFigure:
    """A figure or format that cannot be drawn, the reason, and the command that makes a record which has what it needs.

    Attributes:
        figure: its name; of a record that cannot be read, the file; of a format, "*.gif" for instance.
        command: None where another record is no help: this one is damaged or newer than this Pellucid, or a package is missing.
    """

    figure: str
    why: str
    command: str | None = None

    def __str__(self) -> str:
        if not self.command:
            return tr("not drawn: {figure}: {why}", figure=self.figure, why=self.why)
        return tr(
            "not drawn: {figure}: {why}; make one with: {command}", figure=self.figure, why=self.why, command=self.command
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnFigure:
    """A figure that was drawn: its films for a screen and for a phone, and the files that were written."""

    planned: PlannedFigure
    wide: Film
    narrow: Film
    files: tuple[Path, ...]


def find_records(paths: Sequence[str | Path]) -> list[Path]:
    """The record files among some paths, and those below the folders among them, in order, each once.

    Raises:
        PellucidError: no such file or folder, or no record below any of them.
    """
    found: list[Path] = []
    for path in (path_of("a record or folder", path) for path in paths):
        if path.is_dir():
            found += sorted(inside for inside in path.rglob(f"*{SUFFIX}") if inside.is_file())
        elif path.is_file():
            found.append(path)
        else:
            raise PellucidError(f"there is no record or folder {path}")
    if not found:
        places = ", ".join(map(str, paths))
        raise PellucidError(f"no record (*{SUFFIX}) below {places}: pellucid xray and pellucid train make them")
    first: dict[Path, Path] = {}  # one file may be named in several ways
    for path in found:
        first.setdefault(path.resolve(), path)
    return list(first.values())


def plan_figures(
    records: Sequence[Path], wanted: Sequence[str] | None = None
) -> tuple[list[PlannedFigure], list[MissingFigure]]:
    """Which figures the records give, in the article's order, and those asked for that no record gives.

    A figure that only one record gives is named alone (`tokens`); where several give it, the record's name
    follows (`tokens-tale`), and its folder's where records are called alike.

    Args:
        records: their files. wanted: names of figures; None for all.

    Raises:
        PellucidError: the only record cannot be read, or an unknown figure.
    """
    if wanted is not None and not wanted:
        raise PellucidError(f"name a figure: {', '.join(FIGURES)}")
    for name in wanted or ():
        if name not in FIGURES:
            raise unknown_figure(name)
    found, absent = [], []
    kinds_found: dict[Path, Kind] = {}
    for path in records:
        try:
            with open_record(path) as record:
                check(record, partial=True)
                kinds_found[path] = record.kind
        except PellucidError as problem:
            if len(records) == 1:
                raise
            absent.append(MissingFigure(figure=str(path), why=str(problem)))
    records = list(kinds_found)
    labels = _labels(records)
    for name, spec in FIGURES.items():
        if wanted is not None and name not in wanted:
            continue
        giving = [path for path in records if kinds_found[path] == spec.kind]
        for path in giving:
            stem = name if len(giving) == 1 else f"{name}-{labels[path]}"
            found.append(PlannedFigure(figure=name, record=path, stem=stem))
        if not giving:
            absent.append(MissingFigure(figure=name, why=tr("there is no {kind} record", kind=spec.kind), command=spec.command))
    return found, absent


def _labels(records: Sequence[Path]) -> dict[Path, str]:
    """A different label for each record: its file name, with as many of its folders' names as are needed."""
    folders = {path: path.resolve().parts[1:-1] for path in records}  # without the root, which no name can hold
    for depth in range(max(map(len, folders.values()), default=0) + 1):
        labels = {path: "-".join((*parts[len(parts) - depth :], path.stem)) for path, parts in folders.items()}
        if len(set(labels.values())) == len(labels):
            return labels
    return {path: f"{path.stem}-{number}" for number, path in enumerate(records, start=1)}  # a/b-c and a-b/c


def draw_figures(
    records: Sequence[Path], out: str | Path, formats: Iterable[str], *, wanted: Sequence[str] | None = None,
    width: int | None = None, processes: int = 1, on_drawn: Callable[[DrawnFigure], None] = lambda _: None,
) -> tuple[list[DrawnFigure], list[MissingFigure]]:  # fmt: skip
    """Draws every figure that the records give into a folder, one file a format.

    Args:
        records: as `find_records` finds them. out: the folder; made if it is not there. formats: of svg png gif webp mp4 html.
        wanted: names of figures; None for all. width: of png, gif, webp and mp4 in pixels, 1 to 8192; None for 960.
        processes: how many draw at once (`render_pool`). on_drawn: called with each figure as soon as its files are written.

    Returns:
        What was drawn, and what could not be, with the command that would make it possible.

    Raises:
        PellucidError: an unknown format or figure, a width out of range or of formats that have none, the only record cannot be
            read, a folder that cannot be written. MissingPackageError: none of the formats can be written here.
    """
    out = path_of("out", out)
    formats, width = _check_formats(formats, width)
    formats, lacking = _available(formats)
    found, absent = plan_figures(records, wanted)
    absent += lacking
    if not found:
        return [], absent
    make_folder(out)
    files = {planned.stem: [out / f"{planned.stem}.{kind}" for kind in formats] for planned in found}
    for path in chain.from_iterable(files.values()):
        check_target(path)
    drawn, waiting = [], list[tuple[DrawnFigure, list[Callable[[], bytes]]]]()
    with render_pool(processes) as render:
        for planned in found:
            try:
                with open_record(planned.record) as record:
                    wide, narrow = (figure(record, planned.figure, width=size) for size in (SCREEN, PHONE))
            except PellucidError as problem:
                why, command = (problem.why, problem.command) if isinstance(problem, LacksChunk) else (str(problem), None)
                absent.append(MissingFigure(figure=planned.stem, why=why, command=command))
                continue
            one = DrawnFigure(planned=planned, wide=wide, narrow=narrow, files=tuple(files[planned.stem]))
            waiting.append((one, [_content(render, wide, narrow, kind, width) for kind in formats]))
        for one, contents in waiting:
            for path, content in zip(one.files, contents, strict=True):
                write_whole(path, content())
            drawn.append(one)
            on_drawn(one)
    return drawn, absent


def write_film(
    stem: str, wide: Film, narrow: Film, out: str | Path, formats: Iterable[str], *, width: int | None = None
) -> tuple[list[Path], list[MissingFigure]]:
    """Writes one film into a folder, one file a format, as `draw_figures` does.

    Args:
        stem: the files' name without a suffix. wide, narrow: the film for a screen and for a phone.

    Returns:
        The files, and the formats that need a package which is not installed.

    Raises:
        PellucidError: an unknown format, a width out of range or of formats that have none, a folder that cannot be written.
            MissingPackageError: none of the formats can be written here.
    """
    out = path_of("out", out)
    formats, width = _check_formats(formats, width)
    formats, lacking = _available(formats)
    make_folder(out)
    files = [out / f"{stem}.{kind}" for kind in formats]
    for path in files:
        check_target(path)
    with render_pool(1) as render:
        for kind, path in zip(formats, files, strict=True):
            write_whole(path, _content(render, wide, narrow, kind, width)())
    return files, lacking


def _check_formats(formats: Iterable[str], width: int | None) -> tuple[list[str], int | None]:
    """The formats, each once, and the width."""
    formats = list(dict.fromkeys(formats))
    if not formats:
        raise PellucidError(f"name a format: {', '.join(KINDS)}")
    for kind in formats:
        if kind not in KINDS:
            raise PellucidError(f"no picture of the kind {kind!r}: there are {', '.join(KINDS)}")
    if width is not None:
        width = whole_number("width", width, 1, LARGEST)
        if not set(formats) - {"svg", "html"}:
            raise PellucidError(f"a width is of png, gif, webp and mp4, and {' and '.join(formats)} have none: leave it out")
    return formats, width


def _available(formats: Sequence[str]) -> tuple[list[str], list[MissingFigure]]:
    """The formats whose packages are installed, and those that lack one. Raises MissingPackageError where none is left."""
    available, lacking = [], []
    for kind in formats:
        try:
            check_packages(kind)
            available.append(kind)
        except MissingPackageError as problem:
            lacking.append(MissingFigure(figure=f"*.{kind}", why=str(problem)))
            if len(lacking) == len(formats):
                raise
    return available, lacking


def _content(render: Render, wide: Film, narrow: Film, kind: str, width: int | None) -> Callable[[], bytes]:
    """A function that waits for the file of a figure in one format: both films in an HTML file, else the wide one."""
    if kind == "html":
        return lambda: page(wide, narrow).encode("utf-8")
    return render(wide, kind, None if kind == "svg" else width)
