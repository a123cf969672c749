"""Films as one HTML file that needs nothing else: no network, no server, no font.

The player (`studio/`, built into `assets/studio/player.js`) stands in it once, and draws every film from its own JSON. Nothing
plays by itself. Without scripts each film's last still is shown, with its transcript.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from pellucid.draw.backends import svg
from pellucid.draw.backends.svg import escaped
from pellucid.draw.film.film import Film, FilmSegment
from pellucid.draw.film.film_json import letters_of, to_json
from pellucid.draw.film.keyframes import rounded, text_of
from pellucid.draw.film.palette import FOLLOWED, INK, LINE, PAPER, QUIET
from pellucid.draw.film.truetype import EM
from pellucid.errors import PellucidError
from pellucid.languages import current, joined, tr


LARGEST_SCALE = 1.5  # a film is shown at most so much larger than it is, here and in the player
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

STYLE = f"""
body {{ margin: 0; background: {PAPER}; color: {INK}; font: 16px/1.5 system-ui, sans-serif; }}
main {{ max-width: 1200px; margin: 0 auto; padding: 16px; }}
h1 {{ font-size: 1.25rem; margin: 0 0 12px; }}
h2 {{ font-size: 1.1rem; margin: 40px 0 12px; }}
figure {{ margin: 0; }}
figcaption {{ margin: 8px 2px; }}
figure > svg {{ display: block; width: 100%; height: auto; box-sizing: border-box; border: 1px solid {LINE};
  border-radius: 8px; }}
figure p, nav, summary {{ color: {QUIET}; }}
a {{ color: {FOLLOWED}; }}
:focus-visible {{ outline: 3px solid {FOLLOWED}; outline-offset: 2px; }}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class PageFigure:
    """A film on a page with its heading. narrow: the same film laid out for narrow screens, with as many segments."""

    heading: str
    film: Film
    narrow: Film | None = None

    def __post_init__(self) -> None:
        if self.narrow is not None and len(self.narrow.segments) != len(self.film.segments):
            raise PellucidError(f"film {self.film.title!r}: its narrow layout must have as many segments")


@cache
def player() -> str:
    """The player's one ES module."""
    script = files("pellucid").joinpath("assets", "studio", "player.js").read_text(encoding="utf-8")
    assert "</script" not in script and "<!--" not in script, "what a script element cannot hold"
    return script


def page(film: Film, narrow: Film | None = None) -> str:
    """A film as an HTML document. Arguments and errors as `PageFigure`."""
    return _document(film.title, [PageFigure(heading="", film=film, narrow=narrow)])


def gallery(title: str, figures: Sequence[PageFigure]) -> str:
    """Films one below the other, each under its heading, as an HTML document. Raises PellucidError for no films."""
    if not figures:
        raise PellucidError(f"the page {title!r} needs a film")
    return _document(title, figures)


def _document(title: str, figures: Sequence[PageFigure]) -> str:
    headed = [(i, figure) for i, figure in enumerate(figures) if figure.heading]
    links = "".join(f'<li><a href="#figure-{i}">{escaped(figure.heading)}</a></li>' for i, figure in headed)
    label = escaped(tr("Figures"))
    contents = f'<nav aria-label="{label}"><ol>{links}</ol></nav>\n' if links else ""
    places = "\n".join(_place(i, figure) for i, figure in enumerate(figures))
    return _html(current(), escaped(title), f"{contents}{places}", _data(figures))


def template() -> str:
    """A document for a film that is drawn elsewhere: in place of its parts stand @LANGUAGE@, @TITLE@, @PLACE@ and @FILMS@."""
    return _html("@LANGUAGE@", "@TITLE@", "@PLACE@", "@FILMS@")


def _html(code: str, title: str, places: str, films: str) -> str:
    """A document: its language, its title and its elements as HTML, its films as JSON."""
    return f"""<!doctype html>
<html lang="{code}">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{STYLE}</style>
<main>
<h1>{title}</h1>
{places}
</main>
<script type="application/json" class="pellucid-films">{films}</script>
<script type="module">{player()}</script>
</html>
"""


def _place(number: int, figure: PageFigure) -> str:
    """The element that shows a film: without scripts its last still, caption, notes and transcript."""
    film = figure.film
    heading = f'<h2 id="figure-{number}">{escaped(figure.heading)}</h2>\n' if figure.heading else ""
    still = svg.still(film, prefix=f"f{number}-").rstrip()
    caption = escaped(film.caption_at(film.stills()[-1]))
    width = text_of(rounded(film.width * LARGEST_SCALE))
    notes = "".join(f"<p>{escaped(words)}</p>" for words in svg.simplified(film))
    transcript = escaped(tr("Transcript"))
    return (
        f'{heading}<figure data-pellucid-film="{number}" style="max-width:{width}px">\n{still}\n'
        f"<figcaption>{caption}</figcaption>\n{notes}"
        f"<details><summary>{transcript}</summary><p>{escaped(film.alt)}</p><ol>{_transcript(film)}</ol></details>\n</figure>"
    )


def _transcript(film: Film) -> str:
    return "".join(
        f"<li>{escaped(_segment_words(film, segment))}</li>" for segment in film.segments
    )


def _segment_words(film: Film, segment: FilmSegment) -> str:
    """A segment's name, times and captions."""
    said = [caption.text for caption in film.captions if caption.start < segment.end and caption.end > segment.start]
    words = joined(said) if said else tr("no words")
    return tr("{name}, {start:g} to {end:g} s: {words}", name=segment.name, start=segment.start, end=segment.end, words=words)


def _data(figures: Sequence[PageFigure]) -> str:
    """The data of the page: all films in both layouts, their glyphs and runs. ASCII JSON that a script element can hold."""
    films = [film for figure in figures for film in (figure.film, figure.narrow) if film is not None]
    layouts = [
        f'{{"wide":{to_json(figure.film)},"narrow":{to_json(figure.narrow) if figure.narrow else "null"}}}'
        for figure in figures
    ]
    glyphs, runs = (json.dumps(part, separators=(",", ":")) for part in letters_of(films))
    return f'{{"em":{EM},"glyphs":{glyphs},"text_runs":{runs},"films":[{",".join(layouts)}]}}'.replace("<", "\\u003c")
