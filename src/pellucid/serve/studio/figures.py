"""A record's figures for the page: as JSON for the player, and as files."""

import threading

from pellucid.draw import figures
from pellucid.draw.figures.one_parameter import one_parameter_film
from pellucid.draw.film.film import Film
from pellucid.draw.film.resolve import Primitive
from pellucid.errors import PellucidError
from pellucid.generation.resolve import DEFAULT, resolve
from pellucid.gpt.config_json import read_config
from pellucid.serve.studio.sources import SourceCatalog


BUILT_IN = "built-in"  # stands for the record of the film that is drawn from points
MIN_WIDTH, MAX_WIDTH = 240, 2400
MAX_MOVING_WIDTH = 1280  # of GIF, WebP and MP4, whose pictures are all in memory at once
_STILLS_TO_SCALE = ("svg", "html")  # drawn at their own size: a reader enlarges them


def figure_json(catalog: SourceCatalog, record: str, name: str, width: int) -> str:
    """The film of a figure as JSON, with glyph outlines, so that a page needs no font.

    Raises:
        PellucidError: no such record or figure, or not of this kind of record. LacksChunk: a chunk that it needs is missing.
    """
    return _film(catalog, record, name, width).to_json(glyphs=True)


def built_in_film(width: float) -> Film:
    """The film of one number, fitted to the built-in points, beside the embedded model."""
    return one_parameter_film(None, read_config(resolve(DEFAULT)), width=width)


def _film(catalog: SourceCatalog, record: str, name: str, width: int) -> Film:
    if not MIN_WIDTH <= width <= MAX_WIDTH:
        raise PellucidError(f"a figure is from {MIN_WIDTH} to {MAX_WIDTH} wide, not {width}")
    if (record, name) == (BUILT_IN, figures.ONE_PARAMETER):
        return built_in_film(width)
    with catalog.record(record) as opened:
        return figures.figure(opened, name, width=width)


class _DrawingCancelled(Exception):
    """Nobody waits for the file any more."""


class _CancellableFilm(Film):
    """A film that stops being drawn when it is cancelled: every back end draws what `at` returns, and nothing else."""

    cancelled: threading.Event

    @classmethod
    def of(cls, film: Film, cancelled: threading.Event) -> "_CancellableFilm":
        made = object.__new__(cls)
        made.__dict__.update(film.__dict__, cancelled=cancelled)
        return made

    def at(self, t: float) -> list[Primitive]:
        if self.cancelled.is_set():
            raise _DrawingCancelled
        return super().at(t)


def figure_file(
    catalog: SourceCatalog, record: str, name: str, kind: str, width: int, cancelled: threading.Event
) -> bytes:
    """The figure as the bytes of a file.

    Args:
        record: its id.
        kind: a format, as `Film.save` takes it by a suffix. width: of the layout and, of png, gif, webp and mp4, in pixels.

    Raises:
        PellucidError: as `figure_json`; another format; a width that is too large; a package that is not installed (named, with
            the line that installs it).
    """
    from pellucid.draw.backends.save import content

    if kind in ("gif", "webp", "mp4") and width > MAX_MOVING_WIDTH:
        raise PellucidError(f"a {kind} is at most {MAX_MOVING_WIDTH} wide here: `pellucid figures` writes larger ones")
    film = _CancellableFilm.of(_film(catalog, record, name, width), cancelled)
    return content(film, kind, width=None if kind in _STILLS_TO_SCALE else width)
