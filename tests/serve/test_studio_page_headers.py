"""Records with headers that state anything at all, signed again: the page shows the record or its problem, and never hangs."""

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from cases import TIMES
from serving import checked_page, studio_for
from tampering import leaves, replaced_leaf, signed_again, with_header

import pellucid
from pellucid.record import SCHEMA, Record


ROOT = Path(__file__).parents[2]
VALUES = (10**9, 2**53, -1, 0, 1.5, 1e300, "x" * 5000, "", None, True, [], {}, [[[]]], {"a": [1]})
SIZES = ("n_layers", "n_heads", "d_model")
HEADERS = 4 * TIMES


@pytest.fixture(scope="module")
def record(tiny_run: Path) -> Record:
    return pellucid.xray(pellucid.load(tiny_run), "the fox ran over", max_tokens=4, seed=1)


def headers(record: Record) -> Iterator[dict[str, Any]]:
    """Each size of the config as a large number, and a sample of every leaf of the header as something else."""
    header: Any = record.header
    for key in SIZES:
        yield replaced_leaf(header, ("provenance", "config", key), 10**9)
    random = Random(5)
    places = [path for path, _ in leaves(header)]
    places += [("provenance", "config"), ("provenance",), ("chunks", 2), ("chunks", 2, "shape")]
    for path in random.sample(places, HEADERS):
        yield replaced_leaf(header, path, random.choice(VALUES))


@pytest.mark.long
def test_the_page_shows_a_record_or_its_problem(browser: Any, record: Record, tmp_path: Path) -> None:
    whole = [with_header(record, header) for header in headers(record)]
    many = np.zeros(1 << 20, np.int32)
    whole.append(signed_again(record, {"generation/prompt_ids": many}).to_bytes())
    whole.append(signed_again(record, {"generation/steps/drawn_ids": many}).to_bytes())
    starts = np.arange(len(record["pieces/starts"]), dtype=np.int32)[::-1].copy()
    whole.append(signed_again(record, {"pieces/starts": starts}).to_bytes())
    paths = [tmp_path / f"{number:02d}.pellucid" for number in range(len(whole))]
    for path, content in zip(paths, whole, strict=True):
        path.write_bytes(content)
    with checked_page(browser) as page, studio_for(page, [tmp_path]) as studio:
        for number, path in enumerate(paths, start=1):
            page.goto("about:blank")
            page.goto(f"{studio.url}#/record/record-{number}")
            page.locator("p.problem[role=alert], [role=grid]").first.wait_for()
            shown = page.locator("p.problem[role=alert]").all_inner_texts()
            assert not any(re.search(r"undefined|TypeError|RangeError|not a function|is not iterable", text) for text in shown)
            if number <= len(SIZES) or number > len(paths) - 3:
                assert len(shown) == 1 and "record" in shown[0], path


def test_the_page_has_the_shapes_of_the_schema() -> None:
    source = (ROOT / "studio" / "src" / "record" / "check.ts").read_text(encoding="utf-8")
    table = source[source.index("SHAPES") : source.index("FROM_CONFIG")]
    rows = dict(re.findall(r'^  "([^"]+)": "([^"]+)",$', table, re.MULTILINE))
    assert rows == {
        spec.name: f"{'|'.join(spec.dtypes)}: {' '.join(map(str, spec.shape))}{' triangle' if spec.triangle else ''}"
        for spec in SCHEMA["generation"]
    }
