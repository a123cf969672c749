"""A page without a server shows attention as every schema stores it."""

import re
from pathlib import Path
from typing import Any

import pytest
from generation_records import generation
from serving import checked_page
from tampering import signed_again

from pellucid.draw.views.labels import percent as label
from pellucid.record import as_triangle
from pellucid.serve import write_page


pytestmark = pytest.mark.long


@pytest.mark.parametrize("stored", ["float16", "float32", "uint8"])
def test_a_page_without_a_server_shows_attention(browser: Any, tmp_path: Path, stored: str) -> None:
    record = generation(earlier=stored == "uint8")
    if stored == "float32":
        exact = {name: as_triangle(record[name], "float32") for name in record.names("generation/attention/")}
        record = signed_again(record, exact)
    record.save(tmp_path / "tale.pellucid")
    assert record.entry("generation/attention/0").dtype == stored
    track, block, head = 2, 0, 1
    path = write_page(tmp_path / "page.html", [tmp_path / "tale.pellucid"])
    with checked_page(browser) as page:
        page.goto(f"{path.as_uri()}#/record/record-1/{track}/{block + 1}")
        panel = page.locator("section.panel")
        panel.get_by_role("button", name=f"head {head}").click()
        panel.get_by_role("button", name=f"head {head}", pressed=True).wait_for()
        items = panel.get_by_role("list", name="attention").get_by_role("listitem")
        weights = sorted(record[f"generation/attention/{block}"][head, track, : track + 1].tolist(), reverse=True)
        items.filter(has_text=label(weights[0])).wait_for()  # the head's own, no longer the mean
        told = items.evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
        shares = [float(re.findall(r": ([\d.]+)%", one)[0]) / 100 for one in told]
        assert shares == pytest.approx([weight for weight in weights if weight > 0], abs=0.006)
