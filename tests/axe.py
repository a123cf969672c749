"""axe-core, which checks how accessible a page is."""

from typing import Any

from node import STUDIO, require_node_packages


def serious_findings(page: Any) -> list[tuple[str, str]]:
    """What axe-core finds in a page of Playwright: (rule, element) of each finding that is serious or critical."""
    require_node_packages()
    page.evaluate((STUDIO / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
    return [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")]
