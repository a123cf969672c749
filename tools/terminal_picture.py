"""A terminal's screen as an SVG picture: what was printed, with its colours, and nothing else.

    tmux new-session -d -s demo -x 120 -y 60 "pellucid demo --out D; sleep 999"      (and, when it is done)
    tmux capture-pane -t demo -e -p -S - > screen.txt
    python tools/terminal_picture.py screen.txt docs/pictures/demo.svg --title "pellucid demo" --lines 1-24,60-80

The file holds text with ANSI colour codes. `--lines` picks ranges; a cut is drawn as a line of dots. No font is embedded or
fetched: the picture names the monospace fonts that systems have.
"""

import argparse
import re
from itertools import pairwise
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.cells import cell_len
from rich.color import Color
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text


CHARACTER, LINE, MARGIN, TITLE = 8.4, 18, 14, 34  # pixels; 14 px monospace is 0.6 em wide
CONSOLE = Console(width=400)
INK, PAPER = "#d9d9d9", "#16181d"
SOFT = {2: "#8fd694", 10: "#8fd694", 5: "#f29ac1", 13: "#f29ac1"}  # green is input, pink is output: readable on dark


def picked(lines: list[Text], ranges: str) -> list[Text]:
    """The lines of `3-9,20-30` (from 1), with dots where some were left out."""
    if not ranges:
        return lines
    chosen: list[Text] = []
    for part in ranges.split(","):
        first, last = map(int, part.split("-"))
        chosen += ([Text("...")] if chosen else []) + lines[first - 1 : last]
    return chosen


def colour(found: Color | None) -> str:
    """A terminal colour as hex."""
    return INK if found is None else SOFT.get(found.number or 0) or "#{:02x}{:02x}{:02x}".format(*found.get_truecolor(MONOKAI))


def spans(text: Text, y: float) -> list[str]:
    """One `<text>` for each run of one style, placed by the cells it starts at, stretched to the cells it takes."""
    drawn = []
    edges = sorted({0, len(text.plain)} | {e for s in text.spans for e in (s.start, s.end)})
    for start, end in pairwise(edges):
        run = text.plain[start:end]
        if not run.strip():
            continue
        style = text.get_style_at_offset(CONSOLE, start)
        cells = cell_len(run)
        x = MARGIN + CHARACTER * cell_len(text.plain[:start])
        look = f' fill="{colour(style.color)}"' if style.color else ""
        look += ' font-weight="bold"' if style.bold else ""
        look += ' opacity="0.6"' if style.dim else ""
        drawn.append(
            f'<text x="{x:.1f}" y="{y:.1f}" textLength="{cells * CHARACTER:.1f}" lengthAdjust="spacingAndGlyphs"{look}>'
            f"{escape(run)}</text>"
        )
    return drawn


def escape(text: str) -> str:
    """Text for XML, control characters left out, spaces kept."""
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace(" ", "&#160;")


def picture(lines: list[Text], title: str) -> str:
    """The whole SVG."""
    columns = max(cell_len(line.plain) for line in lines)
    width, height = 2 * MARGIN + columns * CHARACTER, TITLE + len(lines) * LINE + MARGIN
    body = [row for i, line in enumerate(lines) for row in spans(line, TITLE + (i + 0.8) * LINE)]
    dots = "".join(f'<circle cx="{18 + 18 * i}" cy="17" r="5.5" fill="#4a4f5c"/>' for i in range(3))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
            f'height="{height:.0f}" role="img" aria-label="{escape(title)}">',
            f"<title>{escape(title)}</title>",
            f'<rect width="100%" height="100%" rx="9" fill="{PAPER}"/>{dots}',
            f'<g font-family="ui-monospace, \'DejaVu Sans Mono\', Menlo, Consolas, monospace" font-size="14" fill="{INK}">',
            f'<text x="{width / 2:.0f}" y="22" text-anchor="middle" opacity="0.7">{escape(title)}</text>',
            *body,
            "</g>",
            "</svg>",
            "",
        ]
    )


def main() -> None:
    """Reads the screen, writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("screen", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--title", required=True)
    parser.add_argument("--lines", default="")
    chosen = parser.parse_args()
    lines = list(AnsiDecoder().decode(chosen.screen.read_text(encoding="utf-8").rstrip()))  # a style may span lines
    chosen.out.write_text(picture(picked(lines, chosen.lines), chosen.title), encoding="utf-8")


if __name__ == "__main__":
    main()
