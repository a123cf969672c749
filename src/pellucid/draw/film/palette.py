"""Colours: the article's visual grammar by name, and the palettes of matrices.

The grammar is that of "How GPT-3 Works": green = input token, pink = output token, purple = the position being followed, grey =
untrained, gradient = trained, dashed orange frame = pre-training, dashed teal frame = fine-tuning. A meaning is never carried
by colour alone: a token has its text, a frame its title and its dashes.

Text on a colour of this file is `INK`, which every pale colour here carries with at least 4.5:1 (WCAG 2.2, 1.4.3); the
strong colours carry `PAPER` with at least 4.5:1, and are readable as text on `PAPER`. Tests hold both.
"""

from functools import cache
from math import floor

from pellucid.errors import PellucidError


PAPER = "#ffffff"
PANEL = "#f6f7f9"
LINE = "#d5d9e0"  # grid lines and quiet frames
INK = "#1d2430"
QUIET = "#59616f"  # secondary text

# name: (pale: fills; strong: frames, lines, text on paper)
INPUT_FILL, INPUT = "#d9f2dc", "#1e7a3c"  # green: an input token
OUTPUT_FILL, OUTPUT = "#fcdcea", "#b3246b"  # pink: an output token
FOLLOWED_FILL, FOLLOWED = "#e8def8", "#6b3fb5"  # purple: the position being followed
UNTRAINED_FILL, UNTRAINED = "#e4e6ea", "#666d78"  # grey
PRETRAINING_FILL, PRETRAINING = "#fff1df", "#b35300"  # orange, drawn with FRAME_DASH
FINETUNING_FILL, FINETUNING = "#dcf3f2", "#0b7378"  # teal, drawn with FRAME_DASH
TRAINED = ("#d9cdf6", "#f6cfe3", "#fde3c8")  # the gradient of a trained model, from corner to corner
MEASURED = QUIET  # the clock mark

FRAME_DASH = (8.0, 5.0)

PALE = (PAPER, PANEL, INPUT_FILL, OUTPUT_FILL, FOLLOWED_FILL, UNTRAINED_FILL, PRETRAINING_FILL, FINETUNING_FILL, *TRAINED)
SERIES = ("#2b66ad", "#b35300", "#0b7378", "#b3246b")  # lines of a plain chart, in this order
SERIES_PALE = "#b4cdea"  # the first one, where it lies behind its own mean
STRONG = (INK, QUIET, INPUT, OUTPUT, FOLLOWED, UNTRAINED, PRETRAINING, FINETUNING, *SERIES)

# Anchors of the matrices' palettes, evenly spaced from index 0 to 255 and joined in CIE L*a*b*. Lightness falls evenly in
# the sequential one and symmetrically in the diverging one (blue - white - orange), so that neither needs hue to be read.
ANCHORS = {
    "sequential": ("#fbfaff", "#cfc3ee", "#9a82d3", "#6641a5", "#2c1259"),
    "diverging": ("#0b3c7d", "#5f97cf", "#f7f7f7", "#e08a3c", "#7f3300"),  # index 128 is zero
    "grey": ("#ffffff", "#2b2f36"),
}
PALETTES = tuple(ANCHORS)


def channels(colour: str) -> tuple[int, int, int]:
    """The three channels of "#rrggbb", 0 to 255. Raises PellucidError for anything else."""
    if len(colour) != 7 or colour[0] != "#" or any(digit not in "0123456789abcdef" for digit in colour[1:]):
        raise PellucidError(f"{colour!r} is not a colour: write it as #rrggbb in lower case")
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def luminance(colour: str) -> float:
    """Relative luminance, 0 to 1 (WCAG 2.2, definitions)."""
    red, green, blue = (_linear(value / 255) for value in channels(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, 1 to 21 (WCAG 2.2, definitions)."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def ink_on(colour: str) -> str:
    """`INK` or `PAPER`, whichever can be read better on a colour."""
    return INK if contrast(INK, colour) >= contrast(PAPER, colour) else PAPER


def mix(one: str, other: str, share: float) -> str:
    """A colour between two, channel by channel; share 0 is `one`, 1 is `other`."""
    pairs = zip(channels(one), channels(other), strict=True)
    return "#" + "".join(f"{floor(a + (b - a) * share + 0.5):02x}" for a, b in pairs)


@cache
def table(name: str) -> tuple[str, ...]:
    """A matrix palette as 256 colours, index 0 first. Raises PellucidError for a name not in `PALETTES`."""
    if name not in ANCHORS:
        raise PellucidError(f"no palette {name!r}: there are {', '.join(PALETTES)}")
    anchors = [_lab(anchor) for anchor in ANCHORS[name]]
    colours = []
    for index in range(256):
        # The diverging palette's middle lies at 128, so that 0 stands there: 128 steps below it, 127 above.
        at = index / 256 if name == "diverging" else index / 255
        place = at * (len(anchors) - 1)
        left = min(floor(place), len(anchors) - 2)
        share = place - left
        colours.append(_colour(tuple(a + (b - a) * share for a, b in zip(anchors[left], anchors[left + 1], strict=True))))
    return tuple(colours)


def table_bytes(name: str) -> bytes:
    """The same as 768 bytes, red green blue."""
    return bytes(channel for colour in table(name) for channel in channels(colour))


# sRGB (IEC 61966-2-1) to CIE L*a*b* under D65 and back.


def _linear(value: float) -> float:
    return float(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)


WHITE = (0.95047, 1.0, 1.08883)


def _lab(colour: str) -> tuple[float, float, float]:
    red, green, blue = (_linear(value / 255) for value in channels(colour))
    x = 0.4124564 * red + 0.3575761 * green + 0.1804375 * blue
    y = 0.2126729 * red + 0.7151522 * green + 0.0721750 * blue
    z = 0.0193339 * red + 0.1191920 * green + 0.9503041 * blue
    fx, fy, fz = (
        v ** (1 / 3) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116
        for v in (x / WHITE[0], y / WHITE[1], z / WHITE[2])
    )  # fmt: skip
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def _colour(lab: tuple[float, ...]) -> str:
    lightness, a, b = lab
    fy = (lightness + 16) / 116
    x, y, z = (
        white * (f**3 if f**3 > 216 / 24389 else (116 * f - 16) * 27 / 24389)
        for white, f in zip(WHITE, (fy + a / 500, fy, fy - b / 200), strict=True)
    )
    rgb = (
        3.2404542 * x - 1.5371385 * y - 0.4985314 * z,
        -0.9692660 * x + 1.8760108 * y + 0.0415560 * z,
        0.0556434 * x - 0.2040259 * y + 1.0572252 * z,
    )
    encoded = (12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055 for v in (min(max(v, 0.0), 1.0) for v in rgb))
    return "#" + "".join(f"{floor(255 * v + 0.5):02x}" for v in encoded)
