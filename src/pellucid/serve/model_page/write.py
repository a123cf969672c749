"""`write_model_page`: one HTML file with a model, the kernel that runs it, and the records and runs that it shows."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pellucid.draw.figure_files import PHONE, SCREEN, MissingFigure, find_records, plan_figures
from pellucid.draw.figures import FIGURES, ONE_PARAMETER, LacksChunk, figure
from pellucid.errors import PellucidError
from pellucid.files import check_target, write_whole
from pellucid.generation.resolve import DEFAULT
from pellucid.languages import LANGUAGES, language, mark, tr
from pellucid.record import Record, open_record
from pellucid.runs.files import RUN_FILE
from pellucid.serve.model_page.files import page_files
from pellucid.serve.model_page.page_model import EmbeddedModel, embedded_model
from pellucid.serve.page_wire import StaticPage
from pellucid.serve.studio.figures import built_in_film
from pellucid.serve.studio.page import asset
from pellucid.serve.studio.sources import meanings
from pellucid.serve.studio.static_page import POLICY, ShownFigure, document, page_data, script_text


TITLE = mark("Pellucid: a model in one file")
# The page loads nothing and sends nothing; it compiles its own kernel, and runs it in a worker made of its own text.
MODEL_POLICY = POLICY.replace("script-src 'unsafe-inline'", "script-src 'unsafe-inline' 'wasm-unsafe-eval'; worker-src blob:")
WORKER_ID = "pellucid-worker"
ELEMENTS: dict[str, Literal["weights", "relaxed", "exact"]] = {
    "pellucid-weights": "weights", "pellucid-kernel-relaxed": "relaxed", "pellucid-kernel-exact": "exact",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenPage:
    """A page that was written.

    Attributes:
        path: its file. bytes: its size. shown_bytes: of these, those of the records, figures and runs that it shows.
        model: what it holds. missing: figures that could not be drawn.
    """

    path: Path
    bytes: int
    shown_bytes: int
    model: EmbeddedModel
    missing: list[MissingFigure]


def write_model_page(
    path: str | Path, source: str | Path = DEFAULT, shown: Sequence[str | Path] = (), *, quantize: str | None = None,
    lang: str | None = None,
) -> WrittenPage:  # fmt: skip
    """Writes a page that generates, records and verifies in a browser, opened from a disk, without a server or a network.

    Args:
        path: the HTML file; it appears whole or not at all.
        source: the model, whatever `load` takes.
        shown: records, run directories, and folders of records, whose story and figures the page tells.
        quantize: as `embedded_model` takes it.
        lang: the language that the page opens in; None: the first of the browser's languages that it has, else English.

    Raises:
        PellucidError: a model that a page cannot run, a record that cannot be read, or a file that cannot be written.
    """
    path = Path(path)
    check_target(path, what="the page")
    model = embedded_model(source, quantize=quantize)
    runs = [Path(one) for one in shown if os.path.exists(os.path.join(one, RUN_FILE))]
    records = _records(shown)
    figures, missing = _drawn(records)
    generations = [one for one in records if _kind(one) == "generation"]
    opening = [
        ShownFigure(tr(ONE_PARAMETER), built_in_film(SCREEN), built_in_film(PHONE), ONE_PARAMETER, language=code)
        for code in _languages()
    ]
    with language("en"):
        data = page_data(generations, [*opening, *figures], title=TITLE, runs=runs, command="pellucid studio")
    if lang is None:
        data["browser_language"] = True
    bare: Any = {**data, "figures": [], "records": [], "runs": [], "glyphs": {}, "text_runs": {}}
    with language(lang or "en"):
        html, without = _document(data, model), len(_document(bare, model).encode())
    write_whole(path, html, what="the page")
    size = len(html.encode())
    return WrittenPage(path=path, bytes=size, shown_bytes=size - without, model=model, missing=missing)


def write_live_page(
    path: str | Path, records: Sequence[Record | Path | str], *, figures: Iterable[ShownFigure] = (), title: str,
    runs: Sequence[Path | str] = (), command: str = "pellucid studio", source: str | Path = DEFAULT,
) -> Path:  # fmt: skip
    """Writes what `serve.write_page` writes, as a page that holds a model besides.

    Args:
        source: the model, whatever `load` takes. The others are those of `write_page`.

    Raises:
        PellucidError: what `write_page` and `embedded_model` raise.
    """
    path = Path(path)
    check_target(path, what="the page")
    model = embedded_model(source)
    data = page_data(records, list(figures), title=title, runs=runs, command=command)
    write_whole(path, _document(data, model), what="the page")
    return path


def _document(data: StaticPage, model: EmbeddedModel) -> str:
    """The HTML of a page with a model, in the current language."""
    files, texts = page_files(model), {code: _texts() for code in _languages() if code != "en"}
    shown: StaticPage = {**data, "model": model.page, "drawing": files["drawing"], "texts": texts}
    elements = {WORKER_ID: script_text(asset("worker.js")), **{name: files[part] for name, part in ELEMENTS.items()}}
    return document(shown, policy=MODEL_POLICY, elements=elements)


def _languages() -> Iterator[str]:
    """Each language in turn, current while it is used."""
    for code in LANGUAGES:
        with language(code):
            yield code


def _texts() -> dict[str, str]:
    """By English text, what a page says in the current language of options, chunks and figures."""
    from pellucid.engine.options import recordable_options

    texts = [TITLE, *(option.help for option in recordable_options()), *(spec.about for spec in FIGURES.values())]
    return {text: tr(text) for text in texts} | meanings()


def _records(shown: Sequence[str | Path]) -> list[Path]:
    """The records that are named, or lie below what is named; a run may have none."""
    found: dict[Path, None] = {}
    for one in shown:
        try:
            found |= dict.fromkeys(find_records([one]))
        except PellucidError:
            if not os.path.exists(os.path.join(one, RUN_FILE)):
                raise
    return list(found)


def _kind(path: Path) -> str:
    with open_record(path) as record:
        return record.kind


def _drawn(records: Sequence[Path]) -> tuple[list[ShownFigure], list[MissingFigure]]:
    """The figures of records in every language, and those that could not be drawn."""
    planned, missing = plan_figures(records) if records else ([], [])
    missing = [one for one in missing if one.figure not in FIGURES]  # that there is no record of a kind is no news
    found = []
    for one in planned:
        with open_record(one.record) as record:
            for code in _languages():
                try:
                    wide, narrow = (figure(record, one.figure, width=size) for size in (SCREEN, PHONE))
                except PellucidError as problem:
                    if code == "en":
                        why = problem.why if isinstance(problem, LacksChunk) else str(problem)
                        missing.append(MissingFigure(figure=one.stem, why=why))
                    continue
                words = tr("{figure}: {about}", figure=tr(one.figure), about=tr(FIGURES[one.figure].about))
                found.append(ShownFigure(words, wide, narrow, one.figure, one.record, language=code))
    return found, missing
