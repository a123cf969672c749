"""`draw_folder`: draws every figure of a folder's records into files, and writes one page that shows them all."""

import os
from collections.abc import Sequence
from pathlib import Path

from pellucid.draw.figure_files import PHONE, SCREEN, DrawnFigure, MissingFigure, draw_figures, find_records
from pellucid.draw.figures import FIGURES, ONE_PARAMETER
from pellucid.errors import PellucidError
from pellucid.languages import tr
from pellucid.record import check, open_record
from pellucid.serve.studio.figures import built_in_film
from pellucid.serve.studio.static_page import ShownFigure, write_page


PAGE = "index.html"
PICTURES = "figures"


def draw_folder(
    folder: str | Path, *, title: str, runs: Sequence[str | Path] = (), command: str
) -> tuple[Path, list[DrawnFigure], list[MissingFigure]]:
    """Draws the figures of the records below a folder into `folder/figures` (SVG and HTML) and writes `folder/index.html`.

    All of it is in the current language. The page begins with the film of one number, fitted to the built-in points.
    The page opens from the file system: it holds the figures, the generation records whole, and the runs' plans and losses.

    Args:
        title: of the page. runs: run directories to list. command: the command that serves the folder, shown on the page.

    Returns:
        The page, the figures that were drawn, and those that could not be.

    Raises:
        PellucidError: no record below the folder that can be read, or a file that cannot be written.
    """
    folder = Path(folder)
    records = find_records([folder])
    drawn, absent = draw_figures(records, folder / PICTURES, ("svg", "html"))
    shown = []
    for path in records:
        try:
            with open_record(path) as record:
                check(record, partial=True)
                if record.kind == "generation":
                    shown.append(path)
        except PellucidError:  # named among the missing
            continue
    several = {one.planned.figure for one in drawn if one.planned.stem != one.planned.figure}
    figures = [ShownFigure(tr(ONE_PARAMETER), built_in_film(SCREEN), built_in_film(PHONE), ONE_PARAMETER)]
    for one in drawn:
        name = one.planned.figure
        words = tr("{figure}: {about}", figure=tr(name), about=tr(FIGURES[name].about))
        if name in several:
            place = Path(os.path.relpath(one.planned.record, folder)).as_posix()
            words = tr("{heading} ({record})", heading=words, record=place)
        figures.append(ShownFigure(words, one.wide, one.narrow, name))
    page = write_page(folder / PAGE, shown, figures=figures, runs=runs, title=title, command=command)
    return page, drawn, absent
