"""Small parts that several figures share: a token's box, an arrow, a model's box, a frame, the clock of a measured number."""

from math import sqrt
from typing import Any

from pellucid.draw.film import palette
from pellucid.draw.film.font import CAP_HEIGHT, fit, text_width
from pellucid.draw.film.nodes import Gradient, Group, Node, Number, Path, Rect, Text


PAD = 0.5  # of the text's size, on either side of a token's text
CLOCK_GAP = 0.3  # of the text's size, between a measured number and its clock
KAPPA = 0.5523  # a quarter circle as a cubic curve


def centred(y: float, h: float, size: float) -> float:
    """The baseline that puts one line of text in the middle of a box from y to y + h."""
    return y + (h + size * CAP_HEIGHT) / 2


def circle(x: float, y: float, r: float) -> tuple[tuple[Any, ...], ...]:
    """A circle around (x, y) as commands of a path."""
    k = r * KAPPA
    return (
        ("M", x + r, y),
        ("C", x + r, y + k, x + k, y + r, x, y + r),
        ("C", x - k, y + r, x - r, y + k, x - r, y),
        ("C", x - r, y - k, x - k, y - r, x, y - r),
        ("C", x + k, y - r, x + r, y - k, x + r, y),
        ("Z",),
    )


def clock(x: float, y: float, size: float, colour: str = palette.MEASURED) -> Path:
    """The mark of a measured number: a clock face in a square of side `size` with its upper left corner at (x, y)."""
    middle_x, middle_y, r = x + size / 2, y + size / 2, size * 0.42
    hands = (("M", middle_x, middle_y - r * 0.62), ("L", middle_x, middle_y), ("L", middle_x + r * 0.5, middle_y + r * 0.3))
    return Path(circle(middle_x, middle_y, r) + hands, stroke=colour, stroke_width=max(1.0, size * 0.09))


def measured(text: Text) -> Group:
    """A measured number with a clock left of it; the anchor holds for both together.

    Its text, size and place may not change with time (put it into a group that moves), and it must say what it shows.
    """
    assert text.shows is not None and text.shows.truth == "measured", "only what was measured carries a clock"
    x, y, string, size = text.x, text.y, text.string, text.size
    assert (
        isinstance(x, int | float) and isinstance(y, int | float) and isinstance(string, str) and isinstance(size, int | float)
    )
    assert isinstance(text.fill, str)
    extra = size * (1 + CLOCK_GAP)
    width = text_width(string, size, text.family, text.weight) + extra
    left = x - {"start": 0.0, "middle": width / 2, "end": width}[text.anchor]
    mark = clock(left, y - size * (1 + CAP_HEIGHT) / 2, size, text.fill)
    moved = Text(
        left + extra, y, string, size, text.weight, text.family, "start", text.fill, text.opacity, id=text.id, label=text.label
    )
    return Group((mark, moved), shows=text.shows)


def token_width(piece: str, size: float) -> float:
    """How wide the box of a token is."""
    return max(text_width(piece, size, "mono"), size * 0.6) + 2 * PAD * size


def token(
    piece: str, x: float, y: float, h: float, size: float, *, role: str = "input", w: float | None = None, **rest: Any
) -> Group:
    """A token in its box, its upper left corner at (x, y).

    Args:
        piece: the text, with spaces and bytes made visible. h: height of the box. size: of the text.
        role: input, output, followed or plain. w: width of the box; the text is cut to fit.
        rest: attributes of the group (id, label, shows, opacity ...).
    """
    fill, strong = {
        "input": (palette.INPUT_FILL, palette.INPUT),
        "output": (palette.OUTPUT_FILL, palette.OUTPUT),
        "followed": (palette.FOLLOWED_FILL, palette.FOLLOWED),
        "plain": (palette.PANEL, palette.UNTRAINED),
    }[role]
    w = token_width(piece, size) if w is None else w
    shown = fit(piece, w - PAD * size, size, "mono")
    words = (Text(w / 2, centred(0, h, size), shown, size, 400, "mono", "middle"),) if shown else ()
    box = Rect(0, 0, w, h, min(6.0, h / 4), fill, strong)
    return Group((box, *words), **{"x": x, "y": y, **rest})


def model(x: float, y: float, w: float, h: float, title: str, size: float, *, trained: bool, **rest: Any) -> Group:
    """A model as a box: grey before training, in its gradient afterwards."""
    fill = Gradient(palette.TRAINED) if trained else palette.UNTRAINED_FILL
    stroke = palette.FOLLOWED if trained else palette.UNTRAINED
    shown = fit(title, w - size, size, "sans", 600)
    return Group(
        (Rect(0, 0, w, h, 10, fill, stroke, 1.5), Text(w / 2, centred(0, h, size), shown, size, 600, "sans", "middle")),
        **{"x": x, "y": y, **rest},
    )


def verdict(x: float, y: float, right: bool, label: str, opacity: Number = 1.0) -> list[Node]:
    """A tick or a cross in a disc around (x, y)."""
    sign: Any = (("M", x - 2.6, y), ("L", x - 0.7, y + 2), ("L", x + 2.8, y - 2.2)) if right else (
        ("M", x - 2, y - 2), ("L", x + 2, y + 2), ("M", x + 2, y - 2), ("L", x - 2, y + 2)
    )  # fmt: skip
    return [
        Path(circle(x, y, 5.5), fill=palette.INPUT if right else palette.UNTRAINED, opacity=opacity, label=label),
        Path(sign, stroke=palette.PAPER, stroke_width=1.4, opacity=opacity, label=label),
    ]


def frame(x: float, y: float, w: float, h: float, title: str, size: float, *, kind: str) -> Group:
    """The dashed frame of "pretraining" (orange) or "finetuning" (teal) with its title on the upper edge."""
    fill, strong = {
        "pretraining": (palette.PRETRAINING_FILL, palette.PRETRAINING),
        "finetuning": (palette.FINETUNING_FILL, palette.FINETUNING),
    }[kind]
    shown = fit(title, w - 4 * size, size, "sans", 600)
    wide = text_width(shown, size, "sans", 600) + size
    outline = Rect(0, 0, w, h, 12, None, strong, 2, palette.FRAME_DASH)
    tag = Rect(1.5 * size, -size * 0.8, wide, size * 1.6, size * 0.4, fill, strong)
    words = Text(1.5 * size + wide / 2, centred(-size * 0.8, size * 1.6, size), shown, size, 600, "sans", "middle", strong)
    return Group((outline, tag, words), x=x, y=y)


def arrow(
    x0: float, y0: float, x1: float, y1: float, colour: str = palette.QUIET, width: float = 2.0, head: float = 9.0, **rest: Any
) -> Group:
    """A straight arrow from (x0, y0) to (x1, y1); rest: attributes of the group."""
    length = sqrt((x1 - x0) ** 2 + (y1 - y0) ** 2)
    assert length > head, "an arrow is longer than its head"
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    bx, by, half = x1 - ux * head, y1 - uy * head, head * 0.45
    line: Node = Path((("M", x0, y0), ("L", bx, by)), stroke=colour, stroke_width=width)
    tip = (("M", x1, y1), ("L", bx - uy * half, by + ux * half), ("L", bx + uy * half, by - ux * half), ("Z",))
    return Group((line, Path(tip, fill=colour)), **rest)
