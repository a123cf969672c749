"""The studio's page: an HTML document that loads one script of the package, and nothing from other servers."""

from importlib import resources

from pellucid.draw.film.palette import INK, PAPER
from pellucid.errors import PellucidError
from pellucid.languages import current, mark, tr


TITLE = mark("Pellucid studio")
MOUNT_ID = "pellucid-studio"  # id of the element that studio.js renders into
DATA_ID = "pellucid-data"  # id of the element with a static page's data
STYLE = f"html {{ background: {PAPER}; color: {INK}; }} body {{ margin: 0; }} noscript p, #{MOUNT_ID} > p {{ padding: 16px; }}"


def asset(name: str) -> bytes:
    """A file of the studio's front end, such as "studio.js".

    Raises:
        PellucidError: this installation lacks it.
    """
    try:
        return resources.files("pellucid").joinpath("assets", "studio", name).read_bytes()
    except OSError:
        raise PellucidError(f"this build of pellucid lacks {name}: install it again, or run npm run build in studio/") from None


def noscript() -> str:
    """What a document says where scripts are off."""
    return f"<noscript><p>{tr('This page is drawn by its script: allow scripts for it.')}</p></noscript>"


def opening() -> str:
    """What a document says until its script has begun: for good, where the file is not whole or the browser too old."""
    return f"<p>{tr('This page is opening. If this line stays, the page is not whole, or this browser is too old for it.')}</p>"


def served_page() -> str:
    """The document of `/` in the current language; its script fetches what it shows from the server."""
    return f"""<!doctype html>
<html lang="{current()}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{tr(TITLE)}</title>
<style>{STYLE}</style>
<body>
{noscript()}
<div id="{MOUNT_ID}">{opening()}</div>
<script type="module" src="/studio.js"></script>
</body>
</html>
"""
