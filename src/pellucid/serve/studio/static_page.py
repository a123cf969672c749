"""A studio page that needs no server: one HTML file with its script, records and figures embedded."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast
from urllib.parse import quote

from pellucid.draw.backends.svg import escaped
from pellucid.draw.film.film import Film
from pellucid.draw.film.film_json import letters_of
from pellucid.draw.film.truetype import EM
from pellucid.errors import PellucidError
from pellucid.files import check_target, reading, write_whole
from pellucid.languages import current
from pellucid.record import Record, open_record
from pellucid.runs.files import METRICS
from pellucid.runs.metrics import last_line
from pellucid.runs.plan import read_shown_plan
from pellucid.serve.page_wire import StaticFigure, StaticFile, StaticPage, StaticRecord, StaticRun
from pellucid.serve.studio.model_words import Learned, read_learned
from pellucid.serve.studio.page import DATA_ID, MOUNT_ID, STYLE, asset, noscript, opening
from pellucid.serve.studio.sources import add_model_words, describe_record, known_figures, meanings, resume_command
from pellucid.serve.wire import FilmFile, RunPlan
from pellucid.version import __version__


# The page loads nothing: no address is allowed, whatever a record or a film holds.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
    "form-action 'none'"
)


class ShownFigure(NamedTuple):
    """A figure of a page.

    Attributes:
        title: its heading. wide, narrow: the film for a wide screen and for a phone.
        name: of the figure, by which the page's story finds it; "" for a picture of another kind.
        record: the file that it is drawn from, if that is one of the page's records.
        files: of it, addressed relative to the page. command: draws it in other formats.
        language: that its words are in, of a page in several languages; "" where all figures are in the page's.
    """

    title: str
    wide: Film
    narrow: Film
    name: str = ""
    record: Path | None = None
    files: tuple[str, ...] = ()
    command: str = ""
    language: str = ""


def write_page(
    path: str | Path,
    records: Sequence[Record | Path | str],
    *,
    figures: Iterable[ShownFigure | tuple[str, Film, Film]] = (),
    title: str = "Pellucid",
    runs: Sequence[Path | str] = (),
    command: str = "pellucid studio",
) -> Path:
    """Writes a page in the current language that opens from the file system, without a server or a network.

    Args:
        path: the HTML file; it appears whole or not at all.
        records: embedded whole; at least one record, figure or run is needed. One that lies in a run's folder is the run's.
        figures: `ShownFigure`, or (title, film for a wide screen, film for a phone): those with a figure's name stand in the
            story, each at its step; the others below the list of files, in this order.
        title: of the page.
        runs: run directories whose plan and losses are shown.
        command: the command of the server that can generate, shown where the page cannot.

    Returns:
        `path`.

    Raises:
        PellucidError: nothing to show, a record that cannot be read, or the file cannot be written.
    """
    drawn = [ShownFigure(*one) for one in figures]
    if not (records or drawn or runs):
        raise PellucidError("a page needs something to show: give records, figures or runs")
    path = Path(path)
    check_target(path, what="the page")
    write_whole(path, document(page_data(records, drawn, title=title, runs=runs, command=command)), what="the page")
    return path


def page_data(
    records: Sequence[Record | Path | str], figures: Sequence[ShownFigure], *, title: str, runs: Sequence[Path | str],
    command: str,
) -> StaticPage:  # fmt: skip
    """What a page shows. Arguments and errors as `write_page`."""
    glyphs, text_runs = letters_of(film for one in figures for film in (one.wide, one.narrow))
    folders = [Path(run) for run in runs]
    shown = [_record(record, number, folders) for number, record in enumerate(records, start=1)]
    add_model_words((one.entry, one.learned) for one in shown)
    ids = {one.path.resolve(): one.entry["id"] for one in shown if one.path is not None}
    for figure in figures:
        if figure.record is not None and (at := ids.get(figure.record.resolve())) is not None:
            names = next(one.entry["figures"] for one in shown if one.entry["id"] == at)
            if figure.name not in names:
                names.append(figure.name)
    return StaticPage(
        pellucid=__version__,
        title=title,
        command=command,
        figures=[_figure(one, ids) for one in figures],
        known_figures=known_figures(),
        meanings=meanings(),
        em=EM,
        glyphs=glyphs,
        text_runs=text_runs,
        records=[one.entry for one in shown],
        runs=[
            _run(run, number, [one.entry["id"] for one in shown if one.run == run])
            for number, run in enumerate(folders, start=1)
        ],
    )


def _figure(figure: ShownFigure, ids: Mapping[Path, str]) -> StaticFigure:
    files = [StaticFile(format=Path(url).suffix.removeprefix("."), url=quote(url)) for url in figure.files]
    found = StaticFigure(title=figure.title, files=files, wide=_film(figure.wide), narrow=_film(figure.narrow))
    if figure.name:
        found["name"] = figure.name
    if figure.record is not None and (record := ids.get(figure.record.resolve())) is not None:
        found["record"] = record
    if figure.command:
        found["command"] = figure.command
    if figure.language:
        found["language"] = figure.language
    return found


def _film(film: Film) -> FilmFile:
    parsed: FilmFile = json.loads(film.to_json())
    return parsed


class _ShownRecord(NamedTuple):
    """A record of the page: its entry, its file, the run that it lies in, and what the model of that run learned from."""

    entry: StaticRecord
    path: Path | None
    run: Path | None
    learned: Learned | None


def _record(record: Record | Path | str, number: int, runs: Sequence[Path]) -> _ShownRecord:
    if not isinstance(record, Record):
        with open_record(record) as opened:
            return _record(opened, number, runs)
    data, path = record.to_bytes(), record.path
    run = next((run for run in runs if path is not None and path.resolve().parent == run.resolve()), None)
    title = f"record {number}" if path is None else path.name if run is None else f"{run.name}/{path.name}"
    info = describe_record(record, f"record-{number}", title)
    info |= {"figures": [], "bytes": len(data)}  # those that the page holds: drawing another needs a server
    entry = StaticRecord(base64=base64.b64encode(data).decode("ascii"), **info)
    return _ShownRecord(entry, path, run, read_learned(record, run))


def _run(run: Path, number: int, records: list[str]) -> StaticRun:
    try:
        plan = cast(RunPlan, read_shown_plan(run))
        with reading(run / METRICS) as file:
            data = file.read()
        lines = data[: data.rfind(b"\n") + 1].decode("utf-8", "replace")
    except (OSError, PellucidError) as error:
        raise PellucidError(f"cannot show the run {run}: {error}") from error
    page = StaticRun(
        id=f"run-{number}", title=run.name, plan=plan, metrics=lines, records=records, model=None, kind=plan["kind"],
        total_steps=plan["total_steps"], resume=resume_command(run, plan["kind"]),
    )  # fmt: skip
    if (last := last_line(run)) is not None:
        page["steps"] = last.step
        page |= {} if last.ended is None else {"ended": last.ended}
    return page


def script_text(script: bytes) -> str:
    """A script as text that can be embedded in a document (HTML standard, 4.12.1.3).

    Svelte's holds `<!--` in a string, which is harmless as long as no `<script` follows.
    """
    text = script.decode("utf-8")
    assert "</script" not in text.lower() and "<script" not in text.lower(), "a script element cannot hold these"
    return text


def document(data: StaticPage, *, policy: str = POLICY, elements: Mapping[str, str] | None = None) -> str:
    """The HTML of a page in the current language.

    Args:
        policy: what the document may do. elements: texts for the page's script by the ids of the elements that hold them.
    """
    inside = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    held = "".join(f'<script type="text/plain" id="{name}">{text}</script>\n' for name, text in (elements or {}).items())
    return f"""<!doctype html>
<html lang="{current()}">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escaped(data["title"])}</title>
<style>{STYLE}</style>
<body>
{noscript()}
<div id="{MOUNT_ID}">{opening()}</div>
<script type="application/json" id="{DATA_ID}">{inside}</script>
{held}<script type="module">{script_text(asset("studio.js"))}</script>
</body>
</html>
"""
