"""`draw_folder`: draws every figure of a folder's records into files, and writes one page that shows them all."""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from pellucid.command_lines import command as command_line
from pellucid.command_lines import path_here
from pellucid.draw.figure_files import PHONE, SCREEN, DrawnFigure, MissingFigure, draw_figures, find_records, write_film
from pellucid.draw.figures import FIGURES, ONE_PARAMETER
from pellucid.errors import PellucidError
from pellucid.languages import tr
from pellucid.record import check, open_record
from pellucid.serve.studio.figures import built_in_film
from pellucid.serve.studio.static_page import ShownFigure, write_page


PAGE = "index.html"
PICTURES = "figures"
WRITTEN = ("svg", "html", "png")  # quick ones; the page names the command that draws the others
OTHERS = "gif,webp,mp4"
PIXELS = 1920  # width of a PNG


def draw_folder(
    folder: str | Path, *, title: str, runs: Sequence[str | Path] = (), command: str, write: Callable[..., Path] = write_page
) -> tuple[Path, list[DrawnFigure], list[MissingFigure]]:
    """Draws the figures of the records below a folder into `folder/figures` (`WRITTEN`) and writes `folder/index.html`.

    All of it is in the current language. The page begins with the film of one number, fitted to the built-in points, which is
    among the files too. The page opens from the file system: it holds the figures and the records whole, and the runs' plans
    and losses, and offers the files beside it.

    Args:
        title: of the page. runs: run directories to list. command: the command that serves the folder, shown on the page.
        write: writes the page; takes what `write_page` takes.

    Returns:
        The page, the figures that were drawn, and those that could not be.

    Raises:
        PellucidError: no record below the folder that can be read, or a file that cannot be written.
    """
    folder = Path(folder)
    records = find_records([folder])
    drawn, absent = draw_figures(records, folder / PICTURES, WRITTEN, width=PIXELS)
    films = built_in_film(SCREEN), built_in_film(PHONE)
    files, _ = write_film(ONE_PARAMETER, *films, folder / PICTURES, WRITTEN, width=PIXELS)  # `absent` names what is missing
    more = command_line("figures", "--one-parameter", "--out", "pictures", "--format", OTHERS)
    figures = [ShownFigure(tr(ONE_PARAMETER), *films, ONE_PARAMETER, None, _beside(files, folder), more)]
    several = {one.planned.figure for one in drawn if one.planned.stem != one.planned.figure}
    for one in drawn:
        name = one.planned.figure
        words = tr("{figure}: {about}", figure=tr(name), about=tr(FIGURES[name].about))
        if name in several:
            place = Path(os.path.relpath(one.planned.record, folder)).as_posix()
            words = tr("{heading} ({record})", heading=words, record=place)
        record = one.planned.record
        more = command_line("figures", path_here(record), "--out", "pictures", "--format", OTHERS, "--only", name)
        figures.append(ShownFigure(words, one.wide, one.narrow, name, record, _beside(one.files, folder), more))
    page = write(folder / PAGE, _readable(records), figures=figures, runs=runs, title=title, command=command)
    return page, drawn, absent


def _beside(files: Iterable[Path], folder: Path) -> tuple[str, ...]:
    """The addresses of files, relative to a page in the folder."""
    return tuple(file.relative_to(folder).as_posix() for file in files)


def _readable(records: Iterable[Path]) -> list[Path]:
    """The records that can be read; `draw_figures` names the others among the missing."""
    found = []
    for path in records:
        with suppress(PellucidError), open_record(path) as record:
            check(record, partial=True)
            found.append(path)
    return found
