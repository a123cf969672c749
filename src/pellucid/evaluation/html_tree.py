"""HTML, and React elements whose style is an object, as trees that can be compared. No torch here.

The text is read by `html.parser`. Two texts are the same where their trees are equal: tags, attributes in any order, the
declarations of a style in any order, texts without the white space around them. `style={{color: 'red', fontSize: 24}}` (React)
and `style="color: red; font-size: 24px"` (HTML) are the same style.
"""

import html
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser


VOID = frozenset(("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"))
_OBJECT = re.compile(r"=\s*\{\{(.*?)\}\}", re.DOTALL)
_DECLARATION = re.compile(r"""\s*([\w-]+)\s*:\s*('[^']*'|"[^"]*"|[^,'"]+?)\s*(?:,|$)""")
# Properties whose numbers have no unit in React (isUnitlessNumber of react-dom).
UNITLESS = frozenset((
    "animationIterationCount", "aspectRatio", "borderImageOutset", "borderImageSlice", "borderImageWidth", "boxFlex",
    "boxFlexGroup", "boxOrdinalGroup", "columnCount", "columns", "flex", "flexGrow", "flexPositive", "flexShrink",
    "flexNegative", "flexOrder", "gridArea", "gridRow", "gridRowEnd", "gridRowSpan", "gridRowStart", "gridColumn",
    "gridColumnEnd", "gridColumnSpan", "gridColumnStart", "fontWeight", "lineClamp", "lineHeight", "opacity", "order",
    "orphans", "scale", "tabSize", "widows", "zIndex", "zoom", "fillOpacity", "floodOpacity", "stopOpacity",
    "strokeDasharray", "strokeDashoffset", "strokeMiterlimit", "strokeOpacity", "strokeWidth",
))  # fmt: skip
_MARK = "react:"  # before the text of a style object, where it has become an attribute's value


@dataclass(frozen=True, slots=True)
class Element:
    """A tag with its attributes and what is inside it.

    Attributes:
        attributes: (name, value) pairs sorted by name; the value of a style is its declarations in CSS, sorted.
        children: elements and texts.
    """

    tag: str
    attributes: tuple[tuple[str, str], ...] = ()
    children: tuple["Element | str", ...] = ()


def parse(text: str) -> tuple[Element, ...] | None:
    """The elements of a text; None where there are none, text is outside of them, or a tag is not closed in its place."""
    reader = _TreeReader()
    try:
        reader.feed(_OBJECT.sub(lambda found: f'="{_MARK}{html.escape(found[1])}"', text))
        reader.close()
    except (AssertionError, ValueError):  # what html.parser raises for some markup declarations
        return None
    if reader.broken or len(reader.open) != 1 or reader.rawdata:
        return None
    found = reader.open[0].children
    elements = tuple(one for one in found if isinstance(one, Element))
    return elements if elements and len(elements) == len(found) else None


def similarity(text: str, other: str) -> float:
    """F1 of the parts that two texts have in common; 0 where one of them does not parse.

    A part is a tag, an attribute, a declaration or a text, each together with the tags around it.
    """
    trees = parse(text), parse(other)
    if trees[0] is None or trees[1] is None:
        return 0.0
    a, b = (Counter(part for root in tree for part in _parts(root, ())) for tree in (trees[0], trees[1]))
    return 2 * (a & b).total() / (a.total() + b.total())


def _parts(element: Element, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    path = (*above, element.tag)
    yield path
    for name, value in element.attributes:
        for part in value.split("; ") if name == "style" else (value,):
            yield (*path, "@", name, part)
    for child in element.children:
        if isinstance(child, str):
            yield (*path, "text", child)
        else:
            yield from _parts(child, path)


@dataclass(slots=True)
class _Open:
    """An element that is being read."""

    tag: str
    attributes: tuple[tuple[str, str], ...] = ()
    children: list["Element | str"] = field(default_factory=list)

    def closed(self) -> Element:
        return Element(self.tag, self.attributes, tuple(self.children))


class _TreeReader(HTMLParser):
    """Builds the tree. `open` is a stack: the root, which is no element, then the elements that are not closed yet."""

    def __init__(self) -> None:
        super().__init__()
        self.open = [_Open("")]
        self.broken = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(_Open(tag, _attributes(attrs)))
        if tag in VOID:
            self._close()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(_Open(tag, _attributes(attrs)))
        self._close()

    def handle_endtag(self, tag: str) -> None:
        if self.open[-1].tag == tag and len(self.open) > 1:
            self._close()
        else:
            self.broken = True

    def handle_data(self, data: str) -> None:
        if text := " ".join(data.split()):
            self.open[-1].children.append(text)

    def handle_comment(self, data: str) -> None:
        self.broken = True

    def handle_decl(self, decl: str) -> None:
        self.broken = True

    def handle_pi(self, data: str) -> None:
        self.broken = True

    def unknown_decl(self, data: str) -> None:
        self.broken = True

    def _close(self) -> None:
        element = self.open.pop().closed()
        self.open[-1].children.append(element)


def _attributes(given: list[tuple[str, str | None]]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, _style(value or "") if name == "style" else (value or "")) for name, value in given))


def _style(value: str) -> str:
    """The declarations of a style as CSS writes them, sorted."""
    if value.startswith(_MARK):
        written = value.removeprefix(_MARK)
        if _DECLARATION.sub("", written).strip():
            return value  # not a list of declarations: kept with its mark, so that it equals no CSS style
        pairs = [(name, _unquoted(name, found)) for name, found in _DECLARATION.findall(written)]
    else:
        parts = [part.partition(":") for part in value.split(";") if part.strip()]
        pairs = [(name.strip(), found.strip()) for name, _, found in parts]
    return "; ".join(sorted(f"{_dashed(name)}: {found}" for name, found in pairs))


def _unquoted(name: str, value: str) -> str:
    """A value of a style object in CSS: a number is in pixels, as in React, where the property has a unit and it is not 0."""
    if value[:1] in ("'", '"'):
        return value[1:-1]
    return f"{value}px" if value.isdecimal() and int(value) and name not in UNITLESS else value


def _dashed(name: str) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name)
