"""`pellucid.one_parameter`: the film of one number fitted to points."""

from typing import TYPE_CHECKING, Any

from pellucid.arguments import number, plain
from pellucid.draw.components.sheet import LEAST, MOST
from pellucid.draw.figures.one_parameter import one_parameter_film
from pellucid.generation.resolve import DEFAULT, resolve
from pellucid.gpt.config_json import read_config
from pellucid.languages import language as in_language


if TYPE_CHECKING:
    from pellucid.draw.film.film import Film


def one_parameter(points: Any = None, *, x: str = "x", y: str = "y", width: float = 960, language: str | None = None) -> "Film":
    """The film of the model y = w x fitted to points: `pellucid.one_parameter([(1, 2.1), (2, 3.9), (3, 6.2)]).save("fit.gif")`.

    Args:
        points: (x, y) pairs, an array of shape (points, 2), or a CSV file of two columns; None for the built-in table.
        x, y: the names of the columns of pairs; a file names its own in its first line.
        width: of the picture, 240 to 8192; less than 720 is laid out upright, for a phone.
        language: of its words, "en" or "zh"; None for the current one (`pellucid.languages`), which is English at first.

    Raises:
        PellucidError: fewer than three points, a value that is no number, x all equal, y all 0, a file that cannot be read
            (the message names the line), a width out of range, or no such language.
    """
    number("width", width := plain(width), LEAST, MOST)
    config = read_config(resolve(DEFAULT))
    with in_language(language):
        return one_parameter_film(points, config, x=x, y=y, width=width)
