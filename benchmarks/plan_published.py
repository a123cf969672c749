"""Plans beside published training runs of the same layout: what was printed, and what a plan says at its three efficiencies.

    python benchmarks/plan_published.py [--json]

Nothing is run: both sides are numbers of other people's machines. The efficiencies (`planning/cluster/efficiency.py`) were
chosen once, with these rows at hand, so that they lie within the range; the table shows how far the expected value is off.
"""

import argparse
import json
from typing import Any

from pellucid.planning.cluster.published_runs import PUBLISHED_RUNS, repeat


def main() -> None:
    """Prints the table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    rows: list[dict[str, Any]] = []
    for run in PUBLISHED_RUNS:
        low, expected, high = repeat(run)
        rows.append({
            "name": run.name, "mesh": str(run.layout.mesh), "published": run.published, "unit": run.unit, "expected": expected,
            "range": [high, low], "off": expected / run.published - 1, "source": run.source,
        })  # fmt: skip
    if as_json:
        print(json.dumps({"comparisons": rows}))
        return
    for row in rows:
        print(
            f"{row['name']:<48} {row['published']:>6.1f} {row['unit']:<7} plan {row['expected']:>5.1f} "
            f"({row['range'][0]:.1f} to {row['range'][1]:.1f}), {row['off']:+.0%}"
        )


if __name__ == "__main__":
    main()
