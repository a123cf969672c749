"""The grammar of `markup`: descriptions in words and the code that they ask for, as in the article's React example.

A description names one element, or a box with an element in it: "a red button that says stop", "a blue box that contains two
yellow circles with red borders". The code is in one of three dialects, drawn for a group: React's style objects (as in the
article), an HTML style attribute, an HTML class attribute. No (kind, colour) pair of `HELD_OUT` is in a training window.
"""

from collections.abc import Callable
from dataclasses import dataclass

from recipes.default_model.draws import Draws
from recipes.default_model.lexicon import Lexicon
from recipes.default_model.words import CATEGORIES, split


COLOURS = ("red", "blue", "green", "yellow", "black", "white", "purple", "orange", "pink", "grey", "brown")
KINDS = ("button", "box", "circle", "heading", "text", "link", "field", "list", "picture")
# (kind, colour) pairs that are held out of training; each kind and each colour is trained on in other pairs.
HELD_OUT = frozenset(
    {
        ("button", "purple"), ("button", "yellow"), ("box", "pink"), ("box", "orange"), ("circle", "green"),
        ("circle", "black"), ("heading", "blue"), ("heading", "brown"), ("text", "red"), ("link", "orange"),
        ("field", "grey"), ("list", "green"),
    }
)  # fmt: skip
LABELS = split(
    "stop start go send save open close yes no next back help more play pause search buy cancel hello goodbye welcome home "
    "about menu login print share edit delete news today contact read ready done"
)
SIZES = {"small": ("12", "50"), "": ("", ""), "big": ("24", "200"), "large": ("24", "200"), "huge": ("48", "400")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Element:
    """An element of the grammar.

    Attributes:
        kind: one of `KINDS`. colour, border: one of `COLOURS`, or "". size: a key of `SIZES`.
        label: its text (of a picture, what it shows), or "". items: of a list.
        many: how many times it is there. inside: the element that a box contains.
    """

    kind: str
    colour: str = ""
    border: str = ""
    size: str = ""
    label: str = ""
    items: tuple[str, ...] = ()
    many: int = 1
    inside: "Element | None" = None

    def pairs(self) -> set[tuple[str, str]]:
        """The (kind, colour) pairs of the element and of what is inside it."""
        return {(self.kind, self.colour)} | (self.inside.pairs() if self.inside is not None else set())


def draw_element(draws: Draws, lexicon: Lexicon, *, nested: bool = True) -> Element:
    """Draws an element of the whole grammar, held-out pairs included.

    Args:
        nested: whether a box may contain an element; False for that element.
    """
    kind = draws.choice(KINDS if nested else ("button", "circle", "text", "link", "heading", "box"))
    colour = draws.choice(COLOURS) if draws.chance(0.85) else ""
    size = draws.choice(("small", "big", "large", "huge")) if draws.chance(0.3) and kind not in ("field", "list") else ""
    border = draws.choice(COLOURS) if kind in ("box", "circle", "button", "field") and draws.chance(0.3) else ""
    if border == colour:
        border = ""
    label, many = "", 1
    items: tuple[str, ...] = ()
    inside: Element | None = None
    if kind in ("button", "heading", "text", "link", "field"):
        count = 1 if draws.chance(0.7) else 2
        label = draws.choice(LABELS) if draws.chance(0.6) else " ".join(draws.sample(lexicon.words[:800], count))
    elif kind == "list":
        category = draws.choice(("animal", "fruit", "food", "colour", "day", "bird", "drink"))
        items = tuple(draws.sample(CATEGORIES[category], draws.between(2, 3)))
    elif kind == "picture":
        label = draws.choice(CATEGORIES[draws.choice(("animal", "flower", "vehicle", "building"))])
        colour = ""
    elif kind == "box" and nested and draws.chance(0.6):
        inside = draw_element(draws, lexicon, nested=False)
    if not nested and kind in ("circle", "box", "button") and draws.chance(0.4):
        many = draws.between(2, 3)
    return Element(kind=kind, colour=colour, border=border, size=size, label=label, items=items, many=many, inside=inside)


def is_held_out(element: Element) -> bool:
    """Whether a pair of it is held out of training."""
    return bool(element.pairs() & HELD_OUT)


def draw_allowed(draws: Draws, lexicon: Lexicon, *, held_out: bool = False) -> Element:
    """Draws an element of the training part of the grammar, or of the held-out part."""
    while is_held_out(element := draw_element(draws, lexicon)) != held_out:
        pass
    return element


_NOUNS = {"text": "text", "field": "text field"}
_COUNTS = {2: "two", 3: "three"}


def describe(element: Element, draws: Draws) -> str:
    """The description in words; the wording is drawn."""
    noun = _NOUNS.get(element.kind, element.kind)
    before = [word for word in (element.size, element.colour) if word]
    if element.many > 1:
        said = " ".join([_COUNTS[element.many], *before, noun + ("es" if noun == "box" else "s")])
    else:
        said = " ".join(["a", *before, noun])
        said = "an" + said[1:] if said[2] in "aeiou" else said
    if element.border:
        said += draws.choice((" with a {} border", " with {} borders")).format(element.border)
    if element.kind == "picture":
        said += f" of a {element.label}"
    elif element.kind == "link":
        said += f" to {element.label}"
    elif element.label:
        say = "say" if element.many > 1 else "says"
        said += draws.choice(
            (f" that {say} {element.label}", f" that {say} {element.label}", f" with the text {element.label}")
        )
    if element.items:
        said += " of " + ", ".join(element.items[:-1]) + f" and {element.items[-1]}"
    if element.inside is not None:
        said += draws.choice((" that contains ", " with ", " around ")) + describe(element.inside, draws)
    return said


Dialect = Callable[[str, list[tuple[str, str]]], str]


def _react(tag: str, style: list[tuple[str, str]]) -> str:
    """<tag style={{color: 'red'}}, as in the article's example."""
    if not style:
        return f"<{tag}"
    return f"<{tag} style={{{{" + ", ".join(f"{k}: {v if v.isdigit() else repr(v)}" for k, v in style) + "}}"


def _css(tag: str, style: list[tuple[str, str]]) -> str:
    """<tag style="color: red", plain HTML."""
    if not style:
        return f"<{tag}"
    css = "; ".join(f"{_dashed(key)}: {value}{'px' if value.isdigit() else ''}" for key, value in style)
    return f'<{tag} style="{css}"'


def _classes(tag: str, style: list[tuple[str, str]]) -> str:
    """<tag class="color-red", HTML classes."""
    if not style:
        return f"<{tag}"
    return f'<{tag} class="' + " ".join(f"{_dashed(key)}-{value.replace(' ', '-')}" for key, value in style) + '"'


def _dashed(key: str) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in key)


DIALECTS: dict[str, Dialect] = {"react": _react, "css": _css, "classes": _classes}


def code(element: Element, dialect: Dialect, *, capital: bool = False) -> str:
    """The element as code.

    Args:
        dialect: one of `DIALECTS`. capital: whether labels and items begin with a capital letter.
    """
    filled = element.kind in ("box", "circle", "button", "list", "field")
    style = [("backgroundColor" if filled and element.kind != "button" else "color", element.colour)] if element.colour else []
    if element.border:
        style.append(("border", f"2px solid {element.border}"))
    if element.kind == "circle":
        style.append(("borderRadius", "50%"))
    font, width = SIZES[element.size]
    if font:
        style.append(("width", width) if element.kind in ("box", "circle", "picture") else ("fontSize", font))
    label = element.label.capitalize() if capital else element.label
    match element.kind:
        case "button":
            written = f"{dialect('button', style)}>{label}</button>"
        case "heading":
            written = f"{dialect('h1', style)}>{label}</h1>"
        case "text":
            written = f"{dialect('p', style)}>{label}</p>"
        case "link":
            written = f'{dialect("a", style)} href="{element.label.replace(" ", "-")}">{label}</a>'
        case "field":
            written = f'{dialect("input", style)} placeholder="{label}" />'
        case "picture":
            written = f'{dialect("img", style)} src="{element.label}.png" />'
        case "list":
            items = "".join(f"<li>{item.capitalize() if capital else item}</li>" for item in element.items)
            written = f"{dialect('ul', style)}>{items}</ul>"
        case _:
            inner = code(element.inside, dialect, capital=capital) if element.inside is not None else ""
            written = f"{dialect('div', style)}>{inner}</div>"
    return written * element.many
