"""The nodes of a film: rectangles, texts, paths, images of matrices, groups and clips.

Lengths are in the film's own units (at its own width, pixels); y goes down. A number or colour is a constant or `Keyframes`.
Every node may say what it shows (`Shows`) and carry a `label`, which appears on hover.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, ClassVar

from pellucid.draw.film.glyphs import FAMILIES, WEIGHTS
from pellucid.draw.film.keyframes import KINDS, Keyframes, check, is_colour, is_number
from pellucid.draw.film.palette import INK, PALETTES
from pellucid.errors import PellucidError


TRUTHS = ("derived", "replayed", "measured", "given", "estimated")
ANCHORS = ("start", "middle", "end")
ANGLES = (0, 45, 90)
COMMANDS = {"M": 2, "L": 2, "Q": 4, "C": 6, "Z": 0}  # command of a path: how many numbers follow it

Number = float | Keyframes
Colour = str | Keyframes | None


@dataclass(frozen=True, slots=True)
class Shows:
    """Where in a record the number behind a mark stands, and how far it can be trusted (the truth contract).

    Attributes:
        chunk: name in the record. index: place in the chunk, () for all of it. step: of the run or of the generation.
        truth: "derived" (recomputed from the checkpoint), "replayed" (one step run again), "measured" (time, throughput:
            never the same twice; drawn with a clock mark), "given" (an input: a prompt, a setting, a published figure),
            "estimated" (predicted from recorded inputs; drawn hatched).
    """

    chunk: str
    index: tuple[int, ...] = ()
    step: int | None = None
    truth: str = "derived"

    def __post_init__(self) -> None:
        if not isinstance(self.chunk, str) or not self.chunk or self.truth not in TRUTHS:
            raise PellucidError(f"{self}: a chunk must be named and truth must be one of {', '.join(TRUTHS)}")
        if not all(isinstance(part, int) for part in (*self.index, self.step or 0)):
            raise PellucidError(f"{self}: index and step are whole numbers")

    def __str__(self) -> str:
        index = f"[{','.join(map(str, self.index))}]" if self.index else ""
        return f"{self.chunk}{index}{'' if self.step is None else f' step {self.step}'} {self.truth}"


def given(chunk: str, *index: int) -> Shows:
    """The source of an input: a prompt, a setting, a published figure."""
    return Shows(chunk, index, None, "given")


@dataclass(frozen=True, slots=True)
class Gradient:
    """Colours evenly spaced across a shape's box: 0 = left to right, 90 = top to bottom, 45 = corner to corner."""

    colours: tuple[str, ...]
    angle: int = 45

    def __post_init__(self) -> None:
        if len(self.colours) < 2 or not all(map(is_colour, self.colours)) or self.angle not in ANGLES:
            raise PellucidError(f"{self}: a gradient takes two or more colours #rrggbb and an angle of 0, 45 or 90")


@dataclass(frozen=True, slots=True)
class Matrix:
    """Whole numbers from 0 to 255 in rows, each an index into a palette."""

    rows: int
    columns: int
    data: bytes

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1 or len(self.data) != self.rows * self.columns:
            raise PellucidError(f"a matrix of {self.rows} x {self.columns} cannot hold {len(self.data)} values")

    @classmethod
    def of(cls, values: Any) -> "Matrix":
        """From rows of whole numbers, or from a NumPy array of shape (rows, columns) and type uint8."""
        if hasattr(values, "dtype"):
            if str(values.dtype) != "uint8" or values.ndim != 2:
                raise PellucidError(f"an array of {values.dtype} {values.shape} is no picture: it must be 2-D uint8")
            return cls(int(values.shape[0]), int(values.shape[1]), values.tobytes())
        rows: list[Sequence[int]] = list(values)
        if len({len(row) for row in rows}) > 1:
            raise PellucidError("the rows of a matrix must be equally long")
        return cls(len(rows), len(rows[0]) if rows else 0, bytes(value for row in rows for value in row))


KINDS["matrix"] = ("a Matrix: Matrix.of(rows)", lambda value: isinstance(value, Matrix), False)


def _is_paint(value: object) -> bool:
    return value is None or isinstance(value, Gradient)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What every node has. KINDS_OF: attribute -> its kind in `keyframes.KINDS`; a name with "?" may also be None."""

    KINDS_OF: ClassVar[dict[str, str]] = {}

    _: KW_ONLY
    id: str = ""
    label: str | Keyframes = ""
    shows: Shows | None = None

    def __post_init__(self) -> None:
        where = f"{type(self).__name__} {self.id!r}" if self.id else type(self).__name__
        for name, kind in {**self.KINDS_OF, "label": "string"}.items():
            value = getattr(self, name)
            if not (kind.endswith("?") and _is_paint(value)):
                check(value, kind.removesuffix("?"), f"{where}.{name}")
        self._check_rest(where)

    def _check_rest(self, where: str) -> None:
        """Checks what is not a number, colour or text."""

    def animated(self) -> list[Keyframes]:
        """Every attribute of this node that changes with time; not those of its children."""
        values = [getattr(self, field.name) for field in fields(self)]
        return [value for value in values if isinstance(value, Keyframes)]


def _check_dash(dash: tuple[float, ...], where: str) -> None:
    if not isinstance(dash, tuple) or not all(is_number(part) and part > 0 for part in dash):
        raise PellucidError(f"{where}.dash is {dash!r}: it must be a tuple of positive lengths, () for a full line")


@dataclass(frozen=True, slots=True)
class Rect(_Shape):
    """A rectangle; rx rounds its corners. No fill and no stroke: an area that only answers to hover."""

    KINDS_OF: ClassVar[dict[str, str]] = {
        "x": "number", "y": "number", "w": "length", "h": "length", "rx": "length",
        "fill": "colour?", "stroke": "colour?", "stroke_width": "length", "opacity": "fraction",
    }  # fmt: skip

    x: Number
    y: Number
    w: Number
    h: Number
    rx: Number = 0.0
    fill: Colour | Gradient = None
    stroke: Colour = None
    stroke_width: Number = 1.0
    dash: tuple[float, ...] = ()
    opacity: Number = 1.0

    def _check_rest(self, where: str) -> None:
        _check_dash(self.dash, where)
        if isinstance(self.stroke, Gradient):
            raise PellucidError(f"{where}.stroke: only a fill can be a gradient")


@dataclass(frozen=True, slots=True)
class Text(_Shape):
    """One line of text; y is its baseline, x its start, middle or end as `anchor` says."""

    KINDS_OF: ClassVar[dict[str, str]] = {
        "x": "number", "y": "number", "string": "string", "size": "length", "fill": "colour", "opacity": "fraction",
    }  # fmt: skip

    x: Number
    y: Number
    string: str | Keyframes
    size: Number = 16.0
    weight: int = 400
    family: str = "sans"
    anchor: str = "start"
    fill: str | Keyframes = INK
    opacity: Number = 1.0

    def _check_rest(self, where: str) -> None:
        for name, allowed in (("weight", WEIGHTS), ("family", FAMILIES), ("anchor", ANCHORS)):
            if getattr(self, name) not in allowed:
                raise PellucidError(f"{where}.{name} is {getattr(self, name)!r}: it must be one of {allowed}")


@dataclass(frozen=True, slots=True)
class Path(_Shape):
    """Lines and curves: commands ("M", x, y), ("L", x, y), ("Q", ...), ("C", ...), ("Z",), absolute as in SVG.

    draw: the share of the line's length that is drawn, from its start; `draw=Keyframes((0, 0), (2, 1, "linear"))` grows.
    """

    KINDS_OF: ClassVar[dict[str, str]] = {
        "fill": "colour?", "stroke": "colour?", "stroke_width": "length", "opacity": "fraction", "draw": "fraction",
    }  # fmt: skip

    d: tuple[tuple[Any, ...], ...]
    fill: Colour | Gradient = None
    stroke: Colour = None
    stroke_width: Number = 1.0
    dash: tuple[float, ...] = ()
    opacity: Number = 1.0
    draw: Number = 1.0

    def _check_rest(self, where: str) -> None:
        _check_dash(self.dash, where)
        if isinstance(self.stroke, Gradient):
            raise PellucidError(f"{where}.stroke: only a fill can be a gradient")
        if not self.d or self.d[0][0] != "M":
            raise PellucidError(f"{where}.d must begin with a move: ('M', x, y)")
        for command in self.d:
            if COMMANDS.get(command[0]) != len(command) - 1 or not all(map(is_number, command[1:])):
                raise PellucidError(f"{where}.d: {command!r} must be one of M L Q C Z with 2, 2, 4, 6 or 0 numbers")


@dataclass(frozen=True, slots=True)
class Image(_Shape):
    """A matrix drawn as cells of equal size, each in its palette's colour; nothing is smoothed."""

    KINDS_OF: ClassVar[dict[str, str]] = {"x": "number", "y": "number", "w": "length", "h": "length", "opacity": "fraction"}

    matrix: Matrix | Keyframes
    palette: str
    x: Number
    y: Number
    w: Number
    h: Number
    opacity: Number = 1.0

    def _check_rest(self, where: str) -> None:
        if self.palette not in PALETTES:
            raise PellucidError(f"{where}.palette is {self.palette!r}: there are {', '.join(PALETTES)}")
        check(self.matrix, "matrix", f"{where}.matrix")

    def matrices(self) -> list[Matrix]:
        """Every matrix that the image shows, in order of time."""
        return [matrix for _, matrix, _ in self.matrix.points] if isinstance(self.matrix, Keyframes) else [self.matrix]


@dataclass(frozen=True, slots=True)
class Group(_Shape):
    """Nodes that move, grow and fade together: a point p of a child stands at (x, y) + scale p.

    Opacities are multiplied, node by node: where two children overlap, the lower one shines through while they fade.
    """

    KINDS_OF: ClassVar[dict[str, str]] = {"x": "number", "y": "number", "scale": "length", "opacity": "fraction"}

    children: tuple["Node", ...]
    x: Number = 0.0
    y: Number = 0.0
    scale: Number = 1.0
    opacity: Number = 1.0

    def _check_rest(self, where: str) -> None:
        _check_children(self.children, where)


@dataclass(frozen=True, slots=True)
class Clip(_Shape):
    """Nodes of which only what lies inside a rectangle is seen."""

    KINDS_OF: ClassVar[dict[str, str]] = {"x": "number", "y": "number", "w": "length", "h": "length"}

    children: tuple["Node", ...]
    x: Number
    y: Number
    w: Number
    h: Number

    def _check_rest(self, where: str) -> None:
        _check_children(self.children, where)


Node = Rect | Text | Path | Image | Group | Clip


def _check_children(children: object, where: str) -> None:
    if not isinstance(children, tuple) or not all(isinstance(child, Node) for child in children):
        raise PellucidError(f"{where}.children must be a tuple of nodes")
