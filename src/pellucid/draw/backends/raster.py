"""Pictures as pixels: SVG through resvg, which needs no browser, no system fonts and no system library.

The packages are those of the extra `pictures`; without them everything else in this room works.
"""

from importlib import import_module
from typing import Any

from pellucid.draw.backends.svg import still
from pellucid.draw.film.film import Film
from pellucid.errors import PellucidError
from pellucid.languages import mark


LARGEST = 8192  # pixels of a side
LACKING = mark("a package that is not installed: pip install 'pellucid[pictures]', or '.[pictures]' in a checkout")


class MissingPackageError(PellucidError):
    """A format needs a package, or ffmpeg, that is not installed. The message says how to install it.

    Args:
        what: cannot be written.
        lacking: what it needs, as a marked text that pages translate.
    """

    def __init__(self, what: str, lacking: str) -> None:
        super().__init__(f"{what} needs {lacking}")
        self.lacking = lacking


def needed(module: str, what: str) -> Any:
    """An optional module, imported. Raises MissingPackageError with the way to install it where it is missing."""
    try:
        return import_module(module)
    except ImportError as problem:
        raise MissingPackageError(what, LACKING) from problem


def png_of(svg: str, width: int) -> bytes:
    """An SVG document as a PNG file `width` pixels wide. Raises PellucidError for a bad width or without the extra."""
    if not 1 <= width <= LARGEST:
        raise PellucidError(f"a picture {width} pixels wide cannot be drawn: ask for 1 to {LARGEST}")
    resvg = needed("resvg_py", "a PNG")
    return bytes(resvg.svg_to_bytes(svg_string=svg, width=width, skip_system_fonts=True))


def png(film: Film, t: float | None = None, *, width: int | None = None, captions: bool = False) -> bytes:
    """The picture at t seconds (by default the last still) as a PNG file, `width` pixels wide (by default the film's width)."""
    return png_of(still(film, t, captions=captions, reader_fonts=False), round(film.width) if width is None else width)
