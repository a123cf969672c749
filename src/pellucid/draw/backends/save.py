"""Writing a film to a file in the format that its suffix names."""

from pathlib import Path

from pellucid.draw.backends import animation, raster, svg
from pellucid.draw.backends import html as page
from pellucid.draw.film.film import Film
from pellucid.errors import PellucidError
from pellucid.files import check_target, write_whole
from pellucid.languages import language
from pellucid.numpy_defaults import numpy_defaults


STILLS = ("svg", "png")
MOVING = ("gif", "webp", "mp4", "html")
KINDS = STILLS + MOVING


@numpy_defaults()
def content(film: Film, kind: str, *, width: int | None = None, t: float | None = None) -> bytes:
    """The film as the bytes of a file of that kind (a suffix without its dot). Arguments and errors as `Film.save`."""
    if kind not in KINDS:
        raise PellucidError(f"no picture of the kind {kind!r}: name the file .{', .'.join(KINDS)}")
    if t is not None and kind not in STILLS:
        raise PellucidError(f"a {kind} holds the whole film: leave t out, or write one of {', '.join(STILLS)}")
    if width is not None and kind in ("svg", "html"):
        raise PellucidError(f"a {kind} has no width in pixels: leave width out")
    with language(film.language):
        match kind:
            case "svg":
                return svg.still(film, t).encode("utf-8")
            case "png":
                return raster.png(film, t, width=width)
            case "gif":
                return animation.gif(film, width=width)
            case "webp":
                return animation.webp(film, width=width)
            case "mp4":
                return animation.mp4(film, width=width)
        return page.page(film).encode("utf-8")


def check_packages(kind: str) -> None:
    """Imports what a format needs. Raises MissingPackageError with the way to install what is missing."""
    if kind not in ("svg", "html"):
        raster.needed("resvg_py", f"a file .{kind}")
    if kind in ("gif", "webp", "mp4"):
        raster.needed("PIL.Image", f"a file .{kind}")
    if kind == "mp4":
        animation.ffmpeg()


def save(film: Film, path: Path, *, width: int | None = None, t: float | None = None) -> Path:
    """Writes the film to a file; its suffix says how. Arguments and errors as `Film.save`."""
    kind = path.suffix.lower().removeprefix(".")
    if kind in KINDS:  # else `content` says what is wrong
        check_target(path)
    write_whole(path, content(film, kind, width=width, t=t))
    return path
