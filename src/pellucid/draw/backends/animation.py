"""Films as animated files: GIF and WebP through Pillow, MP4 through ffmpeg.

GIF and WebP have at most 48 different pictures, a rest being one long frame. A GIF has one palette of 256 colours for all
frames, so that nothing flickers. Captions are drawn in a band below the picture: these formats have no other place for them.
"""

import io
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from math import floor, isqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from pellucid.draw.backends.raster import MissingPackageError, needed, png
from pellucid.draw.film.film import Film, Frame
from pellucid.errors import PellucidError
from pellucid.languages import mark


COLOURS = 256  # the last of which is the transparent one, where a picture is as the one before
FLAT = 2000  # a colour of more than one pixel in so many is a fill, and is kept as it is
ROUNDS = 6
SEEN = np.array(
    [[2, 6, 0], [5, -6, -6], [1, 0, 6]]
)  # (red, green, blue) to 8 x brightness, 6 x (red - green), 6 x (blue - green)
RATE = 30  # pictures a second of an MP4
# H.264 halves the planes of colour, so that both sides must be even; one thread and no date: the same file each time.
ENCODER = (
    *("-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20"),
    *("-threads", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact"),
)

Integers = npt.NDArray[Any]


def pictures(film: Film, frames: list[Frame], width: int | None) -> Iterator[Any]:
    """Each frame as a Pillow image, RGB, with its caption."""
    image = needed("PIL.Image", "an animation")
    for frame in frames:
        yield image.open(io.BytesIO(png(film, frame.time, width=width, captions=True))).convert("RGB")


def milliseconds(frames: list[Frame], step: int = 10) -> list[int]:
    """How long each frame stays, in multiples of `step` ms, rounded so that errors do not add up."""
    ends, at, last = [], 0.0, 0
    for frame in frames:
        at += frame.duration
        end = max(last + step, floor(at * 1000 / step + 0.5) * step)
        ends.append(end - last)
        last = end
    return ends


def gif(film: Film, *, width: int | None = None, max_frames: int = 48) -> bytes:
    """The film as an endless GIF. Raises PellucidError where the extra `pictures` is not installed."""
    frames = film.frames(max_frames)
    drawn = list(pictures(film, frames, width))
    pixels = [_packed(picture) for picture in drawn]
    colours, counts = np.unique(np.concatenate(pixels), return_counts=True)
    channels = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(np.int64)
    palette = choose(channels, counts, len(drawn))
    nearest = np.zeros(1 << 24, np.uint8)  # by colour: a look-up is faster than a search
    nearest[colours] = _distances(channels, palette).argmin(axis=1)
    image = needed("PIL.Image", "an animation")
    taken = [tuple(map(int, colour)) for colour in palette]
    unused = [(0, 0, blue) for blue in range(256) if (0, 0, blue) not in taken]
    table = bytes(channel for colour in (taken + unused)[:COLOURS] for channel in colour)  # all different, as Pillow needs it
    indexed = []
    for picture, packed in zip(drawn, pixels, strict=True):
        indexed.append(image.frombytes("P", picture.size, nearest[packed].tobytes()))
        indexed[-1].putpalette(table)
    out = io.BytesIO()
    indexed[0].save(
        out, "GIF", save_all=True, append_images=indexed[1:], duration=milliseconds(frames), loop=0, disposal=1,
        palette=table, transparency=COLOURS - 1, optimize=True,
    )  # fmt: skip
    return out.getvalue()


def _packed(picture: Any) -> Integers:
    """The pixels of a picture as whole numbers 0xRRGGBB."""
    red, green, blue = np.frombuffer(picture.tobytes(), np.uint8).reshape(-1, 3).astype(np.uint32).T
    return red << 16 | green << 8 | blue


def _distances(colours: Integers, palette: Integers) -> Integers:
    """Squared distances, (colours, palette), in brightness and two hues. Whole numbers: exact on every machine."""
    found = np.zeros((len(colours), len(palette)), np.int64)
    for one, other in zip((colours @ SEEN).T, (palette @ SEEN).T, strict=True):
        found += (one[:, None] - other[None, :]) ** 2
    return found


def choose(colours: Integers, counts: Integers, pictures: int, size: int = COLOURS - 1) -> Integers:
    """Chooses a palette for the pixels of some pictures, in whole numbers throughout.

    Args:
        colours: (N, 3) different colours. counts: (N,) how many pixels have each, over so many pictures.

    Colours of large areas are kept as they are. The others are added one by one, each the colour with the largest weighted
    distance from those before, and then moved to the mean of the colours nearest to them (k-means, `ROUNDS` rounds).
    """
    if len(colours) <= size:
        return colours
    order = np.lexsort((np.arange(len(colours)), -counts))
    fixed = [i for i in order[: size // 2] if counts[i] * FLAT > counts.sum()] or [order[0]]
    palette = colours[fixed]
    # A weight between 1 and the count: faint letters count beside large fills.
    weights = np.array([1 + isqrt(int(count) // pictures) for count in counts], np.int64)
    worst = _distances(colours, palette).min(axis=1)
    while len(palette) < size:
        palette = np.concatenate([palette, colours[[int((weights * worst).argmax())]]])
        worst = np.minimum(worst, _distances(colours, palette[-1:])[:, 0])
    for _ in range(ROUNDS):
        nearest = _distances(colours, palette).argmin(axis=1)
        for i in range(len(fixed), size):
            mine = nearest == i
            if total := int(weights[mine].sum()):
                palette[i] = (2 * (weights[mine, None] * colours[mine]).sum(axis=0) + total) // (2 * total)
    return palette


def webp(film: Film, *, width: int | None = None, max_frames: int = 48) -> bytes:
    """The film as an endless animated WebP, lossless. Raises PellucidError where the extra `pictures` is not installed."""
    frames = film.frames(max_frames)
    first, *others = pictures(film, frames, width)
    out = io.BytesIO()
    first.save(
        out,
        "WEBP",
        save_all=True,
        append_images=others,
        duration=milliseconds(frames),
        loop=0,
        lossless=True,
        quality=60,
        method=4,
    )
    return out.getvalue()


def ffmpeg() -> str:
    """The path of ffmpeg: imageio-ffmpeg's, else the system's. Raises MissingPackageError where there is none."""
    try:
        return str(import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        if found := shutil.which("ffmpeg"):
            return found
    raise MissingPackageError("an MP4", mark("ffmpeg: pip install imageio-ffmpeg, or install ffmpeg; WebP and GIF do without"))


def mp4(film: Film, *, width: int | None = None, max_frames: int = 300) -> bytes:
    """The film as H.264 video, 30 pictures a second. Raises PellucidError without ffmpeg or the extra `pictures`."""
    program = ffmpeg()
    frames = film.frames(max_frames)
    first, *others = pictures(film, frames, width)
    size = f"{first.width}x{first.height}"
    taken = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(RATE), "-i", "pipe:0")
    given = ("-f", "mp4", "-movflags", "frag_keyframe+empty_moov", "pipe:1")
    command = [program, "-hide_banner", "-loglevel", "error", *taken, *ENCODER, *given]
    # Its outputs go to files: a pipe that nobody reads while pictures are sent would fill up and stop both sides.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=said)
        except OSError as problem:
            raise PellucidError(f"{program} cannot be run ({problem.strerror}): pip install imageio-ffmpeg") from problem
        assert process.stdin is not None
        shown, elapsed = 0, 0
        with suppress(BrokenPipeError), process.stdin as sink:  # it may have stopped: its exit status says so
            for picture, duration in zip([first, *others], milliseconds(frames), strict=True):
                elapsed += duration
                pixels, until = picture.tobytes(), max(shown + 1, elapsed * RATE // 1000)
                for _ in range(until - shown):
                    sink.write(pixels)
                shown = until
        process.wait()
        out.seek(0)
        said.seek(0)
        written, reason = out.read(), said.read().decode("utf-8", "replace").strip().splitlines()
    if process.returncode or not written:
        raise PellucidError(f"ffmpeg could not make the MP4 ({(reason or ['it said nothing'])[-1]}): write WebP or GIF instead")
    return written
